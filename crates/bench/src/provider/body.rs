//! Plays a script as the body of a response, and tells the ledger how it ended.
//!
//! In: a [`Script`]. Out: frames, when they are due. A body that is dropped before its script is at its end was left by its client,
//! since nobody else drops it. What never ends is bounded by ten minutes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::ledger::{End, Ledger};
use super::script::{Forever, Script, Step};
use super::wire::Line;

/// The longest that a client is kept: ten minutes.
const ENDLESS_MAX: Duration = Duration::from_secs(600);
/// How often it is looked whether everything is written.
const FLUSH_POLL: Duration = Duration::from_millis(1);

/// The connection is to be closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the plan closes the connection")]
pub(super) struct Closed;

/// A script that is played.
pub(super) struct Body {
    steps: std::vec::IntoIter<Step>,
    doing: Doing,
    length: Option<u64>,
    is_cut: bool,
    is_stream: bool,
    sent: u64,
    line: Arc<Line>,
    ledger: Arc<Ledger>,
}

/// What is being done.
enum Doing {
    /// The next step is due.
    Next,
    /// A pause.
    Waiting(Pin<Box<Sleep>>),
    /// The connection is closed once more has been flushed than before.
    Closing { seen: u64, pause: Pin<Box<Sleep>> },
    /// Nothing comes any more.
    Silent(Pin<Box<Sleep>>),
    /// The same comes until it is too late.
    Repeating { again: Forever, pause: Pin<Box<Sleep>>, until: Instant },
    /// The connection is closed.
    Closed,
}

// === impl Body ===

impl Body {
    /// Begins to play.
    pub(super) fn new(script: Script, is_stream: bool, line: &Arc<Line>, ledger: &Arc<Ledger>) -> Self {
        if is_stream {
            ledger.stream_begun();
        }
        Self {
            steps: script.steps.into_iter(),
            doing: Doing::Next,
            length: script.length,
            is_cut: script.is_cut,
            is_stream,
            sent: 0,
            line: Arc::clone(line),
            ledger: Arc::clone(ledger),
        }
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        self.sent += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// Begins what is no sending.
    fn begin(&mut self, step: Step) {
        self.doing = match step {
            Step::Send(_) | Step::Part => Doing::Next,
            Step::Wait(pause) => Doing::Waiting(Box::pin(sleep(pause))),
            Step::Cut => Doing::Closing { seen: self.line.flushes(), pause: Box::pin(sleep(FLUSH_POLL)) },
            Step::Silence => Doing::Silent(Box::pin(sleep(ENDLESS_MAX))),
            Step::Forever(again) => {
                let pause = Box::pin(sleep(again.gap));
                Doing::Repeating { again, pause, until: Instant::now() + ENDLESS_MAX }
            }
        };
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        loop {
            match &mut self.doing {
                Doing::Next => match self.steps.next() {
                    None => return Poll::Ready(None),
                    Some(Step::Send(bytes)) => return self.send(bytes),
                    Some(Step::Part) => {
                        // Whoever has nothing to write flushes what there is.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Some(step) => self.begin(step),
                },
                Doing::Waiting(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.doing = Doing::Next;
                }
                Doing::Closing { seen, pause } => {
                    ready!(pause.as_mut().poll(cx));
                    let seen = *seen;
                    if self.line.flushes() > seen {
                        self.doing = Doing::Closed;
                        return Poll::Ready(Some(Err(Closed)));
                    }
                    self.doing = Doing::Closing { seen, pause: Box::pin(sleep(FLUSH_POLL)) };
                }
                Doing::Silent(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.doing = Doing::Closed;
                    return Poll::Ready(Some(Err(Closed)));
                }
                Doing::Repeating { again, pause, until } => {
                    ready!(pause.as_mut().poll(cx));
                    if Instant::now() >= *until {
                        self.doing = Doing::Closed;
                        return Poll::Ready(Some(Err(Closed)));
                    }
                    let gap = again.gap;
                    pause.as_mut().reset(Instant::now() + gap);
                    let bytes = again.next(SystemTime::now());
                    return self.send(bytes);
                }
                Doing::Closed => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.doing, Doing::Next) && self.steps.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        // hyper asks once, before the first frame; what is left is told to those that ask again.
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(self.sent)))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let is_over = matches!(self.doing, Doing::Next) && self.steps.as_slice().is_empty();
        let end = match self.doing {
            Doing::Closed => End::Cut,
            _ if is_over && self.is_cut => End::Cut,
            _ if is_over => End::Whole,
            Doing::Next | Doing::Waiting(_) | Doing::Closing { .. } | Doing::Silent(_) | Doing::Repeating { .. } => {
                End::Abandoned
            }
        };
        self.ledger.body_ended(end, self.is_stream, self.sent);
    }
}
