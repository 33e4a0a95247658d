//! Times and numbers of calls that a toolset gives its tools, in every combination of eras.

use std::{
    sync::{
        Mutex,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use quorate_tests::{
    raw::{
        PATIENCE,
        backend::{Backend, Seen},
        client::Answer,
        gateway::Gateway,
        mcp::{Era, Mcp, said},
        session::Session,
    },
    wait,
};
use serde_json::{Value, json};

use crate::support::{Client, REVISIONS, code, start};

/// A server whose tool `slow` answers when the test says so, once per message, and whose `echo` answers at once.
fn gated(era: Era) -> anyhow::Result<(Backend, SyncSender<()>)> {
    let (release, gate) = sync_channel::<()>(64);
    let gate = Mutex::new(gate);
    let mcp = Mcp::new("a").era(era).tools(&["slow", "echo"]).rule(move |seen, out| {
        let is_slow = is_slow(seen);
        if is_slow {
            gate.lock().expect("no holder panics").recv().ok();
            out.result(seen, &said("at last"));
        }
        is_slow
    });
    Ok((mcp.start()?, release))
}

/// A server whose tool `slow` never answers.
fn stuck(era: Era) -> anyhow::Result<Backend> {
    let stuck = Mcp::new("a").era(era).tools(&["slow", "echo"]).rule(|seen, out| {
        if is_slow(seen) {
            out.wait_for_close();
        }
        is_slow(seen)
    });
    stuck.start()
}

/// A server whose tool `slow` asks its client first, and once that has answered does not answer before the test says so.
fn asking(era: Era) -> anyhow::Result<(Backend, SyncSender<()>)> {
    let (release, gate) = sync_channel::<()>(64);
    let (answered, answers) = sync_channel::<()>(64);
    let (gate, answers) = (Mutex::new(gate), Mutex::new(answers));
    let params = json!({ "message": "Sure?", "requestedSchema": { "type": "object", "properties": {} } });
    let mcp = Mcp::new("a").era(era).tools(&["slow", "echo"]).rule(move |seen, out| {
        if seen.method().is_empty() && seen.body.get("result").is_some() {
            answered.send(()).ok();
            out.answer(202, &[], b"");
            return true;
        }
        if !is_slow(seen) {
            return false;
        }
        if era == Era::Modern && seen.params().get("requestState").is_none() {
            let requests = json!({ "a": { "method": "elicitation/create", "params": params } });
            let asked = json!({ "resultType": "input_required", "inputRequests": requests, "requestState": "s" });
            out.result(seen, &asked);
            return true;
        }
        if era == Era::Legacy {
            // Each call asks under an id of its own.
            let id = format!("ask-{}", seen.id());
            out.message(&json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params }));
            answers.lock().expect("no holder panics").recv_timeout(PATIENCE).ok();
        }
        gate.lock().expect("no holder panics").recv_timeout(PATIENCE).ok();
        match era {
            Era::Legacy => {
                out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("at last") }));
                out.end_events();
            }
            _ => out.result(seen, &said("at last")),
        }
        true
    });
    Ok((mcp.start()?, release))
}

/// Calls the tool that asks, and answers what it asks.
fn answered(session: &Session, id: &str) -> anyhow::Result<Answer> {
    let mut stream = session.request(id, "tools/call", json!({ "name": "quick" }))?;
    let asked = stream.next_message()?.expect("the question comes first");
    anyhow::ensure!(asked["method"] == "elicitation/create", "{asked}");
    let content = json!({ "action": "accept", "content": {} });
    session.post(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": content }))?;
    Ok(stream)
}

fn is_slow(seen: &Seen) -> bool {
    seen.method() == "tools/call" && seen.params()["name"] == "slow"
}

fn limited(backend: &Backend, rule: Value) -> anyhow::Result<Gateway> {
    let mut rule = rule;
    rule["match"] = json!({ "name": "slow" });
    rule["rename"] = json!("quick");
    start(&[("a", backend)], json!({ "servers": ["a"], "tools": [rule] }))
}

#[test]
fn a_call_over_its_time_is_answered_and_ended_at_the_server() -> anyhow::Result<()> {
    // Clients of each era on servers of each.
    for era in [Era::Modern, Era::Legacy] {
        let backend = stuck(era)?;
        let gateway = limited(&backend, json!({ "timeout": "1s" }))?;
        for (count, revision) in REVISIONS.iter().enumerate() {
            let client = Client::of(&gateway, revision)?;
            let started = Instant::now();

            let answer = client.call("quick", json!({}))?;

            assert_eq!(code(&answer), (-31006, &json!("q")), "{era:?} {revision}: {answer}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("quick") && message.contains("1s"), "{message}");
            assert!(
                started.elapsed() >= Duration::from_secs(1) && started.elapsed() < PATIENCE,
                "{:?}",
                started.elapsed()
            );
            assert_eq!(client.call("echo", json!({}))?["result"]["content"][0]["text"], "a:echo", "{revision}");
            let hits = f64::from(u32::try_from(count)?) + 1.0;
            gateway.metric_until("quorate_limit_hits_total", "tool_timeout", |seen| (seen - hits).abs() < 0.1)?;
            if era == Era::Legacy {
                wait::until("the cancellation at the server", PATIENCE, || {
                    let seen = backend.count("notifications/cancelled");
                    anyhow::ensure!(seen > count, "{seen}");
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_time_of_a_call_is_not_that_of_the_person_who_is_asked() -> anyhow::Result<()> {
    // The server asks the client, and answers the call when it was answered.
    let (answered, answers) = sync_channel::<()>(1);
    let answers = Mutex::new(answers);
    let asking = Mcp::new("a").era(Era::Legacy).tools(&["slow"]).rule(move |seen, out| {
        if seen.method().is_empty() && seen.body.get("result").is_some() {
            answered.send(()).ok();
            out.answer(202, &[], b"");
            return true;
        }
        if is_slow(seen) {
            let params = json!({ "message": "Sure?", "requestedSchema": { "type": "object", "properties": {} } });
            out.message(&json!({ "jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": params }));
            answers.lock().expect("no holder panics").recv_timeout(PATIENCE).ok();
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("at last") }));
            out.end_events();
        }
        is_slow(seen)
    });
    let backend = asking.start()?;
    let gateway = limited(&backend, json!({ "timeout": "1s" }))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = session.request("q", "tools/call", json!({ "name": "quick" }))?;
    let asked = stream.next_message()?.expect("the question comes first");
    assert_eq!(asked["method"], "elicitation/create", "{asked}");

    #[expect(clippy::disallowed_methods, reason = "what a person takes is what this is about: time has to pass")]
    thread::sleep(Duration::from_millis(1500));
    let content = json!({ "action": "accept", "content": {} });
    session.post(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": content }))?;

    let answer = stream.next_message()?.expect("the answer follows");
    assert_eq!(answer["result"]["content"][0]["text"], "at last", "{answer}");
    Ok(())
}

#[test]
fn a_server_that_was_told_what_it_asked_has_no_more_time_than_others() -> anyhow::Result<()> {
    for era in [Era::Modern, Era::Legacy] {
        let (backend, _release) = asking(era)?;
        let gateway = limited(&backend, json!({ "timeout": "1s" }))?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let started = Instant::now();

        let late = answered(&session, "q")?.message()?;

        assert_eq!(code(&late), (-31006, &json!("q")), "{era:?}: {late}");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        gateway.metric_until("quorate_limit_hits_total", "tool_timeout", |seen| seen >= 1.0)?;
    }
    Ok(())
}

#[test]
fn the_time_of_a_parked_call_goes_on_when_its_client_comes_again() -> anyhow::Result<()> {
    let (backend, release) = asking(Era::Legacy)?;
    let gateway = limited(&backend, json!({ "timeout": "1s" }))?;
    let params = json!({
        "name": "quick",
        "_meta": { "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } },
    });
    for is_released in [true, false] {
        let asked = gateway.modern("q", "tools/call", params.clone())?.message()?;
        let requests = asked["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("no question: {asked}"));
        let key = requests.keys().next().expect("a question");
        #[expect(clippy::disallowed_methods, reason = "what a person takes is what this is about: time has to pass")]
        thread::sleep(Duration::from_millis(1500));
        if is_released {
            release.send(())?;
        }
        let mut retry = params.clone();
        retry["requestState"] = asked["result"]["requestState"].clone();
        retry["inputResponses"] = json!({ key.as_str(): { "action": "accept", "content": {} } });

        let answer = gateway.modern("r", "tools/call", retry)?.message()?;

        match is_released {
            true => assert_eq!(answer["result"]["content"][0]["text"], "at last", "{answer}"),
            false => assert_eq!(code(&answer), (-31006, &json!("r")), "{answer}"),
        }
    }
    Ok(())
}

#[test]
fn a_call_counts_again_once_its_client_has_answered() -> anyhow::Result<()> {
    for era in [Era::Modern, Era::Legacy] {
        let (backend, release) = asking(era)?;
        let gateway = limited(&backend, json!({ "concurrency": 1 }))?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let first = answered(&session, "first")?;

        let mut attempts = 0;
        wait::until("the place to be taken", PATIENCE, || {
            attempts += 1;
            // One that comes before the answer has gone to the server asks its client as well.
            let other = session.request(attempts, "tools/call", json!({ "name": "quick" }))?;
            anyhow::ensure!(!other.is_events(), "it asks");
            let refused = other.message()?;
            anyhow::ensure!(code(&refused).0 == -31003, "{refused}");
            Ok(())
        })?;

        release.send(())?;
        assert_eq!(first.message()?["result"]["content"][0]["text"], "at last", "{era:?}");
    }
    Ok(())
}

#[test]
fn calls_over_the_number_of_a_tool_are_refused_and_the_others_go_on() -> anyhow::Result<()> {
    for (era, revisions) in [(Era::Modern, &["2026-07-28"][..]), (Era::Legacy, &["2025-11-25", "2026-07-28"])] {
        for revision in revisions {
            let (backend, release) = gated(era)?;
            let gateway = limited(&backend, json!({ "concurrency": 2 }))?;
            // Lists and sessions are there before anything waits.
            let client = Client::of(&gateway, revision)?;
            client.tools()?;
            thread::scope(|scope| -> anyhow::Result<()> {
                let gateway = &gateway;
                let call = || Client::of(gateway, revision)?.call("quick", json!({}));
                let waiting: Vec<_> = (0..2).map(|_| scope.spawn(call)).collect();
                wait::until("the calls at the server", PATIENCE, || {
                    let seen = backend.count("tools/call");
                    anyhow::ensure!(seen >= 2, "{seen}");
                    Ok(())
                })?;

                let refused = client.call("quick", json!({}))?;

                assert_eq!(code(&refused), (-31003, &json!("q")), "{era:?} {revision}: {refused}");
                let message = refused["error"]["message"].as_str().unwrap_or_default();
                assert!(message.contains("quick") && message.contains('2'), "{message}");
                assert_eq!(client.call("echo", json!({}))?["result"]["content"][0]["text"], "a:echo", "{revision}");
                gateway.metric_until("quorate_limit_hits_total", "tool_concurrency", |hits| hits >= 1.0)?;
                release.send(())?;
                release.send(())?;
                for one in waiting {
                    let answer = one.join().expect("the thread does not panic")?;
                    assert_eq!(answer["result"]["content"][0]["text"], "at last", "{revision}: {answer}");
                }
                Ok(())
            })?;
            // The places come back when the exchanges have ended.
            release.send(())?;
            wait::until("a place", PATIENCE, || {
                let answer = client.call("quick", json!({}))?;
                anyhow::ensure!(answer["result"]["content"][0]["text"] == "at last", "{answer}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_client_that_leaves_gives_its_place_back() -> anyhow::Result<()> {
    let (backend, release) = gated(Era::Modern)?;
    let gateway = limited(&backend, json!({ "concurrency": 1 }))?;
    let (headers, body) =
        quorate_tests::raw::gateway::modern_request(&json!(1), "tools/call", json!({ "name": "quick" }));
    let mut head =
        format!("POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", gateway.address, body.to_string().len());
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut socket = quorate_tests::raw::client::connect(gateway.address)?;
    std::io::Write::write_all(&mut socket, format!("{head}\r\n{body}").as_bytes())?;
    backend.wait_for("the call", |seen| is_slow(seen).then_some(()))?;
    let client = Client::of(&gateway, "2026-07-28")?;
    assert_eq!(code(&client.call("quick", json!({}))?).0, -31003);

    drop(socket);

    release.send(())?;
    release.send(())?;
    wait::until("a place", PATIENCE, || {
        let answer = client.call("quick", json!({}))?;
        anyhow::ensure!(answer["result"]["content"][0]["text"] == "at last", "{answer}");
        Ok(())
    })
}
