//! What is asked of models on the wire: the requests of each measure, the answers, and how they are checked.
//!
//! In: a number, which makes each request another. Out: bodies, and what is wrong with an answer. The names of the models steer the mock
//! provider, and a gateway sends those of [`MODELS`] on, some of them to a provider that speaks another shape. Shapes follow OpenAI's
//! chat completions and Anthropic's messages.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem;
use serde_json::Value;

use crate::client::Answer;
use crate::message::JSON;

/// Deltas of a streamed answer.
pub(crate) const CHUNKS: usize = 16;
/// Bytes of a long prompt.
const LONG_BYTES: usize = 130_000;
/// Bytes of the text of a small one.
const SMALL_BYTES: usize = 120;
/// What a long prompt is answered with.
const SHORT_TEXT: &str = "Noted.";
const WORDS: &str = "revenue by region and month, without returns. ";
const EVENTS: &str = "text/event-stream";
const WHOLE: &str = "application/json";
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// A chat completion in OpenAI's shape, of a provider that speaks it: about 250 bytes in and 500 out.
    Chat,
    /// The same, streamed in 16 chunks.
    ChatStream,
    /// A prompt of 130 KB, with a short answer.
    ChatLong,
    /// [`Self::Chat`] of a provider that speaks Anthropic's shape.
    ChatOfClaude,
    /// [`Self::ChatStream`] of a provider that speaks Anthropic's shape.
    ChatStreamOfClaude,
    /// A message in Anthropic's shape, of a provider that speaks OpenAI's.
    MessageOfGpt,
    /// The same, streamed in 16 chunks.
    MessageStreamOfGpt,
}

/// A name that a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    /// As clients say it.
    pub(crate) asked: &'static str,
    /// As the mock provider is asked for it.
    pub(crate) of_provider: &'static str,
    /// Whether its provider speaks Anthropic's shape; else OpenAI's.
    pub(crate) is_anthropic: bool,
}

const SMALL: Name = Name { asked: "mock", of_provider: "mock", is_anthropic: false };
const STREAMED: Name = Name { asked: "mock;chunks=16", of_provider: "mock;chunks=16", is_anthropic: false };
const LONG: Name = Name { asked: "mock;text=Noted.", of_provider: "mock;text=Noted.", is_anthropic: false };
const CLAUDE: Name = Name { asked: "claude-bench", of_provider: "mock", is_anthropic: true };
const CLAUDE_STREAMED: Name = Name { asked: "claude-stream", of_provider: "mock;chunks=16", is_anthropic: true };

/// The names that a gateway has to know.
pub(crate) const MODELS: [Name; 5] = [SMALL, STREAMED, LONG, CLAUDE, CLAUDE_STREAMED];

// === impl Prompt ===

impl Prompt {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Chat,
        Self::ChatStream,
        Self::ChatLong,
        Self::ChatOfClaude,
        Self::ChatStreamOfClaude,
        Self::MessageOfGpt,
        Self::MessageStreamOfGpt,
    ];

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::ChatStream => "chat-stream",
            Self::ChatLong => "chat-long",
            Self::ChatOfClaude => "chat-of-claude",
            Self::ChatStreamOfClaude => "chat-stream-of-claude",
            Self::MessageOfGpt => "message-of-gpt",
            Self::MessageStreamOfGpt => "message-stream-of-gpt",
        }
    }

    /// The path that it is sent to.
    pub(crate) fn path(self) -> &'static str {
        if self.is_message() { "/v1/messages" } else { "/v1/chat/completions" }
    }

    /// The headers of each request.
    pub(crate) fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, JSON);
        if self.is_message() {
            headers.insert(ANTHROPIC_VERSION, HeaderValue::from_static("2023-06-01"));
        }
        headers
    }

    /// What the request with this number says first, and its body.
    pub(crate) fn request(self, number: u64) -> (String, Bytes) {
        let marker = format!("Report {number}");
        let bytes = if self == Self::ChatLong { LONG_BYTES } else { SMALL_BYTES };
        let mut text = format!("{marker}: {}", WORDS.repeat(bytes / WORDS.len() + 1));
        text.truncate(bytes);
        let model = self.model().asked;
        let system = "You are terse.";
        let stream = if self.is_streamed() { ",\"stream\":true" } else { "" };
        let user = format!("{{\"role\":\"user\",\"content\":\"{text}\"}}");
        let body = if self.is_message() {
            format!(
                "{{\"model\":\"{model}\",\"max_tokens\":256,\"system\":\"{system}\",\"messages\":[{user}]{stream}}}"
            )
        } else {
            let system = format!("{{\"role\":\"system\",\"content\":\"{system}\"}}");
            format!("{{\"model\":\"{model}\",\"messages\":[{system},{user}],\"temperature\":0.2{stream}}}")
        };
        (marker, body.into())
    }

    /// Holds an answer against the request that began so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(self, marker: &str, answer: &Answer) -> Result<()> {
        let shown = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, shown());
        let media = answer.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let expected = if self.is_streamed() { EVENTS } else { WHOLE };
        ensure!(media.starts_with(expected.as_bytes()), "an answer of another type: {}", shown());
        if self.is_streamed() {
            let last: &[u8] = if self.is_message() { b"\"message_stop\"}\n\n" } else { b"data: [DONE]\n\n" };
            ensure!(answer.body.ends_with(last), "a stream without its end: {}", shown());
            let events = memmem::find_iter(&answer.body, b"data: ").count();
            ensure!(events >= CHUNKS, "{events} events, at least {CHUNKS} expected");
        } else {
            // The mock provider says what it was told, unless its name says otherwise.
            let said = if self == Self::ChatLong { SHORT_TEXT } else { marker };
            ensure!(memmem::find(&answer.body, said.as_bytes()).is_some(), "{said:?} is not in {}", shown());
        }
        Ok(())
    }

    /// Checks an answer down to its text; too expensive for every request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_whole(self, marker: &str, answer: &Answer) -> Result<()> {
        self.check(marker, answer)?;
        let text = match (self.is_streamed(), self.is_message()) {
            (true, is_message) => streamed_text(&answer.body, is_message)?,
            (false, true) => text_at(&parsed(&answer.body)?, "/content/0/text"),
            (false, false) => text_at(&parsed(&answer.body)?, "/choices/0/message/content"),
        };
        let said = if self == Self::ChatLong { SHORT_TEXT } else { marker };
        ensure!(text.contains(said), "{said:?} is not in the text, which is {text:?}");
        Ok(())
    }

    /// Tells whether it is answered with events.
    pub(crate) fn is_streamed(self) -> bool {
        match self {
            Self::ChatStream | Self::ChatStreamOfClaude | Self::MessageStreamOfGpt => true,
            Self::Chat | Self::ChatLong | Self::ChatOfClaude | Self::MessageOfGpt => false,
        }
    }

    fn is_message(self) -> bool {
        matches!(self, Self::MessageOfGpt | Self::MessageStreamOfGpt)
    }

    fn model(self) -> Name {
        match self {
            Self::Chat | Self::MessageOfGpt => SMALL,
            Self::ChatStream | Self::MessageStreamOfGpt => STREAMED,
            Self::ChatLong => LONG,
            Self::ChatOfClaude => CLAUDE,
            Self::ChatStreamOfClaude => CLAUDE_STREAMED,
        }
    }
}

fn parsed(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())
}

fn streamed_text(body: &[u8], is_message: bool) -> Result<String> {
    let place = if is_message { "/delta/text" } else { "/choices/0/delta/content" };
    let lines = std::str::from_utf8(body).context("a stream that is no text")?.lines();
    let mut text = String::new();
    for data in lines.filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        text.push_str(&text_at(&parsed(data.as_bytes())?, place));
    }
    Ok(text)
}

fn text_at(value: &Value, place: &str) -> String {
    value.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(media: &'static str, body: &str) -> Answer {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
        Answer::new(StatusCode::OK, headers, body.to_owned().into())
    }

    #[test]
    fn requests_are_json_that_differs_in_sizes_that_do_not() {
        for prompt in Prompt::ALL {
            let (marker, body) = prompt.request(1_000_000);
            let (_, other) = prompt.request(1_000_001);

            let value = parsed(&body).unwrap();
            assert!(value["messages"].to_string().contains(&marker), "{prompt:?}");
            assert_ne!(body, other);
            assert_eq!(body.len(), other.len());
            assert_eq!(body.len() > 100_000, prompt == Prompt::ChatLong, "{prompt:?}: {}", body.len());
            assert_eq!(value.get("stream").is_some(), prompt.is_streamed());
        }
    }

    #[test]
    fn an_answer_to_another_request_or_a_cut_one_does_not_pass() {
        let whole = r#"{"choices":[{"message":{"content":"Report 7: revenue"}}]}"#;
        Prompt::Chat.check_whole("Report 7", &answer("application/json", whole)).unwrap();
        assert!(Prompt::Chat.check("Report 8", &answer("application/json", whole)).is_err());
        assert!(Prompt::Chat.check("Report 7", &answer("text/html", whole)).is_err());
        assert!(Prompt::ChatStream.check("Report 7", &answer("application/json", whole)).is_err());

        let events = "data: {\"choices\":[{\"delta\":{\"content\":\"Report 7\"}}]}\n\n".repeat(CHUNKS);
        let stream = |end: &str| answer("text/event-stream", &format!("{events}{end}"));
        Prompt::ChatStream.check_whole("Report 7", &stream("data: [DONE]\n\n")).unwrap();
        assert!(Prompt::ChatStream.check("Report 7", &stream("")).is_err());
        assert!(Prompt::ChatStream.check_whole("Report 8", &stream("data: [DONE]\n\n")).is_err());
    }
}
