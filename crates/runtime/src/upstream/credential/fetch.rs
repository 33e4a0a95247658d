//! One exchange with a token endpoint, bounded in time and size.
//!
//! The client's secret and the authorities to trust are read for each exchange, which happens rarely, so that a rotated
//! one is in use with the next token. No redirect is followed, no proxy of the environment is used.

use std::time::Duration;

use http::StatusCode;
use quorate_http::client::{self, Client as HttpClient};
use quorate_http::{BodyError, collect};
use quorate_types::Secret;

use super::grant::{self, Client, Failure, Granted};
use super::source::{Source, Unreadable};
use crate::upstream::error::chain;

/// How long one attempt may take: 15 s, a connection's and a slow issuer's time; calls wait for it at most.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// The most bytes of an answer: 64 KiB, eight of the longest tokens.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a token is asked for with.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The client and what it asks for.
    pub client: Client,
    /// The secret that proves it.
    pub secret: Source<Secret>,
    /// Sends the request; made anew where the authorities that it trusts are in a file.
    pub http: Source<HttpClient>,
}

/// Why there is no token, and what an operator may know about it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    /// The chain of causes, where there is more to say than the class; no secrets.
    pub(super) details: String,
    /// How long the endpoint wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

// === impl Grant ===

impl Grant {
    /// Reads once what is read for each token, blocking.
    ///
    /// # Errors
    /// [`Unreadable`] names the file or variable.
    pub(super) fn check(&self) -> Result<(), Unreadable> {
        self.secret.read()?;
        self.http.read().map(drop)
    }

    /// Asks for a token.
    pub(super) async fn ask(&self) -> Result<Granted, Trouble> {
        let asked = tokio::time::timeout(ATTEMPT_TIMEOUT, self.exchange()).await;
        asked.unwrap_or_else(|_| Err(Failure::Timeout.into()))
    }

    async fn exchange(&self) -> Result<Granted, Trouble> {
        let secret = self.secret.read_aside().await?;
        let http = self.http.read_aside().await?;
        let response = http.send_within(self.client.request(&secret), ATTEMPT_TIMEOUT).await?;
        let (head, body) = response.into_parts();
        // What a redirect or an endpoint in trouble has to say is not read.
        let is_read = head.status == StatusCode::OK || head.status.is_client_error();
        let body = if is_read { collect(body, ANSWER_BYTES_MAX, ATTEMPT_TIMEOUT).await? } else { Default::default() };
        let retry_after = grant::retry_after(&head.headers);
        grant::read(head.status, &body).map_err(|failure| Trouble { retry_after, ..failure.into() })
    }
}

// === impl Trouble ===

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, details: String::new(), retry_after: None }
    }
}

impl From<Unreadable> for Trouble {
    fn from(error: Unreadable) -> Self {
        Self { details: error.message, ..Failure::Unreadable.into() }
    }
}

impl From<client::Error> for Trouble {
    fn from(error: client::Error) -> Self {
        let failure = match &error {
            client::Error::ConnectTimeout { .. } | client::Error::Timeout { .. } => Failure::Timeout,
            _ => Failure::Unreachable,
        };
        Self { details: chain(&error), ..failure.into() }
    }
}

impl From<BodyError> for Trouble {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Failure::TooLarge.into(),
            BodyError::Timeout { .. } => Failure::Timeout.into(),
            BodyError::Broken(source) => Self { details: chain(&*source), ..Failure::Unreachable.into() },
        }
    }
}
