//! What is told of calls over OTLP: spans by the conventions for generative AI, and the records of the log.

use std::collections::BTreeMap;

use quorate_tests::raw::gateway::{Gateway, OPEN};
use serde_json::json;

use crate::{
    collector::Collector,
    ground::{Provider, SHAPES, Shape, model, post, text},
};

/// A gateway that tells a collector of every request; its model is asked of a provider that is full, then of one that answers.
fn observed(collector: &Collector, provider: &Provider) -> anyhow::Result<Gateway> {
    let price = json!({ "input": 1, "output": 10 });
    let targets = json!([
        { "provider": "full", "model": "mock,status=429" },
        { "provider": "p", "priority": 1, "price": price },
    ]);
    let documents = [
        provider.document("full", "openai-compatible", &json!({})),
        provider.document("p", "openai-compatible", &json!({})),
        model("any", &json!({ "names": ["mock*"], "targets": targets, "breaker": { "failures": 100 } })),
    ];
    let flags = [OPEN, &["--otlp-endpoint", &collector.endpoint, "--trace-ratio", "1"]].concat();
    Gateway::start(&text(&documents), &flags)
}

#[test]
fn the_span_of_a_call_says_what_came_of_it_and_nothing_of_what_was_said() -> anyhow::Result<()> {
    let (collector, provider) = (Collector::start()?, Provider::start(&[])?);
    let gateway = observed(&collector, &provider)?;
    for (number, shape) in SHAPES.into_iter().enumerate() {
        for is_streamed in [false, true] {
            let name = format!("mock,usage={}/100,text=a-secret-answer", 1_000 + 2 * number + usize::from(is_streamed));
            let (path, body) = shape.request(&name, "a-secret-question", is_streamed);
            let answer = post(&gateway, &path, &body)?;
            assert_eq!(answer.status, 200, "{name}");
            answer.text()?;

            let span = collector.span("gen_ai.request.model", &name)?;
            let said = |key: &str| span.attributes.get(key).map(String::as_str);
            let operation = if shape == Shape::Generate { "generate_content" } else { "chat" };
            assert_eq!(span.name, format!("{operation} any"));
            for (key, expected) in [
                ("gen_ai.operation.name", operation),
                ("gen_ai.provider.name", "p"),
                ("gen_ai.response.model", &name),
                ("gen_ai.response.finish_reasons", "stop"),
                ("gen_ai.usage.output_tokens", "100"),
                ("quorate.model", "any"),
                ("quorate.target.model", &name),
            ] {
                assert_eq!(said(key), Some(expected), "{key} of {shape:?} {is_streamed}: {span:?}");
            }
            assert!(said("gen_ai.response.id").is_some_and(|id| id.starts_with("chatcmpl-mock")), "{span:?}");
            // A target that is full rests for a while.
            let attempts = if number == 0 && !is_streamed { &["2"][..] } else { &["1", "2"] };
            assert!(said("quorate.attempts").is_some_and(|said| attempts.contains(&said)), "{span:?}");
            let input = said("gen_ai.usage.input_tokens").and_then(|count| count.parse::<f64>().ok());
            let cost = said("quorate.cost").and_then(|cost| cost.parse::<f64>().ok());
            assert_eq!(cost, input.map(|input| (input * 1_000.0 + 1_000_000.0) / 1e9), "{span:?}");
            assert!(!format!("{:?}", span.attributes).contains("a-secret-question"), "{span:?}");
            assert_eq!((said("mcp.method.name"), said("error.type")), (None, None));
        }
    }
    Ok(())
}

#[test]
fn the_span_of_a_call_that_fails_says_why() -> anyhow::Result<()> {
    let (collector, provider) = (Collector::start()?, Provider::start(&[])?);
    let gateway = observed(&collector, &provider)?;
    for (name, is_streamed, has_failed) in
        [("mock,status=500", false, true), ("mock,chunks=9,cut=3", true, true), ("mock,stop=length", false, false)]
    {
        let (path, body) = SHAPES[0].request(name, "hi", is_streamed);
        post(&gateway, &path, &body)?.text().ok();

        let span = collector.span("gen_ai.request.model", name)?;
        assert_eq!(span.attributes.contains_key("error.type"), has_failed, "{span:?}");
    }
    Ok(())
}

#[test]
fn the_record_of_a_call_has_what_its_line_in_the_log_has() -> anyhow::Result<()> {
    let (collector, provider) = (Collector::start()?, Provider::start(&[])?);
    let mut gateway = observed(&collector, &provider)?;
    for is_streamed in [false, true] {
        let name = format!("mock,usage=1{}/100", u8::from(is_streamed));
        let (path, body) = SHAPES[0].request(&name, "a-question", is_streamed);
        post(&gateway, &path, &body)?.text()?;

        let record = collector.record("asked", &name)?;
        let line = gateway.logged(&format!("asked=\"{name}\""))?;
        let (_, fields) = line.split_once("a model was called ").unwrap_or_default();
        assert_eq!(record.name, "quorate.model.call");
        // No value of such a line has a space.
        let written: BTreeMap<String, String> = fields
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        assert_eq!(record.attributes, written, "{line}");
        assert!(written.contains_key("cost_nanodollars") && written.contains_key("price"), "{line}");
    }
    Ok(())
}

/// What it cost is known, and recorded, later.
#[test]
fn the_span_of_a_call_whose_tokens_are_counted_ends_with_its_answer() -> anyhow::Result<()> {
    let (collector, provider) = (Collector::start()?, Provider::start(&[])?);
    for is_streamed in [false, true] {
        let gateway = observed(&collector, &provider)?;
        let name = format!("mock,usage=none,text={is_streamed}");
        let (path, body) = SHAPES[0].request(&name, "a-question", is_streamed);
        post(&gateway, &path, &body)?.text()?;

        let record = collector.record("asked", &name)?;
        let span = collector.span("gen_ai.request.model", &name)?;
        assert_eq!(record.attributes.get("counted_by").map(String::as_str), Some("gateway"));
        assert!(span.attributes.contains_key("quorate.cost"), "{span:?}");
        assert!(span.at < record.at, "the span ended at {:?}, the tokens were counted by {:?}", span.at, record.at);
    }
    Ok(())
}
