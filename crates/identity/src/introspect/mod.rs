//! Asks issuers about tokens that only they can read (RFC 7662).
//!
//! In: a token. Out: what its issuer says of it, from bounded caches or from its endpoint. A token that many requests
//! bring at once is asked about once; how many questions are open is bounded, and each has a time limit. Tokens that were
//! good before have a lane of their own, so that strangers' bad ones, however many, keep no good caller waiting. What
//! cannot be asked cannot be judged: that is the issuer's outage ([`Why::Unavailable`]) and never the token's fault. The
//! questions are asked by tasks, so that a caller who goes away does not take the answer from others; they end with the
//! [`Asker`].

mod answer;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use quorate_http::client::Client;
use quorate_types::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use url::form_urlencoded;

use crate::cache::Cache;
use crate::fetch::{self, FetchError};
use crate::issuer::{ClientAuthentication, Config, Introspected};
use crate::observe::Observer;
use crate::refused::Why;
use crate::token::TokenId;
use crate::verified::Verified;

/// How many tokens that are good are known: as many as are used within a cache's time. Each takes about 2 KiB.
const GOOD_MAX: usize = 10_000;
/// How many that are not, apart from them: bad ones must not push good ones out. Each takes about 150 bytes.
const BAD_MAX: usize = 4_096;
/// How long a refusal is believed: a token that was just made may be active a moment later.
const REFUSAL_FOR: Duration = Duration::from_secs(5);
/// Questions that an endpoint is asked at once in each of the two lanes; more would be a load test.
const ASKED_MAX: usize = 32;
/// Tokens of a lane that are asked about or wait for it: eight rounds, which take under a second when the endpoint is
/// well.
const OPEN_MAX: usize = 256;
/// The time from a question to its answer, waiting for its turn included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer: a token has at most 16 KiB, and an answer says what a token could.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What an issuer says of a token.
type Verdict = Result<Arc<Verified>, Why>;

/// Asks one issuer.
pub(crate) struct Asker {
    shared: Arc<Shared>,
    /// Dropped with it, which ends them.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    config: Config,
    check: Introspected,
    client: Client,
    observer: Arc<dyn Observer>,
    answers: Arc<Answers>,
    open: Mutex<HashMap<TokenId, watch::Receiver<Option<Verdict>>>>,
    /// For tokens that were never good, as far as is known.
    strangers: Lane,
    /// For tokens that were.
    regulars: Lane,
}

/// What is known of tokens.
struct Answers {
    good: Cache<TokenId, (Arc<Verified>, Timestamp)>,
    bad: Cache<TokenId, (Why, Timestamp)>,
}

/// Room for questions.
struct Lane {
    /// To be open at all.
    places: Arc<Semaphore>,
    /// To be asked.
    turns: Semaphore,
}

/// What is known of a token.
pub(crate) enum Known {
    /// This.
    Verdict(Verdict),
    /// That it was good when it was last asked about, too long ago.
    Regular,
    /// Nothing.
    Stranger,
}

/// An open question; closed when dropped, whatever becomes of its task.
struct Question {
    shared: Arc<Shared>,
    id: TokenId,
    is_regular: bool,
    _place: OwnedSemaphorePermit,
}

// === impl Asker ===

impl Asker {
    /// Makes one; `before` is one of the same configuration, whose answers it knows.
    pub(crate) fn new(
        config: Config,
        check: Introspected,
        client: Client,
        observer: Arc<dyn Observer>,
        before: Option<&Self>,
    ) -> Self {
        let answers = || Arc::new(Answers { good: Cache::new(GOOD_MAX), bad: Cache::new(BAD_MAX) });
        let shared = Shared {
            config,
            check,
            client,
            observer,
            answers: before.map_or_else(answers, |before| Arc::clone(&before.shared.answers)),
            open: Mutex::default(),
            strangers: Lane::new(),
            regulars: Lane::new(),
        };
        Self { shared: Arc::new(shared), tasks: Mutex::default() }
    }

    /// Returns what is known of a token at `now`, without asking.
    pub(crate) fn known(&self, id: &TokenId, now: Timestamp) -> Known {
        // A clock that stepped back makes nothing younger.
        let is_believed = |at: Timestamp, time: Duration| at <= now && now.since(at) < time;
        let good = self.shared.answers.good.get(id);
        match good {
            Some((verified, at)) if is_believed(at, self.shared.check.cache_max) => Known::Verdict(Ok(verified)),
            Some(_) | None => match self.shared.answers.bad.get(id) {
                Some((why, at)) if is_believed(at, REFUSAL_FOR) => Known::Verdict(Err(why)),
                Some(_) | None if good.is_some() => Known::Regular,
                Some(_) | None => Known::Stranger,
            },
        }
    }

    /// Returns how many answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.shared.answers.good.len() + self.shared.answers.bad.len()
    }

    /// Asks about a token; `is_regular` for one that was good before. Must be called within a runtime.
    pub(crate) async fn ask(&self, id: TokenId, token: &str, is_regular: bool, now: Timestamp) -> Verdict {
        let mut verdict = self.join(id, token, is_regular, now)?;
        // The task ends within its time limit; should it end without an answer, there is none.
        let answered = verdict.wait_for(Option::is_some).await.map(|verdict| verdict.clone());
        answered.ok().flatten().unwrap_or(Err(UNANSWERED))
    }

    /// Opens a question, or joins one that is open.
    fn join(
        &self,
        id: TokenId,
        token: &str,
        is_regular: bool,
        now: Timestamp,
    ) -> Result<watch::Receiver<Option<Verdict>>, Why> {
        let mut open = self.shared.lock();
        let slot = match open.entry(id) {
            Entry::Occupied(question) => return Ok(question.get().clone()),
            Entry::Vacant(slot) => slot,
        };
        let place = Arc::clone(&self.shared.lane(is_regular).places).try_acquire_owned();
        let place = place.map_err(|_| Why::Unavailable("too many tokens wait for introspection"))?;
        let (answer, verdict) = watch::channel(None);
        slot.insert(verdict.clone());
        drop(open);
        let question = Question { shared: Arc::clone(&self.shared), id, is_regular, _place: place };
        let form = self.shared.form(token);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let verdict = question.settle(form, now).await;
            answer.send_replace(Some(verdict));
        });
        Ok(verdict)
    }
}

// === impl Lane ===

impl Lane {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(OPEN_MAX)), turns: Semaphore::new(ASKED_MAX) }
    }
}

/// An endpoint that cannot be asked.
const UNANSWERED: Why = Why::Unavailable("its introspection endpoint does not answer");

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<TokenId, watch::Receiver<Option<Verdict>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, is_regular: bool) -> &Lane {
        if is_regular { &self.regulars } else { &self.strangers }
    }

    /// The body of a question (RFC 7662 §2.1).
    fn form(&self, token: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        if self.check.authentication == ClientAuthentication::Post {
            form.append_pair("client_id", &self.check.client_id);
            form.append_pair("client_secret", self.check.client_secret.expose());
        }
        form.finish()
    }

    /// The header of a question (RFC 6749 §2.3.1: both parts are encoded as in a form first).
    fn authorization(&self) -> Option<HeaderValue> {
        if self.check.authentication != ClientAuthentication::Basic {
            return None;
        }
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(&self.check.client_id), encode(self.check.client_secret.expose()));
        let value = format!("Basic {}", STANDARD.encode(pair));
        let mut value = HeaderValue::from_str(&value).expect("base64 is visible ASCII");
        value.set_sensitive(true);
        Some(value)
    }
}

// === impl Question ===

impl Question {
    /// Asks, and keeps the answer.
    ///
    /// It counts from when it was asked for: a request that came meanwhile finds it no younger than itself.
    async fn settle(&self, form: String, now: Timestamp) -> Verdict {
        let shared = &*self.shared;
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(form)).await;
        let url = || shared.check.endpoint.shown().to_owned();
        let read = match asked {
            Err(_elapsed) => Err(FetchError::Timeout { timeout: ANSWER_TIMEOUT }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(text)) => answer::read(&text, &shared.config, &shared.check, now)
                .map_err(|answer::NoAnswer| FetchError::Metadata { url: url(), member: "active" }),
        };
        match read {
            Ok(verdict) => {
                let verdict = verdict.map(Arc::new);
                match &verdict {
                    Ok(verified) => shared.answers.good.put(self.id, (Arc::clone(verified), now)),
                    Err(why) => {
                        shared.answers.good.remove(&self.id);
                        shared.answers.bad.put(self.id, (why.clone(), now));
                    }
                }
                verdict
            }
            Err(error) => {
                shared.observer.introspection_failed(&shared.config.name, &error);
                Err(UNANSWERED)
            }
        }
    }

    async fn answer(&self, form: String) -> Result<bytes::Bytes, FetchError> {
        let shared = &*self.shared;
        let _turn = shared.lane(self.is_regular).turns.acquire().await.expect("the semaphore is never closed");
        let authorization = shared.authorization();
        let document =
            fetch::post(&shared.client, &shared.check.endpoint, authorization, form, ANSWER_BYTES_MAX).await?;
        Ok(document.text)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
    }
}
