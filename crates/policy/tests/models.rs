//! Decisions about models: who may have which answer, and what of the request decides.
//!
//! Scopes are as of everything else; what is only here is `context.request`, and that lists have the models that may be asked somehow.

mod common;

use common::{caller, compile, document, tenant};
use quorate_policy::{Action, Item, ModelRequest, Policies, Question, Resource};
use quorate_types::{TenantId, Timestamp};

/// 2026-11-28T16:00:00Z, a Saturday.
const NOW: Timestamp = Timestamp::from_millis(1_795_881_600_000);

fn plain() -> ModelRequest<'static> {
    ModelRequest {
        api: "chat",
        bytes: 1_000,
        output_tokens_max: None,
        streamed: false,
        tools: false,
        images: false,
        audio: false,
        documents: false,
        now: NOW,
    }
}

fn model<'a>(tenant: &'a TenantId, name: &'a str, asked: &'a str) -> Resource<'a> {
    Resource { tenant, toolset: "", item: Item::Model { name, asked } }
}

fn invoke(policies: &Policies, request: ModelRequest<'_>) -> &'static str {
    let of = tenant("default");
    let resource = model(&of, "fast", "gpt-5");
    let question = Question { action: Action::Invoke, resource, arguments: None, request: Some(request) };
    policies.decide(&policies.subject(&caller("default a")), &question).verdict.reason()
}

fn lists(policies: &Policies, who: &str, name: &str) -> bool {
    let of = tenant("default");
    policies.may(&policies.subject(&caller(who)), Action::Invoke, model(&of, name, name)).is_allowed()
}

#[test]
fn a_policy_decides_by_who_asks_for_which_model_and_by_which_name() {
    let policies = compile(&[document(
        "models",
        r#"permit (principal in Agent::"a", action == Action::"llm:invoke", resource == Model::"fast");
           permit (principal, action in Action::"llm", resource) when { resource.asked like "free-*" };
           forbid (principal, action, resource is Model) when { resource.name == "secret" };"#,
    )]);

    assert!(lists(&policies, "default a", "fast") && !lists(&policies, "default b", "fast"));
    assert!(lists(&policies, "default b", "free-for-all") && !lists(&policies, "default a", "secret"));
    assert!(!lists(&policies, "default a", "slow"));
    assert_eq!(invoke(&policies, plain()), "allowed");
}

#[test]
fn each_fact_of_a_request_decides() {
    let with = |change: fn(&mut ModelRequest<'static>)| {
        let mut request = plain();
        change(&mut request);
        request
    };
    let cases: [(&str, ModelRequest<'_>, ModelRequest<'_>); 10] = [
        ("request.api == \"chat\"", plain(), with(|one| one.api = "embeddings")),
        ("request.bytes <= 1000", plain(), with(|one| one.bytes = 1_001)),
        (
            "request has outputTokensMax && context.request.outputTokensMax < 9",
            with(|one| one.output_tokens_max = Some(8)),
            plain(),
        ),
        ("request.streamed", with(|one| one.streamed = true), plain()),
        ("request.tools == false", plain(), with(|one| one.tools = true)),
        ("request.images == false", plain(), with(|one| one.images = true)),
        ("request.audio == false", plain(), with(|one| one.audio = true)),
        ("request.documents == false", plain(), with(|one| one.documents = true)),
        (
            "request.now < datetime(\"2026-11-28T16:00:01Z\")",
            plain(),
            with(|one| one.now = Timestamp::from_millis(1_795_881_601_000)),
        ),
        (
            "request.now.toTime() < duration(\"16h1s\")",
            plain(),
            with(|one| one.now = Timestamp::from_millis(1_795_881_602_000)),
        ),
    ];
    for (condition, yes, no) in cases {
        let text =
            format!("permit (principal, action == Action::\"llm:invoke\", resource) when {{ context.{condition} }};");
        let policies = compile(&[document("models", &text)]);
        assert_eq!((invoke(&policies, yes), invoke(&policies, no)), ("allowed", "no_permit"), "{condition}");
        assert!(lists(&policies, "default a", "fast"), "it may be asked somehow: {condition}");
    }
}

#[test]
fn policies_of_one_set_read_each_its_own_facts_of_a_request_and_the_resource() {
    let policies = compile(&[document(
        "models",
        r#"permit (principal, action, resource is Model) when { context.request.bytes < 2000 && resource.asked == "gpt-5" };
           forbid (principal, action == Action::"llm:invoke", resource) when { context.request.tools };
           forbid (principal, action in Action::"llm", resource) when { context.request.now < datetime("2026-11-28T16:00:00Z") };
           forbid (principal, action == Action::"llm:invoke", resource) unless { context.request == context.request };"#,
    )]);

    assert_eq!(invoke(&policies, plain()), "allowed");
    assert_eq!(invoke(&policies, ModelRequest { bytes: 2_000, ..plain() }), "no_permit");
    assert_eq!(invoke(&policies, ModelRequest { tools: true, ..plain() }), "forbidden");
    let earlier = Timestamp::from_millis(NOW.as_millis() - 1);
    assert_eq!(invoke(&policies, ModelRequest { now: earlier, ..plain() }), "forbidden");
}

#[test]
fn a_model_that_no_request_may_have_is_not_listed() {
    let policies = compile(&[document(
        "models",
        r#"permit (principal, action, resource);
           forbid (principal, action == Action::"llm:invoke", resource) unless { context.request.bytes < 10 && principal has user };"#,
    )]);

    assert!(!lists(&policies, "default a", "fast") && lists(&policies, "default a corp/u", "fast"));
}

#[test]
fn a_decision_that_read_the_request_is_not_kept() {
    let policies = compile(&[document(
        "models",
        r#"permit (principal, action, resource) when { principal has agent };
           forbid (principal, action == Action::"llm:invoke", resource == Model::"big") when { context.request.images };"#,
    )]);
    let of = tenant("default");
    let decide = |name| {
        let resource = model(&of, name, name);
        let question = Question { action: Action::Invoke, resource, arguments: None, request: Some(plain()) };
        policies.decide(&policies.subject(&caller("default a")), &question)
    };

    assert!(decide("fast").cacheable && decide("fast").verdict.is_allowed());
    assert!(!decide("big").cacheable && decide("big").verdict.is_allowed());
}

#[test]
fn of_a_model_nothing_is_told_that_belongs_to_tools() {
    let text = r#"permit (principal, action == Action::"llm:invoke", resource) when { resource.toolset == "x" };"#;
    let problems = Policies::compile(&[document("models", text)], &[]).expect_err("it is refused");

    assert!(common::lines(&problems).contains("toolset"), "{}", common::lines(&problems));
}
