//! The prompt and the resource of the demo server.
//!
//! Both are fixed texts: the prompt takes a topic, which is cut to [`TOPIC_MAX`] characters; the
//! resource says where it came from, so that whoever reads it through the gateway sees the way.

use quorate_jsonrpc::{Frame, pick, quote, text};
use quorate_mcp::Fault;

const PROMPT: &str = "explain";
const RESOURCE: &str = "demo://about";
const ABOUT: &str = "# The demo server\n\nThis text came from the demo tool server inside `quorate up`, through the \
    gateway. Start `quorate up --mcp NAME=URL` to put your own servers in its place.\n";
/// Longest topic that is repeated in the prompt, in characters.
const TOPIC_MAX: usize = 1_000;

/// Returns the definitions of all prompts, a JSON array.
pub(super) fn prompts() -> String {
    format!(
        r#"[{{"name":"{PROMPT}","title":"Explain","description":"Asks for a short explanation of a topic.","arguments":[{{"name":"topic","description":"what to explain","required":true}}]}}]"#
    )
}

/// Returns the definitions of all resources, a JSON array.
pub(super) fn resources() -> String {
    format!(
        r#"[{{"uri":"{RESOURCE}","name":"about","title":"About the demo","description":"What this server is.","mimeType":"text/markdown"}}]"#
    )
}

/// Renders a prompt.
///
/// # Errors
/// [`Fault::UnknownPrompt`], or [`Fault::InvalidParams`] without a topic.
pub(super) fn prompt(name: &str, frame: &Frame) -> Result<String, Fault> {
    if name != PROMPT {
        return Err(Fault::UnknownPrompt { name: name.to_owned() });
    }
    let invalid = Fault::InvalidParams { field: "arguments.topic", reason: "must be a string" };
    let topic: String = topic(frame).ok_or(invalid)?.chars().take(TOPIC_MAX).collect();
    let request =
        quote(&format!("Explain {topic} in three sentences, for somebody who hears of it for the first time."));
    Ok(format!(r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":{request}}}}}]}}"#))
}

/// Reads a resource.
///
/// # Errors
/// [`Fault::ResourceNotFound`].
pub(super) fn read(uri: &str) -> Result<String, Fault> {
    if uri != RESOURCE {
        return Err(Fault::ResourceNotFound { uri: uri.to_owned() });
    }
    Ok(format!(r#"{{"contents":[{{"uri":"{RESOURCE}","mimeType":"text/markdown","text":{}}}]}}"#, quote(ABOUT)))
}

fn topic(frame: &Frame) -> Option<String> {
    let whole = frame.text();
    let params = frame.params_span()?;
    let [arguments] = pick(params.of(whole), params.start, ["arguments"]).ok()?;
    let arguments = arguments?;
    let [topic] = pick(arguments.of(whole), arguments.start, ["topic"]).ok()?;
    text(topic?.of(whole)).map(Into::into)
}
