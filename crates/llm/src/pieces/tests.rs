//! Whole answers before and after.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::answer::Stop;
use crate::dialect::Mint;
use crate::exchange::{Asked, Exchange, Received, Sent, State};

const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

fn events(provider: Dialect, body: &Value) -> Vec<Value> {
    let events = of_whole(provider, serde_json::to_string_pretty(body).expect("plain data").as_bytes());
    let events = events.expect("it is an answer");
    let parsed = events.iter().filter(|event| event.data != "[DONE]").map(|event| {
        assert!(!event.data.contains(&b'\n'));
        let data: Value = serde_json::from_slice(&event.data).expect("it is JSON");
        assert!(event.name.is_none_or(|name| data["type"] == name), "{data}");
        data
    });
    parsed.collect()
}

/// What a client of the same shape gets, and how far it came.
fn passed(provider: Dialect, body: &Value) -> (Vec<Bytes>, Exchange) {
    let asked = Asked { client: provider, body: "{}", wants_usage: false };
    let (mut exchange, mut got) = (Exchange::new(provider, &asked), Vec::new());
    for event in of_whole(provider, body.to_string().as_bytes()).expect("it is an answer") {
        match exchange.take(&Received { name: event.name.map(Bytes::from), data: event.data.clone() }, &MINT) {
            Sent::Same => got.push(event.data),
            Sent::Events(events) => got.extend(events.into_iter().map(|event| event.data)),
        }
    }
    exchange.end(&MINT);
    (got, exchange)
}

#[test]
fn a_chat_completion_is_a_chunk_with_all_that_its_message_has() {
    let message = json!({
        "role": "assistant", "content": "Hi", "audio": {"id": "a"}, "function_call": {"name": "f", "arguments": "{}"},
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "t", "arguments": "{}"}}],
    });
    let choice = json!({"index": 1, "message": message, "finish_reason": "tool_calls", "logprobs": {"content": []}});
    let body = json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "f",
        "choices": [choice, {"index": 0, "message": {"content": "Ho"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    });

    let [chunk, usage] = &events(Dialect::Chat, &body)[..] else { panic!("there are two") };

    let mut delta = message;
    delta["tool_calls"][0]["index"] = json!(0);
    let expected = [
        json!({"index": 1, "delta": delta, "finish_reason": "tool_calls", "logprobs": {"content": []}}),
        json!({"index": 0, "delta": {"content": "Ho"}, "finish_reason": "stop"}),
    ];
    assert_eq!(chunk["choices"], json!(expected));
    assert_eq!((&chunk["object"], &chunk["system_fingerprint"]), (&json!("chat.completion.chunk"), &json!("f")));
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &body["usage"]));

    let (got, exchange) = passed(Dialect::Chat, &body);
    assert_eq!((exchange.state(), exchange.usage().map(|usage| usage.input)), (&State::Done, Some(3)));
    assert_eq!(got.len(), 2, "what it cost is hidden from whoever did not ask: {got:?}");
}

#[test]
fn an_answer_of_gemini_is_the_only_event() {
    let body = json!({
        "candidates": [{"content": {"parts": [
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}}, {"text": "Hi", "thoughtSignature": "c2ln"},
        ]}, "finishReason": "MAX_TOKENS", "groundingMetadata": {}}],
        "usageMetadata": {"promptTokenCount": 3},
    });

    assert_eq!(json!(events(Dialect::Generate, &body)), json!([body]));

    let (got, exchange) = passed(Dialect::Generate, &body);
    assert_eq!((got, exchange.stop()), (vec![Bytes::from(body.to_string())], Some(&Stop::Length)));
    assert_eq!(exchange.state(), &State::Done);
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
    assert_eq!(passed(Dialect::Generate, &blocked).1.stop(), Some(&Stop::Filtered));
    let unended = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]});
    assert_eq!(passed(Dialect::Generate, &unended).1.stop(), Some(&Stop::End));
}

#[test]
fn blocks_that_nobody_here_knows_are_said_as_they_are() {
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]});
    let body = json!({
        "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            result,
            {"type": "text", "text": "Hi", "citations": [{"type": "page", "n": 1.50}]},
            {"type": "tool_use", "id": "c", "name": "t", "input": {}},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 4},
    });

    let said = events(Dialect::Messages, &body);

    let deltas: Vec<&Value> = said.iter().filter(|event| event["type"] == "content_block_delta").collect();
    let kinds: Vec<(&Value, &Value)> = deltas.iter().map(|event| (&event["index"], &event["delta"]["type"])).collect();
    let expected = [
        (0, "thinking_delta"),
        (0, "signature_delta"),
        (1, "input_json_delta"),
        (3, "text_delta"),
        (3, "citations_delta"),
        (4, "input_json_delta"),
    ];
    let expected = expected.map(|(index, kind)| (json!(index), json!(kind)));
    assert_eq!(kinds, expected.iter().map(|(index, kind)| (index, kind)).collect::<Vec<_>>());
    assert_eq!(deltas[4]["delta"]["citation"], body["content"][3]["citations"][0]);
    let input = deltas[2]["delta"]["partial_json"].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(input).expect("it is JSON"), json!({"query": "q"}));
    assert!(said.iter().any(|event| event["content_block"] == result), "{said:?}");
    assert_eq!(said[said.len() - 2]["delta"]["stop_reason"], "tool_use");

    let (_, exchange) = passed(Dialect::Messages, &body);
    assert_eq!((exchange.state(), exchange.stop()), (&State::Done, Some(&Stop::ToolCalls)));
    assert_eq!(exchange.usage().map(|usage| (usage.input, usage.output)), Some((3, 4)));
}

#[test]
fn a_response_is_at_last_what_it_is() {
    let body = json!({
        "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_own", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "c2ln"},
            {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "apply_patch", "input": "…"},
            {"type": "message", "id": "msg_own", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation"}]}, {"type": "refusal", "refusal": "No."},
            ]},
            {"type": "function_call", "id": "fc_own", "call_id": "d", "name": "t", "arguments": "{\"a\":1}", "status": "completed"},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 4},
    });

    let said = events(Dialect::Responses, &body);

    assert_eq!(said.last().map(|event| &event["response"]), Some(&body));
    let done: Vec<&Value> =
        said.iter().filter(|event| event["type"] == "response.output_item.done").map(|event| &event["item"]).collect();
    assert_eq!(json!(done), body["output"], "with its own ids, whatever it is");
    let numbers: Vec<u64> = said.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..said.len() as u64).collect::<Vec<_>>());
    let delta = |name: &str| said.iter().find(|event| event["type"] == name).expect("it is there");
    let text = delta("response.output_text.delta");
    assert_eq!((&text["item_id"], &text["output_index"], &text["delta"]), (&json!("msg_own"), &json!(2), &json!("Hi")));
    assert_eq!(delta("response.refusal.delta")["content_index"], 1);
    assert_eq!(delta("response.reasoning_summary_text.delta")["summary_index"], 0);

    let (got, exchange) = passed(Dialect::Responses, &body);
    assert_eq!((exchange.state(), exchange.stop(), got.len()), (&State::Done, Some(&Stop::ToolCalls), said.len()));
}

#[test]
fn a_response_that_is_not_over_or_failed_is_no_answer() {
    let of = |status: &str| json!({"id": "r", "model": "m", "status": status, "output": [], "error": null});
    for status in ["queued", "in_progress", "cancelled"] {
        let fault = of_whole(Dialect::Responses, of(status).to_string().as_bytes()).expect_err("it is not over");
        assert_eq!(fault.kind, Kind::Provider, "{status}");
    }
    let incomplete = passed(Dialect::Responses, &of("incomplete")).1;
    assert_eq!(incomplete.state(), &State::Done);
    let failed = passed(Dialect::Responses, &of("failed")).1;
    assert!(matches!(failed.state(), State::Failed(_)) && !failed.has_said());
}

#[test]
fn what_is_no_answer_is_refused() {
    for provider in Dialect::ALL {
        for body in ["", "[]", "{", "<html>", r#"{"error":{"message":"x"},"choices":[]}"#, "\u{0}"] {
            let found = of_whole(provider, body.as_bytes());
            let is_object = body.starts_with("{\"");
            assert!(found.is_err() || (is_object && provider == Dialect::Generate), "{provider:?}: {body}");
        }
    }
    let not_utf8 = of_whole(Dialect::Chat, b"{\"choices\":[\"\xff\"]}");
    assert!(not_utf8.is_err());
    let strange = of_whole(Dialect::Chat, br#"{"choices":[{"message":[]}]}"#);
    assert!(strange.is_err());
}
