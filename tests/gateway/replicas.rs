//! Servers with several replicas, and servers that restart: sessions move, calls go on.

use quorate_tests::wait;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Backend,
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp},
    session::Session,
};

const HEALTH: &str =
    r#"{ "interval": "500ms", "timeout": "500ms", "unhealthyAfter": 2, "ejectBase": "500ms", "ejectMax": "2s" }"#;

fn gateway(servers: &[&Backend]) -> anyhow::Result<Gateway> {
    let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let health: Value = serde_json::from_str(HEALTH)?;
    Documents::new().server_with("twins", json!({ "urls": urls, "health": health })).start()
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn calls_go_on_when_one_of_two_replicas_dies() -> anyhow::Result<()> {
    let (left, right) = (Mcp::new("left").start()?, Mcp::new("right").start()?);
    let gateway = gateway(&[&left, &right])?;
    wait::until("both replicas in use", PATIENCE, || {
        gateway.call("echo")?;
        anyhow::ensure!(left.count("tools/call") > 0 && right.count("tools/call") > 0, "one has all the calls");
        Ok(())
    })?;

    drop(left);

    // A refused connection has executed nothing, so each call goes to the other one at once.
    for _ in 0..20 {
        assert_eq!(gateway.call("echo")?, "right:echo");
    }
    Ok(())
}

#[test]
fn a_replica_that_comes_back_is_used_again() -> anyhow::Result<()> {
    let (left, right) = (Mcp::new("left").start()?, Mcp::new("right").start()?);
    let gateway = gateway(&[&left, &right])?;
    let address = left.address;
    drop(left);
    for _ in 0..5 {
        assert_eq!(gateway.call("echo")?, "right:echo");
    }

    let left = Backend::start_at(address, Mcp::new("left").script())?;

    wait::until("a call at the one that came back", PATIENCE, || {
        gateway.call("echo")?;
        anyhow::ensure!(left.count("tools/call") > 0, "the other one has all the calls");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_replica_that_answers_500_is_ejected() -> anyhow::Result<()> {
    let sick = Mcp::new("sick").rule(|_, out| {
        out.answer(500, &[], b"");
        true
    });
    let (sick, well) = (sick.start()?, Mcp::new("well").start()?);
    let gateway = gateway(&[&sick, &well])?;

    wait::until("calls at the healthy one only", PATIENCE, || {
        for _ in 0..10 {
            let said = gateway.call("echo")?;
            anyhow::ensure!(said == "well:echo", "{said}");
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_session_stays_at_its_replica_and_moves_when_that_is_gone() -> anyhow::Result<()> {
    let start = |name: &str| Mcp::new(name).era(Era::Legacy).start();
    let (left, right) = (start("left")?, start("right")?);
    let gateway = gateway(&[&left, &right])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let home = text(&session.call(1, "echo")?).to_owned();
    for id in 2..12 {
        assert_eq!(text(&session.call(id, "echo")?), home, "a session is pinned");
    }

    let (gone, other, expected) =
        if home == "left:echo" { (left, right, "right:echo") } else { (right, left, "left:echo") };
    drop(gone);

    // Not executed for certain, so the very next call is answered by the other one, in a new upstream session.
    let moved = session.call(20, "echo")?;
    assert_eq!(text(&moved), expected, "{moved}");
    assert!(other.count("initialize") >= 1);
    for id in 21..25 {
        assert_eq!(text(&session.call(id, "echo")?), expected);
    }
    Ok(())
}

#[test]
fn a_restarted_server_gets_a_new_session_and_the_call_succeeds() -> anyhow::Result<()> {
    let first = Mcp::new("old").era(Era::Legacy).start()?;
    let gateway = gateway(&[&first])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session.call(1, "echo")?), "old:echo");
    let address = first.address;
    drop(first);
    let second = Backend::start_at(address, Mcp::new("new").era(Era::Legacy).script())?;

    // The old upstream session is answered 404; that has executed nothing.
    let answered = session.call(2, "echo")?;

    assert_eq!(text(&answered), "new:echo", "{answered}");
    assert_eq!(second.count("tools/call"), 2, "once refused, once executed");
    let opened = second.seen().into_iter().find(|seen| seen.method() == "initialize").expect("it was initialized");
    assert_eq!(opened.params()["clientInfo"]["name"], "tests", "the server sees this client: {}", opened.params());
    assert!(opened.params()["capabilities"]["elicitation"].is_object(), "{}", opened.params());
    Ok(())
}

#[test]
fn a_subscription_survives_a_restart_of_its_server() -> anyhow::Result<()> {
    let mcp = |name: &str| Mcp::new(name).era(Era::Legacy).resources(&["file:///x"]);
    let first = mcp("old").start()?;
    let gateway = gateway(&[&first])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let answer = session.request(1, "resources/subscribe", json!({ "uri": "file:///x" }))?.message()?;
    assert!(answer["result"].is_object(), "{answer}");
    let address = first.address;
    drop(first);

    let second = Backend::start_at(address, mcp("new").script())?;
    session.call(2, "echo")?;

    let again = second.wait_for("the subscription", |seen| {
        (seen.method() == "resources/subscribe"
            && seen.header("mcp-session-id").is_some_and(|id| id.starts_with("new")))
        .then(|| seen.params().clone())
    })?;
    assert_eq!(again["uri"], "file:///x");
    Ok(())
}
