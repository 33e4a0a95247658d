//! A message as its events: each block begins, comes in one piece, and is over.
//!
//! In: a body. Out: its events. A block of a kind that has no pieces, such as what a tool of the provider found, begins with all that it
//! has, as it does in Anthropic's own streams.

use quorate_jsonrpc::quote;

use super::Said;
use super::object::Object;
use crate::dialect::SentEvent;
use crate::dialect::messages::event;
use crate::error::Fault;

/// What an answer costs that does not tell: clients read it in any case.
const UNTOLD: &str = r#"{"input_tokens":0,"output_tokens":0}"#;

pub(super) fn events(body: &Object<'_>, said: &mut Said) -> Result<(), Fault> {
    let begun = body.clone().with("content", "[]").with("stop_reason", "null").with("stop_sequence", "null");
    let begun = begun.or("usage", UNTOLD);
    said.push(event("message_start", &format!(r#""message":{}"#, begun.write())))?;
    for (index, raw) in body.list("content")?.into_iter().enumerate() {
        let block = Object::read(raw)?;
        let (start, pieces) = spread(&block)?;
        said.push(event("content_block_start", &format!(r#""index":{index},"content_block":{}"#, start.write())))?;
        for piece in pieces {
            said.push(event("content_block_delta", &format!(r#""index":{index},"delta":{piece}"#)))?;
        }
        said.push(event("content_block_stop", &format!(r#""index":{index}"#)))?;
    }
    let member = |name: &str| body.get(name).map(|value| format!(r#","{name}":{value}"#)).unwrap_or_default();
    let delta = format!(
        r#"{{"stop_reason":{},"stop_sequence":{}{}{}}}"#,
        body.get("stop_reason").unwrap_or("\"end_turn\""),
        body.get("stop_sequence").unwrap_or("null"),
        member("stop_details"),
        member("container"),
    );
    let (usage, management) = (body.get("usage").unwrap_or(UNTOLD), member("context_management"));
    said.push(event("message_delta", &format!(r#""delta":{delta},"usage":{usage}{management}"#)))?;
    said.push(SentEvent::named("message_stop", r#"{"type":"message_stop"}"#.to_owned()))
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
