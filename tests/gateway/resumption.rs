//! Streams of sessions: leaving and coming back, cancelling, and questions that servers ask their clients.

use std::sync::{
    Arc, Mutex,
    mpsc::{SyncSender, sync_channel},
};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Backend,
    client::{Answer, Event},
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp, said},
    session::Session,
};

/// What a tool does next.
enum Do {
    /// Send a log message with this number.
    Note(u64),
    /// Answer.
    Finish,
}

/// A server of sessions whose tool does what the test says.
fn driven() -> anyhow::Result<(Backend, Gateway, SyncSender<Do>)> {
    let (drive, driver) = sync_channel::<Do>(256);
    let driver = Mutex::new(driver);
    let backend = Mcp::new("a")
        .era(Era::Legacy)
        .on("tools/call", move |seen, out| {
            out.begin_events(&[]);
            let driver = driver.lock().expect("no holder panics");
            while let Ok(step) = driver.recv() {
                match step {
                    Do::Note(at) => {
                        let params = json!({ "level": "info", "data": at });
                        out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }));
                    }
                    Do::Finish => {
                        out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("done") }));
                        return out.end_events();
                    }
                }
            }
        })
        .start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway, drive))
}

fn call(session: &Session, id: i64) -> anyhow::Result<Answer> {
    session.request(id, "tools/call", json!({ "name": "echo", "arguments": {} }))
}

/// The number of a log message, or the id of an answer.
fn fact(event: &Event) -> Value {
    let message: Value = serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    match message["method"].as_str() {
        Some("notifications/message") => message["params"]["data"].clone(),
        Some(other) => panic!("unexpected {other}"),
        None => json!({ "answers": message["id"], "with": message["result"]["content"][0]["text"] }),
    }
}

fn next(answer: &mut Answer) -> anyhow::Result<Event> {
    loop {
        let event = answer.next_event()?.unwrap_or_else(|| panic!("the stream ended"));
        if !event.data.is_empty() {
            return Ok(event);
        }
    }
}

#[test]
fn a_client_that_leaves_in_mid_stream_resumes_exactly_once_and_in_order() -> anyhow::Result<()> {
    let (backend, gateway, drive) = driven()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = call(&session, 7)?;
    let priming = stream.next_event()?.expect("a stream begins with an event");
    assert!(priming.id.is_some() && priming.data.is_empty(), "a client of 2025-11-25 is primed: {priming:?}");
    assert!(priming.retry.is_some(), "{priming:?}");

    drive.send(Do::Note(1))?;
    drive.send(Do::Note(2))?;
    let (first, second) = (next(&mut stream)?, next(&mut stream)?);
    assert_eq!((fact(&first), fact(&second)), (json!(1), json!(2)));
    drop(stream);
    for at in 3..=20 {
        drive.send(Do::Note(at))?;
    }
    drive.send(Do::Finish)?;

    let mut resumed = session.get(second.id.as_deref())?;
    assert_eq!(resumed.status, 200);
    let (mut facts, mut ids) = (Vec::new(), vec![priming.id, first.id.clone(), second.id.clone()]);
    while let Some(event) = resumed.next_event()? {
        // An event without data repeats the place that the connection goes on from.
        if !event.data.is_empty() {
            facts.push(fact(&event));
            ids.push(event.id);
        }
    }
    let mut expected: Vec<Value> = (3..=20).map(|at| json!(at)).collect();
    expected.push(json!({ "answers": 7, "with": "done" }));
    assert_eq!(facts, expected);
    assert!(ids.iter().all(Option::is_some), "each event can be resumed from: {ids:?}");
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "no event id comes twice: {ids:?}");

    // A client whose second connection broke too says the same again, and gets the same again.
    drop(resumed);
    let mut again = session.get(second.id.as_deref())?;
    assert_eq!(again.status, 200);
    assert_eq!(fact(&next(&mut again)?), json!(3));
    // To resume from an event is to say that all before it came.
    assert_eq!(session.get(first.id.as_deref())?.status, 400);
    assert_eq!(backend.count("tools/call"), 1);
    assert_eq!(backend.count("notifications/cancelled"), 0, "leaving is not cancelling");
    Ok(())
}

#[test]
fn a_stream_can_be_resumed_from_its_priming_event() -> anyhow::Result<()> {
    let (_backend, gateway, drive) = driven()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = call(&session, 7)?;
    let priming = stream.next_event()?.expect("a stream begins with an event");
    drop(stream);
    drive.send(Do::Note(1))?;
    drive.send(Do::Finish)?;

    let mut resumed = session.get(priming.id.as_deref())?;

    assert_eq!(fact(&next(&mut resumed)?), json!(1));
    assert_eq!(fact(&next(&mut resumed)?), json!({ "answers": 7, "with": "done" }));
    while let Some(event) = resumed.next_event()? {
        assert!(event.data.is_empty(), "{event:?}");
    }
    Ok(())
}

#[test]
fn leaving_again_and_again_loses_nothing() -> anyhow::Result<()> {
    let (_backend, gateway, drive) = driven()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = call(&session, 7)?;
    let mut last = stream.next_event()?.expect("a stream begins with an event").id;
    let mut facts = Vec::new();

    for at in 1..=30 {
        drive.send(Do::Note(at))?;
        if at % 3 == 0 {
            drop(stream);
            stream = session.get(last.as_deref())?;
        }
        if at % 2 == 0 {
            let event = next(&mut stream)?;
            facts.push(fact(&event));
            last = event.id;
        }
    }
    drive.send(Do::Finish)?;
    while facts.last().is_none_or(Value::is_number) {
        let event = next(&mut stream)?;
        facts.push(fact(&event));
    }

    let mut expected: Vec<Value> = (1..=30).map(|at| json!(at)).collect();
    expected.push(json!({ "answers": 7, "with": "done" }));
    assert_eq!(facts, expected);
    Ok(())
}

#[test]
fn another_session_cannot_resume_the_stream() -> anyhow::Result<()> {
    let (_backend, gateway, drive) = driven()?;
    let (session, other) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    let mut stream = call(&session, 7)?;
    let priming = stream.next_event()?.expect("a stream begins with an event");

    let refused = other.get(priming.id.as_deref())?;
    assert_eq!(refused.status, 400);

    drive.send(Do::Finish)?;
    assert_eq!(fact(&next(&mut stream)?), json!({ "answers": 7, "with": "done" }));
    Ok(())
}

#[test]
fn clients_before_2025_11_25_get_no_empty_events() -> anyhow::Result<()> {
    for version in ["2025-03-26", "2025-06-18"] {
        let (_backend, gateway, drive) = driven()?;
        let session = Session::open(&gateway, version)?;
        let mut stream = call(&session, 7)?;
        drive.send(Do::Note(1))?;
        drive.send(Do::Finish)?;

        let mut events = Vec::new();
        while let Some(event) = stream.next_event()? {
            events.push(event);
        }

        assert!(events.iter().all(|event| !event.data.is_empty()), "{version}: {events:?}");
        assert_eq!(events.len(), 2, "{version}: {events:?}");
    }
    Ok(())
}

#[test]
fn cancelling_reaches_the_server_under_its_own_id_and_ends_the_stream() -> anyhow::Result<()> {
    let (backend, gateway, drive) = driven()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = call(&session, 7)?;
    drive.send(Do::Note(1))?;
    assert_eq!(fact(&next(&mut stream)?), json!(1));
    let called = backend.wait_for_method("tools/call")?;

    let wrong = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "7" } });
    assert_eq!(session.post(&wrong)?.status, 202, "the text is another id than the number");
    let params = json!({ "requestId": 7, "reason": "changed my mind" });
    let told = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))?;
    assert_eq!(told.status, 202);

    let cancelled = backend.wait_for_method("notifications/cancelled")?;
    assert_eq!(cancelled.params()["requestId"], *called.id());
    assert_eq!(cancelled.params()["reason"], "changed my mind");
    drive.send(Do::Finish)?;
    while let Some(event) = stream.next_event()? {
        assert!(event.data.is_empty(), "a cancelled call is not answered: {event:?}");
    }
    assert_eq!(backend.count("notifications/cancelled"), 1);
    // The id is free again.
    drive.send(Do::Finish)?;
    assert_eq!(call(&session, 7)?.message()?["id"], 7);
    Ok(())
}

#[test]
fn progress_comes_under_the_token_of_the_client() -> anyhow::Result<()> {
    let backend = Mcp::new("a")
        .on("tools/call", |seen, out| {
            let token = &seen.params()["_meta"]["progressToken"];
            for at in 1..=2 {
                let params = json!({ "progressToken": token, "progress": at, "total": 2 });
                out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
            }
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("done") }));
            out.end_events();
        })
        .start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    for token in [json!("mine"), json!(5)] {
        let params = json!({ "name": "echo", "arguments": {}, "_meta": { "progressToken": token } });
        for (era, mut stream) in [
            ("legacy", session.request(1, "tools/call", params.clone())?),
            ("modern", gateway.modern(1, "tools/call", params.clone())?),
        ] {
            let mut progress = Vec::new();
            while let Some(message) = stream.next_message()? {
                if message["method"] == "notifications/progress" {
                    assert_eq!(message["params"]["progressToken"], token, "{era}");
                    progress.push(message["params"]["progress"].clone());
                }
            }
            assert_eq!(progress, [json!(1), json!(2)], "{era}");
        }
    }
    Ok(())
}

/// A server whose tool asks its client and answers with what it was told.
fn asking(name: &str) -> anyhow::Result<(Backend, Arc<Mutex<Vec<Value>>>)> {
    let (answered, answers) = sync_channel::<Value>(16);
    let answers = Mutex::new(answers);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let backend = Mcp::new(name)
        .era(Era::Legacy)
        .tools(&[&format!("ask-{name}")])
        .rule(move |seen, out| {
            let is_answer = seen.body.get("result").is_some() || seen.body.get("error").is_some();
            if is_answer {
                telling.lock().expect("no holder panics").push(seen.body.clone());
                answered.send(seen.body.clone()).ok();
                out.answer(202, &[], b"");
            }
            is_answer
        })
        .on("tools/call", move |seen, out| {
            let params = json!({ "message": "your name?", "requestedSchema": { "type": "object", "properties": {} } });
            out.message(&json!({ "jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": params }));
            let answer = answers.lock().expect("no holder panics").recv_timeout(PATIENCE).unwrap_or_default();
            let text = answer["result"]["content"]["name"].as_str().unwrap_or("nothing").to_owned();
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said(&text) }));
            out.end_events();
        })
        .start()?;
    Ok((backend, told))
}

fn next_message(stream: &mut Answer) -> anyhow::Result<Value> {
    Ok(stream.next_message()?.unwrap_or_else(|| panic!("the stream ended")))
}

fn answer_to(question: &Value, name: &str) -> Value {
    let result = json!({ "action": "accept", "content": { "name": name } });
    json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
}

#[test]
fn a_question_is_answered_over_a_second_post_and_only_once() -> anyhow::Result<()> {
    let (backend, told) = asking("a")?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let (session, other) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    let mut stream = session.request(7, "tools/call", json!({ "name": "ask-a", "arguments": {} }))?;
    let question = next_message(&mut stream)?;
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "your name?");

    assert_eq!(other.post(&answer_to(&question, "thief"))?.status, 202, "dropped: it is not this session's");
    assert_eq!(session.post(&json!({ "jsonrpc": "2.0", "id": "wrong", "result": {} }))?.status, 202);
    assert_eq!(session.post(&answer_to(&question, "Ada"))?.status, 202);
    assert_eq!(session.post(&answer_to(&question, "late"))?.status, 202);

    let answer = next_message(&mut stream)?;
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(7), &json!("Ada")), "{answer}");
    let told = told.lock().expect("no holder panics").clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["id"], 1, "the server gets its own id back");
    Ok(())
}

#[test]
fn questions_of_two_servers_with_the_same_id_are_told_apart() -> anyhow::Result<()> {
    let ((a, told_a), (b, told_b)) = (asking("a")?, asking("b")?);
    let gateway = Documents::new().server("a", &a.url()).server("b", &b.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut of_a = session.request(1, "tools/call", json!({ "name": "ask-a", "arguments": {} }))?;
    let mut of_b = session.request(2, "tools/call", json!({ "name": "ask-b", "arguments": {} }))?;
    let (question_a, question_b) = (next_message(&mut of_a)?, next_message(&mut of_b)?);
    assert_ne!(question_a["id"], question_b["id"]);

    session.post(&answer_to(&question_b, "for b"))?;
    session.post(&answer_to(&question_a, "for a"))?;

    assert_eq!(next_message(&mut of_a)?["result"]["content"][0]["text"], "for a");
    assert_eq!(next_message(&mut of_b)?["result"]["content"][0]["text"], "for b");
    for told in [told_a, told_b] {
        assert_eq!(told.lock().expect("no holder panics").len(), 1);
    }
    Ok(())
}

#[test]
fn a_question_that_was_asked_while_its_client_was_away_waits_for_it() -> anyhow::Result<()> {
    let (backend, _told) = asking("a")?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = session.request(7, "tools/call", json!({ "name": "ask-a", "arguments": {} }))?;
    let first = stream.next_event()?.expect("a stream begins with an event");
    drop(stream);

    let mut resumed = session.get(first.id.as_deref())?;
    let question = if first.data.is_empty() { next_message(&mut resumed)? } else { serde_json::from_str(&first.data)? };
    assert_eq!(question["method"], "elicitation/create");
    session.post(&answer_to(&question, "Grace"))?;

    assert_eq!(next_message(&mut resumed)?["result"]["content"][0]["text"], "Grace");
    Ok(())
}
