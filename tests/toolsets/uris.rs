//! What policies decide on where a client names a resource: what the toolset shows for it, in each way to read its URI.

use quorate_tests::raw::backend::{Backend, Out, Seen};
use quorate_tests::raw::gateway::Gateway;
use quorate_tests::raw::mcp::Mcp;
use serde_json::{Value, json};

use crate::support::{Client, code, document};

/// What the caller needs to be there at all.
pub(crate) const ENTER: &str =
    r#"permit (principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);"#;
/// What allows the rest.
pub(crate) const ALL: &str = r#"permit (principal, action, resource);"#;

/// A gateway with these policies.
pub(crate) fn ruled(resources: &str, cedar: &[&str]) -> anyhow::Result<Gateway> {
    let policy = json!({ "kind": "Policy", "name": "rules", "spec": { "cedar": cedar.join("\n") } });
    Gateway::start(&format!("{resources}\n---\n{policy}"), &["--development-identity"])
}

/// A server that has whatever it is asked for, and lists some of it.
fn generous(name: &'static str, listed: &[&str]) -> anyhow::Result<Backend> {
    let read = move |seen: &Seen, out: &mut Out| {
        let mut result = json!({ "contents": [{ "uri": seen.params()["uri"], "text": name }] });
        if seen.is_modern() {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(60_000);
            result["cacheScope"] = json!("public");
        }
        out.result(seen, &result);
    };
    Mcp::new(name).resources(listed).on("resources/read", read).start()
}

/// Holds `cedar` against reads: of each URI, whether `files` is asked for it.
fn check(servers: &[(&str, &Backend)], spec: &Value, cedar: &[&str], table: &[(&str, bool)]) -> anyhow::Result<()> {
    let files = servers[0].1;
    let gateway = ruled(&document(servers, spec), cedar)?;
    for (revision, client) in Client::all(&gateway)? {
        for (uri, is_asked) in table {
            let before = files.count("resources/read");
            let answer = client.ask("resources/read", json!({ "uri": uri }))?;
            let asked = files.count("resources/read") - before;
            assert_eq!(asked, usize::from(*is_asked), "{cedar:?} {uri} {revision}: {answer}");
            assert_eq!(answer["result"].is_object(), *is_asked, "{cedar:?} {uri} {revision}: {answer}");
            assert_eq!(code(&answer).0 == 0, *is_asked, "{cedar:?} {uri} {revision}: {answer}");
        }
    }
    Ok(())
}

#[test]
fn what_a_resource_is_exposed_as_is_what_the_toolset_shows_and_not_what_the_client_has_typed() -> anyhow::Result<()> {
    let files = generous("files", &["file:///secret/x", "file:///pub/x", "both:x"])?;
    let other = generous("other", &["db:x", "both:x"])?;
    let servers = [("files", &files), ("other", &other)];
    let spec = json!({ "servers": ["files", "other"] });

    let forbid = r#"forbid (principal, action == Action::"mcp:read", resource)
        when { resource.exposed like "file:///secret/*" || resource.exposed like "quorate://files/both:*" };"#;
    let forbidden = [
        ("file:///pub/x", true),
        ("quorate://files/file:///pub/x", true),
        ("file:///secret/x", false),
        ("quorate://files/file:///secret/x", false),
        ("quorate://files/file:///secret/unlisted", false),
        ("quorate://files/both:x", false),
    ];
    check(&servers, &spec, &[ALL, forbid], &forbidden)?;

    let permit = r#"permit (principal, action == Action::"mcp:read", resource)
        when { resource.exposed like "quorate://files/*" };"#;
    let permitted = [
        ("quorate://files/both:x", true),
        ("quorate://files/file:///pub/x", false),
        ("quorate://files/file:///secret/unlisted", false),
        ("file:///pub/x", false),
    ];
    check(&servers, &spec, &[ENTER, permit], &permitted)
}

#[test]
fn a_policy_holds_for_each_way_to_read_a_uri_that_nobody_lists() -> anyhow::Result<()> {
    let listed = ["file:///my%20notes", "https://x/?q=1", "db://T/rows"];
    let (files, other) = (generous("files", &listed)?, Mcp::new("other").resources(&["other:x"]).start()?);
    let rules = json!([{ "match": { "uri": "file:///secret/*" }, "tags": ["secret"] }]);
    let secrets = [
        ("file:///pub/a", true),
        ("file:///pub/%61", true),
        ("file:///secret/a", false),
        ("file:///%73ecret/a", false),
        ("file:///%2573ecret/a", false),
        ("file:///pub/../secret/a", false),
        ("file:////secret/a", false),
        ("file:///./secret/a", false),
        ("FILE:///secret/a", false),
        ("file://localhost/secret/a", false),
        ("file:///secret\\a", false),
    ];
    let by_uri =
        r#"forbid (principal, action, resource) when { resource has uri && resource.uri like "file:///secret/*" };"#;
    let by_name = r#"forbid (principal, action, resource == Resource::"files/file:///secret/a");"#;
    let by_exposed = r#"forbid (principal, action == Action::"mcp:read", resource) when { resource.exposed like "file:///secret/*" };"#;
    let by_tag =
        r#"forbid (principal, action, resource) when { resource has tags && resource.tags.contains("secret") };"#;
    let untagged =
        r#"permit (principal, action == Action::"mcp:read", resource) unless { resource.tags.contains("secret") };"#;
    let public = r#"permit (principal, action == Action::"mcp:read", resource)
        when { resource.uri like "file:///pub/*" || resource == Resource::"files/file:///my%20notes"
            || resource.uri like "https://x/?q=*" || resource.uri like "db://T/*" };"#;
    for names in [vec!["files"], vec!["files", "other"]] {
        let servers: Vec<_> = [("files", &files), ("other", &other)].into_iter().take(names.len()).collect();
        let plain = json!({ "servers": names });
        let tagged = json!({ "servers": names, "resources": rules });
        for (spec, cedar) in [(&plain, by_uri), (&plain, by_name), (&plain, by_exposed), (&tagged, by_tag)] {
            check(&servers, spec, &[ALL, cedar], &secrets)?;
        }
        check(&servers, &tagged, &[ENTER, untagged], &secrets)?;
        let table = [
            ("file:///pub/a", true),
            ("file:///pub/a%20b", true),
            ("file:///pub/../etc/passwd", false),
            ("file:///pub/%2e%2e/etc/passwd", false),
            ("file:///etc/passwd", false),
            ("file:///pub/a?b", true),
            ("db://T/rows/1", true),
            // As they are listed; what is not is no URI that the policy is about in each reading.
            ("file:///my%20notes", true),
            ("https://x/?q=1", true),
            ("https://x/?q=2", false),
        ];
        check(&servers, &plain, &[ENTER, public], &table)?;
    }
    Ok(())
}
