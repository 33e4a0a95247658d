//! Ids that the gateway gave out, and what comes back instead: sessions, cursors, event ids, request ids, tasks.

use serde_json::{Value, json};

use crate::support::{
    backend::Backend,
    gateway::{Documents, Gateway, OPEN},
    mcp::{Mcp, said},
    session::{Session, initialize_message},
};

fn one_backend() -> anyhow::Result<(Backend, Gateway)> {
    let backend = Mcp::new("a").start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway))
}

#[test]
fn session_ids_that_were_not_given_out_are_404_on_every_method() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let id = session.id.clone();
    let flipped = {
        let last = if id.ends_with('A') { "B" } else { "A" };
        format!("{}{last}", &id[..id.len() - 1])
    };
    let middle = {
        let at = id.len() / 2;
        let other = if &id[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &id[..at], &id[at + 1..])
    };
    let forged = [flipped, middle, id[..id.len() - 4].to_owned(), format!("{id}AAAA"), "x".to_owned(), id.repeat(20)];

    for wrong in &forged {
        let wrong = session.with_id(wrong);
        let answer = wrong.request("q", "ping", json!({}))?;
        assert_eq!(answer.status, 404, "POST {}", wrong.id);
        assert_eq!(answer.message()?["id"], "q");
        assert_eq!(wrong.get(None)?.status, 404, "GET {}", wrong.id);
        assert_eq!(wrong.delete()?.status, 404, "DELETE {}", wrong.id);
    }
    assert_eq!(session.with_id("a b").request(1, "ping", json!({}))?.status, 400, "a blank is no session id");
    assert_eq!(session.request(1, "ping", json!({}))?.status, 200, "the real one lives");
    Ok(())
}

#[test]
fn a_session_of_one_toolset_is_unknown_to_another_and_to_another_gateway() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let documents = Documents::new().server("a", &backend.url());
    let second = json!({ "kind": "Toolset", "name": "second", "spec": { "servers": ["a"] } });
    let gateway = Gateway::start(&format!("{}\n---\n{second}", documents.text()), OPEN)?;
    let other = documents.start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", session.id.as_str()),
    ];
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let post = |address, path| crate::support::client::send(address, "POST", path, &headers, ping.as_bytes());

    assert_eq!(post(gateway.address, "/mcp/second")?.status, 404);
    assert_eq!(post(other.address, "/mcp")?.status, 404);
    assert_eq!(post(gateway.address, "/mcp/default")?.status, 200, "`default` has two paths");
    Ok(())
}

#[test]
fn a_deleted_session_is_gone_for_everything() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    session.call(1, "echo")?;
    let mut listening = session.get(None)?;
    assert_eq!(listening.status, 200);

    assert_eq!(session.delete()?.status, 200);

    // Its stream ends; what may come before is not an answer.
    while listening.next_event()?.is_some() {}
    let after = session.request("q", "ping", json!({}))?;
    assert_eq!(after.status, 404);
    assert_eq!(after.message()?["id"], "q");
    assert_eq!(session.get(None)?.status, 404);
    assert_eq!(session.delete()?.status, 404);
    backend.wait_for("the upstream session's end", |seen| (seen.http == "DELETE").then_some(()))?;
    assert_eq!(Session::open(&gateway, "2025-11-25")?.call(1, "echo")?["id"], 1);
    Ok(())
}

#[test]
fn deleting_a_session_answers_its_open_calls_with_an_error() -> anyhow::Result<()> {
    let backend = Mcp::new("a").on("tools/call", |_, out| out.wait_for_close()).start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let calling = session.clone();
    let waiting = std::thread::spawn(move || calling.call(5, "echo"));
    backend.wait_for_method("tools/call")?;

    assert_eq!(session.delete()?.status, 200);

    let answered = waiting.join().expect("the thread does not panic")?;
    assert_eq!((&answered["id"], answered["error"]["code"].is_i64()), (&json!(5), true), "{answered}");
    Ok(())
}

#[test]
fn a_session_needs_its_id() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let body = json!({ "jsonrpc": "2.0", "id": "q", "method": "tools/list" }).to_string();

    let post = gateway.send("POST", &headers, &body)?;
    assert_eq!(post.status, 400);
    assert_eq!(post.message()?["id"], "q");
    assert_eq!(gateway.send("GET", &[("accept", "text/event-stream")], "")?.status, 405);
    assert_eq!(gateway.send("DELETE", &[], "")?.status, 405);
    Ok(())
}

#[test]
fn initialize_with_wrong_contents_opens_nothing() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let cases = [("protocolVersion", json!(5)), ("capabilities", json!("all")), ("protocolVersion", Value::Null)];

    for (key, value) in cases {
        let mut message = initialize_message("2025-11-25");
        message["params"][key] = value.clone();
        let answer = gateway.send("POST", &headers, &message.to_string())?;
        assert_eq!(answer.header("mcp-session-id"), None, "{key} = {value}");
        let message = answer.message()?;
        assert!(message["error"]["code"].is_i64(), "{key} = {value}: {message}");
        assert_eq!(message["id"], 0);
    }
    Ok(())
}

#[test]
fn event_ids_that_were_not_given_out_are_400() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    for id in [
        "x",
        "1",
        "1.",
        ".1",
        "-1.2",
        "1.2.3",
        "01.1",
        "99999999999999999999.1",
        "1.99999999999999999999",
        "7.7",
        "0.99",
    ] {
        let answer = session.get(Some(id))?;
        assert_eq!(answer.status, 400, "{id}");
        assert!(answer.message()?["error"]["message"].is_string(), "{id}");
    }
    assert_eq!(session.get(None)?.status, 200);
    Ok(())
}

#[test]
fn a_request_id_that_is_in_flight_is_refused_and_free_again_afterwards() -> anyhow::Result<()> {
    let (release, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let gate = std::sync::Mutex::new(gate);
    let backend = Mcp::new("a")
        .on("tools/call", move |seen, out| {
            if seen.params()["name"] == "slow" {
                gate.lock().expect("no holder panics").recv().ok();
            }
            out.result(seen, &said("done"));
        })
        .start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let first = session.clone();
    let waiting = std::thread::spawn(move || first.call(5, "slow"));
    backend.wait_for_method("tools/call")?;

    let second = session.request(5, "tools/call", json!({ "name": "quick" }))?;
    assert_eq!(second.status, 400);
    let second = second.message()?;
    assert_eq!((&second["id"], &second["error"]["code"]), (&json!(5), &json!(-32600)), "{second}");
    // The text "5" is another id than the number 5.
    assert_eq!(session.call("5", "quick")?["id"], "5");

    release.send(())?;
    let answered = waiting.join().expect("the thread does not panic")?;
    assert_eq!((&answered["id"], answered["result"].is_object()), (&json!(5), true));
    assert_eq!(session.call(5, "quick")?["id"], 5);
    Ok(())
}

#[test]
fn ids_come_back_as_they_were_sent() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    for id in [json!(0), json!(-1), json!(9_007_199_254_740_993_i64), json!(""), json!("1"), json!("a\"\\\n\u{1F980}")]
    {
        assert_eq!(session.call(id.clone(), "echo")?["id"], id);
        let answer = gateway.modern(id.clone(), "tools/call", json!({ "name": "echo" }))?.message()?;
        assert_eq!(answer["id"], id);
    }
    Ok(())
}

#[test]
fn tasks_of_nobody_are_unknown() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    for (at, task) in ["x", "1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""].into_iter().enumerate() {
        let answer = session.request(at, "tasks/get", json!({ "taskId": task }))?.message()?;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32602), &json!(at)), "{answer}");
    }
    assert_eq!(backend.count("tasks/get"), 0);
    Ok(())
}
