//! A session-ful client: opens a session, posts into it, reads its streams.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{client, client::Answer, gateway::Gateway};

/// What a client of 2025-11-25 says that it can do.
pub(crate) const CAPABILITIES: &str = r#"{"elicitation":{"form":{}},"sampling":{},"roots":{"listChanged":true}}"#;

/// An open session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    address: SocketAddr,
    path: String,
    pub(crate) id: String,
    pub(crate) version: String,
}

// === impl Session ===

impl Session {
    /// Opens a session of this revision.
    pub(crate) fn open(gateway: &Gateway, version: &str) -> anyhow::Result<Self> {
        Self::open_at(gateway, "/mcp", version)
    }

    /// Opens one at another path.
    pub(crate) fn open_at(gateway: &Gateway, path: &str, version: &str) -> anyhow::Result<Self> {
        let answer = initialize_at(gateway, path, version)?;
        ensure!(answer.status == 200, "initialize is answered {}", answer.status);
        let id = answer.header("mcp-session-id").context("a session has an id")?.to_owned();
        let initialized = answer.message()?["result"].clone();
        let version = initialized["protocolVersion"].as_str().context("a session has a revision")?.to_owned();
        let session = Self { address: gateway.address, path: path.to_owned(), id, version };
        let told = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        ensure!(told.status == 202, "a notification is answered {}", told.status);
        Ok(session)
    }

    /// Posts a message.
    pub(crate) fn post(&self, message: &Value) -> anyhow::Result<Answer> {
        self.post_text(&message.to_string())
    }

    /// Posts a body.
    pub(crate) fn post_text(&self, body: &str) -> anyhow::Result<Answer> {
        let accept = ("accept", "application/json, text/event-stream");
        let headers = [&[("content-type", "application/json"), accept], &self.headers()[..]].concat();
        client::send(self.address, "POST", &self.path, &headers, body.as_bytes())
    }

    /// Posts a request.
    pub(crate) fn request(&self, id: impl Into<Value>, method: &str, params: Value) -> anyhow::Result<Answer> {
        self.post(&json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }))
    }

    /// Calls a tool and returns its answer.
    pub(crate) fn call(&self, id: impl Into<Value>, tool: &str) -> anyhow::Result<Value> {
        self.request(id, "tools/call", json!({ "name": tool, "arguments": {} }))?.message()
    }

    /// Reads a stream.
    pub(crate) fn get(&self, last_event_id: Option<&str>) -> anyhow::Result<Answer> {
        let mut headers = [&[("accept", "text/event-stream")], &self.headers()[..]].concat();
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        client::send(self.address, "GET", &self.path, &headers, b"")
    }

    /// Ends it.
    pub(crate) fn delete(&self) -> anyhow::Result<Answer> {
        client::send(self.address, "DELETE", &self.path, &self.headers(), b"")
    }

    /// The same with another id.
    pub(crate) fn with_id(&self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self.clone() }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("mcp-session-id", &self.id), ("mcp-protocol-version", &self.version)]
    }
}

/// Posts `initialize`.
pub(crate) fn initialize(gateway: &Gateway, version: &str) -> anyhow::Result<Answer> {
    initialize_at(gateway, "/mcp", version)
}

fn initialize_at(gateway: &Gateway, path: &str, version: &str) -> anyhow::Result<Answer> {
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let body = initialize_message(version).to_string();
    client::send(gateway.address, "POST", path, &headers, body.as_bytes())
}

/// The message that opens a session.
pub(crate) fn initialize_message(version: &str) -> Value {
    let capabilities: Value = serde_json::from_str(CAPABILITIES).expect("the constant is JSON");
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": capabilities, "clientInfo": { "name": "tests", "version": "1" },
    }})
}
