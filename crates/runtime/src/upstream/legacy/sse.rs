//! A legacy session over HTTP+SSE (2024-11-05): everything comes on one permanent GET stream.
//!
//! The stream's first event names the address to POST to, which must be on the same origin: a
//! server must not be able to point our credentials elsewhere. Answers to POSTs are empty; the
//! messages that they cause come on the stream, which one task reads into a [`Hub`]. The session
//! is the stream: when it ends, open requests fail and later ones find the session lost.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use quorate_jsonrpc::Frame;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::super::answer::{Answer, Awaits, FrameStream};
use super::super::endpoint::HttpEndpoint;
use super::super::error::{Error, Nonsense, Phase};
use super::super::events::Events;
use super::super::shared::Hub;
use super::super::wire::{self, Patience};
use super::InitializeResult;

/// A session at an HTTP+SSE server.
#[derive(Debug)]
pub(super) struct Session {
    endpoint: HttpEndpoint,
    /// Where messages are POSTed.
    messages: Uri,
    hub: Arc<Hub>,
    reader: AbortHandle,
}

// === impl Session ===

impl Session {
    /// Opens the stream and sends `initialize`.
    pub(super) async fn open(
        endpoint: &HttpEndpoint,
        headers: HeaderMap,
        initialize: Bytes,
    ) -> Result<(Self, InitializeResult), Error> {
        let session = Self::connect(endpoint, headers.clone()).await?;
        let frame = wire::parse(initialize, endpoint.limits().answer_bytes_max)?;
        let answer = session.request(headers, frame).await?.finish(drop).await?;
        let initialized = InitializeResult::of_answer(StatusCode::OK, answer)?;
        Ok((session, initialized))
    }

    /// Opens the stream and waits for the address that it names.
    async fn connect(endpoint: &HttpEndpoint, headers: HeaderMap) -> Result<Self, Error> {
        let patience = Patience::of_listen(endpoint.limits());
        let response = wire::send_patiently(endpoint, wire::get_events(endpoint, headers), patience).await?;
        let status = response.status();
        if !status.is_success() {
            return match wire::refusal(endpoint, response, patience).await? {
                Answer::Json { frame, .. } => Err(Error::fault(status, frame)),
                Answer::Stream(_) => Err(Nonsense::NoAnswer { status }.into()),
            };
        }
        let mut events = wire::events(endpoint, response)?;
        let (until, after) = patience.first_byte;
        let first = timeout_at(until, events.next()).await;
        let first = first.map_err(|_| Error::Timeout { phase: Phase::FirstByte, after })??;
        let named = first.filter(|event| event.name.as_ref().is_some_and(|name| name.as_str() == "endpoint"));
        let messages = named.and_then(|event| resolve(endpoint.uri(), &event.data)).ok_or(Nonsense::Endpoint)?;

        let hub = Hub::new(*endpoint.limits());
        let reader = tokio::spawn(read(events, *endpoint.limits(), Arc::clone(&hub))).abort_handle();
        Ok(Self { endpoint: endpoint.clone(), messages, hub, reader })
    }

    pub(super) async fn request(&self, headers: HeaderMap, frame: Frame) -> Result<Answer, Error> {
        let patience = Patience::of_call(self.endpoint.limits());
        let inbox = self.hub.register(&frame)?;
        self.post(headers, frame.into_bytes(), patience).await?;
        Ok(Answer::Stream(FrameStream::of_inbox(inbox, Awaits::Answer, self.endpoint.limits(), patience.total_at())))
    }

    pub(super) async fn notify(&self, headers: HeaderMap, message: Bytes) -> Result<(), Error> {
        if self.hub.is_ended() {
            return Err(Error::SessionLost);
        }
        self.post(headers, message, Patience::of_call(self.endpoint.limits())).await
    }

    pub(super) fn listen(&self) -> Result<FrameStream, Error> {
        let inbox = self.hub.listen()?;
        Ok(FrameStream::of_inbox(inbox, Awaits::Nothing, self.endpoint.limits(), None))
    }

    /// Ends the stream. Open requests may have run: they fail as such.
    pub(super) fn close(&self) {
        self.reader.abort();
        self.hub.close();
    }

    async fn post(&self, headers: HeaderMap, message: Bytes, patience: Patience) -> Result<(), Error> {
        let request = wire::post(&self.endpoint, self.messages.clone(), headers, message);
        let response = wire::send(&self.endpoint, request, patience).await?;
        let status = response.status();
        if status.is_success() {
            wire::drain(response);
            return Ok(());
        }
        match wire::refusal(&self.endpoint, response, patience).await {
            Err(Error::Status { status: StatusCode::NOT_FOUND, .. }) => {
                self.close();
                Err(Error::SessionLost)
            }
            Err(error) => Err(error),
            Ok(Answer::Json { frame, .. }) => Err(Error::fault(status, frame)),
            Ok(Answer::Stream(_)) => Err(Nonsense::NoAnswer { status }.into()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads the stream into the hub until it ends.
async fn read(mut events: Events, limits: super::super::Limits, hub: Arc<Hub>) {
    let ending = loop {
        let idle_at = events.last_activity() + limits.listen_idle;
        match timeout_at(idle_at, events.next()).await {
            Err(_) if events.last_activity() + limits.listen_idle > Instant::now() => {}
            Err(_) => break Error::Timeout { phase: Phase::Idle, after: limits.listen_idle },
            Ok(Err(error)) => break error,
            Ok(Ok(None)) => break Error::Broken { reason: "the session's event stream ended".to_owned() },
            Ok(Ok(Some(event))) => {
                let is_message = event.name.as_ref().is_none_or(|name| matches!(name.as_str(), "" | "message"));
                if !is_message || event.data.is_empty() {
                    continue;
                }
                match wire::parse(event.data, limits.event_bytes_max) {
                    Ok(frame) => hub.route(frame).await,
                    Err(error) => break error,
                }
            }
        }
    };
    tracing::debug!(error = %ending, "upstream.read ended");
    hub.end(&ending);
}

/// Resolves the address that a server names; none when it is not on the same origin.
fn resolve(base: &Uri, named: &[u8]) -> Option<Uri> {
    let base = Url::parse(&base.to_string()).ok()?;
    let named = base.join(std::str::from_utf8(named).ok()?.trim()).ok()?;
    if named.origin() != base.origin() || !named.username().is_empty() || named.password().is_some() {
        return None;
    }
    let mut named = named;
    named.set_fragment(None);
    named.as_str().parse().ok()
}
