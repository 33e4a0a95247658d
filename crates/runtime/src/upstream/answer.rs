//! What a tool server answers to one request: a message, or a stream of messages.
//!
//! A [`FrameStream`] turns SSE events into parsed frames, within its limits. On a
//! legacy POST stream that had event ids it survives a broken or closed connection: it waits as
//! long as the server's `retry` asks and resumes by GET with `Last-Event-ID` (MCP 2025-11-25,
//! "Resumability and Redelivery"): `Events ──closed──▶ Resuming ──▶ Events ──answer──▶ Ended`.
//!
//! Invariant: a stream that awaits an answer ends with a response frame or with an error, never
//! silently. It does not check ids: that is the work of `quorate_mcp::exchange`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use quorate_http::sse::Event;
use quorate_jsonrpc::{self as jsonrpc, Frame, Kind};
use tokio::time::{Instant, timeout_at};

use super::endpoint::{self, Limits};
use super::error::{Error, Phase};
use super::events::Events;
use super::shared;
use super::wire;

/// Shortest delay before a resume, whatever the server's `retry` says: 100 ms, so that a server
/// that closes every stream at once cannot make us spin.
const RESUME_DELAY_MIN: Duration = Duration::from_millis(100);

/// The answer to one request.
#[derive(Debug)]
pub enum Answer {
    /// One JSON-RPC response.
    Json {
        /// The HTTP status; below 400 unless the frame is an error.
        status: StatusCode,
        /// The response: its kind is `Result` or `Error`, its id is not checked.
        frame: Frame,
    },
    /// A stream of messages that ends with the response.
    Stream(FrameStream),
}

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct StreamItem {
    /// The message.
    pub frame: Frame,
    /// The id of the event that carried it, if it had one.
    pub event_id: Option<String>,
}

/// A stream of messages. Dropping it closes the connection it reads from, if that is its own.
pub struct FrameStream {
    source: Source,
    /// Messages of a batch (2025-03-26) that wait to be read.
    ready: VecDeque<StreamItem>,
    awaits: Awaits,
    /// The server has asked something: it may wait for us, and be silent meanwhile.
    asked: bool,
    last_event_id: Option<String>,
    retry: Option<Duration>,
    resume: Option<Resume>,
    polled: Option<Box<dyn FnMut(Option<Duration>) + Send>>,
    marked: Option<Marked>,
    limits: Limits,
    /// When the whole call ends; none for streams that only listen.
    total: Option<Instant>,
}

/// What a stream has to end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// A response: an end without one is an error.
    Answer,
    /// Nothing: the stream listens, and may end at any time.
    Nothing,
}

/// The opening of a resumed stream; none when the server offers no resuming.
pub(super) type Reopen = Pin<Box<dyn Future<Output = Result<Option<Events>, Error>> + Send>>;

/// Messages that are made in this process.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Error>> + Send>>;

/// Hears the ids of events that say nothing else.
type Marked = Box<dyn FnMut(&str) + Send>;

/// How a stream is taken up again after a break.
pub(super) struct Resume {
    /// Opens the stream after the event with the given id.
    pub(super) reopen: Box<dyn Fn(String) -> Reopen + Send + Sync>,
    /// Resumes since the last event with a new id.
    pub(super) failures: u32,
}

enum Source {
    Events(Box<Events>),
    Shared(Box<shared::Inbox>),
    Made(Frames),
    Resuming(Reopen),
    /// There is nothing but what is ready.
    Batch,
    Ended,
}

// === impl Answer ===

impl Answer {
    /// Reads the answer to its end and returns the response; `other` sees what came before it.
    ///
    /// # Errors
    /// [`Error`] as the stream gives it.
    pub async fn finish(self, mut other: impl FnMut(StreamItem)) -> Result<Frame, Error> {
        let mut stream = match self {
            Self::Json { frame, .. } => return Ok(frame),
            Self::Stream(stream) => stream,
        };
        while let Some(item) = stream.next().await {
            let item = item?;
            match item.frame.kind() {
                Kind::Result | Kind::Error => return Ok(item.frame),
                Kind::Request | Kind::Notification => other(item),
            }
        }
        Err(ended())
    }
}

// === impl FrameStream ===

impl FrameStream {
    pub(super) fn of_events(events: Events, awaits: Awaits, limits: &Limits, total: Option<Instant>) -> Self {
        Self::new(Source::Events(Box::new(events)), awaits, limits, total)
    }

    pub(super) fn of_inbox(inbox: shared::Inbox, awaits: Awaits, limits: &Limits, total: Option<Instant>) -> Self {
        Self::new(Source::Shared(Box::new(inbox)), awaits, limits, total)
    }

    /// Makes a stream of messages that are made in this process, which bounds their time itself.
    pub(crate) fn of_frames(frames: Frames, awaits: Awaits) -> Self {
        Self::new(Source::Made(frames), awaits, &endpoint::DEFAULTS, None)
    }

    /// Makes a stream of messages that are here already: a batch as one JSON answer.
    pub(super) fn of_batch(frames: Vec<Frame>, limits: &Limits) -> Self {
        let mut stream = Self::new(Source::Batch, Awaits::Answer, limits, None);
        stream.ready = frames.into_iter().map(|frame| StreamItem { frame, event_id: None }).collect();
        stream
    }

    fn new(source: Source, awaits: Awaits, limits: &Limits, total: Option<Instant>) -> Self {
        Self {
            source,
            ready: VecDeque::new(),
            awaits,
            asked: false,
            last_event_id: None,
            retry: None,
            resume: None,
            polled: None,
            marked: None,
            limits: *limits,
            total,
        }
    }

    /// Gives a message back that was read before.
    pub(super) fn preceded_by(mut self, frame: Frame) -> Self {
        self.ready.push_front(StreamItem { frame, event_id: None });
        self
    }

    pub(super) fn resuming_with(mut self, resume: Resume) -> Self {
        self.resume = Some(resume);
        self
    }

    /// Calls `polled` each time that the server ends the stream to be polled for the rest (SEP-1699),
    /// with the `retry` that it asked for. The stream itself resumes as before.
    pub fn when_polled(&mut self, polled: impl FnMut(Option<Duration>) + Send + 'static) {
        self.polled = Some(Box::new(polled));
    }

    /// Calls `marked` with the id of each event that says nothing but from where the stream can be resumed.
    pub fn when_marked(&mut self, marked: impl FnMut(&str) + Send + 'static) {
        self.marked = Some(Box::new(marked));
    }

    /// Returns the id of the last event seen, for a later resume; priming events count.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// Returns how long the server asks to wait before a reconnect, within our limit.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Returns the next message; none after the response, or when a listening stream has ended.
    ///
    /// Dropping the future loses nothing: the next call continues where it was. After an error
    /// the stream has ended.
    pub async fn next(&mut self) -> Option<Result<StreamItem, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(self.deliver(item)));
            }
            let limits = self.limits;
            let step = match &mut self.source {
                Source::Ended => return None,
                Source::Batch => Err(ended()),
                Source::Events(events) => {
                    let idle = match (self.awaits, self.asked) {
                        (Awaits::Answer, false) => limits.idle,
                        (Awaits::Answer, true) => limits.total,
                        (Awaits::Nothing, _) => limits.listen_idle,
                    };
                    let read = read_event(events, idle, self.total, limits.total).await;
                    self.note_position();
                    self.on_event(read)
                }
                Source::Shared(inbox) => {
                    let read = within(self.total, limits.total, inbox.next()).await;
                    self.on_inbox(read)
                }
                Source::Made(frames) => {
                    let read = frames.next().await.transpose();
                    self.on_inbox(read)
                }
                Source::Resuming(reopen) => {
                    let opened = within(self.total, limits.total, reopen).await;
                    self.on_reopened(opened)
                }
            };
            match step {
                Ok(true) => {}
                Ok(false) => {
                    self.source = Source::Ended;
                    return None;
                }
                Err(error) => {
                    self.source = Source::Ended;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Ends the stream with its response: nothing that follows belongs to the call.
    fn deliver(&mut self, item: StreamItem) -> StreamItem {
        let response = matches!(item.frame.kind(), Kind::Result | Kind::Error);
        self.asked |= item.frame.kind() == Kind::Request;
        if response && self.awaits == Awaits::Answer {
            self.source = Source::Ended;
            self.ready.clear();
        }
        item
    }

    /// Remembers where the stream could be resumed; a new position means that a resume got on.
    fn note_position(&mut self) {
        let Source::Events(events) = &self.source else { return };
        if let Some(retry) = events.retry() {
            self.retry = Some(retry.min(self.limits.resume_delay_max));
        }
        let Some(id) = events.last_event_id() else { return };
        if self.last_event_id.as_deref() != Some(id) {
            self.last_event_id = Some(id.to_owned());
            if let Some(resume) = &mut self.resume {
                resume.failures = 0;
            }
        }
    }

    /// Takes what the connection gave; true when there may be more.
    fn on_event(&mut self, read: Result<Option<Event>, Error>) -> Result<bool, Error> {
        match read {
            Ok(Some(event)) => self.on_message(event).map(|()| true),
            Ok(None) if self.awaits == Awaits::Nothing => Ok(false),
            Ok(None) => {
                let resumes = self.begin_resume(ended())?;
                if let Some(polled) = &mut self.polled {
                    polled(self.retry);
                }
                Ok(resumes)
            }
            Err(error @ Error::Broken { .. }) => self.begin_resume(error),
            Err(error) => Err(error),
        }
    }

    fn on_message(&mut self, event: Event) -> Result<(), Error> {
        let is_message = event.name.as_ref().is_none_or(|name| matches!(name.as_str(), "" | "message"));
        // Empty data is a priming event (SEP-1699) or nothing at all.
        if !is_message || event.data.is_empty() {
            if let (Some(marked), Some(id)) = (&mut self.marked, &event.id) {
                marked(id.as_str());
            }
            return Ok(());
        }
        let event_id = event.id.map(|id| id.as_str().to_owned());
        let frames = parse_event(event.data, &self.limits)?;
        self.ready.extend(frames.into_iter().map(|frame| StreamItem { frame, event_id: event_id.clone() }));
        Ok(())
    }

    fn on_inbox(&mut self, read: Result<Option<Frame>, Error>) -> Result<bool, Error> {
        match read? {
            Some(frame) => {
                self.ready.push_back(StreamItem { frame, event_id: None });
                Ok(true)
            }
            None if self.awaits == Awaits::Nothing => Ok(false),
            None => Err(ended()),
        }
    }

    fn on_reopened(&mut self, opened: Result<Option<Events>, Error>) -> Result<bool, Error> {
        match opened {
            Ok(Some(events)) => {
                self.source = Source::Events(Box::new(events));
                Ok(true)
            }
            Ok(None) => Err(Error::Broken { reason: "the stream ended, and the server resumes none".to_owned() }),
            // The break may be a restart of the server: a refused connection is worth another try.
            Err(error @ (Error::Connect { .. } | Error::Broken { .. })) => self.begin_resume(error),
            Err(error @ Error::Status { status, .. }) if status.is_server_error() => self.begin_resume(error),
            Err(error) => Err(lost_after_dispatch(error)),
        }
    }

    /// Schedules a resume, or gives the cause back when the stream cannot be resumed (any more).
    fn begin_resume(&mut self, cause: Error) -> Result<bool, Error> {
        let (Some(resume), Some(id)) = (&mut self.resume, &self.last_event_id) else {
            return Err(lost_after_dispatch(cause));
        };
        if resume.failures >= self.limits.resumes_max {
            return Err(lost_after_dispatch(cause));
        }
        let doubled = self.limits.resume_delay.saturating_mul(1 << resume.failures.min(16));
        let longest = self.limits.resume_delay_max;
        let delay = self.retry.unwrap_or(doubled).max(RESUME_DELAY_MIN).min(longest);
        resume.failures += 1;
        let reopen = (resume.reopen)(id.clone());
        self.source = Source::Resuming(Box::pin(async move {
            tokio::time::sleep(delay).await;
            reopen.await
        }));
        Ok(true)
    }
}

impl std::fmt::Debug for FrameStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameStream")
            .field("awaits", &self.awaits)
            .field("last_event_id", &self.last_event_id)
            .finish_non_exhaustive()
    }
}

/// Parses the data of one event: a message, or a batch as revision 2025-03-26 allows.
fn parse_event(data: Bytes, limits: &Limits) -> Result<Vec<Frame>, Error> {
    if jsonrpc::is_batch(&data) {
        return wire::parse_batch(&data, limits.event_bytes_max);
    }
    wire::parse(data, limits.event_bytes_max).map(|frame| vec![frame])
}

/// Reads one event; only silence counts as idle, so that comments keep a stream alive.
async fn read_event(
    events: &mut Events,
    idle: Duration,
    total: Option<Instant>,
    total_max: Duration,
) -> Result<Option<Event>, Error> {
    loop {
        let idle_at = events.last_activity() + idle;
        let until = total.map_or(idle_at, |total| total.min(idle_at));
        if let Ok(read) = timeout_at(until, events.next()).await {
            return read;
        }
        if total.is_some_and(|total| total <= Instant::now()) {
            return Err(Error::Timeout { phase: Phase::Total, after: total_max });
        }
        if events.last_activity() + idle <= Instant::now() {
            return Err(Error::Timeout { phase: Phase::Idle, after: idle });
        }
    }
}

async fn within<T>(
    total: Option<Instant>,
    total_max: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match total {
        Some(total) => {
            timeout_at(total, work).await.unwrap_or(Err(Error::Timeout { phase: Phase::Total, after: total_max }))
        }
        None => work.await,
    }
}

fn ended() -> Error {
    Error::Broken { reason: "the stream ended before the answer".to_owned() }
}

/// Keeps an error of a resume from claiming that the call never ran: its POST was accepted.
fn lost_after_dispatch(error: Error) -> Error {
    if error.never_executed() {
        Error::Broken { reason: format!("the stream could not be resumed: {error}") }
    } else {
        error
    }
}
