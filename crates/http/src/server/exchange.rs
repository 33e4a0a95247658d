//! One request on its way through the handler and back.
//!
//! Adapts the handler to hyper's service: checks the head where hyper cannot report or refuse it,
//! counts the request as open from its head to the last byte of its answer, reads what its handler
//! left of its body (see [`super::request`]), and cuts large bodies into pieces on HTTP/2 (see
//! [`super::streams`]). Costs no allocation.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::Activity;
use super::limits::Limits;
use super::request::{RequestBody, Rest};
use super::{Peer, streams};
use crate::body::{ResponseBody, SourceError};
use crate::observe::{Observer, limit};

/// Largest piece of a body given to HTTP/2 at once. h2 takes a whole piece when the client's
/// window has room for one byte, so this bounds what a client that stops reading makes us hold.
const PIECE_BYTES: usize = 64 << 10;

/// Why what a future gives away when it is ready is there.
const READY_ONCE: &str = "hyper drops a future once it is ready";

/// What RFC 9113 §6.5.2 counts for a field beside its name and value.
const H2_FIELD_OVERHEAD: usize = 32;

/// The requests of one connection.
pub(super) struct Exchanges<H> {
    pub(super) handler: H,
    pub(super) peer: Peer,
    pub(super) activity: Arc<Activity>,
    pub(super) limits: Arc<Limits>,
    pub(super) observer: Arc<dyn Observer>,
}

pin_project_lite::pin_project! {
    /// The answer to one request, in the making.
    pub(super) struct Exchange<F> {
        #[pin]
        handling: Handling<F>,
        // The client sends its body only when it is told to.
        waits: bool,
        open: Option<Open>,
    }
}

pin_project_lite::pin_project! {
    #[project = HandlingProjection]
    enum Handling<F> {
        Handler { #[pin] future: F },
        Refused { status: StatusCode },
        Answered { response: Option<Response<ResponseBody>>, rest: Rest },
    }
}

/// The body of an answer, whose end is the end of its request.
pub(super) struct AnswerBody {
    body: ResponseBody,
    /// What is left of a frame that was too large for one piece.
    rest: Bytes,
    open: Open,
}

/// Counts a request as open while it lives.
struct Open(Arc<Activity>);

// === impl Exchanges ===

impl<H, F> hyper::service::Service<Request<Incoming>> for Exchanges<H>
where
    H: Fn(Request<RequestBody>, Peer) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Exchange<F>;

    fn call(&self, request: Request<Incoming>) -> Exchange<F> {
        let count = self.activity.request_began();
        let open = Some(Open(Arc::clone(&self.activity)));
        let waits = request.headers().contains_key(header::EXPECT);
        if self.activity.is_multiplexed() {
            if count == self.limits.streams_per_connection_max {
                self.observer.limit_hit(limit::STREAMS_PER_CONNECTION_MAX);
            }
            if let Some(limit) = head_limit_hit(&request, &self.limits) {
                self.observer.limit_hit(limit);
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Exchange { handling: Handling::Refused { status }, waits, open };
            }
        }
        let request = request.map(|body| RequestBody::new(body, &self.activity));
        Exchange { handling: Handling::Handler { future: (self.handler)(request, self.peer.clone()) }, waits, open }
    }
}

/// Returns the limit that the head of an HTTP/2 request exceeds. For HTTP/1.1 hyper refuses such
/// a head by itself, and its error is reported when the connection ends.
fn head_limit_hit(request: &Request<Incoming>, limits: &Limits) -> Option<&'static str> {
    if request.headers().len() > limits.headers_max {
        return Some(limit::HEADERS_MAX);
    }
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + H2_FIELD_OVERHEAD).sum();
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    (fields + target + authority > limits.header_bytes_max).then_some(limit::HEADER_BYTES_MAX)
}

// === impl Exchange ===

impl<F> Future for Exchange<F>
where
    F: Future<Output = Response<ResponseBody>>,
{
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let activity = &this.open.as_ref().expect(READY_ONCE).0;
        let response = loop {
            match this.handling.as_mut().project() {
                HandlingProjection::Handler { future } => {
                    let mut response = ready!(future.poll(cx));
                    match Rest::of(activity) {
                        None => break response,
                        Some(_) if *this.waits => {
                            activity.rest_ended();
                            say_last(&mut response);
                            break response;
                        }
                        Some(rest) => this.handling.set(Handling::Answered { response: Some(response), rest }),
                    }
                }
                HandlingProjection::Refused { status } => {
                    let mut response = Response::new(ResponseBody::Empty);
                    *response.status_mut() = *status;
                    break response;
                }
                HandlingProjection::Answered { response, rest } => {
                    let can_go_on = ready!(rest.poll(cx, activity));
                    let mut response = response.take().expect(READY_ONCE);
                    if !can_go_on {
                        say_last(&mut response);
                    }
                    break response;
                }
            }
        };
        let open = this.open.take().expect(READY_ONCE);
        if open.0.is_multiplexed() {
            streams::handed_out();
        }
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, rest: Bytes::new(), open })))
    }
}

/// Tells the client, and hyper, that the connection ends with this answer.
fn say_last(response: &mut Response<ResponseBody>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

// === impl AnswerBody ===

impl AnswerBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        if self.rest.is_empty() {
            streams::asked();
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        streams::handed_out();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        let this = self.get_mut();
        if this.open.0.is_multiplexed() { this.poll_piece(cx) } else { Pin::new(&mut this.body).poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked once, before the first frame, when there is no rest.
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}
