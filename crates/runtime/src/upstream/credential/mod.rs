//! What a tool server over HTTP is shown of us, beside the headers that never change.
//!
//! A [`Credential`] belongs to one tool server and is shared by its replicas; two servers never share one. It adds to each
//! request what it has now ([`Credential::proof`]), which the client's request has no part in, and says what to show
//! instead when the server refuses it with 401 ([`Credential::instead_of`]): a call that was refused so has not run.
//!
//! | File | What it decides |
//! |---|---|
//! | `source` | secrets that are read again, and headers made of them |
//! | `grant` | what is asked of a token endpoint, and what its answer says (pure) |
//! | `renewal` | when it is asked (pure) |
//! | `fetch` | one exchange with it |
//! | `tokens` | the task that keeps a token |
//!
//! Rooms for what comes: a token that is exchanged for the caller's (RFC 8693), a user's own grant, and a SPIFFE identity
//! are further kinds of proof, made per caller where these are made per server.

mod fetch;
mod grant;
mod renewal;
mod source;
mod tokens;

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_telemetry::TokenMetrics;
use quorate_types::ResourceName;
use tokio::time::Instant;

pub use fetch::Grant;
pub use grant::{Client, ClientAuth, Failure};
use source::{Rotating, Values};
pub use source::{Source, Unreadable};
use tokens::{Token, Tokens};

/// What a credential is made of; already valid.
#[derive(Debug)]
pub struct Config {
    /// The tool server's name, for logs.
    pub server: ResourceName,
    /// Headers that go with each request, of different names. Values are marked sensitive.
    pub headers: Vec<(HeaderName, Source<HeaderValue>)>,
    /// How a bearer token is asked for, where the server wants one; then no header is `Authorization`.
    pub grant: Option<Grant>,
}

/// What a tool server is shown. Clones are one.
#[derive(Clone)]
pub struct Credential {
    inner: Arc<Inner>,
}

struct Inner {
    fixed: HeaderMap,
    rotating: Option<Rotating>,
    tokens: Option<Tokens>,
}

/// What one request shows.
pub(crate) struct Proof {
    rotating: Option<Arc<Values>>,
    token: Option<Arc<Token>>,
}

// === impl Credential ===

impl Credential {
    /// Makes a credential. Headers, and what a token is asked for with, are read once, so that what cannot be read is
    /// known before anything depends on it; a token is asked for by the first request. It blocks as long as a file may.
    ///
    /// # Errors
    /// [`Unreadable`] names the file or variable.
    pub fn new(config: Config, metrics: TokenMetrics) -> Result<Self, Unreadable> {
        let mut fixed = HeaderMap::new();
        let mut changing = Vec::new();
        for (name, source) in config.headers {
            match source {
                Source::Fixed(value) => {
                    fixed.insert(name, value);
                }
                Source::Changing(read) => changing.push((name, read)),
            }
        }
        let server = config.server.clone();
        let rotating = if changing.is_empty() { None } else { Some(Rotating::new(server, changing)?) };
        let tokens = match config.grant {
            Some(grant) => {
                grant.check()?;
                let grant = Arc::new(grant);
                let ask = move || {
                    let grant = Arc::clone(&grant);
                    Box::pin(async move { grant.ask().await }) as _
                };
                Some(Tokens::new(config.server, Box::new(ask), metrics))
            }
            None => None,
        };
        Ok(Self { inner: Arc::new(Inner { fixed, rotating, tokens }) })
    }

    /// Renews nothing ahead of time any more: the server was removed. What is still under way gets what it needs.
    pub fn close(&self) {
        if let Some(tokens) = &self.inner.tokens {
            tokens.close();
        }
    }

    /// Returns what a request shows now; waits for a token at most until `until`.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub(crate) async fn proof(&self, until: Instant) -> Result<Proof, Failure> {
        let rotating = match &self.inner.rotating {
            Some(rotating) => Some(rotating.current().await),
            None => None,
        };
        let token = match &self.inner.tokens {
            Some(tokens) => Some(tokens.current(until).await?),
            None => None,
        };
        Ok(Proof { rotating, token })
    }

    /// Returns what to show instead of what the server refused with 401; none when there is nothing else.
    ///
    /// # Errors
    /// [`Failure`] when another token was asked for in vain.
    pub(crate) async fn instead_of(&self, refused: &Proof, until: Instant) -> Result<Option<Proof>, Failure> {
        let rotating = match (&self.inner.rotating, &refused.rotating) {
            (Some(rotating), Some(values)) => rotating.instead_of(values).await,
            _ => None,
        };
        if rotating.is_some() {
            return Ok(Some(Proof { rotating, token: refused.token.clone() }));
        }
        let (Some(tokens), Some(token)) = (&self.inner.tokens, &refused.token) else { return Ok(None) };
        let instead = tokens.instead_of(token, until).await?;
        Ok(instead.map(|token| Proof { rotating: refused.rotating.clone(), token: Some(token) }))
    }

    /// Tells whether there can be anything to show instead of what was refused.
    pub(crate) fn may_change(&self) -> bool {
        self.inner.rotating.is_some() || self.inner.tokens.is_some()
    }

    /// Adds what a request shows to its headers; what was there under these names is gone.
    pub(crate) fn add(&self, proof: &Proof, headers: &mut HeaderMap) {
        let rotating = proof.rotating.as_deref().into_iter().flatten();
        for (name, value) in self.inner.fixed.iter().chain(rotating) {
            headers.insert(name, value.clone());
        }
        if let Some(token) = &proof.token {
            headers.insert(AUTHORIZATION, token.authorization.clone());
        }
    }
}

impl fmt::Debug for Credential {
    /// Writes of what kind it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&HeaderName> = self.inner.fixed.keys().collect();
        f.debug_struct("Credential")
            .field("headers", &names)
            .field("token", &self.inner.tokens.is_some())
            .finish_non_exhaustive()
    }
}

// === impl Proof ===

impl Proof {
    /// Notes that the server let it in.
    pub(crate) fn took(&self) {
        if let Some(token) = &self.token {
            token.took();
        }
    }
}
