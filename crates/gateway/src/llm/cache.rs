//! Answers that are kept: whether one is there for a request, and whether its own is to be kept.
//!
//! In: a routed request, whose caller may ask its model. Out: an answer that was given to somebody of the same tenant by leave of the
//! same policy for the same request, or a [`Place`] for the one that will be given. Part of what is the same: the API, the model, the
//! targets that may answer, whether it is streamed, what of the client's headers the provider is told, and every value of the body.
//! `Cache-Control` of the request says otherwise (RFC 9111 §5.2.1): `no-store` keeps out of it, `no-cache` asks anew, `max-age` bounds
//! the age.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use quorate_http::sse::Event;
use quorate_llm::Losses;
use quorate_llm::canonical::{self, Digest};
use quorate_runtime::clock;

use super::rewrite;
use super::route::Routed;
use super::table::ModelTable;

/// An answer as its client gets it.
#[derive(Clone)]
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// Its events, which are given at once.
    Events(Arc<[Event]>),
}

/// What is kept.
#[derive(Clone)]
pub(crate) struct Stored {
    content: Content,
    /// What its provider was not told, which is as true for whoever gets it again.
    losses: Losses,
}

/// What a cache says of a request.
pub(super) enum Looked {
    /// Nothing: the model keeps no answers, or the request wants none of them.
    Off,
    /// There is an answer.
    Hit {
        /// The answer.
        content: Content,
        /// What its provider was not told.
        losses: Losses,
        /// How old it is.
        age: Duration,
    },
    /// There is none; the request's own belongs here.
    Miss(Place),
}

/// Where an answer is kept.
pub(super) struct Place {
    model: Arc<ModelTable>,
    key: Digest,
    losses: Losses,
    /// The largest answer that is kept.
    pub(super) bytes_max: usize,
}

/// What a request says of kept answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wishes {
    no_store: bool,
    no_cache: bool,
    max_age: Option<Duration>,
}

// === impl Content ===

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Self::Whole(body) => body.len(),
            Self::Events(events) => events.iter().map(|event| event.data.len() + size_of::<Event>()).sum(),
        }
    }
}

// === impl Place ===

impl Place {
    /// Notes what the provider was not told.
    pub(super) fn with_losses(self, losses: &Losses) -> Self {
        Self { losses: losses.clone(), ..self }
    }

    /// Keeps an answer.
    pub(super) fn keep(self, content: Content) {
        let bytes = content.bytes() + self.losses.iter().map(|loss| loss.name().len()).sum::<usize>();
        if let Some(mut cache) = self.model.cache() {
            cache.keep(self.key, Stored { content, losses: self.losses }, bytes, clock::now());
        }
    }
}

/// Looks for an answer to `routed`.
pub(super) fn look(routed: &Routed) -> Looked {
    let (permitted, model) = (routed.permitted(), routed.permitted().model());
    let headers = &permitted.classified().accepted().head.headers;
    let wishes = Wishes::of(headers);
    let Some(mut cache) = model.cache().filter(|_| !wishes.no_store) else { return Looked::Off };
    let key = key(routed, headers);
    let bytes_max = cache.limits().answer_bytes_max;
    let found = if wishes.no_cache { None } else { cache.find(&key, clock::now()) };
    drop(cache);
    match found.filter(|found| wishes.max_age.is_none_or(|max| found.age <= max)) {
        Some(found) => {
            let Stored { content, losses } = found.value;
            Looked::Hit { content, losses, age: found.age }
        }
        None => Looked::Miss(Place { model: Arc::clone(model), key, losses: Losses::default(), bytes_max }),
    }
}

fn key(routed: &Routed, headers: &HeaderMap) -> Digest {
    let (permitted, classified) = (routed.permitted(), routed.permitted().classified());
    let call = classified.call();
    let candidates = routed.candidates().iter().map(|one| format!("{}:{}", one.target, one.api.word()));
    let candidates = candidates.collect::<Vec<_>>().join(",");
    let told = rewrite::told_headers(call.api, headers);
    let scope = [
        classified.caller().principal.tenant.as_str(),
        &permitted.policy(),
        call.api.word(),
        &call.model,
        if call.is_streamed { "streamed" } else { "whole" },
        &candidates,
        &told,
    ];
    canonical::digest(&scope, std::str::from_utf8(&call.body).expect("it was classified"))
}

// === impl Wishes ===

impl Wishes {
    fn of(headers: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => wishes.no_store = true,
                "no-cache" => wishes.no_cache = true,
                "max-age" => {
                    // What cannot be read asks for nothing that is kept.
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    wishes.max_age = Some(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
        wishes
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_says_what_it_wants_of_kept_answers() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let none = Wishes::default();
        for (text, expected) in [
            ("", none),
            ("no-cache", Wishes { no_cache: true, ..none }),
            ("No-Store, max-age=5", Wishes { no_store: true, max_age: seconds(5), ..none }),
            ("max-age=\"60\"", Wishes { max_age: seconds(60), ..none }),
            ("max-age=soon", Wishes { max_age: seconds(0), ..none }),
            ("only-if-cached, max-stale=3", none),
        ] {
            let headers = [(CACHE_CONTROL, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(Wishes::of(&headers), expected, "{text}");
        }
    }
}
