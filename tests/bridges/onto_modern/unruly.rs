//! Servers that ask too much, and clients that cannot give it.

use quorate_tests::raw::{mcp::said, session::Session};
use serde_json::json;

use super::{ask, begin, fixture, form, question, respond, scripted};

#[test]
fn a_server_that_keeps_asking_is_stopped_after_eight_rounds() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form() }), "again"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;

    for _ in 0..8 {
        let asked = question(&mut stream)?;
        respond(&session, &asked, json!({ "action": "decline" }))?;
    }

    let answer = stream.message()?;
    assert_eq!(answer["error"]["code"], -31003, "{answer}");
    assert_eq!(answer["error"]["data"], json!({ "limit": "rounds", "max": 8 }));
    assert_eq!(backend.count("tools/call"), 9);
    assert_eq!(gateway.metric("quorate_limit_hits_total", r#"quorate_limit="rounds""#)?, 1.0);
    Ok(())
}

#[test]
fn a_server_that_only_wants_to_be_asked_again_is_and_not_for_ever() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| match seen.params()["requestState"].as_str() {
        Some("2") => out.result(seen, &said("done")),
        Some(state) => {
            let next = if state == "1" { "2" } else { "1" };
            out.result(seen, &json!({ "resultType": "input_required", "requestState": next }));
        }
        None => out.result(seen, &json!({ "resultType": "input_required", "requestState": "0" })),
    })?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let answer = session.call(1, "echo")?;

    assert_eq!(super::text(&answer), "done");
    assert_eq!(backend.count("tools/call"), 4);
    Ok(())
}

#[test]
fn what_the_client_did_not_declare_is_not_asked_of_it() -> anyhow::Result<()> {
    let (_backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form() }), "s"))?;
    let session = Session::open_as(&gateway, "2025-11-25", json!({ "sampling": {} }))?;

    let answer = session.call(1, "echo")?;

    let message =
        "backend a failed: it asks the client for elicitation/create in a way that the client did not declare";
    let expected = json!({ "code": -31001, "message": message, "data": { "backend": "a" } });
    assert_eq!(answer["error"], expected, "{answer}");
    assert_eq!(gateway.metric("quorate_bridged_calls_total", r#"quorate_result="undeclared""#)?, 1.0);
    Ok(())
}

#[test]
fn a_server_that_misses_a_capability_says_which_in_the_clients_terms() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open_as(&gateway, "2025-11-25", json!({}))?;

    let answer = session.call(1, "test_missing_capability")?;

    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("(the client did not declare: sampling)"), "{message}");
    assert_eq!(answer["error"]["data"], json!({ "requiredCapabilities": { "sampling": {} } }));
    Ok(())
}

#[test]
fn requests_that_are_none_and_too_many_of_them_end_the_call() -> anyhow::Result<()> {
    let many: serde_json::Map<_, _> = (0..17).map(|number| (number.to_string(), form())).collect();
    let cases = [
        (json!({ "a": { "method": "tools/call", "params": {} } }), -31001),
        (json!({ "a": { "method": "ping" } }), -31001),
        (json!([]), -31001),
        (json!({ "a": 7 }), -31001),
        (json!(many), -31003),
    ];
    for (requests, code) in cases {
        let shown = requests.to_string();
        let (_backend, gateway) = scripted(move |seen, out| ask(seen, out, requests.clone(), "s"))?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let answer = session.call(1, "echo")?;
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
    }
    Ok(())
}

#[test]
fn results_that_a_session_cannot_use_end_the_call() -> anyhow::Result<()> {
    let results = [
        json!({ "resultType": "task", "taskId": "t", "status": "working" }),
        json!({ "resultType": "tomorrow" }),
        json!({ "resultType": "input_required" }),
    ];
    for result in results {
        let shown = result.to_string();
        let (_backend, gateway) = scripted(move |seen, out| out.result(seen, &result))?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let answer = session.call(1, "echo")?;
        assert_eq!(answer["error"]["code"], -31001, "{shown}: {answer}");
    }
    Ok(())
}

#[test]
fn a_server_that_goes_away_between_the_rounds_fails_the_call_and_no_other() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| ask(seen, out, json!({ "a": form() }), "s"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = begin(&session, 1, "echo")?;
    let asked = question(&mut stream)?;
    let address = backend.address;
    drop(backend);

    respond(&session, &asked, json!({ "action": "decline" }))?;

    let answer = stream.message()?;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let _backend = quorate_tests::raw::backend::Backend::start_at(
        address,
        quorate_tests::raw::mcp::Mcp::new("a").era(quorate_tests::raw::mcp::Era::Modern).script(),
    )?;
    quorate_tests::wait::until("the server", quorate_tests::raw::PATIENCE, || {
        let answer = session.call(2, "echo")?;
        anyhow::ensure!(super::text(&answer) == "a:echo", "{answer}");
        Ok(())
    })
}
