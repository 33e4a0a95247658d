//! A provider that is gone, hangs, or has other keys.

use anyhow::ensure;
use quorate_tests::{
    raw::{PATIENCE, backend::Backend, gateway::Gateway},
    wait,
};
use serde_json::json;

use crate::{
    idp::{Idp, Outage},
    site::{Site, call},
};

/// A gateway of one toolset, for people of this provider.
fn start(idp: &Idp) -> anyhow::Result<(Backend, Gateway, String)> {
    Site::new().signed_by(idp).policy("permit(principal, action, resource);").start_with_clock()
}

fn check_allowed(gateway: &Gateway, token: &str) -> anyhow::Result<()> {
    let answer = call(gateway, token)?;
    ensure!(answer.text() == Some("clock:now"), "{} {}", answer.status, answer.message);
    Ok(())
}

#[test]
fn with_keys_that_are_known_calls_go_on_while_the_provider_is_gone() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let used = idp.token_of("alice", &resource, "mcp")?;
    let unused = idp.token_of("bob", &resource, "mcp")?;
    check_allowed(&gateway, &used)?;

    for outage in [Outage::Refuse, Outage::Hang, Outage::Error] {
        idp.outage(outage)?;

        check_allowed(&gateway, &used)?;
        check_allowed(&gateway, &unused)?;
        idp.outage(Outage::None)?;
    }
    Ok(())
}

#[test]
fn without_keys_nobody_is_judged_until_the_provider_is_back() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    // The gateway is not there yet when the token is issued, and its port is only known later: so it is minted.
    idp.outage(Outage::Refuse)?;
    let (clock, gateway, resource) = start(&idp)?;
    let payload = json!({
        "iss": idp.issuer, "sub": "alice", "aud": resource, "iat": 1, "exp": 4_000_000_000_u32, "client_id": "desk",
    });
    let token = idp.mint("ES256", &json!({}), &payload)?;

    let unjudged = call(&gateway, &token)?;
    assert_eq!(unjudged.status, 503, "{}", unjudged.message);
    ensure!(unjudged.challenge.is_none(), "a client would ask for another token: {:?}", unjudged.challenge);
    ensure!(unjudged.headers.contains_key("retry-after"), "a client is not told when to come again");
    assert_eq!(clock.count("tools/call"), 0);

    idp.outage(Outage::None)?;
    wait::until("the keys", PATIENCE * 2, || check_allowed(&gateway, &token))
}

#[test]
fn new_keys_are_found_when_the_first_token_of_theirs_comes() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let before = idp.token_of("alice", &resource, "mcp")?;
    check_allowed(&gateway, &before)?;

    idp.rotate(true)?;
    let after = idp.token_of("alice", &resource, "mcp")?;

    check_allowed(&gateway, &after)?;
    check_allowed(&gateway, &before)
}

#[test]
fn a_key_that_is_withdrawn_opens_nothing_once_the_new_ones_are_known() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp)?;
    let before = idp.token_of("alice", &resource, "mcp")?;
    check_allowed(&gateway, &before)?;

    idp.rotate(false)?;
    let after = idp.token_of("alice", &resource, "mcp")?;

    check_allowed(&gateway, &after)?;
    let refused = call(&gateway, &before)?;
    assert_eq!(refused.status, 401, "{}", refused.message);
    Ok(())
}
