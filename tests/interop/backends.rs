//! The servers of the interoperability test: ours with everything, and those that nobody here wrote.
//!
//! Each says how it is started, where it serves, which plan it follows, and which clients can meet it without a
//! gateway.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Context as _;
use quorate_tests::{
    http,
    interop::{Client, Mode, Plan},
    paths,
    process::Process,
    servers::{self, Server},
};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// The package of the reference server.
const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything";

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Our fixture on rmcp.
    Fixture,
    /// The reference server over streamable HTTP.
    Everything,
    /// The reference server over HTTP+SSE.
    EverythingSse,
    /// A server on the Python SDK.
    Python,
}

/// Every server, in the order of the page.
pub(crate) const ALL: [Backend; 4] = [Backend::Fixture, Backend::Everything, Backend::EverythingSse, Backend::Python];

// === impl Backend ===

impl Backend {
    /// Its name in `known.json` and as a tool server of the gateway.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fixture => "fixture",
            Self::Everything => "everything",
            Self::EverythingSse => "everything-sse",
            Self::Python => "python",
        }
    }

    /// Its title on the page.
    pub(crate) fn title(self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Fixture => "Our conformance fixture (Rust `rmcp`), both eras".to_owned(),
            Self::Everything => format!("`server-everything` {}, streamable HTTP", everything_version()?),
            Self::EverythingSse => format!("`server-everything` {}, HTTP+SSE", everything_version()?),
            Self::Python => "A server on Python `mcp`, both eras".to_owned(),
        })
    }

    /// The file with its plan.
    pub(crate) fn plan(self) -> PathBuf {
        let file = match self {
            Self::Fixture => "fixture.json",
            Self::Everything | Self::EverythingSse => "everything.json",
            Self::Python => "python.json",
        };
        paths::repository().join("tests/interop/plans").join(file)
    }

    /// Whether this client can call it without a gateway.
    pub(crate) fn meets(self, client: Client, plan: &Plan) -> bool {
        let sse = self == Self::EverythingSse;
        plan.speaks(client.mode) && (client.mode == Mode::Sse) == sse
    }

    /// Starts it.
    pub(crate) fn start(self) -> anyhow::Result<Server> {
        match self {
            Self::Fixture => servers::fixture(&[]),
            Self::Everything => everything("streamableHttp", "mcp"),
            Self::EverythingSse => everything("sse", "sse"),
            Self::Python => python(),
        }
    }
}

fn everything(transport: &str, path: &str) -> anyhow::Result<Server> {
    let script = paths::installed(paths::INTEROP, &format!("{EVERYTHING}/dist/index.js"))?;
    let port = http::free_port()?;
    let mut command = Command::new("node");
    command.arg(script).arg(transport).env("PORT", port.to_string());
    let mut process = Process::start(format!("server-everything {transport}"), &mut command)?;
    // Its two transports say it in different words, each with the port at the end.
    process.line(START, |line| line.ends_with(&format!("on port {port}")).then_some(()))?;
    Ok(Server { process, url: format!("http://127.0.0.1:{port}/{path}") })
}

fn python() -> anyhow::Result<Server> {
    let mut command = Command::new(paths::installed(paths::INTEROP, "venv/bin/python")?);
    command.arg(paths::repository().join("tests/interop/python/server.py")).arg("0");
    let mut process = Process::start("the Python server", &mut command)?;
    let url = process.line(START, |line| Some(line.strip_prefix("listening on ")?.to_owned()))?;
    Ok(Server { process, url })
}

fn everything_version() -> anyhow::Result<String> {
    let manifest = paths::installed(paths::INTEROP, &format!("{EVERYTHING}/package.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(manifest)?)?;
    Ok(manifest["version"].as_str().context("a package has a version")?.to_owned())
}
