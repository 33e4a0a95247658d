//! Streams that break, stall, repeat themselves or never end, and clients that leave.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_tests::{raw::PATIENCE, raw::gateway::Gateway, wait};
use serde_json::json;

use crate::ground::{Provider, SHAPES, Shape, gateway, model, post, recorded};

/// A gateway whose models, by any name, are answered by one provider, with little patience.
fn impatient(provider: &Provider, shape: Shape) -> anyhow::Result<Gateway> {
    let (preset, api) = shape.provider();
    let limits = json!({ "firstToken": "2s", "betweenTokens": "500ms", "total": "3s" });
    let spec = json!({ "names": ["*"], "targets": [{ "provider": "p" }], "breaker": { "failures": 1000 } });
    gateway(&[provider.document("p", preset, &json!({ "apis": [api], "limits": limits })), model("any", &spec)])
}

#[test]
fn a_stream_that_breaks_is_an_error_event_and_never_a_clean_end() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for of in SHAPES {
        let gateway = impatient(&provider, of)?;
        for client in SHAPES {
            for fault in ["cut=2", "half-close=2", "stall=2", "error-event=2", "endless,gap=20ms"] {
                let (path, body) = client.request(&format!("mock,chunks=4,{fault}"), "one two three four", true);
                let said = client.read(post(&gateway, &path, &body)?)?;
                let what = format!("{fault} of {of:?} for {client:?}: {}", said.raw);
                ensure!(said.error.is_some() && !said.is_whole, "{what}");
                ensure!(!said.text.is_empty(), "nothing was said before: {what}");
                ensure!(!said.raw.contains("127.0.0.1"), "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn however_bytes_come_the_answer_is_the_same() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for of in SHAPES {
        let gateway = impatient(&provider, of)?;
        for client in SHAPES {
            for how in ["split", "comments", "event-crlf", "first=100ms,gap=10ms"] {
                let (path, body) = client.request(&format!("mock,{how}"), "one two three four", true);
                let said = client.read(post(&gateway, &path, &body)?)?;
                ensure!(
                    said.text == "echo: one two three four" && said.is_whole && said.error.is_none(),
                    "{how} of {of:?} for {client:?}: {}",
                    said.raw
                );
            }
        }
    }
    Ok(())
}

/// Some servers do not stream, or not for every request.
#[test]
fn a_stream_that_is_answered_whole_is_a_stream_for_its_client() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for of in SHAPES {
        let mut gateway = impatient(&provider, of)?;
        for client in SHAPES {
            let (path, body) = client.request("mock,whole,usage=11/7", "one two three four", true);
            let said = client.read(post(&gateway, &path, &body)?)?;
            let what = format!("{of:?} for {client:?}: {}", said.raw);
            ensure!(said.text == "echo: one two three four" && said.is_whole && said.error.is_none(), "{what}");
            recorded(&mut gateway, &["streamed=true", "result=ok", "input_tokens=11", "output_tokens=7"])?;

            let (path, body) = client.request("mock,whole,wrong-shape", "one two three four", true);
            let refused = post(&gateway, &path, &body)?;
            ensure!(refused.status == 502, "{of:?} for {client:?}: {}", refused.status);
            let text = refused.text()?;
            ensure!(client.error(&serde_json::from_str(&text)?).is_some(), "{of:?} for {client:?}: {text}");
        }
    }
    Ok(())
}

#[test]
fn events_that_are_doubled_or_out_of_order_end_in_an_answer_or_an_error() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for of in SHAPES {
        let gateway = impatient(&provider, of)?;
        for client in SHAPES {
            for how in ["repeat", "reorder", "no-done"] {
                let (path, body) = client.request(&format!("mock,{how}"), "one two three four", true);
                let mut answer = post(&gateway, &path, &body)?;
                if answer.status != 200 {
                    let text = answer.text()?;
                    ensure!(client.error(&serde_json::from_str(&text)?).is_some(), "{how} of {of:?}: {text}");
                    continue;
                }
                if !answer.is_events() {
                    anyhow::bail!("no stream: {:?}", answer.next_event());
                }
                let said = client.read(answer)?;
                ensure!(said.is_whole != said.error.is_some(), "{how} of {of:?} for {client:?}: {}", said.raw);
            }
        }
    }
    Ok(())
}

#[test]
fn the_first_piece_is_there_before_the_last_is_made() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = impatient(&provider, Shape::Messages)?;
    let (path, body) = Shape::Chat.request("mock,chunks=4,gap=400ms", "one two three four", true);

    let began = Instant::now();
    let mut answer = post(&gateway, &path, &body)?;
    while answer.next_event()?.is_some_and(|event| !event.data.contains("echo")) {}
    let first = began.elapsed();
    while answer.next_event()?.is_some() {}

    let all = began.elapsed();
    assert!(all - first >= Duration::from_millis(700), "the first came after {first:?}, the last after {all:?}");
    Ok(())
}

#[test]
fn a_client_that_leaves_gives_the_call_up_at_its_provider() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = impatient(&provider, Shape::Chat)?;
    let (path, body) = Shape::Chat.request("mock,endless,gap=20ms", "hi", true);

    let mut answer = post(&gateway, &path, &body)?;
    answer.next_event()?;
    drop(answer);

    wait::until("the stream that was given up", PATIENCE, || {
        let ledger = provider.ledger()?;
        ensure!(ledger["streams"]["abandoned"] == 1, "{}", ledger["streams"]);
        Ok(())
    })?;
    gateway.metric_until("gen_ai_server_request_duration_seconds_count", "\"abandoned\"", |count| count >= 1.0)?;
    Ok(())
}
