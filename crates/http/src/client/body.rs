//! The body of an answer, whichever kind of connection it comes over.
//!
//! In flow the frames of a connection of the pool, or of one that holds no buffers; out flow the same frames, and one kind
//! of error.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::slim;

/// The body of an answer, to be pulled. Dropping it before its end gives the rest up: HTTP/2 resets the stream,
/// HTTP/1.1 closes the connection.
pub struct Body {
    kind: Kind,
}

/// The rest of a body cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Broken(Box<dyn std::error::Error + Send + Sync>);

enum Kind {
    Full(Option<Bytes>),
    Pool(Incoming),
    Slim(slim::Body),
}

// === impl Body ===

impl Body {
    /// Makes one of bytes that are there: for whoever goes on with an answer that has come already.
    #[must_use]
    pub const fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(Some(bytes)) }
    }

    pub(super) const fn of_pool(body: Incoming) -> Self {
        Self { kind: Kind::Pool(body) }
    }

    pub(super) const fn of_slim(body: slim::Body) -> Self {
        Self { kind: Kind::Slim(body) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Pool(body) => Pin::new(body).poll_frame(cx).map_err(|error| Broken(error.into())),
            Kind::Slim(body) => Pin::new(body).poll_frame(cx).map_err(Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Pool(body) => body.is_end_stream(),
            Kind::Slim(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Pool(body) => body.size_hint(),
            Kind::Slim(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
