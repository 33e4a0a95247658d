//! Stateless clients on servers of sessions: what is asked of them, what is kept for them, and what they see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Backend,
    client::{self, Answer},
    gateway::{Documents, Gateway, modern_request},
    mcp::{Era, Mcp},
    session::Session,
};

/// What the server of a test was told, by the id of its question, and which calls were cancelled.
#[derive(Default)]
struct Told {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    asked: u64,
    answers: BTreeMap<String, Value>,
    cancelled: Vec<Value>,
}

/// A server of sessions whose tool `ask` asks `questions` at once and then says what it was told, and whose tool
/// `wait` waits to be cancelled.
fn asking(questions: Vec<(&'static str, Value)>) -> (Mcp, Arc<Told>) {
    let told = Arc::new(Told::default());
    let (asks, hears) = (Arc::clone(&told), Arc::clone(&told));
    let mcp = Mcp::new("old").era(Era::Legacy).tools(&["echo", "ask", "wait"]);
    let mcp = mcp.rule(move |seen, out| {
        let is_answer = seen.method().is_empty() && !seen.id().is_null();
        if is_answer {
            hears.hear(|heard| {
                heard.answers.insert(seen.id().as_str().unwrap_or_default().to_owned(), seen.body.clone());
            });
            out.answer(202, &[], b"");
        }
        if seen.method() == "notifications/cancelled" {
            hears.hear(|heard| heard.cancelled.push(seen.params()["requestId"].clone()));
            out.answer(202, &[], b"");
            return true;
        }
        is_answer
    });
    let mcp = mcp.on("tools/call", move |seen, out| match seen.params()["name"].as_str() {
        Some("ask") => {
            let ids: Vec<String> = questions.iter().map(|_| format!("q{}", asks.next())).collect();
            for ((method, params), id) in questions.iter().zip(&ids) {
                out.message(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
            }
            let Some(answers) = asks.wait(|heard| {
                ids.iter().map(|id| heard.answers.get(id).cloned()).collect::<Option<Vec<Value>>>()
            }) else {
                return;
            };
            let failed = answers.iter().find_map(|answer| answer.get("error"));
            let answer = match failed {
                Some(error) => json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error }),
                None => {
                    let said = answers.iter().map(|answer| answer["result"].to_string()).collect::<Vec<_>>().join(" ");
                    json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "content": [{ "type": "text", "text": said }] } })
                }
            };
            out.message(&answer);
            out.end_events();
        }
        Some("wait") => {
            out.begin_events(&[]);
            let cancelled = asks.wait(|heard| heard.cancelled.contains(seen.id()).then_some(()));
            if cancelled.is_some() {
                out.end_events();
            }
        }
        _ => out.result(seen, &json!({ "content": [{ "type": "text", "text": "echo" }] })),
    });
    (mcp, told)
}

fn question(message: &str) -> (&'static str, Value) {
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
    ("elicitation/create", json!({ "message": message, "requestedSchema": schema }))
}

/// Calls `ask` with these further parameters, declaring elicitation.
fn ask(gateway: &Gateway, further: Value) -> anyhow::Result<Value> {
    let mut params = json!({
        "name": "ask", "arguments": { "a": 1 },
        "_meta": { "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } },
    });
    for (key, value) in further.as_object().context("an object")? {
        params[key] = value.clone();
    }
    gateway.modern(1, "tools/call", params)?.message()
}

/// The keys of what a result asks, in order.
fn keys(message: &Value) -> anyhow::Result<Vec<String>> {
    ensure!(message["result"]["resultType"] == "input_required", "nothing is asked: {message}");
    let requests = message["result"]["inputRequests"].as_object().context("requests")?;
    Ok(requests.keys().cloned().collect())
}

fn accepted(name: &str) -> Value {
    json!({ "action": "accept", "content": { "name": name } })
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

fn retry(first: &Value, responses: Value) -> Value {
    json!({ "requestState": first["result"]["requestState"], "inputResponses": responses })
}

// === impl Told ===

impl Told {
    fn next(&self) -> u64 {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.asked += 1;
        heard.asked
    }

    fn hear(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait<T>(&self, pick: impl Fn(&Heard) -> Option<T>) -> Option<T> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(heard, PATIENCE, |heard| pick(heard).is_none());
        pick(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

fn start(mcp: Mcp) -> anyhow::Result<(Backend, Gateway)> {
    let backend = mcp.start()?;
    let gateway = Documents::new().server("old", &backend.url()).start()?;
    Ok((backend, gateway))
}

#[test]
fn what_a_server_asks_in_a_session_is_asked_as_input_and_the_call_runs_once() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?")]);
    let (backend, gateway) = start(mcp)?;

    let first = ask(&gateway, json!({}))?;
    let [key] = &keys(&first)?[..] else { anyhow::bail!("one question: {first}") };
    let request = &first["result"]["inputRequests"][key];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["message"], "Who?", "there is one server only");
    assert_eq!(request["params"]["_meta"]["quorate/server"], "old");
    assert_eq!(gateway.metric("quorate_calls_parked", "")?, 1.0);

    let second = ask(&gateway, retry(&first, json!({ key.as_str(): accepted("Ada"), "other": 7 })))?;

    assert_eq!(text(&second), accepted("Ada").to_string());
    assert_eq!(second["result"]["resultType"], "complete");
    assert_eq!(backend.count("tools/call"), 1);
    let opened = backend.wait_for_method("initialize")?;
    let declared: Vec<Value> =
        backend.seen().iter().filter(|seen| seen.method() == "initialize").map(|seen| seen.params().clone()).collect();
    assert!(declared.iter().any(|params| params["capabilities"] == json!({ "elicitation": { "form": {} } })));
    assert_eq!(opened.params()["protocolVersion"], "2025-11-25");
    gateway.metric_until("quorate_calls_parked", "", |parked| parked == 0.0)?;
    assert_eq!(gateway.metric("quorate_call_parkings_total", "resumed")?, 1.0);
    Ok(())
}

#[test]
fn a_state_that_was_altered_used_or_made_for_another_request_is_refused() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?")]);
    let (backend, gateway) = start(mcp)?;
    let first = ask(&gateway, json!({}))?;
    let key = keys(&first)?.remove(0);
    let good = retry(&first, json!({ key.as_str(): accepted("Ada") }));
    let refused = |message: &Value| {
        let error = &message["error"];
        assert_eq!(error["code"], -32602, "{message}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("requestState")), "{message}");
    };

    let mut altered = good.clone();
    altered["requestState"] = json!(format!("{}x", good["requestState"].as_str().unwrap_or_default()));
    refused(&ask(&gateway, altered)?);
    let mut foreign = good.clone();
    foreign["arguments"] = json!({ "a": 2 });
    refused(&ask(&gateway, foreign)?);
    let wrong = ask(&gateway, retry(&first, json!({ key.as_str(): 12345 })))?;
    assert_eq!(wrong["error"]["code"], -32602);
    assert!(wrong["error"]["message"].as_str().is_some_and(|text| text.contains(&key) && text.contains("action")));

    assert_eq!(text(&ask(&gateway, good.clone())?), accepted("Ada").to_string(), "none of these used it");
    refused(&ask(&gateway, good)?);
    assert_eq!(backend.count("tools/call"), 1);
    Ok(())
}

#[test]
fn questions_of_one_moment_are_asked_together_and_the_unanswered_ones_again() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?"), question("Where?")]);
    let (backend, gateway) = start(mcp)?;

    let first = ask(&gateway, json!({}))?;
    let all = keys(&first)?;
    assert_eq!(all.len(), 2, "{first}");
    let second = ask(&gateway, retry(&first, json!({ all[1].as_str(): accepted("there") })))?;
    assert_eq!(keys(&second)?, all[..1]);
    assert_ne!(second["result"]["requestState"], first["result"]["requestState"]);
    let third = ask(&gateway, retry(&second, json!({})))?;
    assert_eq!(keys(&third)?, all[..1], "nothing was answered");
    let last = ask(&gateway, retry(&third, json!({ all[0].as_str(): accepted("Ada") })))?;

    assert_eq!(text(&last), format!("{} {}", accepted("Ada"), accepted("there")));
    assert_eq!(backend.count("tools/call"), 1);
    Ok(())
}

#[test]
fn with_several_servers_a_person_reads_which_one_asks() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?")]);
    let (old, new) = (mcp.start()?, Mcp::new("new").start()?);
    let gateway = Documents::new().server("old", &old.url()).server("new", &new.url()).start()?;

    let first = ask(&gateway, json!({}))?;

    let key = keys(&first)?.remove(0);
    assert_eq!(first["result"]["inputRequests"][&key]["params"]["message"], "[old] Who?");
    Ok(())
}

#[test]
fn a_client_of_sessions_is_told_as_well_which_server_asks() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?")]);
    let (old, new) = (mcp.start()?, Mcp::new("new").start()?);
    let gateway = Documents::new().server("old", &old.url()).server("new", &new.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let mut stream = session.post(&json!({
        "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": { "name": "ask", "arguments": {} },
    }))?;
    let asked = stream.next_message()?.context("a question")?;

    assert_eq!(asked["params"]["message"], "[old] Who?");
    assert_eq!(asked["params"]["_meta"]["quorate/server"], "old");
    Ok(())
}

#[test]
fn what_a_stateless_server_asks_is_labelled_in_its_result() -> anyhow::Result<()> {
    let mcp = Mcp::new("new").era(Era::Modern).on("tools/call", |seen, out| {
        let requests = json!({
            "who": { "method": "elicitation/create", "params": { "message": "Who?", "requestedSchema": {} } },
            "roots": { "method": "roots/list" },
        });
        out.result(seen, &json!({ "resultType": "input_required", "inputRequests": requests, "requestState": "s" }));
    });
    let (new, other) = (mcp.start()?, Mcp::new("other").tools(&["else"]).start()?);
    let gateway = Documents::new().server("new", &new.url()).server("other", &other.url()).start()?;

    let asked = gateway.modern(1, "tools/call", json!({ "name": "echo", "arguments": {} }))?.message()?;

    let label = json!({ "quorate/server": "new" });
    let who = json!({ "_meta": label, "message": "[new] Who?", "requestedSchema": {} });
    assert_eq!(asked["result"]["inputRequests"]["who"]["params"], who);
    assert_eq!(
        asked["result"]["inputRequests"]["roots"],
        json!({ "params": { "_meta": label }, "method": "roots/list" })
    );
    assert_eq!(asked["result"]["requestState"], "s");
    Ok(())
}

#[test]
fn what_a_client_cannot_answer_is_refused_to_the_server_and_named_to_the_client() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![("roots/list", json!({}))]);
    let (_backend, gateway) = start(mcp)?;

    let message = ask(&gateway, json!({}))?;

    assert_eq!(message["error"]["code"], -32021, "{message}");
    assert_eq!(message["error"]["data"]["requiredCapabilities"], json!({ "roots": {} }));
    Ok(())
}

#[test]
fn a_server_that_gives_up_asking_has_its_answer_delivered_to_the_retry() -> anyhow::Result<()> {
    let (mcp, told) = asking(vec![question("Who?")]);
    let (_backend, gateway) = start(mcp)?;
    let first = ask(&gateway, json!({}))?;
    let key = keys(&first)?.remove(0);

    // As if the answer had come from somewhere else.
    told.hear(|heard| drop(heard.answers.insert("q1".to_owned(), json!({ "result": "never mind" }))));
    let second = ask(&gateway, retry(&first, json!({ key.as_str(): accepted("Ada") })))?;

    assert_eq!(text(&second), "\"never mind\"");
    Ok(())
}

#[test]
fn a_client_that_leaves_has_its_call_cancelled() -> anyhow::Result<()> {
    let (mcp, told) = asking(Vec::new());
    let (backend, gateway) = start(mcp)?;
    let params = json!({ "name": "wait", "arguments": {} });
    let (headers, body) = modern_request(&json!(1), "tools/call", params);
    let mut socket = client::connect(gateway.address)?;
    let body = body.to_string();
    let mut head = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", gateway.address, body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    std::io::Write::write_all(&mut socket, format!("{head}\r\n{body}").as_bytes())?;
    let called = backend.wait_for_method("tools/call")?;

    drop(socket);

    let cancelled = told.wait(|heard| heard.cancelled.first().cloned()).context("it is cancelled")?;
    assert_eq!(&cancelled, called.id());
    Ok(())
}

#[test]
fn a_session_is_kept_for_each_set_of_capabilities_and_opened_again_when_it_is_lost() -> anyhow::Result<()> {
    let (backend, gateway) = start(Mcp::new("old").era(Era::Legacy))?;
    let opened = |capabilities: Value| {
        let seen = backend.seen();
        let with = seen.iter().filter(|seen| seen.method() == "initialize");
        with.filter(|seen| seen.params()["capabilities"] == capabilities).count()
    };
    let probes = opened(json!({}));
    for _ in 0..3 {
        assert_eq!(gateway.call("echo")?, "old:echo");
    }
    assert_eq!(opened(json!({})), probes + 1);
    let capable = json!({ "name": "echo", "_meta": { "io.modelcontextprotocol/clientCapabilities": { "roots": {} } } });
    assert_eq!(text(&gateway.modern(1, "tools/call", capable)?.message()?), "old:echo");
    assert_eq!(opened(json!({ "roots": {} })), 1);

    let address = backend.address;
    drop(backend);
    let again = Backend::start_at(address, Mcp::new("again").era(Era::Legacy).script())?;

    assert_eq!(gateway.call("echo")?, "again:echo");
    assert_eq!(again.count("initialize"), 1);
    Ok(())
}

#[test]
fn lists_and_results_have_what_the_stateless_era_wants() -> anyhow::Result<()> {
    let mcp = Mcp::new("old").era(Era::Legacy).resources(&["file:///x"]);
    let mcp = mcp.on("resources/read", |seen, out| match seen.params()["uri"].as_str() {
        Some("file:///x") => out.result(seen, &json!({ "contents": [{ "uri": "file:///x", "text": "old" }] })),
        _ => out.error(seen, 200, -32002, "Resource not found"),
    });
    let (_backend, gateway) = start(mcp)?;

    let discovered = gateway.modern(1, "server/discover", json!({}))?.message()?;
    assert_eq!(discovered["result"]["capabilities"]["tools"]["listChanged"], true, "{discovered}");
    let tools = gateway.modern(1, "tools/list", json!({}))?.message()?;
    assert_eq!(tools["result"]["tools"][0]["name"], "echo", "{tools}");
    assert!(tools["result"]["ttlMs"].is_u64() && tools["result"]["cacheScope"].is_string(), "{tools}");
    let read = gateway.modern(1, "resources/read", json!({ "uri": "file:///x" }))?.message()?;
    let expected = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "contents": [{ "uri": "file:///x", "text": "old" }] });
    assert_eq!(read["result"], expected);
    let missing = gateway.modern(1, "resources/read", json!({ "uri": "file:///y" }))?.message()?;
    assert_eq!(missing["error"]["code"], -32602);
    Ok(())
}

#[test]
fn progress_and_log_messages_reach_whoever_asked_for_them() -> anyhow::Result<()> {
    let mcp = Mcp::new("old").era(Era::Legacy).on("tools/call", |seen, out| {
        let token = &seen.params()["_meta"]["progressToken"];
        if !token.is_null() {
            let params = json!({ "progressToken": token, "progress": 1 });
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
        }
        for level in ["debug", "error"] {
            let params = json!({ "level": level, "data": "x" });
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }));
        }
        out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "content": [] } }));
        out.end_events();
    });
    let (backend, gateway) = start(mcp)?;
    let call = |meta: Value| -> anyhow::Result<Vec<Value>> {
        messages(gateway.modern(1, "tools/call", json!({ "name": "echo", "_meta": meta }))?)
    };

    let quiet = call(json!({}))?;
    assert_eq!(quiet.len(), 1, "nobody asked for more: {quiet:?}");
    let told = call(json!({ "progressToken": "p", "io.modelcontextprotocol/logLevel": "error" }))?;

    assert_eq!(told[0]["params"]["progressToken"], "p", "{told:?}");
    assert_eq!(told[1]["params"]["level"], "error");
    assert_eq!(told.len(), 3, "{told:?}");
    let level = backend.wait_for_method("logging/setLevel")?;
    assert_eq!(level.params()["level"], "error");
    let calls: Vec<_> = backend.seen().into_iter().filter(|seen| seen.method() == "tools/call").collect();
    assert_ne!(calls[1].params()["_meta"]["progressToken"], "p", "another client may use the same");
    Ok(())
}

#[test]
fn urls_that_must_be_visited_first_are_asked_for_and_the_call_is_made_again() -> anyhow::Result<()> {
    let visited = Mutex::new(false);
    let mcp = Mcp::new("old").era(Era::Legacy).on("tools/call", move |seen, out| {
        let mut visited = visited.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *visited, true) {
            return out.result(seen, &json!({ "content": [{ "type": "text", "text": "in" }] }));
        }
        let elicitation =
            json!({ "mode": "url", "elicitationId": "e", "url": "https://a.example/in", "message": "Sign in" });
        let error = json!({ "code": -32042, "message": "sign in", "data": { "elicitations": [elicitation] } });
        out.json(&json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error }));
    });
    let (_backend, gateway) = start(mcp)?;
    let declared =
        json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "url": {} } } } });

    let first = ask(&gateway, declared.clone())?;
    let key = keys(&first)?.remove(0);
    let request = &first["result"]["inputRequests"][&key]["params"];
    assert_eq!(request["url"], "https://a.example/in");
    assert!(request.get("elicitationId").is_none(), "{request}");
    let mut again = retry(&first, json!({ key.as_str(): { "action": "accept" } }));
    again["_meta"] = declared["_meta"].clone();

    assert_eq!(text(&ask(&gateway, again)?), "in");
    Ok(())
}

#[test]
fn changes_at_a_server_of_sessions_reach_stateless_listeners() -> anyhow::Result<()> {
    let mcp = Mcp::new("old").era(Era::Legacy).resources(&["file:///x"]);
    let subscribed = Arc::new(Told::default());
    let (hears, waits) = (Arc::clone(&subscribed), Arc::clone(&subscribed));
    let mcp = mcp.on("resources/subscribe", move |seen, out| {
        hears.hear(|heard| drop(heard.answers.insert("uri".to_owned(), seen.params()["uri"].clone())));
        out.result(seen, &json!({}));
    });
    let mcp = mcp.rule(move |seen, out| {
        if seen.http != "GET" {
            return false;
        }
        out.begin_events(&[]);
        if waits.wait(|heard| heard.answers.contains_key("uri").then_some(())).is_some() {
            for method in ["notifications/tools/list_changed", "notifications/resources/updated"] {
                out.message(&json!({ "jsonrpc": "2.0", "method": method, "params": { "uri": "file:///x" } }));
            }
        }
        out.wait_for_close();
        true
    });
    let (_backend, gateway) = start(mcp)?;

    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": ["file:///x"] });
    let mut listen = gateway.modern("l", "subscriptions/listen", json!({ "notifications": filter }))?;

    let acknowledged = listen.next_message()?.context("an acknowledgement")?;
    assert_eq!(acknowledged["params"]["notifications"], filter, "{acknowledged}");
    for method in ["notifications/tools/list_changed", "notifications/resources/updated"] {
        let message = listen.next_message()?.context(method)?;
        assert_eq!(message["method"], method);
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "l");
    }
    Ok(())
}

#[test]
fn a_call_that_waits_for_its_client_holds_no_place_of_its_tool() -> anyhow::Result<()> {
    let (mcp, _told) = asking(vec![question("Who?")]);
    let backend = mcp.start()?;
    let rule = json!({ "match": { "name": "ask" }, "concurrency": 1 });
    let toolset = json!({ "servers": ["old"], "tools": [rule] });
    let gateway = Documents::new().server("old", &backend.url()).toolset(toolset).start()?;

    let first = ask(&gateway, json!({}))?;
    let second = ask(&gateway, json!({}))?;

    for (asked, name) in [(second, "Ada"), (first, "Bob")] {
        let key = keys(&asked)?.remove(0);
        let done = ask(&gateway, retry(&asked, json!({ key.as_str(): accepted(name) })))?;
        assert_eq!(text(&done), accepted(name).to_string());
    }
    Ok(())
}

#[test]
fn a_call_whose_time_is_over_is_cancelled_at_its_server() -> anyhow::Result<()> {
    let (mcp, told) = asking(Vec::new());
    let backend = mcp.start()?;
    let limits = json!({ "urls": [backend.url()], "limits": { "firstByte": "1s", "total": "1s" } });
    let gateway = Documents::new().server_with("old", limits).start()?;

    let late = gateway.modern(1, "tools/call", json!({ "name": "wait", "arguments": {} }))?.message()?;

    assert_eq!(late["error"]["code"], -31006, "{late}");
    let cancelled = told.wait(|heard| heard.cancelled.first().cloned()).context("it is cancelled")?;
    assert_eq!(&cancelled, backend.wait_for_method("tools/call")?.id());
    Ok(())
}

#[test]
fn what_is_said_around_a_question_that_is_taken_back_is_not_lost() -> anyhow::Result<()> {
    let mcp = Mcp::new("old").era(Era::Legacy).on("tools/call", |seen, out| {
        let token = &seen.params()["_meta"]["progressToken"];
        let progress = |number: u8| {
            let params = json!({ "progressToken": token, "progress": number });
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
        };
        let (method, params) = question("Who?");
        let back = json!({ "requestId": "q", "reason": "never mind" });
        let messages = [
            progress(1),
            json!({ "jsonrpc": "2.0", "id": "q", "method": method, "params": params }),
            progress(2),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": back }),
            progress(3),
            json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "content": [] } }),
        ];
        // In one piece, so that nothing of it is late.
        let text: String = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
        out.begin_events(&[]);
        out.raw(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
        out.end_events();
    });
    let (_backend, gateway) = start(mcp)?;
    let meta = json!({ "progressToken": "p", "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } });

    let told = messages(gateway.modern(1, "tools/call", json!({ "name": "echo", "_meta": meta }))?)?;

    let progress: Vec<&Value> = told.iter().filter_map(|message| message["params"].get("progress")).collect();
    assert_eq!(progress, [1, 2, 3], "{told:?}");
    assert_eq!(told.last().map(|last| &last["result"]["resultType"]), Some(&json!("complete")), "{told:?}");
    Ok(())
}

/// The messages of an answer, however it is framed.
fn messages(mut answer: Answer) -> anyhow::Result<Vec<Value>> {
    if !answer.is_events() {
        return Ok(vec![answer.message()?]);
    }
    let mut found = Vec::new();
    while let Some(message) = answer.next_message()? {
        found.push(message);
    }
    Ok(found)
}
