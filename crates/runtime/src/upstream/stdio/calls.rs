//! Stateless calls (2026-07-28) over one process that everybody shares.
//!
//! A request goes out under an id and progress token of ours and comes back under its own. Dropping an answer before
//! its end cancels it, by `notifications/cancelled`: over this transport nothing closes. HTTP headers stay behind; what
//! they mirror is in the message, except for the trace context, which goes into `_meta`.
//!
//! Spec: 2026-07-28, "Transports", stdio; "Cancellation"; "Subscriptions".

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::{Frame, Id, Kind, Span, pick, quote};
use quorate_mcp::codec;
use quorate_mcp::dialect::v2026_07_28::META_LOG_LEVEL;
use tokio::time::{Instant, timeout_at};

use super::super::answer::{Answer, Awaits, FrameStream};
use super::super::endpoint::Limits;
use super::super::error::{Error, Nonsense, Phase};
use super::super::shared::{Hub, Inbox, Origin};
use super::super::wire::{self, Patience};
use super::connection::{Connection, cancelled, keep};
use super::server::{Living, Server, Use};

/// Requests that are open at one shared process: 1,024, four times what one session may have.
pub(super) const REQUESTS_MAX: usize = 1024;
/// How long a shared process waits for one slow reader: 2 s, since all others wait with it.
pub(super) const STALL: Duration = Duration::from_secs(2);

/// A process that answers stateless calls.
pub(in super::super) struct Calls {
    connection: Connection,
    next: AtomicU64,
}

// === impl Calls ===

impl Calls {
    pub(super) async fn start(server: &Arc<Server>, use_: Use) -> Result<Arc<Self>, Error> {
        let fresh = server.fresh(use_).await?;
        let hub = Hub::of_many(shared_limits(server.limits()));
        let connection = Connection::new(server, fresh, Arc::clone(&hub));
        tokio::spawn(keep(hub.listen()?, connection.child().watch(), Arc::clone(server), drop));
        Ok(Arc::new(Self { connection, next: AtomicU64::new(1) }))
    }

    /// Says that the process serves everybody from now on.
    pub(super) fn employ(&self) {
        self.connection.employ(Use::Everybody);
    }

    /// Sends a request that ends with its answer.
    ///
    /// # Errors
    /// [`Error::SessionLost`] says that nothing was sent.
    pub(in super::super) async fn send(self: Arc<Self>, headers: &HeaderMap, body: Bytes) -> Result<Answer, Error> {
        let limits = self.connection.limits();
        let patience = Patience::of_call(limits);
        let mut inbox = self.begin(headers, body).await?;
        // Most answers are one message: waiting for the first saves a stream towards the client.
        let frame = first(&mut inbox, patience.total.unwrap_or(patience.first_byte), Phase::Total).await?;
        self.connection.is_of_use();
        match frame.kind() {
            Kind::Result | Kind::Error => Ok(Answer::Json { status: StatusCode::OK, frame }),
            Kind::Notification | Kind::Request => {
                let stream = FrameStream::of_inbox(inbox, Awaits::Answer, limits, patience.total_at());
                Ok(Answer::Stream(stream.preceded_by(frame)))
            }
        }
    }

    /// Sends a request whose stream stays open.
    ///
    /// # Errors
    /// As [`Calls::send`].
    pub(in super::super) async fn listen(self: Arc<Self>, headers: &HeaderMap, body: Bytes) -> Result<Answer, Error> {
        let limits = self.connection.limits();
        let mut inbox = self.begin(headers, body).await?;
        let frame = first(&mut inbox, Patience::of_listen(limits).first_byte, Phase::FirstByte).await?;
        match frame.kind() {
            // A refusal; a graceful end at once is one too.
            Kind::Result | Kind::Error => Ok(Answer::Json { status: StatusCode::BAD_REQUEST, frame }),
            Kind::Notification | Kind::Request => {
                let stream = FrameStream::of_inbox(inbox, Awaits::Nothing, limits, None);
                Ok(Answer::Stream(stream.preceded_by(frame)))
            }
        }
    }

    async fn begin(self: &Arc<Self>, headers: &HeaderMap, body: Bytes) -> Result<Inbox, Error> {
        let frame = wire::parse(body, self.connection.limits().answer_bytes_max)?;
        let ours = Id::from(self.next.fetch_add(1, Ordering::Relaxed));
        let logs = meta(&frame, META_LOG_LEVEL).is_some();
        let (frame, origin) = anonymous(&traced(frame, headers), &ours, 0, logs)?;
        let mut inbox = self.connection.hub().register_of(&frame, origin)?;
        let calls = Arc::clone(self);
        // The process also lives for as long as somebody waits for an answer of it.
        inbox.when_abandoned(move |id| {
            // A process that reads nothing any more is not cancelled; its queue is bounded.
            let _stalled = calls.connection.child().try_send(cancelled(id));
        });
        self.connection.send(frame.into_bytes()).await?;
        Ok(inbox)
    }
}

impl Living for Calls {
    fn lives(&self) -> bool {
        self.connection.lives()
    }
}

/// Waits for the first message to a request.
async fn first(inbox: &mut Inbox, (until, after): (Instant, Duration), phase: Phase) -> Result<Frame, Error> {
    let first = timeout_at(until, inbox.next()).await.map_err(|_| Error::Timeout { phase, after })?;
    first?.ok_or_else(|| Error::Broken { reason: "the process ended before the answer".to_owned() })
}

/// The limits of a process that many share.
pub(super) fn shared_limits(limits: &Limits) -> Limits {
    Limits { shared_requests_max: REQUESTS_MAX, shared_stall: limits.shared_stall.min(STALL), ..*limits }
}

/// Gives a request an id of ours, and the same as its progress token if it has one.
pub(super) fn anonymous(frame: &Frame, ours: &Id, user: u64, logs: bool) -> Result<(Frame, Origin), Error> {
    let id = frame.id().cloned().ok_or(Nonsense::NoAnswer { status: StatusCode::ACCEPTED })?;
    let mut frame = frame.clone();
    let mut token = None;
    if let Some(span) = meta(&frame, "progressToken")
        && let Ok(theirs) = Id::from_json(frame.text_of(span))
    {
        frame = codec::retoken(&frame, span, ours);
        token = Some(theirs);
    }
    Ok((frame.with_id(ours), Origin { user, id, token, logs }))
}

/// Finds a member of a request's `_meta`.
fn meta(frame: &Frame, key: &str) -> Option<Span> {
    let params = frame.params_span()?;
    let [meta] = pick(frame.text_of(params), params.start, ["_meta"]).ok()?;
    let meta = meta?;
    let [found] = pick(frame.text_of(meta), meta.start, [key]).ok()?;
    found
}

/// Writes the trace context of the headers into the request's `_meta`.
fn traced(frame: Frame, headers: &HeaderMap) -> Frame {
    let member = |name: &'static str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name, quote(value)))
    };
    let members: Vec<(&str, String)> = ["traceparent", "tracestate"].into_iter().filter_map(member).collect();
    let members: Vec<(&str, &str)> = members.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // Parameters that are no object are the server's to refuse.
    codec::with_meta(&frame, &members).unwrap_or(frame)
}
