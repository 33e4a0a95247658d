//! What one session has at one server: an upstream session of its own, or a bridge in its place.
//!
//! A server is spoken to in the client's own era where it can be. One that speaks the modern era
//! too is asked for a session once; when it refuses for good, that is remembered, and its clients of
//! sessions get a bridge ([`super::bridge`]). A transport that fails is no refusal.
//!
//! An upstream session stays with its replica, and each of its requests counts as load there; a
//! bridge picks a replica for each request and counts by itself. A bridge whose server no longer speaks
//! the modern era is lost, as a session is that its server has forgotten: the next leg fits.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::Frame;
use quorate_scheduler::Outcome;
use quorate_session::record::proto::Upstream;
use quorate_types::PrincipalDigest;

use super::dispatch::outcome;
use super::{Error, Handle, Load, bridge};
use crate::upstream::legacy::{self, InitializeResult, Transport};
use crate::upstream::{self, Answer, EraSetting, FrameStream, LegacySupport, TransportSetting};

/// How long an opening waits to learn what its server speaks: as a request for a server that just
/// appeared.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// A leg of a session. Clones share it.
#[derive(Clone)]
pub struct Leg {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Own { session: legacy::Leg, server: Handle, replica: usize },
    Bridged(bridge::Leg),
}

/// A leg, and what its server offers.
pub struct Opened {
    /// The leg.
    pub leg: Leg,
    /// The server's raw capabilities.
    pub capabilities: Bytes,
    /// How another node takes it over; none where no other can.
    pub upstream: Option<Upstream>,
}

/// An upstream session.
pub(super) struct Session {
    /// The session.
    pub(super) session: legacy::Leg,
    /// What the server answered to `initialize`.
    pub(super) initialized: InitializeResult,
    /// The replica that it stays with.
    replica: usize,
}

/// An answer that has begun.
pub struct Asked {
    /// The answer.
    pub answer: Answer,
    /// Counts as load of the leg's replica until dropped; whoever reads reports to it how that
    /// ended. A bridge does all that by itself.
    pub load: Option<Load>,
}

// === impl Leg ===

impl Leg {
    /// Sends a request and returns its answer as soon as it begins.
    ///
    /// # Errors
    /// [`Error::Busy`] at the concurrency limit, [`Error::Failed`] with the server's error.
    pub async fn request(&self, headers: HeaderMap, frame: Frame) -> Result<Asked, Error> {
        match &self.kind {
            Kind::Own { session, server, replica } => {
                let load = server.load(*replica)?;
                match session.request(headers, frame).await {
                    Ok(answer) => Ok(Asked { answer, load: Some(load) }),
                    Err(source) => {
                        load.failed(&source);
                        Err(server.failed(source))
                    }
                }
            }
            Kind::Bridged(leg) => {
                leg.check()?;
                leg.request(headers, frame).await.map(|answer| Asked { answer, load: None })
            }
        }
    }

    /// Sends a notification, or the response to a request of the server.
    ///
    /// # Errors
    /// As [`legacy::Leg::notify`].
    pub async fn notify(&self, headers: HeaderMap, message: Bytes) -> Result<(), upstream::Error> {
        match &self.kind {
            Kind::Own { session, .. } => session.notify(headers, message).await,
            Kind::Bridged(leg) => {
                leg.notify(message);
                Ok(())
            }
        }
    }

    /// Opens the stream of what belongs to no request; none when the server offers no such stream.
    ///
    /// # Errors
    /// As [`legacy::Leg::listen`].
    pub async fn listen(
        &self,
        headers: HeaderMap,
        last_event_id: Option<&str>,
    ) -> Result<Option<FrameStream>, upstream::Error> {
        match &self.kind {
            Kind::Own { session, .. } => session.listen(headers, last_event_id).await,
            Kind::Bridged(leg) => Ok(Some(leg.listen())),
        }
    }

    /// Reads the answer of a request on that another node has sent, from after an event on.
    ///
    /// # Errors
    /// [`Error::Busy`] at the concurrency limit, [`Error::Failed`] with the server's error, or when it does not offer that.
    pub async fn resume(&self, headers: HeaderMap, event_id: &str) -> Result<Asked, Error> {
        match &self.kind {
            Kind::Own { session, server, replica } => {
                let load = server.load(*replica)?;
                let reason = "the server does not resume the stream of a call".to_owned();
                match session.resume(headers, event_id).await {
                    Ok(Some(stream)) => Ok(Asked { answer: Answer::Stream(stream), load: Some(load) }),
                    Ok(None) => Err(server.failed(upstream::Error::Broken { reason })),
                    Err(source) => {
                        load.failed(&source);
                        Err(server.failed(source))
                    }
                }
            }
            // What lives in this process was never another node's.
            Kind::Bridged(leg) => Err(leg.server().failed(upstream::Error::SessionLost)),
        }
    }

    /// Hears that the session has lost it: what calls on it ask of the client has no way back.
    pub fn lost(&self) {
        match &self.kind {
            // Nobody takes answers to the requests of a session that is gone.
            Kind::Own { .. } => {}
            Kind::Bridged(leg) => leg.close(),
        }
    }

    /// Ends it, as well as it can be done within a few seconds.
    pub async fn close(&self) {
        match &self.kind {
            Kind::Own { session, .. } => session.close().await,
            Kind::Bridged(leg) => leg.close(),
        }
    }

    /// Tells whether one stream carries all answers and whatever else the server says (HTTP+SSE, a process).
    #[must_use]
    pub fn shares_one_stream(&self) -> bool {
        match &self.kind {
            Kind::Own { session, .. } => match session.transport() {
                Transport::Sse | Transport::Stdio => true,
                Transport::StreamableHttp => false,
            },
            Kind::Bridged(_) => false,
        }
    }

    /// Tells whether the gateway stands for a stateless server here.
    #[must_use]
    pub const fn is_bridged(&self) -> bool {
        matches!(self.kind, Kind::Bridged(_))
    }

    /// Tells whether a request's failure shows that the leg has to be opened anew.
    #[must_use]
    pub fn is_lost_with(&self, error: &upstream::Error) -> bool {
        match &self.kind {
            Kind::Own { .. } => matches!(error, upstream::Error::SessionLost | upstream::Error::Connect { .. }),
            // A program that has ended says so as well, and is started again for the next request.
            Kind::Bridged(leg) => matches!(error, upstream::Error::SessionLost) && leg.check().is_err(),
        }
    }
}

// === impl Handle ===

impl Handle {
    /// Opens a leg for a client of `principal` that said `initialize_params`.
    ///
    /// # Errors
    /// As [`Handle::send`]. Opening a session runs nothing, so every transport error tries the next
    /// replica.
    pub async fn open_leg(&self, principal: PrincipalDigest, initialize_params: &str) -> Result<Opened, Error> {
        if self.refuses_sessions() {
            return self.open_bridge(principal, initialize_params).await;
        }
        match self.open_session(initialize_params).await {
            Err(Error::Failed { source, .. }) if is_refusal(&source) => {
                if self.support_within(PROBE_PATIENCE).await.modern.is_none() {
                    return Err(self.failed(source));
                }
                tracing::info!(server = %self.name(), %source, "the server takes no sessions: they are bridged");
                self.learn_refusal();
                self.open_bridge(principal, initialize_params).await
            }
            opened => opened.map(|opened| {
                let Session { session, initialized, replica } = opened;
                let capabilities = initialized.capabilities;
                let upstream = session.upstream().map(|(url, session, version)| Upstream {
                    url,
                    session,
                    version,
                    capabilities: capabilities.clone(),
                });
                let kind = Kind::Own { session, server: self.clone(), replica };
                Opened { leg: Leg { kind }, capabilities, upstream }
            }),
        }
    }

    /// Takes over an upstream session that another node has opened; none where it is at no replica of the server any more.
    #[must_use]
    pub fn adopt_leg(&self, upstream: &Upstream) -> Option<Opened> {
        let endpoints = self.shared.config.endpoints.iter().enumerate();
        let (replica, session) = endpoints
            .filter_map(|(replica, endpoint)| {
                let session = legacy::Leg::adopt(endpoint, upstream.session.as_deref(), &upstream.version)?;
                Some((replica, session))
            })
            .find(|(_, session)| session.upstream().is_some_and(|(url, ..)| url == upstream.url))?;
        let kind = Kind::Own { session, server: self.clone(), replica };
        let capabilities = upstream.capabilities.clone();
        Some(Opened { leg: Leg { kind }, capabilities, upstream: Some(upstream.clone()) })
    }

    /// Tells whether the server is not to be asked for a session.
    fn refuses_sessions(&self) -> bool {
        let support = self.shared.support.borrow();
        let refuses = support.legacy == LegacySupport::Unsupported && support.speaks_modern();
        self.shared.config.era == EraSetting::Modern || refuses
    }

    async fn open_bridge(&self, principal: PrincipalDigest, initialize_params: &str) -> Result<Opened, Error> {
        let support = self.support_within(PROBE_PATIENCE).await;
        let Some(info) = &support.modern else {
            let reason = support.failure.unwrap_or_else(|| "it was not asked yet what it speaks".to_owned());
            return Err(self.failed(upstream::Error::Connect { reason }));
        };
        match bridge::Leg::open(self.clone(), principal, info, initialize_params) {
            Ok(leg) => {
                let capabilities = leg.capabilities().clone();
                Ok(Opened { leg: Leg { kind: Kind::Bridged(leg) }, capabilities, upstream: None })
            }
            // The gateway wrote them itself.
            Err(error) => Err(self.failed(upstream::Error::Broken { reason: error.to_string() })),
        }
    }

    /// Opens an upstream session, whatever else the server may speak.
    ///
    /// # Errors
    /// As [`Self::open_leg`].
    pub(super) async fn open_session(&self, initialize_params: &str) -> Result<Session, Error> {
        let mut place = Some(self.place()?);
        let mut tried = Vec::new();
        loop {
            let (endpoint, load) = self.pick(&tried, &mut place)?;
            match legacy::Leg::open(&endpoint, self.transport(), HeaderMap::new(), initialize_params).await {
                Ok((session, initialized)) => {
                    load.succeeded();
                    self.learn_legacy(&session, &initialized);
                    return Ok(Session { session, initialized, replica: load.replica() });
                }
                Err(source) => {
                    load.failed(&source);
                    tried.push(load.replica());
                    if outcome(&source) == Outcome::Success || tried.len() >= self.attempts() {
                        return Err(self.failed(source));
                    }
                    place = Some(self.place()?);
                }
            }
        }
    }

    /// The transport that is known to work, else the configured one.
    fn transport(&self) -> TransportSetting {
        match (self.shared.config.transport, &self.shared.support.borrow().legacy) {
            (TransportSetting::Auto, LegacySupport::Supported { transport: Transport::Sse, .. }) => {
                TransportSetting::Sse
            }
            (configured, _) => configured,
        }
    }
}

/// Tells whether a status refuses for good: what concerns credentials, load or time may pass.
pub(super) fn refuses_for_good(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429)
}

/// Tells whether a failed opening says that the server takes no sessions: it understood and refused,
/// or chose a revision without them. What concerns credentials, load or the way there says nothing.
fn is_refusal(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Status { status, .. } | upstream::Error::Fault { status, .. } if refuses_for_good(*status) => {
            true
        }
        upstream::Error::Fault { status, frame } if status.is_success() => {
            matches!(
                upstream::error::fault_code(frame),
                Some(
                    quorate_mcp::error::METHOD_NOT_FOUND
                        | quorate_mcp::error::INVALID_REQUEST
                        | quorate_mcp::error::INVALID_PARAMS
                        | quorate_mcp::error::UNSUPPORTED_VERSION
                )
            )
        }
        upstream::Error::Version { .. } => true,
        upstream::Error::Status { .. }
        | upstream::Error::Fault { .. }
        | upstream::Error::Connect { .. }
        | upstream::Error::Redirect { .. }
        | upstream::Error::SessionLost
        | upstream::Error::Timeout { .. }
        | upstream::Error::Malformed(_)
        | upstream::Error::Broken { .. }
        | upstream::Error::TooLarge { .. }
        | upstream::Error::Process { .. }
        | upstream::Error::Children { .. }
        | upstream::Error::Credential { .. }
        | upstream::Error::TooMany { .. }
        | upstream::Error::Busy { .. }
        | upstream::Error::Stalled { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::{Id, Limits, build};

    use super::*;

    fn fault(status: StatusCode, code: i64) -> upstream::Error {
        let frame = build::error(Some(&Id::from(0)), code, "m", None);
        let frame = Box::new(Frame::parse(frame, &Limits::ANSWER).expect("a frame"));
        upstream::Error::Fault { status, frame }
    }

    fn status(status: u16) -> upstream::Error {
        upstream::Error::Status { status: StatusCode::from_u16(status).expect("a status"), fault: None }
    }

    #[test]
    fn only_a_server_that_understood_can_refuse_sessions() {
        let cases = [
            (fault(StatusCode::BAD_REQUEST, -32022), true),
            (fault(StatusCode::NOT_FOUND, -32601), true),
            (fault(StatusCode::OK, -32601), true),
            (fault(StatusCode::OK, -32603), false),
            (fault(StatusCode::INTERNAL_SERVER_ERROR, -32601), false),
            (status(400), true),
            (status(404), true),
            (status(405), true),
            (status(401), false),
            (status(429), false),
            (status(503), false),
            (upstream::Error::Version { offered: vec!["2026-07-28".to_owned()] }, true),
            (upstream::Error::Connect { reason: String::new() }, false),
            (upstream::Error::Broken { reason: String::new() }, false),
        ];
        for (error, expected) in cases {
            assert_eq!(is_refusal(&error), expected, "{error}");
        }
    }
}
