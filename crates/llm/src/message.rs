//! A request to a model, as far as any shape can say it.
//!
//! In: what a [`dialect`](crate::dialect) reads from a client's body. Out: what another writes for a provider. The view is the union
//! of the shapes and not what they have in common: what the target cannot say is found by its writer, and reported as a
//! [`Loss`](crate::Loss). Schemas and arguments stay JSON text, which is read by models and tools alone.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_BARE};
use serde_json::value::RawValue;

use crate::api::Dialect;

/// What stands before a signature that was made in another shape, followed by that shape and a colon.
const FOREIGN: &str = "quorate:";

/// A request for an answer of a model.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The instructions before the conversation.
    pub system: Vec<Part>,
    /// The conversation, oldest first.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; the provider's default where nothing is said.
    pub parallel_tools: Option<bool>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of the answer, those of its reasoning included.
    pub output_tokens_max: Option<u64>,
    /// Texts that end the answer.
    pub stops: Vec<String>,
    /// Answers that are wanted; one where nothing is said.
    pub choices: Option<u32>,
    /// What the answer's text has to be.
    pub format: Option<Format>,
    /// How much the model thinks before.
    pub reasoning: Option<Reasoning>,
    /// Who asks, for the provider's abuse detection.
    pub user: Option<String>,
    /// Whether the answer comes as it is made.
    pub is_streamed: bool,
}

/// What one side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which side.
    pub role: Role,
    /// What, in order.
    pub parts: Vec<Part>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions in the midst of the conversation.
    System,
    /// The user, and the tools.
    User,
    /// The model.
    Assistant,
}

/// A piece of what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// Whether the provider is asked to cache everything up to here.
    pub cache: Option<Cache>,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// Where it is.
        source: Source,
        /// How closely to look (OpenAI: `low`, `high`, `auto`).
        detail: Option<String>,
    },
    /// A document, such as a PDF.
    Document {
        /// Where it is.
        source: Source,
        /// Its name or title.
        name: Option<String>,
    },
    /// A recording.
    Audio {
        /// Where it is.
        source: Source,
    },
    /// What the model thought.
    Thought {
        /// As far as it is told.
        text: String,
        /// By which its provider knows it for its own.
        signature: Option<Signature>,
    },
    /// What the model thought, sealed by its provider.
    SealedThought(Signature),
    /// The model says that it does not answer.
    Refusal(String),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// Of which call.
        id: String,
        /// What.
        parts: Vec<Part>,
        /// Whether the call failed.
        is_error: bool,
    },
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// By which its result is known.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text, an object; as the model wrote it, which may be cut.
    pub arguments: String,
    /// By which its provider knows the thought before it (Gemini).
    pub signature: Option<Signature>,
}

/// What a provider signed or sealed, which nobody else takes. A client keeps it with the conversation, whatever shape it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// In which shape the provider made it.
    pub of: Dialect,
    /// As the provider wrote it.
    pub text: String,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Inline {
        /// Such as `image/png`.
        media_type: String,
        /// In Base64.
        data: String,
    },
    /// Here, as text.
    Text(String),
    /// At a URL that the provider reads.
    Url {
        /// The URL.
        url: String,
        /// Such as `image/png`, where it is told.
        media_type: Option<String>,
    },
    /// With the provider, under an id of its own.
    File(String),
}

/// A mark up to which a provider caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// For five minutes (Anthropic's default).
    Short,
    /// For an hour.
    Long,
}

/// A tool that the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object.
    pub schema: Option<Box<RawValue>>,
    /// Whether arguments have to obey the schema.
    pub strict: Option<bool>,
    /// Whether the provider is asked to cache everything up to here.
    pub cache: Option<Cache>,
}

/// Whether the model calls tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Any,
    /// This one.
    Named(String),
}

/// How tokens are drawn. Numbers stay as they are written.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    /// From 0 (always the likeliest) to 1 or 2.
    pub temperature: Option<Box<RawValue>>,
    /// Of the likeliest tokens, those that make up this share.
    pub top_p: Option<Box<RawValue>>,
    /// Of the likeliest tokens, so many.
    pub top_k: Option<Box<RawValue>>,
    /// From which randomness is drawn.
    pub seed: Option<Box<RawValue>>,
    /// Against tokens that were there.
    pub presence_penalty: Option<Box<RawValue>>,
    /// Against tokens by how often they were there.
    pub frequency_penalty: Option<Box<RawValue>>,
}

/// What the answer's text has to be.
#[derive(Clone, Debug)]
pub enum Format {
    /// A JSON object.
    Json,
    /// JSON that obeys a schema.
    Schema {
        /// Its name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Box<RawValue>,
        /// Whether it has to be obeyed exactly.
        strict: Option<bool>,
    },
}

/// How much the model thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// As the model likes.
    Auto,
    /// By a word.
    Effort(Effort),
    /// At most so many tokens.
    Tokens(u64),
}

/// How much, by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as the model can.
    Most,
}

// === impl Part ===

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, cache: None }
    }
}

impl Part {
    /// Text without a mark.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }
}

// === impl Content ===

impl Content {
    /// The text, where it is one.
    #[must_use]
    pub const fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text.as_str()) } else { None }
    }

    /// The call of a tool, where it is one.
    #[must_use]
    pub const fn as_call(&self) -> Option<&ToolCall> {
        if let Self::ToolCall(call) = self { Some(call) } else { None }
    }
}

// === impl Signature ===

impl Signature {
    /// Reads what a client kept, which speaks this shape.
    #[must_use]
    pub fn read(own: Dialect, text: String) -> Self {
        let foreign = match own {
            Dialect::Generate => from_base64(&text).and_then(|text| Self::read_foreign(&text)),
            Dialect::Chat | Dialect::Responses | Dialect::Messages => Self::read_foreign(&text),
        };
        foreign.unwrap_or(Self { of: own, text })
    }

    fn read_foreign(text: &str) -> Option<Self> {
        let (word, text) = text.strip_prefix(FOREIGN)?.split_once(':')?;
        let of = Dialect::ALL.into_iter().find(|dialect| dialect.api().label() == word)?;
        Some(Self { of, text: text.to_owned() })
    }

    /// Writes it for a client that speaks this shape.
    #[must_use]
    pub fn shown(&self, own: Dialect) -> Cow<'_, str> {
        if self.of == own {
            return Cow::Borrowed(&self.text);
        }
        let text = format!("{FOREIGN}{}:{}", self.of.api().label(), self.text);
        match own {
            // It is bytes there, and SDKs refuse an answer in which it is no Base64.
            Dialect::Generate => Cow::Owned(BASE64.encode(text)),
            Dialect::Chat | Dialect::Responses | Dialect::Messages => Cow::Owned(text),
        }
    }

    /// Its text, for a provider of this shape; none for any other.
    #[must_use]
    pub fn of(&self, own: Dialect) -> Option<&str> {
        (self.of == own).then_some(self.text.as_str())
    }
}

/// Reads Base64 of either alphabet, with padding or without: SDKs write what they read anew.
fn from_base64(text: &str) -> Option<String> {
    let standard = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    String::from_utf8(BASE64_BARE.decode(standard).ok()?).ok()
}

// === impl Effort ===

impl Effort {
    /// All, least first.
    pub const ALL: [Self; 5] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Most];

    /// The tokens that stand for the word where a provider counts them; the shares that OpenRouter documents (10, 20, 50, 80 and 95
    /// percent), of 32,000.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        match self {
            Self::Minimal => 3_200,
            Self::Low => 6_400,
            Self::Medium => 16_000,
            Self::High => 25_600,
            Self::Most => 30_400,
        }
    }

    /// The least word that allows so many tokens.
    #[must_use]
    pub const fn of_tokens(tokens: u64) -> Self {
        match tokens {
            0..=3_200 => Self::Minimal,
            3_201..=6_400 => Self::Low,
            6_401..=16_000 => Self::Medium,
            16_001..=25_600 => Self::High,
            _ => Self::Most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_comes_back_to_its_provider_by_way_of_any_shape() {
        for of in Dialect::ALL {
            let signature = Signature { of, text: "a:b+/=".to_owned() };
            for own in Dialect::ALL {
                assert_eq!(Signature::read(own, signature.shown(own).into_owned()), signature);
            }
        }
        assert_eq!(Signature::read(Dialect::Messages, "quorate:cat:x".to_owned()).of, Dialect::Messages);
    }

    #[test]
    fn a_signature_is_base64_where_it_is_bytes() {
        let signature = Signature { of: Dialect::Messages, text: "é~?>".to_owned() };
        let shown = signature.shown(Dialect::Generate).into_owned();

        assert_eq!(BASE64.decode(&shown).expect("it is Base64"), "quorate:messages:é~?>".as_bytes());
        let anew = shown.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
        assert_eq!(Signature::read(Dialect::Generate, anew), signature);
    }

    #[test]
    fn a_word_and_its_tokens_mean_each_other() {
        for effort in Effort::ALL {
            assert_eq!(Effort::of_tokens(effort.tokens()), effort);
        }
        assert_eq!(Effort::of_tokens(1_024), Effort::Minimal);
        assert_eq!(Effort::of_tokens(u64::MAX), Effort::Most);
    }
}
