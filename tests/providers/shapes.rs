//! Clients of each shape, and providers of each API.

use anyhow::{Context as _, ensure};
use quorate_tests::raw::client;
use serde_json::{Value, json};

use crate::ground::{Provider, SHAPES, Shape, gateway, model, plain, post, post_with};

/// A gateway with a model for each API of providers, by its name.
fn of_each(provider: &Provider) -> anyhow::Result<quorate_tests::raw::gateway::Gateway> {
    let mut documents = Vec::new();
    for shape in SHAPES {
        let (preset, api) = shape.provider();
        documents.push(provider.document(api, preset, &json!({ "apis": [api] })));
        let targets = json!([{ "provider": api, "model": "mock" }]);
        documents.push(model(api, &json!({ "targets": targets })));
    }
    gateway(&documents)
}

#[test]
fn each_client_gets_the_answer_of_each_provider_whole_and_in_pieces() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = of_each(&provider)?;

    for client in SHAPES {
        for of in SHAPES {
            let (_, api) = of.provider();
            let (path, body) = client.request(api, "good morning", false);
            let answer = post(&gateway, &path, &body)?;
            let (status, text) = (answer.status, answer.text()?);
            ensure!(status == 200, "{client:?} of {api}: {status} {text}");
            let answer: Value = serde_json::from_str(&text)?;
            let text = client.text(&answer).with_context(|| format!("{client:?} of {api}: {answer}"))?;
            assert_eq!(text, "echo: good morning", "{client:?} of {api}");

            let (path, body) = client.request(api, "good morning", true);
            let said = client.read(post(&gateway, &path, &body)?)?;
            assert_eq!(said.text, "echo: good morning", "{client:?} of {api}: {}", said.raw);
            assert!(said.is_whole && said.error.is_none(), "{client:?} of {api}: {}", said.raw);
        }
    }
    Ok(())
}

#[test]
fn what_stays_in_its_shape_keeps_its_bytes() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = plain(&provider, &json!({}))?;
    let body = "{ \"model\":\"mock\",  \"x_own\":1.50,\n \"messages\":[{\"role\":\"user\",\"content\":\"\\u0068i\"}] }";

    let answer = post_with(&gateway, "/v1/chat/completions", &[], body.as_bytes())?.text()?;

    let seen = provider.ledger()?;
    assert_eq!(seen["models"]["mock"]["last"]["body"], body, "{seen:#}");
    let direct = client::send(
        provider.address,
        "POST",
        "/v1/chat/completions",
        &[("content-type", "application/json")],
        body.as_bytes(),
    )?;
    let known = |text: &str| -> anyhow::Result<Value> {
        let mut answer: Value = serde_json::from_str(text)?;
        (answer["id"], answer["created"]) = (Value::Null, Value::Null);
        Ok(answer)
    };
    assert_eq!(known(&answer)?, known(&direct.text()?)?);
    Ok(())
}

#[test]
fn what_a_stream_costs_is_hidden_from_whoever_did_not_ask() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = plain(&provider, &json!({}))?;
    let (path, mut body) = Shape::Chat.request("mock,usage=11/7", "hi", true);

    let hidden = Shape::Chat.read(post(&gateway, &path, &body)?)?;
    body["stream_options"] = json!({ "include_usage": true });
    let told = Shape::Chat.read(post(&gateway, &path, &body)?)?;

    assert!(!hidden.raw.contains("prompt_tokens") && hidden.is_whole, "{}", hidden.raw);
    assert!(told.raw.contains("\"prompt_tokens\":11") && told.is_whole, "{}", told.raw);
    gateway.metric_until("gen_ai_client_token_usage_sum", "\"input\"", |tokens| (tokens - 22.0).abs() < 0.1)?;
    gateway.metric_until("gen_ai_client_token_usage_sum", "\"output\"", |tokens| (tokens - 14.0).abs() < 0.1)?;
    Ok(())
}

#[test]
fn embeddings_and_counts_of_tokens_are_passed_to_providers_that_have_them() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = gateway(&[
        provider.document("own", "vllm", &json!({})),
        provider.document("claude", "anthropic", &json!({})),
        model("vectors", &json!({ "targets": [{ "provider": "own", "model": "mock" }] })),
        model("talks", &json!({ "targets": [{ "provider": "claude", "model": "mock" }] })),
    ])?;

    let vectors = post(&gateway, "/v1/embeddings", &json!({ "model": "vectors", "input": ["a", "b"] }))?.message()?;
    assert_eq!(vectors["data"].as_array().map(Vec::len), Some(2), "{vectors}");
    let (_, talk) = Shape::Messages.request("talks", "hello there", false);
    let counted = post(&gateway, "/v1/messages/count_tokens", &talk)?.message()?;
    assert!(counted["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{counted}");

    // Nobody makes embeddings of what has none.
    let refused = post(&gateway, "/v1/embeddings", &json!({ "model": "talks", "input": "a" }))?;
    assert_eq!(refused.status, 404);
    Ok(())
}

#[test]
fn what_a_provider_cannot_be_told_is_named() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = of_each(&provider)?;
    let (path, mut body) = Shape::Chat.request("messages", "hi", false);
    body["seed"] = json!(7);

    let answer = post(&gateway, &path, &body)?;

    assert_eq!(answer.header("quorate-left-out"), Some("seed"));
    assert_eq!(answer.status, 200);
    Ok(())
}
