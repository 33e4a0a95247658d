//! Gemini `generateContent`: a whole answer, and the same in pieces.
//!
//! In: a [`Said`]. Out: JSON, and events. Calls come whole, since Gemini does not stream arguments; reasoning is a part that is a
//! thought, with a signature at what comes of it; a refusal is no candidate at all. Tokens of thoughts are beside those of candidates
//! here. <https://ai.google.dev/api/generate-content>.

use quorate_jsonrpc::quote;
use serde_json::{Value, json};

use super::event::Event;
use super::plan::Stop;
use super::said::{Cost, REASONING, SIGNATURE, Said, What};

/// Writes the whole answer.
pub(super) fn whole(said: &Said) -> String {
    let usage = said.cost.map(usage);
    if let What::Refusal(_) = said.what {
        return blocked(said);
    }
    let mut parts = Vec::new();
    if said.thinks {
        parts.push(thought(&REASONING.concat()));
    }
    match &said.what {
        What::Text(_) | What::Refusal(_) => parts.push(text(&said.what.text())),
        What::Calls(_) => parts.extend(calls(said)),
    }
    response(said, &parts.join(","), Some(finish(said)), usage)
}

/// Writes the stream.
pub(super) fn events(said: &Said) -> Vec<Event> {
    let usage_so_far =
        || said.cost.map(|cost| json!({ "promptTokenCount": cost.input, "totalTokenCount": cost.input }));
    let event = |part: &str| Event::plain(response(said, part, None, usage_so_far()));
    let mut events = Vec::new();
    if said.thinks {
        events.extend(REASONING.iter().map(|piece| event(&thought(piece))));
    }
    match &said.what {
        What::Text(pieces) => events.extend(pieces.iter().map(|piece| event(&text(piece)).chunk())),
        What::Calls(_) => events.extend(calls(said).iter().map(|part| event(part).chunk())),
        What::Refusal(_) => return vec![Event::plain(blocked(said)).chunk()],
    }
    let last = response(said, &text(""), Some(finish(said)), said.cost.map(usage));
    events.push(Event::plain(last));
    events
}

fn response(said: &Said, parts: &str, finish: Option<&str>, usage: Option<Value>) -> String {
    let finish = finish.map_or_else(String::new, |finish| format!(r#""finishReason":"{finish}","#));
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}},{finish}"index":0}}],{}}}"#,
        ending(said, usage)
    )
}

/// An answer to a prompt that is not answered.
fn blocked(said: &Said) -> String {
    let usage = said.cost.map(|cost| json!({ "promptTokenCount": cost.input, "totalTokenCount": cost.input }));
    format!(r#"{{"promptFeedback":{{"blockReason":"PROHIBITED_CONTENT"}},{}}}"#, ending(said, usage))
}

/// What stands behind the candidates.
fn ending(said: &Said, usage: Option<Value>) -> String {
    let usage = usage.map_or_else(String::new, |usage| format!(r#""usageMetadata":{usage},"#));
    format!(r#"{usage}"modelVersion":{},"responseId":"mock{}""#, quote(&said.model), said.serial)
}

fn text(text: &str) -> String {
    format!(r#"{{"text":{}}}"#, quote(text))
}

fn thought(text: &str) -> String {
    format!(r#"{{"text":{},"thought":true}}"#, quote(text))
}

/// The parts of calls; the first has the signature, as with parallel calls.
fn calls(said: &Said) -> Vec<String> {
    let What::Calls(calls) = &said.what else { return Vec::new() };
    let call = |(index, call): (usize, &super::said::Call)| {
        let (name, arguments) = (quote(&call.name), call.arguments());
        let signature =
            if said.thinks && index == 0 { format!(r#","thoughtSignature":"{SIGNATURE}""#) } else { String::new() };
        let id = format!("mock{}x{index}", said.serial);
        format!(r#"{{"functionCall":{{"id":"{id}","name":{name},"args":{arguments}}}{signature}}}"#)
    };
    calls.iter().enumerate().map(call).collect()
}

fn finish(said: &Said) -> &'static str {
    match said.stop {
        Some(Stop::Length) => "MAX_TOKENS",
        Some(Stop::Filter) => "SAFETY",
        Some(Stop::End) | None => "STOP",
    }
}

fn usage(cost: Cost) -> Value {
    let mut usage = json!({
        "promptTokenCount": cost.input,
        "candidatesTokenCount": cost.output - cost.reasoning,
        "totalTokenCount": cost.input + cost.output,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": cost.input }],
    });
    if cost.cached > 0 {
        usage["cachedContentTokenCount"] = json!(cost.cached);
    }
    if cost.reasoning > 0 {
        usage["thoughtsTokenCount"] = json!(cost.reasoning);
    }
    usage
}
