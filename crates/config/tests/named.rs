//! What policies name: everything that the set has, or cannot know, is accepted, and nothing else.
//!
//! The words of refusals are in `documents/refused/policy-names.yaml`.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use quorate_config::{Errors, Reason, ResourceSet, Source, parse};

const KEY: &str =
    "keys: [{ id: abcdefgh2345, hmac: '0000000000000000000000000000000000000000000000000000000000000001' }]";

fn read(documents: &[String]) -> Result<ResourceSet, Errors> {
    parse(&[Source { file: "test.yaml".into(), text: documents.join("\n---\n") }])
}

fn document(kind: &str, name: &str, tenant: &str, spec: &str) -> String {
    format!("{{kind: {kind}, name: {name}, tenant: {tenant}, spec: {spec}}}")
}

fn policy(tenant: &str, scope: &str) -> String {
    let cedar = format!("forbid ({scope});").replace('"', "\\\"");
    document("Policy", "named", tenant, &format!("{{ cedar: \"{cedar}\" }}"))
}

fn set() -> Vec<String> {
    let token = |issuer: &str, more: &str| {
        format!("{{ oidc: {{ issuer: 'https://{issuer}.example', audiences: [a]{more} }} }}")
    };
    let claim = ", tenantClaim: { claim: org, values: { a: acme, d: default } }";
    vec![
        document("ToolServer", "files", "default", "{ urls: ['http://127.0.0.1:1'] }"),
        document("ToolServer", "theirs", "acme", "{ urls: ['http://127.0.0.1:2'] }"),
        document("Toolset", "work", "acme", "{ servers: [files, theirs] }"),
        document("Toolset", "common", "default", "{ servers: [files] }"),
        document("Issuer", "corp", "default", &token("corp", claim)),
        document("Issuer", "own", "acme", &token("own", ", groupsClaim: roles")),
        document("Issuer", "robots", "default", &token("robots", ", subject: agent")),
        document("Issuer", "prod", "acme", "{ spiffe: { trustDomain: prod.example, bundle: [a.pem] } }"),
        document("ApiKey", "nightly", "acme", &format!("{{ agent: reporter, {KEY} }}")),
        "{kind: Tenant, name: default, spec: { groups: { staff: {} } }}".to_owned(),
    ]
}

/// The scope of a policy, the tenant of its document, and whether it can be about anybody or anything.
#[test]
fn a_name_is_accepted_exactly_where_somebody_or_something_may_have_it() {
    let table = [
        ("default", r#"principal, action, resource in ToolServer::"files""#, true),
        ("default", r#"principal, action, resource in ToolServer::"theirs""#, true),
        ("acme", r#"principal, action, resource in ToolServer::"files""#, true),
        ("globex", r#"principal, action, resource in ToolServer::"theirs""#, false),
        ("default", r#"principal, action, resource in ToolServer::"none""#, false),
        // What a server has is known when it is asked.
        ("default", r#"principal, action, resource == Tool::"files/anything""#, true),
        ("default", r#"principal, action, resource == Prompt::"none/anything""#, false),
        ("default", r#"principal, action, resource == Resource::"files/file:///a""#, true),
        ("acme", r#"principal, action, resource == Toolset::"work""#, true),
        ("acme", r#"principal, action, resource in Toolset::"common""#, true),
        ("globex", r#"principal, action, resource in Toolset::"work""#, false),
        // Tenants have no document of their own; somebody has to be one.
        ("default", r#"principal in Tenant::"acme", action, resource"#, true),
        ("default", r#"principal in Tenant::"umbrella", action, resource"#, false),
        ("acme", r#"principal in Tenant::"acme", action, resource"#, true),
        ("acme", r#"principal in Tenant::"globex", action, resource"#, false),
        ("acme", r#"principal in Tenant::"default", action, resource"#, false),
        (
            "acme",
            r#"principal, action == Action::"mcp:list", resource) when { resource.tenant == "default" }; //"#,
            true,
        ),
        (
            "acme",
            r#"principal, action == Action::"mcp:list", resource) when { resource.tenant == "globex" }; //"#,
            false,
        ),
        // Subjects are the issuer's to know; whom it vouches for is not.
        ("default", r#"principal in User::"corp/anybody", action, resource"#, true),
        ("acme", r#"principal in User::"corp/anybody", action, resource"#, true),
        ("globex", r#"principal in User::"corp/anybody", action, resource"#, false),
        ("default", r#"principal in User::"own/anybody", action, resource"#, false),
        ("default", r#"principal in User::"acme::own/anybody", action, resource"#, true),
        ("default", r#"principal in User::"acme::robots/anybody", action, resource"#, false),
        ("default", r#"principal in User::"robots/anybody", action, resource"#, false),
        ("default", r#"principal in Agent::"robots/anybody", action, resource"#, true),
        ("acme", r#"principal in Agent::"own/anybody", action, resource"#, true),
        ("acme", r#"principal in User::"prod/runner", action, resource"#, false),
        // Paths are the workloads', domains are trusted or not.
        ("acme", r#"principal in Agent::"spiffe://prod.example/ns/x/sa/y", action, resource"#, true),
        ("acme", r#"principal in Agent::"spiffe://other.example/x", action, resource"#, false),
        ("default", r#"principal in Agent::"spiffe://prod.example/x", action, resource"#, false),
        ("default", r#"principal in Agent::"acme::spiffe://prod.example/x", action, resource"#, true),
        ("acme", r#"principal in Agent::"reporter", action, resource"#, true),
        ("acme", r#"principal in Agent::"nightly", action, resource"#, false),
        ("default", r#"principal in Agent::"reporter", action, resource"#, false),
        ("default", r#"principal in Agent::"acme::reporter", action, resource"#, true),
        ("default", r#"principal in Agent::"development", action, resource"#, true),
        ("acme", r#"principal in Agent::"development", action, resource"#, false),
        // Where tokens name groups, they name any.
        ("default", r#"principal in Group::"staff", action, resource"#, true),
        ("default", r#"principal in Group::"stuff", action, resource"#, false),
        ("default", r#"principal in Group::"default::staff", action, resource"#, false),
        ("default", r#"principal in Group::"role::staff", action, resource"#, false),
        ("default", r#"principal in Group::"acme::anything", action, resource"#, true),
        ("acme", r#"principal in Group::"anything", action, resource"#, true),
        ("globex", r#"principal in Group::"staff", action, resource"#, false),
    ];
    for (tenant, scope, expected) in table {
        let result = read(&[set(), vec![policy(tenant, scope)]].concat());
        assert_eq!(result.is_ok(), expected, "{tenant}: {scope}: {:?}", result.err().map(|errors| errors.to_string()));
    }
}

#[test]
fn attributes_that_are_compared_with_names_are_held_against_the_set_too() {
    let table = [
        (r#"resource.server == "files""#, true),
        (r#"resource.server == "flies""#, false),
        (r#""flies" != resource.server"#, false),
        (r#"["files", "flies"].contains(resource.server)"#, false),
        (r#"resource.toolset == "work""#, true),
        (r#"resource.toolset == "wrok""#, false),
        (r#"principal.tenant == "acme""#, true),
        (r#"resource.tenant == "acne""#, false),
        (r#"principal has agent && principal.agent == "acme::reporter""#, true),
        (r#"principal has agent && principal.agent == "acme::reprter""#, false),
        (r#"principal has user && principal.user == "corp/ann""#, true),
        (r#"principal has user && principal.user == "crop/ann""#, false),
        (r#"principal.groups.contains("staff")"#, true),
        (r#"principal.groups.containsAll(["staff", "stuff"])"#, false),
        (r#"principal in Group::"stuff" || resource.name == "flies""#, false),
        // These are no names of the set.
        (r#"resource.name == "flies" || resource.tags.contains("flies")"#, true),
        (r#"resource.exposed == "flies" || principal.scopes.contains("flies")"#, true),
        (r#"resource.server like "fl*""#, true),
    ];
    for (condition, expected) in table {
        let scope = format!(r#"principal, action == Action::"mcp:call", resource) when {{ {condition} }};"#);
        let text = policy("default", &scope).replace("};);", "};");
        let result = read(&[set(), vec![text]].concat());
        assert_eq!(result.is_ok(), expected, "{condition}: {:?}", result.err().map(|errors| errors.to_string()));
    }
}

#[test]
fn a_broken_document_is_not_missed_by_the_policies_that_name_it() {
    let broken = document("ToolServer", "broken", "default", "{ urls: [nowhere] }");
    let named = policy("default", r#"principal, action, resource in ToolServer::"broken""#);
    let errors = read(&[set(), vec![broken, named]].concat()).expect_err("it is broken");
    assert_eq!(errors.problems().len(), 1, "{errors}");

    let broken = document("Issuer", "broken", "globex", "{ oidc: { issuer: nowhere } }");
    for scope in [
        r#"principal in User::"broken/x", action, resource"#,
        r#"principal in Agent::"spiffe://maybe.example/x", action, resource"#,
        r#"principal in Group::"maybe", action, resource"#,
        r#"principal in Tenant::"maybe", action, resource"#,
    ] {
        let errors = read(&[set(), vec![broken.clone(), policy("default", scope)]].concat()).expect_err("it is broken");
        assert!(!errors.to_string().contains("can never be"), "{scope}: {errors}");
    }
}

proptest! {
    // Each case makes a validator, which takes most of its time.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_tool_server_can_be_named_exactly_on_this_side_of_the_wall(
        owner in select(vec!["default", "acme", "globex"]),
        by in select(vec!["default", "acme", "globex"]),
        declared in subsequence(vec!["alpha", "beta", "gamma"], 0..=3),
        named in select(vec!["alpha", "beta", "gamma"]),
        kind in select(vec!["ToolServer::\"NAME\"", "Tool::\"NAME/x\"", "Prompt::\"NAME/x\"", "Resource::\"NAME/x:y\""]),
    ) {
        let servers = declared.iter().map(|name| document("ToolServer", name, owner, "{ urls: ['http://127.0.0.1:1'] }"));
        let scope = format!("principal, action, resource in {}", kind.replace("NAME", named));
        let result = read(&servers.chain([policy(by, &scope)]).collect::<Vec<_>>());

        let expected = declared.contains(&named) && (by == owner || by == "default" || owner == "default");
        prop_assert_eq!(result.is_ok(), expected);
        if let Err(errors) = result {
            let problems = errors.problems();
            prop_assert_eq!(problems.len(), 1);
            prop_assert!(matches!(problems[0].reason, Reason::NeverThere { line: 1, column: 40, .. }), "{}", errors);
        }
    }
}
