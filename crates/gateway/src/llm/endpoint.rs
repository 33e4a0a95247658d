//! What a path of a model API asks for, and in whose shape it is answered.
//!
//! In: the path and headers of a request. Out: an [`Endpoint`], also for paths below these APIs' roots at which nothing is served, so
//! that their clients are told in a shape that they read. Models stand in paths of Gemini's alone, percent-encoded as any client does.
//!
//! | Path | What |
//! |---|---|
//! | `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings` | OpenAI's |
//! | `/v1/messages`, `/v1/messages/count_tokens` | Anthropic's |
//! | `/v1beta/models/MODEL:generateContent`, `…:streamGenerateContent` | Gemini's |
//! | `/v1/models`, `/v1/models/MODEL`, `/v1beta/models`, `/v1beta/models/MODEL` | the models that the caller may ask |

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use quorate_llm::{Api, Family};

/// The header by which Anthropic's clients are known at a path that others have, too.
const ANTHROPIC_VERSION: &str = "anthropic-version";
/// And those by which Google's are: their SDKs list models at `/v1/models`, as OpenAI's do.
const GOOGLE: [&str; 2] = ["x-goog-api-key", "x-goog-api-client"];

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Something of a model.
    Ask {
        /// What.
        api: Api,
        /// The model, where the path says it.
        model: Option<String>,
        /// Whether the path says that the answer comes as it is made.
        is_streamed: bool,
    },
    /// Which models there are.
    List(Family),
    /// What there is to say of one.
    Describe {
        /// In whose shape.
        family: Family,
        /// The model.
        model: String,
    },
    /// Nothing that is served.
    Nothing(Family),
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads a path; none when it is below no model API.
    pub(crate) fn parse(path: &str, headers: &HeaderMap) -> Option<Self> {
        let of_openai = |api| Some(Self::Ask { api, model: None, is_streamed: false });
        if let Some(rest) = path.strip_prefix("/v1beta/").or_else(|| path.strip_prefix("/v1alpha/")) {
            return Some(Self::of_gemini(rest).unwrap_or(Self::Nothing(Family::Gemini)));
        }
        match path.strip_prefix("/v1/")? {
            "chat/completions" => of_openai(Api::Chat),
            "responses" => of_openai(Api::Responses),
            "embeddings" => of_openai(Api::Embeddings),
            "messages" => of_openai(Api::Messages),
            "messages/count_tokens" => of_openai(Api::CountTokens),
            "models" => Some(Self::List(family(headers))),
            rest if rest.starts_with("messages") => Some(Self::Nothing(Family::Anthropic)),
            rest => {
                let of_model = rest.strip_prefix("models/").and_then(|name| Self::of_model(name, family(headers)));
                Some(of_model.unwrap_or(Self::Nothing(family(headers))))
            }
        }
    }

    /// Whose shape it is answered in.
    pub(crate) const fn family(&self) -> Family {
        match self {
            Self::Ask { api, .. } => api.family(),
            Self::List(family) | Self::Describe { family, .. } | Self::Nothing(family) => *family,
        }
    }

    /// The methods that it has, as an `Allow` header.
    pub(crate) const fn allowed(&self) -> &'static str {
        match self {
            Self::Ask { .. } => "POST, OPTIONS",
            Self::List(_) | Self::Describe { .. } | Self::Nothing(_) => "GET, OPTIONS",
        }
    }

    /// Whether it has a method; where nothing is served none is wrong.
    pub(crate) fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Ask { .. } => method == Method::POST,
            Self::List(_) | Self::Describe { .. } => method == Method::GET,
            Self::Nothing(_) => true,
        }
    }

    fn of_gemini(rest: &str) -> Option<Self> {
        match rest {
            "models" => Some(Self::List(Family::Gemini)),
            _ => Self::of_model(rest.strip_prefix("models/")?, Family::Gemini),
        }
    }

    /// What is asked of or about a model; what Gemini has beside answers is not served.
    fn of_model(name: &str, family: Family) -> Option<Self> {
        let (model, verb) = name.rsplit_once(':').unwrap_or((name, ""));
        let generate = |is_streamed| Some(Self::Ask { api: Api::Generate, model: Some(decoded(model)?), is_streamed });
        match verb {
            "generateContent" => generate(false),
            "streamGenerateContent" => generate(true),
            "countTokens" | "embedContent" | "batchEmbedContents" | "batchGenerateContent" | "predict" => None,
            _ => Some(Self::Describe { family, model: decoded(name)? }),
        }
    }
}

fn family(headers: &HeaderMap) -> Family {
    if headers.contains_key(ANTHROPIC_VERSION) {
        Family::Anthropic
    } else if GOOGLE.iter().any(|name| headers.contains_key(*name)) {
        Family::Gemini
    } else {
        Family::OpenAi
    }
}

/// A name in a path; none where it is no text.
fn decoded(name: &str) -> Option<String> {
    percent_decode_str(name).decode_utf8().ok().map(std::borrow::Cow::into_owned).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_path_says_what_is_asked_and_in_whose_shape() {
        let ask = |api| Endpoint::Ask { api, model: None, is_streamed: false };
        let generate =
            |model: &str, is_streamed| Endpoint::Ask { api: Api::Generate, model: Some(model.to_owned()), is_streamed };
        let describe = |family, model: &str| Endpoint::Describe { family, model: model.to_owned() };
        for (path, expected) in [
            ("/v1/chat/completions", Some(ask(Api::Chat))),
            ("/v1/responses", Some(ask(Api::Responses))),
            ("/v1/embeddings", Some(ask(Api::Embeddings))),
            ("/v1/messages", Some(ask(Api::Messages))),
            ("/v1/messages/count_tokens", Some(ask(Api::CountTokens))),
            ("/v1/messages/batches", Some(Endpoint::Nothing(Family::Anthropic))),
            ("/v1/models", Some(Endpoint::List(Family::OpenAi))),
            ("/v1/models/acme/a%20b", Some(describe(Family::OpenAi, "acme/a b"))),
            ("/v1/responses/resp_1", Some(Endpoint::Nothing(Family::OpenAi))),
            ("/v1/", Some(Endpoint::Nothing(Family::OpenAi))),
            ("/v1beta/models", Some(Endpoint::List(Family::Gemini))),
            ("/v1beta/models/gemini-3", Some(describe(Family::Gemini, "gemini-3"))),
            ("/v1beta/models/gemini-3:generateContent", Some(generate("gemini-3", false))),
            ("/v1/models/gemini-3:generateContent", Some(generate("gemini-3", false))),
            ("/v1beta/models/ft%3Aa:b:streamGenerateContent", Some(generate("ft:a:b", true))),
            ("/v1beta/models/:generateContent", Some(Endpoint::Nothing(Family::Gemini))),
            ("/v1beta/models/%ff:generateContent", Some(Endpoint::Nothing(Family::Gemini))),
            ("/v1beta/models/gemini-3:countTokens", Some(Endpoint::Nothing(Family::Gemini))),
            ("/v1/models/llama3:8b", Some(describe(Family::OpenAi, "llama3:8b"))),
            ("/v1beta/cachedContents", Some(Endpoint::Nothing(Family::Gemini))),
            ("/v1", None),
            ("/v2/models", None),
            ("/mcp", None),
        ] {
            assert_eq!(Endpoint::parse(path, &HeaderMap::new()), expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_several_vendors_is_whose_client_comes() {
        for (header, family) in [
            (ANTHROPIC_VERSION, Family::Anthropic),
            ("x-goog-api-key", Family::Gemini),
            ("x-goog-api-client", Family::Gemini),
            ("authorization", Family::OpenAi),
        ] {
            let headers: HeaderMap =
                [(http::HeaderName::from_static(header), HeaderValue::from_static("x"))].into_iter().collect();

            let describe = Endpoint::Describe { family, model: "m".to_owned() };
            assert_eq!(Endpoint::parse("/v1/models", &headers), Some(Endpoint::List(family)), "{header}");
            assert_eq!(Endpoint::parse("/v1/models/m", &headers), Some(describe), "{header}");
        }
    }
}
