//! A message as its events: each block begins, comes in one piece, and is over.
//!
//! In: a body. Out: its events. A block of a kind that has no pieces, such as what a tool of the provider found, begins with all that it
//! has, as it does in Anthropic's own streams.

use quorate_jsonrpc::quote;

use super::object::Object;
use crate::dialect::SentEvent;
use crate::error::Fault;

pub(super) fn events(body: &Object<'_>) -> Result<Vec<SentEvent>, Fault> {
    let begun = body.clone().with("content", "[]").with("stop_reason", "null").with("stop_sequence", "null");
    let mut events = vec![event("message_start", &format!(r#""message":{}"#, begun.write()))];
    for (index, raw) in body.list("content")?.into_iter().enumerate() {
        let block = Object::read(raw)?;
        let (start, pieces) = spread(&block)?;
        events.push(event("content_block_start", &format!(r#""index":{index},"content_block":{}"#, start.write())));
        for piece in pieces {
            events.push(event("content_block_delta", &format!(r#""index":{index},"delta":{piece}"#)));
        }
        events.push(event("content_block_stop", &format!(r#""index":{index}"#)));
    }
    let (reason, sequence) = (body.get("stop_reason"), body.get("stop_sequence"));
    let delta = format!(
        r#"{{"stop_reason":{},"stop_sequence":{}}}"#,
        reason.unwrap_or("\"end_turn\""),
        sequence.unwrap_or("null")
    );
    let usage = body.get("usage").map(|usage| format!(r#","usage":{usage}"#)).unwrap_or_default();
    events.push(event("message_delta", &format!(r#""delta":{delta}{usage}"#)));
    events.push(SentEvent::named("message_stop", r#"{"type":"message_stop"}"#.to_owned()));
    Ok(events)
}

/// How a block begins, and the pieces that follow; one of a kind without pieces begins with all of it.
fn spread<'a>(block: &Object<'a>) -> Result<(Object<'a>, Vec<String>), Fault> {
    let piece = |kind: &str, member: &str, raw: &str| format!(r#"{{"type":"{kind}","{member}":{raw}}}"#);
    let (start, mut pieces) = (block.clone(), Vec::new());
    let start = match block.text("type").as_deref() {
        Some("text") => {
            pieces.extend(block.get("text").map(|text| piece("text_delta", "text", text)));
            pieces.extend(block.list("citations")?.into_iter().map(|one| piece("citations_delta", "citation", one)));
            start.with("text", "\"\"").without("citations")
        }
        Some("thinking") => {
            pieces.extend(block.get("thinking").map(|text| piece("thinking_delta", "thinking", text)));
            let signature = block.get("signature").filter(|signature| *signature != "\"\"");
            pieces.extend(signature.map(|signature| piece("signature_delta", "signature", signature)));
            start.with("thinking", "\"\"").with("signature", "\"\"")
        }
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => {
            let input = block.get("input").unwrap_or("{}");
            pieces.push(piece("input_json_delta", "partial_json", &quote(input)));
            start.with("input", "{}")
        }
        _ => start,
    };
    Ok((start, pieces))
}

fn event(name: &'static str, members: &str) -> SentEvent {
    SentEvent::named(name, format!(r#"{{"type":"{name}",{members}}}"#))
}
