//! Documents that are refused: each with its place and what would be right, and none that costs more than its size.
//!
//! The table is what an operator sees; below it is what a hostile or broken document would like to do.

mod common;

use common::{document, group, lines, reading, tenant};
use quorate_policy::{ArgumentType, Document, Policies, limits};

fn refused(documents: &[Document]) -> String {
    match Policies::compile(documents, &[]) {
        Ok(policies) => panic!("{policies:?} compiled"),
        Err(problems) => lines(&problems),
    }
}

/// Checks that what is said of each text has these parts.
fn check_mistakes(cases: &[(&str, &[&str])]) {
    for (text, parts) in cases {
        let found = refused(&[reading("doc", &[("n", ArgumentType::Integer)], text)]);
        for part in *parts {
            assert!(found.contains(part), "{text}\nlacks {part}\n{found}");
        }
    }
}

#[test]
fn the_templates_of_one_server_are_bounded() {
    let forbid = |server: &str, count: usize| -> String {
        let one = |at: usize| format!("forbid (principal, action, resource in Resource::\"{server}/{at}:{{x}}\");\n");
        // A template that is named again is the same.
        (0..count).chain(0..1).map(one).collect()
    };
    let fits = [document("a", &forbid("s", limits::TEMPLATES_MAX)), document("b", &forbid("t", limits::TEMPLATES_MAX))];
    assert!(Policies::compile(&fits, &[]).is_ok());
    let found = refused(&[document("a", &forbid("s", limits::TEMPLATES_MAX + 1))]);
    assert!(found.contains("there are 65 templates of URIs of ToolServer \"s\", at most 64"), "{found}");
}

#[test]
fn each_mistake_is_told_with_its_place_and_help() {
    let cases: &[(&str, &[&str])] = &[
        ("permit (principal, action, resource)", &["Policy/doc:1:37: unexpected end of input"]),
        (
            "\n  permit (principal, action, resource) when { principal.grups.contains(\"x\") };",
            &[":2:47: ", "grups", "did you mean `groups`?"],
        ),
        (
            "permit (principal, action, resource) when { principal.user == \"x/y\" };",
            &[":1:45: ", "optional attribute", "has user"],
        ),
        ("permit (principal in Grup::\"x\", action, resource);", &[":1:22: ", "Grup", "did you mean `Group`?"]),
        ("permit (principal, action == Action::\"mcp:cal\", resource);", &[":1:30: ", "mcp:cal", "did you mean"]),
        ("permit (principal == Agent::\"x\", action, resource);", &[":1:1: ", "say `principal in Agent::\"x\"`"]),
        ("permit (principal is User, action, resource);", &[":1:1: ", "every principal is a Caller"]),
        ("permit (principal in Caller::\"caller\", action, resource);", &["callers have no ids"]),
        ("permit (principal, action, resource) when { principal == Caller::\"caller\" };", &["callers have no ids"]),
        (
            "permit (principal, action == Action::\"mcp:call\", resource == Toolset::\"t\");",
            &[":1:", "say `resource in Toolset::\"t\"`"],
        ),
        ("permit (principal, action == Action::\"mcp\", resource);", &[":1:1: ", "action in"]),
        ("permit (principal, action, resource == Tool::\"read\");", &["SERVER/NAME"]),
        ("permit (principal, action, resource in ToolServer::\"Files\");", &["the name of a resource"]),
        ("permit (principal in User::\"ann\", action, resource);", &["ISSUER/SUBJECT"]),
        ("permit (principal in User::\"acme::ann\", action, resource);", &["ISSUER/SUBJECT"]),
        ("permit (principal in Tenant::\"A\", action, resource);", &["the name of a tenant"]),
        ("permit (principal == ?principal, action, resource);", &[":1:1: ", "is a template"]),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            &[":2:1: there are two policies \"a\""],
        ),
        (
            "@id(\"policy2\") permit (principal, action, resource);\npermit (principal, action, resource);",
            &[":2:1: there are two policies \"policy2\""],
        ),
        ("@scopes(\"a\") permit (principal, action, resource);", &["@scopes means nothing", "@scope,"]),
        ("@scope(\"\") permit (principal, action, resource);", &["has no scopes"]),
        ("@scope(\"a\\u{e9}\") permit (principal, action, resource);", &["has no scopes, or one with a character"]),
        ("@scope(\"a\") forbid (principal, action, resource);", &["only what permits can ask for a scope"]),
        ("@id(\"\") permit (principal, action, resource);", &["is no id"]),
        ("permit (principal, action, resource) when { context.arguments.path == \"x\" };", &["arguments"]),
        (
            "permit (principal, action == Action::\"mcp:call\", resource) when { context.arguments.other == \"x\" };",
            &["other"],
        ),
        (
            "permit (principal, action == Action::\"mcp:call\", resource) when { context.arguments has n && context.arguments.n like \"x\" };",
            &["Long", "String"],
        ),
        ("permit (principal, action, resource) when { false };", &["impossible"]),
        ("permit (principal, action, resource) when { resource.toolset == \"\u{202e}x\" };", &["BIDI"]),
        ("permit (principal, action, resource) when { ip(\"1.2.3.4\").isLoopback() && true && nope(1) };", &["nope"]),
    ];
    check_mistakes(cases);
}

#[test]
fn a_template_of_uris_is_named_so_that_it_is_about_what_is_read() {
    check_mistakes(&[
        (
            "forbid (principal, action, resource == Resource::\"f/file:///{path}\");",
            &[":1:1: ", "it is a template", "say `in Resource::\"f/file:///{path}\"`"],
        ),
        (
            "\nforbid (principal, action, resource is Resource) when { !(resource != Resource::\"f/file:///{path}\") };",
            &[":2:1: ", "it is a template", "say `in Resource::\"f/file:///{path}\"`"],
        ),
        (
            "forbid (principal, action, resource in Resource::\"f/file:///{path\");",
            &["no template of URIs", "no partner"],
        ),
    ]);
}

#[test]
fn all_mistakes_of_all_documents_are_told_at_once_and_in_order() {
    let documents = [
        document(
            "b",
            "permit (principal in Grup::\"x\", action, resource);\n@x(\"\") permit (principal, action, resource);",
        ),
        document("a", "nonsense"),
        document("c", "permit (principal, action, resource);"),
    ];
    let mut groups = vec![group("default", "a", &["a"], &[])];
    let found = Policies::compile(&documents, &groups).expect_err("problems");
    let places: Vec<String> = found.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(
        places,
        ["Policy/a:1:9", "Policy/b:1:22", "Policy/b:2:1", "Tenant/default: group \"a\""],
        "{}",
        lines(&found)
    );

    groups.clear();
    let many = vec!["@x(\"\") permit (principal, action, resource);"; limits::PROBLEMS_MAX + 1].join("\n");
    let found = Policies::compile(&[document("a", &many)], &groups).expect_err("problems");
    assert_eq!(found.len(), limits::PROBLEMS_MAX);
}

#[test]
fn the_same_name_twice_and_arguments_without_names_are_refused() {
    let doc = || document("doc", "");
    let other = Document { tenant: tenant("acme"), ..doc() };
    assert_eq!(refused(&[doc(), other]), "Policy/doc:1:1: is there twice");
    for name in ["", "a\nb", &"x".repeat(limits::ARGUMENT_NAME_BYTES_MAX + 1)] {
        assert!(refused(&[reading("doc", &[(name, ArgumentType::String)], "")]).contains("Policy/doc: arguments: "));
    }
    let names: Vec<String> = (0..=limits::ARGUMENTS_MAX).map(|at| format!("a{at}")).collect();
    let many: Vec<(&str, ArgumentType)> = names.iter().map(|name| (name.as_str(), ArgumentType::String)).collect();
    assert!(refused(&[reading("doc", &many, "")]).contains("there are 65, at most 64"));
}

#[test]
fn ten_megabytes_are_refused_without_being_read() {
    // Were it read, the first byte would be a problem as well.
    let huge = document("huge", &")".repeat(10_000_000));
    let large = document("large", &")".repeat(limits::DOCUMENT_BYTES_MAX + 1));

    let found = refused(&[huge]);
    assert_eq!(
        found,
        "Policy/huge:1:1: has 10000000 bytes, at most 262144 (write several documents)\n\
         policies: there are 10000000 bytes of documents, at most 8388608"
    );
    assert_eq!(refused(&[large]), "Policy/large:1:1: has 262145 bytes, at most 262144 (write several documents)");
}

#[test]
fn too_many_documents_and_policies_are_refused() {
    let empty: Vec<Document> = (0..=limits::DOCUMENTS_MAX).map(|at| document(&format!("d{at}"), "")).collect();
    assert_eq!(refused(&empty), "policies: there are 2001 documents, at most 2000");
}

/// Runs on a stack as small as those of the threads that serve requests.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).expect("a thread");
    thread.join().expect("it does not overflow")
}

#[test]
fn the_deepest_and_longest_policies_that_are_read_fit_the_stack() {
    // Each shape, as often as the limits allow; what is one more is refused by them.
    let shapes: &[(&str, &str, &str, usize)] = &[
        ("true && ", "true", "", limits::OPERATORS_MAX),
        ("1 + ", "1", "", limits::OPERATORS_MAX / 2 - 1),
        ("if true then true else ", "true", "", limits::OPERATORS_MAX),
        ("[", "1", "]", limits::NESTING_MAX - 1),
        ("!(", "true", ")", limits::NESTING_MAX - 2),
        ("(if true then ", "true", " else false)", limits::NESTING_MAX - 1),
    ];
    for (open, middle, close, most) in shapes {
        let text = move |count: usize| {
            let expression = format!("{}{middle}{}", open.repeat(count), close.repeat(count));
            let compared = if matches!(*middle, "1") { format!("{expression} == {expression}") } else { expression };
            format!("permit (principal, action, resource) when {{ {compared} }};")
        };
        let outcome = on_a_small_stack({
            let text = text(*most);
            move || {
                let policies = Policies::compile(&[document("doc", &text)], &[]);
                policies.map(|policies| common::says(&policies, "default x", "list default all", None))
            }
        });
        // A set of sets and a record of records are compared, everything else is plainly true.
        let said = outcome.unwrap_or_else(|problems| panic!("{open}: {}", lines(&problems)));
        assert_eq!(said, "allowed by doc/policy1", "{open}");
        let beyond = refused(&[document("doc", &text(most * 2 + 2))]);
        assert!(beyond.contains("nested") || beyond.contains("operators"), "{open}: {beyond}");
    }
}

#[test]
fn nonsense_of_every_kind_is_refused_and_never_panics() {
    let texts = [
        "\0",
        "\u{feff}permit",
        "\"",
        "/*",
        "//",
        "@",
        ";;;",
        "permit(",
        "permit (principal, action, resource) when {",
        "𝔭ermit",
    ];
    for text in texts {
        let outcome = Policies::compile(&[document("doc", text)], &[]);
        assert!(outcome.is_err() || text == "//", "{text:?}");
    }
}

#[test]
fn compiling_depends_on_what_is_given_and_not_on_its_order() {
    let documents: Vec<Document> = (0..20)
        .map(|at| {
            document(
                &format!("d{at}"),
                "permit (principal, action, resource); forbid (principal in Group::\"x\", action, resource);",
            )
        })
        .collect();
    let mut turned = documents.clone();
    turned.reverse();
    let [first, second] = [&documents, &turned].map(|documents| common::compile(documents));
    for who in ["default a", "default a +x"] {
        let [first, second] = [&first, &second].map(|policies| common::decide(policies, who, "list default all", None));
        assert_eq!(first, second);
    }
    assert_eq!(common::says(&first, "default a", "list default all", None), "allowed by d0/policy1");
}
