//! Providers of models: one call to one of them, with the key that is free.
//!
//! ```text
//!  Ask ─▶ key that does not rest ─▶ permit ─▶ request ─▶ head ─┬─ 2xx ─▶ Reply: whole, or events from the first on
//!              ▲                                               ├─ 401, 402: the key rests; the next one ──────┤
//!              │                                               ├─ 429: it rests for this model; the next one ─┤
//!              └───────────────────────────────────────────────┴──────────────────────────────────────────────┘
//!                                                              └─ anything else ─▶ Refused
//! ```
//!
//! A stream is a [`Reply`] when its first event is there: until then a caller may go elsewhere, and its client has seen nothing. What a
//! provider says of the gateway's own keys is told to nobody. It does not know shapes and retries: whoever asks does.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use quorate_http::client::{Body, Client};
use quorate_http::sse::{Event, EventStream};
use quorate_llm::Fault;
use quorate_llm::error::Kind;
use quorate_scheduler::{Choice, Config as SchedulerConfig, Targets, Terms};
use quorate_types::{ResourceName, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::read::Verdict;
use self::rests::Rests;
use crate::upstream::Credential;
use crate::{clock, entropy};

mod read;
mod rests;
mod send;

/// The limits of calls to one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest whole answer in bytes.
    pub answer_bytes_max: usize,
    /// Largest event of a stream in bytes.
    pub event_bytes_max: usize,
    /// Time until the first event of a stream; a whole answer begins when it is made, and has until the call's end.
    pub first_token: Duration,
    /// Longest silence of a stream.
    pub between_tokens: Duration,
    /// Calls in progress.
    pub concurrency: usize,
    /// How long a key rests that was refused without a word of how long.
    pub key_cooldown: Duration,
}

/// What a provider is made of; already valid.
#[derive(Debug)]
pub struct Config {
    /// Its name.
    pub name: ResourceName,
    /// Its address, without a slash at its end.
    pub url: String,
    /// The client that reaches it.
    pub client: Client,
    /// What it is shown: for each key the headers of all calls with it, at least one.
    pub shown: Vec<Credential>,
    /// Its limits.
    pub limits: Limits,
}

/// A provider of models. Clones are one.
#[derive(Clone)]
pub struct Provider {
    inner: Arc<Inner>,
}

struct Inner {
    name: ResourceName,
    url: String,
    client: Client,
    shown: Vec<Credential>,
    keys: Mutex<Keys>,
    limits: Limits,
    permits: Arc<Semaphore>,
}

/// The keys, and which of them rest.
struct Keys {
    all: Targets,
    limited: Rests,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The model, as the provider calls it, whose limit a call counts towards.
    pub model: &'a str,
    /// The path and query below the provider's address.
    pub path: &'a str,
    /// Headers that are this call's own, such as the trace and the version of the API.
    pub headers: &'a HeaderMap,
    /// The request.
    pub body: &'a Bytes,
    /// Whether events are asked for.
    pub is_streamed: bool,
    /// When patience ends altogether.
    pub until: Instant,
}

/// What a provider answers.
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// The call's place among those in progress, and with its key; given back when it ends.
    pub held: Held,
}

/// An answer that is there, or begins.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and kept nowhere")]
pub enum Answer {
    /// All of it.
    Whole(Bytes),
    /// The first event, and what follows it.
    Events(Event, EventStream<Body>),
}

/// A call was not answered.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What its client is told, if nobody else answers.
    pub fault: Fault,
    /// Whose fault it is.
    pub blame: Blame,
}

/// Whose fault it is that a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request's own: another provider would refuse it as well.
    Request,
    /// The provider's, which may be broken.
    Provider,
    /// The gateway's keys: the provider takes none of them, now or for this request.
    Keys {
        /// Whether it would take none for any request.
        is_refused: bool,
    },
    /// Nobody's: it asks to be left alone until then.
    Load {
        /// When it can be asked again.
        until: Timestamp,
        /// Whether it was asked now; else it is known from before.
        was_asked: bool,
    },
    /// Ours: as many calls are in progress there as there may be.
    Busy,
}

/// A call's place.
pub struct Held {
    provider: Provider,
    key: usize,
    _permit: OwnedSemaphorePermit,
}

// === impl Provider ===

impl Provider {
    /// Makes a provider.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { name, url, client, shown, limits } = config;
        let terms = shown.iter().map(|_| Terms { weight: 1, priority: 0 });
        let all = Targets::new(terms, SchedulerConfig::DEFAULTS);
        let keys = Mutex::new(Keys { all, limited: Rests::default() });
        let permits = Arc::new(Semaphore::new(limits.concurrency.min(Semaphore::MAX_PERMITS)));
        Self { inner: Arc::new(Inner { name, url, client, shown, keys, limits, permits }) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ResourceName {
        &self.inner.name
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.inner.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a call of a model, with a key that was not tried.
    fn hold(&self, model: &str, tried: &[usize]) -> Result<Held, Refused> {
        let permit = Arc::clone(&self.inner.permits).try_acquire_owned();
        let permit = permit.map_err(|_| {
            // It is our own limit, which a call that ends makes room for.
            let fault = Fault::new(
                Kind::Overloaded,
                "too many calls are in progress at the provider that answers for this model",
            );
            Refused { fault, blame: Blame::Busy }
        })?;
        let now = clock::now();
        let mut keys = self.keys();
        let Keys { all, limited } = &mut *keys;
        let is_open = |key| !tried.contains(&key) && limited.until(model, key, now).is_none();
        let key = match all.choose(now, entropy::spread(), is_open) {
            Choice::Target { target, .. } => target,
            Choice::Resting { .. } | Choice::Nobody => match keys.back(model, now) {
                until if until > now => return Err(Refused::resting(until)),
                _ => return Err(Refused::keyless()),
            },
        };
        keys.all.begin(key);
        drop(keys);
        Ok(Held { provider: self.clone(), key, _permit: permit })
    }

    /// When the first key can be asked for a model, of all that there are.
    fn back(&self, model: &str) -> Timestamp {
        self.keys().back(model, clock::now())
    }

    /// Lets a key rest that was refused, or for one model where it has no calls of it left, as long as the provider says. Where it
    /// does not, one of several rests for a while; an only one does not, since nobody would be asked in its place.
    fn rest(&self, key: usize, limited: Option<&str>, after: Option<Duration>) -> Timestamp {
        let cooldown = if self.inner.shown.len() > 1 { self.inner.limits.key_cooldown } else { Duration::ZERO };
        let now = clock::now();
        let until = now + after.unwrap_or(cooldown);
        let mut keys = self.keys();
        if !limited.is_some_and(|model| keys.limited.rest(model, key, until, now)) {
            keys.all.rest(key, until);
        }
        until
    }

    fn uri(&self, path: &str) -> Result<Uri, Refused> {
        let uri = format!("{}/{path}", self.inner.url);
        // The address was checked, and names of models are escaped.
        uri.parse().map_err(|_| Refused::broken("the address of the provider and this model's name make no URL"))
    }
}

// === impl Keys ===

impl Keys {
    /// When the first of them can be asked for a model.
    fn back(&self, model: &str, now: Timestamp) -> Timestamp {
        let rests = self.all.observe(now).into_iter().enumerate().map(|(key, state)| {
            let of_model = self.limited.until(model, key, now);
            state.rests_until.into_iter().chain(of_model).max().map_or(now, |until| until.max(now))
        });
        rests.min().unwrap_or(now)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

// === impl Refused ===

impl Refused {
    /// All keys rest.
    fn resting(until: Timestamp) -> Self {
        let fault = Fault::new(Kind::RateLimited, "the provider's rate limit is reached");
        let retry_after = Some(until.since(clock::now()));
        Self { fault: Fault { retry_after, ..fault }, blame: Blame::Load { until, was_asked: false } }
    }

    /// The same of all keys, the first of which can be asked then.
    fn until(self, until: Timestamp) -> Self {
        let retry_after = Some(until.since(clock::now())).filter(|after| !after.is_zero());
        Self { fault: Fault { retry_after, ..self.fault }, blame: Blame::Load { until, was_asked: true } }
    }

    /// No key was taken.
    fn keyless() -> Self {
        Self { blame: Blame::Keys { is_refused: true }, ..Self::of(StatusCode::UNAUTHORIZED, &[], None) }
    }

    /// The provider says in the first event of a stream that it does not answer.
    #[must_use]
    pub fn by_event(fault: Fault) -> Self {
        let blame = Blame::of(&fault);
        Self { fault, blame }
    }

    /// The provider answers with an error.
    fn of(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let refused = Self::by_event(Fault::of_provider(status, body, retry_after));
        match read::verdict(status) {
            Verdict::Refused => Self { blame: Blame::Keys { is_refused: true }, ..refused },
            Verdict::Forbidden => Self { blame: Blame::Keys { is_refused: false }, ..refused },
            Verdict::Good | Verdict::Limited => refused,
        }
    }

    fn broken(message: &str) -> Self {
        Self { fault: Fault::new(Kind::Provider, message), blame: Blame::Provider }
    }
}

// === impl Blame ===

impl Blame {
    fn of(fault: &Fault) -> Self {
        match fault.kind {
            Kind::Invalid | Kind::ContextLength | Kind::NotFound | Kind::TooLarge => Self::Request,
            // One that does not say for how long fails as others do, so that it is left out when it goes on.
            Kind::RateLimited | Kind::Overloaded => match fault.retry_after {
                Some(after) => Self::Load { until: clock::now() + after, was_asked: true },
                None => Self::Provider,
            },
            Kind::Provider
            | Kind::Timeout
            | Kind::Unavailable
            | Kind::Unauthenticated
            | Kind::Denied
            | Kind::MediaType
            | Kind::Internal => Self::Provider,
        }
    }
}

// === impl Held ===

impl Drop for Held {
    fn drop(&mut self) {
        self.provider.keys().all.end(self.key);
    }
}
