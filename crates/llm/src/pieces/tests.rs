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
        "usage": {"input_tokens": 3, "output_tokens": 4}, "container": {"id": "container_1"},
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
    let end = &said[said.len() - 2]["delta"];
    assert_eq!((&end["stop_reason"], &end["container"]), (&json!("tool_use"), &body["container"]));

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
    for error in [json!(null), json!({"code": "context_length_exceeded", "message": "too long"})] {
        let mut body = of("failed");
        body["error"] = error.clone();
        let failed = passed(Dialect::Responses, &body).1;
        let State::Failed(fault) = failed.state() else { panic!("it did") };
        assert!(!failed.has_said());
        assert_eq!(fault.kind == Kind::ContextLength, !error.is_null(), "{fault}");
    }
}

#[test]
fn what_has_parts_without_end_is_refused() {
    let many = |part: &str| vec![part; 1_000_000].join(",");
    for (provider, body) in [
        (Dialect::Chat, format!(r#"{{"choices":[{}]}}"#, many("{}"))),
        (Dialect::Messages, format!(r#"{{"content":[{}]}}"#, many("{}"))),
        (Dialect::Responses, format!(r#"{{"output":[{{"type":"message","content":[{}]}}]}}"#, many("{}"))),
        (Dialect::Responses, {
            let id = "i".repeat(10_000);
            format!(r#"{{"output":[{{"type":"message","id":"{id}","content":[{}]}}]}}"#, vec!["{}"; 9_000].join(","))
        }),
    ] {
        assert!(of_whole(provider, body.as_bytes()).is_err(), "{provider:?}");
    }
}

#[test]
fn calls_and_choices_count_by_their_places_where_their_numbers_do_not() {
    let call = |id: &str| json!({"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}});
    let choice = json!({"index": 0, "message": {"tool_calls": [call("a"), call("b")]}, "finish_reason": ""});

    let said = events(Dialect::Chat, &json!({"id": "x", "model": "m", "choices": [choice, choice]}));

    let of = |name: &str| {
        said[0]["choices"].as_array().expect("a list").iter().map(|one| one[name].clone()).collect::<Vec<_>>()
    };
    assert_eq!((of("index"), of("finish_reason")), (vec![json!(0), json!(1)], vec![json!("tool_calls"); 2]));
    let calls = &said[0]["choices"][1]["delta"]["tool_calls"];
    assert_eq!((&calls[0]["index"], &calls[1]["index"], &calls[1]["id"]), (&json!(0), &json!(1), &json!("b")));
}

#[test]
fn what_is_no_answer_is_refused() {
    for provider in Dialect::ALL {
        for body in ["", "[]", "{", "<html>", "\u{0}"] {
            assert!(of_whole(provider, body.as_bytes()).is_err(), "{provider:?}: {body}");
        }
        let error = json!({"error": {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "x"}});
        let (got, exchange) = passed(provider, &error);
        let State::Failed(fault) = exchange.state() else { panic!("{provider:?}: {:?}", exchange.state()) };
        assert!(got.is_empty() && !exchange.has_said());
        assert!(provider == Dialect::Generate || fault.kind == Kind::RateLimited, "{provider:?}: {fault}");
    }
    let no_choice = of_whole(Dialect::Chat, br#"{"id":"x","choices":[],"usage":{}}"#);
    assert_eq!(no_choice.expect_err("there is none").message, "the provider gives 0 answers");
    let not_utf8 = of_whole(Dialect::Chat, b"{\"choices\":[\"\xff\"]}");
    assert!(not_utf8.is_err());
    let strange = of_whole(Dialect::Chat, br#"{"choices":[{"message":[]}]}"#);
    assert!(strange.is_err());
}
