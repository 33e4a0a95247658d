//! A caller of one tenant, who sends requests of both eras and keeps what an answer says.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use quorate_tests::raw::{
    client::{self, Answer},
    gateway::modern_request,
    session::initialize_message,
};
use serde_json::{Value, json};

/// The revision of sessions.
pub(crate) const VERSION: &str = "2025-11-25";
const BOTH: &str = "application/json, text/event-stream";

/// A caller.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) address: SocketAddr,
    /// Its tenant, with which the names of all that is its own begin.
    pub(crate) tenant: &'static str,
    pub(crate) key: String,
}

/// What an answer tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// What headers say, but for dates and lengths.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

// === impl Party ===

impl Party {
    /// Sends a request and returns its answer as it begins.
    pub(crate) fn send(&self, http: &str, path: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Answer> {
        let headers = [&[("x-api-key", self.key.as_str())], headers].concat();
        client::send(self.address, http, path, &headers, body.as_bytes())
    }

    /// Sends a request of the stateless revision, of a client that can be asked by forms.
    pub(crate) fn begin(&self, path: &str, method: &str, mut params: Value) -> anyhow::Result<Answer> {
        let can = json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } });
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = can;
        let (headers, body) = modern_request(&json!("q"), method, params);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("POST", path, &headers, &body.to_string())
    }

    /// The same, with its whole answer.
    pub(crate) fn modern(&self, path: &str, method: &str, params: Value) -> anyhow::Result<Reply> {
        Reply::of(self.begin(path, method, params)?)
    }

    /// Opens a session.
    pub(crate) fn open(&self, path: &str) -> anyhow::Result<String> {
        let headers = [("content-type", "application/json"), ("accept", BOTH)];
        let answer = self.send("POST", path, &headers, &initialize_message(VERSION).to_string())?;
        ensure!(answer.status == 200, "initialize is answered {}", answer.status);
        let id = answer.header("mcp-session-id").context("a session has an id")?.to_owned();
        let told = self.post(path, &id, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        ensure!(told.status == 202, "a notification is answered {}", told.status);
        Ok(id)
    }

    /// Posts a message into a session.
    pub(crate) fn post(&self, path: &str, session: &str, message: &Value) -> anyhow::Result<Reply> {
        let headers = [
            ("content-type", "application/json"),
            ("accept", BOTH),
            ("mcp-session-id", session),
            ("mcp-protocol-version", VERSION),
        ];
        Reply::of(self.send("POST", path, &headers, &message.to_string())?)
    }

    /// Posts a request into a session.
    pub(crate) fn ask(&self, path: &str, session: &str, method: &str, params: Value) -> anyhow::Result<Reply> {
        self.post(path, session, &json!({ "jsonrpc": "2.0", "id": "q", "method": method, "params": params }))
    }

    /// Reads a stream of a session, from its beginning or from after an event on.
    pub(crate) fn listen(&self, path: &str, session: &str, after: Option<&str>) -> anyhow::Result<Answer> {
        let mut headers =
            vec![("accept", "text/event-stream"), ("mcp-session-id", session), ("mcp-protocol-version", VERSION)];
        headers.extend(after.map(|id| ("last-event-id", id)));
        self.send("GET", path, &headers, "")
    }

    /// Ends a session.
    pub(crate) fn delete(&self, path: &str, session: &str) -> anyhow::Result<Reply> {
        Reply::of(self.send("DELETE", path, &[("mcp-session-id", session), ("mcp-protocol-version", VERSION)], "")?)
    }
}

// === impl Reply ===

impl Reply {
    /// Takes a whole answer.
    pub(crate) fn of(answer: Answer) -> anyhow::Result<Self> {
        let (status, headers, body) = (answer.status, Self::telling(&answer), answer.text()?);
        Ok(Self { status, headers, body })
    }

    /// Takes the first message of a stream, and leaves; the whole of another answer.
    pub(crate) fn first_of(mut answer: Answer) -> anyhow::Result<Self> {
        if !answer.is_events() || answer.status != 200 {
            return Self::of(answer);
        }
        let (status, headers) = (answer.status, Self::telling(&answer));
        let body = answer.next_message()?.map(|message| message.to_string()).unwrap_or_default();
        Ok(Self { status, headers, body })
    }

    fn telling(answer: &Answer) -> Vec<(String, String)> {
        let is_said = |name: &str| !["date", "content-length", "transfer-encoding"].contains(&name);
        answer.headers.iter().filter(|(name, _)| is_said(name)).cloned().collect()
    }

    /// The message that it is, or that its event stream ends with.
    pub(crate) fn message(&self) -> anyhow::Result<Value> {
        let last = self.body.lines().filter_map(|line| line.strip_prefix("data:")).next_back();
        let text = last.unwrap_or(&self.body).trim();
        serde_json::from_str(text).with_context(|| format!("{} without JSON: {:?}", self.status, self.body))
    }

    /// The result that it has.
    pub(crate) fn result(&self) -> anyhow::Result<Value> {
        let message = self.message()?;
        message.get("result").cloned().with_context(|| format!("no result: {message}"))
    }

    /// The same without what differs between two answers to the same: how long a list is good, and a fresh cursor.
    pub(crate) fn timeless(self) -> Self {
        let cut = |text: &str, key: &str, is_value: fn(char) -> bool| {
            let mut parts = text.split(key);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |before, part| before + key + part.trim_start_matches(is_value))
        };
        let body = cut(&self.body, "\"ttlMs\":", |of| of.is_ascii_digit());
        Self { body: cut(&body, "\"nextCursor\":\"", |of| of != '"'), ..self }
    }

    /// Everything that it tells, as one text.
    pub(crate) fn text(&self) -> String {
        format!("{} {:?} {}", self.status, self.headers, self.body)
    }
}
