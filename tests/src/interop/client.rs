//! The clients: libraries that nobody here wrote, each in the modes that it has, and how the driver of one is started.
//!
//! A driver is a process that has one library and does one [`Job`](super::Job) after the other. What a library has no
//! way to do is said here ([`Client::knows`]), once for the table and for what drivers are asked.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::paths;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// 2026-07-28 over streamable HTTP.
    Modern,
    /// Up to 2025-11-25 over streamable HTTP with a session.
    Legacy,
    /// Up to 2025-11-25 over HTTP+SSE, the transport of 2024-11-05.
    Sse,
}

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Library {
    /// PyPI `mcp`, version 2 of the Python SDK.
    PythonV2,
    /// PyPI `mcp`, version 1.
    PythonV1,
    /// PyPI `fastmcp`, of which the part for clients is `fastmcp-slim`.
    FastMcp,
    /// PyPI `langchain-mcp-adapters`.
    LangChain,
    /// npm `@modelcontextprotocol/client`, version 2 of the TypeScript SDK.
    TypeScriptV2,
    /// npm `@modelcontextprotocol/sdk`, version 1 of the TypeScript SDK.
    TypeScriptV1,
    /// crates.io `rmcp`.
    Rmcp,
    /// npm `@modelcontextprotocol/inspector`, its command line.
    Inspector,
}

/// A library in one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// Which library.
    pub library: Library,
    /// How it speaks.
    pub mode: Mode,
}

/// Every client, in the order of the table.
#[must_use]
pub fn clients() -> Vec<Client> {
    Library::ALL
        .into_iter()
        .flat_map(|library| library.modes().iter().map(move |mode| Client { library, mode: *mode }))
        .collect()
}

// === impl Mode ===

impl Mode {
    /// Its name for drivers and in `known.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
            Self::Sse => "sse",
        }
    }

    /// The era that it belongs to.
    #[must_use]
    pub fn era(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy | Self::Sse => "legacy",
        }
    }

    /// What it means to a reader.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Modern => "2026-07-28",
            Self::Legacy => "2025-11-25",
            Self::Sse => "HTTP+SSE",
        }
    }
}

// === impl Library ===

impl Library {
    /// Every library, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::PythonV2,
        Self::PythonV1,
        Self::FastMcp,
        Self::LangChain,
        Self::TypeScriptV2,
        Self::TypeScriptV1,
        Self::Rmcp,
        Self::Inspector,
    ];

    /// Its name for drivers and in `known.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PythonV2 => "python-v2",
            Self::PythonV1 => "python-v1",
            Self::FastMcp => "fastmcp",
            Self::LangChain => "langchain",
            Self::TypeScriptV2 => "typescript-v2",
            Self::TypeScriptV1 => "typescript-v1",
            Self::Rmcp => "rmcp",
            Self::Inspector => "inspector",
        }
    }

    /// What it is to a reader, without its version.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::PythonV2 | Self::PythonV1 => "Python `mcp`",
            Self::FastMcp => "FastMCP client",
            Self::LangChain => "LangChain adapters",
            Self::TypeScriptV2 => "TypeScript `client`",
            Self::TypeScriptV1 => "TypeScript `sdk`",
            Self::Rmcp => "Rust `rmcp`",
            Self::Inspector => "Inspector `--cli`",
        }
    }

    /// The modes that it has.
    #[must_use]
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Self::PythonV2 | Self::FastMcp | Self::TypeScriptV2 | Self::Inspector => {
                &[Mode::Modern, Mode::Legacy, Mode::Sse]
            }
            Self::PythonV1 | Self::LangChain | Self::TypeScriptV1 => &[Mode::Legacy, Mode::Sse],
            Self::Rmcp => &[Mode::Modern, Mode::Legacy],
        }
    }

    /// The file of the repository that pins its version, and the package's name in it.
    #[must_use]
    pub fn pinned(self) -> (&'static str, &'static str) {
        const PYTHON_V2: &str = "tests/interop/python/requirements.txt";
        const PYTHON_V1: &str = "tests/interop/python/requirements-v1.txt";
        const NODE: &str = "tests/interop/ts/package.json";
        match self {
            Self::PythonV2 => (PYTHON_V2, "mcp"),
            Self::PythonV1 => (PYTHON_V1, "mcp"),
            Self::FastMcp => (PYTHON_V2, "fastmcp-slim[client]"),
            Self::LangChain => (PYTHON_V1, "langchain-mcp-adapters"),
            Self::TypeScriptV2 => (NODE, "@modelcontextprotocol/client"),
            Self::TypeScriptV1 => (NODE, "@modelcontextprotocol/sdk"),
            Self::Rmcp => ("Cargo.toml", "rmcp"),
            Self::Inspector => (NODE, "@modelcontextprotocol/inspector"),
        }
    }

    /// The command of its driver; what the library writes for itself goes into `home`.
    ///
    /// # Errors
    ///
    /// What the driver needs is not installed.
    pub fn driver(self, home: &Path) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::PythonV2 | Self::FastMcp => python("venv", self.name())?,
            Self::PythonV1 | Self::LangChain => python("venv-v1", self.name())?,
            Self::TypeScriptV2 => node("v2")?,
            Self::TypeScriptV1 => node("v1")?,
            Self::Inspector => node("inspector")?,
            Self::Rmcp => {
                let mut command = Command::new(std::env::current_exe().context("a test knows its own path")?);
                command.arg("drive-rmcp");
                command
            }
        };
        command.env("HOME", home);
        Ok(command)
    }
}

// === impl Client ===

impl Client {
    /// Whether the library has a way to the feature in this mode.
    #[must_use]
    pub fn knows(self, feature: &str) -> bool {
        match (self.library, feature) {
            // The experimental tasks of 2025-11-25.
            (Library::TypeScriptV1 | Library::PythonV1, "tasks") => self.mode.era() == "legacy",
            // The tasks extension of 2026-07-28.
            (Library::Rmcp, "tasks") => self.mode == Mode::Modern,
            (_, "tasks") => false,
            // A call that is given up is not cancelled at the server.
            (Library::PythonV1, "cancellation") => false,
            // It subscribes to nothing, and in the modern era changes come to subscribers alone.
            (Library::FastMcp, "updates") => false,
            (Library::FastMcp, "changes") => self.mode.era() == "legacy",
            (Library::LangChain, feature) => !matches!(
                feature,
                "unknown" | "templates" | "completion" | "sampling" | "updates" | "changes" | "cancellation"
            ),
            // A command line with one connection for each request, which calls only what it finds listed.
            (Library::Inspector, feature) => matches!(
                feature,
                "connect"
                    | "tools"
                    | "call"
                    | "headers"
                    | "error"
                    | "structured"
                    | "prompts"
                    | "resources"
                    | "templates"
                    | "reconnection"
            ),
            _ => true,
        }
    }
}

fn python(environment: &str, library: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(paths::installed(paths::INTEROP, &format!("{environment}/bin/python"))?);
    command.arg(paths::repository().join("tests/interop/python/driver.py")).arg(library);
    Ok(command)
}

/// A driver in Node. Node resolves packages from where a script lies, so the scripts are copied into the installation
/// by the test before it starts them.
fn node(client: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(paths::node(paths::INTEROP)?);
    command.arg(paths::installed(paths::INTEROP, "driver.mjs")?).arg(client);
    Ok(command)
}
