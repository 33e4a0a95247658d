//! The processes that take part, and loads on each of them in turn.
//!
//! A side is one way from a client to the mock provider: without anything between, through a gateway of others, or through ours. All of
//! them are asked the same, one after the other in each round, so that what else the machine does falls on all.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::crowd::Watched;
use super::peers::{Kind, Peer, Programs};
use crate::load::{READY, Report, Until};
use crate::message::Measure;
use crate::prompt::Prompt;
use crate::run::child::Child;
use crate::run::known::Known;
use crate::run::process::{Cpu, resident_bytes};
use crate::run::speed::{self, Plan};

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long many streams may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a gateway is left alone before its memory is read.
const REST: Duration = Duration::from_secs(5);
/// Seconds in which chunks are watched.
const WATCH_SECONDS: u32 = 20;

/// One way to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Nothing is between.
    Direct,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// SMG.
    Smg,
    /// LiteLLM.
    Litellm,
    /// Our gateway.
    Quorate,
}

/// One load on one side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Loaded {
    /// The way.
    pub(crate) side: Side,
    /// What was asked.
    pub(crate) prompt: &'static str,
    /// CPU time per request, of what is between; of the direct way, of the provider.
    pub(crate) cpu: Cpu,
    /// What the load saw.
    pub(crate) load: Report,
}

/// Many streams on one side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Crowded {
    /// The way.
    pub(crate) side: Side,
    /// How many were open.
    pub(crate) streams: u32,
    /// Memory of what is between, for each of them, in kilobytes; of the direct way, of the provider.
    pub(crate) stream_kb: f64,
    /// CPU time of it per second, in milliseconds.
    pub(crate) cpu_ms_per_second: f64,
    /// Delays of chunks.
    pub(crate) watched: Watched,
}

/// What is measured on.
pub(crate) struct Ground<'a> {
    /// The program of this bench.
    pub(crate) bench: &'a Path,
    /// The mock provider.
    pub(crate) provider: Child,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// Our gateway.
    pub(crate) gateway: Known,
    /// Those of others.
    pub(crate) peers: Vec<Peer>,
}

// === impl Side ===

impl Side {
    /// As a table says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "Direct",
            Self::Haproxy => Kind::Haproxy.name(),
            Self::Envoy => Kind::Envoy.name(),
            Self::Smg => Kind::Smg.name(),
            Self::Litellm => Kind::Litellm.name(),
            Self::Quorate => "Quorate",
        }
    }

    /// The sides of gateways of others.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Haproxy => Self::Haproxy,
            Kind::Envoy => Self::Envoy,
            Kind::Smg => Self::Smg,
            Kind::Litellm => Self::Litellm,
        }
    }
}

// === impl Ground ===

impl<'a> Ground<'a> {
    /// Starts everything.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) async fn start(
        bench: &'a Path,
        quorate: &Path,
        sink: &str,
        kinds: &[Kind],
        programs: &Programs,
    ) -> Result<Self> {
        let mut provider = Child::start("the provider", bench, &["provider".to_owned()])?;
        let url = provider.line(START_TIMEOUT).await?;
        let address = url.strip_prefix("http://").with_context(|| format!("the provider is at {url:?}"))?.parse()?;
        let gateway = super::gateway::start(quorate, address, Some(sink)).await?;
        let mut peers = Vec::new();
        for kind in kinds {
            peers.push(Peer::start(*kind, programs, address).await?);
        }
        Ok(Self { bench, provider, address, gateway, peers })
    }

    /// Ends everything.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn end(self) -> Result<()> {
        for peer in self.peers {
            peer.end().await?;
        }
        self.gateway.gateway.end().await?;
        self.provider.end().await
    }

    /// The sides that can be asked this, our gateway last.
    pub(crate) fn sides(&self, prompt: Prompt) -> Vec<Side> {
        let peers = self.peers.iter().filter(|peer| peer.kind.serves(prompt)).map(|peer| Side::of(peer.kind));
        std::iter::once(Side::Direct).chain(peers).chain([Side::Quorate]).collect()
    }

    /// Loads one side; without a rate as fast as it answers.
    ///
    /// # Errors
    /// When the load fails.
    pub(crate) async fn load(&self, side: Side, prompt: Prompt, plan: &Plan, rate: Option<f64>) -> Result<Loaded> {
        // A name that our gateway sends elsewhere is any name to the provider itself.
        let asked = match (side, prompt) {
            (Side::Direct, Prompt::ChatOfClaude) => Prompt::Chat,
            (Side::Direct, Prompt::ChatStreamOfClaude) => Prompt::ChatStream,
            (_, prompt) => prompt,
        };
        let plan = match side {
            Side::Litellm => Plan {
                requests: Kind::Litellm.requests(plan.requests),
                warm_up: Kind::Litellm.requests(plan.warm_up),
                ..*plan
            },
            _ => *plan,
        };
        let url = self.url(side, asked)?;
        let read = || self.cpu(side);
        let loaded = speed::load(self.bench, Measure::Model(asked), &plan, rate, &url, read).await;
        let (load, before, after) = loaded.with_context(|| format!("{} through {}", prompt.name(), side.name()))?;
        let cpu = after.per_request_since(before, load.requests);
        Ok(Loaded { side, prompt: prompt.name(), cpu, load })
    }

    /// Opens many streams on one side and watches them.
    ///
    /// # Errors
    /// When a stream does not begin, or ends.
    pub(crate) async fn crowd(&self, side: Side, streams: u32) -> Result<Crowded> {
        let before = resident_bytes(self.pid(side)?)?;
        let arguments = [
            "streams".to_owned(),
            format!("--url={}", self.url(side, Prompt::ChatStream)?),
            format!("--streams={streams}"),
            format!("--seconds={WATCH_SECONDS}"),
        ];
        let mut crowd = Child::start("the streams", self.bench, &arguments)?;
        let line = crowd.line(OPEN_TIMEOUT).await?;
        ensure!(line == READY, "the streams said {line:?}");
        tokio::time::sleep(REST).await;
        let cpu = self.cpu(side)?;
        crowd.tell("go").await?;
        let line = crowd.line(Duration::from_secs(u64::from(WATCH_SECONDS) + 30)).await?;
        let cpu = self.cpu(side)?.total_ms() - cpu.total_ms();
        let bytes = resident_bytes(self.pid(side)?)?.saturating_sub(before);
        let watched: Watched = serde_json::from_str(&line).with_context(|| format!("the streams said {line:?}"))?;
        crowd.finish(START_TIMEOUT).await?;
        Ok(Crowded {
            side,
            streams,
            stream_kb: bytes as f64 / 1024.0 / f64::from(streams),
            cpu_ms_per_second: cpu / f64::from(WATCH_SECONDS),
            watched,
        })
    }

    fn peer(&self, side: Side) -> Result<&Peer> {
        let found = self.peers.iter().find(|peer| Side::of(peer.kind) == side);
        found.with_context(|| format!("{} was not started", side.name()))
    }

    fn url(&self, side: Side, prompt: Prompt) -> Result<String> {
        Ok(match side {
            Side::Direct => format!("http://{}{}", self.address, prompt.path()),
            Side::Quorate => {
                let origin = self.gateway.gateway.url().strip_suffix(Prompt::Chat.path());
                format!("{}{}", origin.context("the gateway's URL")?, prompt.path())
            }
            side => self.peer(side)?.url(prompt),
        })
    }

    fn pid(&self, side: Side) -> Result<u32> {
        Ok(match side {
            Side::Direct => self.provider.pid(),
            Side::Quorate => self.gateway.gateway.pid(),
            side => self.peer(side)?.pid(),
        })
    }

    fn cpu(&self, side: Side) -> Result<Cpu> {
        Cpu::of_tree(self.pid(side)?)
    }
}

/// What a load of latency is: so many seconds at a rate, until the first bytes or the last.
pub(crate) fn at_rate(plan: &Plan, rate: f64, until: Until) -> Plan {
    Plan { requests: ((rate * f64::from(plan.seconds)) as u64).max(1), until, ..*plan }
}
