//! What the tests expect of the identity provider itself: when one of these fails, it is not the gateway.

use anyhow::ensure;
use serde_json::json;

use crate::idp::{Idp, Outage};

const RESOURCE: &str = "http://127.0.0.1:1/mcp/tools";

#[test]
fn tokens_of_people_and_programs_come_by_their_flows() -> anyhow::Result<()> {
    let idp = Idp::start()?;

    let person = idp.token_of("alice", RESOURCE, "mcp files:read")?;
    let program = idp.own_token("robot", RESOURCE, "mcp")?;
    let exchanged = idp.exchange("assistant", &person, RESOURCE, "mcp")?;
    idp.set(&json!({ "format": "opaque" }))?;
    let opaque = idp.token_of("bob", RESOURCE, "mcp")?;

    let signed = [&person, &program, &exchanged].map(|token| token.split('.').count());
    assert_eq!((signed, opaque.split('.').count()), ([3; 3], 1));
    let asked = idp.requests()?;
    let authorizations: Vec<_> = asked.iter().filter(|request| request["path"] == "/auth").collect();
    assert_eq!(authorizations.len(), 2);
    for request in authorizations {
        ensure!(request["resource"] == RESOURCE && request["code_challenge_method"] == "S256", "{request}");
    }
    Ok(())
}

#[test]
fn nobody_signs_in_as_a_stranger_and_no_token_is_for_a_stranger_s_resource() -> anyhow::Result<()> {
    let idp = Idp::start()?;

    let stranger = idp.token_of("mallory", RESOURCE, "mcp").expect_err("nobody knows mallory").to_string();
    let elsewhere = idp.token_of("alice", "https://example.org/", "mcp").expect_err("not its resource").to_string();

    assert!(stranger.contains("access_denied"), "{stranger}");
    assert!(elsewhere.contains("invalid_target"), "{elsewhere}");
    Ok(())
}

#[test]
fn an_outage_has_a_beginning_and_an_end_and_keys_outlive_it() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let keys = || quorate_tests::http::get(idp.issuer.trim_start_matches("http://").parse()?, "/jwks");
    let before = keys()?.body;

    for outage in [Outage::Refuse, Outage::Error, Outage::Hang] {
        idp.outage(outage)?;
        // What hangs is looked at by the gateway's tests: here the look would last as long as its deadline.
        if !matches!(outage, Outage::Hang) {
            ensure!(keys().map_or(true, |answer| answer.status == 500), "it answers in {outage:?}");
        }
        idp.outage(Outage::None)?;
        assert_eq!(keys()?.body, before);
    }
    idp.rotate(true)?;
    let both = keys()?.body;
    idp.rotate(false)?;
    let only = keys()?.body;

    let count = |body: &str| body.matches("\"kid\"").count();
    assert_eq!((count(&before), count(&both), count(&only)), (2, 4, 2));
    Ok(())
}

#[test]
fn what_no_provider_would_issue_is_minted() -> anyhow::Result<()> {
    let idp = Idp::start()?;
    let payload = json!({ "sub": "alice" });

    let unsigned = idp.mint("none", &json!({}), &payload)?;
    let signed = ["ES256", "RS256", "stranger"].map(|key| idp.mint(key, &json!({}), &payload));

    ensure!(unsigned.ends_with('.') && unsigned.split('.').count() == 3, "{unsigned}");
    for token in signed {
        let token = token?;
        ensure!(token.split('.').all(|part| !part.is_empty()), "{token}");
    }
    Ok(())
}
