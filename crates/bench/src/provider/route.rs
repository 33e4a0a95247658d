//! Which API of which provider a path is: the shapes of OpenAI, Anthropic, Gemini and Vertex, and Azure's older form.
//!
//! In: a method, a path and its query. Out: a [`Place`], or the family in whose shape the refusal is. Pure. As strict as the providers
//! are: a gateway that puts `/v1` there twice is refused here too.

use http::Method;
use percent_encoding::percent_decode_str;

/// What stands before `/chat/completions` and its like: OpenAI's own, and those of providers that speak as OpenAI does.
const OPENAI_PREFIXES: [&str; 7] =
    ["", "/v1", "/openai/v1", "/api/v1", "/inference/v1", "/v1beta/openai", "/anthropic/v1"];

/// One vendor's way of credentials and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`.
    Anthropic,
    /// `{"error":{"code","message","status"}}`.
    Gemini,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
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
    /// Gemini `generateContent`.
    Generate,
}

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A request for a model.
    Call(Route),
    /// The list of models.
    Models(Family),
    /// The counters.
    Ledger,
    /// Empties them.
    Reset,
}

/// A request for a model, as far as its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// What is asked.
    pub(super) api: Api,
    /// The model, where the path names it.
    pub(super) model: Option<String>,
    /// Whether the path asks for a stream.
    pub(super) is_streamed: bool,
    /// Whether a stream is events, rather than the elements of one array (Gemini without `alt=sse`).
    pub(super) has_events: bool,
    /// Whether it is Azure's older form, whose streams begin otherwise.
    pub(super) is_azure: bool,
}

// === impl Api ===

impl Api {
    /// Whose it is.
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Chat | Self::Responses | Self::Embeddings => Family::OpenAi,
            Self::Messages | Self::CountTokens => Family::Anthropic,
            Self::Generate => Family::Gemini,
        }
    }
}

// === impl Place ===

impl Place {
    /// Finds what is at a path.
    ///
    /// # Errors
    /// The family of what the path is like, where nothing is.
    pub(super) fn find(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Family> {
        let family = if path.contains("/models/") && path.contains(':') {
            Family::Gemini
        } else if path.contains("/messages") {
            Family::Anthropic
        } else {
            Family::OpenAi
        };
        match (method, path) {
            (&Method::GET, "/ledger") => return Ok(Self::Ledger),
            (&Method::POST, "/ledger/reset") => return Ok(Self::Reset),
            (&Method::GET, "/v1beta/models") => return Ok(Self::Models(Family::Gemini)),
            (&Method::GET, _) if prefixed(path, "/models") => return Ok(Self::Models(Family::OpenAi)),
            (&Method::POST, _) => {}
            _ => return Err(family),
        }
        let route = generate(path, query).or_else(|| deployment(path)).or_else(|| plain(path));
        route.map(Self::Call).ok_or(family)
    }
}

/// Whether a path is one of OpenAI's, with one of the prefixes, or of Vertex's way of OpenAI's.
fn prefixed(path: &str, ending: &str) -> bool {
    let Some(prefix) = path.strip_suffix(ending) else { return false };
    OPENAI_PREFIXES.contains(&prefix) || prefix.starts_with("/v1/projects/") && prefix.ends_with("/endpoints/openapi")
}

fn plain(path: &str) -> Option<Route> {
    let apis = [
        ("/chat/completions", Api::Chat),
        ("/responses", Api::Responses),
        ("/embeddings", Api::Embeddings),
        ("/messages", Api::Messages),
        ("/messages/count_tokens", Api::CountTokens),
    ];
    let (_, api) = apis.into_iter().find(|(ending, _)| prefixed(path, ending))?;
    Some(Route { api, model: None, is_streamed: false, has_events: true, is_azure: false })
}

/// `/openai/deployments/DEPLOYMENT/chat/completions`.
fn deployment(path: &str) -> Option<Route> {
    let rest = path.strip_prefix("/openai/deployments/")?;
    let (deployment, api) = match rest.strip_suffix("/chat/completions") {
        Some(deployment) => (deployment, Api::Chat),
        None => (rest.strip_suffix("/embeddings")?, Api::Embeddings),
    };
    Some(Route { api, model: Some(decoded(deployment)?), is_streamed: false, has_events: true, is_azure: true })
}

/// `/v1beta/models/MODEL:generateContent`, and the same of Vertex.
fn generate(path: &str, query: Option<&str>) -> Option<Route> {
    const VERTEX: &str = "/publishers/google/models/";
    let gemini = ["/v1beta/models/", "/v1/models/"].into_iter().find_map(|prefix| path.strip_prefix(prefix));
    let vertex = || {
        let at = path.find(VERTEX)?;
        let place = &path[..at];
        let version = place.strip_prefix("/v1beta1").or_else(|| place.strip_prefix("/v1"))?;
        let is_place = version.is_empty() || version.starts_with("/projects/");
        is_place.then(|| &path[at + VERTEX.len()..])
    };
    // A name may hold what separates paths (`usage=1/2`), escaped or not: all up to the verb is the name.
    let (model, verb) = gemini.or_else(vertex)?.rsplit_once(':')?;
    let is_streamed = match verb {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return None,
    };
    let has_events = query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse");
    Some(Route { api: Api::Generate, model: Some(decoded(model)?), is_streamed, has_events, is_azure: false })
}

fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(Api, Option<String>, bool, bool)> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        match Place::find(&Method::POST, path, query) {
            Ok(Place::Call(route)) => Some((route.api, route.model, route.is_streamed, route.has_events)),
            _ => None,
        }
    }

    #[test]
    fn each_path_is_what_its_provider_documents() {
        let model = |name: &str| Some(name.to_owned());
        for (path, expected) in [
            ("/v1/chat/completions", Some((Api::Chat, None, false, true))),
            ("/chat/completions", Some((Api::Chat, None, false, true))),
            ("/v1beta/openai/embeddings", Some((Api::Embeddings, None, false, true))),
            ("/v1/responses", Some((Api::Responses, None, false, true))),
            ("/v1/messages", Some((Api::Messages, None, false, true))),
            ("/v1/messages/count_tokens", Some((Api::CountTokens, None, false, true))),
            ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", Some((Api::Chat, None, false, true))),
            (
                "/openai/deployments/mock%2Ctool/chat/completions?api-version=1",
                Some((Api::Chat, model("mock,tool"), false, true)),
            ),
            ("/v1beta/models/mock:generateContent", Some((Api::Generate, model("mock"), false, false))),
            (
                "/v1beta/models/mock,usage=1%2F2:streamGenerateContent?key=k&alt=sse",
                Some((Api::Generate, model("mock,usage=1/2"), true, true)),
            ),
            (
                "/v1/projects/p/locations/l/publishers/google/models/mock,usage=1/2:streamGenerateContent",
                Some((Api::Generate, model("mock,usage=1/2"), true, false)),
            ),
            ("/v1/v1/chat/completions", None),
            ("/v1/chat/completions/", None),
            ("/v2/publishers/google/models/mock:generateContent", None),
            ("/v1beta/models/mock:explain", None),
            ("/v1beta/models/:generateContent", None),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_nowhere_is_refused_in_the_shape_it_is_like() {
        for (path, family) in [
            ("/v1/completion", Family::OpenAi),
            ("/v2/messages", Family::Anthropic),
            ("/v1beta/models/a:explain", Family::Gemini),
        ] {
            assert_eq!(Place::find(&Method::POST, path, None), Err(family), "{path}");
        }
        assert_eq!(Place::find(&Method::GET, "/v1/chat/completions", None), Err(Family::OpenAi));
        assert_eq!(Place::find(&Method::GET, "/v1/models", None), Ok(Place::Models(Family::OpenAi)));
    }
}
