//! The whole dance of each SDK: refused, it finds the metadata of the toolset and of the provider, becomes known there,
//! sends its person, gets a token for the toolset, calls, refreshes, and steps up when a tool needs more.

use anyhow::{Context as _, ensure};
use quorate_tests::process::Process;
use serde_json::{Value, json};

use crate::{
    client::{Client, Library},
    idp::Idp,
};

/// A provider and a protected toolset.
struct Ground {
    idp: Idp,
    url: String,
    _server: Process,
}

// === impl Ground ===

impl Ground {
    fn reference() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let (process, url) = idp.reference()?;
        Ok(Self { idp, url, _server: process })
    }

    /// A program that was registered at the provider before.
    fn desk(&self) -> Value {
        json!({ "id": "desk", "issuer": self.idp.issuer })
    }

    /// Every authorization and every token was asked for this toolset, with PKCE.
    fn check_what_was_asked(&self) -> anyhow::Result<()> {
        let requests = self.idp.requests()?;
        let of = |path: &str| requests.iter().filter(|request| request["path"] == path).collect::<Vec<&Value>>();
        let (authorizations, tokens) = (of("/auth"), of("/token"));
        ensure!(!authorizations.is_empty() && !tokens.is_empty(), "nothing was asked for: {requests:?}");
        for asked in &authorizations {
            ensure!(asked["code_challenge_method"] == "S256", "an authorization without PKCE: {asked}");
        }
        for asked in authorizations.iter().chain(&tokens) {
            ensure!(asked["resource"] == self.url.as_str(), "asked for another resource: {asked}");
        }
        Ok(())
    }
}

/// From the first refusal to a tool that needs more than the token had.
fn dance(library: Library, ground: &Ground) -> anyhow::Result<()> {
    let mut client = Client::connect(library, &ground.url, "alice", &ground.desk())?;

    ensure!(client.tools()?.contains(&"read".to_owned()), "the list has no tool `read`");
    assert_eq!(client.call("read")?, "files:read");
    assert_eq!((client.visits, client.grants), (1, 1), "one visit of the person gives one token");

    client.forge()?;
    assert_eq!(client.call("read").context("after a token that is refused")?, "files:read");
    assert_eq!((client.visits, client.grants), (1, 2), "a refused token is refreshed without the person");

    if library == Library::TsV1 {
        // It refreshes where it should ask for more, and gives up; without a refresh token it asks.
        client.unrefresh()?;
    }
    assert_eq!(client.call("write").context("with more scopes")?, "files:write");
    assert_eq!(client.visits, 2, "the person agrees to more");

    client.close()?;
    ground.check_what_was_asked()
}

#[test]
fn every_sdk_dances_with_a_server_that_is_not_the_gateway() -> anyhow::Result<()> {
    let ground = Ground::reference()?;

    for library in Library::ALL {
        dance(library, &ground).with_context(|| format!("{library:?}"))?;
    }
    Ok(())
}

#[test]
fn every_sdk_registers_itself_where_nobody_knows_it() -> anyhow::Result<()> {
    let ground = Ground::reference()?;

    for library in Library::ALL {
        let mut client =
            Client::connect(library, &ground.url, "alice", &json!({})).with_context(|| format!("{library:?}"))?;
        assert_eq!(client.call("read")?, "files:read");
        client.close()?;
    }

    let registrations = ground.idp.requests()?.iter().filter(|request| request["path"] == "/reg").count();
    assert_eq!(registrations, Library::ALL.len());
    Ok(())
}

#[test]
fn every_sdk_is_known_by_its_metadata_document() -> anyhow::Result<()> {
    let ground = Ground::reference()?;
    let id = "https://client.test/identity.json";
    let document = json!({
        "client_id": id, "client_name": "tests of identity", "redirect_uris": ["http://127.0.0.1:9/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    ground.idp.publish(id, &document)?;

    for library in Library::ALL {
        let mut client = Client::connect(library, &ground.url, "alice", &json!({ "url": id }))
            .with_context(|| format!("{library:?}"))?;
        assert_eq!(client.call("read")?, "files:read");
        client.close()?;
    }

    let requests = ground.idp.requests()?;
    ensure!(!requests.iter().any(|request| request["path"] == "/reg"), "somebody registered: {requests:?}");
    ensure!(requests.iter().any(|request| request["client_id"] == id), "nobody came by the document: {requests:?}");
    Ok(())
}

#[test]
fn a_person_who_does_not_consent_gets_no_further() -> anyhow::Result<()> {
    let ground = Ground::reference()?;

    for library in [Library::TsV1, Library::TsV2Modern, Library::PythonV1, Library::PythonV2Modern] {
        let Err(refused) = Client::connect(library, &ground.url, "mallory", &ground.desk()) else {
            anyhow::bail!("{library:?} connects without consent");
        };
        let refused = format!("{refused:#}");
        ensure!(refused.contains("access_denied"), "{library:?}: {refused}");
    }

    Ok(())
}

#[test]
fn programs_without_a_person_call_with_their_own_credentials() -> anyhow::Result<()> {
    let ground = Ground::reference()?;

    for library in Library::ALL {
        let connected = Client::connect_as(library, &ground.url, "robot", &ground.idp.issuer);
        let mut client = connected.with_context(|| format!("{library:?}"))?;
        assert_eq!(client.call("read")?, "files:read");
        client.close()?;
    }

    let requests = ground.idp.requests()?;
    ensure!(!requests.iter().any(|request| request["path"] == "/auth"), "a person was asked: {requests:?}");
    Ok(())
}
