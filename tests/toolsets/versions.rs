//! Versions of a server side by side: shares, sessions that stay, and the cutover.

use std::collections::BTreeSet;

use quorate_tests::{
    raw::{
        PATIENCE,
        backend::Backend,
        gateway::{Gateway, OPEN},
        mcp::Mcp,
        session::Session,
    },
    wait,
};
use serde_json::{Value, json};

use crate::support::{Client, document};

/// Two versions of a server and their file.
struct Two {
    old: Backend,
    new: Backend,
}

// === impl Two ===

impl Two {
    fn start() -> anyhow::Result<Self> {
        let old = Mcp::new("old").tools(&["search", "only_old"]).start()?;
        let new = Mcp::new("new").tools(&["search", "only_new"]).start()?;
        Ok(Self { old, new })
    }

    fn spec(old: u32, new: u32, draw: &str) -> Value {
        let versions = json!([{ "server": "v1", "weight": old }, { "server": "v2", "weight": new }]);
        json!({ "servers": [{ "name": "library", "versions": versions, "draw": draw }], "naming": "prefix" })
    }

    fn text(&self, spec: &Value) -> String {
        document(&[("v1", &self.old), ("v2", &self.new)], spec)
    }

    fn serve(&self, spec: &Value) -> anyhow::Result<Gateway> {
        Gateway::start(&self.text(spec), OPEN)
    }

    /// Changes the file and waits until a stateless client sees what the new one says.
    fn change(&self, gateway: &Gateway, spec: &Value, expected: &str) -> anyhow::Result<()> {
        gateway.rewrite(&self.text(spec))?;
        wait::until("the new weights", PATIENCE, || {
            let said = gateway.call("library_search")?;
            anyhow::ensure!(said == expected, "{said}");
            Ok(())
        })
    }
}

fn said(session: &Session) -> anyhow::Result<String> {
    let answer = session.call(1, "library_search")?;
    Ok(answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

#[test]
fn a_cutover_moves_stateless_callers_and_leaves_sessions_where_they_are() -> anyhow::Result<()> {
    let two = Two::start()?;
    let gateway = two.serve(&Two::spec(1, 0, "principal"))?;
    assert_eq!(gateway.tools()?, ["library_search", "library_only_old"], "names are the member's, not the version's");
    assert_eq!(gateway.call("library_search")?, "old:search");
    let before = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(said(&before)?, "old:search");

    two.change(&gateway, &Two::spec(0, 1, "principal"), "new:search")?;

    assert_eq!(gateway.tools()?, ["library_search", "library_only_new"]);
    let after = Session::open(&gateway, "2025-11-25")?;
    assert_eq!((said(&before)?, said(&after)?), ("old:search".to_owned(), "new:search".to_owned()));
    assert!(before.call(2, "library_only_old")?["result"].is_object());
    assert_eq!(before.call(3, "library_only_new")?["error"]["code"], -32602);
    let opened = two.old.count("initialize");
    assert_eq!(said(&before)?, "old:search");
    assert_eq!(two.old.count("initialize"), opened, "the session at its server goes on");

    // Back again, and the sessions still stay.
    two.change(&gateway, &Two::spec(1, 0, "principal"), "old:search")?;
    assert_eq!((said(&before)?, said(&after)?), ("old:search".to_owned(), "new:search".to_owned()));
    Ok(())
}

#[test]
fn sessions_stay_where_they_are_when_versions_are_introduced() -> anyhow::Result<()> {
    let two = Two::start()?;
    let one = json!({ "servers": [{ "name": "library", "server": "v1" }], "naming": "prefix" });
    let gateway = two.serve(&one)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(said(&session)?, "old:search");

    two.change(&gateway, &Two::spec(0, 1, "principal"), "new:search")?;

    assert_eq!(said(&session)?, "old:search");
    assert!(session.call(2, "library_only_old")?["result"].is_object());
    Ok(())
}

#[test]
fn sessions_that_draw_for_themselves_get_both_versions_and_keep_theirs() -> anyhow::Result<()> {
    let two = Two::start()?;
    let gateway = two.serve(&Two::spec(1, 1, "session"))?;
    let sessions: Vec<Session> =
        (0..24).map(|_| Session::open(&gateway, "2025-11-25")).collect::<anyhow::Result<_>>()?;
    let first: Vec<String> = sessions.iter().map(said).collect::<anyhow::Result<_>>()?;
    // One of 16 million test runs sees one version alone.
    assert_eq!(first.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(["new:search", "old:search"]));

    two.change(&gateway, &Two::spec(0, 1, "session"), "new:search")?;

    let second: Vec<String> = sessions.iter().map(said).collect::<anyhow::Result<_>>()?;
    assert_eq!(first, second);
    for _ in 0..8 {
        assert_eq!(said(&Session::open(&gateway, "2025-11-25")?)?, "new:search", "a weight of 0 gets nobody new");
    }
    Ok(())
}

#[test]
fn a_session_whose_version_is_removed_goes_on_with_the_one_that_is_left() -> anyhow::Result<()> {
    let two = Two::start()?;
    let gateway = two.serve(&Two::spec(1, 0, "principal"))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    assert_eq!(said(&session)?, "old:search");
    let versions = json!([{ "server": "v2" }]);
    let spec = json!({ "servers": [{ "name": "library", "versions": versions }], "naming": "prefix" });

    two.change(&gateway, &spec, "new:search")?;

    assert_eq!(said(&session)?, "new:search");
    let listed = session.request(2, "tools/list", json!({}))?.message()?;
    assert_eq!(listed["result"]["tools"][1]["name"], "library_only_new", "{listed}");
    Ok(())
}

#[test]
fn a_rule_for_a_version_keeps_its_names_the_same() -> anyhow::Result<()> {
    let two = Two::start()?;
    let mut spec = Two::spec(1, 0, "principal");
    let of = |version: &str, name: &str| json!({ "server": "library", "version": version, "name": name });
    spec["tools"] = json!([
        { "match": of("v1", "only_old"), "rename": "fetch" },
        { "match": of("v2", "only_new"), "rename": "fetch" },
    ]);
    let gateway = two.serve(&spec)?;
    assert_eq!(gateway.call("fetch")?, "old:only_old");
    spec["servers"] = Two::spec(0, 1, "principal")["servers"].clone();

    two.change(&gateway, &spec, "new:search")?;

    for (revision, client) in Client::all(&gateway)? {
        let answer = client.call("fetch", json!({}))?;
        assert_eq!(answer["result"]["content"][0]["text"], "new:only_new", "{revision}: {answer}");
    }
    let unmatched = gateway.metric("quorate_toolset_patterns_unmatched", "default")?;
    assert!(unmatched.abs() < 0.1, "the other version's rule is not one that matches nothing: {unmatched}");
    Ok(())
}

#[test]
fn lists_of_a_toolset_with_versions_are_for_their_caller_alone() -> anyhow::Result<()> {
    let two = Two::start()?;
    let gateway = two.serve(&Two::spec(1, 1, "principal"))?;
    let listed = gateway.modern(1, "tools/list", json!({}))?.message()?;
    assert_eq!(listed["result"]["cacheScope"], "private", "both servers say public: {listed}");
    Ok(())
}

#[test]
fn a_resource_of_a_member_is_named_after_it() -> anyhow::Result<()> {
    let old = Mcp::new("old").resources(&["file:///a"]).start()?;
    let other = Mcp::new("other").resources(&["file:///a"]).start()?;
    let spec = json!({ "servers": [{ "server": "v1", "name": "library" }, "other"] });
    let gateway = Gateway::start(&document(&[("v1", &old), ("other", &other)], &spec), OPEN)?;
    for (revision, client) in Client::all(&gateway)? {
        let uris = client.list("resources/list", "resources", "uri")?;
        assert_eq!(uris, ["quorate://library/file:///a", "quorate://other/file:///a"], "{revision}");
        let read = client.ask("resources/read", json!({ "uri": "quorate://library/file:///a" }))?;
        let contents = &read["result"]["contents"][0];
        assert_eq!((&contents["text"], &contents["uri"]), (&json!("old"), &json!(uris[0])), "{revision}: {read}");
    }
    Ok(())
}
