//! The clients: libraries that nobody here wrote, each in the modes that it has, and how its driver is started.
//!
//! A driver is a process: `DRIVER PLAN URL MODE FEATURE,FEATURE…`. It prints one line per feature and ends with
//! status 0 also when features fail; no connection is a status other than 0.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::paths;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// PyPI `mcp`.
    Python,
    /// npm `@modelcontextprotocol/client`, version 2 of the TypeScript SDK.
    TypeScriptV2,
    /// npm `@modelcontextprotocol/sdk`, version 1 of the TypeScript SDK.
    TypeScriptV1,
    /// crates.io `rmcp`.
    Rmcp,
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
    let all = [Library::Python, Library::TypeScriptV2, Library::TypeScriptV1, Library::Rmcp];
    all.into_iter()
        .flat_map(|library| library.modes().iter().map(move |mode| Client { library, mode: *mode }))
        .collect()
}

// === impl Mode ===

impl Mode {
    /// Its name for drivers.
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

    /// The mode of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Modern, Self::Legacy, Self::Sse].into_iter().find(|mode| mode.name() == name)
    }
}

// === impl Library ===

impl Library {
    /// The modes that it has.
    #[must_use]
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Self::Python | Self::TypeScriptV2 => &[Mode::Modern, Mode::Legacy, Mode::Sse],
            Self::TypeScriptV1 => &[Mode::Legacy, Mode::Sse],
            Self::Rmcp => &[Mode::Modern, Mode::Legacy],
        }
    }

    /// The file of the repository that pins its version, and the package's name in it.
    #[must_use]
    pub fn pinned(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => ("tests/interop/python/requirements.txt", "mcp"),
            Self::TypeScriptV2 => ("tests/interop/ts/package.json", "@modelcontextprotocol/client"),
            Self::TypeScriptV1 => ("tests/interop/ts/package.json", "@modelcontextprotocol/sdk"),
            Self::Rmcp => ("Cargo.toml", "rmcp"),
        }
    }
}

// === impl Client ===

impl Client {
    /// Whether the library has the feature in this mode.
    #[must_use]
    pub fn knows(self, feature: &str) -> bool {
        match (feature, self.library) {
            // The experimental tasks of 2025-11-25.
            ("tasks", Library::TypeScriptV1) => self.mode.era() == "legacy",
            // The tasks extension of 2026-07-28.
            ("tasks", Library::Rmcp) => self.mode == Mode::Modern,
            ("tasks", Library::Python | Library::TypeScriptV2) => false,
            _ => true,
        }
    }

    /// The command that drives this client.
    ///
    /// # Errors
    ///
    /// What the driver needs is not installed.
    pub fn command(self, plan: &Path, url: &str, features: &[&str]) -> anyhow::Result<Command> {
        let mut command = match self.library {
            Library::Python => {
                let mut command = Command::new(paths::installed(paths::INTEROP, "venv/bin/python")?);
                command.arg(paths::repository().join("tests/interop/python/driver.py"));
                command
            }
            Library::TypeScriptV2 => script("v2")?,
            Library::TypeScriptV1 => script("v1")?,
            Library::Rmcp => {
                let mut command = Command::new(std::env::current_exe().context("a test knows its own path")?);
                command.arg("drive-rmcp");
                command
            }
        };
        command.arg(plan).args([url, self.mode.name(), &features.join(",")]);
        Ok(command)
    }
}

fn script(version: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("node");
    command.arg(driver()?).arg(version);
    Ok(command)
}

/// The driver in TypeScript's runtime. Node resolves packages from where a script lies, so the scripts are copied
/// into the installation by the test before it starts them.
fn driver() -> anyhow::Result<PathBuf> {
    paths::installed(paths::INTEROP, "driver.mjs")
}
