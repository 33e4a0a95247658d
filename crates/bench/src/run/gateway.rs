//! The gateway under measurement: `quorate up` before one backend, as a node would run.
//!
//! Metrics are on, one request in a hundred is traced and exported to the sink, the log level is
//! `info`. It takes free ports and says which; that text is its interface to people, and two lines
//! of it are read here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::child::Child;
use super::process::{Cpu, resident_bytes};
use crate::client::{Connection, Target};
use crate::message::{self, Measure};

/// How long the gateway may take to start: far more than the second it promises.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to drain: its own patience, and some for a machine under load.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a gateway is asked whether it has started.
const START_POLL: Duration = Duration::from_millis(50);
/// Lines before the addresses are known.
const GREETING_LINES_MAX: usize = 20;

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    url: String,
    admin: String,
    measure: Measure,
    // The log goes after the process.
    _log: Option<TempDir>,
}

/// How a gateway is started that knows its callers.
pub(crate) struct Served<'a> {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where it serves its metrics.
    pub(crate) admin: SocketAddr,
    /// What its callers show.
    pub(crate) bearer: &'a str,
    /// Where its root key is.
    pub(crate) data_dir: &'a Path,
    /// What it is asked first, and by which it is known to serve.
    pub(crate) measure: Measure,
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway before the backend at `backend` and sends it a first request.
    ///
    /// # Errors
    /// When it does not start or does not answer.
    pub(crate) async fn before(program: &Path, backend: &str, sink: &str) -> Result<Self> {
        Self::start(program, &["--mcp".to_owned(), format!("bench={backend}")], sink).await
    }

    /// Starts a gateway with these flags of `up` and sends it a first request.
    ///
    /// # Errors
    /// When it does not start or does not answer.
    pub(crate) async fn start(program: &Path, flags: &[String], sink: &str) -> Result<Self> {
        let arguments = [
            ["--listen", "127.0.0.1:0"],
            ["--admin", "127.0.0.1:0"],
            ["--log", "info"],
            ["--otlp-endpoint", sink],
            ["--trace-ratio", "0.01"],
        ];
        let arguments = std::iter::once("up").chain(arguments.into_iter().flatten()).map(str::to_owned);
        let arguments = arguments.chain(flags.iter().cloned());
        let mut child = Child::start("quorate", program, &arguments.collect::<Vec<_>>())?;
        let (mut url, mut admin) = (None, None);
        for _ in 0..GREETING_LINES_MAX {
            let line = child.line(START_TIMEOUT).await?;
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("MCP") => url = words.next().map(str::to_owned),
                Some("admin") => admin = words.next().map(str::to_owned),
                _ => {}
            }
            if let (Some(url), Some(admin)) = (&url, &admin) {
                let gateway =
                    Self { child, url: url.clone(), admin: admin.clone(), measure: Measure::ModernCall, _log: None };
                gateway.first_request().await.context("the gateway's first request")?;
                return Ok(gateway);
            }
        }
        bail!("the gateway did not say where it serves")
    }

    /// Starts a gateway with these flags of `serve`, which knows its callers, and waits for its first answer. Without a sink
    /// nothing is traced.
    ///
    /// # Errors
    /// When it does not start or does not answer.
    pub(crate) async fn serve(
        program: &Path,
        flags: &[String],
        served: Served<'_>,
        sink: Option<&str>,
    ) -> Result<Self> {
        let Served { listen, admin, bearer, data_dir, measure } = served;
        let own = [
            ("--admin", admin.to_string()),
            ("--data-dir", data_dir.display().to_string()),
            ("--log", "info".to_owned()),
        ];
        let traced = sink.map(|sink| [("--otlp-endpoint", sink.to_owned()), ("--trace-ratio", "0.01".to_owned())]);
        let own =
            own.into_iter().chain(traced.into_iter().flatten()).flat_map(|(flag, value)| [flag.to_owned(), value]);
        let arguments: Vec<String> =
            std::iter::once("serve".to_owned()).chain(own).chain(flags.iter().cloned()).collect();
        // It writes a line of each call of a model, as on a node whose log is kept; not where it looks for changes of files.
        let folder = tempfile::Builder::new().prefix("quorate-bench-log-").tempdir()?;
        let log = folder.path().join("log");
        let child = Child::start_logged("quorate", program, &arguments, &log)?;
        let url = format!("http://{bearer}@{listen}{}", measure.path());
        let gateway = Self { child, url, admin: format!("http://{admin}"), measure, _log: Some(folder) };
        let started = Instant::now();
        loop {
            match gateway.first_request().await {
                Ok(()) => return Ok(gateway),
                Err(error) if started.elapsed() > START_TIMEOUT || gateway.cpu().is_err() => {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    return Err(error.context(format!("the gateway's first request; it said: {said}")));
                }
                Err(_) => tokio::time::sleep(START_POLL).await,
            }
        }
    }

    /// Where it serves what it was asked first.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The CPU time it took so far, with its children.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of_tree(self.child.pid())
    }

    /// The CPU time that its own process took so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn own_cpu(&self) -> Result<Cpu> {
        Cpu::of_process(self.child.pid())
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its resident memory, with its children.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.child.pid())
    }

    /// Checks that its metrics are served, as they are part of what is measured: this one counts something.
    ///
    /// # Errors
    /// When they are not.
    pub(crate) async fn check_metrics(&self, name: &str) -> Result<()> {
        let text = self.metrics().await?;
        anyhow::ensure!(text.contains(name), "the gateway's metrics have no {name}");
        Ok(())
    }

    /// The value of a metric, of all its series together.
    ///
    /// # Errors
    /// When its metrics are not served.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics().await?;
        let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    async fn metrics(&self) -> Result<String> {
        let target = Target::parse(&format!("{}/metrics", self.admin.trim_end_matches('/')))?;
        let answer = Connection::open(&target).await?.get().await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Lets it drain, with everything that it started.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn end_politely(self) -> Result<()> {
        self.child.end_politely(END_TIMEOUT).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn end(self) -> Result<()> {
        self.child.end().await
    }

    async fn first_request(&self) -> Result<()> {
        let mut connection = Connection::open(&Target::parse(&self.url)?).await?;
        let (id, body) = self.measure.request(1);
        let answer = connection.post(&self.measure.headers(None), body).await?;
        match self.measure {
            // A server with other tools serves as well.
            Measure::ModernCall => message::result(&id, &answer).map(|_| ()),
            measure => measure.check_whole(&id, &answer),
        }
    }
}
