//! OpenAI chat completions: a whole answer, and chunks up to `[DONE]`.
//!
//! In: a [`Said`]. Out: JSON, and events. What every chunk begins with is written once. Reasoning is `reasoning_content`, as DeepSeek and
//! vLLM have it, since OpenAI's own shape has none. <https://platform.openai.com/docs/api-reference/chat>.

use quorate_jsonrpc::quote;

use super::event::Event;
use super::plan::Stop;
use super::said::{Cost, REASONING, Said, What};

/// The last word of a stream.
pub(super) const DONE: &str = "[DONE]";

/// Writes the whole answer.
pub(super) fn whole(said: &Said) -> String {
    let Said { model, serial, created, .. } = said;
    let content = match &said.what {
        What::Text(_) => format!(r#""content":{},"refusal":null"#, quote(&said.what.text())),
        What::Refusal(_) => format!(r#""content":null,"refusal":{}"#, quote(&said.what.text())),
        What::Calls(_) => format!(r#""content":null,"refusal":null,"tool_calls":[{}]"#, calls(said)),
    };
    let reasoning =
        if said.thinks { format!(r#","reasoning_content":{}"#, quote(&REASONING.concat())) } else { String::new() };
    let usage = said.cost.map_or_else(String::new, |cost| format!(r#""usage":{},"#, usage(cost)));
    format!(
        r#"{{"id":"chatcmpl-mock{serial}","object":"chat.completion","created":{created},"model":{},"choices":[{{"index":0,"message":{{"role":"assistant",{content}{reasoning},"annotations":[]}},"logprobs":null,"finish_reason":"{}"}}],{usage}"service_tier":"default","system_fingerprint":null}}"#,
        quote(model),
        finish(said)
    )
}

/// Writes the stream; the cost comes with it only where it is wanted.
pub(super) fn events(said: &Said, wants_usage: bool) -> Vec<Event> {
    let Said { model, serial, created, .. } = said;
    let usage_member = if wants_usage && said.cost.is_some() { r#","usage":null"# } else { "" };
    let before = format!(
        r#"{{"id":"chatcmpl-mock{serial}","object":"chat.completion.chunk","created":{created},"model":{},"service_tier":"default","system_fingerprint":null,"choices":["#,
        quote(model)
    );
    let choice = |delta: &str, finish: &str| {
        let choice = format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#);
        Event::plain(format!("{before}{choice}]{usage_member}}}"))
    };
    let delta = |delta: &str| choice(delta, "null");
    let content = if matches!(said.what, What::Text(_)) { r#""""# } else { "null" };
    let mut events = vec![delta(&format!(r#"{{"role":"assistant","content":{content},"refusal":null}}"#))];
    for piece in REASONING.iter().filter(|_| said.thinks) {
        events.push(delta(&format!(r#"{{"reasoning_content":{}}}"#, quote(piece))));
    }
    match &said.what {
        What::Text(pieces) => {
            events.extend(pieces.iter().map(|piece| delta(&format!(r#"{{"content":{}}}"#, quote(piece))).chunk()));
        }
        What::Refusal(pieces) => {
            events.extend(pieces.iter().map(|piece| delta(&format!(r#"{{"refusal":{}}}"#, quote(piece))).chunk()));
        }
        What::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                let (id, name) = (call_id(said, index), quote(&call.name));
                events.push(delta(&format!(
                    r#"{{"tool_calls":[{{"index":{index},"id":"{id}","type":"function","function":{{"name":{name},"arguments":""}}}}]}}"#
                )));
                events.extend(call.arguments.iter().map(|piece| {
                    let piece = quote(piece);
                    delta(&format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{piece}}}}}]}}"#))
                        .chunk()
                }));
            }
        }
    }
    events.push(choice("{}", &format!("\"{}\"", finish(said))));
    if let Some(cost) = said.cost.filter(|_| wants_usage) {
        events.push(Event::plain(format!(r#"{before}],"usage":{}}}"#, usage(cost))));
    }
    events.push(Event::plain(DONE.to_owned()));
    events
}

/// What a stream of Azure begins with: a chunk that has no choice, and tells how the prompt was judged.
/// <https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming>.
pub(super) fn azure_opening() -> Event {
    let harmless = r#"{"filtered":false,"severity":"safe"}"#;
    let results = format!(r#"{{"hate":{harmless},"self_harm":{harmless},"sexual":{harmless},"violence":{harmless}}}"#);
    Event::plain(format!(
        r#"{{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{results}}}]}}"#
    ))
}

/// The name of a call, by which its result is told.
pub(super) fn call_id(said: &Said, index: usize) -> String {
    format!("call_mock{}x{index}", said.serial)
}

fn calls(said: &Said) -> String {
    let What::Calls(calls) = &said.what else { return String::new() };
    let call = |(index, call): (usize, &super::said::Call)| {
        let (id, name, arguments) = (call_id(said, index), quote(&call.name), quote(&call.arguments()));
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
    };
    calls.iter().enumerate().map(call).collect::<Vec<_>>().join(",")
}

fn finish(said: &Said) -> &'static str {
    match (said.stop, &said.what) {
        (Some(Stop::Length), _) => "length",
        (Some(Stop::Filter), _) => "content_filter",
        (Some(Stop::End), _) | (None, What::Text(_) | What::Refusal(_)) => "stop",
        (None, What::Calls(_)) => "tool_calls",
    }
}

fn usage(cost: Cost) -> String {
    let Cost { input, cached, output, reasoning } = cost;
    let total = input + output;
    format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}
