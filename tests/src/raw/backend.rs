//! A scripted HTTP server: a test says for each request which bytes are answered, and when.
//!
//! One thread per connection, one request per connection. It records what it saw. Dropping it closes its port and
//! all its connections; [`Backend::start_at`] takes the port again, as a restarted process would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::wait;
use anyhow::Context as _;
use serde_json::Value;

use super::PATIENCE;

/// The largest request that a script is shown.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A running scripted server.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Script = Box<dyn Fn(&Seen, &mut Out) + Send + Sync>;

struct Shared {
    is_stopped: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<Vec<TcpStream>>,
    script: Script,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The HTTP method.
    pub http: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The message; null without a body, and a text where the body is no JSON, such as a form.
    pub body: Value,
}

/// Where a script writes its answer.
pub struct Out {
    socket: TcpStream,
    is_begun: bool,
}

// === impl Backend ===

impl Backend {
    /// Starts a server that answers as `script` says.
    pub fn start(script: impl Fn(&Seen, &mut Out) + Send + Sync + 'static) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// Starts one on this address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Seen, &mut Out) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // Connections of a server that went away may hold the port for a moment.
        let listener = wait::until("the backend's port", PATIENCE, || Ok(TcpListener::bind(address)?))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            is_stopped: AtomicBool::new(false),
            seen: Mutex::default(),
            open: Mutex::default(),
            script: Box::new(script),
        });
        let serving = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&listener, &serving)));
        Ok(Self { address, shared, acceptor })
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many requests with this JSON-RPC method came.
    pub fn count(&self, method: &str) -> usize {
        lock(&self.shared.seen).iter().filter(|seen| seen.method() == method).count()
    }

    /// Waits until a request comes that `pick` takes something from.
    pub fn wait_for<T>(&self, what: &str, pick: impl Fn(&Seen) -> Option<T>) -> anyhow::Result<T> {
        wait::until(what, PATIENCE, || {
            let seen = lock(&self.shared.seen);
            let methods = || seen.iter().map(|seen| format!("{} {}", seen.http, seen.method())).collect::<Vec<_>>();
            seen.iter().find_map(&pick).with_context(|| format!("seen so far: {:?}", methods()))
        })
    }

    /// Waits until a request with this JSON-RPC method comes.
    pub fn wait_for_method(&self, method: &str) -> anyhow::Result<Seen> {
        self.wait_for(method, |seen| (seen.method() == method).then(|| seen.clone()))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // The acceptor wakes up, sees the flag and closes the port.
        drop(TcpStream::connect(self.address));
        // Only then is a new connection refused, and not accepted and cut.
        drop(self.acceptor.take().map(JoinHandle::join));
        for socket in lock(&self.shared.open).drain(..) {
            // It fails when the other side has closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        let Ok(socket) = socket else { continue };
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        if let Ok(copy) = socket.try_clone() {
            lock(&shared.open).push(copy);
        }
        thread::spawn(move || {
            // A request that cannot be read is a connection that the gateway has given up.
            if let Ok(seen) = read(&socket) {
                lock(&shared.seen).push(seen.clone());
                let mut out = Out { socket, is_begun: false };
                (shared.script)(&seen, &mut out);
                let _ = out.socket.shutdown(Shutdown::Both);
            }
        });
    }
}

fn read(socket: &TcpStream) -> anyhow::Result<Seen> {
    let mut source = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    source.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let http = words.next().context("no method")?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        source.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; usize::try_from(length.parse::<u64>()?.min(REQUEST_BYTES_MAX))?];
    source.read_exact(&mut body)?;
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or_else(|_| text()) };
    Ok(Seen { http, headers, body })
}

// === impl Seen ===

impl Seen {
    /// The JSON-RPC method; empty when there is none.
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// The JSON-RPC id.
    pub fn id(&self) -> &Value {
        &self.body["id"]
    }

    /// The JSON-RPC parameters.
    pub fn params(&self) -> &Value {
        &self.body["params"]
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the request is of the stateless revision.
    pub fn is_modern(&self) -> bool {
        self.params()["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some()
    }
}

// === impl Out ===

impl Out {
    /// Answers with this status, these headers and this body.
    pub fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.raw(&[head.as_bytes(), body].concat());
    }

    /// Answers with a JSON message.
    pub fn json(&mut self, message: &Value) {
        self.json_with(&[], message);
    }

    /// Answers with a JSON message and further headers.
    pub fn json_with(&mut self, headers: &[(&str, &str)], message: &Value) {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.answer(200, &headers, message.to_string().as_bytes());
    }

    /// Answers a request with this result.
    pub fn result(&mut self, of: &Seen, result: &Value) {
        self.json(&serde_json::json!({ "jsonrpc": "2.0", "id": of.id(), "result": result }));
    }

    /// Answers a request with this error.
    pub fn error(&mut self, of: &Seen, status: u16, code: i64, message: &str) {
        let error =
            serde_json::json!({ "jsonrpc": "2.0", "id": of.id(), "error": { "code": code, "message": message } });
        self.answer(status, &[("content-type", "application/json")], error.to_string().as_bytes());
    }

    /// Writes an event of a stream, which begins with the first one. False when the other side has left.
    pub fn event(&mut self, text: &str) -> bool {
        self.begin_events(&[]);
        let event = format!("{text}\n\n");
        self.raw(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
    }

    /// Writes a message as an event of a stream.
    pub fn message(&mut self, message: &Value) -> bool {
        self.event(&format!("data: {message}"))
    }

    /// Begins an event stream.
    pub fn begin_events(&mut self, headers: &[(&str, &str)]) {
        if !self.is_begun {
            self.is_begun = true;
            let mut head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n".to_owned();
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            self.raw(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
        }
    }

    /// Ends an event stream as HTTP wants it; without it the stream is cut.
    pub fn end_events(&mut self) {
        self.raw(b"0\r\n\r\n");
    }

    /// Writes these bytes. False when the other side has left.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).and_then(|()| self.socket.flush()).is_ok()
    }

    /// Waits this long for the other side to leave.
    pub fn closes_within(&mut self, timeout: Duration) -> bool {
        let is_set = self.socket.set_read_timeout(Some(timeout)).is_ok();
        let closed = !is_set || matches!(self.socket.read(&mut [0]), Ok(0));
        closed || self.socket.set_read_timeout(None).is_err()
    }

    /// Says nothing until the other side leaves, or the server is dropped.
    pub fn wait_for_close(&mut self) {
        let mut byte = [0];
        while matches!(self.socket.read(&mut byte), Ok(read) if read > 0) {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
