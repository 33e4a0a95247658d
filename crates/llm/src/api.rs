//! The APIs that clients speak and providers answer, and where each is.
//!
//! A [`Family`] is one vendor's way of paths, credentials and errors; an [`Api`] is one thing that can be asked in it. Two APIs whose
//! requests and answers mean the same are translated into each other ([`dialect`](crate::dialect)).
//!
//! OpenAI: <https://platform.openai.com/docs/api-reference>. Anthropic: <https://docs.anthropic.com/en/api>. Gemini:
//! <https://ai.google.dev/api>.

/// One vendor's way of paths, credentials and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `/v1/…`, `Authorization: Bearer`.
    OpenAi,
    /// `/v1/messages`, `x-api-key`.
    Anthropic,
    /// `/v1beta/models/…`, `x-goog-api-key`.
    Gemini,
}

/// One thing that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI responses.
    Responses,
    /// OpenAI embeddings.
    Embeddings,
    /// Anthropic messages.
    Messages,
    /// Anthropic's count of a message's tokens.
    CountTokens,
    /// Gemini `generateContent` and `streamGenerateContent`.
    Generate,
}

/// An API whose requests ask a model for an answer, so that each can be translated into each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// Gemini `generateContent`.
    Generate,
}

// === impl Api ===

impl Api {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Responses, Self::Embeddings, Self::Messages, Self::CountTokens, Self::Generate];

    /// Its word in documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "count-tokens",
            Self::Generate => "generate",
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Chat | Self::Responses | Self::Embeddings => Family::OpenAi,
            Self::Messages | Self::CountTokens => Family::Anthropic,
            Self::Generate => Family::Gemini,
        }
    }

    /// The name under which metrics count it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Generate => "generate_content",
        }
    }
}

// === impl Dialect ===

impl Dialect {
    /// The one in which an API's requests are, if they ask a model for an answer.
    #[must_use]
    pub const fn of(api: Api) -> Option<Self> {
        match api {
            Api::Chat => Some(Self::Chat),
            Api::Responses => Some(Self::Responses),
            Api::Messages => Some(Self::Messages),
            Api::Generate => Some(Self::Generate),
            Api::Embeddings | Api::CountTokens => None,
        }
    }

    /// All, in the order of the documentation's tables.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Messages, Self::Generate];

    /// What is asked in it.
    #[must_use]
    pub const fn api(self) -> Api {
        match self {
            Self::Chat => Api::Chat,
            Self::Responses => Api::Responses,
            Self::Messages => Api::Messages,
            Self::Generate => Api::Generate,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "OpenAI chat completions",
            Self::Responses => "OpenAI responses",
            Self::Messages => "Anthropic messages",
            Self::Generate => "Gemini generateContent",
        }
    }
}
