//! Tokens that nobody but the gateway counts: of providers that tell none, and of calls that end before theirs would.

use anyhow::Context as _;
use quorate_tests::raw::gateway::Gateway;
use serde_json::json;

use crate::ground::{Provider, SHAPES, Shape, gateway, model, post, recorded};

/// A gateway whose models cost a dollar per million tokens of either kind, by one API.
fn of(provider: &Provider, shape: Shape) -> anyhow::Result<Gateway> {
    let (preset, api) = shape.provider();
    let own = json!({ "apis": [api] });
    let target = json!({ "provider": "p", "price": { "input": 1, "output": 1 } });
    gateway(&[provider.document("p", preset, &own), model("any", &json!({ "names": ["mock*"], "targets": [target] }))])
}

/// The value of a field in the line of a call that has all of this.
fn field(gateway: &mut Gateway, parts: &[&str], field: &str) -> anyhow::Result<u64> {
    let line = recorded(gateway, parts)?;
    let (_, value) = line.split_once(&format!(" {field}=")).with_context(|| format!("no {field}: {line}"))?;
    Ok(value.split(' ').next().unwrap_or_default().parse()?)
}

#[test]
fn tokens_that_a_provider_does_not_tell_are_counted() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for behind in SHAPES {
        let mut gateway = of(&provider, behind)?;
        for (number, client) in SHAPES.into_iter().enumerate() {
            for is_streamed in [false, true] {
                let name = format!("mock,usage=none,text=tiktoken-is-great,chunks={}", number + 1);
                let (path, body) = client.request(&name, "hello", is_streamed);
                let answer = post(&gateway, &path, &body)?;
                assert_eq!(answer.status, 200, "{client:?} by {behind:?}");
                answer.text()?;

                let streamed = format!("streamed={is_streamed}");
                let parts = [&*streamed, &format!("asked={name:?}"), "counted_by=gateway"];
                // "hello", what is around it, and where the shape has them what the client adds.
                let input = field(&mut gateway, &parts, "input_tokens")?;
                assert!((8..=40).contains(&input), "{input} of {client:?} by {behind:?}, {streamed}");
            }
        }
        let calls = (2 * SHAPES.len()) as f64;
        gateway.metric_until("quorate_model_counted_total", "\"any\"", |count| (count - calls).abs() < 0.1)?;
        gateway.metric_until("quorate_model_cost_total", "\"any\"", |cost| cost > 8e-6)?;
    }
    Ok(())
}

#[test]
fn what_was_said_before_a_client_left_is_counted() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for behind in [Shape::Chat, Shape::Messages] {
        let mut gateway = of(&provider, behind)?;
        let (path, body) = Shape::Chat.request("mock,endless,gap=5ms", "hello", true);
        let mut answer = post(&gateway, &path, &body)?;
        for _ in 0..20 {
            answer.next_event()?;
        }
        drop(answer);

        let output = field(&mut gateway, &["result=abandoned", "counted_by=gateway"], "output_tokens")?;
        assert!((10..=10_000).contains(&output), "{output} tokens by {behind:?}");
    }
    Ok(())
}

#[test]
fn what_was_said_before_a_provider_broke_is_counted() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let mut gateway = of(&provider, Shape::Chat)?;
    let (path, body) = Shape::Chat.request("mock,chunks=40,cut=30", "hello", true);

    let _broken = post(&gateway, &path, &body)?.text();

    let output = field(&mut gateway, &["result=provider", "counted_by=gateway"], "output_tokens")?;
    assert!((1..=100).contains(&output), "{output}");
    Ok(())
}

#[test]
fn a_provider_that_tells_its_tokens_is_believed() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let mut gateway = of(&provider, Shape::Chat)?;
    let (path, body) = Shape::Chat.request("mock,usage=1000/100", "hello", true);

    post(&gateway, &path, &body)?.text()?;

    assert_eq!(field(&mut gateway, &["counted_by=provider"], "output_tokens")?, 100);
    Ok(())
}

#[test]
fn tokens_are_counted_for_clients_whose_models_provider_does_not() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for behind in [Shape::Chat, Shape::Responses, Shape::Generate] {
        let gateway = of(&provider, behind)?;
        let talk = json!({
            "model": "mock", "system": "Be brief.", "messages": [{ "role": "user", "content": "hello" }],
            "tools": [{ "name": "weather", "description": "Tells it.", "input_schema": { "type": "object" } }],
        });

        let answer = post(&gateway, "/v1/messages/count_tokens", &talk)?;

        assert_eq!((answer.status, answer.header("quorate-counted-by")), (200, Some("gateway")));
        let counted = answer.message()?;
        assert!(counted["input_tokens"].as_u64().is_some_and(|tokens| (20..=40).contains(&tokens)), "{counted}");
        assert_eq!(provider.ledger()?["requests"].as_u64().unwrap_or(0), 0, "nobody was asked");
    }
    Ok(())
}

#[test]
fn a_count_of_what_nobody_can_read_is_refused_in_its_shape() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = of(&provider, Shape::Chat)?;

    let refused =
        post(&gateway, "/v1/messages/count_tokens", &json!({ "model": "mock", "messages": [{ "role": "cat" }] }))?;

    assert_eq!(refused.status, 400);
    let refused = refused.message()?;
    assert_eq!(refused["error"]["type"], "invalid_request_error", "{refused}");
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("`content`")), "{refused}");
    Ok(())
}

#[test]
fn what_is_embedded_is_counted_where_its_provider_does_not() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let any = model("any", &json!({ "names": ["mock*"], "targets": [{ "provider": "p" }] }));
    let mut gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), any])?;
    let body = json!({ "model": "mock,usage=none", "input": ["tiktoken is great!", "hello"] });

    let answer = post(&gateway, "/v1/embeddings", &body)?;
    assert_eq!(answer.status, 200);
    answer.text()?;

    let parts = ["api=embeddings", "counted_by=gateway"];
    assert_eq!(field(&mut gateway, &parts, "input_tokens")?, 7);
    assert_eq!(field(&mut gateway, &parts, "output_tokens")?, 0);
    Ok(())
}
