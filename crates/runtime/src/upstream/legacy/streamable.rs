//! A legacy session over streamable HTTP (2025-03-26 to 2025-11-25).
//!
//! Each message is a POST that carries the session id and, since the version is negotiated, the
//! `MCP-Protocol-Version` header; answers are JSON or a stream. A broken stream with event ids is
//! resumed by GET with `Last-Event-ID`, also when a POST had opened it.
//!
//! A session is lost by HTTP 404. Servers written after the TypeScript SDK's examples answer 400
//! with -32000 and no id instead when they restarted; that is taken as a loss as well, since they
//! refuse before they handle anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use quorate_http::client::Body;
use quorate_jsonrpc::Frame;
use quorate_mcp::Version;
use quorate_mcp::error::METHOD_NOT_FOUND;
use quorate_mcp::header::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};

use super::super::answer::{Answer, Awaits, FrameStream, Resume};
use super::super::endpoint::HttpEndpoint;
use super::super::error::{Error, Nonsense, fault_code, fault_message};
use super::super::events::Events;
use super::super::wire::{self, Patience};
use super::InitializeResult;

/// Longest session id that is carried: 1 KiB; SDKs use UUIDs, gateways seal up to some hundred.
const SESSION_ID_BYTES_MAX: usize = 1024;
/// How long a DELETE may take: 5 s; nobody needs its answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the SDKs' servers send when they have no such session, beside the status.
const SERVER_ERROR: i64 = -32000;

/// A session at a streamable HTTP server.
#[derive(Debug)]
pub(super) struct Session {
    access: Access,
    closed: AtomicBool,
}

/// What every request of the session needs.
#[derive(Clone, Debug)]
struct Access {
    endpoint: HttpEndpoint,
    /// None when the server is stateless: it assigned no session.
    id: Option<HeaderValue>,
    version: HeaderValue,
}

// === impl Session ===

impl Session {
    /// Sends `initialize` and takes what the session is from its answer.
    pub(super) async fn open(
        endpoint: &HttpEndpoint,
        headers: HeaderMap,
        initialize: Bytes,
    ) -> Result<(Self, InitializeResult), Error> {
        let patience = Patience::of_call(endpoint.limits());
        let request = wire::post(endpoint, endpoint.uri().clone(), headers, initialize);
        let response = wire::send_patiently(endpoint, request, patience).await?;
        let status = response.status();
        let id = session_id(response.headers())?;
        // What a server sends before the answer to `initialize` belongs to no session of ours yet.
        let frame = wire::answer(endpoint, response, patience).await?.finish(drop).await?;
        let initialized = InitializeResult::of_answer(status, frame)?;
        let version = HeaderValue::from_static(initialized.version.as_str());
        let access = Access { endpoint: endpoint.clone(), id, version };
        Ok((Self { access, closed: AtomicBool::new(false) }, initialized))
    }

    /// Takes over a session that another node has opened.
    pub(super) fn adopt(endpoint: &HttpEndpoint, id: Option<&str>, version: Version) -> Option<Self> {
        let id = id.map(HeaderValue::from_str).transpose().ok()?;
        let version = HeaderValue::from_static(version.as_str());
        let access = Access { endpoint: endpoint.clone(), id, version };
        Some(Self { access, closed: AtomicBool::new(false) })
    }

    /// How another node takes it over: the server's address, the session id, the revision.
    pub(super) fn upstream(&self) -> (String, Option<String>, String) {
        let Access { endpoint, id, version } = &self.access;
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        (endpoint.uri().to_string(), id.as_ref().and_then(text), text(version).unwrap_or_default())
    }

    /// Reads the answer of a request on that was sent before, from after an event on; none when the server does not
    /// offer that.
    pub(super) async fn resume(&self, headers: HeaderMap, event_id: &str) -> Result<Option<FrameStream>, Error> {
        self.check_open()?;
        let endpoint = &self.access.endpoint;
        let patience = Patience::of_listen(endpoint.limits());
        let opened = self.access.get(headers.clone(), Some(event_id), patience).await?;
        let total = tokio::time::Instant::now().checked_add(endpoint.limits().total);
        let stream = |events| FrameStream::of_events(events, Awaits::Answer, endpoint.limits(), total);
        Ok(opened.map(|events| stream(events).resuming_with(self.access.resume(headers))))
    }

    pub(super) async fn request(&self, headers: HeaderMap, frame: Frame) -> Result<Answer, Error> {
        let patience = Patience::of_call(self.access.endpoint.limits());
        let response = self.post(headers.clone(), frame.into_bytes(), patience).await?;
        let answer = if response.status().is_success() {
            wire::answer(&self.access.endpoint, response, patience).await?
        } else {
            self.access.refusal(response, patience).await?
        };
        match answer {
            Answer::Stream(stream) => Ok(Answer::Stream(stream.resuming_with(self.access.resume(headers)))),
            json @ Answer::Json { .. } => Ok(json),
        }
    }

    pub(super) async fn notify(&self, headers: HeaderMap, message: Bytes) -> Result<(), Error> {
        let patience = Patience::of_call(self.access.endpoint.limits());
        let response = self.post(headers, message, patience).await?;
        let status = response.status();
        if status.is_success() {
            wire::drain(response);
            return Ok(());
        }
        match self.access.refusal(response, patience).await? {
            Answer::Json { frame, .. } => Err(Error::fault(status, frame)),
            Answer::Stream(_) => Err(Nonsense::NoAnswer { status }.into()),
        }
    }

    pub(super) async fn listen(
        &self,
        headers: HeaderMap,
        last_event_id: Option<&str>,
    ) -> Result<Option<FrameStream>, Error> {
        self.check_open()?;
        let endpoint = &self.access.endpoint;
        let opened = self.access.get(headers, last_event_id, Patience::of_listen(endpoint.limits())).await?;
        Ok(opened.map(|events| FrameStream::of_events(events, Awaits::Nothing, endpoint.limits(), None)))
    }

    pub(super) async fn close(&self) {
        let Access { endpoint, id, .. } = &self.access;
        if self.closed.swap(true, Ordering::AcqRel) || id.is_none() {
            return;
        }
        let mut headers = HeaderMap::new();
        self.access.fill(&mut headers);
        let request = wire::build(endpoint, Method::DELETE, endpoint.uri().clone(), headers, Bytes::new());
        let sent = tokio::time::timeout(
            CLOSE_TIMEOUT,
            wire::send_patiently(endpoint, request, Patience::of_call(endpoint.limits())),
        )
        .await;
        match sent {
            Ok(Ok(response)) => wire::drain(response),
            Ok(Err(error)) => tracing::debug!(uri = %endpoint.uri(), %error, "upstream.close"),
            Err(_) => tracing::debug!(uri = %endpoint.uri(), after = ?CLOSE_TIMEOUT, "upstream.close timed out"),
        }
    }

    async fn post(&self, mut headers: HeaderMap, message: Bytes, patience: Patience) -> Result<Response<Body>, Error> {
        self.check_open()?;
        let Access { endpoint, .. } = &self.access;
        self.access.fill(&mut headers);
        let request = wire::post(endpoint, endpoint.uri().clone(), headers, message);
        wire::send_patiently(endpoint, request, patience).await
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::SessionLost) } else { Ok(()) }
    }
}

// === impl Access ===

impl Access {
    fn fill(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
        headers.insert(PROTOCOL_VERSION, self.version.clone());
    }

    /// Opens a GET stream, from after an event on when one is given; none when it is not offered.
    async fn get(
        &self,
        mut headers: HeaderMap,
        last_event_id: Option<&str>,
        patience: Patience,
    ) -> Result<Option<Events>, Error> {
        self.fill(&mut headers);
        if let Some(id) = last_event_id {
            let id = HeaderValue::from_str(id).map_err(|_| Nonsense::EventId)?;
            headers.insert(LAST_EVENT_ID, id);
        }
        let request = wire::get_events(&self.endpoint, headers);
        let response = wire::send_patiently(&self.endpoint, request, patience).await?;
        match response.status() {
            status if status.is_success() => {
                let events = wire::events(&self.endpoint, response)?;
                Ok(Some(match last_event_id {
                    Some(had) => events.gone_on_after(had),
                    None => events,
                }))
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                wire::drain(response);
                Ok(None)
            }
            // Frameworks answer 404 also where nobody registered GET, which is no news about the
            // session: only a body that speaks of it is.
            StatusCode::NOT_FOUND => match wire::mentions(response, "session", patience).await {
                true if self.id.is_some() => Err(Error::SessionLost),
                _ => Ok(None),
            },
            status => match self.refusal(response, patience).await? {
                Answer::Json { frame, .. } => Err(Error::fault(status, frame)),
                Answer::Stream(_) => Err(Nonsense::NoAnswer { status }.into()),
            },
        }
    }

    fn resume(&self, headers: HeaderMap) -> Resume {
        let access = self.clone();
        let reopen = Box::new(move |last_event_id: String| {
            let (access, headers) = (access.clone(), headers.clone());
            let opened = async move {
                let patience = Patience::of_listen(access.endpoint.limits());
                access.get(headers, Some(&last_event_id), patience).await
            };
            Box::pin(opened) as super::super::answer::Reopen
        });
        Resume { reopen, failures: 0 }
    }

    /// Reads a refusal, telling a lost session from everything else.
    async fn refusal(&self, response: Response<Body>, patience: Patience) -> Result<Answer, Error> {
        let refusal = wire::refusal(&self.endpoint, response, patience).await;
        let (status, fault) = match &refusal {
            Ok(Answer::Json { status, frame }) => (*status, Some(frame)),
            Err(Error::Status { status, fault }) => (*status, fault.as_deref()),
            Ok(Answer::Stream(_)) | Err(_) => return refusal,
        };
        if self.id.is_some() && loses_session(status, fault) { Err(Error::SessionLost) } else { refusal }
    }
}

fn session_id(headers: &HeaderMap) -> Result<Option<HeaderValue>, Error> {
    let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
    let visible = id.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte));
    if id.is_empty() || id.len() > SESSION_ID_BYTES_MAX || !visible {
        return Err(Nonsense::SessionId { max: SESSION_ID_BYTES_MAX }.into());
    }
    // A copy: a clone would keep the buffer of the whole response head for the life of the session.
    let mut id =
        HeaderValue::from_bytes(id.as_bytes()).map_err(|_| Nonsense::SessionId { max: SESSION_ID_BYTES_MAX })?;
    id.set_sensitive(true);
    Ok(Some(id))
}

/// Tells whether a refusal says that the session is gone. See the head of this file.
fn loses_session(status: StatusCode, fault: Option<&Frame>) -> bool {
    match status {
        StatusCode::NOT_FOUND => fault.and_then(fault_code) != Some(METHOD_NOT_FOUND),
        StatusCode::BAD_REQUEST => fault.is_some_and(|fault| {
            let message = fault_message(fault).unwrap_or_default().to_ascii_lowercase();
            fault.id().is_none()
                && fault_code(fault) == Some(SERVER_ERROR)
                && (message.contains("session") || message.contains("not initialized"))
        }),
        _ => false,
    }
}
