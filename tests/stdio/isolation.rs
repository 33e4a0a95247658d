//! Whose process it is: one per session, or one for all, and spares for whoever comes next.

use std::{fs, thread};

use anyhow::{Context as _, ensure};
use quorate_tests::wait;
use serde_json::{Value, json};

use crate::{
    process::{OF_CHILD, child, documents, gone, lives, pid, said, start, text},
    support::{PATIENCE, client::Answer, gateway::Gateway, session::Session},
};

fn shared(flags: &[&str]) -> anyhow::Result<Gateway> {
    let mut stdio = child(flags)?;
    stdio["isolation"] = json!("shared");
    documents(stdio).start()
}

#[test]
fn each_session_has_a_process_of_its_own() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let (one, other) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-06-18")?);

    let counts = [&one, &one, &other].map(|session| text(session, "count", json!({})));
    let counts: Vec<String> = counts.into_iter().collect::<Result<_, _>>()?;
    assert_eq!(counts, ["1", "2", "1"]);
    assert_ne!(pid(&one)?, pid(&other)?);
    Ok(())
}

#[test]
fn a_process_and_all_that_it_started_end_with_their_session() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let (ending, staying) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    let pids = [pid(&ending)?, text(&ending, "daemon", json!({}))?];
    let other = pid(&staying)?;
    assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");

    ending.delete()?;

    gone(&pids)?;
    assert!(lives(&other));
    assert_eq!(text(&staying, "echo", json!({ "text": "still here" }))?, "still here");
    Ok(())
}

#[test]
fn a_session_hears_its_own_process() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    session.request(2, "resources/subscribe", json!({ "uri": "child://watched" }))?.message()?;
    let mut stream = session.get(None)?;
    text(&session, "change", json!({ "uri": "child://watched" }))?;

    assert_eq!(heard_until(&mut stream, "child://watched", 1)?, [LIST_CHANGED, "child://watched"]);
    Ok(())
}

#[test]
fn what_a_process_asks_reaches_its_client_and_the_answer_comes_back() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut call = session.request(5, "tools/call", json!({ "name": "ask", "arguments": {} }))?;

    let asked = loop {
        let message = call.next_message()?.context("the stream stays open")?;
        if message["method"] == "sampling/createMessage" {
            break message;
        }
    };
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "said": "by the client" } });
    session.post(&answer)?;
    let answered = call.next_message()?.context("the call is answered")?;
    assert!(said(&answered)?.contains("by the client"), "{answered}");
    Ok(())
}

#[test]
fn sessions_that_share_a_process_do_not_get_into_each_others_way() -> anyhow::Result<()> {
    let gateway = shared(&[])?;
    let sessions = [Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?];
    let counts: Vec<String> = sessions.iter().map(|one| text(one, "count", json!({}))).collect::<Result<_, _>>()?;
    assert_eq!(counts, ["1", "2"], "one process counts");

    // All use the same ids and the same progress tokens, at once.
    let calls = sessions.iter().flat_map(|session| (0..8).map(move |caller| (session.clone(), caller)));
    let calls: Vec<_> = calls
        .map(|(session, caller)| {
            thread::spawn(move || -> anyhow::Result<()> {
                for round in 0..10 {
                    let words = format!("{} {caller} {round}", session.id);
                    let params =
                        json!({ "name": "echo", "arguments": { "text": words }, "_meta": { "progressToken": 1 } });
                    let id = caller * 100 + round;
                    let message = session.request(id, "tools/call", params)?.message()?;
                    ensure!(message["id"] == id && said(&message)? == words, "{message}");
                }
                Ok(())
            })
        })
        .collect();
    for call in calls {
        call.join().expect("no panic")?;
    }
    Ok(())
}

#[test]
fn what_a_process_asks_between_calls_is_answered_though_its_client_reads_no_stream() -> anyhow::Result<()> {
    let mut gateway = start(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session, "ask_later", json!({}))?, "asking");
    // Its answer and what it asks come from two places of one pipe: only after the client has the answer no call is open.
    let told = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }))?;
    assert_eq!(told.status, 202);

    gateway.logged("told an error to \"later\"")?;
    gateway.logged("told a result to \"ping\"")?;
    Ok(())
}

#[test]
fn a_shared_process_can_ask_nobody_and_was_promised_nothing() -> anyhow::Result<()> {
    let gateway = shared(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let told = text(&session, "ask", json!({}))?;
    assert!(told.contains("-32601"), "{told}");
    Ok(())
}

#[test]
fn changes_of_a_shared_process_reach_those_whom_they_concern() -> anyhow::Result<()> {
    let gateway = shared(&[])?;
    let (subscribed, other) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    subscribed.request(2, "resources/subscribe", json!({ "uri": "child://watched" }))?.message()?;
    text(&other, "echo", json!({}))?;
    let mut streams = [subscribed.get(None)?, other.get(None)?];
    gateway.metric_until("quorate_streams", "", |open| open >= 2.0)?;
    for uri in ["child://watched", "child://secret", "child://watched"] {
        text(&other, "change", json!({ "uri": uri }))?;
    }

    let [of_subscribed, of_other] = &mut streams;
    let heard = heard_until(of_subscribed, "child://watched", 2)?;
    assert!(!heard.contains(&"child://secret".to_owned()), "{heard:?}");
    let heard = heard_until(of_other, LIST_CHANGED, 3)?;
    assert!(heard.iter().all(|what| what == LIST_CHANGED), "it subscribed to nothing: {heard:?}");
    Ok(())
}

const LIST_CHANGED: &str = "notifications/tools/list_changed";

/// Reads a stream until it has said something so many times: the URIs of updates, and other methods.
fn heard_until(stream: &mut Answer, what: &str, times: usize) -> anyhow::Result<Vec<String>> {
    let mut heard = Vec::new();
    while heard.iter().filter(|heard| *heard == what).count() < times {
        let message = stream.next_message()?.context("the stream stays open")?;
        let uri = message["params"]["uri"].as_str().map(str::to_owned);
        heard.extend(uri.or_else(|| message["method"].as_str().map(str::to_owned)));
    }
    Ok(heard)
}

#[test]
fn the_end_of_one_session_leaves_a_shared_process_to_the_others() -> anyhow::Result<()> {
    let gateway = shared(&[])?;
    let (ending, staying) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    let process = pid(&ending)?;
    assert_eq!(process, pid(&staying)?);

    ending.delete()?;
    gateway.metric_until("quorate_sessions", "", |live| live == 1.0)?;

    assert_eq!(pid(&staying)?, process);
    assert!(lives(&process));
    Ok(())
}

#[test]
fn spares_wait_for_sessions_and_are_replaced() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let roll = folder.path().join("roll");
    let mut stdio = child(&["--roll", &roll.display().to_string()])?;
    stdio["limits"] = json!({ "spares": 2 });
    let gateway = documents(stdio).start()?;
    gateway.metric_until("quorate_stdio_spares", OF_CHILD, |spares| spares == 2.0)?;
    // The gateway may be listing the server meanwhile, with a spare as well: the next session gets the next one.
    let started_before = wait::until("a session with a spare", PATIENCE, || {
        let ready: Vec<String> = fs::read_to_string(&roll)?.lines().map(str::to_owned).collect();
        let taken = pid(&Session::open(&gateway, "2025-11-25")?)?;
        ensure!(ready.contains(&taken), "{taken} is none of {ready:?}");
        Ok(ready.len())
    })?;
    wait::until("another spare", PATIENCE, || {
        let started = fs::read_to_string(&roll)?.lines().count();
        let spares = gateway.metric("quorate_stdio_spares", OF_CHILD)?;
        ensure!(spares == 2.0 && started > started_before, "{spares} spares, {started} starts");
        Ok(())
    })
}

#[test]
fn no_more_processes_run_than_are_allowed() -> anyhow::Result<()> {
    let mut stdio = child(&[])?;
    stdio["limits"] = json!({ "children": 2 });
    let gateway = documents(stdio).start()?;
    gateway.metric_until("quorate_stdio_children", OF_CHILD, |children| children == 0.0)?;
    let sessions = [Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?];
    for session in &sessions {
        text(session, "echo", json!({}))?;
    }

    let refused = Session::open(&gateway, "2025-11-25")?;
    let answer: Value = refused.call(1, "echo")?;
    assert_eq!(answer["error"]["data"]["limit"], "children", "{answer}");

    sessions[0].delete()?;
    wait::until("room for another process", PATIENCE, || text(&refused, "echo", json!({})))?;
    Ok(())
}
