//! What servers ask of people: each way to ask is decided, says who asks, and answers reach the one that asked.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::support::{
    backend::{Backend, Out, Seen},
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp},
    session::Session,
};

/// Everything is allowed, but for what the server `bad` wants of people.
const POLICY: &str = r#"
    permit(principal, action, resource);
    forbid(principal, action == Action::"mcp:elicit", resource == ToolServer::"bad");
"#;

/// A gateway before `good` and `bad`, whose tools are named after their servers.
fn start(good: &Backend, bad: &Backend) -> anyhow::Result<Gateway> {
    let documents = Documents::new().server("good", &good.url()).server("bad", &bad.url()).text();
    let policy = json!({ "kind": "Policy", "name": "asks", "spec": { "cedar": POLICY } });
    Gateway::start(&format!("{documents}\n---\n{policy}"), &["--development-identity"])
}

/// A server whose tool answers with an error that wants a URL visited first.
fn visited(name: &str, era: Era, tool: &str) -> anyhow::Result<Backend> {
    let visit = json!({ "mode": "url", "elicitationId": "e", "url": "https://a.example/", "message": "Sign in" });
    let error = json!({ "code": -32042, "message": "first", "data": { "elicitations": [visit], "kept": true } });
    Mcp::new(name)
        .era(era)
        .tools(&[tool])
        .on("tools/call", move |seen: &Seen, out: &mut Out| {
            let message = json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error });
            out.json_with(&[], &message);
        })
        .start()
}

#[test]
fn an_error_that_wants_a_url_visited_is_a_question_of_its_server() -> anyhow::Result<()> {
    for (era, version) in [(Era::Legacy, Some("2025-11-25")), (Era::Modern, None)] {
        let (good, bad) = (visited("good", era, "this")?, visited("bad", era, "that")?);
        let gateway = start(&good, &bad)?;
        let call = |tool: &str| -> anyhow::Result<Value> {
            match version {
                Some(version) => {
                    let capabilities = json!({ "elicitation": { "url": {} } });
                    Session::open_as(&gateway, version, capabilities)?.call(7, tool)
                }
                None => gateway.modern(7, "tools/call", json!({ "name": tool, "arguments": {} }))?.message(),
            }
        };

        let allowed = call("this")?;
        let visit = &allowed["error"]["data"]["elicitations"][0];
        assert_eq!(
            (&allowed["error"]["code"], &visit["url"], &visit["message"], &visit["_meta"]["quorate/server"]),
            (&json!(-32042), &json!("https://a.example/"), &json!("[good] Sign in"), &json!("good")),
            "{allowed}"
        );
        assert_eq!((&allowed["id"], &allowed["error"]["data"]["kept"]), (&json!(7), &json!(true)), "{allowed}");

        let denied = call("that")?;
        assert_eq!(denied["id"], 7, "{denied}");
        assert_ne!(denied["error"]["code"], -32042, "{denied}");
        assert!(!denied.to_string().contains("a.example"), "{denied}");
    }
    Ok(())
}

/// A stateless server whose tool begins a task that asks for `requests`, as its listen stream tells when the test says
/// so.
fn tasked(name: &str, tool: &str, requests: Value) -> anyhow::Result<(Backend, SyncSender<()>)> {
    let (tell, told): (_, Receiver<()>) = sync_channel(1);
    let told = Mutex::new(told);
    let backend = Mcp::new(name)
        .era(Era::Modern)
        .tools(&[tool])
        .on("tools/call", |seen, out| {
            let task = json!({ "resultType": "task", "taskId": "t1", "status": "working", "ttlMs": 60_000 });
            out.result(seen, &task);
        })
        .on("subscriptions/listen", move |seen, out| {
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": seen.id() });
            let params = json!({ "notifications": seen.params()["notifications"], "_meta": meta });
            let acknowledged = "notifications/subscriptions/acknowledged";
            out.message(&json!({ "jsonrpc": "2.0", "method": acknowledged, "params": params }));
            while told.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok() {
                let params = json!({
                    "_meta": meta, "taskId": "t1", "status": "input_required", "inputRequests": requests, "kept": 1,
                });
                if !out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/tasks", "params": params })) {
                    return;
                }
            }
        })
        .start()?;
    Ok((backend, tell))
}

#[test]
fn what_a_task_asks_is_decided_where_it_is_told_too() -> anyhow::Result<()> {
    let question = json!({ "q": { "method": "elicitation/create", "params": { "message": "Your key?" } } });
    let ((good, tell_good), (bad, tell_bad)) =
        (tasked("good", "this", question.clone())?, tasked("bad", "that", question)?);
    let gateway = start(&good, &bad)?;

    for (tool, tell, expected) in [("this", tell_good, Some("[good] Your key?")), ("that", tell_bad, None)] {
        let capabilities = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} }, "elicitation": {} });
        let meta = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
        let begun = json!({ "name": tool, "arguments": {}, "_meta": meta });
        let begun = gateway.modern(1, "tools/call", begun)?.message()?;
        let task = &begun["result"]["taskId"];
        assert!(task.is_string(), "{begun}");
        let filter = json!({ "notifications": { "taskIds": [task] }, "_meta": meta });
        let mut stream = gateway.modern("l", "subscriptions/listen", filter)?;
        stream.next_message()?.context("an acknowledgement")?;

        tell.send(())?;
        let told = stream.next_message()?.context("a notification")?;

        let params = &told["params"];
        assert_eq!((&params["taskId"], &params["status"]), (task, &json!("input_required")), "{told}");
        assert_eq!(params["kept"], 1, "{told}");
        assert_eq!(params["inputRequests"]["q"]["params"]["message"].as_str(), expected, "{told}");
        assert_eq!(told.to_string().contains("Your key?"), expected.is_some(), "{told}");
    }
    Ok(())
}

#[test]
fn a_server_asks_a_session_nothing_but_the_questions_that_are_decided() -> anyhow::Result<()> {
    let (answers, answered) = sync_channel::<Value>(8);
    let asks = ["tasks/list", "tasks/result", "vendor/secrets"];
    let good = Mcp::new("good")
        .era(Era::Legacy)
        .tools(&["this"])
        .rule(move |seen, out| {
            let is_answer = seen.method().is_empty() && !seen.id().is_null();
            if is_answer {
                // The test has ended, and wants no more of them.
                let _ended = answers.send(seen.body.clone());
                out.answer(202, &[], b"");
            }
            is_answer
        })
        .on("tools/call", move |seen, out| {
            for method in asks {
                let params = json!({ "taskId": "of-another" });
                out.message(&json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }));
            }
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "content": [] } }));
            out.end_events();
        })
        .start()?;
    let bad = Mcp::new("bad").tools(&["that"]).start()?;
    let gateway = start(&good, &bad)?;
    let capabilities =
        json!({ "elicitation": {}, "tasks": { "list": {}, "requests": { "elicitation": { "create": {} } } } });
    let session = Session::open_as(&gateway, "2025-11-25", capabilities)?;

    // This client answers nothing: whoever answers the server below is the gateway.
    let answer = session.call(7, "this")?;
    assert_eq!((&answer["id"], answer["result"].is_object()), (&json!(7), true), "{answer}");

    let mut refused = Vec::new();
    for _ in asks {
        let answer = answered.recv_timeout(crate::support::PATIENCE)?;
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
        refused.push(answer["id"].as_str().unwrap_or_default().to_owned());
    }
    refused.sort();
    assert_eq!(refused, asks);
    let opened = good.wait_for("initialize with the client's capabilities", |seen| {
        let capabilities = &seen.params()["capabilities"];
        (seen.method() == "initialize" && capabilities.get("elicitation").is_some()).then(|| capabilities.clone())
    })?;
    assert!(opened.get("tasks").is_none(), "no server is told of tasks: {opened}");
    Ok(())
}

#[test]
fn an_answer_for_an_unlisted_resource_reaches_the_server_that_asked_alone() -> anyhow::Result<()> {
    let (answers, answered) = sync_channel::<Value>(8);
    let first = Mcp::new("first").era(Era::Modern).tools(&["this"]).start()?;
    let answered = Mutex::new(answered);
    let second = Mcp::new("second")
        .era(Era::Legacy)
        .tools(&["that"])
        .rule(move |seen, out| {
            let is_answer = seen.method().is_empty() && !seen.id().is_null();
            if is_answer {
                // The script ends with the test.
                let _ended = answers.send(seen.body["result"].clone());
                out.answer(202, &[], b"");
            }
            is_answer
        })
        .on("resources/read", move |seen, out| {
            let params = json!({ "message": "Your key?", "requestedSchema": { "type": "object", "properties": {} } });
            out.message(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params }));
            let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(answer) = answered.recv_timeout(crate::support::PATIENCE) else { return };
            let contents = json!([{ "uri": seen.params()["uri"], "text": answer["content"].to_string() }]);
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "contents": contents } }));
            out.end_events();
        })
        .start()?;
    let gateway = Documents::new().server("first", &first.url()).server("second", &second.url()).start()?;
    let meta = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } });
    let read = |further: Value| -> anyhow::Result<Value> {
        let mut params = json!({ "uri": "secret:x", "_meta": meta });
        for (key, value) in further.as_object().context("an object")? {
            params[key] = value.clone();
        }
        gateway.modern(1, "resources/read", params)?.message()
    };

    let asked = read(json!({}))?;
    let requests = asked["result"]["inputRequests"].as_object().with_context(|| format!("a question: {asked}"))?;
    let key = requests.keys().next().context("one")?;
    let before = first.count("resources/read");
    let answer = json!({ key.as_str(): { "action": "accept", "content": { "key": "hunter2" } } });
    let state = &asked["result"]["requestState"];
    let told = read(json!({ "requestState": state, "inputResponses": answer }))?;

    assert!(told["result"]["contents"][0]["text"].as_str().is_some_and(|text| text.contains("hunter2")), "{told}");
    assert_eq!(first.count("resources/read"), before, "who did not ask is not told");

    // A state that nothing waits under: whoever is asked is asked anew.
    read(json!({ "requestState": "x", "inputResponses": answer }))?;
    let seen = first.seen();
    assert!(seen.iter().all(|seen| !seen.body.to_string().contains("hunter2")), "{:?}", seen.last());
    Ok(())
}

/// A server told everybody of a task and of a resource on the stream of a call, and the caller heard of it.
#[test]
fn a_call_is_told_of_its_own_progress_and_of_nothing_that_is_others() -> anyhow::Result<()> {
    let backend = Mcp::new("good")
        .era(Era::Modern)
        .tools(&["this"])
        .on("tools/call", |seen, out| {
            let token = &seen.params()["_meta"]["progressToken"];
            for (method, params) in [
                ("notifications/tasks", json!({ "taskId": "another's", "status": "working" })),
                ("notifications/resources/updated", json!({ "uri": "file:///another's" })),
                ("notifications/tools/list_changed", json!({})),
                ("notifications/progress", json!({ "progressToken": token, "progress": 1 })),
            ] {
                out.message(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
            }
            let result = json!({ "resultType": "complete", "content": [] });
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result }));
        })
        .start()?;
    let gateway = start(&backend, &visited("bad", Era::Modern, "that")?)?;

    let call = json!({ "name": "this", "arguments": {}, "_meta": { "progressToken": "p" } });
    let mut stream = gateway.modern(1, "tools/call", call)?;
    let mut told = Vec::new();
    while let Some(message) = stream.next_message()? {
        told.push(message["method"].as_str().unwrap_or("the answer").to_owned());
    }

    assert_eq!(told, ["notifications/progress", "the answer"]);
    Ok(())
}
