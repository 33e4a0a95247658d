//! The way of a call to its service: which method, who calls, may it, until when; and the record of it.
//!
//! ```text
//! request ─▶ row of the table ─▶ certificate still trusted? ─▶ may it? ─▶ deadline, bytes ─▶ service ─▶ record ─▶ answer
//! ```
//!
//! A call that changes something runs to its end also when its caller leaves, because what it began is done and has to be
//! recorded. Calls that were refused are recorded too, at the rates of the audit log. Unknown here: sockets, and what
//! services do.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::HeaderName;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::bodies::{Budget, Counted, Share};
use super::caller::{Caller, Note};
use super::errors;
use super::node::{Node, Standing};
use super::record::{self, Origin};
use super::roles::{self, Access, CALL_PATIENCE, LONG_PATIENCE, Method, Pace};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Takes calls to their services; cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    node: Node,
    routes: Routes,
    budget: Budget,
}

/// A connection, as its calls see it.
pub(crate) struct Connection {
    pub(crate) caller: Caller,
    pub(crate) origin: Origin,
    pub(crate) busy: Arc<Busy>,
}

/// How many calls of a connection are open, since when there are none, and until when those that are may be.
pub(crate) struct Busy {
    open: AtomicUsize,
    since: Mutex<Instant>,
    /// The ends of answers, each with a number of its own.
    ends: Mutex<BTreeSet<(Instant, usize)>>,
    next: AtomicUsize,
}

/// A call that is open.
struct Open {
    busy: Arc<Busy>,
    end: Option<(Instant, usize)>,
}

/// The body of an answer: it ends when the time is up, and keeps its connection busy until then.
struct Answer {
    body: Body,
    until: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    _open: Open,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(node: Node, routes: Routes) -> Self {
        Self { node, routes: routes.prepare(), budget: Budget::new() }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Answers a call.
    pub(crate) async fn answer(self, connection: Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
        let open = Busy::enter(&connection.busy);
        let Some(method) = roles::method(request.uri().path()) else {
            let message = format!("{:.120} is not served here", request.uri().path());
            return errors::error(Code::Unimplemented, "NO_METHOD", message).into_http();
        };
        if let Err(status) = roles::permit(&connection.caller, method, &self.cluster()) {
            record::refused(self.node.audit(), &connection.caller, &connection.origin, method, &status);
            return status.into_http();
        }
        let until = match patience(request.headers(), method.pace, longest(method)) {
            // What a clock cannot count to never comes.
            Ok(patience) => patience.and_then(|patience| Instant::now().checked_add(patience)),
            Err(status) => return status.into_http(),
        };
        let share = Share::default();
        let request = request.map(|body| self.budget.count(method, body, &share));
        if method.changes {
            // Not a part of the connection: what was begun is recorded whoever leaves.
            let (gate, at, held) = (self.clone(), Arc::clone(&connection), share.clone());
            let running = tokio::spawn(async move {
                let response = gate.run_recorded(&at, method, request, until).await;
                drop(held);
                response
            });
            return match running.await {
                Ok(response) => over(response, until, open),
                Err(_ended) => panicked().into_http(),
            };
        }
        // What a request holds is given back with its answer's beginning: the service has taken what it needs by then.
        let response = self.run(&connection, Note::default(), method, request, until).await;
        drop(share);
        over(response, until, open)
    }

    async fn run_recorded(
        &self,
        connection: &Connection,
        method: &'static Method,
        request: Request<Counted<Incoming>>,
        until: Option<Instant>,
    ) -> Response<Body> {
        let note = Note::default();
        // What a call did before it panicked is there: it is recorded like all others.
        let running = AssertUnwindSafe(self.run(connection, note.clone(), method, request, until)).catch_unwind();
        let response = running.await.unwrap_or_else(|_panicked| panicked().into_http());
        if let Some(noted) = note.read() {
            let status = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
            let (audit, caller) = (self.node.audit(), &connection.caller);
            record::changed(audit, caller, &connection.origin, method, noted, status.as_ref());
        }
        response
    }

    /// Has the service answer, in time.
    async fn run(
        &self,
        connection: &Connection,
        note: Note,
        method: &Method,
        mut request: Request<Counted<Incoming>>,
        until: Option<Instant>,
    ) -> Response<Body> {
        request.extensions_mut().insert(connection.caller.clone());
        request.extensions_mut().insert(note);
        let mut routes = self.routes.clone();
        let answering = routes.call(request);
        let answered = match until {
            Some(until) => tokio::time::timeout_at(until, answering).await,
            None => Ok(answering.await),
        };
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(infallible)) => {
                let never: Infallible = infallible;
                match never {}
            }
            Err(_elapsed) => late(method.changes).into_http(),
        }
    }

    fn cluster(&self) -> String {
        match self.node.standing() {
            Standing::Member(member) => member.trust().cluster().to_string(),
            Standing::Waiting(_) | Standing::Alone => String::new(),
        }
    }
}

fn panicked() -> Status {
    errors::error(Code::Internal, "PANIC", "the node failed to do it: see its log")
}

fn late(changes: bool) -> Status {
    let message = match changes {
        true => "the time is up, and it is not known whether it was done: look before doing it again",
        false => "the time is up",
    };
    errors::error(Code::DeadlineExceeded, "DEADLINE", message)
}

fn over(response: Response<Body>, until: Option<Instant>, mut open: Open) -> Response<Body> {
    open.ends_at(until);
    let until = until.map(|until| Box::pin(tokio::time::sleep_until(until)));
    response.map(|body| Body::new(Answer { body, until, is_over: false, _open: open }))
}

/// How long a call may run whose caller says so: those of strangers no longer than they would by themselves.
fn longest(method: &Method) -> Duration {
    if matches!(method.access, Access::Anyone) { CALL_PATIENCE } else { LONG_PATIENCE }
}

/// How long a call may run: as its caller says, else as its pace says. Nobody waits longer than the longest for one answer.
fn patience(headers: &HeaderMap, pace: Pace, longest: Duration) -> Result<Option<Duration>, Status> {
    let asked = match headers.get(TIMEOUT) {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(timeout).ok_or_else(|| {
            errors::invalid("grpc-timeout", format_args!("{value:?}"), "1 to 8 digits and one of `HMSmun`")
        })?),
    };
    Ok(match pace {
        Pace::Call => Some(asked.map_or(CALL_PATIENCE, |asked| asked.min(longest))),
        Pace::Long => Some(asked.map_or(LONG_PATIENCE, |asked| asked.min(LONG_PATIENCE))),
        Pace::Watch => asked,
    })
}

/// Reads a timeout as gRPC writes it (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

// === impl Busy ===

impl Busy {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
            ends: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    fn enter(busy: &Arc<Self>) -> Open {
        busy.open.fetch_add(1, Ordering::SeqCst);
        Open { busy: Arc::clone(busy), end: None }
    }

    /// For how long an answer is there whose time is up. An answer ends itself when its time is up, unless nobody reads it:
    /// then nothing is asked for its next part.
    pub(crate) fn overdue(&self) -> Duration {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.first().map_or(Duration::ZERO, |(end, _)| Instant::now().saturating_duration_since(*end))
    }

    /// How long no call has been open.
    pub(crate) fn idle(&self) -> Duration {
        if self.open.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

// === impl Open ===

impl Open {
    fn ends_at(&mut self, end: Option<Instant>) {
        self.end = end.map(|end| (end, self.busy.next.fetch_add(1, Ordering::Relaxed)));
        if let Some(end) = self.end {
            self.busy.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(end);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            self.busy.ends.lock().unwrap_or_else(PoisonError::into_inner).remove(&end);
        }
        *self.busy.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.busy.open.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let answer = self.get_mut();
        if answer.is_over {
            return Poll::Ready(None);
        }
        // The time first: a body that always has more would never let it be looked at.
        if answer.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            answer.is_over = true;
            let mut trailers = HeaderMap::new();
            let told = late(false).add_header(&mut trailers);
            return Poll::Ready(told.is_ok().then(|| Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut answer.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("2M", Some(Duration::from_secs(120))),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("-1S", None),
            ("1.5S", None),
            ("1s", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timeout(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_call_without_a_timeout_has_one_and_a_long_one_is_cut_to_the_longest() {
        let patience = |text: Option<&str>, pace| {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(TIMEOUT, text.parse().expect("it is a header"));
            }
            patience(&headers, pace, LONG_PATIENCE)
        };

        assert_eq!(patience(None, Pace::Call).expect("none is taken"), Some(CALL_PATIENCE));
        assert_eq!(patience(None, Pace::Long).expect("none is taken"), Some(LONG_PATIENCE));
        assert_eq!(patience(None, Pace::Watch).expect("none is taken"), None);
        assert_eq!(patience(Some("5S"), Pace::Call).expect("it is one"), Some(Duration::from_secs(5)));
        assert_eq!(patience(Some("90H"), Pace::Call).expect("it is one"), Some(LONG_PATIENCE));
        assert_eq!(patience(Some("90H"), Pace::Watch).expect("it is one"), Some(Duration::from_secs(90 * 3600)));
        assert_eq!(patience(Some("soon"), Pace::Call).expect_err("it is none").code(), Code::InvalidArgument);
    }

    #[test]
    fn a_stranger_has_the_time_that_a_call_has_by_itself_and_no_more() {
        let headers = HeaderMap::from_iter([(TIMEOUT, http::HeaderValue::from_static("90H"))]);
        for method in roles::METHODS {
            let is_open = method.access == Access::Anyone;
            assert_eq!(longest(method), if is_open { CALL_PATIENCE } else { LONG_PATIENCE }, "{}", method.path);
        }
        assert_eq!(patience(&headers, Pace::Call, CALL_PATIENCE).expect("it is one"), Some(CALL_PATIENCE));
    }
}
