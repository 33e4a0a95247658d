//! Stage 5: who may answer.
//!
//! In: a permitted request. Out: [`Routed`]: the targets of its model that are for such a request and can be asked it. Which of them is
//! asked is decided when it is, by their health and load; what they cost is known from here on.

use http::HeaderMap;
use quorate_config::Condition;
use quorate_llm::error::Kind;
use quorate_llm::{Api, Call, Fault};

use super::authorize::Permitted;
use super::refusal::Refusal;

/// A request whose possible targets are known.
pub(super) struct Routed {
    permitted: Permitted,
    candidates: Vec<Candidate>,
}

/// A target that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place among the model's.
    pub(super) target: usize,
    /// The API that it is asked by.
    pub(super) api: Api,
}

// === impl Routed ===

impl Routed {
    /// The request.
    pub(super) const fn permitted(&self) -> &Permitted {
        &self.permitted
    }

    /// Who may answer; nobody where the gateway answers itself, which counts tokens.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

/// Finds the targets that may answer.
///
/// # Errors
/// [`Refusal::Route`] where none may.
pub(super) fn select(permitted: Permitted) -> Result<Routed, Refusal> {
    let (call, model) = (permitted.classified().call(), permitted.model());
    let headers = &permitted.classified().accepted().head.headers;
    let can = |target: usize| Some(Candidate { target, api: model.providers[target].api_for(call.api)? });
    let able: Vec<Candidate> = (0..model.config.targets.len()).filter_map(can).collect();
    // Of a model whose providers do not count the gateway counts.
    if able.is_empty() && call.api != Api::CountTokens {
        let message =
            format!("the model {:?} has no provider that can be asked by way of {}", call.model, call.api.word());
        return Err(Refusal::Route(Fault::new(Kind::NotFound, message)));
    }
    let is_meant = |one: &Candidate| holds(&model.config.targets[one.target].when, call, headers);
    let candidates: Vec<Candidate> = able.into_iter().filter(is_meant).collect();
    if candidates.is_empty() && call.api != Api::CountTokens {
        let message =
            format!("no target of the model {:?} is for such a request: its size, tools, media or headers", call.model);
        return Err(Refusal::Route(Fault::new(Kind::Invalid, message)));
    }
    Ok(Routed { permitted, candidates })
}

/// Whether a condition holds for a call.
fn holds(condition: &Condition, call: &Call, headers: &HeaderMap) -> bool {
    let Condition { headers: patterns, body_min, body_max, tools, images, audio, documents } = condition;
    let is = |wanted: &Option<bool>, has: bool| wanted.is_none_or(|wanted| wanted == has);
    let bytes = call.body.len();
    body_min.is_none_or(|min| bytes >= min.as_usize())
        && body_max.is_none_or(|max| bytes <= max.as_usize())
        && is(tools, call.has.tools)
        && is(images, call.has.images)
        && is(audio, call.has.audio)
        && is(documents, call.has.documents)
        && patterns.iter().all(|(name, pattern)| {
            let mut values = headers.get_all(name).iter();
            values.any(|value| value.to_str().is_ok_and(|text| pattern.matches(text)))
        })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use quorate_llm::classify;
    use quorate_llm::classify::Path;
    use quorate_mcp::curate::pattern::Pattern;
    use quorate_types::ByteSize;

    use super::*;

    #[test]
    fn all_that_a_condition_says_has_to_hold() {
        let body = Bytes::from_static(br#"{"model":"m","tools":[{}],"messages":[{"content":[{"type":"image_url"}]}]}"#);
        let bytes = body.len() as u64;
        let call = classify(&Path { api: Api::Chat, model: None, is_streamed: false }, body).expect("it is one");
        let headers: HeaderMap =
            [(http::HeaderName::from_static("x-tier"), HeaderValue::from_static("gold"))].into_iter().collect();
        let pattern =
            |text: &str| vec![(http::HeaderName::from_static("x-tier"), Pattern::parse(text).expect("a pattern"))];
        let size = |bytes: u64| -> ByteSize { format!("{bytes}B").parse().expect("a size") };
        let none = Condition::default();
        for (condition, expected) in [
            (none.clone(), true),
            (Condition { headers: pattern("g*"), ..none.clone() }, true),
            (Condition { headers: pattern("silver"), ..none.clone() }, false),
            (Condition { tools: Some(true), images: Some(true), documents: Some(false), ..none.clone() }, true),
            (Condition { tools: Some(true), images: Some(false), ..none.clone() }, false),
            (Condition { audio: Some(true), ..none.clone() }, false),
            (Condition { body_min: Some(size(bytes)), ..none.clone() }, true),
            (Condition { body_min: Some(size(bytes + 1)), ..none.clone() }, false),
            (Condition { body_max: Some(size(bytes)), ..none.clone() }, true),
            (Condition { body_max: Some(size(bytes - 1)), ..none }, false),
        ] {
            assert_eq!(holds(&condition, &call, &headers), expected, "{condition:?}");
        }
    }
}
