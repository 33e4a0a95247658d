//! Reads the events of a body, for example of a backend's answer.
//!
//! Pull-based: the body is read only when the next event is asked for and none is buffered, so
//! that whoever does not read holds the backend back. The stream ends with the body or with its
//! first error; a block that was cut is discarded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body;

use super::decode::{Decoder, EventTooLarge};
use super::{Event, Line};

pin_project_lite::pin_project! {
    /// The events of one body.
    #[derive(Debug)]
    pub struct EventStream<B> {
        #[pin]
        body: B,
        decoder: Decoder,
        ended: bool,
    }
}

/// The events cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E: std::error::Error + 'static> {
    /// One event is too large.
    #[error(transparent)]
    TooLarge(#[from] EventTooLarge),
    /// The body broke.
    #[error("the event stream broke")]
    Broken(#[source] E),
}

// === impl EventStream ===

impl<B> EventStream<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + 'static,
{
    /// Reads `body`; an event may have up to `event_bytes_max` bytes.
    pub fn new(body: B, event_bytes_max: usize) -> Self {
        Self { body, decoder: Decoder::new(event_bytes_max), ended: false }
    }

    /// Returns the next event, or `None` after the end. Cancel-safe: nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// [`StreamError`] once; the stream has ended then.
    #[expect(clippy::should_implement_trait, reason = "the usual name of an async iterator's method")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Event, StreamError<B::Error>>>> + '_
    where
        B: Unpin,
    {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_event(cx))
    }

    /// Returns the id to present when resuming; see [`Decoder::last_event_id`].
    pub fn last_event_id(&self) -> Option<&Line> {
        self.decoder.last_event_id()
    }

    /// Returns the reconnection time that the stream asked for last.
    pub fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }

    fn poll_event(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, StreamError<B::Error>>>> {
        let mut this = self.project();
        while !*this.ended {
            match this.decoder.next_event() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => {
                    *this.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            match ready!(this.body.as_mut().poll_frame(cx)) {
                None => *this.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.decoder.feed(data);
                    }
                }
                Some(Err(error)) => {
                    *this.ended = true;
                    return Poll::Ready(Some(Err(StreamError::Broken(error))));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<B> Stream for EventStream<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + 'static,
{
    type Item = Result<Event, StreamError<B::Error>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    type Part = Result<Frame<Bytes>, std::io::Error>;

    fn data(text: &'static str) -> Part {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    fn events(parts: Vec<Part>, max: usize) -> EventStream<impl Body<Data = Bytes, Error = std::io::Error> + Unpin> {
        EventStream::new(StreamBody::new(futures_util::stream::iter(parts)), max)
    }

    #[tokio::test]
    async fn events_come_in_order_and_a_cut_block_is_discarded() {
        let mut events =
            events(vec![data("id: 1\nda"), data("ta: a\n\ndata: b\n"), data("\nretry: 7\n\ndata: c\n")], 100);
        assert_eq!(events.next().await.unwrap().unwrap().data, "a");
        assert_eq!(events.next().await.unwrap().unwrap().data, "b");
        assert!(events.next().await.is_none());
        assert!(events.next().await.is_none());
        assert_eq!(events.last_event_id().map(Line::as_str), Some("1"));
        assert_eq!(events.retry(), Some(Duration::from_millis(7)));
    }

    #[tokio::test]
    async fn the_first_error_is_the_end() {
        let mut broken =
            events(vec![data("data: a\n\n"), Err(std::io::Error::other("reset")), data("data: b\n\n")], 100);
        assert_eq!(broken.next().await.unwrap().unwrap().data, "a");
        assert!(matches!(broken.next().await, Some(Err(StreamError::Broken(_)))));
        assert!(broken.next().await.is_none());

        let mut large = events(vec![data("data: 0123456789\n\n"), data("data: b\n\n")], 10);
        assert!(matches!(large.next().await, Some(Err(StreamError::TooLarge(EventTooLarge { max: 10 })))));
        assert!(large.next().await.is_none());
    }
}
