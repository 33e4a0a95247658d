//! The tool servers: two of the operator's that both tenants use with one credential, and one of each tenant.
//!
//! Whatever they have or say of a tenant carries its name, so that a leak shows. They keep tasks for whoever knows an id,
//! list those of everybody and tell everybody of all: as servers do that know one client only, the gateway.

use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
    mpsc::{SyncSender, sync_channel},
};

use quorate_tests::raw::{
    MODERN, PATIENCE,
    backend::{Backend, Out, Seen},
    mcp::{Era, Mcp, tool},
};
use serde_json::{Value, json};

use crate::world::TENANTS;

/// Messages that wait for one stream: a stream that is not read any more is dropped when it has so many.
const NEWS_MAX: usize = 1024;

/// What a server keeps of its callers.
#[derive(Default)]
pub(crate) struct Book {
    kept: Mutex<Kept>,
    changed: Condvar,
    /// Requests that name something of a tenant, by its place.
    mentions: [AtomicUsize; TENANTS.len()],
}

#[derive(Default)]
struct Kept {
    /// Ids and states.
    tasks: Vec<(String, &'static str)>,
    questions: usize,
    answers: Vec<(String, Value)>,
    streams: Vec<SyncSender<Value>>,
}

// === impl Book ===

impl Book {
    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        let worked = work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        worked
    }

    fn wait<T>(&self, pick: impl Fn(&Kept) -> Option<T>) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(kept, PATIENCE, |kept| pick(kept).is_none());
        pick(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many requests named something of this tenant.
    pub(crate) fn mentions(&self, tenant: &str) -> usize {
        let place = TENANTS.iter().position(|known| *known == tenant).expect("a tenant of the world");
        self.mentions[place].load(Ordering::SeqCst)
    }

    /// Says something on every stream that is open.
    pub(crate) fn tell(&self, message: &Value) {
        self.with(|kept| kept.streams.retain(|stream| stream.try_send(message.clone()).is_ok()));
    }

    /// The id of the last task of this tenant.
    pub(crate) fn last_task(&self, tenant: &str) -> Option<String> {
        self.with(|kept| {
            let of_tenant = kept.tasks.iter().rev().find(|(id, _)| id.starts_with(tenant));
            of_tenant.map(|(id, _)| id.clone())
        })
    }

    fn note(&self, seen: &Seen) {
        let text = seen.body.to_string();
        for (tenant, count) in TENANTS.iter().zip(&self.mentions) {
            if text.contains(tenant) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn begin_task(&self, tool: &str) -> String {
        self.with(|kept| {
            let id = format!("{tool}-{}", kept.tasks.len());
            kept.tasks.push((id.clone(), "working"));
            id
        })
    }

    fn task(&self, id: &str) -> Option<Value> {
        self.with(|kept| Some(shown(kept.tasks.iter().find(|(known, _)| known == id)?)))
    }

    fn cancel(&self, id: &str) -> Option<Value> {
        self.with(|kept| {
            let task = kept.tasks.iter_mut().find(|(known, _)| known == id)?;
            task.1 = "cancelled";
            Some(shown(task))
        })
    }
}

/// A task as its server shows it.
fn shown((id, status): &(String, &'static str)) -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({
        "taskId": id, "status": status, "statusMessage": format!("{id} goes on"), "createdAt": at, "lastUpdatedAt": at,
        "ttl": 3_600_000, "ttlMs": 3_600_000,
    })
}

/// What each server has of each tenant, by the ending of its name.
fn of_each(endings: &[&str]) -> Vec<String> {
    TENANTS.iter().flat_map(|tenant| endings.iter().map(move |ending| format!("{tenant}{ending}"))).collect()
}

fn names(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The operator's server of stateless requests: jobs that are tasks of the extension, prompts, resources, completion.
pub(crate) fn hub() -> anyhow::Result<(Backend, Arc<Book>)> {
    let book = Arc::new(Book::default());
    let (notes, tasks) = (Arc::clone(&book), Arc::clone(&book));
    let (tools, prompts, uris) = (of_each(&["-job", "-say"]), of_each(&["-prompt"]), of_each(&["://doc"]));
    let mcp = Mcp::new("hub").era(Era::Modern);
    let mcp = mcp.tools(&names(&tools)).prompts(&names(&prompts)).resources(&names(&uris)).rule(move |seen, _| {
        notes.note(seen);
        false
    });
    let mcp = mcp.rule(move |seen, out| answer_hub(&tasks, seen, out));
    Ok((mcp.start()?, book))
}

fn answer_hub(book: &Book, seen: &Seen, out: &mut Out) -> bool {
    let id = seen.params()["taskId"].as_str().unwrap_or_default();
    match seen.method() {
        "tools/call" => {
            let name = seen.params()["name"].as_str().unwrap_or_default();
            if !name.ends_with("-job") {
                return false;
            }
            let mut task = book.task(&book.begin_task(name)).expect("it was just begun");
            task["resultType"] = json!("task");
            out.result(seen, &task);
        }
        "tasks/get" | "tasks/cancel" | "tasks/update" => {
            let task = if seen.method() == "tasks/cancel" { book.cancel(id) } else { book.task(id) };
            let Some(mut task) = task else {
                out.error(seen, 200, -32602, "no such task");
                return true;
            };
            task["resultType"] = json!("complete");
            out.result(seen, &task);
        }
        "server/discover" => {
            let changes = json!({ "listChanged": true });
            let capabilities = json!({
                "tools": changes, "prompts": changes, "resources": { "subscribe": true }, "completions": {},
                "extensions": { "io.modelcontextprotocol/tasks": {} },
            });
            out.result(seen, &json!({
                "supportedVersions": [MODERN], "serverInfo": { "name": "hub", "version": "1" }, "capabilities": capabilities,
                "instructions": "The hub knows.", "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public",
            }));
        }
        "subscriptions/listen" => {
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": seen.id() });
            let params = json!({ "notifications": seen.params()["notifications"], "_meta": meta });
            let acknowledged = "notifications/subscriptions/acknowledged";
            out.message(&json!({ "jsonrpc": "2.0", "method": acknowledged, "params": params }));
            out.wait_for_close();
        }
        "completion/complete" => {
            let of = seen.params()["ref"]["name"].as_str().or(seen.params()["ref"]["uri"].as_str());
            let values = json!({ "values": [format!("{} completed", of.unwrap_or_default())] });
            out.result(seen, &json!({ "completion": values, "resultType": "complete" }));
        }
        _ => return false,
    }
    true
}

/// The operator's server of sessions: work that is tasks of 2025-11-25, and questions to whoever calls.
pub(crate) fn desk() -> anyhow::Result<(Backend, Arc<Book>)> {
    let book = Arc::new(Book::default());
    let (notes, kept) = (Arc::clone(&book), Arc::clone(&book));
    let (tools, uris) = (of_each(&["-ask", "-work"]), of_each(&["-desk://doc"]));
    let mcp = Mcp::new("desk").era(Era::Legacy).tools(&names(&tools)).resources(&names(&uris)).rule(move |seen, _| {
        notes.note(seen);
        false
    });
    let mcp = mcp.rule(move |seen, out| answer_desk(&kept, seen, out));
    Ok((mcp.start()?, book))
}

fn answer_desk(book: &Book, seen: &Seen, out: &mut Out) -> bool {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let id = seen.params()["taskId"].as_str().unwrap_or_default();
    match (seen.http.as_str(), seen.method()) {
        ("GET", _) => tell_news(book, out),
        ("DELETE", _) => out.answer(200, &[], b""),
        (_, "initialize") => {
            let session = format!("desk-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
            let result = json!({
                "protocolVersion": seen.params()["protocolVersion"], "serverInfo": { "name": "desk", "version": "1" },
                "instructions": "The desk asks.",
                "capabilities": {
                    "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "logging": {},
                    "resources": { "subscribe": true },
                    "tasks": { "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } },
                },
            });
            let message = json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result });
            out.json_with(&[("mcp-session-id", &session)], &message);
        }
        (_, "") if !seen.id().is_null() => {
            let answer = (seen.id().as_str().unwrap_or_default().to_owned(), seen.body.clone());
            book.with(|kept| kept.answers.push(answer));
            out.answer(202, &[], b"");
        }
        (_, _) if seen.id().is_null() => out.answer(202, &[], b""),
        (_, "tools/list") => {
            let tools: Vec<Value> = of_each(&["-ask", "-work"]).iter().map(|name| tool(name)).collect();
            out.result(seen, &json!({ "tools": tools }));
        }
        (_, "resources/list") => {
            let uris = of_each(&["-desk://doc"]);
            let uris: Vec<Value> = uris.iter().map(|uri| json!({ "name": uri, "uri": uri })).collect();
            out.result(seen, &json!({ "resources": uris }));
        }
        (_, "tools/call") => call_desk(book, seen, out),
        (_, "tasks/list") => {
            let tasks: Vec<Value> = book.with(|kept| kept.tasks.iter().map(shown).collect());
            out.result(seen, &json!({ "tasks": tasks }));
        }
        (_, "tasks/get" | "tasks/cancel" | "tasks/result") => {
            let task = if seen.method() == "tasks/cancel" { book.cancel(id) } else { book.task(id) };
            match task {
                None => out.error(seen, 200, -32602, "no such task"),
                Some(task) if seen.method() != "tasks/result" => out.result(seen, &task),
                Some(_) => {
                    let said = json!([{ "type": "text", "text": format!("{id} done") }]);
                    let related = json!({ "io.modelcontextprotocol/related-task": { "taskId": id } });
                    out.result(seen, &json!({ "content": said, "_meta": related }));
                }
            }
        }
        (_, "prompts/list") => out.result(seen, &json!({ "prompts": [] })),
        (_, "resources/templates/list") => out.result(seen, &json!({ "resourceTemplates": [] })),
        (_, "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" | "ping") => {
            out.result(seen, &json!({}))
        }
        (_, "resources/read") => {
            let uri = &seen.params()["uri"];
            out.result(seen, &json!({ "contents": [{ "uri": uri, "text": uri }] }));
        }
        _ => out.error(seen, 200, -32601, "method not found"),
    }
    true
}

/// Writes to a stream what everybody is told.
fn tell_news(book: &Book, out: &mut Out) {
    let (tell, told) = sync_channel(NEWS_MAX);
    book.with(|kept| kept.streams.push(tell));
    out.begin_events(&[]);
    while let Ok(message) = told.recv() {
        if !out.message(&message) {
            return;
        }
    }
}

fn call_desk(book: &Book, seen: &Seen, out: &mut Out) {
    let name = seen.params()["name"].as_str().unwrap_or_default();
    if seen.params().get("task").is_some() {
        let task = book.task(&book.begin_task(name));
        return out.result(seen, &json!({ "task": task }));
    }
    if !name.ends_with("-ask") {
        return out.result(seen, &json!({ "content": [{ "type": "text", "text": format!("{name} said") }] }));
    }
    let question = book.with(|kept| {
        kept.questions += 1;
        format!("q{}", kept.questions)
    });
    let schema = json!({ "type": "object", "properties": { "word": { "type": "string" } } });
    let params = json!({ "message": format!("{name} wants to know"), "requestedSchema": schema });
    out.message(&json!({ "jsonrpc": "2.0", "id": question, "method": "elicitation/create", "params": params }));
    let answered = book.wait(|kept| kept.answers.iter().find(|(id, _)| *id == question).cloned());
    let Some((_, answer)) = answered else { return };
    let said = json!([{ "type": "text", "text": format!("{name} heard {}", answer["result"]) }]);
    out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "content": said } }));
    out.end_events();
}

/// A tenant's own server, of both eras.
pub(crate) fn own(tenant: &'static str) -> anyhow::Result<(Backend, Arc<Book>)> {
    let book = Arc::new(Book::default());
    let notes = Arc::clone(&book);
    let name = |ending: &str| format!("{tenant}{ending}");
    let mcp = Mcp::new(&name("-files")).tools(&[&name("-read")]).prompts(&[&name("-plan")]);
    let mcp = mcp.resources(&[&name("-own://doc")]).rule(move |seen, _| {
        notes.note(seen);
        false
    });
    Ok((mcp.start()?, book))
}

/// The operator's server of so many prompts that a list of them has pages.
pub(crate) fn wide() -> anyhow::Result<Backend> {
    let prompts: Vec<String> = (0..1_100).map(|number| format!("p{number:04}")).collect();
    Mcp::new("wide").era(Era::Modern).tools(&["none"]).prompts(&names(&prompts)).start()
}
