//! A session-ful client: opens a session, posts into it, reads its streams.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{client, client::Answer, gateway::Gateway};

/// What a client of 2025-11-25 says that it can do.
pub const CAPABILITIES: &str = r#"{"elicitation":{"form":{}},"sampling":{},"roots":{"listChanged":true}}"#;

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    address: SocketAddr,
    path: String,
    /// Its id.
    pub id: String,
    /// The revision that was agreed on.
    pub version: String,
}

// === impl Session ===

impl Session {
    /// Opens a session of this revision.
    pub fn open(gateway: &Gateway, version: &str) -> anyhow::Result<Self> {
        Self::open_at(gateway, "/mcp", version)
    }

    /// Opens one at another path.
    pub fn open_at(gateway: &Gateway, path: &str, version: &str) -> anyhow::Result<Self> {
        Self::of(gateway, path, initialize_at(gateway, path, version)?)
    }

    /// Opens one whose client declares these capabilities.
    pub fn open_as(gateway: &Gateway, version: &str, capabilities: Value) -> anyhow::Result<Self> {
        let mut message = initialize_message(version);
        message["params"]["capabilities"] = capabilities;
        Self::of(gateway, "/mcp", post_initialize(gateway, "/mcp", &message)?)
    }

    /// Opens one at a node that is known by its address alone.
    pub fn open_on(address: SocketAddr, path: &str, version: &str) -> anyhow::Result<Self> {
        Self::opened(address, path, send_initialize(address, path, &initialize_message(version))?)
    }

    fn of(gateway: &Gateway, path: &str, answer: Answer) -> anyhow::Result<Self> {
        Self::opened(gateway.address, path, answer)
    }

    fn opened(address: SocketAddr, path: &str, answer: Answer) -> anyhow::Result<Self> {
        ensure!(answer.status == 200, "initialize is answered {}", answer.status);
        let id = answer.header("mcp-session-id").context("a session has an id")?.to_owned();
        let initialized = answer.message()?["result"].clone();
        let version = initialized["protocolVersion"].as_str().context("a session has a revision")?.to_owned();
        let session = Self { address, path: path.to_owned(), id, version };
        let told = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        ensure!(told.status == 202, "a notification is answered {}", told.status);
        Ok(session)
    }

    /// Posts a message.
    pub fn post(&self, message: &Value) -> anyhow::Result<Answer> {
        self.post_text(&message.to_string())
    }

    /// Posts a message whose answer shall be a stream from its beginning.
    pub fn post_streamed(&self, message: &Value) -> anyhow::Result<Answer> {
        self.post_accepting("text/event-stream, application/json", &message.to_string())
    }

    /// Posts a body.
    pub fn post_text(&self, body: &str) -> anyhow::Result<Answer> {
        self.post_accepting("application/json, text/event-stream", body)
    }

    fn post_accepting(&self, accept: &str, body: &str) -> anyhow::Result<Answer> {
        let headers = [&[("content-type", "application/json"), ("accept", accept)], &self.headers()[..]].concat();
        client::send(self.address, "POST", &self.path, &headers, body.as_bytes())
    }

    /// Posts a request.
    pub fn request(&self, id: impl Into<Value>, method: &str, params: Value) -> anyhow::Result<Answer> {
        self.post(&json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }))
    }

    /// Calls a tool and returns its answer.
    pub fn call(&self, id: impl Into<Value>, tool: &str) -> anyhow::Result<Value> {
        self.request(id, "tools/call", json!({ "name": tool, "arguments": {} }))?.message()
    }

    /// Reads a stream.
    pub fn get(&self, last_event_id: Option<&str>) -> anyhow::Result<Answer> {
        let mut headers = [&[("accept", "text/event-stream")], &self.headers()[..]].concat();
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        client::send(self.address, "GET", &self.path, &headers, b"")
    }

    /// Ends it.
    pub fn delete(&self) -> anyhow::Result<Answer> {
        client::send(self.address, "DELETE", &self.path, &self.headers(), b"")
    }

    /// The same with another id.
    pub fn with_id(&self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self.clone() }
    }

    /// The same by way of another node.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        [("mcp-session-id", &self.id), ("mcp-protocol-version", &self.version)]
    }
}

/// Posts `initialize`.
pub fn initialize(gateway: &Gateway, version: &str) -> anyhow::Result<Answer> {
    initialize_at(gateway, "/mcp", version)
}

fn initialize_at(gateway: &Gateway, path: &str, version: &str) -> anyhow::Result<Answer> {
    post_initialize(gateway, path, &initialize_message(version))
}

fn post_initialize(gateway: &Gateway, path: &str, message: &Value) -> anyhow::Result<Answer> {
    send_initialize(gateway.address, path, message)
}

fn send_initialize(address: SocketAddr, path: &str, message: &Value) -> anyhow::Result<Answer> {
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    client::send(address, "POST", path, &headers, message.to_string().as_bytes())
}

/// The message that opens a session.
pub fn initialize_message(version: &str) -> Value {
    let capabilities: Value = serde_json::from_str(CAPABILITIES).expect("the constant is JSON");
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": capabilities, "clientInfo": { "name": "tests", "version": "1" },
    }})
}
