//! Calls at gateways that a resource file describes: before an API, and with a curated toolset.
//!
//! Both are asked as any other gateway is. The API's operations and the curated tools have the names that the load calls.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::Child;
use super::gateway::Gateway;
use super::speed::{CpuRound, Parts, Plan};
use crate::api;
use crate::message::{FIXED_ARGUMENT, Measure, TOOL, tool_name};

/// A folder with a resource file, and what it refers to.
pub(crate) struct Resources {
    folder: TempDir,
}

/// What such a measurement needs.
pub(crate) struct Setting<'a> {
    /// The program of this bench.
    pub(crate) bench: &'a Path,
    /// The gateway's program.
    pub(crate) quorate: &'a Path,
    /// The tool server and API.
    pub(crate) backend: &'a Child,
    /// Where it serves MCP.
    pub(crate) backend_url: &'a str,
    /// Where spans go.
    pub(crate) sink: &'a str,
    /// How much is sent.
    pub(crate) plan: &'a Plan,
}

// === impl Resources ===

impl Resources {
    /// Writes resources into a folder of their own, which goes with the value.
    ///
    /// # Errors
    /// When the folder for temporary files takes none.
    pub(crate) fn new(resources: &[Value]) -> Result<Self> {
        let this = Self { folder: tempfile::Builder::new().prefix("quorate-bench-").tempdir()? };
        let documents: Vec<String> = resources.iter().map(Value::to_string).collect();
        this.with("resources.yaml", &documents.join("\n---\n"))
    }

    /// Writes a file beside them.
    ///
    /// # Errors
    /// When the folder takes no file.
    pub(crate) fn with(self, name: &str, text: &str) -> Result<Self> {
        std::fs::write(self.folder.path().join(name), text)?;
        Ok(self)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The flags of `up` that name them.
    pub(crate) fn flags(&self) -> [String; 2] {
        ["-f".to_owned(), self.folder.path().join("resources.yaml").display().to_string()]
    }
}

/// Measures modern calls of an API's operations; beside them stands an MCP server's exchange of the same size.
///
/// # Errors
/// When a load fails.
pub(crate) async fn api_calls(setting: &Setting<'_>) -> Result<Vec<CpuRound>> {
    let origin = setting.backend_url.trim_end_matches("/mcp");
    let server = json!({ "kind": "ToolServer", "name": "bench", "spec": {
        "openapi": { "document": "api.json", "auth": { "token": { "token": api::TOKEN } } },
    }});
    let toolset = json!({ "kind": "Toolset", "name": "default", "spec": { "servers": ["bench"] } });
    let resources = Resources::new(&[server, toolset])?.with("api.json", &api::document(origin).to_string())?;
    calls(setting, &resources).await
}

/// Measures modern calls of a tool that a toolset renames, describes anew, fixes an argument of, and holds to terms.
///
/// # Errors
/// When a load fails.
pub(crate) async fn curated_calls(setting: &Setting<'_>) -> Result<Vec<CpuRound>> {
    let server = json!({ "kind": "ToolServer", "name": "bench", "spec": { "urls": [setting.backend_url] } });
    let renamed = json!({
        "match": { "server": "bench", "name": tool_name(8) }, "rename": TOOL, "title": "Read the report",
        "arguments": { FIXED_ARGUMENT: { "fix": "en" } }, "timeout": "30s", "concurrency": 1000,
    });
    let all = json!({ "match": { "name": "read_*" }, "tags": ["reports"], "annotations": { "readOnlyHint": true } });
    let toolset = json!({ "kind": "Toolset", "name": "default", "spec": {
        "servers": [{ "server": "bench", "tools": { "include": ["read_*"], "exclude": [TOOL, "*_1*"] } }],
        "tools": [renamed, all],
    }});
    calls(setting, &Resources::new(&[server, toolset])?).await
}

async fn calls(setting: &Setting<'_>, resources: &Resources) -> Result<Vec<CpuRound>> {
    let Setting { bench, quorate, backend, backend_url, sink, plan } = setting;
    let gateway = Gateway::start(quorate, &resources.flags(), sink).await?;
    let parts = Parts { bench, backend, backend_url, gateway: &gateway };
    let rounds = parts.cpu(Measure::ModernCall, plan).await?;
    gateway.end().await?;
    Ok(rounds)
}
