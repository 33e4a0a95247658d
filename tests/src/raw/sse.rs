//! A client of 2024-11-05: one stream for every answer, and an address to post to.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{client, client::Answer, gateway::Gateway, session::initialize_message};

/// A client with its one stream.
pub struct Sse {
    address: SocketAddr,
    /// Its stream.
    pub stream: Answer,
    /// Where it posts to.
    pub path: String,
}

// === impl Sse ===

impl Sse {
    /// Opens the stream and reads where to post to.
    pub fn connect(gateway: &Gateway, path: &str) -> anyhow::Result<Self> {
        let mut stream = client::send(gateway.address, "GET", path, &[("accept", "text/event-stream")], b"")?;
        ensure!((stream.status, stream.is_events()) == (200, true), "no stream: {}", stream.status);
        let first = stream.next_event()?.context("the stream begins with an event")?;
        ensure!(first.name.as_deref() == Some("endpoint"), "it begins with {first:?}");
        Ok(Self { address: gateway.address, stream, path: first.data })
    }

    /// Opens a session.
    pub fn open(gateway: &Gateway, path: &str) -> anyhow::Result<Self> {
        let mut sse = Self::connect(gateway, path)?;
        let initialized = sse.ask(&initialize_message("2024-11-05"))?;
        ensure!(initialized["result"]["protocolVersion"] == "2024-11-05", "{initialized}");
        sse.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string())?;
        Ok(sse)
    }

    /// Posts a body; its answer comes on the stream.
    pub fn post(&self, body: &str) -> anyhow::Result<Answer> {
        client::send(self.address, "POST", &self.path, &[("content-type", "application/json")], body.as_bytes())
    }

    /// Posts a request and reads its answer.
    pub fn ask(&mut self, message: &Value) -> anyhow::Result<Value> {
        let status = self.post(&message.to_string())?.status;
        ensure!(status == 202, "{status}: {message}");
        loop {
            let answer = self.receive()?;
            if answer.get("method").is_none() {
                return Ok(answer);
            }
        }
    }

    /// Calls a tool without arguments.
    pub fn call(&mut self, id: Value, tool: &str) -> anyhow::Result<Value> {
        let params = json!({ "name": tool, "arguments": {} });
        self.ask(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
    }

    /// The next message of the stream.
    pub fn receive(&mut self) -> anyhow::Result<Value> {
        let event = self.stream.next_event()?.context("the stream goes on")?;
        ensure!(event.id.is_none() && !event.data.is_empty(), "no ids and nothing empty in 2024: {event:?}");
        Ok(serde_json::from_str(&event.data)?)
    }
}
