//! What changes while callers are there: policies, and who acts for whom.

use anyhow::ensure;
use quorate_tests::{
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp},
    wait,
};
use serde_json::json;

use crate::{
    idp::Idp,
    sessions::Session,
    site::{Site, call},
};

const PATH: &str = "/mcp/tools";

/// A toolset of a clock, for people of this provider, with this policy.
fn site(idp: &Idp, clock: &Backend, cedar: &str) -> Site {
    Site::new()
        .signed_by(idp)
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare", "denied": "forbidden" }))
        .policy(cedar)
}

fn clock() -> anyhow::Result<Backend> {
    Mcp::new("clock").tools(&["now"]).start()
}

fn resource(gateway: &Gateway) -> String {
    format!("http://{}{PATH}", gateway.address)
}

#[test]
fn a_policy_that_is_taken_back_holds_no_longer_for_callers_and_sessions_that_are_there() -> anyhow::Result<()> {
    let (idp, clock) = (Idp::start()?, clock()?);
    let connects = r#"permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);"#;
    let calls =
        format!("{connects} permit(principal in User::\"people/alice\", action == Action::\"mcp:call\", resource);");
    let gateway = site(&idp, &clock, &calls).start()?;
    let token = idp.token_of("alice", &resource(&gateway), "mcp")?;
    let session = Session::open(&gateway, &token)?;
    session.check_call(&token)?;
    ensure!(call(&gateway, &token)?.text() == Some("clock:now"), "alice may not call");

    gateway.rewrite(&site(&idp, &clock, connects).text())?;

    wait::until("the new policy", PATIENCE, || {
        let answer = call(&gateway, &token)?;
        ensure!(answer.text().is_none(), "alice still calls");
        ensure!(answer.status != 401, "alice is not known any more: {}", answer.message);
        Ok(())
    })?;
    let before = clock.count("tools/call");
    let denied = session.call(&token)?.message()?;
    ensure!(denied.get("error").is_some(), "the session still calls: {denied}");
    ensure!(clock.count("tools/call") == before, "the tool server was asked");

    gateway.rewrite(&site(&idp, &clock, &calls).text())?;
    wait::until("the old policy", PATIENCE, || session.check_call(&token))
}

#[test]
fn who_acts_for_a_person_is_known_by_the_token_and_policies_tell_them_apart() -> anyhow::Result<()> {
    let (idp, clock) = (Idp::start()?, clock()?);
    let policy = r#"
        permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);
        permit(principal in User::"people/alice", action == Action::"mcp:call", resource)
        when { principal has actor && principal.actor.subject == "assistant" };
    "#;
    let gateway = site(&idp, &clock, policy).start()?;
    let alone = idp.token_of("alice", &resource(&gateway), "mcp")?;
    let through = idp.exchange("assistant", &alone, &resource(&gateway), "mcp")?;
    let bob = idp.token_of("bob", &resource(&gateway), "mcp")?;
    let bob_through = idp.exchange("assistant", &bob, &resource(&gateway), "mcp")?;

    ensure!(call(&gateway, &through)?.text() == Some("clock:now"), "the assistant may not call for alice");
    for (who, token) in [("alice alone", &alone), ("bob alone", &bob), ("the assistant for bob", &bob_through)] {
        let answer = call(&gateway, token)?;
        ensure!(answer.text().is_none() && answer.status != 401, "{who}: {} {}", answer.status, answer.message);
    }
    assert_eq!(clock.count("tools/call"), 1);
    Ok(())
}
