//! One stream of messages shared by the open requests of an HTTP+SSE session.
//!
//! A [`Hub`] takes every message of the stream and puts it into the inbox it belongs to: a
//! response by its id, progress by its token; a server's request or log message to the only open
//! request, since the transport does not say where it belongs; everything else to the listener.
//!
//! Invariant: an inbox holds at most `shared_frames_max` frames and [`INBOX_BYTES_MAX`] bytes (one
//! larger frame may be there alone). A full inbox stops the stream for `shared_stall`; then its
//! reader is cut off with [`Error::Stalled`] and the others go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use http::StatusCode;
use quorate_jsonrpc::{Frame, Id, Kind, Span, pick};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::endpoint::Limits;
use super::error::{Error, Nonsense};

/// Bytes that wait in one inbox: 1 MiB, sixteen times a stream's ring.
const INBOX_BYTES_MAX: usize = 1 << 20;

/// Distributes the messages of one session.
#[derive(Debug)]
pub(super) struct Hub {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: HashMap<Id, Call>,
    listener: Outbox,
    /// What the listener reads, until somebody listens.
    unclaimed: Option<Inbox>,
    /// The stream has ended, and nothing comes any more.
    ended: bool,
}

#[derive(Debug)]
struct Call {
    outbox: Outbox,
    /// The raw progress token of the request.
    token: Option<Box<str>>,
}

/// The writing end of an inbox.
#[derive(Clone, Debug)]
struct Outbox {
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
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Queued>,
    ending: Arc<OnceLock<Error>>,
    place: Option<(Weak<Hub>, Id)>,
}

// === impl Hub ===

impl Hub {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let (listener, unclaimed) = inbox(&limits);
        let state = State { calls: HashMap::new(), listener, unclaimed: Some(unclaimed), ended: false };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// Makes a place for the answer to a request, before the request is sent.
    pub(super) fn register(self: &Arc<Self>, request: &Frame) -> Result<Inbox, Error> {
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
        state.calls.insert(id, Call { outbox, token: progress_token(request).map(Into::into) });
        Ok(inbox)
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
                if let Some((id, call)) = state.call_of(frame) {
                    return Some((call.outbox.clone(), Some(id.clone())));
                }
                if state.unclaimed.is_some() && state.listener.is_full() {
                    tracing::warn!(method = frame.method(), "upstream.listen: nobody reads, a message is dropped");
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

    fn is_full(&self) -> bool {
        self.sender.capacity() == 0 || self.bytes.available_permits() == 0
    }
}

// === impl Inbox ===

impl Inbox {
    /// Returns the next message, none at the end; an ending with a reason is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Error> {
        match self.receiver.recv().await {
            Some(queued) => Ok(Some(queued.frame)),
            None => self.ending.get().cloned().map_or(Ok(None), Err),
        }
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
        }
    }
}

fn inbox(limits: &Limits) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(limits.shared_frames_max.max(1));
    let ending = Arc::new(OnceLock::new());
    let outbox = Outbox { sender, bytes: Arc::new(Semaphore::new(INBOX_BYTES_MAX)), ending: Arc::clone(&ending) };
    (outbox, Inbox { receiver, ending, place: None })
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
