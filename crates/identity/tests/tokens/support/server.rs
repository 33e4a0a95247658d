//! A small HTTP/1.1 server whose answers a test decides, bad ones included.
//!
//! Plain sockets and not a framework, because an answer may be no HTTP, too long, or none at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// For example `GET /keys`.
    pub(crate) line: String,
    /// All header lines, in lower case but for values.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// What a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A 200 with JSON.
    Json(String),
    /// A 200 with JSON and further header lines.
    With(&'static str, String),
    /// A status line's rest and header lines, without a body.
    Status(&'static str),
    /// Bytes as they are.
    Raw(&'static str),
    /// A body without an end.
    Endless,
    /// Nothing, ever.
    Silence,
}

type Script = Arc<Mutex<dyn FnMut(&Request) -> Answer + Send>>;

/// A server; it ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Script>>,
    task: AbortHandle,
}

// === impl Server ===

impl Server {
    /// Starts a server with its answers.
    pub(crate) async fn start(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let script: Script = Arc::new(Mutex::new(script));
        let (requests, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(script)));
        let (seen, answers) = (Arc::clone(&requests), Arc::clone(&script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answers)));
            }
        });
        Self { address, requests, script, task: task.abort_handle() }
    }

    /// Changes the answers.
    pub(crate) fn answer(&self, script: impl FnMut(&Request) -> Answer + Send + 'static) {
        *self.script.lock().expect("nobody panicked") = Arc::new(Mutex::new(script));
    }

    /// The URL of a path on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panicked").clone()
    }

    /// How many requests there were so far.
    pub(crate) fn count(&self) -> usize {
        self.requests().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, script: Arc<Mutex<Script>>) {
    // Closed after each answer, so that a change of the answers holds from the next request on.
    let Some(request) = read(&mut stream).await else { return };
    seen.lock().expect("nobody panicked").push(request.clone());
    let script = Arc::clone(&script.lock().expect("nobody panicked"));
    let answer = script.lock().expect("nobody panicked")(&request);
    let whole = |head: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let text = match answer {
        Answer::Json(body) => whole("", &body),
        Answer::With(head, body) => whole(head, &body),
        Answer::Status(rest) => format!("HTTP/1.1 {rest}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        Answer::Raw(text) => text.to_owned(),
        Answer::Endless => return endless(stream).await,
        Answer::Silence => std::future::pending().await,
    };
    // A client that went away has what it wanted.
    let _ = stream.write_all(text.as_bytes()).await;
}

async fn endless(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes()).await;
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    while sent.is_ok() {
        sent = stream.write_all(chunk.as_bytes()).await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
            let lines = rest.lines().map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                format!("{}:{value}", name.to_ascii_lowercase())
            });
            let head: Vec<_> = lines.collect();
            let length = head.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                return Some(Request { line, head: head.join("\n"), body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
