//! Answers that are kept.

use quorate_tests::raw::{client::Answer, gateway::Gateway};
use serde_json::{Value, json};

use crate::ground::{Provider, SHAPES, Shape, gateway, model, post, post_with, text};

fn keeping(provider: &Provider) -> anyhow::Result<Gateway> {
    let spec = json!({ "names": ["*"], "targets": [{ "provider": "p" }], "cache": { "ttl": "1h" } });
    gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &spec)])
}

fn cache(answer: &Answer) -> Option<String> {
    answer.header("quorate-cache").map(str::to_owned)
}

fn with(gateway: &Gateway, header: &str, body: &Value) -> anyhow::Result<Answer> {
    post_with(gateway, "/v1/chat/completions", &[("cache-control", header)], body.to_string().as_bytes())
}

#[test]
fn the_same_request_is_answered_once_by_its_provider() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = keeping(&provider)?;
    for shape in SHAPES {
        for is_streamed in [false, true] {
            let name = format!("mock,text={shape:?}{is_streamed}");
            let (path, body) = shape.request(&name, "hi", is_streamed);
            let first = post(&gateway, &path, &body)?;
            assert_eq!(cache(&first).as_deref(), Some("miss"), "{shape:?} {is_streamed}");
            let first = first.text()?;
            // Spaces are no difference.
            let spaced = serde_json::to_string_pretty(&body)?;
            let again = post_with(&gateway, &path, &[], spaced.as_bytes())?;
            assert_eq!(cache(&again).as_deref(), Some("hit"), "{shape:?} {is_streamed}");
            assert!(again.header("age").is_some());
            assert_eq!(again.text()?, first, "{shape:?} {is_streamed}");
            assert_eq!(provider.requests(&name)?, 1);
        }
    }
    gateway.metric_until("quorate_model_cache", "hit", |hits| (hits - 8.0).abs() < 0.1)?;
    Ok(())
}

#[test]
fn a_client_may_ask_anew_or_keep_out_of_it() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = keeping(&provider)?;
    let (path, body) = Shape::Chat.request("mock", "hi", false);

    assert_eq!(cache(&with(&gateway, "no-store", &body)?), None);
    assert_eq!(cache(&post(&gateway, &path, &body)?).as_deref(), Some("miss"), "it was not kept");
    assert_eq!(cache(&with(&gateway, "no-cache", &body)?).as_deref(), Some("miss"));
    assert_eq!(cache(&with(&gateway, "max-age=3600", &body)?).as_deref(), Some("hit"));
    assert_eq!(provider.requests("mock")?, 3);
    Ok(())
}

#[test]
fn what_failed_or_was_cut_is_not_kept() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = keeping(&provider)?;
    for (name, is_streamed) in [("mock,stop=length", false), ("mock,cut=2", true), ("mock,stop=filter", false)] {
        let (path, body) = Shape::Chat.request(name, "one two three four", is_streamed);
        for _ in 0..2 {
            let answer = post(&gateway, &path, &body)?;
            assert_eq!(cache(&answer).as_deref(), Some("miss"), "{name}");
            let _all = answer.text();
        }
        assert_eq!(provider.requests(name)?, 2, "{name}");
    }
    Ok(())
}

#[test]
fn another_request_is_another_answer() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = keeping(&provider)?;
    let (path, body) = Shape::Chat.request("mock", "hi", false);
    post(&gateway, &path, &body)?;

    for (key, value) in [("temperature", json!(0.5)), ("seed", json!(1)), ("stream", json!(true)), ("user", json!("u"))]
    {
        let mut other = body.clone();
        other[key] = value;
        assert_eq!(cache(&post(&gateway, &path, &other)?).as_deref(), Some("miss"), "{key}");
    }
    Ok(())
}

/// Two teams that different policies let ask the same do not get each other's answers.
#[test]
fn answers_are_kept_for_those_whom_the_same_policy_allows() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let policy = r#"
        @id("short") permit (principal, action == Action::"llm:invoke", resource) when { context.request.bytes < 200 };
        @id("long") permit (principal, action == Action::"llm:invoke", resource) when { context.request.bytes >= 200 };
    "#;
    let documents = [
        provider.document("p", "openai-compatible", &json!({})),
        model("m", &json!({ "targets": [{ "provider": "p", "model": "mock" }], "cache": { "ttl": "1h" } })),
        json!({ "kind": "Policy", "name": "models", "spec": { "cedar": policy } }),
    ];
    let gateway = Gateway::start(&text(&documents), &["--development-identity"])?;
    let (path, body) = Shape::Chat.request("m", "hi", false);
    let short = body.to_string();
    let long = short.replacen('{', &format!("{{{}", " ".repeat(200)), 1);

    let said = [&short, &short, &long, &long, &short]
        .map(|body| post_with(&gateway, &path, &[], body.as_bytes()).map(|answer| cache(&answer).unwrap_or_default()));
    let said: Vec<String> = said.into_iter().collect::<anyhow::Result<_>>()?;
    assert_eq!(said, ["miss", "hit", "miss", "hit", "hit"]);
    assert_eq!(provider.requests("mock")?, 2);
    Ok(())
}

/// What a provider was not told is as true of an answer that is given again.
#[test]
fn an_answer_that_is_kept_says_what_its_provider_was_not_told() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let spec = json!({ "names": ["*"], "targets": [{ "provider": "p" }], "cache": { "ttl": "1h" } });
    let gateway = gateway(&[provider.document("p", "anthropic", &json!({})), model("m", &spec)])?;
    for is_streamed in [false, true] {
        let (path, mut body) = Shape::Chat.request("mock", "hi", is_streamed);
        body["seed"] = json!(7);
        for expected in ["miss", "hit"] {
            let answer = post(&gateway, &path, &body)?;
            assert_eq!(cache(&answer).as_deref(), Some(expected));
            assert_eq!(answer.header("quorate-left-out"), Some("seed"), "{expected} {is_streamed}");
            answer.text()?;
        }
    }
    Ok(())
}
