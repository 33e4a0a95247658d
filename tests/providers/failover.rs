//! Who is asked when somebody fails: another target, another key, the same again after a while.

use std::fs;

use anyhow::ensure;
use quorate_tests::{
    raw::{
        PATIENCE,
        gateway::{Gateway, OPEN},
    },
    wait,
};
use serde_json::{Value, json};

use crate::ground::{Provider, SHAPES, Shape, gateway, model, post, text};

/// A gateway whose model `m` has two targets: the first does what its model's name says, the second answers.
fn pair(first: &Provider, second: &Provider, does: &str, more: &Value) -> anyhow::Result<Gateway> {
    let limits = json!({ "firstToken": "1s", "betweenTokens": "1s" });
    let mut spec = json!({ "targets": [
        { "provider": "first", "model": does },
        { "provider": "second", "model": "mock", "priority": 1 },
    ] });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    gateway(&[
        first.document("first", "openai-compatible", &json!({ "limits": limits })),
        second.document("second", "anthropic", &json!({ "limits": limits })),
        model("m", &spec),
    ])
}

fn answers(gateway: &Gateway, shape: Shape, is_streamed: bool) -> anyhow::Result<()> {
    let (path, body) = shape.request("m", "hello", is_streamed);
    let answer = post(gateway, &path, &body)?;
    if is_streamed {
        let said = shape.read(answer)?;
        ensure!(said.is_whole && said.text == "echo: hello", "{}", said.raw);
        return Ok(());
    }
    let status = answer.status;
    let answer = answer.message()?;
    ensure!(status == 200 && shape.text(&answer).as_deref() == Some("echo: hello"), "{status} {answer}");
    Ok(())
}

#[test]
fn whoever_fails_before_the_first_token_is_replaced_without_notice() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    for does in [
        "mock,status=500",
        "mock,status=429",
        "mock,status=401",
        "mock,html",
        "mock,wrong-json",
        "mock,cut-head",
        "mock,head=20s",
        "mock,error-event=0",
        "mock,stall=0",
        "mock,half-close=0",
        "mock,cut=0",
    ] {
        let gateway = pair(&first, &second, does, &json!({}))?;
        for client in SHAPES {
            // What breaks in a stream alone answers whole, and a whole answer may take its time.
            let is_streamed = ["error-event", "stall", "close", "head"].iter().any(|word| does.contains(word));
            answers(&gateway, client, is_streamed).map_err(|error| error.context(format!("{does} for {client:?}")))?;
        }
        gateway.metric_until("quorate_model_retries", "", |retries| retries >= 1.0)?;
    }
    Ok(())
}

#[test]
fn after_the_first_token_nobody_is_replaced() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let gateway = pair(&first, &second, "mock,cut=2", &json!({}))?;

    let (path, body) = Shape::Chat.request("m", "one two three four", true);
    let said = Shape::Chat.read(post(&gateway, &path, &body)?)?;

    ensure!(said.error.is_some() && !said.is_whole, "{}", said.raw);
    assert_eq!(second.requests("mock")?, 0);
    Ok(())
}

#[test]
fn a_target_that_fails_often_is_not_asked_for_a_while() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let breaker = json!({ "failures": 3, "ejectBase": "1m" });
    let gateway = pair(&first, &second, "mock,status=500", &json!({ "breaker": breaker }))?;

    for _ in 0..8 {
        answers(&gateway, Shape::Chat, false)?;
    }

    assert_eq!((first.requests("mock,status=500")?, second.requests("mock")?), (3, 8));
    Ok(())
}

#[test]
fn a_target_that_asks_to_be_left_alone_is() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let does = "mock,status=429,retry-after=300";
    let gateway = pair(&first, &second, does, &json!({}))?;

    for _ in 0..5 {
        answers(&gateway, Shape::Chat, false)?;
    }

    assert_eq!((first.requests(does)?, second.requests("mock")?), (1, 5));
    Ok(())
}

#[test]
fn where_all_ask_to_be_left_alone_the_client_is_told_for_how_long() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let does = "mock,status=429,retry-after=300";
    let target = json!({ "targets": [{ "provider": "p", "model": does }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &target)])?;

    for _ in 0..3 {
        let (path, body) = Shape::Chat.request("m", "hi", false);
        let answer = post(&gateway, &path, &body)?;
        let wait: u64 = answer.header("retry-after").unwrap_or_default().parse()?;
        assert!(answer.status == 429 && (290..=300).contains(&wait), "{} {wait}", answer.status);
    }
    assert_eq!(provider.requests(does)?, 1, "it is left alone");
    Ok(())
}

#[test]
fn a_target_that_fails_once_is_asked_again() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let target = json!({ "targets": [{ "provider": "p", "model": "mock,fail=2" }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &target)])?;

    answers(&gateway, Shape::Chat, false)?;

    assert_eq!(provider.requests("mock,fail=2")?, 3);
    Ok(())
}

#[test]
fn what_the_request_is_to_blame_for_is_tried_once_only() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let target = json!({ "targets": [{ "provider": "p", "model": "mock,status=400" }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &target)])?;

    let (path, body) = Shape::Chat.request("m", "hi", false);
    assert_eq!(post(&gateway, &path, &body)?.status, 400);
    assert_eq!(provider.requests("mock,status=400")?, 1);
    Ok(())
}

#[test]
fn where_everybody_fails_retries_are_a_share_of_the_calls() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let limits = json!({ "retries": 2, "retryPercent": 10, "retryDelayMax": "1ms" });
    let spec = json!({
        "targets": [{ "provider": "p", "model": "mock,status=500" }],
        "breaker": { "failures": 1000 },
        "limits": limits,
    });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &spec)])?;

    for _ in 0..50 {
        let (path, body) = Shape::Chat.request("m", "hi", false);
        assert_eq!(post(&gateway, &path, &body)?.status, 502);
    }

    // Ten that are saved up, and one for each ten calls.
    let asked = provider.requests("mock,status=500")?;
    assert!((50 + 10..=50 + 10 + 5).contains(&asked), "{asked}");
    Ok(())
}

#[test]
fn a_key_that_is_refused_is_replaced_by_the_next() -> anyhow::Result<()> {
    let provider = Provider::start(&["--keys", "good"])?;
    let keys = json!({ "keys": ["bad", "good"], "limits": { "keyCooldown": "1h" } });
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &keys), model("m", &target)])?;

    for _ in 0..6 {
        answers(&gateway, Shape::Chat, false)?;
    }

    let refused = provider.ledger()?["statuses"]["401"].as_u64().unwrap_or(0);
    assert!(refused <= 1, "the bad one rests after its first call: {refused}");
    Ok(())
}

#[test]
fn a_key_in_a_file_is_read_again_when_it_changes() -> anyhow::Result<()> {
    let provider = Provider::start(&["--keys", "first,second"])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("key");
    fs::write(&file, "first\n")?;
    let keys = json!({ "keys": [format!("file:{}", file.display())] });
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &keys), model("m", &target)])?;
    answers(&gateway, Shape::Chat, false)?;
    assert_eq!(used(&provider, 2)?, 0);

    quorate_tests::raw::gateway::replace(&file, "second\n")?;

    wait::until("the second key", PATIENCE, || {
        answers(&gateway, Shape::Chat, false)?;
        ensure!(used(&provider, 2)? > 0, "{}", provider.ledger()?["keys"]);
        Ok(())
    })
}

/// Providers limit each model apart: a key that has no calls of one left answers for the others.
#[test]
fn a_key_that_is_limited_rests_for_that_model_alone() -> anyhow::Result<()> {
    let provider = Provider::start(&["--keys", "first,second"])?;
    let limited = "mock,status=429,retry-after=600";
    let to = |model: &str| json!({ "targets": [{ "provider": "p", "model": model }] });
    let keys = json!({ "keys": ["first", "second"] });
    let gateway = gateway(&[
        provider.document("p", "openai-compatible", &keys),
        model("m", &to("mock")),
        model("limited", &to(limited)),
    ])?;
    let (path, body) = Shape::Chat.request("limited", "hi", false);
    for _ in 0..3 {
        assert_eq!(post(&gateway, &path, &body)?.status, 429);
    }
    assert_eq!(provider.requests(limited)?, 2, "each key was asked once");

    for _ in 0..8 {
        answers(&gateway, Shape::Chat, false)?;
    }
    let (first, second) = (used(&provider, 1)?, used(&provider, 2)?);
    assert!(first + second == 10 && first > 1 && second > 1, "both answer for the other: {first} and {second}");
    Ok(())
}

/// One document for all names of a provider: what limits one of them leaves the others alone.
#[test]
fn a_name_that_is_limited_takes_no_other_name_away() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let limited = "mock,status=429,retry-after=600";
    let any = model("any", &json!({ "names": ["mock*"], "targets": [{ "provider": "p" }] }));
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({ "keys": ["one"] })), any])?;
    for _ in 0..3 {
        let answer = post(&gateway, "/v1/chat/completions", &Shape::Chat.request(limited, "hi", false).1)?;
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true));
    }
    assert_eq!(provider.requests(limited)?, 1, "it is left alone");

    let answer = post(&gateway, "/v1/chat/completions", &Shape::Chat.request("mock", "hi", false).1)?;
    assert_eq!(answer.status, 200);
    Ok(())
}

/// The keys of a provider rest apart, and it is back with the first of them.
#[test]
fn a_provider_is_back_with_the_first_of_its_keys() -> anyhow::Result<()> {
    let provider = Provider::start(&["--keys", "first,second"])?;
    let limited = "mock,status=429,retry-after=600";
    let spec = json!({ "targets": [{ "provider": "p", "model": limited }], "limits": { "retries": 0 } });
    let keys = json!({ "keys": ["first", "second", "third"], "limits": { "keyCooldown": "1h" } });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &keys), model("m", &spec)])?;

    // The third is refused, and rests for an hour; the others for ten minutes.
    let (path, body) = Shape::Chat.request("m", "hi", false);
    for _ in 0..3 {
        let answer = post(&gateway, &path, &body)?;
        let wait: u64 = answer.header("retry-after").unwrap_or_default().parse()?;
        assert!(answer.status == 429 && (1..=600).contains(&wait), "{} {wait}", answer.status);
    }
    Ok(())
}

/// Who repairs a document does not wait until the rests of the one before are over.
#[test]
fn what_rests_does_so_no_longer_than_its_document() -> anyhow::Result<()> {
    let provider = Provider::start(&["--keys", "good"])?;
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let with = |keys: &[&str]| {
        let keys = json!({ "keys": keys, "limits": { "keyCooldown": "1h" } });
        text(&[provider.document("p", "openai-compatible", &keys), model("m", &target)])
    };
    let gateway = Gateway::start(&with(&["bad", "worse"]), OPEN)?;
    let (path, body) = Shape::Chat.request("m", "hi", false);
    for _ in 0..3 {
        assert_ne!(post(&gateway, &path, &body)?.status, 200);
    }
    assert_eq!(provider.ledger()?["statuses"]["401"], 2, "both keys rest");

    gateway.rewrite(&with(&["good"]))?;

    wait::until("the other key", PATIENCE, || {
        let answer = post(&gateway, &path, &body)?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })
}

/// Who may not answer this request is not taken for the fastest, and costs the others no retry.
#[test]
fn a_target_that_forbids_is_replaced_each_time() -> anyhow::Result<()> {
    let (first, second) = (Provider::start(&[])?, Provider::start(&[])?);
    let does = "mock,status=403";
    let gateway = pair(&first, &second, does, &json!({ "limits": { "retryPercent": 0 } }))?;

    for _ in 0..30 {
        answers(&gateway, Shape::Chat, false)?;
    }
    assert_eq!(second.requests("mock")?, 30);
    Ok(())
}

/// How many requests showed a key, by its number from 1.
fn used(provider: &Provider, key: usize) -> anyhow::Result<u64> {
    Ok(provider.ledger()?["keys"][key - 1].as_u64().unwrap_or(0))
}
