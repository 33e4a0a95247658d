//! The whole dance of each SDK: refused, it finds the metadata of the toolset and of the provider, becomes known there,
//! sends its person, gets a token for the toolset, calls, refreshes, and steps up when a tool needs more.

use anyhow::{Context as _, ensure};
use quorate_tests::{
    process::Process,
    raw::{backend::Backend, gateway::Gateway, mcp::Mcp},
};
use serde_json::{Value, json};

use crate::{
    client::{Client, Library},
    idp::Idp,
    site::Site,
};

/// People may read, and write where their token has the scope for it.
const POLICY: &str = r#"
    permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);
    permit(principal, action == Action::"mcp:call", resource == Tool::"files/read");
    @scope("files:write")
    permit(principal, action == Action::"mcp:call", resource == Tool::"files/write");
"#;

/// A provider, a protected toolset, and what stands behind it.
struct Ground {
    idp: Idp,
    url: String,
    server: Server,
}

/// What protects the toolset.
enum Server {
    /// The gateway, in front of a tool server.
    Gateway { files: Backend, _gateway: Gateway },
    /// A server that does it by itself.
    Reference { _process: Process },
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let files = Mcp::new("files").tools(&["read", "write"]).start()?;
        let toolset = json!({
            "servers": ["files"], "naming": "bare", "scopes": ["mcp", "files:read"], "denied": "forbidden",
        });
        let site = Site::new()
            .signed_by(&idp)
            .with("ToolServer", "files", json!({ "urls": [files.url()] }))
            .with("Toolset", "tools", toolset)
            .policy(POLICY);
        let gateway = site.start()?;
        let url = format!("http://{}/mcp/tools", gateway.address);
        Ok(Self { idp, url, server: Server::Gateway { files, _gateway: gateway } })
    }

    fn reference() -> anyhow::Result<Self> {
        let idp = Idp::start()?;
        let (process, url) = idp.reference()?;
        Ok(Self { idp, url, server: Server::Reference { _process: process } })
    }

    /// A program that was registered at the provider before.
    fn desk(&self) -> Value {
        json!({ "id": "desk", "issuer": self.idp.issuer })
    }

    /// That so many calls came to the tool server, and nothing with them that a client shows us.
    fn check_what_passed(&self, calls: usize) -> anyhow::Result<()> {
        let Server::Gateway { files, .. } = &self.server else { return Ok(()) };
        let seen = files.seen();
        let passed = seen.iter().find(|request| request.header("authorization").is_some());
        ensure!(passed.is_none(), "a token was passed on: {passed:?}");
        let came = files.count("tools/call");
        ensure!(came == calls, "{came} calls came to the tool server, not {calls}");
        Ok(())
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
    ground.check_what_was_asked()?;
    ground.check_what_passed(3)
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
fn version_1_of_the_typescript_sdk_dances() -> anyhow::Result<()> {
    dance(Library::TsV1, &Ground::new()?)
}

#[test]
fn version_2_of_the_typescript_sdk_dances_with_sessions() -> anyhow::Result<()> {
    dance(Library::TsV2Legacy, &Ground::new()?)
}

#[test]
fn version_2_of_the_typescript_sdk_dances_without_sessions() -> anyhow::Result<()> {
    dance(Library::TsV2Modern, &Ground::new()?)
}

#[test]
fn version_1_of_the_python_sdk_dances() -> anyhow::Result<()> {
    dance(Library::PythonV1, &Ground::new()?)
}

#[test]
fn version_2_of_the_python_sdk_dances_with_sessions() -> anyhow::Result<()> {
    dance(Library::PythonV2Legacy, &Ground::new()?)
}

#[test]
fn version_2_of_the_python_sdk_dances_without_sessions() -> anyhow::Result<()> {
    dance(Library::PythonV2Modern, &Ground::new()?)
}

#[test]
fn every_sdk_registers_itself_where_nobody_knows_it() -> anyhow::Result<()> {
    let ground = Ground::new()?;

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
    let ground = Ground::new()?;
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
    let ground = Ground::new()?;

    for library in [Library::TsV1, Library::TsV2Modern, Library::PythonV1, Library::PythonV2Modern] {
        let Err(refused) = Client::connect(library, &ground.url, "mallory", &ground.desk()) else {
            anyhow::bail!("{library:?} connects without consent");
        };
        let refused = format!("{refused:#}");
        ensure!(refused.contains("access_denied"), "{library:?}: {refused}");
    }

    ground.check_what_passed(0)
}

#[test]
fn programs_without_a_person_call_with_their_own_credentials() -> anyhow::Result<()> {
    let ground = Ground::new()?;

    for library in Library::ALL {
        let connected = Client::connect_as(library, &ground.url, "robot", &ground.idp.issuer);
        let mut client = connected.with_context(|| format!("{library:?}"))?;
        assert_eq!(client.call("read")?, "files:read");
        client.close()?;
    }

    let requests = ground.idp.requests()?;
    ensure!(!requests.iter().any(|request| request["path"] == "/auth"), "a person was asked: {requests:?}");
    ground.check_what_passed(Library::ALL.len())
}
