//! What a request asks, as far as the gateway decides by it: the model, whether it is streamed, what is in it.
//!
//! In: a body. Out: a [`Call`] with the spans of what a gateway replaces. One pass over the body; what is in the conversation is looked
//! for only where its words are, since most requests have nothing but text. Everything else stays bytes. It is said of every shape
//! alike, so that policies and routes do not know shapes.

mod media;

use bytes::Bytes;
use quorate_jsonrpc::{MembersError, Span, eq_folded, members, pick, text};

use crate::api::Api;
use crate::error::Fault;

/// The longest name of a model: longer than any provider's, short enough for a log.
pub const MODEL_CHARS_MAX: usize = 256;

/// Members by which a model is given tools: its own, those that the API had before them, those of servers, and a
/// search, also as a plugin (OpenRouter).
const TOOLS: [&str; 5] = ["tools", "functions", "mcp_servers", "web_search_options", "plugins"];

/// Members that name what the provider keeps, which may have anything in it.
const KEPT: [&str; 5] = ["prompt", "previous_response_id", "conversation", "cachedContent", "cached_content"];

/// The other members that are decided on.
const NAMES: [&str; 11] = [
    "model",
    "stream",
    "stream_options",
    "messages",
    "input",
    "contents",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
];

/// A request that is understood.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub api: Api,
    /// The body as it came.
    pub body: Bytes,
    /// The model, as the client calls it.
    pub model: String,
    /// Where it stands in the body, quotes included; none where the path says it.
    pub model_span: Option<Span>,
    /// Whether the answer comes as it is made.
    pub is_streamed: bool,
    /// Whether the client wants to know what a stream costs (chat completions).
    pub wants_usage: bool,
    /// The value of `stream_options`, if there is one.
    pub stream_options: Option<Span>,
    /// Most tokens of the answer, if the client says.
    pub output_tokens_max: Option<u64>,
    /// What is in it.
    pub has: Has,
}

/// What is in a request, by which policies and routes decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// Tools that may be called.
    pub tools: bool,
    /// Images.
    pub images: bool,
    /// Recordings.
    pub audio: bool,
    /// Documents, and files of any other kind, such as videos.
    pub documents: bool,
}

/// What a path says.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// What is asked.
    pub api: Api,
    /// The model (Gemini).
    pub model: Option<&'a str>,
    /// Whether the answer comes as it is made (Gemini).
    pub is_streamed: bool,
}

/// The members that are looked at.
#[derive(Default)]
struct Found {
    model: Option<Span>,
    stream: Option<Span>,
    stream_options: Option<Span>,
    tools: [Option<Span>; TOOLS.len()],
    kept: [Option<Span>; KEPT.len()],
    /// What is said: by `messages`, `input` and `contents`, of which an API knows one, or a server more.
    said: Vec<(&'static str, Span)>,
    background: Option<Span>,
    limits: [Option<Span>; 4],
}

/// Understands a request.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that cannot be taken.
pub fn classify(path: &Path<'_>, body: Bytes) -> Result<Call, Fault> {
    let text = std::str::from_utf8(&body)
        .map_err(|error| Fault::invalid("", format!("the body is no UTF-8 from byte {}", error.valid_up_to())))?;
    let found = Found::of(text)?;
    let model = match path.model {
        Some(model) => model.to_owned(),
        None => string(text, found.model, "model")?
            .ok_or_else(|| Fault::invalid("model", "the request names no model: a string is needed"))?,
    };
    check_model(&model)?;
    let is_streamed = match path.api {
        // Its path says it, and a member of this name means nothing there.
        Api::Generate => path.is_streamed,
        Api::Chat | Api::Responses | Api::Embeddings | Api::Messages | Api::CountTokens => {
            boolean(text, found.stream, "stream")?.unwrap_or(false)
        }
    };
    if path.api == Api::Responses && boolean(text, found.background, "background")?.unwrap_or(false) {
        return Err(Fault::invalid("background", "answers that are made in the background are not served"));
    }
    let wants_usage = match found.stream_options.filter(|span| span.of(text) != "null") {
        None => false,
        Some(span) => {
            let picked = pick(span.of(text), span.start, ["include_usage"]);
            let [wanted] = picked.map_err(|_| Fault::invalid("stream_options", "it is no object"))?;
            boolean(text, wanted, "stream_options.include_usage")?.unwrap_or(false)
        }
    };
    let output_tokens_max = found.output_tokens_max(text, path.api)?;
    let has = found.has(text, path.api)?;
    Ok(Call {
        api: path.api,
        model,
        model_span: found.model.filter(|_| path.model.is_none()),
        is_streamed,
        wants_usage,
        stream_options: found.stream_options,
        output_tokens_max,
        has,
        body,
    })
}

fn check_model(model: &str) -> Result<(), Fault> {
    if model.is_empty() {
        return Err(Fault::invalid("model", "the model's name is empty"));
    }
    if model.chars().count() > MODEL_CHARS_MAX {
        return Err(Fault::invalid("model", format!("a model's name has {MODEL_CHARS_MAX} characters at most")));
    }
    if model.chars().any(char::is_control) {
        return Err(Fault::invalid("model", "a model's name has no control characters"));
    }
    Ok(())
}

// === impl Found ===

impl Found {
    fn of(body: &str) -> Result<Self, Fault> {
        let (mut found, mut twin) = (Self::default(), None);
        members(body, 0, |key, span| match key {
            "model" => found.model = Some(span),
            "stream" => found.stream = Some(span),
            "stream_options" => found.stream_options = Some(span),
            "messages" => found.said.push(("messages", span)),
            "input" => found.said.push(("input", span)),
            "contents" => found.said.push(("contents", span)),
            "background" => found.background = Some(span),
            "max_tokens" => found.limits[0] = Some(span),
            "max_completion_tokens" => found.limits[1] = Some(span),
            "max_output_tokens" => found.limits[2] = Some(span),
            "generationConfig" | "generation_config" if found.limits[3].is_some() => twin = Some(key.to_owned()),
            "generationConfig" | "generation_config" => found.limits[3] = Some(span),
            _ => {
                let of = |names: &[&str]| names.iter().position(|name| *name == key);
                let is_variant = |names: &[&str]| names.iter().any(|name| eq_folded(name, key));
                if let Some(at) = of(&TOOLS) {
                    found.tools[at] = Some(span);
                } else if let Some(at) = of(&KEPT) {
                    found.kept[at] = Some(span);
                } else if is_variant(&NAMES) || is_variant(&TOOLS) || is_variant(&KEPT) {
                    // Who reads names in any case would take it for the one that was decided on.
                    twin = Some(key.to_owned());
                }
            }
        })
        .map_err(|error| match error {
            MembersError::Type => Fault::invalid("", "the body is no JSON object"),
            MembersError::Syntax { at } => Fault::invalid("", format!("the body is no JSON from byte {at}")),
            MembersError::Duplicate { member } => {
                Fault::invalid(member.clone(), format!("{member} stands there more than once"))
            }
        })?;
        match twin {
            Some(name) => {
                let message = format!(
                    "{name:?} is another spelling of a parameter that counts: write each one once, as it is documented"
                );
                Err(Fault::invalid(name, message))
            }
            None => Ok(found),
        }
    }

    fn output_tokens_max(&self, body: &str, api: Api) -> Result<Option<u64>, Fault> {
        let [old, young, responses, generation] = self.limits;
        match api {
            // Providers know one or the other: what is decided on is what any of them would take.
            Api::Chat => Ok(number(body, young, "max_completion_tokens")?.max(number(body, old, "max_tokens")?)),
            Api::Responses => number(body, responses, "max_output_tokens"),
            Api::Messages | Api::CountTokens => number(body, old, "max_tokens"),
            Api::Generate => {
                let Some(span) = generation.filter(|span| span.of(body) != "null") else { return Ok(None) };
                let picked = pick(span.of(body), span.start, ["maxOutputTokens", "max_output_tokens"]);
                let [own, other] = picked.map_err(|_| Fault::invalid("generationConfig", "it is no object"))?;
                let name = "generationConfig.maxOutputTokens";
                Ok(number(body, own, name)?.max(number(body, other, name)?))
            }
            Api::Embeddings => Ok(None),
        }
    }

    fn has(&self, body: &str, api: Api) -> Result<Has, Fault> {
        let is_some = |span: &Span| !is_empty(span.of(body));
        // A text by this name is what the oldest API had; those that are served know it as the name of a prompt that is kept.
        let is_kept = self.kept.iter().flatten().any(is_some) && api != Api::Embeddings;
        let mut has = if is_kept { Has::ALL } else { Has::default() };
        has.tools |= self.tools.iter().flatten().any(is_some);
        for (name, span) in &self.said {
            if media::look(span.of(body), &mut has).is_none() {
                let message = "what is said cannot be looked through: a member stands there twice, also in another case, \
                               is no text, or is nested too deep";
                return Err(Fault::invalid(*name, message));
            }
        }
        Ok(has)
    }
}

/// Whether a value is null or an array of nothing.
fn is_empty(raw: &str) -> bool {
    let raw = raw.trim();
    let within = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    raw == "null" || within.is_some_and(|within| within.trim().is_empty())
}

// === impl Has ===

impl Has {
    /// Everything there can be.
    const ALL: Self = Self { tools: true, images: true, audio: true, documents: true };
}

fn string(body: &str, span: Option<Span>, field: &str) -> Result<Option<String>, Fault> {
    let Some(raw) = span.map(|span| span.of(body)).filter(|raw| *raw != "null") else { return Ok(None) };
    match text(raw) {
        Some(text) => Ok(Some(text.into_owned())),
        None => Err(Fault::invalid(field, format!("{field} is no string"))),
    }
}

fn boolean(body: &str, span: Option<Span>, field: &str) -> Result<Option<bool>, Fault> {
    match span.map(|span| span.of(body)) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Fault::invalid(field, format!("{field} is neither true nor false"))),
    }
}

fn number(body: &str, span: Option<Span>, field: &str) -> Result<Option<u64>, Fault> {
    match span.map(|span| span.of(body)) {
        None | Some("null") => Ok(None),
        Some(raw) => match raw.parse::<u64>() {
            Ok(tokens) if tokens > 0 => Ok(Some(tokens)),
            _ => Err(Fault::invalid(field, format!("{field} is no whole number from 1"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(api: Api, body: &str) -> Result<Call, Fault> {
        classify(&Path { api, model: None, is_streamed: false }, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn what_is_decided_by_is_found_in_each_shape() {
        let body = r#"{"messages":[],"model":"gpt-x","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":8,"tools":[{}]}"#;
        let chat = call(Api::Chat, body).expect("it is one");
        assert_eq!((chat.model.as_str(), chat.is_streamed, chat.wants_usage), ("gpt-x", true, true));
        assert_eq!((chat.output_tokens_max, chat.has.tools), (Some(9), true), "any provider takes one of them");
        assert_eq!(chat.model_span.map(|span| span.of(body)), Some("\"gpt-x\""));

        let path = Path { api: Api::Generate, model: Some("gemini-x"), is_streamed: true };
        let body = Bytes::from_static(br#"{"contents":[],"generationConfig":{"maxOutputTokens":7}}"#);
        let generate = classify(&path, body).expect("it is one");
        assert_eq!((generate.model.as_str(), generate.is_streamed), ("gemini-x", true));
        assert_eq!((generate.output_tokens_max, generate.model_span), (Some(7), None));
    }

    #[test]
    fn whatever_gives_a_model_tools_is_seen() {
        for (member, expected) in [
            (r#""tools":[{}]"#, true),
            (r#""functions":[{"name":"f"}]"#, true),
            (r#""mcp_servers":[{"type":"url"}]"#, true),
            (r#""web_search_options":{}"#, true),
            (r#""tools":null"#, false),
            (r#""tools":[ ],"functions":[]"#, false),
        ] {
            let body = format!(r#"{{"model":"m",{member}}}"#);
            assert_eq!(call(Api::Chat, &body).expect("it is one").has.tools, expected, "{member}");
        }
        assert!(call(Api::Chat, r#"{"model":"m","Functions":[{}]}"#).is_err(), "in another case it is refused");
    }

    /// A provider reads the member of its API; another one that stands behind it hides nothing.
    #[test]
    fn a_member_of_another_api_hides_no_media() {
        let images = r#"[{"role":"user","content":[{"type":"image_url"}]}]"#;
        for (api, own, other) in [
            (Api::Chat, "messages", "input"),
            (Api::Messages, "messages", "contents"),
            (Api::Responses, "input", "messages"),
        ] {
            let body = format!(r#"{{"model":"m","{own}":{images},"{other}":"x"}}"#);
            assert!(call(api, &body).expect("it is one").has.images, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let cases: [(&str, &str); 14] = [
            ("[]", ""),
            ("{", ""),
            ("{}", "model"),
            (r#"{"model":""}"#, "model"),
            (r#"{"model":7}"#, "model"),
            (r#"{"model":"a\u0000"}"#, "model"),
            (r#"{"model":"a","model":"b"}"#, "model"),
            (r#"{"model":"a","stream":"yes"}"#, "stream"),
            (r#"{"model":"a","stream_options":[]}"#, "stream_options"),
            (r#"{"model":"a","max_tokens":-1}"#, "max_tokens"),
            (r#"{"model":"a","Model":"b"}"#, "Model"),
            (r#"{"model":"a","MAX_TOKENS":9}"#, "MAX_TOKENS"),
            (r#"{"model":"a","generationConfig":{},"generation_config":{}}"#, "generation_config"),
            (r#"{"model":"a","messages":[{"x":1,"x":2,"content":[{"type":"image_url"}]}]}"#, "messages"),
        ];
        for (body, field) in cases {
            let fault = call(Api::Chat, body).expect_err("it is none");
            assert_eq!(fault.field.as_deref(), Some(field), "{body}: {fault}");
        }
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(MODEL_CHARS_MAX + 1));
        assert!(call(Api::Chat, &long).is_err());
    }
}
