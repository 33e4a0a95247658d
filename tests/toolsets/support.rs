//! A gateway with one toolset, and clients of every era that ask it.

use quorate_tests::raw::{
    backend::{Backend, Seen},
    gateway::{Gateway, OPEN},
    mcp::Mcp,
    session::Session,
};
use serde_json::{Value, json};

/// The revisions that differ in what toolsets do: before and after results for wrong arguments, and stateless.
pub(crate) const REVISIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// A client of one revision.
pub(crate) enum Client<'a> {
    Modern(&'a Gateway),
    Session(Session),
}

// === impl Client ===

impl<'a> Client<'a> {
    /// A client of each of [`REVISIONS`].
    pub(crate) fn all(gateway: &'a Gateway) -> anyhow::Result<Vec<(&'static str, Self)>> {
        REVISIONS.into_iter().map(|revision| Ok((revision, Self::of(gateway, revision)?))).collect()
    }

    pub(crate) fn of(gateway: &'a Gateway, revision: &str) -> anyhow::Result<Self> {
        Ok(match revision {
            "2026-07-28" => Self::Modern(gateway),
            revision => Self::Session(Session::open(gateway, revision)?),
        })
    }

    /// Sends a request and returns the whole answer.
    pub(crate) fn ask(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        match self {
            Self::Modern(gateway) => gateway.modern("q", method, params)?.message(),
            Self::Session(session) => session.request("q", method, params)?.message(),
        }
    }

    /// Calls a tool.
    pub(crate) fn call(&self, name: &str, arguments: Value) -> anyhow::Result<Value> {
        self.ask("tools/call", json!({ "name": name, "arguments": arguments }))
    }

    /// What a list shows under `key`.
    pub(crate) fn list(&self, method: &str, items: &str, key: &str) -> anyhow::Result<Vec<String>> {
        let listed = self.ask(method, json!({}))?;
        let items = listed["result"][items].as_array().unwrap_or_else(|| panic!("no list: {listed}")).clone();
        Ok(items.iter().filter_map(|item| Some(item[key].as_str()?.to_owned())).collect())
    }

    /// The names of the tools.
    pub(crate) fn tools(&self) -> anyhow::Result<Vec<String>> {
        self.list("tools/list", "tools", "name")
    }

    /// The definition of a tool.
    pub(crate) fn tool(&self, name: &str) -> anyhow::Result<Value> {
        let listed = self.ask("tools/list", json!({}))?;
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {listed}"));
        Ok(tools.iter().find(|tool| tool["name"] == name).unwrap_or_else(|| panic!("no {name}: {listed}")).clone())
    }
}

/// The resource file of a toolset with this `spec` over these servers.
pub(crate) fn document(servers: &[(&str, &Backend)], spec: &Value) -> String {
    let servers: Vec<(&str, Value)> =
        servers.iter().map(|(name, backend)| (*name, json!({ "urls": [backend.url()] }))).collect();
    document_of(&servers, spec)
}

/// The same with the `spec` of each server.
pub(crate) fn document_of(servers: &[(&str, Value)], spec: &Value) -> String {
    let mut documents = vec![json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } })];
    let server = |(name, spec): &(&str, Value)| json!({ "kind": "ToolServer", "name": name, "spec": spec });
    documents.extend(servers.iter().map(server));
    documents.push(json!({ "kind": "Toolset", "name": "default", "spec": spec }));
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Starts a gateway for it.
pub(crate) fn start(servers: &[(&str, &Backend)], spec: Value) -> anyhow::Result<Gateway> {
    Gateway::start(&document(servers, &spec), OPEN)
}

/// A server with these definitions of tools.
pub(crate) fn defined(name: &str, tools: Value) -> Mcp {
    Mcp::new(name).on("tools/list", move |seen, out| {
        let mut result = json!({ "tools": tools });
        if seen.is_modern() {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(60_000);
            result["cacheScope"] = json!("public");
        }
        out.result(seen, &result);
    })
}

/// The last call of a tool that a server got.
pub(crate) fn last_call(backend: &Backend) -> Seen {
    backend.seen().into_iter().rfind(|seen| seen.method() == "tools/call").expect("a tool was called")
}

/// The JSON-RPC code of an answer, and its id.
pub(crate) fn code(answer: &Value) -> (i64, &Value) {
    (answer["error"]["code"].as_i64().unwrap_or_default(), &answer["id"])
}
