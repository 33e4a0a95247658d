//! The events of one response body, and when bytes of it last arrived.
//!
//! Silence is measured on bytes, not on events: a server that works long sends comments to keep
//! the connection open, and they must count as life although they are no events.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use quorate_http::client::{self, Broken};
use quorate_http::sse::{Event, EventStream, StreamError};
use tokio::time::Instant;

use super::error::{Error, chain};

/// The events of one response.
pub(super) struct Events {
    stream: EventStream<Watched>,
    /// The event that the stream was asked to go on after, until another one has come.
    had: Option<String>,
    began: Instant,
    activity_ms: Arc<AtomicU64>,
}

/// A body that notes when it gave something.
struct Watched {
    body: client::Body,
    began: Instant,
    activity_ms: Arc<AtomicU64>,
}

// === impl Events ===

impl Events {
    pub(super) fn new(body: client::Body, event_bytes_max: usize) -> Self {
        let (began, activity_ms) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let watched = Watched { body, began, activity_ms: Arc::clone(&activity_ms) };
        Self { stream: EventStream::new(watched, event_bytes_max), had: None, began, activity_ms }
    }

    /// Says which event the stream was asked to go on after. Servers that begin with that one are not rare, and who has an
    /// event must not get it again.
    pub(super) fn gone_on_after(mut self, had: &str) -> Self {
        self.had = Some(had.to_owned());
        self
    }

    /// Returns the next event, none at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            return match self.stream.next().await {
                None => Ok(None),
                Some(Ok(event)) if self.is_had(&event) => continue,
                Some(Ok(event)) => {
                    self.had = None;
                    Ok(Some(event))
                }
                Some(Err(StreamError::TooLarge(too_large))) => Err(Error::TooLarge { max: too_large.max }),
                Some(Err(StreamError::Broken(error))) => Err(Error::Broken { reason: chain(&error) }),
            };
        }
    }

    fn is_had(&self, event: &Event) -> bool {
        self.had.is_some() && event.id.as_ref().map(quorate_http::sse::Line::as_str) == self.had.as_deref()
    }

    /// Returns when bytes last arrived.
    pub(super) fn last_activity(&self) -> Instant {
        self.began + Duration::from_millis(self.activity_ms.load(Ordering::Relaxed))
    }

    /// Returns the id to resume after; events without data move it too.
    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.stream.last_event_id().map(quorate_http::sse::Line::as_str)
    }

    /// Returns the reconnection time that the server asked for.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.stream.retry()
    }
}

// === impl Watched ===

impl Body for Watched {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.activity_ms.store(elapsed, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
