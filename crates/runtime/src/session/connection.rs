//! A client's connection that reads one stream of a session.
//!
//! The actor writes events into a bounded channel; the HTTP body pulls them out at the client's
//! pace. Each pull is reported back, lumped together: the machine holds its sources when a
//! client does not keep up. Dropping the connection reports that it ended, exactly once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use quorate_http::sse;
use quorate_session::{Attachment, Emission, StreamId};
use quorate_telemetry::metrics::Active;
use ractor::ActorRef;
use tokio::sync::mpsc;

use super::message::Message;

/// Events that are pulled before a report is due although more are ready: a quarter of the
/// machine's default window, so that the window never runs dry while the client reads.
const REPORT_EVERY: u64 = 8;

/// The reading end: a stream of server-sent events.
pub struct Connection {
    receiver: mpsc::Receiver<Emission>,
    cut: Arc<AtomicBool>,
    moved: Arc<AtomicBool>,
    actor: ActorRef<Message>,
    stream: StreamId,
    attachment: Attachment,
    delivered: u64,
    reported: u64,
    /// Nothing is reported: what was read is read again.
    quiet: bool,
    _open: Active,
}

/// The writing end, held by the actor. Dropping it ends the connection after what was written.
pub(super) struct Writer {
    sender: mpsc::Sender<Emission>,
    cut: Arc<AtomicBool>,
}

/// The reader does not keep up with a window that it was given, which the machine rules out.
#[derive(Debug)]
pub(super) struct Overrun;

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        capacity: usize,
        actor: ActorRef<Message>,
        moved: Arc<AtomicBool>,
        (stream, attachment): (StreamId, Attachment),
        open: Active,
    ) -> (Writer, Self) {
        let (sender, receiver) = mpsc::channel(capacity);
        let cut = Arc::new(AtomicBool::new(false));
        let writer = Writer { sender, cut: Arc::clone(&cut) };
        (
            writer,
            Self {
                receiver,
                cut,
                moved,
                actor,
                stream,
                attachment,
                delivered: 0,
                reported: 0,
                quiet: false,
                _open: open,
            },
        )
    }

    /// The stream that it reads.
    #[must_use]
    pub const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Tells whether it ended because another node owns the session: there it goes on.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire)
    }

    /// Returns the next event as the machine emitted it; none at the end.
    pub async fn receive(&mut self) -> Option<Emission> {
        std::future::poll_fn(|cx| self.poll_emission(cx)).await
    }

    fn poll_emission(&mut self, cx: &mut Context<'_>) -> Poll<Option<Emission>> {
        if self.cut.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        // Before the next one is taken: the reader may be going to want the last one again.
        if self.delivered.wrapping_sub(self.reported) >= REPORT_EVERY {
            self.report();
        }
        match self.receiver.poll_recv(cx) {
            Poll::Ready(Some(emission)) => {
                self.delivered = emission.sequence;
                Poll::Ready(Some(emission))
            }
            Poll::Ready(None) => {
                self.report();
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.report();
                Poll::Pending
            }
        }
    }

    /// Says that what is read counts as delivered only when it is [acknowledged](Self::acknowledge): somebody else passes
    /// it on.
    pub const fn wait_for_word(&mut self) {
        self.quiet = true;
    }

    /// Says that events up to this one were passed on.
    pub fn acknowledge(&mut self, up_to: u64) {
        if up_to > self.reported {
            self.reported = up_to;
            let (stream, attachment) = (self.stream, self.attachment);
            // An ended session keeps no windows.
            let _ended = self.actor.cast(Message::Delivered { stream, attachment, up_to });
        }
    }

    /// Says whether what is read from now on counts as not delivered, because it is read again.
    pub const fn keep(&mut self, keeps: bool) {
        self.quiet = keeps;
    }

    fn report(&mut self) {
        if self.reported != self.delivered && !self.quiet {
            self.reported = self.delivered;
            let (stream, attachment, up_to) = (self.stream, self.attachment, self.delivered);
            // An ended session keeps no windows.
            let _ended = self.actor.cast(Message::Delivered { stream, attachment, up_to });
        }
    }
}

impl Stream for Connection {
    type Item = sse::Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<sse::Event>> {
        self.poll_emission(cx).map(|emission| emission.map(event))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let delivered = if self.quiet { self.reported } else { self.delivered };
        let (stream, attachment) = (self.stream, self.attachment);
        // An ended session needs no word of it.
        let _ended = self.actor.cast(Message::Detached { stream, attachment, delivered });
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn write(&self, emission: Emission) -> Result<(), Overrun> {
        match self.sender.try_send(emission) {
            // A reader that is gone reports so itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overrun),
        }
    }

    /// Ends the connection without what is still in the channel.
    pub(super) fn cut(self) {
        self.cut.store(true, Ordering::Release);
    }
}

/// An emission as a client gets it.
#[must_use]
pub fn event(emission: Emission) -> sse::Event {
    let Emission { id, data, retry, .. } = emission;
    let id = id.map(|id| sse::Line::new(id.to_string()).expect("an event id is digits and a dot"));
    sse::Event { id, name: Some(message()), data, retry }
}

/// The event type of every MCP message: some clients want it spelled out.
fn message() -> sse::Line {
    sse::Line::new("message").expect("the word is one line")
}
