//! Sessions belong to who opened them: over a refreshed token, and for nobody else.

use anyhow::{Context as _, ensure};
use quorate_tests::raw::{backend::Backend, client, gateway::Gateway, mcp::Mcp, session};
use serde_json::{Value, json};

use crate::{idp::Idp, site::Site};

const PATH: &str = "/mcp/tools";
const VERSION: &str = "2025-11-25";

/// A session as its client sees it: an id, shown with one token or another.
pub(crate) struct Session<'a> {
    gateway: &'a Gateway,
    path: &'a str,
    version: &'a str,
    id: Option<String>,
}

// === impl Session ===

impl Session<'_> {
    /// Opens one.
    pub(crate) fn open<'a>(gateway: &'a Gateway, token: &str) -> anyhow::Result<Session<'a>> {
        Self::open_as(gateway, token, VERSION)
    }

    /// Opens one of this revision.
    fn open_as<'a>(gateway: &'a Gateway, token: &str, version: &'a str) -> anyhow::Result<Session<'a>> {
        let mut opened = Session { gateway, path: PATH, version, id: None };
        let answer = opened.post(token, &session::initialize_message(version))?;
        ensure!(answer.status == 200, "initialize is answered {}", answer.status);
        opened.id = Some(answer.header("mcp-session-id").context("a session has an id")?.to_owned());
        let told = opened.post(token, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        ensure!(told.status == 202, "a notification is answered {}", told.status);
        Ok(opened)
    }

    fn send(&self, token: &str, method: &str, body: &str) -> anyhow::Result<client::Answer> {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" }),
        ];
        if let Some(id) = &self.id {
            headers.extend([("mcp-session-id", id.as_str()), ("mcp-protocol-version", self.version)]);
        }
        client::send(self.gateway.address, method, self.path, &headers, body.as_bytes())
    }

    fn post(&self, token: &str, message: &Value) -> anyhow::Result<client::Answer> {
        self.send(token, "POST", &message.to_string())
    }

    /// Opens its stream.
    pub(crate) fn stream(&self, token: &str) -> anyhow::Result<client::Answer> {
        let stream = self.send(token, "GET", "")?;
        ensure!((stream.status, stream.is_events()) == (200, true), "no stream: {}", stream.status);
        Ok(stream)
    }

    /// Calls the tool `now`.
    pub(crate) fn call(&self, token: &str) -> anyhow::Result<client::Answer> {
        let params = json!({ "name": "now", "arguments": {} });
        self.post(token, &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }))
    }

    /// Calls it, and asks to be told of its progress.
    pub(crate) fn call_telling(&self, token: &str) -> anyhow::Result<client::Answer> {
        let params = json!({ "name": "now", "arguments": {}, "_meta": { "progressToken": "p" } });
        self.post(token, &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }))
    }

    /// Reads what is told without being asked for.
    pub(crate) fn listen(&self, token: &str) -> anyhow::Result<client::Answer> {
        self.send(token, "GET", "")
    }

    /// Calls it, and expects its text.
    pub(crate) fn check_call(&self, token: &str) -> anyhow::Result<()> {
        let message = self.call(token)?.message()?;
        ensure!(message["result"]["content"][0]["text"] == "clock:now", "{message}");
        Ok(())
    }
}

/// A gateway with two toolsets, for people of this provider.
fn start(idp: &Idp) -> anyhow::Result<(Backend, Gateway, String)> {
    let clock = Mcp::new("clock").tools(&["now"]).start()?;
    let toolset = json!({ "servers": ["clock"], "naming": "bare" });
    let site = Site::new()
        .signed_by(idp)
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", toolset.clone())
        .with("Toolset", "other", toolset)
        .policy("permit(principal, action, resource);");
    let gateway = site.start()?;
    let resource = format!("http://{}{PATH}", gateway.address);
    Ok((clock, gateway, resource))
}

#[test]
fn a_session_goes_on_with_the_next_token_of_the_same_person() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let (first, next) = (idp.token_of("alice", &resource, "mcp")?, idp.token_of("alice", &resource, "mcp")?);
    ensure!(first != next, "the provider gives the same token twice");

    let session = Session::open(&gateway, &first)?;

    session.check_call(&first)?;
    session.check_call(&next)?;
    session.check_call(&first)
}

#[test]
fn a_session_of_one_person_does_not_exist_for_another() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (clock, gateway, resource) = start(&idp)?;
    let (alice, bob) = (idp.token_of("alice", &resource, "mcp")?, idp.token_of("bob", &resource, "mcp")?);
    let session = Session::open(&gateway, &alice)?;
    let invented = Session { gateway: &gateway, path: PATH, version: VERSION, id: Some("invented".to_owned()) };

    for method in ["POST", "GET", "DELETE"] {
        let body = if method == "POST" { r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"# } else { "" };
        let stolen = session.send(&bob, method, body)?;
        let unknown = invented.send(&bob, method, body)?;
        assert_eq!((stolen.status, unknown.status), (404, 404), "{method}");
        assert_eq!(stolen.text()?, unknown.text()?, "{method}: the answers tell them apart");
    }
    assert_eq!(session.call(&bob)?.status, 404);

    assert_eq!(clock.count("tools/call"), 0);
    session.check_call(&alice).context("the session is still there")
}

#[test]
fn a_session_without_a_good_token_is_challenged_and_stays() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let alice = idp.token_of("alice", &resource, "mcp")?;
    let elsewhere = idp.token_of("alice", &resource.replace("tools", "other"), "mcp")?;
    let session = Session::open(&gateway, &alice)?;

    for token in ["worthless", &elsewhere] {
        let refused = session.call(token)?;
        assert_eq!(refused.status, 401);
        ensure!(refused.header("www-authenticate").is_some(), "no challenge");
    }

    session.check_call(&alice)
}

#[test]
fn a_session_of_one_toolset_is_none_of_another() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let alice = idp.token_of("alice", &resource, "mcp")?;
    let elsewhere = idp.token_of("alice", &resource.replace("tools", "other"), "mcp")?;
    let session = Session::open(&gateway, &alice)?;

    let other = Session { path: "/mcp/other", version: VERSION, id: session.id.clone(), gateway: &gateway };

    assert_eq!(other.call(&elsewhere)?.status, 404);
    session.check_call(&alice)
}

#[test]
fn a_batch_of_whoever_may_not_enter_is_refused_as_one_request_is() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let clock = Mcp::new("clock").tools(&["now"]).start()?;
    let gateway = Site::new()
        .signed_by(&idp)
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "scopes": ["files:read"] }))
        .policy("permit(principal, action, resource);")
        .start()?;
    let resource = format!("http://{}{PATH}", gateway.address);
    let whole = idp.token_of("alice", &resource, "mcp files:read")?;
    // Batches are of this revision alone.
    let session = Session::open_as(&gateway, &whole, "2025-03-26")?;
    let less = idp.token_of("alice", &resource, "mcp")?;

    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    for batch in [json!(ping), json!([ping]), json!([ping, { "jsonrpc": "2.0", "method": "notifications/tests/x" }])] {
        let answer = session.post(&less, &batch)?;
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        assert_eq!((answer.status, answer.is_events()), (403, false), "{batch}");
        ensure!(challenge.contains("insufficient_scope") && challenge.contains("files:read"), "{challenge}");
    }
    Ok(())
}
