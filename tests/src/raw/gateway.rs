//! A gateway that serves resource files which the test writes, and may change while it runs.
//!
//! `quorate serve` with the development identity and the policy that allows everything, on ports that the system
//! chooses: the addresses are read from its log.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{http, paths, process::Process, wait};
use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{MODERN, PATIENCE, client, client::Answer};

/// The flags that let everybody on loopback do everything.
pub const OPEN: &[&str] = &["--development-identity", "--allow-all"];

/// A running gateway.
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Where its listener `data` is.
    pub address: SocketAddr,
    /// Where it serves health and metrics.
    pub admin: SocketAddr,
    /// Where its resource file is.
    pub folder: TempDir,
}

/// Resource documents of one listener, one toolset `default`, and these servers.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The `spec` of the listener.
    pub listener: Value,
    /// Names and `spec`s of the tool servers.
    pub servers: Vec<(String, Value)>,
    /// The naming of the toolset, where it is not left to the default.
    pub naming: Option<&'static str>,
    /// The toolset's `spec`, where it is more than its servers and their naming.
    pub toolset: Option<Value>,
}

impl Default for Documents {
    fn default() -> Self {
        Self { listener: json!({ "address": "127.0.0.1:0" }), servers: Vec::new(), naming: None, toolset: None }
    }
}

// === impl Documents ===

impl Documents {
    /// Documents without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a server with one URL.
    pub fn server(self, name: &str, url: &str) -> Self {
        self.server_with(name, json!({ "urls": [url] }))
    }

    /// Adds a server with this `spec`.
    pub fn server_with(mut self, name: &str, spec: Value) -> Self {
        self.servers.push((name.to_owned(), spec));
        self
    }

    /// Sets a limit of the listener.
    pub fn limit(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.listener["limits"][key] = value.into();
        self
    }

    /// Sets the naming of the toolset.
    pub fn naming(mut self, naming: &'static str) -> Self {
        self.naming = Some(naming);
        self
    }

    /// Sets the toolset's `spec`.
    pub fn toolset(mut self, spec: Value) -> Self {
        self.toolset = Some(spec);
        self
    }

    /// The text of the file. JSON is YAML, and documents are separated as in YAML.
    pub fn text(&self) -> String {
        let names: Vec<&str> = self.servers.iter().map(|(name, _)| name.as_str()).collect();
        let mut toolset = self.toolset.clone().unwrap_or_else(|| json!({ "servers": names }));
        if let Some(naming) = self.naming {
            toolset["naming"] = json!(naming);
        }
        let mut documents = vec![json!({ "kind": "Listener", "name": "data", "spec": self.listener })];
        let server = |(name, spec): &(String, Value)| json!({ "kind": "ToolServer", "name": name, "spec": spec });
        documents.extend(self.servers.iter().map(server));
        documents.push(json!({ "kind": "Toolset", "name": "default", "spec": toolset }));
        documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
    }

    /// Starts a gateway that everybody may use.
    pub fn start(&self) -> anyhow::Result<Gateway> {
        Gateway::start(&self.text(), OPEN)
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway with this file and these flags, and waits until it is ready.
    pub fn start(text: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("resources.yaml"), text)?;
        Self::start_in(folder, flags)
    }

    /// Starts a gateway with the `resources.yaml` of this folder.
    pub fn start_in(folder: TempDir, flags: &[&str]) -> anyhow::Result<Self> {
        let file = folder.path().join("resources.yaml");
        let mut command = Command::new(paths::binary("quorate")?);
        command.args(["serve", "--admin", "127.0.0.1:0", "--drain-timeout", "20s", "-f"]).arg(&file).args(flags);
        let mut process = Process::start("quorate serve", &mut command)?;
        let address = process.line(PATIENCE, |line| line.contains("listener=").then(|| address_in(line))?)?;
        let admin = process.line(PATIENCE, |line| line.contains("serving health").then(|| address_in(line))?)?;
        process.ready("readiness", PATIENCE, || {
            let answer = http::get(admin, "/readyz")?;
            anyhow::ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })?;
        Ok(Self { process, address, admin, folder })
    }

    /// The file with its resources.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("resources.yaml")
    }

    /// Writes the file anew, as editors do: beside it, then over it.
    pub fn rewrite(&self, text: &str) -> anyhow::Result<()> {
        replace(&self.file(), text)
    }

    /// Sends a request to `/mcp`.
    pub fn send(&self, method: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Answer> {
        client::send(self.address, method, "/mcp", headers, body.as_bytes())
    }

    /// Sends a request of the stateless revision, complete and correct.
    pub fn modern(&self, id: impl Into<Value>, method: &str, params: Value) -> anyhow::Result<Answer> {
        let (headers, body) = modern_request(&id.into(), method, params);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("POST", &headers, &body.to_string())
    }

    /// Calls a tool without arguments in the stateless revision, and returns its text.
    pub fn call(&self, tool: &str) -> anyhow::Result<String> {
        let message = self.modern(1, "tools/call", json!({ "name": tool, "arguments": {} }))?.message()?;
        let text = message["result"]["content"][0]["text"].as_str();
        Ok(text.with_context(|| format!("no text: {message}"))?.to_owned())
    }

    /// What a list shows under `key`, in the stateless revision: all pages.
    pub fn list(&self, method: &str, items: &str, key: &str) -> anyhow::Result<Vec<String>> {
        let (mut found, mut cursor) = (Vec::new(), None::<Value>);
        loop {
            let params = cursor.map_or(json!({}), |cursor| json!({ "cursor": cursor }));
            let message = self.modern(1, method, params)?.message()?;
            let page = message["result"][items].as_array().with_context(|| format!("no list: {message}"))?;
            found.extend(page.iter().filter_map(|item| Some(item[key].as_str()?.to_owned())));
            cursor = message["result"].get("nextCursor").cloned();
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// The names of the tools, in the stateless revision.
    pub fn tools(&self) -> anyhow::Result<Vec<String>> {
        self.list("tools/list", "tools", "name")
    }

    /// Waits for a line of its log that contains `text`.
    pub fn logged(&mut self, text: &str) -> anyhow::Result<String> {
        self.process.line(PATIENCE, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// The value of a metric: the sum of the lines that begin with `name` and contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> anyhow::Result<f64> {
        let text = http::get(self.admin, "/metrics")?.body;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until a metric has such a value.
    pub fn metric_until(&self, name: &str, labels: &str, holds: impl Fn(f64) -> bool) -> anyhow::Result<f64> {
        wait::until(name, PATIENCE, || {
            let value = self.metric(name, labels)?;
            anyhow::ensure!(holds(value), "{name} {labels} is {value}");
            Ok(value)
        })
    }

    /// The resident memory of the process in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("Linux shows VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

/// The headers and the body of a correct request of the stateless revision.
pub fn modern_request(id: &Value, method: &str, mut params: Value) -> (Vec<(&'static str, String)>, Value) {
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json, text/event-stream".to_owned()),
        ("mcp-protocol-version", MODERN.to_owned()),
        ("mcp-method", method.to_owned()),
    ];
    let key = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    if let Some(name) = key.and_then(|key| params[key].as_str()) {
        headers.push(("mcp-name", name.to_owned()));
    }
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    if params["_meta"].get("io.modelcontextprotocol/clientCapabilities").is_none() {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    (headers, json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
}

/// Replaces a file at once, also where others replace it in the same moment.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    fs::write(&beside, text)?;
    Ok(fs::rename(&beside, path)?)
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_whitespace().find_map(|word| word.strip_prefix("address=")?.parse().ok())
}
