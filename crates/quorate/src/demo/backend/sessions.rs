//! Sessions of the demo's tool server, and streams in them that can be read again from any event on.
//!
//! ```text
//! a call's task ─▶ log of its events (watch) ─▶ readers: the POST that began it, each GET that resumes it
//! ```
//!
//! A log keeps all events of its call, from the priming one to the answer, so that a reader that comes back misses none
//! (2025-11-25 `basic/transports`, Resumability). Ids are `STREAM.NUMBER`. A call goes on whether or not somebody reads.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_http::sse::{Event, Line};
use quorate_runtime::entropy;
use tokio::sync::{mpsc, watch};

/// Sessions that are kept; the demo has three nodes, and one client.
const SESSIONS_MAX: usize = 64;
/// Streams of a session that are kept; the oldest one goes first.
const STREAMS_MAX: usize = 16;
/// Events that wait for a slow reader.
const EVENTS_MAX: usize = 16;
/// How long a reader whose stream broke shall wait before it comes back.
const RETRY: Duration = Duration::from_millis(100);

/// The sessions of a server.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Session>>,
    /// Streams that there ever were: numbers are the server's, so that an id means one event.
    streams: AtomicU64,
}

/// The streams of one session, the oldest one first.
type Session = VecDeque<(u64, watch::Receiver<Vec<Event>>)>;

/// The log of a call's events, as its task writes it.
#[derive(Debug)]
pub(super) struct Log {
    stream: u64,
    events: watch::Sender<Vec<Event>>,
}

// === impl Sessions ===

impl Sessions {
    /// Opens a session and returns its id; none when there are too many.
    pub(super) fn open(&self) -> Option<String> {
        let mut open = self.lock();
        if open.len() >= SESSIONS_MAX {
            return None;
        }
        let id: String = entropy::secret::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        open.insert(id.clone(), Session::new());
        Some(id)
    }

    /// Tells whether there is such a session.
    pub(super) fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Ends a session; false when there is none.
    pub(super) fn end(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    /// Begins a stream of a session: the log to write, and the events from its beginning; none without the session.
    pub(super) fn begin(&self, id: &str) -> Option<(Log, mpsc::Receiver<Event>)> {
        let mut open = self.lock();
        let session = open.get_mut(id)?;
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let (events, log) = watch::channel(Vec::new());
        let writer = Log { stream, events };
        // Without data, so that a stream can be resumed before its first message.
        writer.push(Event::default().with_retry(RETRY));
        if session.len() >= STREAMS_MAX {
            session.pop_front();
        }
        session.push_back((stream, log.clone()));
        Some((writer, read(log, 0)))
    }

    /// The events of a stream after one; none when that event never was.
    pub(super) fn resume(&self, id: &str, last_event_id: &str) -> Option<mpsc::Receiver<Event>> {
        let (stream, number) = last_event_id.split_once('.')?;
        let (stream, number): (u64, usize) = (stream.parse().ok()?, number.parse().ok()?);
        let open = self.lock();
        let (_, log) = open.get(id)?.iter().find(|(of, _)| *of == stream)?;
        let was = number < log.borrow().len();
        was.then(|| read(log.clone(), number + 1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        // Each critical section is one change of the table: a panic leaves none half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Log ===

impl Log {
    /// Adds an event, with its id.
    pub(super) fn push(&self, event: Event) {
        self.events.send_modify(|events| {
            let id = Line::new(format!("{}.{}", self.stream, events.len())).expect("numbers have no line breaks");
            events.push(event.with_id(id));
        });
    }
}

/// Reads a log from an event on, to the end of the call.
fn read(mut log: watch::Receiver<Vec<Event>>, from: usize) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(async move {
        let mut next = from;
        loop {
            let new: Vec<Event> = log.borrow_and_update().iter().skip(next).cloned().collect();
            for event in new {
                next += 1;
                // The reader is gone.
                let Ok(()) = sender.send(event).await else { return };
            }
            // An error comes after the last event was seen.
            let Ok(()) = log.changed().await else { return };
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut events: mpsc::Receiver<Event>) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(event) = events.recv().await {
            seen.push(format!("{} {}", event.id.unwrap(), String::from_utf8_lossy(&event.data)));
        }
        seen
    }

    #[tokio::test]
    async fn a_stream_is_read_from_any_event_on_also_after_its_end() {
        let sessions = Sessions::default();
        let id = sessions.open().unwrap();
        let (log, from_first) = sessions.begin(&id).unwrap();
        log.push(Event::new("a"));
        let while_open = sessions.resume(&id, "0.0").unwrap();
        log.push(Event::new("b"));
        drop(log);

        assert_eq!(all(from_first).await, ["0.0 ", "0.1 a", "0.2 b"]);
        assert_eq!(all(while_open).await, ["0.1 a", "0.2 b"]);
        assert_eq!(all(sessions.resume(&id, "0.1").unwrap()).await, ["0.2 b"]);
        assert_eq!(all(sessions.resume(&id, "0.2").unwrap()).await, [""; 0]);
    }

    #[tokio::test]
    async fn what_never_was_is_not_resumed() {
        let sessions = Sessions::default();
        let (id, other) = (sessions.open().unwrap(), sessions.open().unwrap());
        let (_log, _events) = sessions.begin(&id).unwrap();

        for event in ["0.1", "1.0", "0", "", "x.0", "0.-1"] {
            assert!(sessions.resume(&id, event).is_none(), "{event}");
        }
        assert!(sessions.resume(&other, "0.0").is_none(), "a stream is of its session");
        assert!(sessions.end(&id) && !sessions.has(&id) && !sessions.end(&id));
        assert!(sessions.begin(&id).is_none());
    }
}
