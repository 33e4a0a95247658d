//! A scripted HTTP/1.1 server on a raw socket, and shorthands for what it answers.
//!
//! Every connection serves one request: the handler sees it and returns the steps to take. What
//! was asked is recorded, so that a test can look at it afterwards.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_http::client::{Client, DEFAULTS as CLIENT_DEFAULTS};
use quorate_jsonrpc::{Frame, Limits as FrameLimits};
use quorate_runtime::upstream::endpoint::DEFAULTS;
use quorate_runtime::upstream::{Endpoint, Limits};
use quorate_tls::{ClientOptions, ClientTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

/// What a server does with a connection, in order; at the end it closes.
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Sends these bytes over and over.
    Repeat(Bytes),
    /// Sends what is pushed, until the empty text is.
    Follow(broadcast::Receiver<String>),
    /// Keeps the connection open and says nothing more.
    Hang,
}

/// A server that does the same on every request.
pub(crate) type Script = fn() -> Vec<Step>;

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A scripted server; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: AbortHandle,
}

// === impl Server ===

impl Server {
    /// Starts a server; `handler` gets each request and how many came before it.
    pub(crate) async fn start(handler: impl Fn(&Seen, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, record) = (Arc::new(handler), Arc::clone(&seen));
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&handler), Arc::clone(&record)));
            }
        });
        Self { address, seen, accepting: accepting.abort_handle() }
    }

    /// Starts a server that does the same on every request.
    pub(crate) async fn always(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start(move |_, _| steps()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Makes an endpoint of the server with limits that suit a test.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint_with(limits())
    }

    pub(crate) fn endpoint_with(&self, limits: Limits) -> Endpoint {
        endpoint(&self.url(), limits)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the method of the JSON-RPC message.
    pub(crate) fn rpc(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["method"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the id of the JSON-RPC message, raw.
    pub(crate) fn id(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["id"].to_string()
    }
}

/// Limits for tests: long enough for a loaded machine, where nothing waits for them to pass.
pub(crate) fn limits() -> Limits {
    Limits { resume_delay: Duration::from_millis(5), shared_stall: Duration::from_millis(200), ..DEFAULTS }
}

/// Limits whose times pass soon, for servers that never end; a loaded machine still answers within
/// the total.
pub(crate) fn impatient() -> Limits {
    Limits { idle: Duration::from_millis(150), total: Duration::from_secs(2), ..limits() }
}

pub(crate) fn endpoint(url: &str, limits: Limits) -> Endpoint {
    Endpoint::http(url, http_client(), HeaderMap::new(), limits).unwrap()
}

pub(crate) fn http_client() -> Client {
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).unwrap();
    Client::new(&CLIENT_DEFAULTS, tls)
}

/// Answers with a status and a body of a type.
pub(crate) fn reply(status: u16, headers: &str, body: &str) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    vec![Step::Send(Bytes::from(head + body))]
}

pub(crate) fn json(status: u16, body: &str) -> Vec<Step> {
    reply(status, "content-type: application/json\r\n", body)
}

/// Answers with an event stream that ends after `events`.
pub(crate) fn events(events: &str) -> Vec<Step> {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
    vec![Step::Send(Bytes::from(format!("{head}{events}")))]
}

/// Answers with an event stream and then takes another step.
pub(crate) fn events_then(text: &str, step: Step) -> Vec<Step> {
    let mut steps = events(text);
    steps.push(step);
    steps
}

/// Answers `initialize` as a legacy server of the newest revision, with a session id.
pub(crate) fn initialized(session: &str) -> Vec<Step> {
    let body = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"t","version":"1"},"instructions":"be \"kind\""}}"#;
    reply(200, &format!("content-type: application/json\r\nmcp-session-id: {session}\r\n"), body)
}

/// Writes a `data` event of a JSON-RPC result for the id.
pub(crate) fn result_event(id: &str) -> String {
    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n")
}

pub(crate) fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::from(text.to_owned()), &FrameLimits::ANSWER).unwrap()
}

/// Makes a request frame.
pub(crate) fn request(id: u64, method: &str) -> Frame {
    frame(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{}}}}"))
}

/// Waits until `condition` holds, for at most ten seconds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain until {what}");
}

async fn serve(
    mut socket: TcpStream,
    handler: Arc<impl Fn(&Seen, usize) -> Vec<Step>>,
    record: Arc<Mutex<Vec<Seen>>>,
) -> Option<()> {
    let seen = read_request(&mut socket).await?;
    let before = {
        let mut record = record.lock().unwrap();
        record.push(seen.clone());
        record.len() - 1
    };
    for step in handler(&seen, before) {
        match step {
            Step::Send(bytes) => socket.write_all(&bytes).await.ok()?,
            Step::Repeat(bytes) => loop {
                socket.write_all(&bytes).await.ok()?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            },
            Step::Follow(mut pushed) => loop {
                let text = pushed.recv().await.ok()?;
                if text.is_empty() {
                    break;
                }
                socket.write_all(text.as_bytes()).await.ok()?;
            },
            Step::Hang => std::future::pending().await,
        }
    }
    Some(())
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.trim()).unwrap());
    }
    let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { method, target, headers, body: String::from_utf8(body).unwrap() })
}
