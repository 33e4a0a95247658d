//! Providers and a gateway in front of them.

use std::{net::SocketAddr, process::Command};

use anyhow::Context as _;
pub(crate) use quorate_tests::raw::shape::{SHAPES, Shape};
use quorate_tests::{
    http, paths,
    process::Process,
    raw::{
        PATIENCE,
        client::{self, Answer},
        gateway::{Gateway, OPEN},
    },
};
use serde_json::{Value, json};

/// A provider that does what the name of a model says.
pub(crate) struct Provider {
    /// Its process, which ends with this.
    _process: Process,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

// === impl Provider ===

impl Provider {
    /// Starts one.
    pub(crate) fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(paths::binary("quorate-bench")?);
        command.args(["provider", "--port", "0"]).args(flags);
        let mut process = Process::converse("provider", &mut command)?;
        let url = process.line(PATIENCE, |line| Some(line.strip_prefix("http://")?.to_owned()))?;
        let address = url.trim_end_matches('/').parse().with_context(|| format!("no address: {url}"))?;
        Ok(Self { _process: process, address })
    }

    /// What it has served.
    pub(crate) fn ledger(&self) -> anyhow::Result<Value> {
        let answer = http::get(self.address, "/ledger")?;
        serde_json::from_str(&answer.body).with_context(|| format!("no ledger: {}", answer.body))
    }

    /// How many requests it got for a model.
    pub(crate) fn requests(&self, model: &str) -> anyhow::Result<u64> {
        let ledger = self.ledger()?;
        Ok(ledger["models"][model]["requests"].as_u64().unwrap_or(0))
    }

    /// The document of it, by a name, with what it knows and more.
    pub(crate) fn document(&self, name: &str, preset: &str, more: &Value) -> Value {
        let version = if matches!(preset, "anthropic" | "gemini") { "" } else { "/v1" };
        let mut spec = json!({ "preset": preset, "url": format!("http://{}{version}", self.address) });
        if matches!(preset, "anthropic" | "gemini") {
            spec["keys"] = json!(["a-key-of-the-provider"]);
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({ "kind": "Provider", "name": name, "spec": spec })
    }
}

/// A model document.
pub(crate) fn model(name: &str, spec: &Value) -> Value {
    json!({ "kind": "Model", "name": name, "spec": spec })
}

/// The text of a file with a listener and these documents.
pub(crate) fn text(documents: &[Value]) -> String {
    let listener = json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } });
    let all = std::iter::once(&listener).chain(documents);
    all.map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Starts a gateway with these documents, which everybody may use.
pub(crate) fn gateway(documents: &[Value]) -> anyhow::Result<Gateway> {
    Gateway::start(&text(documents), OPEN)
}

/// A gateway whose only model, by any name, is answered by one provider of chat completions.
pub(crate) fn plain(provider: &Provider, more: &Value) -> anyhow::Result<Gateway> {
    let target = json!({ "names": ["*"], "targets": [{ "provider": "p" }] });
    gateway(&[provider.document("p", "openai-compatible", more), model("any", &target)])
}

/// Posts JSON.
pub(crate) fn post(gateway: &Gateway, path: &str, body: &Value) -> anyhow::Result<Answer> {
    post_with(gateway, path, &[], body.to_string().as_bytes())
}

/// Posts bytes that say that they are JSON, with more headers.
pub(crate) fn post_with(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let all = [&[("content-type", "application/json")], headers].concat();
    client::send(gateway.address, "POST", path, &all, body)
}

/// Waits for the line of a call that has all of this.
pub(crate) fn recorded(gateway: &mut Gateway, parts: &[&str]) -> anyhow::Result<String> {
    let is_it = |line: &str| line.contains("a model was called") && parts.iter().all(|part| line.contains(part));
    gateway.process.line(PATIENCE, |line| is_it(line).then(|| line.to_owned()))
}
