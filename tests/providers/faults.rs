//! Providers that fail, answer nonsense, or not at all: an error of the client's shape, and nothing of the provider's own.

use anyhow::{Context as _, ensure};
use quorate_tests::raw::gateway::Gateway;
use serde_json::json;

use crate::ground::{Provider, SHAPES, Shape, gateway, model, post};

/// A gateway whose models, by any name, are answered by one provider, without a second try.
fn strict(provider: &Provider, shape: Shape) -> anyhow::Result<Gateway> {
    let (preset, api) = shape.provider();
    let limits =
        json!({ "answer": "1MiB", "event": "1MiB", "firstToken": "700ms", "betweenTokens": "700ms", "total": "1s" });
    let breaker = json!({ "failures": 1000 });
    let spec =
        json!({ "names": ["*"], "targets": [{ "provider": "p" }], "breaker": breaker, "limits": { "retries": 0 } });
    gateway(&[provider.document("p", preset, &json!({ "apis": [api], "limits": limits })), model("any", &spec)])
}

/// What a provider does, and the status that its client gets.
const WHOLE: [(&str, u16); 15] = [
    ("mock,status=500", 502),
    ("mock,status=503", 503),
    ("mock,status=529", 503),
    ("mock,status=401", 502),
    ("mock,status=403", 502),
    ("mock,status=400", 400),
    ("mock,status=404", 404),
    ("mock,status=429", 429),
    ("mock,html", 502),
    ("mock,error-html,status=502", 502),
    ("mock,wrong-json", 502),
    ("mock,wrong-shape", 502),
    ("mock,not-utf8", 502),
    ("mock,cut-head", 502),
    ("mock,head=30s", 504),
];

#[test]
fn a_provider_that_fails_is_an_error_in_the_clients_shape() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    for of in SHAPES {
        let gateway = strict(&provider, of)?;
        for client in SHAPES {
            for (name, status) in WHOLE {
                for is_streamed in [false, true] {
                    // What nobody has words for may mean something to the client of a stream, who gets it as it is.
                    if is_streamed && name == "mock,wrong-shape" {
                        continue;
                    }
                    let (path, body) = client.request(name, "hi", is_streamed);
                    let what = format!("{name} of {of:?} for {client:?}, streamed {is_streamed}");
                    let answer = post(&gateway, &path, &body).with_context(|| what.clone())?;
                    let (found, text) = (answer.status, answer.text()?);
                    ensure!(found == status, "{what}: {found} {text}");
                    let told = client.error(&serde_json::from_str(&text).with_context(|| text.clone())?);
                    told.with_context(|| format!("{what}: {text}"))?;
                    let is_clean = !text.contains("127.0.0.1") && !text.contains("a-key-of") && !text.contains("<html");
                    ensure!(is_clean, "{what} tells what is the provider's: {text}");
                }
            }
            let (path, body) = client.request("mock", "still there", false);
            ensure!(post(&gateway, &path, &body)?.status == 200, "{of:?} does not answer {client:?} any more");
        }
    }
    Ok(())
}

#[test]
fn an_answer_that_is_too_large_is_not_read() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = strict(&provider, Shape::Chat)?;

    let (path, body) = Shape::Chat.request("mock,big-answer=3000000", "hi", false);
    let answer = post(&gateway, &path, &body)?;

    assert_eq!(answer.status, 502);
    assert!(answer.text()?.contains("1048576"));
    let (path, body) = Shape::Chat.request("mock,big-event=3000000", "hi", true);
    let answer = post(&gateway, &path, &body)?;
    let is_error = answer.status == 502 || Shape::Chat.read(answer)?.error.is_some();
    assert!(is_error, "an event that is too large is an error");
    Ok(())
}

#[test]
fn a_provider_that_is_not_there_is_unavailable() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = strict(&provider, Shape::Chat)?;
    drop(provider);

    for client in SHAPES {
        let (path, body) = client.request("mock", "hi", false);
        let answer = post(&gateway, &path, &body)?;
        assert_eq!(answer.status, 503, "{client:?}");
        client.error(&answer.message()?).context("it is an error of the shape")?;
    }
    Ok(())
}
