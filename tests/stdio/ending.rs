//! Nothing of a process is left: not when its node ends, not when it is killed, not when its server is taken away.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context as _, ensure};
use quorate_tests::wait;
use serde_json::json;

use crate::{
    process::{OF_CHILD, OUTCOME_UNKNOWN, about, below, child, documents, gone, lives, pid, start, text},
    support::{PATIENCE, gateway::Gateway, session::Session},
};

/// A node with everything: processes of sessions with daemons, a shared one, spares, and one for stateless calls.
fn busy() -> anyhow::Result<(Gateway, Vec<String>)> {
    let mut own = child(&["--stubborn"])?;
    own["limits"] = json!({ "spares": 2 });
    let mut shared = child(&[])?;
    shared["isolation"] = json!("shared");
    let gateway = documents(own)
        .naming("prefix")
        .server_with("shared", json!({ "stdio": shared }))
        .server_with("modern", json!({ "stdio": child(&["--era", "modern"])? }))
        .start()?;
    for _ in 0..2 {
        let session = Session::open(&gateway, "2025-11-25")?;
        let daemons = [text(&session, "child_daemon", json!({}))?, text(&session, "shared_daemon", json!({}))?];
        assert!(daemons.iter().all(|daemon| lives(daemon)), "{daemons:?}");
    }
    gateway.modern(1, "tools/call", json!({ "name": "modern_daemon", "arguments": {} }))?.message()?;
    gateway.metric_until("quorate_stdio_spares", OF_CHILD, |spares| spares == 2.0)?;

    let pids = below(gateway.process.id());
    // Each of six processes has a guard, and there are five daemons.
    ensure!(pids.len() >= 17, "{} processes", pids.len());
    Ok((gateway, pids))
}

#[test]
fn nothing_outlives_a_node_that_is_killed() -> anyhow::Result<()> {
    let (gateway, pids) = busy()?;
    let node = gateway.process.id().to_string();

    let killed = Command::new("kill").args(["-s", "KILL", &node]).status()?;
    assert!(killed.success());

    gone(&[node])?;
    gone(&pids)
}

#[test]
fn nothing_is_left_when_a_node_has_drained() -> anyhow::Result<()> {
    let (mut gateway, pids) = busy()?;

    let status = gateway.process.terminate(Duration::from_secs(30))?;

    assert!(status.success(), "{status}");
    let left: Vec<&String> = pids.iter().filter(|pid| lives(pid)).collect();
    assert!(left.is_empty(), "{left:?} are left when the node has ended");
    Ok(())
}

#[test]
fn a_child_dies_with_its_guard_and_its_session_lives_on() -> anyhow::Result<()> {
    let gateway = start(&[])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let process = pid(&session)?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let guard = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).unwrap_or_default().to_owned();

    let killed = Command::new("kill").args(["-s", "KILL", &guard]).status()?;
    assert!(killed.success());

    gone(&[guard, process.clone()])?;
    wait::until("another process", PATIENCE, || {
        let now = pid(&session)?;
        ensure!(now != process, "it is the same");
        Ok(())
    })
}

#[test]
fn a_server_that_is_taken_away_takes_its_processes_along() -> anyhow::Result<()> {
    let mut stdio = child(&[])?;
    stdio["limits"] = json!({ "spares": 1 });
    let with = documents(stdio).server_with("other", json!({ "stdio": child(&[])? })).naming("prefix");
    let gateway = with.start()?;
    gateway.metric_until("quorate_stdio_spares", OF_CHILD, |spares| spares == 1.0)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let (taken, staying) = (text(&session, "child_about", json!({}))?, text(&session, "other_about", json!({}))?);
    let pid_of = |about: &str| -> anyhow::Result<String> {
        Ok(serde_json::from_str::<serde_json::Value>(about)?["pid"].to_string())
    };
    let before = below(gateway.process.id());

    let mut without = with.clone();
    without.servers.remove(0);
    gateway.rewrite(&without.text())?;

    gateway.metric_until("quorate_stdio_children", OF_CHILD, |children| children == 0.0)?;
    gone(&[pid_of(&taken)?])?;
    assert!(lives(&pid_of(&staying)?));
    // Of two processes with guards and a spare with its own, one process with its guard is left.
    assert!(before.len() >= 6, "{before:?}");
    wait::until("the end of the spare", PATIENCE, || {
        let now = below(gateway.process.id()).len();
        ensure!(now == 2, "{now} processes are left");
        Ok(())
    })
}

#[test]
fn a_server_that_is_changed_is_started_anew_in_the_same_session() -> anyhow::Result<()> {
    let mut stdio = child(&[])?;
    let gateway = documents(stdio.clone()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let before = about(&session)?;
    assert!(before["variables"]["CHANGED"].is_null());

    stdio["env"] = json!({ "CHANGED": "yes" });
    gateway.rewrite(&documents(stdio).text())?;

    wait::until("the changed process", PATIENCE, || {
        let now = about(&session)?;
        ensure!(now["variables"]["CHANGED"] == "yes", "{}", now["pid"]);
        Ok(())
    })?;
    gone(&[before["pid"].to_string()])
}

#[test]
fn a_call_under_way_when_its_server_is_changed_runs_once() -> anyhow::Result<()> {
    // A program that writes down what it is told, in front of each process of the server.
    let folder = tempfile::tempdir()?;
    let seen = folder.path().join("seen");
    let server = child(&[])?["command"][0].as_str().context("a program")?.to_owned();
    let script = format!("tee -a {} | {server}", seen.display());
    let mut stdio = json!({ "command": ["sh", "-c", script] });
    let gateway = documents(stdio.clone()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let calling = {
        let session = session.clone();
        thread::spawn(move || session.call("once", "silence"))
    };
    let runs = || anyhow::Ok(fs::read_to_string(&seen)?.lines().filter(|line| line.contains("\"silence\"")).count());
    wait::until("the call", PATIENCE, || {
        ensure!(runs()? == 1, "it has not arrived");
        Ok(())
    })?;

    stdio["env"] = json!({ "CHANGED": "yes" });
    gateway.rewrite(&documents(stdio).text())?;

    let answer = calling.join().expect("no panic")?;
    assert_eq!(answer["error"]["code"], OUTCOME_UNKNOWN, "{answer}");
    assert_eq!(about(&session)?["variables"]["CHANGED"], "yes", "the session goes on");
    assert_eq!(runs()?, 1, "the new process never saw the call");
    Ok(())
}
