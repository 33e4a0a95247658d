//! Reads a whole body into memory, within a size and a time.
//!
//! Works for requests (the gateway answers 413 and 408) and for backends' answers alike. A body
//! that arrives as one frame is returned without a copy, and no timer is made for one that is
//! already there.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use crate::observe::limit;

/// Bytes that a second frame makes room for at once; more is reserved as more arrives, so that a
/// `Content-Length` alone cannot make us allocate.
const RESERVE_BYTES_MAX: u64 = 64 << 10;

/// A body could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed (413 for a request); nothing more of it is read.
    #[error("the body has more than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It did not arrive in time (408 for a request).
    #[error("the body did not arrive within {}", quorate_types::units::format_duration(*timeout))]
    Timeout {
        /// The time it had.
        timeout: Duration,
    },
    /// The sender stopped before the end, or broke the framing.
    #[error("the body ended early")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

// === impl BodyError ===

impl BodyError {
    /// Returns the name of the limit that was hit, if it was one.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some(limit::BODY_BYTES_MAX),
            Self::Timeout { .. } => Some(limit::BODY_TIMEOUT),
            Self::Broken(_) => None,
        }
    }
}

/// Reads `body` to its end: at most `bytes_max` bytes, within `timeout` from now.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as the declared or actual length exceeds `bytes_max`,
/// [`BodyError::Timeout`] when the end has not come in time, [`BodyError::Broken`] when the
/// sender failed.
pub async fn collect<B>(body: B, bytes_max: usize, timeout: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge { max: bytes_max });
    }
    let mut reading = pin!(read(body, bytes_max));
    // Most bodies arrived together with their head: the first poll finds all of it.
    let first = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(result) => result,
        Poll::Pending => tokio::time::timeout(timeout, reading).await.unwrap_or(Err(BodyError::Timeout { timeout })),
    }
}

async fn read<B>(body: B, bytes_max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers carry nothing that anybody here reads.
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(BodyError::TooLarge { max: bytes_max });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            let more = body.size_hint().lower().min(RESERVE_BYTES_MAX);
            rest.reserve(first.len() + data.len() + usize::try_from(more).unwrap_or(0));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn chunks(parts: &[&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + use<> {
        let frames: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let bytes = Bytes::from(vec![7_u8; 100]);
        let start = bytes.as_ptr();
        let collected = collect(Full::new(bytes), 100, LONG).await.unwrap();
        assert_eq!(collected.as_ptr(), start);
        assert_eq!(collected.len(), 100);
    }

    #[tokio::test]
    async fn frames_are_joined_up_to_exactly_the_limit() {
        for (parts, max, expected) in [
            (&["ab", "", "cd", "e"][..], 5, Some("abcde")),
            (&["ab", "cd", "e"][..], 4, None),
            (&["", ""][..], 0, Some("")),
            (&[][..], 0, Some("")),
            (&["a"][..], 0, None),
        ] {
            match (collect(chunks(parts), max, LONG).await, expected) {
                (Ok(bytes), Some(expected)) => assert_eq!(bytes, expected),
                (Err(error @ BodyError::TooLarge { max: said }), None) => {
                    assert_eq!(said, max);
                    assert_eq!(error.limit(), Some("body_bytes_max"));
                }
                (other, expected) => panic!("{parts:?} gave {other:?}, expected {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_before_reading() {
        let error = collect(Full::new(Bytes::from_static(b"12345")), 4, LONG).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { max: 4 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_times_out() {
        let frames = stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x")))]);
        let body = StreamBody::new(frames.chain(stream::pending()));
        let error = collect(body, 10, Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.to_string(), "the body did not arrive within 30s");
    }

    #[tokio::test]
    async fn a_broken_sender_is_told_apart_from_a_limit() {
        let frames = stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("reset"))]);
        let error = collect(StreamBody::new(frames), 10, LONG).await.unwrap_err();
        assert!(matches!(error, BodyError::Broken(_)));
        assert_eq!(error.limit(), None);
    }
}
