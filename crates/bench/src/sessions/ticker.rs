//! A tool server whose one tool tells of progress, event after event, each with an id that the rest can be asked for with.
//!
//! What an id says is all that the rest needs, so that the server keeps nothing: a stream goes on from an id whoever asks. In
//! each event is when it was due, so that whoever reads it knows how late it is; clocks of one machine agree.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::message::{JSON, LEGACY, SESSION};

/// The tool.
pub(super) const TOOL: &str = "tick";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Largest request that is read: 64 KiB.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds after which it ends in any case.
    #[arg(long, default_value_t = 7200)]
    seconds_max: u64,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The members of a request that are looked at.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    arguments: Option<Arguments>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
struct Arguments {
    /// Microseconds between two events; 0 is as fast as they are taken.
    #[serde(default)]
    every_us: u64,
    /// None are an answer alone.
    #[serde(default)]
    events: u64,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

/// A call, and which event of it came last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticks {
    began_us: u64,
    every_us: u64,
    events: u64,
    last: u64,
    /// JSON.
    id: String,
    /// JSON.
    token: String,
}

// === impl Ticks ===

impl Ticks {
    /// What stands in the id of the latest event.
    fn to_id(&self) -> String {
        let Self { began_us, every_us, events, last, id, token } = self;
        format!("{began_us}|{every_us}|{events}|{last}|{id}|{token}")
    }

    fn of_id(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, '|');
        let mut number = || parts.next()?.parse().ok();
        let (began_us, every_us, events, last) = (number()?, number()?, number()?, number()?);
        let (id, token) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { began_us, every_us, events, last, id, token })
    }

    /// The next event, when it is due; none behind the answer.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        if self.last > self.events {
            return None;
        }
        self.last += 1;
        let due = self.began_us + self.last * self.every_us;
        let now = now_us();
        if due > now && self.every_us > 0 {
            tokio::time::sleep(Duration::from_micros(due - now)).await;
        }
        let due = if self.every_us == 0 { now } else { due };
        let data = match self.last > self.events {
            true => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[],\"isError\":false}}}}", self.id)
            }
            false => format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{},\
                 \"progress\":{},\"message\":\"{due}\"}}}}",
                self.token, self.last
            ),
        };
        let event = format!("id: {}\ndata: {data}\n\n", self.to_id());
        Some((Ok(Frame::data(event.into())), self))
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(StreamBody::new(stream::unfold(self, Self::next)).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
    }
}

/// Runs the process; its URL is the first line on the standard output.
///
/// # Errors
/// When there is no port.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
    crate::load::say(&format!("http://{}/mcp", listener.local_addr()?))?;
    tokio::select! {
        served = serve(listener) => served?,
        () = parent_is_gone() => {}
        () = tokio::time::sleep(Duration::from_secs(args.seconds_max)) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn parent_is_gone() {
    let mut ignored = [0];
    while matches!(tokio::io::stdin().read(&mut ignored).await, Ok(read) if read > 0) {}
}

async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
            let serving =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // Who leaves early has nothing to hear.
            let _left = serving.await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => {}
        Method::DELETE => return status(StatusCode::OK),
        Method::GET => {
            let last = head.headers.get(LAST_EVENT_ID).and_then(|id| Ticks::of_id(id.to_str().ok()?));
            return last.map_or_else(|| status(StatusCode::METHOD_NOT_ALLOWED), Ticks::into_response);
        }
        _ => return status(StatusCode::METHOD_NOT_ALLOWED),
    }
    let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else { return status(StatusCode::BAD_REQUEST) };
    let Some(id) = message.id.map(RawValue::get) else { return status(StatusCode::ACCEPTED) };
    let (arguments, token) = match &message.params {
        Some(params) => (params.arguments, params.meta.as_ref().and_then(|meta| meta.token)),
        None => (None, None),
    };
    match (&*message.method, arguments) {
        ("initialize", _) => {
            static SESSIONS: AtomicU64 = AtomicU64::new(1);
            let mut response = result(
                id,
                &format!(
                    "\"protocolVersion\":\"{LEGACY}\",\"capabilities\":{{\"tools\":{{}}}},\
                     \"serverInfo\":{{\"name\":\"ticker\",\"version\":\"1\"}}"
                ),
            );
            let session = format!("ticker-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
            let session = HeaderValue::try_from(session).expect("letters and digits are a header's value");
            response.headers_mut().insert(SESSION, session);
            response
        }
        ("tools/list", _) => {
            result(id, &format!("\"tools\":[{{\"name\":\"{TOOL}\",\"inputSchema\":{{\"type\":\"object\"}}}}]"))
        }
        ("tools/call", Some(Arguments { every_us, events })) if events > 0 => {
            let token = token.map_or("0", RawValue::get).to_owned();
            Ticks { began_us: now_us(), every_us, events, last: 0, id: id.to_owned(), token }.into_response()
        }
        ("tools/call", _) => result(id, "\"content\":[],\"isError\":false"),
        ("ping", _) => result(id, ""),
        _ => {
            let error = "{\"code\":-32601,\"message\":\"no such method\"}";
            json(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}"))
        }
    }
}

/// The present, in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn result(id: &str, members: &str) -> Response<Body> {
    json(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{members}}}}}"))
}

fn json(body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_all_that_the_rest_needs() {
        let ticks = Ticks { began_us: 5, every_us: 7, events: 9, last: 3, id: "12".to_owned(), token: "4".to_owned() };

        assert_eq!(Ticks::of_id(&ticks.to_id()), Some(ticks));
        for text in ["", "1|2|3", "a|2|3|4|5|6", "1|2|3|4"] {
            assert_eq!(Ticks::of_id(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn events_come_in_their_order_and_the_answer_last() {
        let ticks = Ticks { began_us: 0, every_us: 0, events: 2, last: 0, id: "7".to_owned(), token: "1".to_owned() };
        let body = ticks.into_response().into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();

        assert_eq!(events.len(), 3);
        assert!(events[0].contains("\"progress\":1") && events[1].contains("\"progress\":2"), "{text}");
        assert!(events[2].contains("\"id\":7,\"result\""), "{text}");
    }
}
