//! The OAuth clients of the SDKs, driven step by step: a process per connection, which answers each step with a line.
//!
//! The steps are those of `ts/driver.mjs`. A step that fails is an error with what the SDK said.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, bail};
use quorate_tests::{paths, process::Process};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::idp;

/// How long a step may take: longer than the driver's own limit.
const STEP: Duration = Duration::from_secs(40);

/// A client library and the era that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// npm `@modelcontextprotocol/sdk`, with sessions.
    TsV1,
    /// npm `@modelcontextprotocol/client`, with sessions.
    TsV2Legacy,
    /// npm `@modelcontextprotocol/client`, without.
    TsV2Modern,
    /// PyPI `mcp` 1.x, with sessions.
    PythonV1,
    /// PyPI `mcp` 2.x, with sessions.
    PythonV2Legacy,
    /// PyPI `mcp` 2.x, without.
    PythonV2Modern,
}

/// A client of one library.
pub(crate) struct Client {
    process: Process,
    /// How often the person was asked so far.
    pub(crate) visits: u64,
    /// How often tokens came so far.
    pub(crate) grants: u64,
}

/// A line of a driver.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    ok: bool,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    detail: String,
    visits: u64,
    grants: u64,
}

// === impl Library ===

impl Library {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::TsV1, Self::TsV2Legacy, Self::TsV2Modern, Self::PythonV1, Self::PythonV2Legacy, Self::PythonV2Modern];

    fn mode(self) -> &'static str {
        match self {
            Self::TsV2Modern | Self::PythonV2Modern => "modern",
            Self::TsV1 | Self::TsV2Legacy | Self::PythonV1 | Self::PythonV2Legacy => "legacy",
        }
    }

    fn driver(self) -> anyhow::Result<Command> {
        let (environment, version) = match self {
            Self::TsV1 => return node("v1"),
            Self::TsV2Legacy | Self::TsV2Modern => return node("v2"),
            Self::PythonV1 => ("venv-v1", "v1"),
            Self::PythonV2Legacy | Self::PythonV2Modern => ("venv", "v2"),
        };
        let mut command = Command::new(paths::installed(paths::INTEROP, &format!("{environment}/bin/python"))?);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(paths::repository().join("tests/identity/python/driver.py")).arg(version);
        Ok(command)
    }
}

/// The drivers of Node lie in a folder of the installation that has their packages.
fn node(version: &str) -> anyhow::Result<Command> {
    let package = paths::installed(paths::INTEROP, "node_modules/@modelcontextprotocol/client/package.json")?;
    let folder = package.ancestors().nth(4).map(|folder| folder.join("identity"));
    let folder = folder.context("a package lies four folders deep")?;
    // The person at the browser is also that of the provider's own program.
    idp::install(&["ts", "idp"], &folder)?;
    let mut command = Command::new(paths::node(paths::INTEROP)?);
    command.arg(folder.join("driver.mjs")).arg(version);
    Ok(command)
}

// === impl Client ===

impl Client {
    /// Starts a client that is not connected.
    pub(crate) fn start(library: Library) -> anyhow::Result<Self> {
        let process = Process::converse(format!("the client {library:?}"), &mut library.driver()?)?;
        Ok(Self { process, visits: 0, grants: 0 })
    }

    /// Connects, with a person at the browser; `known` says how the program is known to the provider.
    pub(crate) fn connect(library: Library, target: &str, person: &str, known: &Value) -> anyhow::Result<Self> {
        let mut client = Self::start(library)?;
        client.step(&json!({
            "do": "connect", "target": target, "mode": library.mode(), "person": person, "client": known,
        }))?;
        Ok(client)
    }

    /// Connects with the credentials that a program has at this issuer, without a person.
    pub(crate) fn connect_as(library: Library, target: &str, program: &str, issuer: &str) -> anyhow::Result<Self> {
        let mut client = Self::start(library)?;
        let known = json!({ "id": program, "secret": format!("secret-of-{program}"), "issuer": issuer });
        client.step(&json!({
            "do": "connect", "target": target, "mode": library.mode(), "client": known, "scope": "mcp files:read",
        }))?;
        Ok(client)
    }

    /// The names of the tools.
    pub(crate) fn tools(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(serde_json::from_value(self.step(&json!({ "do": "tools" }))?)?)
    }

    /// The text that a tool says.
    pub(crate) fn call(&mut self, tool: &str) -> anyhow::Result<String> {
        Ok(serde_json::from_value(self.step(&json!({ "do": "call", "name": tool }))?)?)
    }

    /// Makes the access token worthless, as if it had been revoked.
    pub(crate) fn forge(&mut self) -> anyhow::Result<()> {
        self.step(&json!({ "do": "forge" })).map(drop)
    }

    /// Loses the refresh token.
    pub(crate) fn unrefresh(&mut self) -> anyhow::Result<()> {
        self.step(&json!({ "do": "unrefresh" })).map(drop)
    }

    /// Ends the connection.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.step(&json!({ "do": "close" })).map(drop)
    }

    fn step(&mut self, step: &Value) -> anyhow::Result<Value> {
        self.process.tell(&step.to_string())?;
        // Libraries may write lines of their own.
        let answer = loop {
            let line = self.process.hear(STEP)?;
            if let Ok(answer) = serde_json::from_str::<Answer>(&line) {
                break answer;
            }
        };
        (self.visits, self.grants) = (answer.visits, answer.grants);
        if !answer.ok {
            bail!("{}: {}", step["do"], answer.detail);
        }
        Ok(answer.value)
    }
}
