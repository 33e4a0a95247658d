//! Tokens that say nothing by themselves: the provider is asked what they are (RFC 7662).

use anyhow::ensure;
use quorate_tests::{
    raw::{PATIENCE, backend::Backend, gateway::Gateway, mcp::Mcp},
    wait,
};
use serde_json::{Value, json};

use crate::{
    idp::{Idp, Outage},
    site::{Site, call},
};

const PATH: &str = "/mcp/tools";

/// An issuer that is asked, whose answers are believed this long.
fn asks(idp: &Idp, ttl: &str) -> Value {
    json!({ "introspection": {
        "issuer": idp.issuer, "url": format!("{}/token/introspection", idp.issuer), "clientId": "gateway",
        "clientSecret": "secret-of-gateway", "ttl": ttl, "groupsClaim": "groups",
    }})
}

/// A gateway that asks this provider, which issues opaque tokens, and believes an answer this long.
fn start(idp: &Idp, ttl: &str) -> anyhow::Result<(Backend, Gateway, String)> {
    start_with(idp, ttl, &[])
}

/// As [`start`], with other issuers beside the provider.
fn start_with(idp: &Idp, ttl: &str, others: &[(&str, Value)]) -> anyhow::Result<(Backend, Gateway, String)> {
    idp.set(&json!({ "format": "opaque" }))?;
    let clock = Mcp::new("clock").tools(&["now"]).start()?;
    let site = Site::new().with("Issuer", "people", asks(idp, ttl));
    let site = others.iter().fold(site, |site, (name, spec)| site.with("Issuer", name, spec.clone()));
    let site = site
        .with("ToolServer", "clock", json!({ "urls": [clock.url()] }))
        .with("Toolset", "tools", json!({ "servers": ["clock"], "naming": "bare" }))
        .policy(
            r#"
            permit(principal in User::"people/alice", action, resource);
            permit(principal in Agent::"people/robot", action, resource) unless { principal has user };
            "#,
        );
    let gateway = site.start()?;
    let resource = format!("http://{}{PATH}", gateway.address);
    Ok((clock, gateway, resource))
}

fn check_status(gateway: &Gateway, token: &str, status: u16) -> anyhow::Result<()> {
    let answer = call(gateway, token)?;
    ensure!(answer.status == status, "answered {} instead of {status}: {}", answer.status, answer.message);
    Ok(())
}

fn introspections(idp: &Idp) -> anyhow::Result<usize> {
    let is_one = |request: &&Value| request["path"] == "/token/introspection";
    Ok(idp.requests()?.iter().filter(is_one).count())
}

#[test]
fn the_provider_is_asked_once_for_each_token_and_its_answer_is_kept() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (clock, gateway, resource) = start(&idp, "60s")?;
    let token = idp.token_of("alice", &resource, "mcp")?;

    for _ in 0..5 {
        assert_eq!(call(&gateway, &token)?.text(), Some("clock:now"));
    }

    assert_eq!((introspections(&idp)?, clock.count("tools/call")), (1, 5));
    Ok(())
}

#[test]
fn a_program_is_an_agent_and_no_person() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp, "60s")?;

    check_status(&gateway, &idp.own_token("robot", &resource, "mcp")?, 200)?;
    // Known, but no policy lets it in: it does not learn that the tool is there.
    let other = call(&gateway, &idp.own_token("batch", &resource, "mcp")?)?;
    ensure!(other.text().is_none() && other.status != 401, "{}: {}", other.status, other.message);
    Ok(())
}

#[test]
fn tokens_that_the_provider_does_not_know_or_gave_for_something_else_are_refused() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (clock, gateway, resource) = start(&idp, "60s")?;
    let elsewhere = idp.token_of("alice", &resource.replace("tools", "other"), "mcp")?;

    check_status(&gateway, "nobody-gave-this-one-to-anybody", 401)?;
    check_status(&gateway, &elsewhere, 401)?;
    assert_eq!(clock.count("tools/call"), 0);
    Ok(())
}

#[test]
fn a_token_that_is_revoked_is_good_no_longer_than_its_answer_is_kept() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp, "1s")?;
    let token = idp.token_of("alice", &resource, "mcp")?;
    check_status(&gateway, &token, 200)?;

    idp.revoke("desk", &token)?;

    wait::until("the end of the answer", PATIENCE, || check_status(&gateway, &token, 401))
}

#[test]
fn a_token_is_shown_to_the_issuer_of_its_prefix_and_to_no_other() -> anyhow::Result<()> {
    let (idp, corp) = (Idp::start()?, Idp::start()?);
    let mut of_corp = asks(&corp, "60s");
    of_corp["introspection"]["tokenPrefix"] = json!("corp_");
    let (clock, gateway, resource) = start_with(&idp, "60s", &[("corp", of_corp)])?;
    let token = idp.token_of("alice", &resource, "mcp")?;

    check_status(&gateway, &token, 200)?;
    assert_eq!((introspections(&idp)?, introspections(&corp)?), (1, 0));
    // Nobody gave these out; each is judged by one alone.
    check_status(&gateway, &format!("corp_{token}"), 401)?;
    assert_eq!((introspections(&idp)?, introspections(&corp)?), (0, 1));
    check_status(&gateway, &format!("Corp_{token}"), 401)?;
    assert_eq!((introspections(&idp)?, introspections(&corp)?), (1, 0));
    // While one of them is gone, the other judges on.
    corp.outage(Outage::Refuse)?;
    check_status(&gateway, "corp_another", 503)?;
    check_status(&gateway, &idp.token_of("alice", &resource, "mcp")?, 200)?;

    assert_eq!(clock.count("tools/call"), 2);
    Ok(())
}

#[test]
fn nobody_is_judged_while_the_provider_is_gone_but_those_it_has_vouched_for() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let (_clock, gateway, resource) = start(&idp, "60s")?;
    let (used, unused) = (idp.token_of("alice", &resource, "mcp")?, idp.token_of("alice", &resource, "mcp")?);
    check_status(&gateway, &used, 200)?;

    idp.outage(Outage::Refuse)?;

    check_status(&gateway, &used, 200)?;
    check_status(&gateway, &unused, 503)?;
    idp.outage(Outage::None)?;
    wait::until("the provider", PATIENCE, || check_status(&gateway, &unused, 200))
}
