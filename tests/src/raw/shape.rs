//! The shapes of models' APIs: how each is asked something, and what its answers and streams say.
//!
//! Just enough of each to tell whether an answer is one: its text, whether it ended as its shape ends, and the error
//! that it tells. Nothing here is strict about the rest, which clients that nobody here wrote look at.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::client::Answer;

/// The shapes in which answers are asked for, and the APIs by which providers have them.
pub const SHAPES: [Shape; 4] = [Shape::Chat, Shape::Responses, Shape::Messages, Shape::Generate];

/// In which shape somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Gemini's generateContent.
    Generate,
}

/// What a stream said.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// All of its text.
    pub text: String,
    /// Whether it ended as a whole answer does.
    pub is_whole: bool,
    /// What it says of an error.
    pub error: Option<String>,
    /// How many events came.
    pub events: usize,
    /// All that came.
    pub raw: String,
}

// === impl Shape ===

impl Shape {
    /// The preset of a provider that has it, and which of its APIs.
    #[must_use]
    pub const fn provider(self) -> (&'static str, &'static str) {
        match self {
            Self::Chat => ("openai-compatible", "chat"),
            Self::Responses => ("openai-compatible", "responses"),
            Self::Messages => ("anthropic", "messages"),
            Self::Generate => ("gemini", "generate"),
        }
    }

    /// The path and body of a request that says a text.
    #[must_use]
    pub fn request(self, model: &str, text: &str, is_streamed: bool) -> (String, Value) {
        let said = json!([{ "role": "user", "content": text }]);
        match self {
            Self::Chat => {
                ("/v1/chat/completions".to_owned(), json!({ "model": model, "messages": said, "stream": is_streamed }))
            }
            Self::Responses => {
                ("/v1/responses".to_owned(), json!({ "model": model, "input": said, "stream": is_streamed }))
            }
            Self::Messages => (
                "/v1/messages".to_owned(),
                json!({ "model": model, "messages": said, "max_tokens": 100, "stream": is_streamed }),
            ),
            Self::Generate => {
                let verb = if is_streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] });
                (format!("/v1beta/models/{}:{verb}", model.replace('/', "%2F")), body)
            }
        }
    }

    /// The text of a whole answer.
    #[must_use]
    pub fn text(self, answer: &Value) -> Option<String> {
        let text = match self {
            Self::Chat => &answer["choices"][0]["message"]["content"],
            Self::Responses => {
                let items = answer["output"].as_array()?;
                &items.iter().find(|item| item["type"] == "message")?["content"][0]["text"]
            }
            Self::Messages => &answer["content"][0]["text"],
            Self::Generate => &answer["candidates"][0]["content"]["parts"][0]["text"],
        };
        Some(text.as_str()?.to_owned())
    }

    /// The type and the message of an error, where the answer is one of this shape.
    #[must_use]
    pub fn error(self, answer: &Value) -> Option<(String, String)> {
        let error = &answer["error"];
        let kind = match self {
            Self::Chat | Self::Responses => &error["type"],
            Self::Messages if answer["type"] == "error" => &error["type"],
            Self::Messages => return None,
            Self::Generate => &error["status"],
        };
        Some((kind.as_str()?.to_owned(), error["message"].as_str()?.to_owned()))
    }

    /// Reads a stream to its end.
    pub fn read(self, mut answer: Answer) -> anyhow::Result<Said> {
        let status = answer.status;
        if !answer.is_events() {
            bail!("no stream: {status} {}", answer.text()?);
        }
        let mut said = Said::default();
        // A connection that is cut ends the stream as well.
        while let Ok(Some(event)) = answer.next_event() {
            said.events += 1;
            said.raw.push_str(&event.data);
            said.raw.push('\n');
            if event.data == "[DONE]" {
                said.is_whole = true;
                continue;
            }
            let data: Value = serde_json::from_str(&event.data).with_context(|| event.data.clone())?;
            self.note(&data, &mut said);
        }
        Ok(said)
    }

    fn note(self, data: &Value, said: &mut Said) {
        let kind = data["type"].as_str().unwrap_or_default();
        let (text, is_whole, error) = match self {
            Self::Chat => (&data["choices"][0]["delta"]["content"], false, data["error"].is_object()),
            Self::Responses if kind == "response.output_text.delta" => (&data["delta"], false, false),
            Self::Responses => {
                let is_whole = matches!(kind, "response.completed" | "response.incomplete");
                (&Value::Null, is_whole, matches!(kind, "error" | "response.failed"))
            }
            Self::Messages => (&data["delta"]["text"], kind == "message_stop", kind == "error"),
            Self::Generate => {
                let candidate = &data["candidates"][0];
                let is_whole = candidate["finishReason"].is_string();
                (&candidate["content"]["parts"][0]["text"], is_whole, data["error"].is_object())
            }
        };
        said.text.push_str(text.as_str().unwrap_or_default());
        said.is_whole |= is_whole;
        if error {
            said.error = Some(data.to_string());
        }
    }
}
