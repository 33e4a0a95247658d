//! The body of an answer that sends events.
//!
//! Events come from a bounded channel (an actor writes, the client's pace holds it back) or from
//! a stream that is pulled (a backend's events pass through without a task or a channel). Events
//! that are ready at once travel in one chunk; a comment goes out after every `keep_alive` of
//! silence, so that proxies and clients know the stream is alive. The body ends when its source
//! ends; dropping it drops the source.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Event;
use super::encode::{write_event, write_fields};

/// Silence after which a comment is sent: half of the 30 s after which the most impatient proxies
/// in common use cut an idle response.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events are joined to chunks up to this size: more gains nothing (a TLS record and an HTTP/2
/// frame are as large), and an event of at least this size is not copied.
const CHUNK_BYTES: usize = 16 << 10;

/// The comment that keeps a stream alive. The empty line ends the (empty) block for decoders that
/// want one after a comment.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// A `text/event-stream` body.
pub struct Events {
    source: Source,
    /// Pieces of a large event that wait to be sent.
    pieces: VecDeque<Bytes>,
    keep_alive: Duration,
    /// Made when the source first has nothing; many streams end before that.
    timer: Option<Pin<Box<Sleep>>>,
    /// When bytes were handed out last: the timer is moved only when it fires, not per event.
    last_sent: Option<Instant>,
    ended: bool,
}

enum Source {
    Channel(mpsc::Receiver<Event>),
    Stream(Pin<Box<dyn Stream<Item = Event> + Send>>),
}

// === impl Events ===

impl Events {
    /// Sends what arrives in `receiver`, until all its senders are gone.
    #[must_use]
    pub fn channel(receiver: mpsc::Receiver<Event>, keep_alive: Duration) -> Self {
        Self::new(Source::Channel(receiver), keep_alive)
    }

    /// Sends what `stream` yields, until it ends. It is polled only when the client has room; up
    /// to 16 KiB of ready events are taken at once.
    pub fn stream(stream: impl Stream<Item = Event> + Send + 'static, keep_alive: Duration) -> Self {
        Self::new(Source::Stream(Box::pin(stream)), keep_alive)
    }

    fn new(source: Source, keep_alive: Duration) -> Self {
        Self { source, pieces: VecDeque::new(), keep_alive, timer: None, last_sent: None, ended: false }
    }

    /// Returns the events themselves, for who writes them otherwise.
    pub fn into_events(mut self) -> impl Stream<Item = Event> + Send {
        futures_util::stream::poll_fn(move |cx| self.source.poll_event(cx))
    }

    /// Returns the next bytes to send.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(piece));
        }
        let mut chunk = BytesMut::new();
        while !self.ended && chunk.len() < CHUNK_BYTES {
            match self.source.poll_event(cx) {
                Poll::Ready(Some(event)) if event.data.len() >= CHUNK_BYTES && is_one_line(&event.data) => {
                    self.queue_pieces(event, chunk);
                    return Poll::Ready(self.pieces.pop_front().inspect(|_| self.last_sent = Some(Instant::now())));
                }
                Poll::Ready(Some(event)) => write_event(&event, &mut chunk),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        if !chunk.is_empty() {
            self.last_sent = Some(Instant::now());
            return Poll::Ready(Some(chunk.freeze()));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        ready!(self.poll_silence(cx));
        Poll::Ready(Some(COMMENT))
    }

    /// Splits an event with large data into pieces, behind what is already collected.
    fn queue_pieces(&mut self, event: Event, mut head: BytesMut) {
        write_fields(&event, &mut head);
        head.extend_from_slice(b"data: ");
        self.pieces.extend([head.freeze(), event.data, Bytes::from_static(b"\n\n")]);
    }

    /// Is ready when nothing was sent for `keep_alive`.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let due = *self.last_sent.get_or_insert(now) + self.keep_alive;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            let due = self.last_sent.map_or(now, |sent| sent + self.keep_alive);
            if due <= now {
                self.last_sent = Some(now);
                timer.as_mut().reset(now + self.keep_alive);
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Channel(_) => "channel",
            Source::Stream(_) => "stream",
        };
        f.debug_struct("Events").field("source", &source).field("ended", &self.ended).finish_non_exhaustive()
    }
}

// === impl Source ===

impl Source {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self {
            Self::Channel(receiver) => receiver.poll_recv(cx),
            Self::Stream(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

fn is_one_line(data: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', data).is_none()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::sse::encode;

    async fn next(events: &mut Events) -> Option<Bytes> {
        poll_fn(|cx| events.poll_chunk(cx)).await
    }

    #[tokio::test]
    async fn ready_events_share_a_chunk_and_the_body_ends_with_its_senders() {
        let (sender, receiver) = mpsc::channel(4);
        let mut events = Events::channel(receiver, KEEP_ALIVE);
        sender.send(Event::new("1")).await.unwrap();
        sender.send(Event::new("2")).await.unwrap();
        assert_eq!(next(&mut events).await.unwrap(), "data: 1\n\ndata: 2\n\n");

        sender.send(Event::new("3")).await.unwrap();
        drop(sender);
        assert_eq!(next(&mut events).await.unwrap(), "data: 3\n\n");
        assert_eq!(next(&mut events).await, None);
        assert_eq!(next(&mut events).await, None);
    }

    #[tokio::test]
    async fn a_large_event_is_not_copied_and_keeps_its_place() {
        let large = Bytes::from(vec![b'x'; CHUNK_BYTES]);
        let list = vec![Event::new("1"), Event::new(large.clone()), Event::new("2")];
        let expected: Vec<u8> = list.iter().flat_map(encode).collect();
        let mut events = Events::stream(stream::iter(list), KEEP_ALIVE);

        let mut pieces = Vec::new();
        while let Some(piece) = next(&mut events).await {
            pieces.push(piece);
        }
        assert_eq!(pieces.concat(), expected);
        assert!(pieces.iter().any(|piece| piece.as_ptr() == large.as_ptr()));
    }

    #[tokio::test]
    async fn a_large_event_of_many_lines_is_written_line_by_line() {
        let event = Event::new("0123456\n".repeat(CHUNK_BYTES / 8));
        let expected = encode(&event);
        let mut events = Events::stream(stream::iter([event]), KEEP_ALIVE);
        assert_eq!(next(&mut events).await.unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_comments_at_the_keep_alive_interval() {
        let (sender, receiver) = mpsc::channel(4);
        let mut events = Events::channel(receiver, Duration::from_secs(15));
        let start = Instant::now();

        assert_eq!(next(&mut events).await.unwrap(), COMMENT);
        assert_eq!(start.elapsed().as_secs(), 15);
        assert_eq!(next(&mut events).await.unwrap(), COMMENT);
        assert_eq!(start.elapsed().as_secs(), 30);

        // An event moves the next comment.
        tokio::time::advance(Duration::from_secs(10)).await;
        sender.send(Event::new("1")).await.unwrap();
        assert_eq!(next(&mut events).await.unwrap(), "data: 1\n\n");
        assert_eq!(next(&mut events).await.unwrap(), COMMENT);
        assert_eq!(start.elapsed().as_secs(), 55);
    }

    #[tokio::test]
    async fn a_stream_is_pulled_only_as_far_as_a_chunk() {
        let pulled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pulled);
        let endless = stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Event::new(vec![b'x'; 1024])
        });
        let mut events = Events::stream(endless.boxed(), KEEP_ALIVE);

        assert_eq!(pulled.load(Ordering::Relaxed), 0);
        next(&mut events).await.unwrap();
        let taken = pulled.load(Ordering::Relaxed);
        assert!((1..=CHUNK_BYTES / 1024).contains(&taken), "pulled {taken}");
    }

    #[tokio::test]
    async fn dropping_the_body_tells_the_sender() {
        let (sender, receiver) = mpsc::channel(1);
        drop(Events::channel(receiver, KEEP_ALIVE));
        sender.closed().await;
        assert!(sender.send(Event::new("late")).await.is_err());
    }
}
