//! Calls in the legacy era (up to 2025-11-25): one session with a tool server is one [`Leg`].
//!
//! `open ── initialize, notifications/initialized ──▶ request* notify* listen* ──▶ close`
//!
//! Three transports carry it: streamable HTTP (since 2025-03-26), HTTP+SSE (2024-11-05) and the
//! standard streams of a child process. The leg hides which, except where they differ in what they can do: see [`Leg::listen`]. It mints no
//! ids: requests come with theirs, unique among the open ones. A leg that is lost
//! ([`Error::SessionLost`]) never re-initializes by itself, since subscriptions and the log level
//! of the old session are the caller's to restore.

mod sse;
mod streamable;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Kind, build, pick, text};
use quorate_mcp::{Era, Version};

use super::answer::{Answer, FrameStream};
use super::endpoint::{Endpoint, HttpEndpoint};
use super::error::{Error, Nonsense};
use super::probe::TransportSetting;
use super::stdio::{self, Isolation, StdioEndpoint};

/// How a legacy session travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One address for POST, GET and DELETE (2025-03-26 and later).
    StreamableHttp,
    /// A permanent GET stream that names the address to POST to (2024-11-05).
    Sse,
    /// The standard streams of a child process (all revisions).
    Stdio,
}

/// What a server answered to `initialize`.
#[derive(Clone, Debug)]
pub struct InitializeResult {
    /// The version of the session, which the server chose.
    pub version: Version,
    /// The raw `capabilities` object.
    pub capabilities: Bytes,
    /// The raw `serverInfo` object, if there is one.
    pub server_info: Option<Bytes>,
    /// The decoded `instructions`, if there are any.
    pub instructions: Option<String>,
    /// The whole raw result.
    pub result: Bytes,
}

/// One session with a tool server. Clones share it.
///
/// Dropping the last clone frees our side only; [`Leg::close`] tells the server.
#[derive(Clone, Debug)]
pub struct Leg {
    link: Arc<Link>,
}

#[derive(Debug)]
enum Link {
    Streamable(streamable::Session),
    Sse(sse::Session),
    Stdio(stdio::Session),
    SharedStdio(stdio::SharedSession),
}

/// The id of `initialize`; nothing else is open then, so it cannot collide with the caller's.
const INITIALIZE_ID: u64 = 0;
const INITIALIZE: &str = "initialize";

/// Builds `initialize`, under the id by which its answer is known.
pub(super) fn initialize_request(params: &str) -> Bytes {
    build::request(&Id::from(INITIALIZE_ID), INITIALIZE, Some(params))
}

// === impl Leg ===

impl Leg {
    /// Opens a session: sends `initialize` with the given parameters (JSON), then
    /// `notifications/initialized`. `headers` go with each of these messages.
    ///
    /// With [`TransportSetting::Auto`] a server that refuses `initialize` with 400, 404 or 405 is
    /// tried over HTTP+SSE, as MCP 2025-03-26 says under "Backwards Compatibility".
    ///
    /// # Errors
    /// [`Error::Fault`] or [`Error::Status`] when the server refuses, [`Error::Version`] when it
    /// chooses a version that is not ours, and whatever else a call can meet.
    pub async fn open(
        endpoint: &Endpoint,
        transport: TransportSetting,
        headers: HeaderMap,
        initialize_params: &str,
    ) -> Result<(Self, InitializeResult), Error> {
        let body = initialize_request(initialize_params);
        let (link, initialized) = match endpoint {
            Endpoint::Http(endpoint) => open_http(endpoint, transport, headers.clone(), body).await?,
            Endpoint::Api(endpoint) => endpoint.refuse_session(body)?,
            Endpoint::Stdio(endpoint) => open_stdio(endpoint, body).await?,
        };
        let leg = Self { link: Arc::new(link) };
        if let Err(error) = leg.notify(headers, build::notification("notifications/initialized", None)).await {
            leg.close().await;
            return Err(error);
        }
        Ok((leg, initialized))
    }

    /// Takes over a session of streamable HTTP that another node has opened; none where that cannot be.
    #[must_use]
    pub fn adopt(endpoint: &Endpoint, id: Option<&str>, version: &str) -> Option<Self> {
        let Endpoint::Http(endpoint) = endpoint else { return None };
        let version = Version::parse(version).filter(|version| version.era() == Era::Legacy)?;
        let session = streamable::Session::adopt(endpoint, id, version)?;
        Some(Self { link: Arc::new(Link::Streamable(session)) })
    }

    /// How another node takes it over (the server's address, the session id, the revision); none where no other can.
    #[must_use]
    pub fn upstream(&self) -> Option<(String, Option<String>, String)> {
        match &*self.link {
            Link::Streamable(session) => Some(session.upstream()),
            Link::Sse(_) | Link::Stdio(_) | Link::SharedStdio(_) => None,
        }
    }

    /// Reads the answer of a request on that another node has sent, from after an event on; none when the server does
    /// not offer that.
    ///
    /// # Errors
    /// [`Error::SessionLost`] when the session is gone; else any.
    pub async fn resume(&self, headers: HeaderMap, event_id: &str) -> Result<Option<FrameStream>, Error> {
        match &*self.link {
            Link::Streamable(session) => session.resume(headers, event_id).await,
            Link::Sse(_) | Link::Stdio(_) | Link::SharedStdio(_) => Ok(None),
        }
    }

    /// Returns the transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match &*self.link {
            Link::Streamable(_) => Transport::StreamableHttp,
            Link::Sse(_) => Transport::Sse,
            Link::Stdio(_) | Link::SharedStdio(_) => Transport::Stdio,
        }
    }

    /// Sends a request and returns its answer as soon as it begins.
    ///
    /// Over HTTP+SSE the answer is always a stream. It gets the response and the progress of its
    /// request; while it is the only open request also the server's requests and log messages,
    /// because that transport does not say to which request they belong.
    ///
    /// # Errors
    /// [`Error::SessionLost`] when the session is gone and the request did not run; else any.
    pub async fn request(&self, headers: HeaderMap, frame: Frame) -> Result<Answer, Error> {
        match &*self.link {
            Link::Streamable(session) => session.request(headers, frame).await,
            Link::Sse(session) => session.request(headers, frame).await,
            Link::Stdio(session) => session.request(frame).await,
            Link::SharedStdio(session) => session.request(frame).await,
        }
    }

    /// Sends a notification, or the response to a request of the server.
    ///
    /// # Errors
    /// [`Error::SessionLost`] when the session is gone; else any.
    pub async fn notify(&self, headers: HeaderMap, message: Bytes) -> Result<(), Error> {
        match &*self.link {
            Link::Streamable(session) => session.notify(headers, message).await,
            Link::Sse(session) => session.notify(headers, message).await,
            Link::Stdio(session) => session.notify(message).await,
            Link::SharedStdio(session) => session.notify(message).await,
        }
    }

    /// Opens the stream of what belongs to no request; none when the server offers no such stream.
    ///
    /// It ends when the server ends it; whoever wants more calls again, with the stream's
    /// `last_event_id`. Over HTTP+SSE it is the rest of the one stream, ids do not exist, and a
    /// second call takes it over from the first.
    ///
    /// # Errors
    /// [`Error::SessionLost`] when the session is gone; else any.
    pub async fn listen(&self, headers: HeaderMap, last_event_id: Option<&str>) -> Result<Option<FrameStream>, Error> {
        match &*self.link {
            Link::Streamable(session) => session.listen(headers, last_event_id).await,
            Link::Sse(session) => session.listen().map(Some),
            Link::Stdio(session) => session.listen().map(Some),
            Link::SharedStdio(session) => session.listen().map(Some),
        }
    }

    /// Ends the session at the server, as well as it can be done within a few seconds.
    ///
    /// A refusal is no error: servers may decline DELETE with 405. Later calls of a clone are
    /// answered with [`Error::SessionLost`].
    pub async fn close(&self) {
        match &*self.link {
            Link::Streamable(session) => session.close().await,
            Link::Sse(session) => session.close(),
            Link::Stdio(session) => session.close().await,
            Link::SharedStdio(session) => session.close(),
        }
    }
}

// === impl InitializeResult ===

impl InitializeResult {
    /// Reads the answer to `initialize`.
    pub(super) fn of_answer(status: http::StatusCode, frame: Frame) -> Result<Self, Error> {
        if frame.kind() == Kind::Error {
            return Err(Error::fault(status, frame));
        }
        if frame.id().is_none_or(|id| id.as_u64() != Some(INITIALIZE_ID)) {
            return Err(Nonsense::WrongId.into());
        }
        let invalid = |member| Error::from(Nonsense::Result { method: INITIALIZE, member });
        let span = frame.result_span().ok_or_else(|| invalid("result"))?;
        let keys = ["protocolVersion", "capabilities", "serverInfo", "instructions"];
        let [version, capabilities, server_info, instructions] =
            pick(frame.text_of(span), span.start, keys).map_err(|_| invalid("result"))?;

        let offered = version.and_then(|span| text(frame.text_of(span))).ok_or_else(|| invalid(keys[0]))?;
        let version = Version::parse(&offered)
            .filter(|version| version.era() == Era::Legacy)
            .ok_or_else(|| Error::unknown_versions([&*offered]))?;
        let capabilities = capabilities.filter(|span| frame.text_of(*span).starts_with('{'));
        let raw = |span: quorate_jsonrpc::Span| frame.bytes().slice(span.range());
        Ok(Self {
            version,
            capabilities: capabilities.map(raw).ok_or_else(|| invalid(keys[1]))?,
            server_info: server_info.map(raw),
            instructions: instructions.and_then(|span| text(frame.text_of(span)).map(Into::into)),
            result: raw(span),
        })
    }
}

async fn open_http(
    endpoint: &HttpEndpoint,
    transport: TransportSetting,
    headers: HeaderMap,
    initialize: Bytes,
) -> Result<(Link, InitializeResult), Error> {
    match transport {
        TransportSetting::StreamableHttp => open_streamable(endpoint, headers, initialize).await,
        TransportSetting::Sse => open_sse(endpoint, headers, initialize).await,
        TransportSetting::Auto => match open_streamable(endpoint, headers.clone(), initialize.clone()).await {
            // When that fails as well, the first refusal says more about the address.
            Err(refused) if suggests_sse(&refused) => {
                open_sse(endpoint, headers, initialize).await.map_err(|_| refused)
            }
            opened => opened,
        },
    }
}

async fn open_stdio(endpoint: &StdioEndpoint, initialize: Bytes) -> Result<(Link, InitializeResult), Error> {
    match endpoint.server().isolation() {
        Isolation::Session => {
            let (session, initialized) = stdio::Session::open(endpoint, initialize).await?;
            Ok((Link::Stdio(session), initialized))
        }
        Isolation::Shared => {
            let (session, initialized) = stdio::SharedSession::open(endpoint).await?;
            Ok((Link::SharedStdio(session), initialized))
        }
    }
}

async fn open_streamable(
    endpoint: &HttpEndpoint,
    headers: HeaderMap,
    initialize: Bytes,
) -> Result<(Link, InitializeResult), Error> {
    let (session, initialized) = streamable::Session::open(endpoint, headers, initialize).await?;
    Ok((Link::Streamable(session), initialized))
}

async fn open_sse(
    endpoint: &HttpEndpoint,
    headers: HeaderMap,
    initialize: Bytes,
) -> Result<(Link, InitializeResult), Error> {
    let (session, initialized) = sse::Session::open(endpoint, headers, initialize).await?;
    Ok((Link::Sse(session), initialized))
}

fn suggests_sse(error: &Error) -> bool {
    match error {
        Error::Status { status, .. } | Error::Fault { status, .. } => matches!(status.as_u16(), 400 | 404 | 405),
        _ => false,
    }
}
