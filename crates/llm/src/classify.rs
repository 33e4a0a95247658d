//! What a request asks, as far as the gateway decides by it: the model, whether it is streamed, what is in it.
//!
//! In: a body. Out: a [`Call`] with the spans of what a gateway replaces. One pass over the body; what is in the conversation is looked
//! for only where its words are, since most requests have nothing but text. Everything else stays bytes. It is said of every shape
//! alike, so that policies and routes do not know shapes.

use bytes::Bytes;
use memchr::memmem;
use quorate_jsonrpc::{MembersError, Span, elements, members, pick, text};

use crate::api::Api;
use crate::error::Fault;

/// The longest name of a model: longer than any provider's, short enough for a log.
pub const MODEL_CHARS_MAX: usize = 256;

/// Types of parts that are no text, quotes left out: those of the APIs, and those that engines which speak them have beside (vLLM,
/// SGLang, OpenRouter, Mistral).
const MEDIA_TYPES: [(&str, Medium); 17] = [
    ("image_url", Medium::Image),
    ("input_image", Medium::Image),
    ("image", Medium::Image),
    ("image_embeds", Medium::Image),
    ("computer_screenshot", Medium::Image),
    ("input_audio", Medium::Audio),
    ("audio_url", Medium::Audio),
    ("audio", Medium::Audio),
    ("file", Medium::Document),
    ("input_file", Medium::Document),
    ("document", Medium::Document),
    ("document_url", Medium::Document),
    ("container_upload", Medium::Document),
    ("video_url", Medium::Document),
    ("input_video", Medium::Document),
    ("video", Medium::Document),
    ("input_document", Medium::Document),
];
/// What Gemini's parts that are no text are called, up to the letters that all of them end with.
const MEDIA_NAMES: [&[u8]; 4] = [b"\"inlineD", b"\"inline_d", b"\"fileD", b"\"file_d"];
const MEDIA_NAMES_END: &[u8] = b"ata\"";

/// Members by which a model is given tools: its own, those that the API ran before it had tools, those of servers, and a search.
const TOOLS: [&str; 4] = ["tools", "functions", "mcp_servers", "web_search_options"];

/// The members that are decided on.
const NAMES: [&str; 15] = [
    "model",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "mcp_servers",
    "web_search_options",
    "messages",
    "input",
    "contents",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
];

/// How deep parts are looked for: parts of results of tools are the deepest.
const DEPTH_MAX: usize = 12;

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

/// What a part is that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Image,
    Audio,
    Document,
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
    messages: Option<Span>,
    input: Option<Span>,
    contents: Option<Span>,
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
            "messages" => found.messages = Some(span),
            "input" => found.input = Some(span),
            "contents" => found.contents = Some(span),
            "background" => found.background = Some(span),
            "max_tokens" => found.limits[0] = Some(span),
            "max_completion_tokens" => found.limits[1] = Some(span),
            "max_output_tokens" => found.limits[2] = Some(span),
            "generationConfig" | "generation_config" if found.limits[3].is_some() => twin = Some(key.to_owned()),
            "generationConfig" | "generation_config" => found.limits[3] = Some(span),
            _ => match TOOLS.iter().position(|name| *name == key) {
                Some(at) => found.tools[at] = Some(span),
                // Who reads names in any case would take it for the one that was decided on.
                None if NAMES.iter().any(|name| name.eq_ignore_ascii_case(key)) => twin = Some(key.to_owned()),
                None => {}
            },
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
        let mut has = Has { tools: self.tools.iter().flatten().any(is_some), ..Has::default() };
        let (name, said) = match api {
            Api::Chat | Api::Messages | Api::CountTokens => ("messages", self.messages),
            Api::Responses | Api::Embeddings => ("input", self.input),
            Api::Generate => ("contents", self.contents),
        };
        let said = said.map(|span| span.of(body)).filter(|said| may_have_media(said));
        if said.is_some_and(|said| look(said, 0, &mut has).is_none()) {
            let message =
                "what is said cannot be looked through: a member stands there twice, is no text, or is nested too deep";
            return Err(Fault::invalid(name, message));
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

/// Whether words of media are in a text, or escapes by which they could be written otherwise. Within a text these words have no quotes
/// that are not escaped, so that talking of images is no image. Prompts are large and media rare: it is a few passes that compare words
/// only where they could be.
fn may_have_media(said: &str) -> bool {
    let said = said.as_bytes();
    let is_value = |after: &[u8]| {
        let value = after.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let word = value
            .and_then(|value| value.strip_prefix(b"\""))
            .and_then(|value| value.split(|byte| *byte == b'"').next());
        word.is_some_and(|word| MEDIA_TYPES.iter().any(|(name, _)| name.as_bytes() == word))
    };
    let kind = b"\"type\"";
    memmem::find_iter(said, kind).any(|at| is_value(&said[at + kind.len()..]))
        || memmem::find_iter(said, MEDIA_NAMES_END).any(|at| MEDIA_NAMES.iter().any(|name| said[..at].ends_with(name)))
        || memmem::find(said, b"\\u00").is_some()
}

/// Looks for parts that are no text; none where it cannot be said what is there.
fn look(raw: &str, depth: usize, has: &mut Has) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match raw.as_bytes().first() {
        Some(b'[') => {
            let mut all = Some(());
            elements(raw, 0, |span| all = all.and_then(|()| look(span.of(raw), depth + 1, has))).ok()?;
            all
        }
        Some(b'{') => {
            let mut nested = Vec::new();
            members(raw, 0, |key, span| match key {
                "type" => has.note(text(span.of(raw)).unwrap_or_default().as_ref()),
                "inlineData" | "inline_data" | "fileData" | "file_data" => has.note_media(span.of(raw)),
                "content" | "parts" | "output" => nested.push(span),
                _ => {}
            })
            .ok()?;
            nested.into_iter().try_for_each(|span| look(span.of(raw), depth + 1, has))
        }
        _ => Some(()),
    }
}

// === impl Has ===

impl Has {
    /// Notes a part of a type.
    fn note(&mut self, kind: &str) {
        let medium = MEDIA_TYPES.iter().find(|(name, _)| *name == kind);
        match medium.map(|(_, medium)| medium) {
            Some(Medium::Image) => self.images = true,
            Some(Medium::Audio) => self.audio = true,
            Some(Medium::Document) => self.documents = true,
            None => {}
        }
    }

    /// Notes a part of Gemini, which says its media type.
    fn note_media(&mut self, raw: &str) {
        let Ok(picked) = pick(raw, 0, ["mimeType", "mime_type"]) else {
            // It may be any of them.
            (self.images, self.audio, self.documents) = (true, true, true);
            return;
        };
        let kind = picked.into_iter().flatten().next().and_then(|span| text(span.of(raw)));
        match kind.as_deref().unwrap_or_default().split('/').next() {
            Some("image") => self.images = true,
            Some("audio") => self.audio = true,
            _ => self.documents = true,
        }
    }
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
    fn media_are_found_wherever_they_are_and_however_they_are_written() {
        let images = Has { images: true, ..Has::default() };
        let cases = [
            (r#"[{"role":"user","content":"see \"image_url\""}]"#, Has::default()),
            (r#"[{"role":"user","content":[{"type":"text","text":"image_url"}]}]"#, Has::default()),
            (r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#, images),
            (r#"[{"role":"user","content":[{"type":"im\u0061ge_url"}]}]"#, images),
            (r#"[{"role":"user","content":[{"ty\u0070e":"image"}]}]"#, images),
            (r#"[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]"#, images),
            (
                r#"[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":""}}]}]"#,
                Has { audio: true, ..Has::default() },
            ),
            (
                r#"[{"parts":[{"file_data":{"mime_type":"application/pdf"}}]}]"#,
                Has { documents: true, ..Has::default() },
            ),
            (
                r#"[{"role":"user","content":[{"type":"audio_url"},{"type" : "video_url"}]}]"#,
                Has { audio: true, documents: true, ..Has::default() },
            ),
            (
                r#"[{"role":"user","content":[{"type":"input_audio"},{"type":"file"}]}]"#,
                Has { audio: true, documents: true, ..Has::default() },
            ),
        ];
        for (messages, has) in cases {
            let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
            assert_eq!(call(Api::Chat, &body).expect("it is one").has, has, "{messages}");
        }
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
