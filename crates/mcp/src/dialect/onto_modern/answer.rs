//! Answers of a modern server, as a client of sessions reads them.
//!
//! In: a final result or error, with the id of the client's request. Out: the same without what
//! the modern era alone has, and without what strict clients of the older schema fail on: content
//! that is structured but no object, schemas with `true` for a property, output schemas of other
//! types. Freshness (`ttlMs`, `cacheScope`) stays in lists, which go through our cache; it honours
//! them. Unknown members, key order and number text stay.

use quorate_jsonrpc::{
    Frame, MembersError, Span, Splice, cut_elements, cut_members, elements, members, pick_exact, quote,
};

use crate::codec::ErrorView;
use crate::dialect::v2026_07_28::META_SUBSCRIPTION_ID;
use crate::error::{
    HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, MISSING_CAPABILITY, RESOURCE_NOT_FOUND, UNSUPPORTED_VERSION,
};
use crate::method::Method;
use crate::param::ParamRules;

/// The longest list of missing capabilities that a message names, in bytes.
const NAMED_BYTES_MAX: usize = 256;

/// A result as the client reads it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer.
    pub frame: Frame,
    /// Tools that were left out because their `x-mcp-header` annotations break the rules: clients
    /// must not offer them (2026-07-28 `basic/transports/streamable-http`).
    pub tools_dropped: usize,
}

/// What an error of a modern server is to a client of sessions.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// It concerns the request: the client gets this.
    Answer(Frame),
    /// It concerns what we said of ourselves: the headers or the version.
    Hop {
        /// The code.
        code: i64,
        /// The server's message.
        message: String,
    },
}

/// Rewrites a complete result of a request of `method`.
///
/// # Errors
/// [`MembersError`] when a member that decides is ambiguous.
pub fn result(frame: &Frame, method: Method) -> Result<Answered, MembersError> {
    let Some(span) = frame.result_span().filter(|span| frame.text_of(*span).starts_with('{')) else {
        return Ok(Answered { frame: frame.clone(), tools_dropped: 0 });
    };
    if method == Method::ListTools {
        return tools(frame, span);
    }
    let frame = if method == Method::CallTool {
        call_result(frame, span)?
    } else if method == Method::ReadResource {
        without(frame, span, &["resultType", "ttlMs", "cacheScope"])?
    } else {
        without(frame, span, &["resultType"])?
    };
    Ok(Answered { frame, tools_dropped: 0 })
}

/// Rewrites a change notification of a listen stream: a session has no subscription ids.
///
/// # Errors
/// [`MembersError`] when a member that decides is ambiguous.
pub fn notification(frame: &Frame) -> Result<Frame, MembersError> {
    let Some(params) = frame.params_span() else { return Ok(frame.clone()) };
    let [meta] = pick_exact(frame.text_of(params), params.start, ["_meta"])?;
    let Some(meta) = meta.filter(|meta| frame.text_of(*meta).starts_with('{')) else { return Ok(frame.clone()) };
    let told = without(frame, meta, &[META_SUBSCRIPTION_ID])?;
    let is_empty = meta.len() + told.bytes().len() - frame.bytes().len() == "{}".len();
    match told.params_span() {
        // It had nothing else to say.
        Some(params) if is_empty => without(&told, params, &["_meta"]),
        Some(_) | None => Ok(told),
    }
}

/// Rewrites an error that answers a request of `method`; `asked` tells whether the client was asked
/// for input before, so that the error may concern that.
pub(super) fn error(frame: Frame, method: Method, asked: bool) -> Failed {
    let Ok(view) = ErrorView::read(&frame) else { return Failed::Answer(frame) };
    match view.code {
        HEADER_MISMATCH | UNSUPPORTED_VERSION => Failed::Hop { code: view.code, message: view.message },
        MISSING_CAPABILITY => {
            let missing = view.data.map(|data| missing(&frame, data)).unwrap_or_default();
            let message = if missing.is_empty() {
                view.message
            } else {
                format!("{} (the client did not declare: {missing})", view.message)
            };
            Failed::Answer(recoded(frame, INVALID_REQUEST, Some(&message)))
        }
        // The URI is the one parameter that it can be about, but for the input of a retry.
        INVALID_PARAMS if method == Method::ReadResource && (!asked || names_uri(&frame, view.data)) => {
            Failed::Answer(recoded(frame, RESOURCE_NOT_FOUND, None))
        }
        _ => Failed::Answer(frame),
    }
}

/// Returns the frame without members of the object at `span`.
fn without(frame: &Frame, span: Span, keys: &[&str]) -> Result<Frame, MembersError> {
    let mut splice = Splice::new(frame.bytes());
    remove_all(&mut splice, cut_members(frame.text_of(span), span.start, keys)?);
    Ok(frame.spliced(&splice))
}

fn remove_all(splice: &mut Splice<'_>, cuts: Vec<Span>) {
    for cut in cuts {
        splice.remove(cut);
    }
}

/// Structured content that is no object becomes text where the tool gave no other content: the
/// schema of 2025-11-25 has objects only, and clients fail on anything else.
fn call_result(frame: &Frame, span: Span) -> Result<Frame, MembersError> {
    let keys = ["structuredContent", "content"];
    let [structured, content] = pick_exact(frame.text_of(span), span.start, keys)?;
    let Some(structured) = structured.filter(|span| !frame.text_of(*span).starts_with('{')) else {
        return without(frame, span, &["resultType"]);
    };
    let block = format!("{{\"type\":\"text\",\"text\":{}}}", quote(frame.text_of(structured)));
    let shorter = without(frame, span, &["resultType", "structuredContent"])?;
    let Some(span) = shorter.result_span() else { return Ok(shorter) };
    let mut splice = Splice::new(shorter.bytes());
    match content {
        None => {
            let is_empty = shorter.text_of(Span::new(span.start + 1, span.end - 1)).trim_ascii().is_empty();
            let comma = if is_empty { "" } else { "," };
            splice.insert(span.start + 1, format!("\"content\":[{block}]{comma}").into_bytes());
        }
        Some(content) => {
            let mut count = 0;
            let is_list = elements(frame.text_of(content), content.start, |_| count += 1).is_ok();
            if is_list && count == 0 {
                let [content] = pick_exact(shorter.text_of(span), span.start, ["content"])?;
                content.map(|content| splice.replace(content, format!("[{block}]").into_bytes()));
            }
        }
    }
    Ok(shorter.spliced(&splice))
}

/// Rewrites the tools of a list; a schema that cannot be read is left to the client.
fn tools(frame: &Frame, span: Span) -> Result<Answered, MembersError> {
    let [tools] = pick_exact(frame.text_of(span), span.start, ["tools"])?;
    let mut splice = Splice::new(frame.bytes());
    remove_all(&mut splice, cut_members(frame.text_of(span), span.start, &["resultType"])?);
    let mut tools_dropped = 0;
    if let Some(tools) = tools {
        let mut kept = Vec::new();
        let cuts = cut_elements(frame.text_of(tools), tools.start, |tool| {
            let usable = is_usable(frame, tool);
            if usable {
                kept.push(tool);
            }
            !usable
        });
        let cuts = cuts.unwrap_or_default();
        tools_dropped = cuts.len();
        remove_all(&mut splice, cuts);
        for tool in kept {
            schemas(&mut splice, frame, tool);
        }
    }
    Ok(Answered { frame: frame.spliced(&splice), tools_dropped })
}

fn is_usable(frame: &Frame, tool: Span) -> bool {
    match pick_exact(frame.text_of(tool), tool.start, ["inputSchema"]) {
        Ok([Some(schema)]) => ParamRules::of(frame.text_of(schema)).is_ok(),
        Ok([None]) | Err(_) => true,
    }
}

/// Rewrites the schemas of one tool.
fn schemas(splice: &mut Splice<'_>, frame: &Frame, tool: Span) {
    let raw = frame.text_of(tool);
    let Ok([input, output]) = pick_exact(raw, tool.start, ["inputSchema", "outputSchema"]) else { return };
    if let Some(input) = input {
        properties(splice, frame, input);
    }
    let Some(output) = output else { return };
    if is_of_objects(frame, output) {
        properties(splice, frame, output);
    } else if let Ok(cuts) = cut_members(raw, tool.start, &["outputSchema"]) {
        remove_all(splice, cuts);
    }
}

fn is_of_objects(frame: &Frame, schema: Span) -> bool {
    let kind = pick_exact(frame.text_of(schema), schema.start, ["type"]);
    matches!(kind, Ok([Some(kind)]) if frame.text_of(kind) == "\"object\"")
}

/// Writes properties that are `true` or `false` as the objects that mean the same.
fn properties(splice: &mut Splice<'_>, frame: &Frame, schema: Span) {
    let Ok([Some(properties)]) = pick_exact(frame.text_of(schema), schema.start, ["properties"]) else { return };
    let mut found = Vec::new();
    let read = members(frame.text_of(properties), properties.start, |_, value| match frame.text_of(value) {
        "true" => found.push((value, "{}")),
        "false" => found.push((value, "{\"not\":{}}")),
        _ => {}
    });
    if read.is_ok() {
        for (value, meaning) in found {
            splice.replace(value, meaning.as_bytes());
        }
    }
}

/// Returns an error with another code, and another message where one is given.
fn recoded(frame: Frame, code: i64, message: Option<&str>) -> Frame {
    let Some(span) = frame.error_span() else { return frame };
    let Ok([old_code, old_message]) = pick_exact(frame.text_of(span), span.start, ["code", "message"]) else {
        return frame;
    };
    let mut splice = Splice::new(frame.bytes());
    if let Some(span) = old_code {
        splice.replace(span, code.to_string().into_bytes());
    }
    if let (Some(span), Some(message)) = (old_message, message) {
        splice.replace(span, quote(message).into_bytes());
    }
    frame.spliced(&splice)
}

/// Names what `data.requiredCapabilities` requires.
fn missing(frame: &Frame, data: Span) -> String {
    let mut names = Vec::new();
    if let Ok([Some(required)]) = pick_exact(frame.text_of(data), data.start, ["requiredCapabilities"]) {
        // What is ambiguous here only makes a text shorter.
        let _told_so_far = members(frame.text_of(required), required.start, |name, value| {
            let before = names.len();
            if name == "extensions" {
                let _as_above = members(frame.text_of(value), value.start, |extension, _| {
                    names.push(format!("extensions.{extension}"));
                });
            }
            if names.len() == before {
                names.push(name.to_owned());
            }
        });
    }
    let mut named = names.join(", ");
    if named.len() > NAMED_BYTES_MAX {
        let end = (0..=NAMED_BYTES_MAX).rev().find(|end| named.is_char_boundary(*end)).unwrap_or_default();
        named.truncate(end);
        named.push('…');
    }
    named
}

fn names_uri(frame: &Frame, data: Option<Span>) -> bool {
    data.is_some_and(|data| matches!(pick_exact(frame.text_of(data), data.start, ["uri"]), Ok([Some(_)])))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect(text)
    }

    fn rewritten(method: Method, result_text: &str) -> (String, usize) {
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result_text}}}"#));
        let Answered { frame: answer, tools_dropped } = result(&answer, method).expect("a result");
        // The spans must have moved with the bytes.
        let again = frame(answer.text());
        assert_eq!(again.result(), answer.result());
        (String::from_utf8(answer.result().expect("a result").to_vec()).expect("text"), tools_dropped)
    }

    #[test]
    fn a_result_loses_what_only_the_modern_era_has() {
        let text = r#"{"type":"text","text":"[1, 2.0]"}"#;
        let cases = [
            (Method::GetPrompt, r#"{"resultType":"complete","messages":[],"x":1.0}"#, r#"{"messages":[],"x":1.0}"#),
            (Method::Complete, r#"{"completion":{"values":[]}}"#, r#"{"completion":{"values":[]}}"#),
            (
                Method::ReadResource,
                r#"{"contents":[],"ttlMs":5,"resultType":"complete","cacheScope":"public"}"#,
                r#"{"contents":[]}"#,
            ),
            (
                Method::ListPrompts,
                r#"{"resultType":"complete","prompts":[],"ttlMs":5,"cacheScope":"public"}"#,
                r#"{"prompts":[],"ttlMs":5,"cacheScope":"public"}"#,
            ),
            (
                Method::CallTool,
                r#"{"resultType":"complete","content":[],"structuredContent":{"a":1.0},"isError":true}"#,
                r#"{"content":[],"structuredContent":{"a":1.0},"isError":true}"#,
            ),
            (
                Method::CallTool,
                r#"{"content":[{"type":"image"}],"structuredContent":[1, 2.0],"resultType":"complete"}"#,
                r#"{"content":[{"type":"image"}]}"#,
            ),
            (
                Method::CallTool,
                r#"{"structuredContent":[1, 2.0],"content":[ ]}"#,
                &format!(r#"{{"content":[{text}]}}"#),
            ),
            (
                Method::CallTool,
                r#"{"structuredContent":[1, 2.0],"_meta":{}}"#,
                &format!(r#"{{"content":[{text}],"_meta":{{}}}}"#),
            ),
            (Method::CallTool, r#"{"structuredContent":[1, 2.0]}"#, &format!(r#"{{"content":[{text}]}}"#)),
            (Method::CallTool, "7", "7"),
        ];
        for (method, raw, expected) in cases {
            assert_eq!(rewritten(method, raw).0, expected, "{raw}");
        }
    }

    #[test]
    fn tools_have_schemas_that_clients_of_sessions_can_read() {
        let invalid =
            r#"{"name":"bad","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}"#;
        let odd = r#"{"name":"odd","inputSchema":{"type":"object","properties":{"any":true,"none":false,"o":{"properties":{"x":true}}}},"outputSchema":{"type":"array"},"z":1}"#;
        let plain = r#"{"outputSchema":{"type":"object","properties":{"a":true}},"name":"plain"}"#;
        let list =
            format!(r#"{{"tools":[{invalid},{odd},{plain},{invalid}],"resultType":"complete","nextCursor":"c"}}"#);

        let (text, dropped) = rewritten(Method::ListTools, &list);

        let odd = r#"{"name":"odd","inputSchema":{"type":"object","properties":{"any":{},"none":{"not":{}},"o":{"properties":{"x":true}}}},"z":1}"#;
        let plain = r#"{"outputSchema":{"type":"object","properties":{"a":{}}},"name":"plain"}"#;
        assert_eq!(text, format!(r#"{{"tools":[{odd},{plain}],"nextCursor":"c"}}"#));
        assert_eq!(dropped, 2);
        for unreadable in [r#"{"tools":{}}"#, r#"{"tools":[7,{"inputSchema":[]},{"outputSchema":null}]}"#] {
            let left = rewritten(Method::ListTools, unreadable).0;
            assert!(left == unreadable || left == r#"{"tools":[7,{"inputSchema":[]},{}]}"#, "{left}");
        }
    }

    #[test]
    fn an_ambiguous_member_is_an_error() {
        let answer = frame(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"content":[]}}"#);
        assert!(result(&answer, Method::CallTool).is_err());
    }

    #[test]
    fn errors_have_the_codes_of_the_clients_era() {
        let uri = r#","data":{"uri":"x://y"}"#;
        let capability =
            r#","data":{"requiredCapabilities":{"sampling":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
        let named = "m (the client did not declare: sampling, extensions.io.modelcontextprotocol/tasks)";
        let cases = [
            (Method::ReadResource, false, -32602, "", -32002, "m"),
            (Method::ReadResource, false, -32602, uri, -32002, "m"),
            (Method::ReadResource, true, -32602, "", -32602, "m"),
            (Method::ReadResource, true, -32602, uri, -32002, "m"),
            (Method::CallTool, false, -32602, uri, -32602, "m"),
            (Method::CallTool, false, -32021, capability, -32600, named),
            (Method::CallTool, false, -32021, "", -32600, "m"),
            (Method::CallTool, false, -32601, "", -32601, "m"),
            (Method::CallTool, false, 7, "", 7, "m"),
        ];
        for (method, asked, code, data, expected, message) in cases {
            let text = |code: i64, message: &str| {
                format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{message}"{data}}}}}"#)
            };
            let Failed::Answer(answer) = error(frame(&text(code, "m")), method, asked) else { panic!("{code}") };
            assert_eq!(answer.text(), text(expected, message));
            assert_eq!(frame(answer.text()).error(), answer.error());
        }
        for code in [-32020, -32022] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m"}}}}"#);
            assert!(matches!(error(frame(&text), Method::CallTool, false), Failed::Hop { .. }), "{code}");
        }
    }

    #[test]
    fn a_long_list_of_missing_capabilities_is_cut() {
        let names: Vec<String> = (0..100).map(|number| format!(r#""é{number}":{{}}"#)).collect();
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32021,"message":"m","data":{{"requiredCapabilities":{{{}}}}}}}}}"#,
            names.join(",")
        );
        let Failed::Answer(answer) = error(frame(&text), Method::CallTool, false) else { panic!("an answer") };
        let message = ErrorView::read(&answer).expect("an error").message;
        assert!(message.len() < 320 && message.ends_with("…)"), "{message}");
    }

    #[test]
    fn a_change_notification_names_no_subscription() {
        let id = "io.modelcontextprotocol/subscriptionId";
        let cases = [
            (
                format!(r#""params":{{"uri":"u","_meta":{{"{id}":1,"x":1.0}}}}"#),
                r#""params":{"uri":"u","_meta":{"x":1.0}}"#,
            ),
            (format!(r#""params":{{"_meta":{{"{id}":1}},"uri":"u"}}"#), r#""params":{"uri":"u"}"#),
            (format!(r#""params":{{"_meta":{{"{id}":1}}}}"#), r#""params":{}"#),
            (r#""params":{"_meta":7}"#.to_owned(), r#""params":{"_meta":7}"#),
            (r#""x":1"#.to_owned(), r#""x":1"#),
        ];
        for (members, expected) in cases {
            let start = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","#;
            let told = notification(&frame(&format!("{start}{members}}}"))).expect("a notification");
            assert_eq!(told.text(), format!("{start}{expected}}}"));
        }
    }
}
