//! Translations that were wrong once, each with what is right about it.

use quorate_llm::answer::{Delta, Stop};
use quorate_llm::dialect::{Mint, Quirks, Target};
use quorate_llm::error::Kind;
use quorate_llm::exchange::{Asked, State};
use quorate_llm::{Dialect, Fault, Losses, codec, dialect};
use serde_json::{Value, json};

mod wire;

const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

/// A request as the provider gets it, and what is left out.
fn asked_of(model: &str, client: Dialect, provider: Dialect, body: &Value) -> Result<(Value, Vec<String>), Fault> {
    let mut losses = Losses::default();
    let target = Target { model, quirks: Quirks::default(), output_tokens_default: 4_096 };
    let request = codec::read(client, &body.to_string(), false, &mut losses)?;
    let written = codec::write(provider, &request, &target, &mut losses)?;
    let lost = losses.iter().map(|loss| loss.name().to_owned()).collect();
    Ok((serde_json::from_slice(&written).expect("it is JSON"), lost))
}

fn asked(client: Dialect, provider: Dialect, body: &Value) -> Value {
    asked_of("m", client, provider, body).expect("it can be said").0
}

/// A provider's answer as the client gets it.
fn answered(client: Dialect, provider: Dialect, body: &Value) -> Value {
    let answer = codec::read_answer(provider, body.to_string().as_bytes()).expect("it is an answer");
    let written = codec::write_answer(&answer, &Asked { client, body: "{}", wants_usage: false }, &MINT);
    serde_json::from_slice(&written.expect("it can be said")).expect("it is JSON")
}

#[test]
fn a_result_is_told_by_the_name_of_the_call_before_it() {
    let call = |name: &str| json!({"role": "assistant", "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": name, "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "call_0", "content": "x"});
    let messages = json!([{"role": "user", "content": "Hi"}, call("weather"), result, call("now"), result]);

    let body = asked(Dialect::Chat, Dialect::Generate, &json!({"messages": messages}));

    let name = |turn: usize| body["contents"][turn]["parts"][0]["functionResponse"]["name"].clone();
    assert_eq!((name(2), name(4)), (json!("weather"), json!("now")));
}

#[test]
fn calls_of_two_answers_have_two_ids() {
    let answer = |id: &str| {
        let part = json!({"functionCall": {"name": "now", "args": {}}});
        json!({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], "responseId": id})
    };
    let id_of = |id: &str| {
        let said = answered(Dialect::Messages, Dialect::Generate, &answer(id));
        said["content"][0]["id"].clone()
    };

    assert_ne!(id_of("a"), id_of("b"));
}

#[test]
fn an_answer_that_its_provider_calls_broken_is_none() {
    let body = json!({"candidates": [{"content": {"parts": []}, "finishReason": "MALFORMED_FUNCTION_CALL"}]});

    let fault = codec::read_answer(Dialect::Generate, body.to_string().as_bytes()).map(drop).expect_err("it is broken");

    assert_eq!(fault.kind, Kind::Provider, "another provider may well answer");
}

#[test]
fn what_only_one_provider_has_is_refused_and_not_left_out() {
    let user = json!({"role": "user", "parts": [{"text": "Hi"}]});
    let generate = [
        json!({"contents": [user], "cachedContent": "cachedContents/a"}),
        json!({"contents": [user], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}),
        json!({"contents": [user], "generationConfig": {"speechConfig": {}}}),
    ];
    for body in generate {
        let fault = asked_of("m", Dialect::Generate, Dialect::Chat, &body).expect_err("nobody else has it");
        assert_eq!(fault.kind, Kind::Invalid);
    }
    let servers =
        json!({"messages": [{"role": "user", "content": "Hi"}], "mcp_servers": [{"url": "https://example.com"}]});
    let fault = asked_of("m", Dialect::Messages, Dialect::Chat, &servers).expect_err("nobody else runs it");
    assert_eq!(fault.field.as_deref(), Some("mcp_servers"));
}

#[test]
fn openai_is_held_to_a_schema_only_where_it_takes_that_one() {
    let loose = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let mut strict = loose.clone();
    strict["required"] = json!(["a"]);
    for (schema, expected) in [(loose, Value::Null), (strict, json!(true))] {
        let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
        let body = json!({"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": config});
        let chat = asked(Dialect::Generate, Dialect::Chat, &body);
        assert_eq!(chat["response_format"]["json_schema"]["strict"], expected);

        let format = json!({"format": {"type": "json_schema", "schema": schema}});
        let body = json!({"messages": [{"role": "user", "content": "Hi"}], "output_config": format});
        let responses = asked(Dialect::Messages, Dialect::Responses, &body);
        assert_eq!(responses["text"]["format"]["strict"], expected);
    }
}

#[test]
fn a_text_that_comes_in_parts_is_one() {
    let parts = json!([{"text": "{\"a\":"}, {"text": "1}"}]);
    let body = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});

    let said = answered(Dialect::Messages, Dialect::Generate, &body);

    assert_eq!(said["content"], json!([{"type": "text", "text": "{\"a\":1}"}]));
}

fn lost(model: &str, body: &Value) -> (Value, Vec<String>) {
    asked_of(model, Dialect::Chat, Dialect::Messages, body).expect("it can be said")
}

fn hi(members: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let all = body.as_object_mut().expect("it is one");
    all.extend(members.as_object().expect("it is one").clone());
    body
}

#[test]
fn a_model_that_knows_no_budget_is_told_an_effort() {
    let body = hi(&json!({"reasoning_effort": "high", "max_completion_tokens": 32_000, "temperature": 0.5}));

    let (old, _) = lost("claude-sonnet-4-5", &body);
    assert_eq!(old["thinking"], json!({"type": "enabled", "budget_tokens": 25_600}));
    assert_eq!(old["output_config"], Value::Null);

    let (new, left_out) = lost("claude-opus-4-7", &body);
    assert_eq!(new["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(new["output_config"], json!({"effort": "high"}));
    assert_eq!((&new["temperature"], left_out), (&Value::Null, vec!["temperature".to_owned()]));

    let (off, left_out) = lost("claude-opus-5", &hi(&json!({"reasoning_effort": "none"})));
    assert_eq!((&off["thinking"], &off["output_config"]), (&Value::Null, &json!({"effort": "low"})));
    assert_eq!(left_out, ["reasoning"]);
}

#[test]
fn a_temperature_above_the_hottest_is_the_hottest() {
    let (body, left_out) = lost("m", &hi(&json!({"temperature": 1.5})));

    assert_eq!((&body["temperature"], left_out), (&json!(1), vec!["temperature".to_owned()]));
    assert_eq!(lost("m", &hi(&json!({"temperature": 1.0}))).0["temperature"], json!(1.0));
}

#[test]
fn of_temperature_and_top_p_one_is_told_to_a_model_that_takes_one() {
    let body = hi(&json!({"temperature": 0.5, "top_p": 0.9}));

    let (told, left_out) = lost("claude-sonnet-4-5", &body);
    assert_eq!((&told["temperature"], &told["top_p"]), (&json!(0.5), &Value::Null));
    assert_eq!(left_out, ["temperature"]);
    assert_eq!(lost("m", &body).0["top_p"], json!(0.9));
}

#[test]
fn a_stop_of_spaces_alone_is_left_out() {
    let (body, left_out) = lost("m", &hi(&json!({"stop": ["\n\n", "END"]})));

    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(left_out, ["stops"]);
}

#[test]
fn ids_of_calls_have_letters_that_every_provider_takes() {
    let call = json!({"id": "functions.now:0", "type": "function", "function": {"name": "now", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.now:0", "content": "x"},
    ]);

    let body = asked(Dialect::Chat, Dialect::Messages, &json!({"messages": messages}));

    assert_eq!(body["messages"][1]["content"][0]["id"], "functions_now_0");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "functions_now_0");
}

#[test]
fn results_of_tools_stand_before_what_else_is_said() {
    let call = json!({"functionCall": {"name": "now", "args": {}}});
    let result = json!({"functionResponse": {"name": "now", "response": {"result": "noon"}}});
    let contents = json!([
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [{"text": "Here:"}, result]},
    ]);

    let body = asked(Dialect::Generate, Dialect::Messages, &json!({"contents": contents}));

    assert_eq!(body["messages"][2]["content"][0]["type"], "tool_result");
    assert_eq!(body["messages"][2]["content"][1]["text"], "Here:");
}

#[test]
fn a_call_without_arguments_has_empty_ones() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "now", "arguments": ""}});
    let of =
        |finish: &str| json!({"model": "m", "choices": [{"message": {"tool_calls": [call]}, "finish_reason": finish}]});

    let said = answered(Dialect::Responses, Dialect::Chat, &of("tool_calls"));
    assert_eq!(said["output"][0]["arguments"], "{}");
    let cut = answered(Dialect::Responses, Dialect::Chat, &of("length"));
    assert_eq!((&cut["output"][0]["arguments"], &cut["output"][0]["status"]), (&json!(""), &json!("incomplete")));
}

#[test]
fn the_item_that_was_cut_is_incomplete() {
    let said = json!([{"type": "text", "text": "a"}, {"type": "tool_use", "id": "c", "name": "t", "input": {}}, {"type": "text", "text": "b"}]);
    let body = json!({"id": "i", "model": "m", "content": said, "stop_reason": "max_tokens"});

    let output = answered(Dialect::Responses, Dialect::Messages, &body)["output"].clone();

    let statuses: Vec<&Value> = (0..3).map(|place| &output[place]["status"]).collect();
    assert_eq!(statuses, ["completed", "completed", "incomplete"]);
}

#[test]
fn a_refusal_is_why_a_client_of_messages_is_told_that_the_answer_ends() {
    let message = json!({"role": "assistant", "content": null, "refusal": "I do not."});
    let body = json!({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]});

    assert_eq!(answered(Dialect::Messages, Dialect::Chat, &body)["stop_reason"], "refusal");
}

#[test]
fn a_schema_of_arguments_is_that_of_an_object() {
    let tool =
        |schema: &Value| json!({"tools": [{"type": "function", "function": {"name": "t", "parameters": schema}}]});
    let cases = [
        (json!({}), json!({"type": "object"})),
        (json!({"properties": {"type": {}}}), json!({"type": "object", "properties": {"type": {}}})),
        (json!({"type": "object"}), json!({"type": "object"})),
    ];
    for (schema, expected) in cases {
        assert_eq!(lost("m", &hi(&tool(&schema))).0["tools"][0]["input_schema"], expected);
    }
}

#[test]
fn bytes_in_the_alphabet_of_urls_are_written_in_the_one_that_every_api_takes() {
    let of = |kind: &str, data: &str| {
        let part = json!({"inlineData": {"mimeType": kind, "data": data}});
        json!({"contents": [{"role": "user", "parts": [part]}]})
    };
    let written = |client: &Value, provider| asked(Dialect::Generate, provider, client).to_string();

    for provider in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
        for kind in ["image/png", "application/pdf"] {
            let body = written(&of(kind, "_-_-AAA="), provider);
            assert!(body.contains("/+/+AAA="), "{provider:?}: {body}");
        }
    }
    // The same as a text: "ü?>" has both characters in it.
    let body = written(&of("text/plain", "w7w_Pj4-"), Dialect::Messages);
    assert!(body.contains("ü?>>>"), "{body}");
}

// What a small model of a real engine does: llama.cpp's server, by `cargo xtask test --engines`.
#[test]
fn a_call_that_the_limit_of_tokens_cuts_off_is_left_out_and_the_rest_is_told() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "paint", "arguments": arguments}});
    let calls = json!([call("a", "{\"colour\": \"red\"}"), call("b", "{ \"colour\" :")]);
    let message = json!({"role": "assistant", "content": "so", "tool_calls": calls});
    let body = json!({"model": "m", "choices": [{"message": message, "finish_reason": "length"}]});

    let said = answered(Dialect::Messages, Dialect::Chat, &body);
    let input = json!({"colour": "red"});
    let whole =
        json!([{"type": "text", "text": "so"}, {"type": "tool_use", "id": "a", "name": "paint", "input": input}]);
    assert_eq!((&said["content"], &said["stop_reason"]), (&whole, &json!("max_tokens")));

    let said = &answered(Dialect::Generate, Dialect::Chat, &body)["candidates"][0];
    assert_eq!(said["content"]["parts"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!(said["finishReason"], "MAX_TOKENS");

    // The same that claims to be complete is an answer of nobody.
    let broken = json!({"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]});
    let answer = codec::read_answer(Dialect::Chat, broken.to_string().as_bytes()).expect("it is an answer");
    let asked = Asked { client: Dialect::Messages, body: "{}", wants_usage: false };
    let fault = codec::write_answer(&answer, &asked, &MINT).expect_err("it cannot be said");
    assert_eq!(fault.kind, Kind::Provider);
}

#[test]
fn a_stream_whose_last_call_is_cut_off_by_the_limit_of_tokens_ends_with_that_reason() {
    let begin = |id: &str| Delta::ToolBegin { choice: 0, id: id.to_owned(), name: "paint".to_owned(), signature: None };
    let arguments = |text: &str| Delta::Arguments { choice: 0, text: text.to_owned() };
    let deltas = [
        Delta::Begin { id: "x".to_owned(), model: "m".to_owned(), created_s: None },
        begin("a"),
        arguments("{\"colour\": \"red\"}"),
        begin("b"),
        arguments("{ \"colour\" :"),
        Delta::Stop { choice: 0, stop: Stop::Length },
        Delta::End,
    ];
    let events = wire::written(Dialect::Chat, &deltas);

    let (got, _) = wire::exchanged(Dialect::Chat, Dialect::Generate, &events, false);

    let heard = wire::heard(Dialect::Generate, &got);
    let calls = heard.iter().filter(|delta| matches!(delta, Delta::ToolBegin { .. })).count();
    assert_eq!(calls, 1, "{heard:?}");
    assert!(heard.contains(&Delta::Stop { choice: 0, stop: Stop::Length }), "{heard:?}");
}

#[test]
fn what_an_answer_costs_is_read_where_the_answer_itself_is_not() {
    let table = [
        (Dialect::Chat, json!({"choices": [{"message": 7}], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})),
        (Dialect::Responses, json!({"output": [7], "usage": {"input_tokens": 5, "output_tokens": 3}})),
        (Dialect::Messages, json!({"content": [7], "usage": {"input_tokens": 5, "output_tokens": 3}})),
        (
            Dialect::Generate,
            json!({"candidates": [7], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3}}),
        ),
    ];
    for (provider, body) in table {
        let body = body.to_string();
        assert!(codec::read_answer(provider, body.as_bytes()).is_err(), "{provider:?}");
        assert!(dialect::is_answer(provider, body.as_bytes()), "{provider:?}");
        let usage = dialect::usage_of(provider, body.as_bytes()).expect("it is told");
        assert_eq!((usage.input, usage.output), (5, 3), "{provider:?}");
        assert!(dialect::usage_of(provider, br#"{"usage": 7, "usageMetadata": []}"#).is_none(), "{provider:?}");
    }
}

#[test]
fn an_event_that_gives_answers_without_end_is_an_error_and_read_soon() {
    let rows: Vec<String> =
        (0..500_000).map(|index| format!(r#"{{"index":{index},"delta":{{"content":"a"}}}}"#)).collect();
    let data = format!(r#"{{"id":"i","model":"m","choices":[{}]}}"#, rows.join(","));
    let event = dialect::SentEvent { name: None, data: data.into() };

    let (_, exchange) = wire::exchanged(Dialect::Chat, Dialect::Messages, &[event], false);

    assert!(matches!(exchange.state(), State::Failed(fault) if fault.message.contains("too many answers")));
}

#[test]
fn an_event_whose_pieces_become_too_much_is_an_error() {
    let parts = vec![r#"{"text":"a"}"#; 1_000].join(",");
    let id = "i".repeat(100_000);
    let data = format!(r#"{{"responseId":"{id}","candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#);
    let event = dialect::SentEvent { name: None, data: data.into() };

    let (got, exchange) = wire::exchanged(Dialect::Generate, Dialect::Chat, &[event], false);

    assert!(matches!(exchange.state(), State::Failed(fault) if fault.message.contains("too much at once")));
    assert!(got.iter().map(bytes::Bytes::len).sum::<usize>() < 70_000_000, "each chunk has the id");
}

#[test]
fn a_stream_of_which_a_second_answer_was_cut_is_not_one_that_the_model_ended() {
    let chunk = |index: u32, finish: &str| {
        let data = format!(
            r#"{{"id":"i","model":"m","choices":[{{"index":{index},"delta":{{"content":"a"}},"finish_reason":"{finish}"}}]}}"#
        );
        dialect::SentEvent { name: None, data: data.into() }
    };
    for (second, expected) in [("stop", false), ("length", true)] {
        let events = [chunk(0, "stop"), chunk(1, second)];
        let (_, exchange) = wire::exchanged(Dialect::Chat, Dialect::Chat, &events, false);
        assert_eq!((exchange.state(), exchange.stop()), (&State::Done, Some(&Stop::End)));
        assert_eq!(exchange.is_cut(), expected);
    }
}
