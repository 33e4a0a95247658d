//! The body of a request, and what becomes of it when its handler does not read it.
//!
//! An HTTP/1.1 connection can go on only behind the last byte of a body. hyper closes a connection
//! whose body is dropped before that, without having told the client, whose next request then fails
//! on it: a caller who was refused before its body was read (401, 403, 404) sends one more request
//! in vain. So what a handler leaves comes back to the connection, which reads a [`Rest`] that is
//! small and near, and says `Connection: close` about any other.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::Activity;

/// Largest rest of a body that is read for nobody: most requests as a whole. A larger one costs the client a new
/// connection, and us no more than this.
const REST_BYTES_MAX: u64 = 64 << 10;

/// The body of a request, as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    /// None once it ended or failed.
    body: Option<Incoming>,
    /// Who takes what is left of it; on HTTP/2 a stream ends alone.
    activity: Option<Arc<Activity>>,
}

/// What a handler left unread of the body of its request.
pub(super) struct Rest {
    body: Incoming,
    bytes_left: u64,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        let activity = (!activity.is_multiplexed()).then(|| Arc::clone(activity));
        Self { body: Some(body), activity }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity
            && let Some(body) = self.body.take()
            && !body.is_end_stream()
        {
            activity.leave_rest(body);
        }
    }
}

// === impl Rest ===

impl Rest {
    /// Takes what the handler of the open request left, if it left anything.
    pub(super) fn of(activity: &Activity) -> Option<Self> {
        activity.take_rest().map(|body| Self { body, bytes_left: REST_BYTES_MAX })
    }

    /// Throws away what arrives. Ready with whether the connection can go on behind it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, activity: &Activity) -> Poll<bool> {
        let can_go_on = loop {
            if activity.is_rest_given_up() || self.body.size_hint().lower() > self.bytes_left {
                break false;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match self.bytes_left.checked_sub(bytes) {
                        Some(left) => self.bytes_left = left,
                        None => break false,
                    }
                }
            }
        };
        activity.rest_ended();
        Poll::Ready(can_go_on)
    }
}
