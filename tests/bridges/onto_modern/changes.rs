//! Subscriptions and changed lists of a stateless server, as a session is told of them.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{bail, ensure};
use quorate_tests::{
    http,
    raw::{
        PATIENCE,
        gateway::Documents,
        mcp::{Era, Mcp},
        session::Session,
    },
    servers, wait,
};
use serde_json::{Value, json};

use super::{fixture, serve, text};

const WATCHED: &str = "test://watched-resource";

/// What a session's own stream tells, read by a thread.
struct Ear {
    hears: Receiver<Value>,
}

// === impl Ear ===

impl Ear {
    fn open(session: &Session) -> anyhow::Result<Self> {
        let mut stream = session.get(None)?;
        let (heard, hears) = sync_channel(64);
        thread::spawn(move || {
            while let Ok(Some(message)) = stream.next_message() {
                if heard.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Self { hears })
    }

    /// The next notification.
    fn next(&self) -> anyhow::Result<Value> {
        Ok(self.hears.recv_timeout(PATIENCE)?)
    }

    /// Changes something again and again until it is told of, and returns everything that was told. What changes
    /// before a stream is live is not told, and nothing says when it is.
    fn until(&self, method: &str, mut change: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<Value>> {
        let mut told = Vec::new();
        wait::until(method, PATIENCE, || {
            change()?;
            while let Ok(message) = self.hears.recv_timeout(Duration::from_millis(100)) {
                let is_it = message["method"] == method;
                told.push(message);
                if is_it {
                    return Ok(());
                }
            }
            bail!("told so far: {told:?}")
        })?;
        Ok(told)
    }
}

/// Changes something.
fn trigger(session: &Session, id: i64, what: &str) -> anyhow::Result<()> {
    let changed = session.call(id, &format!("test_trigger_{what}"))?;
    ensure!(changed.get("error").is_none(), "{changed}");
    Ok(())
}

fn subscribe(session: &Session, id: i64) -> anyhow::Result<()> {
    let subscribed = session.request(id, "resources/subscribe", json!({ "uri": WATCHED }))?.message()?;
    ensure!(subscribed["result"] == json!({}), "{subscribed}");
    Ok(())
}

#[test]
fn an_updated_resource_is_told_until_it_is_unsubscribed() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let ear = Ear::open(&session)?;
    subscribe(&session, 1)?;

    // Live before it was acknowledged: this change cannot be missed.
    trigger(&session, 2, "resource_update")?;

    let updated = ear.next()?;
    let expected = json!({ "uri": WATCHED });
    assert_eq!((&updated["method"], &updated["params"]), (&json!("notifications/resources/updated"), &expected));
    let unsubscribed = session.request(3, "resources/unsubscribe", json!({ "uri": WATCHED }))?.message()?;
    assert_eq!(unsubscribed["result"], json!({}));
    trigger(&session, 4, "resource_update")?;
    let told = ear.until("notifications/prompts/list_changed", || trigger(&session, 5, "prompt_change"))?;
    assert!(told.iter().all(|message| message["params"].get("uri").is_none()), "{told:?}");
    Ok(())
}

#[test]
fn a_changed_list_is_told_and_listed_anew() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let names = |id: i64| -> anyhow::Result<Vec<Value>> {
        let listed = session.request(id, "tools/list", json!({}))?.message()?;
        let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
        Ok(tools.into_iter().map(|tool| tool["name"].clone()).collect())
    };
    assert!(!names(1)?.contains(&json!("test_dynamic_tool")));
    let ear = Ear::open(&session)?;

    let mut changes = 0;
    ear.until("notifications/tools/list_changed", || {
        changes += 1;
        trigger(&session, 2, "tool_change")
    })?;

    // The tool comes with the first change and goes with the second.
    let is_there = changes % 2 == 1;
    wait::until("the new list", PATIENCE, || {
        ensure!(names(3)?.contains(&json!("test_dynamic_tool")) == is_there, "after {changes} changes");
        Ok(())
    })
}

#[test]
fn sessions_share_one_listen_and_each_is_told() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let sessions = [Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-06-18")?];
    let mut ears = Vec::new();
    for session in &sessions {
        ears.push(Ear::open(session)?);
        subscribe(session, 1)?;
    }

    trigger(&sessions[0], 2, "resource_update")?;

    for ear in &ears {
        assert_eq!(ear.next()?["params"]["uri"], WATCHED);
    }
    Ok(())
}

#[test]
fn a_subscription_survives_a_restart_of_its_server() -> anyhow::Result<()> {
    let port = http::free_port()?.to_string();
    let flags = ["--era", "modern", "--port", &port];
    let server = servers::fixture(&flags)?;
    let gateway = Documents::new().server("fixture", &server.url).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let ear = Ear::open(&session)?;
    subscribe(&session, 1)?;
    drop(server);

    let _server = servers::fixture(&flags)?;

    // What may have changed meanwhile is told once the server is listened to again.
    while ear.next()?["params"]["uri"] != WATCHED {}
    trigger(&session, 2, "resource_update")?;
    while ear.next()?["params"]["uri"] != WATCHED {}
    Ok(())
}

#[test]
fn a_subscription_survives_a_change_of_its_servers_configuration() -> anyhow::Result<()> {
    let server = servers::fixture(&["--era", "modern"])?;
    let documents = |concurrency: u64| {
        let spec = json!({ "urls": [server.url], "limits": { "concurrency": concurrency } });
        Documents::new().server_with("fixture", spec)
    };
    let mut gateway = documents(8).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let ear = Ear::open(&session)?;
    subscribe(&session, 1)?;

    gateway.rewrite(&documents(9).text())?;
    gateway.logged("the changed resource files are in force")?;

    let told = ear.until("notifications/resources/updated", || trigger(&session, 2, "resource_update"))?;
    assert_eq!(told.last().map(|message| message["params"]["uri"].clone()), Some(json!(WATCHED)));
    Ok(())
}

#[test]
fn a_server_without_listen_refuses_subscriptions_and_serves_the_rest() -> anyhow::Result<()> {
    let (_backend, gateway) = serve(Mcp::new("a").era(Era::Modern).resources(&["test://x"]))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let _ear = Ear::open(&session)?;

    let refused = session.request(1, "resources/subscribe", json!({ "uri": "test://x" }))?.message()?;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert_eq!(refused["error"]["message"], "backend a failed: it does not tell of changes of this resource");
    assert_eq!(text(&session.call(2, "echo")?), "a:echo");
    let unsubscribed = session.request(3, "resources/unsubscribe", json!({ "uri": "test://x" }))?.message()?;
    assert_eq!(unsubscribed["result"], json!({}));
    Ok(())
}

#[test]
fn a_server_that_offers_no_subscriptions_is_not_asked_for_any() -> anyhow::Result<()> {
    let (backend, gateway) =
        serve(Mcp::new("a").era(Era::Modern).resources(&["test://x"]).on("server/discover", |seen, out| {
            let capabilities = json!({ "resources": {}, "tools": {} });
            let result = json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities });
            out.result(seen, &result);
        }))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let refused = session.request(1, "resources/subscribe", json!({ "uri": "test://x" }))?.message()?;

    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    assert_eq!(backend.count("subscriptions/listen"), 0);
    Ok(())
}
