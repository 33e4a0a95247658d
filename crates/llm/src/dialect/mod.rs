//! One file per shape: how it says a request, an answer, and an answer in pieces.
//!
//! | Shape | Request | Answer | In pieces |
//! |---|---|---|---|
//! | each | `read`, `write` | `read_answer`, `write_answer` | `Reader`, `Writer` |
//!
//! A reader takes what the specification of its shape allows and names the field that it cannot take. A writer says all that its
//! shape can, notes what it leaves out, and refuses what would change the meaning.

pub mod chat;
mod closed;
mod frame;
pub mod generate;
pub mod messages;
pub mod responses;
mod words;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use quorate_jsonrpc::members;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Usage;
use crate::api::Dialect;
use crate::error::{Fault, Kind};
use crate::loss::Losses;
use crate::message::{Part, Role, Source, ToolCall, Turn};

pub(crate) use words::Words;

/// What a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model, as the provider calls it.
    pub model: &'a str,
    /// What is different about the provider.
    pub quirks: Quirks,
    /// Most tokens of an answer where the client says nothing and the provider has to be told.
    pub output_tokens_default: u64,
}

/// What is different about a provider among those of its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Chat completions: it knows `max_tokens`, and not the younger `max_completion_tokens`.
    pub has_max_tokens: bool,
    /// Chat completions: it takes `top_k`, which OpenAI does not.
    pub takes_top_k: bool,
    /// Chat completions: it refuses `stream_options`, and tells what a stream costs without.
    pub no_stream_options: bool,
}

/// What an answer gets where its provider gave it nothing.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// An id.
    pub id: &'a str,
    /// The time, in seconds since 1970.
    pub now_s: u64,
}

/// An event for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// Its name, in shapes whose events have one.
    pub name: Option<&'static str>,
    /// Its data, one line.
    pub data: Bytes,
}

// === impl Mint ===

impl<'a> Mint<'a> {
    /// The id of an answer.
    #[must_use]
    pub const fn id_of(&self, id: &'a str) -> &'a str {
        if id.is_empty() { self.id } else { id }
    }
}

// === impl SentEvent ===

impl SentEvent {
    pub(crate) fn data(data: String) -> Self {
        Self { name: None, data: data.into() }
    }

    pub(crate) fn named(name: &'static str, data: String) -> Self {
        Self { name: Some(name), data: data.into() }
    }
}

/// Refuses what the target has no words for.
pub(crate) fn cannot(what: &str) -> Fault {
    Fault::new(Kind::Invalid, format!("{what} cannot be told to the provider that answers for this model"))
}

/// The arguments of a call as an object; a call without any has an empty one.
pub(crate) fn arguments_object(call: &ToolCall) -> Result<&RawValue, Fault> {
    let text = if call.arguments.trim_ascii().is_empty() { "{}" } else { &call.arguments };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(object) if object.get().starts_with('{') => Ok(object),
        _ => Err(Fault::new(
            Kind::Invalid,
            format!("the arguments of call {:?} are no JSON object, which the provider for this model needs", call.id),
        )),
    }
}

/// The text of a document that is given in Base64.
pub(crate) fn text_of_inline(data: &str) -> Result<String, Fault> {
    let bytes = BASE64.decode(data).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Fault::new(Kind::Invalid, "a document of text is no UTF-8 in Base64"))
}

/// Whether a body is an answer of a shape by the member that every answer of it has, whatever else is there.
#[must_use]
pub fn is_answer(dialect: Dialect, body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let names = match dialect {
        Dialect::Chat => ["choices", "error"],
        Dialect::Responses => ["output", "error"],
        Dialect::Messages => ["content", "error"],
        Dialect::Generate => ["candidates", "error"],
    };
    let found = quorate_jsonrpc::pick(text, 0, names);
    matches!(found, Ok([Some(said), error]) if said.of(text).starts_with('[') && error.is_none_or(|span| span.of(text) == "null"))
}

/// What a whole answer says that it costs, whatever else is in it.
#[must_use]
pub fn usage_of(dialect: Dialect, body: &[u8]) -> Option<Usage> {
    let text = std::str::from_utf8(body).ok()?;
    let (name, read): (_, fn(&str) -> Option<Usage>) = match dialect {
        Dialect::Chat => ("usage", chat::usage_of),
        Dialect::Responses => ("usage", responses::usage_of),
        Dialect::Messages => ("usage", messages::usage_of),
        Dialect::Generate => ("usageMetadata", generate::usage_of),
    };
    let [usage] = quorate_jsonrpc::pick_exact(text, 0, [name]).ok()?;
    read(usage?.of(text))
}

/// Reads what a provider says.
pub(crate) fn parse_answer<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|_| no_answer())
}

/// What the provider said is none.
#[must_use]
pub fn no_answer() -> Fault {
    Fault::new(Kind::Provider, "the provider said what is no answer of its API")
}

/// Reads a body of a client, and says where it is wrong.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    match serde_json::from_slice(body) {
        Ok(read) => Ok(read),
        Err(_) => Err(explain::<T>(body)),
    }
}

/// Reads it once more, slower, for the place of what is wrong.
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Fault {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        // What follows it is wrong.
        Ok(_) => Fault::invalid("", "the body is more than one JSON value"),
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            let inner = error.into_inner();
            let message = if inner.is_data() || field.is_empty() {
                inner.to_string()
            } else {
                format!("the body is not JSON: {inner}")
            };
            Fault::invalid(field, message)
        }
    }
}

/// Refuses members that only providers of the client's own shape can answer to.
pub(crate) fn refuse_members(body: &str, names: &'static [&'static str]) -> Result<(), Fault> {
    let mut found = None;
    // What is no object was refused before.
    let _ = members(body, 0, |key, value| {
        let is_asked = !matches!(value.of(body), "null" | "false");
        found = found.or(names.iter().find(|name| **name == key).filter(|_| is_asked));
    });
    match found {
        Some(name) => {
            Err(Fault::invalid(*name, format!("{name} cannot be had of the provider that answers for this model")))
        }
        None => Ok(()),
    }
}

/// A `data:` URL has its bytes within.
pub(crate) fn data_source(url: String) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => Source::Inline { media_type: media_type.to_owned(), data: data.to_owned() },
        None => Source::Url { url, media_type: None },
    }
}

/// Adds to what the side said last: what comes as several messages or items of one side is one turn elsewhere.
pub(crate) fn push_turn(turns: &mut Vec<Turn>, role: Role, parts: Vec<Part>) {
    match turns.last_mut().filter(|turn| turn.role == role) {
        Some(turn) => turn.parts.extend(parts),
        None => turns.push(Turn { role, parts }),
    }
}

/// Notes the members of a request that are none of those that are read.
pub(crate) fn note_unknown(body: &str, known: &[&str], losses: &mut Losses) {
    // What is no object was refused before.
    let _ = members(body, 0, |key, _| {
        if !known.contains(&key) {
            losses.add_member(key);
        }
    });
}
