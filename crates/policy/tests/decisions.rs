//! Decisions: who may do what, and which policy says so.
//!
//! Tables of questions against small documents, one per rule of the house: deny by default, forbids win, arguments,
//! scopes, tenants, trials.

mod common;

use common::{caller, compile, decide, document, group, lines, may, reading, said, says, tenant};
use quorate_policy::{ArgumentType, Denial, Document, Mode, Policies, Verdict};

fn check(policies: &Policies, table: &[(&str, &str, &str)]) {
    for (who, what, expected) in table {
        assert_eq!(says(policies, who, what, None), *expected, "{who}: {what}");
    }
}

#[test]
fn without_a_policy_everything_is_denied() {
    for policies in [Policies::deny_all(), compile(&[]), compile(&[document("empty", "// nothing\n")])] {
        for what in ["connect default all", "list default all", "call default all files/read"] {
            assert_eq!(says(&policies, "default bot", what, None), "no_permit");
        }
    }
}

#[test]
fn allow_all_stops_at_the_wall_between_tenants() {
    check(
        &Policies::allow_all(),
        &[
            ("default bot", "call default all files/read", "allowed"),
            ("acme bot", "call default all files/read", "allowed"),
            ("acme bot", "call acme all files/read", "allowed"),
            ("acme bot", "call globex all files/read", "other_tenant"),
            ("default bot", "call acme all files/read", "other_tenant"),
        ],
    );
}

#[test]
fn a_scope_is_matched_by_who_action_and_what() {
    let text = r#"
        @id("agent")  permit (principal in Agent::"bot", action == Action::"mcp:call", resource == Tool::"files/read");
        @id("user")   permit (principal in User::"corp/ann", action in [Action::"mcp:call", Action::"mcp:get"], resource in ToolServer::"git");
        @id("group")  permit (principal in Group::"eng", action, resource in Toolset::"eng");
        @id("tenant") permit (principal in Tenant::"default", action == Action::"mcp:connect", resource);
        @id("is")     permit (principal, action in Action::"mcp", resource is Resource in ToolServer::"docs");
        @id("not")    forbid (principal, action, resource == Tool::"git/push");
    "#;
    check(
        &compile(&[document("doc", text)]),
        &[
            ("default bot", "call default all files/read", "allowed by doc/agent"),
            ("default bot", "call default all files/write", "no_permit"),
            ("default other", "call default all files/read", "no_permit"),
            ("default bot", "get default all files/read", "no_permit"),
            ("default x corp/ann", "call default all git/log", "allowed by doc/user"),
            ("default x corp/ann", "get default all git/log", "allowed by doc/user"),
            ("default x corp/ann", "read default all git/log", "no_permit"),
            ("default x other/ann", "call default all git/log", "no_permit"),
            ("default x corp/ann", "call default all git/push", "forbidden by doc/not"),
            ("default x +eng", "call default eng any/thing", "allowed by doc/group"),
            ("default x +eng", "list default eng", "allowed by doc/group"),
            ("default x +eng", "sample default eng any", "allowed by doc/group"),
            ("default x +eng", "call default all any/thing", "no_permit"),
            ("default x", "connect default all", "allowed by doc/tenant"),
            ("default x", "read default all docs/file:///a", "allowed by doc/is"),
            ("default x", "call default all docs/search", "no_permit"),
        ],
    );
}

#[test]
fn conditions_see_the_attributes_of_caller_and_resource() {
    let text = r#"
        @id("attributes") permit (principal, action == Action::"mcp:call", resource) when {
            principal.tenant == "default" && principal has agent && principal.agent == "bot" &&
            principal has user && principal.user like "corp/*" &&
            principal.groups.containsAll(["eng", "staff"]) && principal.scopes.contains("s") &&
            principal.delegations == 2 && principal has actor && principal.actor.subject == "b" &&
            principal.delegation.contains({issuer: "https://i", subject: "a"}) &&
            resource.tenant == "default" && resource.toolset == "all" && resource.server == "files" &&
            resource.name == "read" && resource.exposed == "files_read" && resource.tags.contains("safe")
        };
        @id("uri") permit (principal, action == Action::"mcp:read", resource) when { resource.uri like "file:///pub/*" };
    "#;
    let policies = Policies::compile(&[document("doc", text)], &[group("default", "staff", &[], &["bot"])]);
    let policies = policies.expect("compiles");
    let mut principal = caller("default bot corp/ann +eng *s");
    let actor = |subject: &str| quorate_types::Actor { issuer: "https://i".into(), subject: subject.into() };
    principal.delegation = vec![actor("b"), actor("a")];
    let call = common::asked("call default all files/read").tagged(&["safe", "x"]);

    let decision = policies.decide(&policies.subject(&principal), &call.question(None));
    assert_eq!(said(&decision), "allowed by doc/attributes");
    principal.delegation.reverse();
    let decision = policies.decide(&policies.subject(&principal), &call.question(None));
    assert_eq!(said(&decision), "no_permit");

    assert_eq!(says(&policies, "default x", "read default all f/file:///pub/a", None), "allowed by doc/uri");
    assert_eq!(says(&policies, "default x", "read default all f/file:///priv/a", None), "no_permit");
}

#[test]
fn groups_reach_callers_through_nesting_and_only_in_their_tenant() {
    let groups = [group("default", "ops", &["staff"], &["bot"]), group("default", "staff", &[], &[])];
    let text = r#"permit (principal in Group::"staff", action, resource);"#;
    let policies = Policies::compile(&[document("doc", text)], &groups).expect("compiles");
    check(
        &policies,
        &[
            ("default bot", "list default all", "allowed by doc/policy1"),
            ("default x +ops", "list default all", "allowed by doc/policy1"),
            ("default x", "list default all", "no_permit"),
            ("acme bot", "list default all", "no_permit"),
            ("acme x +staff", "list default all", "no_permit"),
        ],
    );
}

#[test]
fn arguments_decide_and_then_a_decision_cannot_be_kept() {
    let arguments = [("path", ArgumentType::String), ("count", ArgumentType::Integer), ("cost", ArgumentType::Number)];
    let text = r#"
        @id("home") permit (principal, action == Action::"mcp:call", resource == Tool::"files/read")
            when { context.arguments has path && context.arguments.path like "/pub/*" };
        @id("dots") forbid (principal, action == Action::"mcp:call", resource in ToolServer::"files")
            when { context.arguments has path && context.arguments.path like "*..*" };
        @id("few") permit (principal, action == Action::"mcp:call", resource == Tool::"bulk/send") when {
            context.arguments has count && context.arguments.count <= 10 &&
            context.arguments has cost && context.arguments.cost.lessThan(decimal("9.99")) };
        @id("plain") permit (principal, action == Action::"mcp:call", resource == Tool::"clock/now");
    "#;
    let policies = compile(&[reading("doc", &arguments, text)]);
    let table = [
        ("files/read", r#"{"path":"/pub/a"}"#, "allowed by doc/home"),
        ("files/read", r#"{"path":"/etc/a"}"#, "no_permit"),
        ("files/read", r#"{"path":"/pub/../etc"}"#, "forbidden by doc/dots"),
        ("files/read", r#"{"path":"/pub/\u002e./etc"}"#, "forbidden by doc/dots"),
        ("files/read", r#"{"path":["/pub/a"]}"#, "unevaluable by doc/dots"),
        ("files/read", r#"{"path":"/pub/a","path":"/pub/a"}"#, "unevaluable by doc/dots"),
        ("files/read", r#"{"path":"/pub/a","Path":"/etc"}"#, "unevaluable by doc/dots"),
        ("files/read", r#"["path"]"#, "unevaluable by doc/dots"),
        ("files/read", "{}", "no_permit"),
        ("bulk/send", r#"{"count":10,"cost":9.98}"#, "allowed by doc/few"),
        ("bulk/send", r#"{"count":11,"cost":9.98}"#, "no_permit"),
        ("bulk/send", r#"{"count":10,"cost":9.99}"#, "no_permit"),
        ("bulk/send", r#"{"count":"10","cost":1}"#, "unevaluable by doc/few"),
        ("bulk/send", r#"{"count":10,"cost":1.00001}"#, "unevaluable by doc/few"),
        ("clock/now", r#"{"path":[1]}"#, "allowed by doc/plain"),
    ];
    for (tool, arguments, expected) in table {
        let decision = decide(&policies, "default bot", &format!("call default all {tool}"), Some(arguments));
        assert_eq!(said(&decision), expected, "{tool} {arguments}");
        assert_eq!(decision.cacheable, tool == "clock/now", "{tool} {arguments}");
    }
    let decision = decide(&policies, "default bot", "call default all other/tool", Some("[]"));
    assert_eq!((said(&decision).as_str(), decision.cacheable), ("no_permit", true));
}

#[test]
fn a_fault_does_not_matter_where_the_rest_of_the_condition_says_no() {
    let text = r#"
        forbid (principal, action == Action::"mcp:call", resource)
            when { resource.name == "pay" && context.arguments has amount && context.arguments.amount > 5 };
        permit (principal, action == Action::"mcp:call", resource);
    "#;
    let policies = compile(&[reading("doc", &[("amount", ArgumentType::Integer)], text)]);
    let fault = Some(r#"{"amount":"much"}"#);

    assert_eq!(says(&policies, "default x", "call default all img/resize", fault), "allowed by doc/policy2");
    assert_eq!(says(&policies, "default x", "call default all bank/pay", fault), "unevaluable by doc/policy1");
    let what = match decide(&policies, "default x", "call default all bank/pay", fault).verdict {
        Verdict::Deny(Denial::Unevaluable { what, .. }) => what,
        verdict => panic!("{verdict:?}"),
    };
    assert_eq!(what, r#"argument "amount" is no number"#);
}

/// Conditions that read the argument `n` in each way that there is; each holds for `n` above 5 and for no other.
const ABOVE_FIVE: &[&str] = &[
    "when { context.arguments has n && context.arguments.n > 5 }",
    "unless { if context.arguments has n then context.arguments.n <= 5 else true }",
    "when { if context.arguments has n then context.arguments.n > 5 else false }",
    "when { context.arguments has n } when { !(context.arguments.n <= 5) }",
    "when { context.arguments has n && [context.arguments.n > 5].contains(true) }",
    "when { principal.delegations == 0 && (context.arguments has n && context.arguments.n - 5 > 0) }",
];

/// Arguments that are no whole number, or of which nobody can say which number they are.
const NO_NUMBERS: &[&str] = &[
    r#"{"n":"7"}"#,
    r#"{"n":"3"}"#,
    r#"{"n":null}"#,
    r#"{"n":[7]}"#,
    r#"{"n":{"n":7}}"#,
    r#"{"n":true}"#,
    r#"{"n":7.5}"#,
    r#"{"n":99999999999999999999}"#,
    r#"{"n":3,"n":7}"#,
    r#"{"N":7}"#,
    r#"{"n":3,"N":7}"#,
    r#"["n",7]"#,
    "7",
];

#[test]
fn a_forbid_denies_a_call_whose_argument_has_not_the_declared_type() {
    for condition in ABOVE_FIVE {
        let text = format!(
            r#"@id("no") forbid (principal, action == Action::"mcp:call", resource == Tool::"a/b") {condition};
               @id("yes") permit (principal, action, resource);"#
        );
        let policies = compile(&[reading("doc", &[("n", ArgumentType::Integer)], &text)]);
        let of = |arguments| says(&policies, "default x", "call default all a/b", arguments);

        assert_eq!(of(Some(r#"{"n":7}"#)), "forbidden by doc/no", "{condition}");
        for fits in [Some(r#"{"n":3}"#), Some("{}"), None] {
            assert_eq!(of(fits), "allowed by doc/yes", "{condition} {fits:?}");
        }
        for arguments in NO_NUMBERS {
            assert_eq!(of(Some(arguments)), "unevaluable by doc/no", "{condition} {arguments}");
        }
    }
}

#[test]
fn a_permit_does_not_allow_a_call_whose_argument_has_not_the_declared_type() {
    for condition in ABOVE_FIVE {
        let text = format!(
            r#"@id("yes") permit (principal, action == Action::"mcp:call", resource == Tool::"a/b") {condition};"#
        );
        let policies = compile(&[reading("doc", &[("n", ArgumentType::Integer)], &text)]);
        let of = |arguments| says(&policies, "default x", "call default all a/b", arguments);

        assert_eq!(of(Some(r#"{"n":7}"#)), "allowed by doc/yes", "{condition}");
        for other in [Some(r#"{"n":3}"#), Some("{}"), None] {
            assert_eq!(of(other), "no_permit", "{condition} {other:?}");
        }
        for arguments in NO_NUMBERS {
            assert_eq!(of(Some(arguments)), "unevaluable by doc/yes", "{condition} {arguments}");
        }
    }
}

#[test]
fn a_policy_that_fails_in_evaluation_never_helps() {
    let text = r#"
        @id("permit") permit (principal, action == Action::"mcp:call", resource == Tool::"a/a")
            when { 9223372036854775807 + context.arguments.n == 0 };
        @id("forbid") forbid (principal, action == Action::"mcp:call", resource == Tool::"a/b")
            when { 9223372036854775807 + principal.delegations + 1 == 0 };
        @id("rest") permit (principal, action, resource == Tool::"a/b");
    "#;
    let text =
        text.replace("{ 9223372036854775807 + context", "{ context.arguments has n && 9223372036854775807 + context");
    let policies = compile(&[reading("doc", &[("n", ArgumentType::Integer)], &text)]);

    let decision = decide(&policies, "default x", "call default all a/a", Some(r#"{"n":7777}"#));
    assert_eq!(said(&decision), "unevaluable by doc/permit");
    assert!(!format!("{decision:?}").contains("7777"), "{decision:?}");
    assert_eq!(says(&policies, "default x", "call default all a/b", None), "unevaluable by doc/forbid");
}

#[test]
fn a_policy_about_a_template_is_about_its_entry_and_about_every_uri_of_it() {
    let text = r#"
        @id("all")   permit (principal, action, resource);
        @id("keys")  forbid (principal, action, resource in Resource::"files/file:///{dir}/keys");
        @id("any")   forbid (principal, action, resource in Resource::"files/db://{+path}");
        @id("when")  forbid (principal, action == Action::"mcp:read", resource is Resource)
            when { resource in Resource::"files/log:{name}{?day}" && principal.tenant == "default" };
    "#;
    let policies = compile(&[document("doc", text)]);
    check(
        &policies,
        &[
            ("default x", "read default all files/file:///{dir}/keys", "forbidden by doc/keys"),
            ("default x", "read default all files/file:///srv/keys", "forbidden by doc/keys"),
            ("default x", "subscribe default all files/file:///srv/keys", "forbidden by doc/keys"),
            ("default x", "read default all files/file:///srv%2Fann/keys", "forbidden by doc/keys"),
            ("default x", "read default all files/file:///srv/ann/keys", "allowed by doc/all"),
            ("default x", "read default all files/file:///srv/notes", "allowed by doc/all"),
            ("default x", "read default all other/file:///srv/keys", "allowed by doc/all"),
            ("default x", "read default all files/db://a/b/c?d#e", "forbidden by doc/any"),
            ("default x", "read default all files/log:now?day=1", "forbidden by doc/when"),
            ("acme x", "read default all files/log:now?day=1", "allowed by doc/all"),
            ("default x", "read default all files/log:now", "forbidden by doc/when"),
            ("default x", "read default all files/log:now#x", "allowed by doc/all"),
            // A tool is no resource, whatever it is called.
            ("default x", "call default all files/file:///srv/keys", "allowed by doc/all"),
        ],
    );
    for (what, expected) in [
        ("read default all files/file:///srv/keys", "forbidden"),
        ("read default all files/file:///{dir}/keys", "forbidden"),
        ("read default all files/file:///srv/notes", "allowed"),
    ] {
        assert_eq!(may(&policies, "default x", what), expected, "{what}");
    }
}

/// A template is an expansion of itself by its letters, and was its own parent, with which Cedar makes no entity.
#[test]
fn the_entry_of_a_template_can_be_asked_about_where_a_condition_names_it() {
    let text = r#"
        permit (principal, action == Action::"mcp:read", resource is Resource)
            when { resource in Resource::"files/{name}" || resource in Resource::"files/{+path}" };
    "#;
    let policies = compile(&[document("doc", text)]);
    for uri in ["{name}", "{+path}", "a", "a/b"] {
        let read = format!("read default all files/{uri}");
        assert_eq!(says(&policies, "default x", &read, None), "allowed by doc/policy1", "{uri}");
    }
}

#[test]
fn a_permit_for_a_template_allows_its_uris_and_no_others() {
    let text = r#"permit (principal, action == Action::"mcp:read", resource in Resource::"files/file:///pub/{name}");"#;
    let policies = compile(&[document("doc", text)]);
    check(
        &policies,
        &[
            ("default x", "read default all files/file:///pub/{name}", "allowed by doc/policy1"),
            ("default x", "read default all files/file:///pub/a", "allowed by doc/policy1"),
            ("default x", "read default all files/file:///pub/a/b", "no_permit"),
            ("default x", "read default all files/file:///pub/../etc", "no_permit"),
            ("default x", "read default all files/file:///etc", "no_permit"),
            ("default x", "read default all other/file:///pub/a", "no_permit"),
            ("default x", "subscribe default all files/file:///pub/a", "no_permit"),
        ],
    );
}

#[test]
fn a_uri_that_cannot_be_held_against_a_template_within_bounds_is_denied() {
    let template = "{+a}aaaaaaaaaaaaaaaa".repeat(16);
    let text = format!(
        r#"@id("all") permit (principal, action, resource);
           @id("hard") forbid (principal in Group::"nobody", action, resource in Resource::"files/{template}");"#
    );
    let policies = compile(&[document("doc", &text)]);
    let read =
        |server: &str, uri: &str| says(&policies, "default x", &format!("read default all {server}/{uri}"), None);
    let long = format!("{}b", "a".repeat(8_000));

    assert_eq!(read("files", &long), "unevaluable by doc/hard");
    assert_eq!(read("files", "aaab"), "allowed by doc/all");
    assert_eq!(read("other", &long), "allowed by doc/all");
}

#[test]
fn lists_keep_what_may_be_called_with_some_arguments() {
    let text = r#"
        @id("some")  permit (principal, action == Action::"mcp:call", resource == Tool::"a/some")
            when { context.arguments has path && context.arguments.path like "/pub/*" };
        @id("tags")  permit (principal, action == Action::"mcp:call", resource in ToolServer::"b")
            when { resource.name == "named" && !(context.arguments has path) };
        @id("never") forbid (principal, action == Action::"mcp:call", resource == Tool::"b/named")
            unless { principal.groups.contains("eng") };
        @id("must")  forbid (principal, action == Action::"mcp:call", resource == Tool::"c/c")
            unless { context.arguments has path && context.arguments.path like "/pub/*" };
        @id("dots")  forbid (principal, action == Action::"mcp:call", resource == Tool::"c/d")
            when { context.arguments has path || principal.tenant == "default" };
        @id("c")     permit (principal, action == Action::"mcp:call", resource in ToolServer::"c");
    "#;
    let policies = compile(&[reading("doc", &[("path", ArgumentType::String)], text)]);
    let table = [
        ("default x", "call default all a/some", "allowed"),
        ("default x", "call default all a/other", "no_permit"),
        ("default x +eng", "call default all b/named", "allowed"),
        ("default x +eng", "call default all b/other", "no_permit"),
        ("default x", "call default all b/named", "forbidden"),
        ("default x", "call default all c/c", "allowed"),
        ("default x", "call default all c/d", "forbidden"),
    ];
    for (who, what, expected) in table {
        assert_eq!(may(&policies, who, what), expected, "{who}: {what}");
    }
}

#[test]
fn a_scope_that_the_token_has_not_is_said() {
    let text = r#"
        @id("write") @scope("files:write other") permit (principal, action, resource == Tool::"files/write");
        @id("admin") @scope("a b c") permit (principal, action, resource == Tool::"files/write");
        @id("read") @scope("files:read") permit (principal, action, resource == Tool::"files/read");
        @id("ann") permit (principal in User::"corp/ann", action, resource == Tool::"files/read");
    "#;
    let policies = compile(&[document("doc", text)]);
    check(
        &policies,
        &[
            ("default x *files:write *other", "call default all files/write", "allowed by doc/write"),
            ("default x *files:write", "call default all files/write", "missing_scopes by doc/write"),
            ("default x *a *b", "call default all files/write", "missing_scopes by doc/admin"),
            ("default x", "call default all files/read", "missing_scopes by doc/read"),
            ("default x corp/ann", "call default all files/read", "allowed by doc/ann"),
            ("default x", "call default all files/stat", "no_permit"),
        ],
    );
    let verdict = decide(&policies, "default x *other", "call default all files/write", None).verdict;
    let scopes = ["files:write", "other"].map(str::to_owned).into();
    assert_eq!(verdict, Verdict::Deny(Denial::MissingScopes(scopes)));
    assert_eq!(may(&policies, "default x", "call default all files/write"), "missing_scopes");
}

#[test]
fn documents_of_a_tenant_are_about_its_callers_only() {
    let of = |of: &str, name: &str, text: &str| Document { tenant: tenant(of), ..document(name, text) };
    let policies = compile(&[
        of(
            "acme",
            "acme",
            r#"permit (principal in Group::"eng", action, resource); forbid (principal in Agent::"bad", action, resource);"#,
        ),
        of("globex", "globex", "permit (principal, action, resource);"),
        of(
            "default",
            "own",
            r#"permit (principal in Group::"admins", action, resource); permit (principal in Agent::"acme::ops", action, resource);"#,
        ),
        of("default", "all", r#"forbid (principal, action == Action::"mcp:call", resource in ToolServer::"off");"#),
    ]);
    check(
        &policies,
        &[
            ("acme x +eng", "list acme all", "allowed by acme/policy1"),
            ("acme x +eng", "list default all", "allowed by acme/policy1"),
            ("acme x +eng", "list globex all", "other_tenant"),
            ("acme x", "list acme all", "no_permit"),
            ("acme bad +eng", "list acme all", "forbidden by acme/policy2"),
            ("globex bad", "list globex all", "allowed by globex/policy1"),
            ("globex bad", "list default all", "allowed by globex/policy1"),
            ("globex bad", "list acme all", "other_tenant"),
            ("globex bad", "call globex all off/x", "forbidden by all/policy1"),
            ("default x +eng", "list default all", "no_permit"),
            ("default x +admins", "list default all", "allowed by own/policy1"),
            ("default x +admins", "list acme all", "other_tenant"),
            // A tenant's group that is called like the operator's is another group.
            ("acme x +admins", "list default all", "no_permit"),
            ("acme ops", "list acme all", "allowed by own/policy2"),
            ("default ops", "list default all", "no_permit"),
            ("default x +acme::ops", "list default all", "no_permit"),
        ],
    );
}

#[test]
fn a_document_on_trial_decides_nothing_and_is_told_of() {
    let trial = |name: &str, text: &str| Document { mode: Mode::DryRun, ..document(name, text) };
    let policies = compile(&[
        document("doc", r#"permit (principal in Group::"eng", action, resource);"#),
        trial(
            "trial",
            r#"@id("f") forbid (principal, action, resource == Tool::"a/b"); @id("p") permit (principal, action, resource);"#,
        ),
        Document {
            arguments: [("n".to_owned(), ArgumentType::Integer)].into(),
            ..trial(
                "args",
                r#"forbid (principal, action == Action::"mcp:call", resource == Tool::"a/c") when { context.arguments has n };"#,
            )
        },
    ]);
    check(
        &policies,
        &[
            ("default x +eng", "call default all a/b", "allowed by doc/policy1 but trial/f"),
            ("default x +eng", "call default all a/x", "allowed by doc/policy1"),
            ("default x", "call default all a/b", "no_permit"),
        ],
    );
    let of = |arguments| says(&policies, "default x +eng", "call default all a/c", Some(arguments));
    assert_eq!(of("{}"), "allowed by doc/policy1");
    assert_eq!(of(r#"{"n":1}"#), "allowed by doc/policy1 but args/policy1");
    assert_eq!(of(r#"{"n":"1"}"#), "allowed by doc/policy1 but args/policy1");
}

#[test]
fn what_an_action_is_not_done_to_is_denied() {
    let policies = compile(&[document("doc", "permit (principal, action, resource);")]);
    let asked = common::asked("call default all a/b");
    let toolset = quorate_policy::Resource { item: quorate_policy::Item::Toolset, ..asked.resource() };
    let question = quorate_policy::Question { resource: toolset, ..asked.question(None) };

    let decision = policies.decide(&policies.subject(&caller("default x")), &question);

    assert_eq!(said(&decision), "no_permit");
}

#[test]
fn a_subject_of_another_set_is_prepared_anew() {
    let groups = [group("default", "eng", &[], &["bot"])];
    let text = r#"permit (principal in Group::"eng", action, resource);"#;
    let old = compile(&[document("doc", text)]);
    let new = Policies::compile(&[document("doc", text)], &groups).expect("compiles");
    let asked = common::asked("list default all");

    let subject = old.subject(&caller("default bot"));

    assert_eq!(said(&old.decide(&subject, &asked.question(None))), "no_permit");
    assert_eq!(said(&new.decide(&subject, &asked.question(None))), "allowed by doc/policy1");
    drop(old);
    assert_eq!(said(&new.decide(&subject, &asked.question(None))), "allowed by doc/policy1");
    assert_eq!(said(&Policies::deny_all().decide(&subject, &asked.question(None))), "no_permit");
}

#[test]
fn arguments_of_the_same_name_may_have_other_types_in_other_documents() {
    let forbid = r#"forbid (principal, action == Action::"mcp:call", resource)"#;
    let text = format!(r#"{forbid} when {{ context.arguments has a && context.arguments.a == "x" }};"#);
    let list = format!(r#"{forbid} when {{ context.arguments has a && context.arguments.a.contains("x") }};"#);
    let policies = compile(&[
        reading("text", &[("a", ArgumentType::String)], &text.replace("resource)", "resource == Tool::\"s/t\")")),
        reading("list", &[("a", ArgumentType::Strings)], &list.replace("resource)", "resource == Tool::\"s/l\")")),
        document("permit", "permit (principal, action, resource);"),
    ]);
    let of = |tool, arguments| says(&policies, "default x", &format!("call default all s/{tool}"), Some(arguments));

    assert_eq!(of("t", r#"{"a":"x"}"#), "forbidden by text/policy1");
    assert_eq!(of("t", r#"{"a":["x"]}"#), "unevaluable by text/policy1");
    assert_eq!(of("l", r#"{"a":["y","x"]}"#), "forbidden by list/policy1");
    assert_eq!(of("l", r#"{"a":["y"]}"#), "allowed by permit/policy1");
}

#[test]
fn debug_output_is_short_and_has_no_policies() {
    let policies = compile(&[document("doc", "permit (principal, action, resource);")]);
    assert_eq!(format!("{policies:?}"), "Policies { policies: 1, allow_all: false }");
    assert_eq!(lines(&Denial::REASONS).lines().count(), 6);
}
