//! Which servers get a session, and which a bridge.

use quorate_tests::raw::{
    backend::Backend,
    gateway::Documents,
    mcp::{Era, Mcp},
    session::Session,
};
use serde_json::{Value, json};

use super::{serve, text};

fn names(session: &Session, id: i64) -> anyhow::Result<Vec<Value>> {
    let listed = session.request(id, "tools/list", json!({}))?.message()?;
    let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
    Ok(tools.into_iter().map(|tool| tool["name"].clone()).collect())
}

#[test]
fn a_server_that_refuses_sessions_is_asked_for_one_once() -> anyhow::Result<()> {
    let (backend, gateway) = serve(Mcp::new("a").era(Era::Modern))?;

    for id in 1..4 {
        let session = Session::open(&gateway, "2025-11-25")?;
        assert_eq!(names(&session, id)?, ["echo"]);
        assert_eq!(text(&session.call(id + 10, "echo")?), "a:echo");
    }

    assert_eq!(backend.count("initialize"), 1);
    Ok(())
}

#[test]
fn a_server_that_is_configured_to_be_stateless_is_never_asked_for_a_session() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let spec = json!({ "urls": [backend.url()], "era": "modern" });
    let gateway = Documents::new().server_with("a", spec).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(text(&session.call(1, "echo")?), "a:echo");

    assert_eq!(backend.count("initialize"), 0);
    Ok(())
}

#[test]
fn a_server_of_both_eras_gets_a_session() -> anyhow::Result<()> {
    let (backend, gateway) = serve(Mcp::new("a"))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(text(&session.call(1, "echo")?), "a:echo");

    let calls: Vec<_> = backend.seen().into_iter().filter(|seen| seen.method() == "tools/call").collect();
    assert!(calls.iter().all(|seen| !seen.is_modern() && seen.header("mcp-session-id").is_some()));
    Ok(())
}

#[test]
fn a_server_that_is_away_has_refused_nothing() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let (address, gateway) = (backend.address, Documents::new().server("a", &backend.url()).start()?);
    drop(backend);
    let session = Session::open(&gateway, "2025-11-25")?;
    let failed = session.call(1, "echo")?;
    assert_eq!(failed["error"]["code"], -31001, "{failed}");

    let backend = Backend::start_at(address, Mcp::new("a").script())?;

    quorate_tests::wait::until("the server", quorate_tests::raw::PATIENCE, || {
        let answer = session.call(2, "echo")?;
        anyhow::ensure!(text(&answer) == "a:echo", "{answer}");
        Ok(())
    })?;
    assert!(backend.count("initialize") >= 1, "it is still asked for a session");
    Ok(())
}

#[test]
fn servers_of_all_kinds_are_one_toolset_to_a_client_of_sessions() -> anyhow::Result<()> {
    let servers = [("a", Era::Modern), ("b", Era::Legacy), ("c", Era::Dual)];
    let backends = servers
        .iter()
        .map(|(name, era)| Mcp::new(name).era(*era).tools(&[&format!("of_{name}"), "echo"]).start())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let documents = servers
        .iter()
        .zip(&backends)
        .fold(Documents::new(), |documents, ((name, _), backend)| documents.server(name, &backend.url()));
    let gateway = documents.start()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(names(&session, 1)?, ["of_a", "a_echo", "of_b", "b_echo", "of_c", "c_echo"]);
    for (id, (tool, expected)) in
        (2..).zip([("of_a", "a:of_a"), ("a_echo", "a:echo"), ("b_echo", "b:echo"), ("of_c", "c:of_c")])
    {
        assert_eq!(text(&session.call(id, tool)?), expected);
    }
    Ok(())
}

#[test]
fn a_bridged_server_offers_what_it_has_but_tasks() -> anyhow::Result<()> {
    let (_backend, gateway) = serve(Mcp::new("a").era(Era::Modern).on("server/discover", |seen, out| {
        let extensions = json!({ "io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": { "x": 1 } });
        let capabilities = json!({ "tools": {}, "completions": {}, "extensions": extensions });
        let result = json!({
            "supportedVersions": ["2026-07-28"], "capabilities": capabilities, "instructions": "Be kind.",
        });
        out.result(seen, &result);
    }))?;

    let initialized = quorate_tests::raw::session::initialize(&gateway, "2025-11-25")?.message()?;

    let result = &initialized["result"];
    let expected = json!({ "tools": { "listChanged": true }, "completions": {}, "extensions": { "io.modelcontextprotocol/ui": { "x": 1 } } });
    assert_eq!((&result["capabilities"], &result["instructions"]), (&expected, &json!("Be kind.")));
    Ok(())
}

#[test]
fn a_server_that_goes_back_to_sessions_gets_one_in_the_same_session() -> anyhow::Result<()> {
    let backend = Mcp::new("a").era(Era::Modern).start()?;
    let (address, gateway) = (backend.address, Documents::new().server("a", &backend.url()).start()?);
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(text(&session.call(1, "echo")?), "a:echo");
    drop(backend);

    let backend = Backend::start_at(address, Mcp::new("a").era(Era::Legacy).script())?;

    let mut id = 1;
    quorate_tests::wait::until("a session at the server", quorate_tests::raw::PATIENCE, || {
        id += 1;
        let answer = session.call(id, "echo")?;
        anyhow::ensure!(text(&answer) == "a:echo", "{answer}");
        Ok(())
    })?;
    let last = backend.seen().into_iter().rfind(|seen| seen.method() == "tools/call");
    assert!(last.is_some_and(|seen| seen.header("mcp-session-id").is_some()));
    Ok(())
}
