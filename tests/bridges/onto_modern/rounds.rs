//! What an honest stateless server asks of a client of sessions, and what becomes of the answer.

use quorate_tests::raw::{PATIENCE, client::Event, session::Session, sse::Sse};
use serde_json::{Value, json};

use super::{ask, begin, fixture, form, question, respond, scripted, text};
use quorate_tests::raw::gateway::Documents;
use quorate_tests::raw::mcp::{Era, Mcp, said};

fn accept(name: &str, value: &str) -> Value {
    json!({ "action": "accept", "content": { name: value } })
}

fn sampled(text: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": text } })
}

#[test]
fn an_elicitation_a_sampling_and_roots_go_to_the_client_and_their_answers_to_the_server() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let roots = json!({ "roots": [{ "uri": "file:///tmp", "name": "tmp" }] });
    let cases = [
        ("elicitation", "elicitation/create", accept("name", "Ada"), "Hello, Ada!"),
        ("sampling", "sampling/createMessage", sampled("Paris"), "Paris"),
        ("list_roots", "roots/list", roots, r#"Roots: [{"uri":"file:///tmp","name":"tmp"}]"#),
    ];
    for (id, (tool, method, result, expected)) in (1..).zip(cases) {
        let mut stream = begin(&session, id, &format!("test_input_required_result_{tool}"))?;
        let asked = question(&mut stream)?;
        assert_eq!(asked["method"], method, "{asked}");

        respond(&session, &asked, result)?;

        let answer = stream.message()?;
        assert_eq!((&answer["id"], text(&answer)), (&json!(id), expected), "{answer}");
        assert_eq!(answer["result"].get("resultType"), None, "{answer}");
    }
    assert_eq!(gateway.metric("quorate_bridged_inputs_total", "")?, 3.0);
    assert_eq!(gateway.metric("quorate_bridged_calls_total", r#"quorate_result="complete""#)?, 3.0);
    Ok(())
}

#[test]
fn several_questions_of_one_round_may_be_answered_in_any_order() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "test_input_required_result_multiple_inputs")?;
    let mut asked = [question(&mut stream)?, question(&mut stream)?, question(&mut stream)?];
    asked.reverse();

    for question in &asked {
        let result = match question["method"].as_str() {
            Some("elicitation/create") => accept("name", "Ada"),
            Some("sampling/createMessage") => sampled("Good day"),
            _ => json!({ "roots": [] }),
        };
        respond(&session, question, result)?;
    }

    assert_eq!(text(&stream.message()?), "Good day, Ada! Roots: []");
    Ok(())
}

#[test]
fn rounds_follow_each_other_on_one_stream_and_the_state_goes_back() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "test_input_required_result_multi_round")?;

    let first = question(&mut stream)?;
    respond(&session, &first, accept("name", "Ada"))?;
    let second = question(&mut stream)?;
    assert!(second["params"]["message"].to_string().contains("color"), "{second}");
    respond(&session, &second, accept("color", "blue"))?;

    assert_eq!(text(&stream.message()?), "Ada likes blue.");
    Ok(())
}

#[test]
fn a_prompt_may_ask_as_well() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = session.request(1, "prompts/get", json!({ "name": "test_input_required_result_prompt" }))?;

    let asked = question(&mut stream)?;
    respond(&session, &asked, accept("context", "the weather"))?;

    let answer = stream.message()?;
    assert!(answer["result"]["messages"].is_array(), "{answer}");
    Ok(())
}

#[test]
fn a_refusal_of_the_user_is_an_answer_of_the_client() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    for (id, action) in (1..).zip(["decline", "cancel"]) {
        let mut stream = session.request(
            id,
            "tools/call",
            json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } }),
        )?;
        let asked = question(&mut stream)?;

        respond(&session, &asked, json!({ "action": action }))?;

        assert_eq!(text(&stream.message()?), format!("User response: action={action}, content=null"));
    }
    Ok(())
}

#[test]
fn a_client_that_answers_with_an_error_ends_its_call_and_is_asked_no_more() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form(), "b": form() }), "s"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;
    let (first, second) = (question(&mut stream)?, question(&mut stream)?);

    let error = json!({ "code": -1, "message": "User rejected it" });
    session.post(&json!({ "jsonrpc": "2.0", "id": first["id"], "error": error }))?;

    let mut cancelled = Vec::new();
    let answer = loop {
        let message = stream.next_message()?.expect("the stream ends with an answer");
        if message["method"] == "notifications/cancelled" {
            cancelled.push(message["params"]["requestId"].clone());
        } else {
            break message;
        }
    };
    assert_eq!(cancelled, [second["id"].clone()]);
    let expected = json!({
        "code": -31008,
        "message": "the client did not give what elicitation/create asked for: User rejected it",
        "data": { "method": "elicitation/create", "code": -1 },
    });
    assert_eq!((&answer["id"], &answer["error"]), (&json!(1), &expected), "{answer}");
    assert_eq!(backend.count("tools/call"), 1, "it is not sent again");
    assert_eq!(gateway.metric("quorate_bridged_calls_total", r#"quorate_result="input""#)?, 1.0);
    Ok(())
}

#[test]
fn each_request_stands_alone_and_a_retry_brings_the_exact_state_under_a_new_id() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| match seen.params()["requestState"].as_str() {
        None => {
            // Escapes and spaces as no serialiser would write them.
            let id = seen.id();
            let requests = json!({ "n/1": form() });
            let result = format!(
                r#"{{"requestState" : "s\u0041\/\u00e9","resultType":"input_required","inputRequests":{requests}}}"#
            );
            out.answer(
                200,
                &[("content-type", "application/json")],
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).as_bytes(),
            );
        }
        Some(_) => out.result(seen, &said("done")),
    })?;
    let capabilities = json!({ "elicitation": {}, "tasks": { "list": {} }, "roots": { "listChanged": true } });
    let session = Session::open_as(&gateway, "2025-11-25", capabilities)?;
    let meta = json!({ "progressToken": "p", "x/y": 1 });
    let params = json!({ "name": "echo", "arguments": { "a": 1 }, "_meta": meta, "task": { "ttl": 5 } });
    let mut stream = session.request("c", "tools/call", params)?;
    let asked = question(&mut stream)?;
    respond(&session, &asked, json!({ "action": "accept", "content": { "name": "Ada" } }))?;
    assert_eq!(text(&stream.message()?), "done");

    let calls: Vec<_> = backend.seen().into_iter().filter(|seen| seen.method() == "tools/call").collect();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].id(), calls[1].id());
    for call in &calls {
        let meta = &call.params()["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        let declared = json!({ "elicitation": {}, "roots": {} });
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], declared);
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"], json!({ "name": "tests", "version": "1" }));
        assert_eq!((&meta["progressToken"], &meta["x/y"]), (&json!("p"), &json!(1)));
        assert_eq!((&call.params()["arguments"], call.params().get("task")), (&json!({ "a": 1 }), None));
        let headers = ["mcp-protocol-version", "mcp-method", "mcp-name"].map(|name| call.header(name));
        assert_eq!(headers, [Some("2026-07-28"), Some("tools/call"), Some("echo")]);
        assert_eq!(call.header("mcp-session-id"), None);
    }
    assert_eq!(calls[0].params().get("inputResponses"), None);
    let answers = json!({ "n/1": { "action": "accept", "content": { "name": "Ada" } } });
    assert_eq!((&calls[1].params()["inputResponses"], &calls[1].params()["requestState"]), (&answers, &json!("sA/é")));
    Ok(())
}

#[test]
fn a_client_that_leaves_while_it_is_asked_finds_question_and_answer_when_it_comes_back() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "test_input_required_result_elicitation")?;
    let primed = stream.next_event()?.expect("a priming event");
    let last = |event: &Event| event.id.clone().expect("events have ids");
    drop(stream);

    let mut stream = session.get(Some(&last(&primed)))?;
    let asked = loop {
        let event = stream.next_event()?.expect("the question");
        if !event.data.is_empty() {
            break event;
        }
    };
    let asked_id = last(&asked);
    let asked: Value = serde_json::from_str(&asked.data)?;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    drop(stream);
    respond(&session, &asked, accept("name", "Ada"))?;

    let answer = session.get(Some(&asked_id))?.message()?;
    assert_eq!(text(&answer), "Hello, Ada!");
    Ok(())
}

#[test]
fn a_client_of_2024_is_asked_on_its_one_stream() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    // Its revision has sampling and roots, and no elicitation, whatever it declares.
    let mut sse = Sse::open(&gateway, "/sse")?;
    let params = json!({ "name": "test_input_required_result_list_roots", "arguments": {} });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    assert_eq!(sse.post(&call.to_string())?.status, 202);
    let asked = sse.receive()?;
    assert_eq!(asked["method"], "roots/list", "{asked}");

    sse.post(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "roots": [] } }).to_string())?;

    assert_eq!(text(&sse.receive()?), "Roots: []");
    let refused = sse.call(json!(2), "test_input_required_result_elicitation")?;
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    Ok(())
}

#[test]
fn a_call_that_is_cancelled_while_its_client_is_asked_is_not_sent_again() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form() }), "s"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;
    let asked = question(&mut stream)?;

    let params = json!({ "requestId": 1 });
    session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))?;

    let taken_back = stream.next_message()?.expect("the question is taken back");
    assert_eq!(
        (&taken_back["method"], &taken_back["params"]["requestId"]),
        (&json!("notifications/cancelled"), &asked["id"])
    );
    assert!(stream.next_message()?.is_none(), "a cancelled call has no answer");
    respond(&session, &asked, accept("name", "too late"))?;
    gateway.metric_until("quorate_bridged_calls_total", r#"quorate_result="cancelled""#, |count| count == 1.0)?;
    assert_eq!(backend.count("tools/call"), 1);
    Ok(())
}

#[test]
fn a_session_that_ends_while_its_client_is_asked_leaves_nothing_behind() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form() }), "s"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;
    question(&mut stream)?;

    assert_eq!(session.delete()?.status, 200);

    gateway.metric_until("quorate_bridged_calls_total", r#"quorate_result="cancelled""#, |count| count == 1.0)?;
    gateway.metric_until("quorate_sessions", "", |count| count == 0.0)?;
    assert_eq!(backend.count("tools/call"), 1);
    Ok(())
}

#[test]
fn a_call_whose_server_is_configured_anew_while_its_client_is_asked_ends_and_says_so() -> anyhow::Result<()> {
    let backend = Mcp::new("a").era(Era::Modern).tools(&["echo"]);
    let backend = backend.on("tools/call", |seen, out| ask(seen, out, json!({ "a": form() }), "s")).start()?;
    let documents = |concurrency: u64| {
        let spec = json!({ "urls": [backend.url()], "limits": { "concurrency": concurrency } });
        Documents::new().server_with("a", spec)
    };
    let gateway = documents(8).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;
    let asked = question(&mut stream)?;

    gateway.rewrite(&documents(9).text())?;

    let taken_back = stream.next_message()?.expect("the question is taken back");
    assert_eq!(
        (&taken_back["method"], &taken_back["params"]["requestId"]),
        (&json!("notifications/cancelled"), &asked["id"])
    );
    let answer = stream.message()?;
    let reason = "backend a failed: it was lost, or configured anew, while the client was asked";
    assert_eq!((&answer["error"]["code"], &answer["error"]["message"]), (&json!(-31001), &json!(reason)), "{answer}");
    assert_eq!(backend.count("tools/call"), 1);
    Ok(())
}

#[test]
fn a_user_who_thinks_takes_no_place_at_the_server() -> anyhow::Result<()> {
    let (backend, gateway) = {
        let backend = Mcp::new("a")
            .era(Era::Modern)
            .tools(&["ask", "echo"])
            .on("tools/call", |seen, out| match seen.params()["name"].as_str() {
                Some("ask") if seen.params().get("requestState").is_none() => {
                    ask(seen, out, json!({ "a": form() }), "s");
                }
                _ => out.result(seen, &said("done")),
            })
            .start()?;
        let spec = json!({ "urls": [backend.url()], "limits": { "concurrency": 1 } });
        let gateway = Documents::new().server_with("a", spec).start()?;
        (backend, gateway)
    };
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "ask")?;
    let asked = question(&mut stream)?;

    assert_eq!(text(&session.call(2, "echo")?), "done");

    respond(&session, &asked, accept("name", "Ada"))?;
    assert_eq!(text(&stream.message()?), "done");
    assert_eq!(backend.count("tools/call"), 3);
    Ok(())
}

#[test]
fn what_a_user_answered_waits_for_a_place_at_a_busy_server() -> anyhow::Result<()> {
    let (release, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let gate = std::sync::Mutex::new(gate);
    let backend = Mcp::new("a").era(Era::Modern).tools(&["ask", "slow"]);
    let backend = backend.on("tools/call", move |seen, out| match seen.params()["name"].as_str() {
        Some("ask") if seen.params().get("requestState").is_none() => ask(seen, out, json!({ "a": form() }), "s"),
        Some("slow") => {
            gate.lock().expect("no holder panics").recv_timeout(PATIENCE).ok();
            out.result(seen, &said("at last"));
        }
        _ => out.result(seen, &said("done")),
    });
    let backend = backend.start()?;
    let spec = json!({ "urls": [backend.url()], "limits": { "concurrency": 1 } });
    let gateway = Documents::new().server_with("a", spec).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "ask")?;
    let asked = question(&mut stream)?;
    let slow = begin(&session, 2, "slow")?;
    backend.wait_for("the slow call", |seen| (seen.params()["name"] == "slow").then_some(()))?;

    respond(&session, &asked, accept("name", "Ada"))?;
    gateway.metric_until("quorate_limit_hits_total", r#"quorate_limit="concurrency""#, |hits| hits >= 1.0)?;
    release.send(())?;

    assert_eq!(text(&stream.message()?), "done");
    assert_eq!(text(&slow.message()?), "at last");
    Ok(())
}
