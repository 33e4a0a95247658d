//! A well-behaved MCP server in a few lines, of both eras, of which a test replaces single answers.
//!
//! A rule looks at a request first; the first one that says yes has answered it. Everything else is answered from
//! the lists, as a server should. In the legacy era it keeps sessions, and answers 404 for one that it does not know.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    MODERN,
    backend::{Backend, Out, Seen},
};

/// The key of what a message of a subscription belongs to.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The extension by which stateless clients take tasks.
const TASKS: &str = "io.modelcontextprotocol/tasks";

type Rule = Box<dyn Fn(&Seen, &mut Out) -> bool + Send + Sync>;

/// Which eras a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Sessions only.
    Legacy,
    /// Stateless requests only.
    Modern,
    /// Both.
    Dual,
}

/// A server to be.
pub struct Mcp {
    name: String,
    era: Era,
    capabilities: Value,
    lists: Arc<Mutex<Lists>>,
    rules: Vec<Rule>,
}

/// What a server offers; a test may change it while the server runs.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Names of tools.
    pub tools: Vec<String>,
    /// Names of prompts.
    pub prompts: Vec<String>,
    /// URIs of resources.
    pub resources: Vec<String>,
}

// === impl Mcp ===

impl Mcp {
    /// A server of both eras whose tool `echo` says the server's name.
    pub fn new(name: &str) -> Self {
        let lists = Lists { tools: vec!["echo".to_owned()], ..Lists::default() };
        let capabilities = json!({
            "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "logging": {}, "completions": {},
            "resources": { "listChanged": true, "subscribe": true },
        });
        let lists = Arc::new(Mutex::new(lists));
        Self { name: name.to_owned(), era: Era::Dual, capabilities, lists, rules: Vec::new() }
    }

    /// Sets the eras that it speaks.
    pub fn era(mut self, era: Era) -> Self {
        self.era = era;
        self
    }

    /// Sets its tools.
    pub fn tools(self, names: &[&str]) -> Self {
        self.change(|lists| lists.tools = owned(names))
    }

    /// Sets its prompts.
    pub fn prompts(self, names: &[&str]) -> Self {
        self.change(|lists| lists.prompts = owned(names))
    }

    /// Sets its resources.
    pub fn resources(self, uris: &[&str]) -> Self {
        self.change(|lists| lists.resources = owned(uris))
    }

    /// Takes subscriptions of stateless clients: honours all that is asked for, and tells of nothing.
    pub fn listens(self) -> Self {
        self.on("subscriptions/listen", |seen, out| {
            let honoured = &seen.params()["notifications"];
            let params = json!({ "notifications": honoured, "_meta": { SUBSCRIPTION: seen.id() } });
            let acknowledged = "notifications/subscriptions/acknowledged";
            out.message(&json!({ "jsonrpc": "2.0", "method": acknowledged, "params": params }));
            out.wait_for_close();
        })
    }

    /// Runs calls as tasks where their clients take tasks, whoever they are; none of them ends. The status message of a task
    /// is the name of its tool.
    pub fn tasks(mut self) -> Self {
        self.capabilities["tasks"] = json!({ "list": {}, "requests": { "tools": { "call": {} } } });
        self.capabilities["extensions"] = json!({ TASKS: {} });
        let tools = Mutex::new(Vec::<String>::new());
        let task = |at: usize, tool: &str| json!({ "taskId": format!("task-{at}"), "status": "working", "statusMessage": tool });
        self.rule(move |seen, out| {
            let mut tools = tools.lock().unwrap_or_else(PoisonError::into_inner);
            let params = seen.params();
            match seen.method() {
                "tools/call" if takes_task(seen) => {
                    let task = task(tools.len(), params["name"].as_str().unwrap_or_default());
                    tools.push(params["name"].as_str().unwrap_or_default().to_owned());
                    out.result(seen, &begun(seen, task));
                }
                "tasks/get" => {
                    let mut tasks = tools.iter().enumerate().map(|(at, tool)| task(at, tool));
                    match tasks.find(|task| task["taskId"] == params["taskId"]) {
                        Some(task) => out.result(seen, &with_type(seen, "complete", task)),
                        None => out.error(seen, 200, -32602, "no such task"),
                    }
                }
                "tasks/list" => {
                    let tasks: Vec<Value> = tools.iter().enumerate().map(|(at, tool)| task(at, tool)).collect();
                    out.result(seen, &json!({ "tasks": tasks }));
                }
                _ => return false,
            }
            true
        })
    }

    /// The lists, to be changed later.
    pub fn lists(&self) -> Arc<Mutex<Lists>> {
        Arc::clone(&self.lists)
    }

    /// Answers requests with this JSON-RPC method by `answer` alone.
    pub fn on(self, method: &'static str, answer: impl Fn(&Seen, &mut Out) + Send + Sync + 'static) -> Self {
        self.rule(move |seen, out| {
            let is_it = seen.method() == method;
            if is_it {
                answer(seen, out);
            }
            is_it
        })
    }

    /// Lets `rule` look at each request first.
    pub fn rule(mut self, rule: impl Fn(&Seen, &mut Out) -> bool + Send + Sync + 'static) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    /// Starts it.
    pub fn start(self) -> anyhow::Result<Backend> {
        Backend::start(self.script())
    }

    /// Its script.
    pub fn script(self) -> impl Fn(&Seen, &mut Out) + Send + Sync + 'static {
        let (opened, known) = (AtomicUsize::new(0), Mutex::new(HashSet::<String>::new()));
        // A restarted server does not know the sessions of the one before.
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        move |seen, out| {
            if self.rules.iter().any(|rule| rule(seen, out)) {
                return;
            }
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.method() == "initialize" && self.era != Era::Modern {
                let session = format!("{}-{start}-{}", self.name, opened.fetch_add(1, Ordering::Relaxed));
                known.insert(session.clone());
                let result = json!({
                    "protocolVersion": seen.params()["protocolVersion"], "capabilities": self.capabilities,
                    "serverInfo": { "name": self.name, "version": "1" },
                });
                let message = json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result });
                return out.json_with(&[("mcp-session-id", &session)], &message);
            }
            let refuses = match (self.era, seen.is_modern()) {
                (Era::Legacy, true) => Some(400),
                (Era::Modern, false) => Some(400),
                (_, true) => None,
                (_, false) => (!seen.header("mcp-session-id").is_some_and(|id| known.contains(id))).then_some(404),
            };
            drop(known);
            match refuses {
                Some(status) => out.error(seen, status, -32600, "not in this era or session"),
                None if seen.http == "GET" => out.answer(405, &[], b""),
                None if seen.id().is_null() => out.answer(202, &[], b""),
                None => self.answer(seen, out),
            }
        }
    }

    fn answer(&self, seen: &Seen, out: &mut Out) {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let listed = |key: &str, items: Vec<Value>| json!({ key: items });
        let mut result = match seen.method() {
            "server/discover" => json!({
                "supportedVersions": [MODERN], "capabilities": self.capabilities,
                "serverInfo": { "name": self.name, "version": "1" },
            }),
            "tools/list" => listed("tools", lists.tools.iter().map(|name| tool(name)).collect()),
            "prompts/list" => listed("prompts", lists.prompts.iter().map(|name| json!({ "name": name })).collect()),
            "resources/list" => {
                listed("resources", lists.resources.iter().map(|uri| json!({ "name": uri, "uri": uri })).collect())
            }
            "resources/templates/list" => listed("resourceTemplates", Vec::new()),
            "tools/call" => {
                let said = format!("{}:{}", self.name, seen.params()["name"].as_str().unwrap_or_default());
                json!({ "content": [{ "type": "text", "text": said }] })
            }
            "prompts/get" => {
                let said = format!("{}:{}", self.name, seen.params()["name"].as_str().unwrap_or_default());
                json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": said } }] })
            }
            "resources/read" => {
                let uri = &seen.params()["uri"];
                if !lists.resources.iter().any(|known| Some(known.as_str()) == uri.as_str()) {
                    return out.error(seen, 200, -32602, "resource not found");
                }
                json!({ "contents": [{ "uri": uri, "text": self.name }] })
            }
            "completion/complete" => json!({ "completion": { "values": [self.name] } }),
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => json!({}),
            _ => return out.error(seen, if seen.is_modern() { 404 } else { 200 }, -32601, "method not found"),
        };
        if seen.is_modern() {
            result["resultType"] = json!("complete");
            if seen.method().ends_with("/list") || ["server/discover", "resources/read"].contains(&seen.method()) {
                result["ttlMs"] = json!(60_000);
                result["cacheScope"] = json!("public");
            }
        }
        out.result(seen, &result);
    }

    fn change(self, change: impl FnOnce(&mut Lists)) -> Self {
        change(&mut self.lists.lock().unwrap_or_else(PoisonError::into_inner));
        self
    }
}

/// A tool's entry in a list.
pub fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

/// The result of a tool that says `text`.
pub fn said(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "resultType": "complete" })
}

/// Whether the client of a call takes a task for it.
fn takes_task(seen: &Seen) -> bool {
    let params = seen.params();
    let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"];
    params["task"].is_object() || declared[TASKS].is_object()
}

/// The result of a call that goes on as a task.
fn begun(seen: &Seen, task: Value) -> Value {
    if seen.is_modern() { with_type(seen, "task", task) } else { json!({ "task": task }) }
}

/// A result with its type, which only the stateless revision has.
fn with_type(seen: &Seen, kind: &str, mut result: Value) -> Value {
    if seen.is_modern() {
        result["resultType"] = json!(kind);
    }
    result
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
