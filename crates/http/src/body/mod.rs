//! What an answer's body is made of.
//!
//! [`ResponseBody`] is an enum, so that the usual bodies (bytes that are there, a stream of
//! events) cost no box and no virtual call per frame; anything else is boxed. A body is pulled by
//! the connection: dropping it drops its source, which is how a source learns that the client is
//! gone.

mod collect;

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub use self::collect::{BodyError, collect};
use crate::sse::Events;

/// The body of an answer.
#[derive(Debug, Default)]
pub enum ResponseBody {
    /// No content.
    #[default]
    Empty,
    /// Bytes that are there; sent with a `Content-Length`.
    Full(Bytes),
    /// A `text/event-stream` with keep-alive comments.
    Events(Events),
    /// Any other body, for example one passed through from a backend.
    Boxed(BoxBody),
}

/// A boxed body with its errors erased; made by [`ResponseBody::boxed`].
pub struct BoxBody(Pin<Box<dyn Body<Data = Bytes, Error = SourceError> + Send>>);

/// The source of a boxed body failed; the connection cuts the answer short.
#[derive(Debug, thiserror::Error)]
#[error("the source of the body failed")]
pub struct SourceError(#[source] Box<dyn std::error::Error + Send + Sync>);

// === impl ResponseBody ===

impl ResponseBody {
    /// Boxes any body; an error of it cuts the answer short, so that the client notices.
    pub fn boxed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = http_body_util::BodyExt::map_err(body, |error| SourceError(error.into()));
        Self::Boxed(BoxBody(Box::pin(body)))
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

impl From<Events> for ResponseBody {
    fn from(events: Events) -> Self {
        Self::Events(events)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Events(events) => events.poll_chunk(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Boxed(body) => body.0.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Events(_) => false,
            Self::Boxed(body) => body.0.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
            Self::Boxed(body) => body.0.size_hint(),
        }
    }
}

// === impl BoxBody ===

impl fmt::Debug for BoxBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxBody").field(&self.0.size_hint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test]
    async fn bytes_are_one_frame_with_a_known_length() {
        let mut body = ResponseBody::from(Bytes::from_static(b"four"));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());

        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, "four");
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
        assert!(ResponseBody::Empty.is_end_stream());
        assert!(ResponseBody::from(Bytes::new()).frame().await.is_none());
    }

    #[tokio::test]
    async fn a_boxed_body_passes_frames_and_keeps_the_cause_of_its_failure() {
        let frames = futures_util::stream::iter([
            Ok(Frame::data(Bytes::from_static(b"one"))),
            Err(std::io::Error::other("backend went away")),
        ]);
        let mut body = ResponseBody::boxed(StreamBody::new(frames.boxed()));

        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        let error = body.frame().await.unwrap().unwrap_err();
        let cause = std::error::Error::source(&error).expect("the cause is kept");
        assert_eq!(cause.to_string(), "backend went away");
    }
}
