//! What policies decide on: the arguments that a server gets, and what is read of a template.

use quorate_tests::raw::gateway::Gateway;
use quorate_tests::raw::mcp::Mcp;
use serde_json::{Value, json};

use crate::support::{Client, code, defined, document};

/// The resources with a policy of the operator, which reads the argument `limit`.
fn with_policy(resources: &str, cedar: &str) -> String {
    let cedar = format!("permit (principal in Agent::\"development\", action, resource);\n{cedar}");
    let policy = json!({
        "kind": "Policy", "name": "rules", "spec": { "cedar": cedar, "arguments": { "limit": "integer" } },
    });
    format!("{resources}\n---\n{policy}")
}

fn ruled(resources: &str, cedar: &str) -> anyhow::Result<Gateway> {
    Gateway::start(&with_policy(resources, cedar), &["--development-identity"])
}

#[test]
fn a_limit_of_a_policy_holds_for_what_a_toolset_fixes() -> anyhow::Result<()> {
    let search = json!({
        "name": "search",
        "inputSchema": { "type": "object", "properties": { "limit": { "type": "integer" } } },
    });
    let library = defined("library", json!([search])).start()?;
    let few = r#"
        forbid (principal, action == Action::"mcp:call", resource == Tool::"library/search")
        unless { context.arguments has limit && context.arguments.limit <= 10 };
    "#;
    // What the toolset fixes; what the caller gives; whether it is done.
    let table: [(Option<Value>, Value, bool); 7] = [
        (None, json!({ "limit": 10 }), true),
        (None, json!({ "limit": 11 }), false),
        (None, json!({}), false),
        (Some(json!(10)), json!({}), true),
        (Some(json!(500)), json!({}), false),
        // Not of the type that the policy reads.
        (Some(json!("10")), json!({}), false),
        // What a toolset fixes is not the caller's to give, however little it is.
        (Some(json!(500)), json!({ "limit": 1 }), false),
    ];
    for (fixed, given, is_done) in table {
        let rules = fixed
            .as_ref()
            .map(|fixed| json!([{ "match": { "name": "search" }, "arguments": { "limit": { "fix": fixed } } }]));
        let spec = json!({ "servers": ["library"], "tools": rules.unwrap_or_else(|| json!([])) });
        let gateway = ruled(&document(&[("library", &library)], &spec), few)?;
        for (revision, client) in Client::all(&gateway)? {
            let before = library.count("tools/call");
            let answer = client.call("search", given.clone())?;
            let calls = library.count("tools/call") - before;
            assert_eq!(calls, usize::from(is_done), "{fixed:?} {given} {revision}: {answer}");
        }
    }
    Ok(())
}

#[test]
fn what_is_read_of_a_forbidden_template_is_nowhere() -> anyhow::Result<()> {
    let files = Mcp::new("files").resources(&["file:///srv/keys", "file:///srv/notes"]).start()?;
    let other = Mcp::new("other").resources(&["db:x"]).start()?;
    let keys = r#"forbid (principal, action, resource in Resource::"files/file:///{dir}/keys");"#;
    for servers in [vec![("files", &files)], vec![("files", &files), ("other", &other)]] {
        let names: Vec<&str> = servers.iter().map(|(name, _)| *name).collect();
        let gateway = ruled(&document(&servers, &json!({ "servers": names })), keys)?;
        for (revision, client) in Client::all(&gateway)? {
            let listed = client.list("resources/list", "resources", "uri")?;
            assert!(!listed.iter().any(|uri| uri == "file:///srv/keys"), "{revision}: {listed:?}");
            let read = |uri: &str| client.ask("resources/read", json!({ "uri": uri }));
            let before = files.count("resources/read");
            let (listed, unlisted) = (read("file:///srv/keys")?, read("file:///other/keys")?);
            assert_eq!(code(&listed).0, code(&unlisted).0, "{revision}: {listed} {unlisted}");
            assert_eq!(files.count("resources/read"), before, "{revision}: {listed}");
            let notes = read("file:///srv/notes")?;
            assert_eq!(notes["result"]["contents"][0]["text"], "files", "{revision}: {notes}");
        }
    }
    Ok(())
}

#[test]
fn policies_that_are_too_much_or_lead_nowhere_are_refused_and_counted_and_the_old_ones_stay() -> anyhow::Result<()> {
    let clock = Mcp::new("clock").tools(&["now"]).start()?;
    let resources = document(&[("clock", &clock)], &json!({ "servers": ["clock"] }));
    let forbid = r#"forbid (principal, action == Action::"mcp:call", resource == Tool::"clock/later");"#;
    let mut gateway = ruled(&resources, forbid)?;
    let groups = |groups: Value| json!({ "kind": "Tenant", "name": "acme", "spec": { "groups": groups } });
    let more = |document: Value| format!("{}\n---\n{document}", with_policy(&resources, forbid));
    let chain: serde_json::Map<String, Value> =
        (0..30).map(|at| (format!("g{at}"), json!({ "within": [format!("g{}", at + 1)] }))).collect();

    let table = [
        (more(groups(json!({ "a": { "within": ["b"] }, "b": { "within": ["a"] } }))), "within itself"),
        (more(groups(json!({ "a": { "within": ["a"] } }))), "within itself"),
        (more(groups(Value::Object(chain.into_iter().chain([("g30".to_owned(), json!({}))]).collect()))), "16"),
        (with_policy(&resources, &format!("{}{forbid}", "// x\n".repeat(2_000_000))), "the most allowed is"),
        (with_policy(&resources, &format!("{}{forbid}", "// x\n".repeat(100_000))), "the most allowed is 262144"),
        (with_policy(&resources, &forbid.replace("resource ==", &"(".repeat(10_000))), "brackets"),
        (with_policy(&resources, &forbid.replace("clock/later", "clokc/later")), "did you mean"),
    ];
    for (refusals, (text, reason)) in (1_u32..).zip(&table) {
        gateway.rewrite(text)?;

        gateway.metric_until("quorate_config_loads_total", "refused", |count| count >= f64::from(refusals))?;
        gateway.logged(reason)?;
        assert_eq!(gateway.call("now")?, "clock:now");
    }
    assert_eq!(clock.count("tools/call"), table.len());
    Ok(())
}
