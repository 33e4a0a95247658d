//! Cases and explanations: what an operator reads who tests policies.
//!
//! The texts are compared whole: they are what the command line prints.

mod common;

use common::{caller, compile, document, lines, name, reading};
use quorate_policy::{Action, ArgumentType, Case, Expected, Policies, Question, Target, judge};
use quorate_types::TenantId;

fn policies() -> Policies {
    let text = r#"
        @id("eng") permit (principal in Group::"eng", action == Action::"mcp:call", resource in ToolServer::"git");
        @id("mine") permit (principal, action == Action::"mcp:call", resource == Tool::"git/log") when { principal has user };
        @scope("push") @id("push") permit (principal in Agent::"ci", action == Action::"mcp:call", resource == Tool::"git/push");
        @id("force") forbid (principal, action == Action::"mcp:call", resource == Tool::"git/push")
            when { context.arguments has force && context.arguments.force };
        permit (principal in Group::"eng", action == Action::"mcp:list", resource);
    "#;
    compile(&[reading("git", &[("force", ArgumentType::Boolean)], text), document("other", "")])
}

fn target(text: &str) -> Target {
    Target::parse(text, TenantId::default(), &name("all")).expect("a target")
}

fn case(name: &str, who: &str, tool: &str, arguments: Option<&str>, expected: &str) -> Case {
    Case {
        name: name.to_owned(),
        principal: caller(who),
        action: Action::Call,
        target: target(&format!("Tool::\"git/{tool}\"")),
        arguments: arguments.map(str::to_owned),
        expected: Expected::parse(expected).expect("an expectation"),
    }
}

#[test]
fn cases_pass_or_say_what_was_decided_and_why() {
    let cases = [
        case("engineers log", "default x +eng", "log", None, "allow"),
        case("strangers do not", "default x", "log", None, "deny"),
        case("no scope", "default ci", "push", None, "missing_scopes"),
        case("wrong label", "default ci", "push", None, "no_permit"),
        case("wrong", "default x", "log", None, "allow"),
        case("forced", "default ci +eng", "push", Some(r#"{"force":true}"#), "allow"),
        case("not a boolean", "default ci *push", "push", Some(r#"{"force":"yes"}"#), "allow"),
        case("nothing", "default x", "nothing", None, "allow"),
    ];

    let policies = policies();
    let judged = judge(&policies, &cases);

    let expected = "\
ok    engineers log
ok    strangers do not
ok    no scope
FAIL  wrong label: expected no_permit, decided missing_scopes by git/push
        forbid git/force: its condition is false
        permit git/push: applies to callers with the scopes that are missing: push  <- decides
FAIL  wrong: expected allowed, decided no_permit
        permit git/mine: its condition is false
FAIL  forced: expected allowed, decided forbidden by git/force
        forbid git/force: applies  <- decides
        permit git/eng: applies
        permit git/push: applies to callers with the scopes that are missing: push
FAIL  not a boolean: expected allowed, decided unevaluable by git/force
        forbid git/force: cannot be evaluated: argument \"force\" is no boolean  <- decides
        permit git/push: applies
FAIL  nothing: expected allowed, decided no_permit
        no policy has a scope that matches";
    assert_eq!(lines(&judged), expected);
    assert_eq!(judged.iter().filter(|judgement| judgement.passed()).count(), 3);
}

#[test]
fn an_explanation_says_of_each_policy_why_it_does_not_match() {
    let policies = policies();
    let target = target("Tool::\"git/log\"");
    let question = Question { action: Action::Call, resource: target.resource(), arguments: None, request: None };

    let explanation = policies.explain(&policies.subject(&caller("default x corp/ann")), &question);

    let expected = "\
forbid git/force: is about other resources
permit git/eng: is about other callers
permit git/push: is about other resources
permit git/policy5: is about other actions
permit git/mine: applies  <- decides";
    assert_eq!(lines(&explanation.considered), expected);

    let foreign = Target::parse("Toolset::\"t\"", common::tenant("acme"), &name("all")).expect("a target");
    let question = Question { action: Action::List, resource: foreign.resource(), arguments: None, request: None };
    let explanation = policies.explain(&policies.subject(&caller("default x")), &question);
    assert_eq!((explanation.decision.verdict.reason(), explanation.considered.len()), ("other_tenant", 0));
}

#[test]
fn targets_are_read_as_policies_write_them() {
    for text in
        ["Toolset::\"a\"", "ToolServer::\"a\"", "Tool::\"a/b\"", "Prompt::\"a/b/c\"", "Resource::\"a/file:///b\""]
    {
        let target = target(text);
        assert_eq!(format!("{}::\"{}\"", target.resource().kind().as_str(), target.resource().id()), text);
    }
    for text in [
        "",
        "Tool",
        "Tool::a/b",
        "Tool::\"a\"",
        "Tool::\"/b\"",
        "Tool::\"a/\"",
        "Toolset::\"A\"",
        "Agent::\"a\"",
        "Tool::\"",
    ] {
        let error = Target::parse(text, TenantId::default(), &name("all")).expect_err(text);
        assert!(error.to_string().contains("write "), "{error}");
    }
}

#[test]
fn expectations_are_allow_deny_or_a_reason() {
    assert_eq!(Expected::parse("allow"), Some(Expected::Allow));
    assert_eq!(Expected::parse("deny"), Some(Expected::Deny(None)));
    assert_eq!(Expected::parse("forbidden"), Some(Expected::Deny(Some("forbidden"))));
    assert_eq!(Expected::parse("allowed"), None);
}
