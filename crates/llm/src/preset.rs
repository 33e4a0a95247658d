//! The providers that are known by name: where they are, which APIs they have, how they are shown a key, and what is different.
//!
//! One row each, from the providers' public documentation of November 2026. A row is what a `Provider` begins with; its document may say
//! otherwise of everything but the place of the key. Servers that people run themselves (vLLM, Ollama, …) have no address of their own,
//! and need no key.

use crate::api::Api;
use crate::dialect::Quirks;

/// A provider that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preset {
    /// <https://platform.openai.com/docs/api-reference>.
    OpenAi,
    /// <https://learn.microsoft.com/azure/ai-foundry/openai/reference>.
    AzureOpenAi,
    /// <https://docs.anthropic.com/en/api>.
    Anthropic,
    /// <https://ai.google.dev/api>.
    Gemini,
    /// <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>.
    Vertex,
    /// <https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html>.
    Vllm,
    /// <https://docs.sglang.ai/basic_usage/openai_api.html>.
    SgLang,
    /// <https://github.com/ggml-org/llama.cpp/tree/master/tools/server>.
    LlamaCpp,
    /// <https://docs.ollama.com/api/openai-compatibility>.
    Ollama,
    /// <https://openrouter.ai/docs/api-reference>.
    OpenRouter,
    /// <https://console.groq.com/docs/openai>.
    Groq,
    /// <https://docs.mistral.ai/api>.
    Mistral,
    /// <https://api-docs.deepseek.com>.
    DeepSeek,
    /// <https://docs.x.ai/docs/api-reference>.
    Xai,
    /// <https://docs.together.ai/docs/openai-api-compatibility>.
    Together,
    /// <https://docs.fireworks.ai/tools-sdks/openai-compatibility>.
    Fireworks,
    /// Any other that speaks as OpenAI does.
    Compatible,
}

/// What is known of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name in documents.
    pub name: &'static str,
    /// Its address, below which paths begin ([`Layout`]); none where everybody has their own.
    pub url: Option<&'static str>,
    /// Where its APIs are below its address.
    pub layout: Layout,
    /// The APIs that it has, the one that others are translated to first.
    pub apis: &'static [Api],
    /// How it is shown a key.
    pub key: KeyHeader,
    /// Whether nothing is answered without a key.
    pub needs_key: bool,
    /// What is different about it.
    pub quirks: Quirks,
}

/// How paths are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `chat/completions`, `responses`, `embeddings`: the address ends with the version.
    OpenAi,
    /// `v1/messages`, `v1/messages/count_tokens`.
    Anthropic,
    /// `v1beta/models/MODEL:generateContent`; embeddings by way of `v1beta/openai/`.
    Gemini,
    /// `publishers/google/models/MODEL:generateContent`: the address ends with the project and location.
    Vertex,
}

/// How a key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `x-api-key: KEY`.
    XApiKey,
    /// `api-key: KEY`.
    ApiKey,
    /// `x-goog-api-key: KEY`.
    XGoogApiKey,
}

const OPENAI: &[Api] = &[Api::Chat, Api::Responses, Api::Embeddings];
const CHAT: &[Api] = &[Api::Chat];
const CHAT_AND_EMBEDDINGS: &[Api] = &[Api::Chat, Api::Embeddings];

/// OpenAI itself knows the younger name of the limit alone for its reasoning models.
const STRICT: Quirks = Quirks { has_max_tokens: false, takes_top_k: false, no_stream_options: false };
/// Those who followed have the older name.
const FOLLOWS: Quirks = Quirks { has_max_tokens: true, ..STRICT };
/// Mistral refuses options of a stream, and tells what it costs without.
const MISTRAL: Quirks = Quirks { no_stream_options: true, ..FOLLOWS };
/// Engines take more parameters than OpenAI has.
const ENGINE: Quirks = Quirks { takes_top_k: true, ..FOLLOWS };

// === impl Preset ===

impl Preset {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Anthropic,
        Self::Gemini,
        Self::Vertex,
        Self::Vllm,
        Self::SgLang,
        Self::LlamaCpp,
        Self::Ollama,
        Self::OpenRouter,
        Self::Groq,
        Self::Mistral,
        Self::DeepSeek,
        Self::Xai,
        Self::Together,
        Self::Fireworks,
        Self::Compatible,
    ];

    /// Finds the one of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.known().name == name)
    }

    /// What is known of it.
    #[must_use]
    pub const fn known(self) -> Known {
        match self {
            Self::OpenAi => hosted("openai", "https://api.openai.com/v1", OPENAI, STRICT),
            Self::AzureOpenAi => {
                Known { url: None, key: KeyHeader::ApiKey, ..hosted("azure-openai", "", OPENAI, STRICT) }
            }
            Self::Anthropic => Known {
                layout: Layout::Anthropic,
                apis: &[Api::Messages, Api::CountTokens],
                key: KeyHeader::XApiKey,
                ..hosted("anthropic", "https://api.anthropic.com", CHAT, STRICT)
            },
            Self::Gemini => Known {
                layout: Layout::Gemini,
                apis: &[Api::Generate, Api::Embeddings],
                key: KeyHeader::XGoogApiKey,
                ..hosted("gemini", "https://generativelanguage.googleapis.com", CHAT, STRICT)
            },
            Self::Vertex => {
                Known { url: None, layout: Layout::Vertex, ..hosted("vertex", "", &[Api::Generate], STRICT) }
            }
            Self::Vllm => own("vllm", OPENAI),
            Self::SgLang => own("sglang", CHAT_AND_EMBEDDINGS),
            Self::LlamaCpp => own("llama-cpp", CHAT_AND_EMBEDDINGS),
            Self::Ollama => own("ollama", CHAT_AND_EMBEDDINGS),
            Self::OpenRouter => hosted("openrouter", "https://openrouter.ai/api/v1", CHAT_AND_EMBEDDINGS, ENGINE),
            Self::Groq => hosted("groq", "https://api.groq.com/openai/v1", &[Api::Chat, Api::Responses], STRICT),
            Self::Mistral => hosted("mistral", "https://api.mistral.ai/v1", CHAT_AND_EMBEDDINGS, MISTRAL),
            Self::DeepSeek => hosted("deepseek", "https://api.deepseek.com", CHAT, FOLLOWS),
            Self::Xai => hosted("xai", "https://api.x.ai/v1", &[Api::Chat, Api::Responses], STRICT),
            Self::Together => hosted("together", "https://api.together.xyz/v1", CHAT_AND_EMBEDDINGS, ENGINE),
            Self::Fireworks => hosted("fireworks", "https://api.fireworks.ai/inference/v1", OPENAI, ENGINE),
            Self::Compatible => own("openai-compatible", CHAT_AND_EMBEDDINGS),
        }
    }
}

/// One of those who sell answers.
const fn hosted(name: &'static str, url: &'static str, apis: &'static [Api], quirks: Quirks) -> Known {
    let (layout, key) = (Layout::OpenAi, KeyHeader::Bearer);
    Known { name, url: Some(url), layout, apis, key, needs_key: true, quirks }
}

/// A server that people run themselves.
const fn own(name: &'static str, apis: &'static [Api]) -> Known {
    let (layout, key) = (Layout::OpenAi, KeyHeader::Bearer);
    Known { name, url: None, layout, apis, key, needs_key: false, quirks: ENGINE }
}

// === impl Layout ===

impl Layout {
    /// The path of an API below the provider's address, with its query; none where the provider cannot have it.
    ///
    /// The name of the model goes into the path of Gemini's and Vertex's, where it is escaped.
    #[must_use]
    pub fn path(self, api: Api, model: &str, is_streamed: bool) -> Option<String> {
        let generate = |before: &str| {
            let model = escaped(model);
            let how = if is_streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            format!("{before}/models/{model}:{how}")
        };
        match (self, api) {
            (Self::OpenAi, Api::Chat) => Some("chat/completions".to_owned()),
            (Self::OpenAi, Api::Responses) => Some("responses".to_owned()),
            (Self::OpenAi, Api::Embeddings) => Some("embeddings".to_owned()),
            // Servers that speak both have both below one version.
            (Self::OpenAi, Api::Messages) => Some("messages".to_owned()),
            (Self::OpenAi, Api::CountTokens) => Some("messages/count_tokens".to_owned()),
            (Self::Anthropic, Api::Messages) => Some("v1/messages".to_owned()),
            (Self::Anthropic, Api::CountTokens) => Some("v1/messages/count_tokens".to_owned()),
            (Self::Gemini, Api::Generate) => Some(generate("v1beta")),
            (Self::Gemini, Api::Chat) => Some("v1beta/openai/chat/completions".to_owned()),
            (Self::Gemini, Api::Embeddings) => Some("v1beta/openai/embeddings".to_owned()),
            (Self::Vertex, Api::Generate) => Some(generate("publishers/google")),
            (Self::Vertex, Api::Chat) => Some("endpoints/openapi/chat/completions".to_owned()),
            (Self::OpenAi, Api::Generate)
            | (Self::Anthropic, Api::Chat | Api::Responses | Api::Embeddings | Api::Generate)
            | (Self::Gemini, Api::Responses | Api::Messages | Api::CountTokens)
            | (Self::Vertex, Api::Responses | Api::Embeddings | Api::Messages | Api::CountTokens) => None,
        }
    }
}

/// A name as one segment of a path: what has no meaning in paths stays.
#[must_use]
pub fn escaped(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => path.push(char::from(byte)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                path.push('%');
                path.push(char::from(DIGITS[usize::from(byte >> 4)]));
                path.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    path
}

// === impl KeyHeader ===

impl KeyHeader {
    /// The header's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::XApiKey => "x-api-key",
            Self::ApiKey => "api-key",
            Self::XGoogApiKey => "x-goog-api-key",
        }
    }

    /// What stands before the key.
    #[must_use]
    pub const fn before(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer ",
            Self::XApiKey | Self::ApiKey | Self::XGoogApiKey => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_has_a_path_for_each_of_its_apis() {
        for preset in Preset::ALL {
            let known = preset.known();
            assert_eq!(Preset::parse(known.name), Some(preset));
            for api in known.apis {
                assert!(known.layout.path(*api, "m", false).is_some(), "{preset:?} {api:?}");
            }
            assert!(known.url.is_none_or(|url| url.starts_with("https://") && !url.ends_with('/')), "{preset:?}");
        }
        assert_eq!(Preset::parse("OpenAI"), None);
    }

    #[test]
    fn a_model_in_a_path_is_one_segment_of_it() {
        let path = |model: &str| Layout::Gemini.path(Api::Generate, model, true).expect("it has it");

        assert_eq!(path("gemini-3"), "v1beta/models/gemini-3:streamGenerateContent?alt=sse");
        assert_eq!(path("../x?y#ü"), "v1beta/models/..%2Fx%3Fy%23%C3%BC:streamGenerateContent?alt=sse");
    }
}
