//! Strangers: requests with credentials that nobody gave, at a fixed rate, until their parent has enough of them.
//!
//! Each shows another credential, of the right form, so that none is refused by its looks or from memory: API keys with a
//! right checksum, or tokens of an issuer and a key that are known, with a signature that is nobody's, which has to be
//! computed to be refused. Every answer must be the refusal that is expected. A stranger whose connection is closed comes
//! again, which is counted. Like a load it says `ready` first and waits for a line; another line, or the end, ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderMap, HeaderValue, StatusCode};
use quorate_identity::api_key::Fresh;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use super::schedule::Schedule;
use super::worker::Turns;
use super::{READY, say};
use crate::client::{Answer, Connection, Target};
use crate::message::Measure;

/// The issuer that wrong tokens name.
pub(crate) const ISSUER: &str = "https://login.example.com/realms/people";
/// The key of it that they name.
pub(crate) const KEY: &str = "k1";
/// Whom they are for.
pub(crate) const AUDIENCE: &str = "https://mesh.example.com/mcp";

/// What strangers do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where they come: a URL with a loopback address.
    #[arg(long)]
    url: String,
    /// What they show.
    #[arg(long, value_enum)]
    shown: Shown,
    /// The status that each must be answered with.
    #[arg(long)]
    status: u16,
    /// Requests per second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Seconds after which they end by themselves.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds_max: u32,
}

/// What a stranger shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// API keys that nobody has.
    Keys,
    /// Tokens with wrong signatures.
    Tokens,
}

/// What became of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Flooded {
    /// Requests; each was refused as expected.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Connections that were closed before a request was answered, or with the answer.
    pub(crate) reopened: u64,
}

/// One of them, with a connection.
struct Stranger {
    target: Target,
    connection: Connection,
    headers: HeaderMap,
    shown: Shown,
    /// What all that it shows begins with.
    beginning: String,
    status: StatusCode,
    requests: u64,
    reopened: u64,
}

// === impl Shown ===

impl Shown {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Tokens => "tokens",
        }
    }

    /// What all credentials of this kind begin with: made once, so that a stranger costs its generator little.
    fn beginning(self) -> String {
        match self {
            Self::Keys => String::new(),
            Self::Tokens => {
                let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": KEY });
                let claims = json!({
                    "iss": ISSUER, "sub": "8b0a4d55-3f0e-4ab2-9c5f-0c9d0f7b8f11", "aud": AUDIENCE,
                    "exp": 4_000_000_000_u32, "azp": "desktop", "scope": "openid profile tools:read tools:call",
                });
                let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
                format!("{header}.{claims}.")
            }
        }
    }

    /// The credential with this number.
    fn credential(self, beginning: &str, number: u64) -> String {
        match self {
            Self::Keys => {
                let mut secret = [9; 32];
                secret[..8].copy_from_slice(&number.to_be_bytes());
                Fresh::new(number.to_be_bytes(), secret).expose().to_owned()
            }
            Self::Tokens => {
                // Two numbers of the right size, so that the signature is computed and not refused for its form.
                let mut signature = [0x42; 64];
                signature[..8].copy_from_slice(&(number + 1).to_be_bytes());
                format!("{beginning}{}", URL_SAFE_NO_PAD.encode(signature))
            }
        }
    }
}

// === impl Stranger ===

impl Stranger {
    async fn open(target: &Target, args: &Args) -> Result<Self> {
        Ok(Self {
            target: target.clone(),
            connection: Connection::open(target).await?,
            // Before a session: what is asked for matters to no gateway that refuses, and a mock backend refuses it too.
            headers: Measure::LegacyCall.headers(None),
            shown: args.shown,
            beginning: args.shown.beginning(),
            status: StatusCode::from_u16(args.status)?,
            requests: 0,
            reopened: 0,
        })
    }

    /// Comes once, with the credential of this number.
    async fn come(&mut self, number: u64) -> Result<()> {
        let shown = HeaderValue::from_str(&format!("Bearer {}", self.shown.credential(&self.beginning, number)))?;
        self.headers.insert(AUTHORIZATION, shown);
        let (_, body) = Measure::LegacyCall.request(number);
        let answer = match self.connection.post(&self.headers, body.clone()).await {
            Ok(answer) => answer,
            Err(_) => {
                self.reopen().await?;
                self.connection.post(&self.headers, body).await?
            }
        };
        ensure!(answer.status == self.status, "a stranger was answered {}", answer.status);
        self.requests += 1;
        if closes(&answer) { self.reopen().await } else { Ok(()) }
    }

    async fn reopen(&mut self) -> Result<()> {
        self.reopened += 1;
        self.connection = Connection::open(&self.target).await?;
        Ok(())
    }

    async fn work(mut self, turns: Turns, numbers: Arc<AtomicU64>, is_enough: Arc<AtomicBool>) -> Result<Self> {
        while !is_enough.load(Ordering::Relaxed) && turns.next().await.is_some() {
            self.come(numbers.fetch_add(1, Ordering::Relaxed)).await?;
        }
        Ok(self)
    }
}

/// Runs the process.
///
/// # Errors
/// When a stranger is not refused as expected.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let target = Target::parse(&args.url)?;
    let (numbers, is_enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut strangers = Vec::new();
    for _ in 0..args.connections {
        let mut stranger = Stranger::open(&target, &args).await?;
        stranger.come(numbers.fetch_add(1, Ordering::Relaxed)).await?;
        strangers.push(stranger);
    }
    say(READY)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    if lines.next_line().await?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let requests = u64::from(args.rate) * u64::from(args.seconds_max);
    let turns = Turns::open(Schedule { rate: f64::from(args.rate), requests });
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for mut stranger in strangers {
        (stranger.requests, stranger.reopened) = (0, 0);
        running.spawn(stranger.work(turns.clone(), Arc::clone(&numbers), Arc::clone(&is_enough)));
    }
    let mut flooded = Flooded { requests: 0, rate: 0.0, reopened: 0 };
    let mut is_told = false;
    while !running.is_empty() {
        tokio::select! {
            line = lines.next_line(), if !is_told => {
                line?;
                is_told = true;
                is_enough.store(true, Ordering::Relaxed);
            }
            Some(done) = running.join_next() => {
                let stranger = done.context("a stranger")??;
                flooded.requests += stranger.requests;
                flooded.reopened += stranger.reopened;
            }
        }
    }
    flooded.rate = flooded.requests as f64 / begun.elapsed().as_secs_f64();
    say(&serde_json::to_string(&flooded)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the connection ends with this answer.
fn closes(answer: &Answer) -> bool {
    answer.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_stranger_shows_another_credential_of_the_right_form() {
        for shown in [Shown::Keys, Shown::Tokens] {
            let beginning = shown.beginning();
            let all: HashSet<String> = (0..1_000).map(|number| shown.credential(&beginning, number)).collect();
            assert_eq!(all.len(), 1_000, "{shown:?}");
            let is_formed = |text: &String| match shown {
                Shown::Keys => text.starts_with("qk_") && text.len() == 65,
                Shown::Tokens => text.split('.').count() == 3,
            };
            assert!(all.iter().all(is_formed), "{shown:?}");
        }
    }
}
