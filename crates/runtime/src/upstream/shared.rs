//! One stream of messages shared by open requests: of an HTTP+SSE session, or of a child process.
//!
//! A [`Hub`] takes every message of the stream and puts it into the inbox it belongs to: a
//! response by its id, progress by its token, a notification of a subscription by that one's id; a
//! log message to the only open request that may have caused it, and in a stream of one session so
//! a server's request, since the transport does not say where they belong; everything else to the
//! listener. In a stream of many users ids and tokens are ours, and are put back into what a
//! reader gets.
//!
//! Invariant: an inbox holds at most `shared_frames_max` frames and [`INBOX_BYTES_MAX`] bytes (one
//! larger frame may be there alone). A full inbox stops the stream for `shared_stall`; then its
//! reader is cut off with [`Error::Stalled`] and the others go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use http::StatusCode;
use quorate_jsonrpc::{Frame, Id, Kind, Span, pick};
use quorate_mcp::codec;
use quorate_mcp::dialect::v2026_07_28::META_SUBSCRIPTION_ID;
use quorate_telemetry::Throttle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::endpoint::Limits;
use super::error::{Error, Nonsense};

/// Bytes that wait in one inbox: 1 MiB, sixteen times a stream's ring.
const INBOX_BYTES_MAX: usize = 1 << 20;
const CANCELLED: &str = "notifications/cancelled";
/// Bounds lines about messages that nobody reads: each session may have one.
static DROPPED: Throttle = Throttle::new();

/// Distributes the messages of one stream.
#[derive(Debug)]
pub(super) struct Hub {
    limits: Limits,
    users: Users,
    state: Mutex<State>,
}

/// Whose messages a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    /// Those of one session, under its own ids.
    One,
    /// Those of many users, under ids and tokens of ours.
    Many,
}

/// What a request of one of many users was before it got an id of ours.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Which user.
    pub(super) user: u64,
    /// The user's id of it.
    pub(super) id: Id,
    /// The user's progress token.
    pub(super) token: Option<Id>,
    /// Whether it may cause log messages.
    pub(super) logs: bool,
}

#[derive(Debug)]
struct State {
    calls: HashMap<Id, Call>,
    listener: Outbox,
    /// What the listener reads, until somebody listens.
    unclaimed: Option<Inbox>,
    /// Messages were dropped because nobody listens; said once.
    dropped: bool,
    /// The stream has ended, and nothing comes any more.
    ended: bool,
}

#[derive(Debug)]
struct Call {
    outbox: Outbox,
    /// The raw progress token of the request.
    token: Option<Box<str>>,
    origin: Option<Arc<Origin>>,
}

/// The writing end of an inbox.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    ending: Arc<OnceLock<Error>>,
}

#[derive(Debug)]
struct Queued {
    frame: Frame,
    _bytes: OwnedSemaphorePermit,
}

/// What one reader gets of the shared stream. Dropping it closes the request's place.
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Queued>,
    ending: Arc<OnceLock<Error>>,
    place: Option<(Weak<Hub>, Id)>,
    origin: Option<Arc<Origin>>,
    abandoned: Option<Abandoned>,
}

/// What is done about a request whose answer nobody wants any more.
type Abandoned = Box<dyn FnOnce(&Id) + Send + Sync>;

// === impl Hub ===

impl Hub {
    /// Makes the hub of one session's stream.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Self::of(Users::One, limits)
    }

    /// Makes the hub of a stream of many users.
    pub(super) fn of_many(limits: Limits) -> Arc<Self> {
        Self::of(Users::Many, limits)
    }

    fn of(users: Users, limits: Limits) -> Arc<Self> {
        let (listener, unclaimed) = inbox(&limits);
        let state = State { calls: HashMap::new(), listener, unclaimed: Some(unclaimed), dropped: false, ended: false };
        Arc::new(Self { limits, users, state: Mutex::new(state) })
    }

    /// Makes a place for the answer to a request, before the request is sent.
    pub(super) fn register(self: &Arc<Self>, request: &Frame) -> Result<Inbox, Error> {
        self.place(request, None)
    }

    /// Makes a place for the answer to a request of one of many users. The request has an id of
    /// ours by now, which is its progress token as well.
    pub(super) fn register_of(self: &Arc<Self>, request: &Frame, origin: Origin) -> Result<Inbox, Error> {
        self.place(request, Some(Arc::new(origin)))
    }

    fn place(self: &Arc<Self>, request: &Frame, origin: Option<Arc<Origin>>) -> Result<Inbox, Error> {
        let busy = Error::Busy { max: self.limits.shared_requests_max };
        // Without an id no answer could ever be told to belong here.
        let id = request.id().cloned().ok_or(Nonsense::NoAnswer { status: StatusCode::ACCEPTED })?;
        let mut state = self.lock();
        if state.ended {
            return Err(Error::SessionLost);
        }
        if state.calls.len() >= self.limits.shared_requests_max || state.calls.contains_key(&id) {
            return Err(busy);
        }
        let (outbox, mut inbox) = inbox(&self.limits);
        inbox.place = Some((Arc::downgrade(self), id.clone()));
        inbox.origin.clone_from(&origin);
        let token = match origin {
            Some(_) => None, // It is the id.
            None => progress_token(request).map(Into::into),
        };
        state.calls.insert(id, Call { outbox, token, origin });
        Ok(inbox)
    }

    /// Finds our id of a user's open request.
    pub(super) fn find(&self, user: u64, id: &Id) -> Option<Id> {
        let state = self.lock();
        let is_it = |call: &Call| call.origin.as_ref().is_some_and(|origin| origin.user == user && origin.id == *id);
        state.calls.iter().find(|(_, call)| is_it(call)).map(|(ours, _)| ours.clone())
    }

    /// Gives the messages that belong to no request to the caller, and to nobody else.
    pub(super) fn listen(&self) -> Result<Inbox, Error> {
        let mut state = self.lock();
        if state.ended {
            return Err(Error::SessionLost);
        }
        if let Some(unclaimed) = state.unclaimed.take() {
            return Ok(unclaimed);
        }
        let (outbox, inbox) = inbox(&self.limits);
        state.listener = outbox;
        Ok(inbox)
    }

    /// Puts one message where it belongs; waits for a slow reader as long as `shared_stall`.
    pub(super) async fn route(&self, frame: Frame) {
        let Some((outbox, id)) = self.place_of(&frame) else { return };
        if outbox.deliver(frame, &self.limits).await.is_ok() {
            return;
        }
        // Forgetting the call drops its sender: the reader finds what is queued, then the ending.
        let _earlier = outbox.ending.set(Error::Stalled { after: self.limits.shared_stall });
        let mut state = self.lock();
        if let Some(id) = id {
            state.calls.remove(&id);
        } else {
            let (listener, unclaimed) = inbox(&self.limits);
            (state.listener, state.unclaimed) = (listener, Some(unclaimed));
        }
    }

    /// Ends every inbox with `error`; later requests find the session lost.
    pub(super) fn end(&self, error: &Error) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.ended = true;
        for (_, call) in state.calls.drain() {
            let _earlier = call.outbox.ending.set(error.clone());
        }
        let _earlier = state.listener.ending.set(error.clone());
        let (closed, _) = inbox(&self.limits);
        state.listener = closed;
        state.unclaimed = None;
    }

    /// Ends every inbox because nobody wants the session any more. What is open was sent and may have run, so that it
    /// is no lost session, which is safe to ask again elsewhere.
    pub(super) fn close(&self) {
        self.end(&Error::Broken { reason: "its session was closed".to_owned() });
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Finds the inbox of a message, and forgets a request that it answers.
    fn place_of(&self, frame: &Frame) -> Option<(Outbox, Option<Id>)> {
        let mut state = self.lock();
        match frame.kind() {
            Kind::Result | Kind::Error => {
                // An answer to nothing: late, or wrong. Nobody waits for it.
                let id = frame.id()?;
                let Some(call) = state.calls.remove(id) else {
                    tracing::debug!(%id, "upstream.read: an answer to no open request is dropped");
                    return None;
                };
                Some((call.outbox, Some(id.clone())))
            }
            Kind::Request | Kind::Notification => {
                let of_call = match self.users {
                    Users::One => state.call_of(frame),
                    Users::Many => state.call_of_many(frame),
                };
                if let Some((id, call)) = of_call {
                    let (outbox, id) = (call.outbox.clone(), id.clone());
                    if self.users == Users::Many && frame.method() == Some(CANCELLED) {
                        // The last word about a subscription: its reader finds the end behind it.
                        state.calls.remove(&id);
                    }
                    return Some((outbox, Some(id)));
                }
                if state.unclaimed.is_some() && state.listener.is_full() {
                    if !std::mem::replace(&mut state.dropped, true) && DROPPED.admits() {
                        let method = frame.method();
                        tracing::warn!(method, "upstream.listen: nobody reads, this message and others are dropped");
                    }
                    return None;
                }
                Some((state.listener.clone(), None))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn call_of(&self, frame: &Frame) -> Option<(&Id, &Call)> {
        if frame.method() == Some("notifications/progress") {
            let token = params_member(frame, "progressToken")?;
            return self.calls.iter().find(|(_, call)| call.token.as_deref() == Some(token));
        }
        let belongs_to_a_call = frame.kind() == Kind::Request || frame.method() == Some("notifications/message");
        match self.calls.len() {
            1 if belongs_to_a_call => self.calls.iter().next(),
            _ => None,
        }
    }

    fn call_of_many(&self, frame: &Frame) -> Option<(&Id, &Call)> {
        let id = match frame.method() {
            _ if frame.kind() == Kind::Request => return None,
            Some("notifications/progress") => codec::progress_token(frame).ok()?.0,
            // Servers cancel subscriptions only (2026-07-28, "Cancellation").
            Some(CANCELLED) => codec::cancelled_request(frame).ok()??.0,
            Some("notifications/message") => {
                let mut may_be = self.calls.iter().filter(|(_, call)| call.logs());
                return may_be.next().filter(|_| may_be.next().is_none());
            }
            _ => {
                let meta = member(frame, frame.params_span()?, "_meta")?;
                let id = member(frame, meta, META_SUBSCRIPTION_ID)?;
                Id::from_json(frame.text_of(id)).ok()?
            }
        };
        self.calls.get_key_value(&id)
    }
}

// === impl Call ===

impl Call {
    fn logs(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.logs)
    }
}

// === impl Outbox ===

impl Outbox {
    /// Queues a frame within the inbox's bounds; an error means that the reader did not keep up.
    async fn deliver(&self, frame: Frame, limits: &Limits) -> Result<(), tokio::time::error::Elapsed> {
        let weight = u32::try_from(frame.bytes().len().clamp(1, INBOX_BYTES_MAX)).unwrap_or(u32::MAX);
        let queue = async {
            // Neither wait fails while this outbox is here, except that the reader is gone: then
            // the frame has no place any more.
            let Ok(bytes) = Arc::clone(&self.bytes).acquire_many_owned(weight).await else { return };
            if let Err(TrySendError::Full(queued)) = self.sender.try_send(Queued { frame, _bytes: bytes }) {
                let _reader_gone = self.sender.send(queued).await;
            }
        };
        tokio::select! {
            biased;
            done = timeout(limits.shared_stall, queue) => done,
            () = self.sender.closed() => Ok(()),
        }
    }

    /// Queues a frame if there is room for it.
    pub(super) fn offer(&self, frame: Frame) -> bool {
        let weight = u32::try_from(frame.bytes().len().clamp(1, INBOX_BYTES_MAX)).unwrap_or(u32::MAX);
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(weight) else { return false };
        self.sender.try_send(Queued { frame, _bytes: bytes }).is_ok()
    }

    /// Ends the inbox with an error, once what is queued has been read.
    pub(super) fn end(self, error: Error) {
        let _earlier = self.ending.set(error);
    }

    fn is_full(&self) -> bool {
        self.sender.capacity() == 0 || self.bytes.available_permits() == 0
    }
}

// === impl Inbox ===

impl Inbox {
    /// Returns the next message, none at the end; an ending with a reason is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Error> {
        match self.receiver.recv().await {
            Some(queued) => Ok(Some(self.as_asked(queued.frame))),
            None => self.ending.get().cloned().map_or(Ok(None), Err),
        }
    }

    /// Calls `abandoned` with the request's id when the inbox is dropped before the answer came.
    pub(super) fn when_abandoned(&mut self, abandoned: impl FnOnce(&Id) + Send + Sync + 'static) {
        self.abandoned = Some(Box::new(abandoned));
    }

    /// Puts the user's own id and progress token back.
    fn as_asked(&self, frame: Frame) -> Frame {
        let Some(origin) = &self.origin else { return frame };
        match (frame.kind(), frame.method(), &origin.token) {
            (Kind::Result | Kind::Error, _, _) => frame.with_id(&origin.id),
            (Kind::Notification, Some("notifications/progress"), Some(token)) => match codec::progress_token(&frame) {
                Ok((_, span)) => codec::retoken(&frame, span, token),
                Err(_) => frame,
            },
            (Kind::Notification | Kind::Request, _, _) => frame,
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let Some((hub, id)) = self.place.take() else { return };
        let Some(hub) = hub.upgrade() else { return };
        let mut state = hub.lock();
        // The id may have been taken by another request since: that place is not ours.
        let ours = state.calls.get(&id).is_some_and(|call| Arc::ptr_eq(&call.outbox.ending, &self.ending));
        if ours {
            state.calls.remove(&id);
            drop(state);
            if let Some(abandoned) = self.abandoned.take() {
                abandoned(&id);
            }
        }
    }
}

/// Makes the two ends of an inbox.
pub(super) fn inbox(limits: &Limits) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(limits.shared_frames_max.max(1));
    let ending = Arc::new(OnceLock::new());
    let outbox = Outbox { sender, bytes: Arc::new(Semaphore::new(INBOX_BYTES_MAX)), ending: Arc::clone(&ending) };
    (outbox, Inbox { receiver, ending, place: None, origin: None, abandoned: None })
}

/// Returns the raw `params._meta.progressToken` of a request.
fn progress_token(request: &Frame) -> Option<&str> {
    let params = request.params_span()?;
    let meta = member(request, params, "_meta")?;
    member(request, meta, "progressToken").map(|span| request.text_of(span))
}

fn params_member<'a>(frame: &'a Frame, key: &str) -> Option<&'a str> {
    member(frame, frame.params_span()?, key).map(|span| frame.text_of(span))
}

fn member(frame: &Frame, object: Span, key: &str) -> Option<Span> {
    let [found] = pick(frame.text_of(object), object.start, [key]).ok()?;
    found
}
