//! Anthropic messages: a whole answer, and its named events.
//!
//! In: a [`Said`]. Out: JSON, and events. Tokens that came from a cache are not among the input's here, and a refusal is a reason to
//! stop. <https://docs.anthropic.com/en/api/messages>, <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use quorate_jsonrpc::quote;

use super::event::Event;
use super::plan::Stop;
use super::said::{Cost, REASONING, SIGNATURE, Said, What};

/// Writes the whole answer.
pub(super) fn whole(said: &Said) -> String {
    let mut blocks = Vec::new();
    if said.thinks {
        let thinking = quote(&REASONING.concat());
        blocks.push(format!(r#"{{"type":"thinking","thinking":{thinking},"signature":"{SIGNATURE}"}}"#));
    }
    match &said.what {
        What::Text(_) | What::Refusal(_) => {
            blocks.push(format!(r#"{{"type":"text","text":{},"citations":null}}"#, quote(&said.what.text())));
        }
        What::Calls(calls) => blocks.extend(calls.iter().enumerate().map(|(index, call)| {
            let (id, name, input) = (call_id(said, index), quote(&call.name), call.arguments());
            format!(r#"{{"type":"tool_use","id":"{id}","name":{name},"input":{input},"caller":{{"type":"direct"}}}}"#)
        })),
    }
    let usage = said.cost.map_or_else(String::new, |cost| format!(r#","usage":{}"#, usage(cost, cost.output)));
    format!(
        r#"{{"id":"msg_mock{}","type":"message","role":"assistant","model":{},"content":[{}],"stop_reason":"{}","stop_sequence":null,"stop_details":{}{usage}}}"#,
        said.serial,
        quote(&said.model),
        blocks.join(","),
        stop_reason(said),
        stop_details(said)
    )
}

/// Writes the stream.
pub(super) fn events(said: &Said) -> Vec<Event> {
    let usage_at_start = said.cost.map_or_else(String::new, |cost| format!(r#","usage":{}"#, usage(cost, 1)));
    let mut events = vec![Event::named(
        "message_start",
        format!(
            r#"{{"type":"message_start","message":{{"id":"msg_mock{}","type":"message","role":"assistant","model":{},"content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null{usage_at_start}}}}}"#,
            said.serial,
            quote(&said.model)
        ),
    )];
    let mut index = 0;
    if said.thinks {
        let deltas =
            REASONING.iter().map(|piece| format!(r#"{{"type":"thinking_delta","thinking":{}}}"#, quote(piece)));
        let signature = format!(r#"{{"type":"signature_delta","signature":"{SIGNATURE}"}}"#);
        let mut thinking =
            block(index, r#"{"type":"thinking","thinking":"","signature":""}"#, deltas.chain([signature]));
        thinking.iter_mut().for_each(|event| event.is_chunk = false);
        events.append(&mut thinking);
        index += 1;
    }
    match &said.what {
        What::Text(pieces) | What::Refusal(pieces) => {
            let deltas = pieces.iter().map(|piece| format!(r#"{{"type":"text_delta","text":{}}}"#, quote(piece)));
            events.append(&mut block(index, r#"{"type":"text","text":"","citations":null}"#, deltas));
        }
        What::Calls(calls) => {
            for (number, call) in calls.iter().enumerate() {
                let (id, name) = (call_id(said, number), quote(&call.name));
                let begin = format!(
                    r#"{{"type":"tool_use","id":"{id}","name":{name},"input":{{}},"caller":{{"type":"direct"}}}}"#
                );
                let pieces = call.arguments.iter().map(|piece| {
                    let piece = quote(piece);
                    format!(r#"{{"type":"input_json_delta","partial_json":{piece}}}"#)
                });
                events.append(&mut block(index + number, &begin, pieces));
            }
        }
    }
    // After the first block has begun, as the documentation's examples have it.
    events.insert(2, Event::named("ping", r#"{"type":"ping"}"#.to_owned()));
    let usage_at_end = said
        .cost
        .map_or_else(String::new, |cost| format!(r#","usage":{{{},"output_tokens":{}}}"#, tokens(cost), cost.output));
    let (reason, details) = (stop_reason(said), stop_details(said));
    events.push(Event::named(
        "message_delta",
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null,"stop_details":{details}}}{usage_at_end}}}"#
        ),
    ));
    events.push(Event::named("message_stop", r#"{"type":"message_stop"}"#.to_owned()));
    events
}

fn call_id(said: &Said, index: usize) -> String {
    format!("toolu_mock{}x{index}", said.serial)
}

/// A block from its begin to its end.
fn block(index: usize, begin: &str, deltas: impl Iterator<Item = String>) -> Vec<Event> {
    let begin = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{begin}}}"#);
    let mut events = vec![Event::named("content_block_start", begin)];
    events.extend(deltas.map(|delta| {
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        Event::named("content_block_delta", data).chunk()
    }));
    let end = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
    events.push(Event::named("content_block_stop", end));
    events
}

fn stop_reason(said: &Said) -> &'static str {
    match (said.stop, &said.what) {
        (Some(Stop::Length), _) => "max_tokens",
        (Some(Stop::Filter), _) | (None, What::Refusal(_)) => "refusal",
        (Some(Stop::End), _) | (None, What::Text(_)) => "end_turn",
        (None, What::Calls(_)) => "tool_use",
    }
}

fn stop_details(said: &Said) -> &'static str {
    match stop_reason(said) {
        "refusal" => r#"{"type":"refusal","category":null,"explanation":null}"#,
        _ => "null",
    }
}

fn usage(cost: Cost, output: u64) -> String {
    let input = tokens(cost);
    format!(
        r#"{{{input},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#
    )
}

/// The members that tell the input.
fn tokens(cost: Cost) -> String {
    let (fresh, cached) = (cost.input - cost.cached, cost.cached);
    format!(r#""input_tokens":{fresh},"cache_creation_input_tokens":0,"cache_read_input_tokens":{cached}"#)
}
