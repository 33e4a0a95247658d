//! Processes that misbehave: the call that meets them gets a clear error, everything else goes on.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use quorate_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    process::{OUTCOME_UNKNOWN, child, documents, gone, pid, start, text, turning},
    support::{PATIENCE, gateway::Gateway, session::Session},
};

const BACKEND_FAILED: i64 = -31001;
const DEADLINE_EXCEEDED: i64 = -31006;

/// A call that fails: its error.
fn error(session: &Session, tool: &str) -> anyhow::Result<Value> {
    let answer = session.call("bad", tool)?;
    ensure!(answer["id"] == "bad" && answer["error"].is_object(), "no error: {answer}");
    Ok(answer["error"].clone())
}

/// A gateway whose server `child` is or turns bad, beside a server `good` that is not.
fn beside_a_good_one(bad: Value) -> anyhow::Result<Gateway> {
    let documents = documents(bad).naming("prefix");
    documents.server_with("good", json!({ "stdio": child(&[])? })).start()
}

/// The same with a server that has been listed while it was good, and is bad from now on.
fn turned_beside_a_good_one(flags: &str, limits: Value) -> anyhow::Result<(Gateway, TempDir)> {
    let folder = tempfile::tempdir()?;
    let turned = folder.path().join("turned");
    let mut stdio = turning(&turned, flags)?;
    stdio["limits"] = limits;
    let gateway = beside_a_good_one(stdio)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session, "child_echo", json!({ "text": "still good" }))?, "still good");
    session.delete()?;
    fs::write(&turned, "")?;
    Ok((gateway, folder))
}

/// The good server works in both eras.
fn good_goes_on(gateway: &Gateway) -> anyhow::Result<()> {
    assert_eq!(gateway.call("good_echo")?, "nothing");
    let session = Session::open(gateway, "2025-11-25")?;
    assert_eq!(text(&session, "good_echo", json!({ "text": "fine" }))?, "fine");
    Ok(())
}

#[test]
fn a_crash_in_a_call_fails_that_call_and_the_session_lives_on() -> anyhow::Result<()> {
    for isolation in ["session", "shared"] {
        let mut stdio = child(&[])?;
        stdio["isolation"] = json!(isolation);
        let mut gateway = documents(stdio).start()?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let before = pid(&session)?;

        let error = error(&session, "crash")?;
        assert_eq!(error["code"], OUTCOME_UNKNOWN, "{isolation}: {error}");
        assert!(!error.to_string().contains("division"), "what a process wrote is for the operator: {error}");

        let after = pid(&session)?;
        assert_ne!(after, before, "{isolation}: another process");
        assert_eq!(text(&session, "count", json!({}))?, "1", "{isolation}: initialized anew");
        let logged = gateway.logged("it exited with code 3")?;
        assert!(logged.contains("server=child") && logged.contains("division by zero"), "{isolation}: {logged}");
        gateway.metric_until("quorate_stdio_exits_total", "failure", |exits| exits == 1.0)?;
    }
    Ok(())
}

#[test]
fn a_crash_fails_all_calls_that_the_process_had() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (headers, body) = crate::support::gateway::modern_request(
                &json!("w"),
                "tools/call",
                json!({ "name": "silence", "arguments": {} }),
            );
            let (address, body) = (gateway.address, body.to_string());
            std::thread::spawn(move || {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                crate::support::client::send(address, "POST", "/mcp", &headers, body.as_bytes())?.message()
            })
        })
        .collect();
    gateway.metric_until("quorate_requests_active", "", |active| active >= 3.0)?;

    let crashed = gateway.modern("c", "tools/call", json!({ "name": "crash", "arguments": {} }))?.message()?;

    assert_eq!(crashed["error"]["code"], OUTCOME_UNKNOWN, "{crashed}");
    for call in waiting {
        let answer = call.join().expect("no panic")?;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("w"), &json!(OUTCOME_UNKNOWN)), "{answer}");
    }
    assert_eq!(gateway.call("count")?, "1", "another process answers");
    Ok(())
}

#[test]
fn a_crash_that_takes_long_to_clear_up_counts_as_a_failure() -> anyhow::Result<()> {
    let mut gateway = start(&["--era", "modern"])?;
    // The guard gives it a second, for which it is deaf: as long as a process may live on without its output.
    gateway.call("daemon")?;
    gateway.modern("c", "tools/call", json!({ "name": "crash", "arguments": {} }))?.message()?;

    let logged = gateway.logged("the process failed")?;
    assert!(logged.contains("it exited with code 3"), "{logged}");
    gateway.metric_until("quorate_stdio_exits_total", "failure", |exits| exits == 1.0)?;
    Ok(())
}

#[test]
fn a_call_that_comes_while_a_dead_process_is_cleared_up_goes_to_another_one() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;
    let about: Value = serde_json::from_str(&gateway.call("about")?)?;
    // Deaf to SIGTERM: the end of the process is told a second later.
    gateway.call("daemon")?;
    let process = about["pid"].to_string();
    let killed = Command::new("kill").args(["-s", "KILL", &process]).status()?;
    assert!(killed.success());
    gone(&[process])?;

    assert_eq!(gateway.call("count")?, "1");
    assert_eq!(gateway.call("count")?, "2");
    Ok(())
}

#[test]
fn what_is_no_message_is_skipped_and_counted() -> anyhow::Result<()> {
    let gateway = start(&["--greet"])?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(text(&session, "noise", json!({}))?, "after the noise");
    assert_eq!(text(&session, "echo", json!({ "text": "x" }))?, "x");
    let dropped = |reason| gateway.metric("quorate_stdio_lines_dropped_total", reason);
    assert!(dropped("garbage")? >= 4.0, "{}", dropped("garbage")?);
    assert!(dropped("malformed")? >= 1.0, "{}", dropped("malformed")?);
    Ok(())
}

#[test]
fn a_process_that_never_reads_fails_its_calls_and_nothing_else() -> anyhow::Result<()> {
    let (gateway, _turned) = turned_beside_a_good_one("--deaf", json!({ "start": "1s" }))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let error = error(&session, "child_echo")?;
    assert_eq!(error["code"], DEADLINE_EXCEEDED, "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("child")), "{error}");
    good_goes_on(&gateway)
}

#[test]
fn a_flood_on_standard_error_is_cut_and_the_calls_go_on() -> anyhow::Result<()> {
    let mut gateway = start(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session, "flood", json!({}))?, "flooding");
    gateway.logged("a line that says nothing")?;

    for round in 0..50 {
        let words = format!("round {round}");
        assert_eq!(text(&session, "echo", json!({ "text": words }))?, words);
    }
    gateway.logged("were left out")?;
    let lines = gateway.process.output().iter().filter(|line| line.contains("a line that says nothing")).count();
    assert!((100..400).contains(&lines), "{lines} lines were logged");
    Ok(())
}

#[test]
fn a_process_that_exits_at_once_melts_down_and_says_why() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let roll = folder.path().join("roll");
    let flags = format!("--exit 3 --roll '{}'", roll.display());
    let (mut gateway, _turned) = turned_beside_a_good_one(&flags, json!({ "failures": 2, "backoff": "10ms" }))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut errors = Vec::new();
    // A call is told of its process before that counts as a failure, so that one more may have begun.
    while errors.len() < 10 && !errors.last().is_some_and(says_rest) {
        errors.push(error(&session, "child_echo")?);
    }
    let started = || anyhow::Ok(fs::read_to_string(&roll)?.lines().count());
    let before = started()?;
    errors.push(error(&session, "child_echo")?);

    let logged = gateway.logged("melted down")?;
    assert!(logged.contains("code 3") && logged.contains("there is no database"), "{logged}");
    for error in &errors {
        assert_eq!(error["code"], BACKEND_FAILED, "{error}");
        assert!(error.to_string().contains("it exited with code 3"), "{error}");
        assert!(!error.to_string().contains("database"), "what a process wrote is for the operator: {error}");
    }
    assert!(errors[errors.len() - 2..].iter().all(says_rest), "{errors:?}");
    assert!(before >= 3, "it was started until it had failed often enough: {before}, {errors:?}");
    assert_eq!(started()?, before, "it rests");
    good_goes_on(&gateway)
}

fn says_rest(error: &Value) -> bool {
    error.to_string().contains("times in a row and is tried again in")
}

#[test]
fn a_process_that_never_worked_is_unwell_and_the_log_says_why() -> anyhow::Result<()> {
    let mut stdio = child(&["--exit", "3"])?;
    stdio["limits"] = json!({ "failures": 2, "backoff": "10ms", "spares": 1 });
    let health = json!({ "interval": "500ms", "timeout": "100ms", "unhealthyAfter": 1 });
    let mut documents = documents(stdio).naming("prefix");
    documents.servers[0].1["health"] = health;
    let mut gateway = documents.server_with("good", json!({ "stdio": child(&[])? })).start()?;

    let logged = gateway.logged("melted down")?;
    assert!(logged.contains("server=child") && logged.contains("there is no database"), "{logged}");
    gateway.metric_until("quorate_backend_replicas", "ejected", |ejected| ejected >= 1.0)?;
    good_goes_on(&gateway)
}

#[test]
fn a_process_that_is_put_right_is_started_again_after_its_rest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ready = folder.path().join("ready");
    let server = child(&[])?["command"][0].clone();
    let script = format!("test -e '{}' || exit 1; exec {}", ready.display(), server.as_str().unwrap_or_default());
    let limits = json!({ "failures": 1, "backoff": "10ms", "window": "1s", "spares": 1 });
    let mut gateway = beside_a_good_one(json!({ "command": ["sh", "-c", script], "limits": limits }))?;
    gateway.logged("melted down")?;

    fs::write(&ready, "")?;
    let session = Session::open(&gateway, "2025-11-25")?;

    wait::until("the server", PATIENCE, || {
        let said = text(&session, "child_echo", json!({ "text": "here" }))?;
        ensure!(said == "here", "{said}");
        Ok(())
    })
}

#[test]
fn a_process_that_does_not_exist_is_named_in_the_log() -> anyhow::Result<()> {
    let mut gateway = beside_a_good_one(json!({ "command": ["no-such-program"], "limits": { "backoff": "10ms" } }))?;
    let logged = gateway.logged("cannot run")?;
    assert!(logged.contains("no-such-program") && logged.contains("No such file"), "{logged}");
    good_goes_on(&gateway)
}

#[test]
fn a_process_that_hangs_on_its_end_is_gone_all_the_same() -> anyhow::Result<()> {
    let gateway = start(&["--stubborn"])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let process = pid(&session)?;
    let began = Instant::now();
    session.delete()?;

    gone(&[process])?;
    // Two seconds to end by itself, one after SIGTERM, and some for a loaded machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn a_process_that_starts_slowly_is_waited_for() -> anyhow::Result<()> {
    let gateway = start(&["--slow-ms", "1500"])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session, "echo", json!({ "text": "at last" }))?, "at last");
    Ok(())
}
