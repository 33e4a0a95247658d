//! The demo model: it says what was said, at once.
//!
//! A provider of OpenAI's chat completions and embeddings, so that a first `curl` or SDK call works without a key and without a network.
//! An answer is a function of the request: the last thing that the user said, in pieces of a word where it is streamed. Embeddings are
//! what words a text has, spread over a few numbers, so that texts with the same words are near each other.

use ::http::{Method, Request, Response, StatusCode};
use quorate_http::sse::Event;
use quorate_http::{RequestBody, ResponseBody};
use quorate_llm::classify::Path;
use quorate_llm::message::{Content, Role};
use quorate_llm::{Api, Call, Dialect, Family, Fault, Losses, classify, codec};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::http::{events, json};

/// Where the provider's APIs are.
pub(crate) const PATH: &str = "/v1";

/// Largest request: 1 MiB, as of the tool server.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a request's body may take.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most characters that are said again.
const SAID_CHARS_MAX: usize = 4_096;
/// Events that wait for a slow client.
const EVENTS_MAX: usize = 16;
/// Numbers of an embedding.
const DIMENSIONS: usize = 64;

/// Answers one request below [`PATH`].
pub(super) async fn handle(request: Request<RequestBody>) -> Response<ResponseBody> {
    let api = match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/chat/completions") => Api::Chat,
        (&Method::POST, "/v1/embeddings") => Api::Embeddings,
        _ => return refused(&Fault::new(quorate_llm::error::Kind::NotFound, "the demo model has chat and embeddings")),
    };
    let body = match quorate_http::collect(request.into_body(), BODY_BYTES_MAX, BODY_TIMEOUT).await {
        Ok(body) => body,
        Err(error) => return refused(&Fault::invalid("", error.to_string())),
    };
    let call = match classify(&Path { api, model: None, is_streamed: false }, body) {
        Ok(call) => call,
        Err(fault) => return refused(&fault),
    };
    match api {
        Api::Embeddings => embed(&call),
        _ => match said(&call) {
            Ok(said) if call.is_streamed => events(stream(&call, &said)),
            Ok(said) => json(StatusCode::OK, whole(&call, &said).to_string().into()),
            Err(fault) => refused(&fault),
        },
    }
}

/// What is answered: what the user said last.
fn said(call: &Call) -> Result<String, Fault> {
    let body = std::str::from_utf8(&call.body).expect("it was classified");
    let request = codec::read(Dialect::Chat, body, call.is_streamed, &mut Losses::default())?;
    let mut parts =
        request.turns.iter().rev().filter(|turn| turn.role == Role::User).flat_map(|turn| turn.parts.iter().rev());
    let last = parts.find_map(|part| match &part.content {
        Content::Text(text) => Some(text.chars().take(SAID_CHARS_MAX).collect::<String>()),
        _ => None,
    });
    Ok(format!("This is the demo model of Quorate. You said: {}", last.unwrap_or_default()))
}

fn usage(call: &Call, said: &str) -> Value {
    // It has no tokens of its own: it counts words.
    let words = |text: &str| text.split_whitespace().count();
    let input = std::str::from_utf8(&call.body).map_or(0, words).max(1);
    let output = words(said);
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

fn whole(call: &Call, said: &str) -> Value {
    json!({
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "created": 0,
        "model": call.model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": said, "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(call, said),
    })
}

/// The same in pieces: the role, each word, why it ends, what it costs.
fn stream(call: &Call, said: &str) -> mpsc::Receiver<Event> {
    let chunk = |choices: Value, usage: Value| {
        let (id, object) = ("chatcmpl-demo", "chat.completion.chunk");
        let chunk = json!({
            "id": id, "object": object, "created": 0, "model": call.model, "choices": choices, "usage": usage,
        });
        Event::new(chunk.to_string())
    };
    let delta = |delta: Value, reason: Value| {
        chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]), Value::Null)
    };
    let mut all = vec![delta(json!({ "role": "assistant", "content": "" }), Value::Null)];
    all.extend(said.split_inclusive(' ').map(|word| delta(json!({ "content": word }), Value::Null)));
    all.push(delta(json!({}), json!("stop")));
    if call.wants_usage {
        all.push(chunk(json!([]), usage(call, said)));
    }
    all.push(Event::new("[DONE]"));
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(async move {
        for event in all {
            // The client is gone: nobody reads on.
            let Ok(()) = sender.send(event).await else { return };
        }
    });
    receiver
}

fn embed(call: &Call) -> Response<ResponseBody> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(all) if all.iter().all(Value::is_string) => all.iter().filter_map(Value::as_str).collect(),
        _ => return refused(&Fault::invalid("input", "the demo model takes a text, or a list of texts")),
    };
    if body["encoding_format"].as_str().is_some_and(|format| format != "float") {
        // The Python SDK asks for Base64 by itself, and takes numbers as well.
        tracing::debug!("demo: embeddings are answered as numbers");
    }
    let data = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": embedding(text) }));
    let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    let answer = json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": call.model,
        "usage": { "prompt_tokens": words, "total_tokens": words },
    });
    json(StatusCode::OK, answer.to_string().into())
}

/// How often a text has words of each of [`DIMENSIONS`] kinds, at length one.
fn embedding(text: &str) -> Vec<f64> {
    let mut counts = [0.0_f64; DIMENSIONS];
    for word in text.split(|each: char| !each.is_alphanumeric()).filter(|word| !word.is_empty()) {
        // FNV-1a, which is enough to spread words.
        let hash = word
            .to_lowercase()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        counts[usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0)] += 1.0;
    }
    let length = counts.iter().map(|count| count * count).sum::<f64>().sqrt().max(1.0);
    counts.iter().map(|count| count / length).collect()
}

fn refused(fault: &Fault) -> Response<ResponseBody> {
    json(fault.kind.status(), fault.body(Family::OpenAi).into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn call(body: Value) -> Call {
        let path = Path { api: Api::Chat, model: None, is_streamed: false };
        classify(&path, Bytes::from(body.to_string())).unwrap()
    }

    #[tokio::test]
    async fn a_stream_says_the_same_as_a_whole_answer() {
        let body = json!({
            "model": "demo",
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": [{ "role": "user", "content": "first" }, { "role": "user", "content": "well met" }],
        });
        let call = call(body);
        let said = said(&call).unwrap();
        assert!(said.ends_with("well met"), "{said}");

        let mut events = stream(&call, &said);
        let (mut text, mut last, mut used) = (String::new(), String::new(), false);
        while let Some(event) = events.recv().await {
            last = String::from_utf8(event.data.to_vec()).unwrap();
            let chunk: Value = serde_json::from_str(&last).unwrap_or_default();
            text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            used |= chunk["usage"]["total_tokens"].as_u64().is_some_and(|total| total > 0);
        }

        assert_eq!((text.as_str(), last.as_str(), used), (said.as_str(), "[DONE]", true));
        assert_eq!(whole(&call, &said)["choices"][0]["message"]["content"], said);
    }

    #[test]
    fn texts_with_the_same_words_are_near_each_other() {
        let near = |one: &str, other: &str| -> f64 {
            embedding(one).iter().zip(embedding(other)).map(|(one, other)| one * other).sum()
        };
        assert!(near("a red fox", "the red fox") > near("a red fox", "tax law of 1923"));
        assert!((near("fox", "Fox") - 1.0).abs() < 1e-9);
    }
}
