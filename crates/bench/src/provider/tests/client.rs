//! A client that sees bytes: what a response is made of, and how it ended.
//!
//! Each request has its own connection, which the server closes; so that the end of the connection is the end of what came.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::provider::serve;
use crate::provider::service::Provider;

/// A provider that runs.
pub(super) struct Server {
    address: SocketAddr,
}

/// A response, as it came.
#[derive(Debug)]
pub(super) struct Raw {
    /// Status line and headers.
    pub(super) head: String,
    /// The body as it was sent.
    pub(super) body: Vec<u8>,
}

// === impl Server ===

impl Server {
    pub(super) async fn start(keys: &[&str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        tokio::spawn(serve(listener, None, Arc::new(Provider::new(keys))));
        Self { address }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request; its response can be read.
    pub(super) async fn begin(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\nanthropic-version: 2023-06-01\r\n\
             content-length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Raw {
        let mut stream = self.begin(method, path, headers, body).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Raw::split(&bytes)
    }

    /// Asks a model in a shape, for `hello`.
    pub(super) async fn ask(&self, shape: &str, model: &str, is_streamed: bool) -> Raw {
        let (path, body) = question(shape, model, is_streamed);
        self.send("POST", &path, "", body.to_string().as_bytes()).await
    }

    pub(super) async fn ledger(&self) -> Value {
        let raw = self.send("GET", "/ledger", "", b"").await;
        serde_json::from_slice(&raw.body).unwrap()
    }

    /// Waits until the ledger tells a count.
    pub(super) async fn wait_for(&self, pointer: &str, count: u64) {
        while self.ledger().await.pointer(pointer) != Some(&json!(count)) {}
    }
}

/// The path and body that ask a model in a shape, for `hello`.
pub(super) fn question(shape: &str, model: &str, is_streamed: bool) -> (String, Value) {
    let user = json!([{ "role": "user", "content": "hello" }]);
    match shape {
        "chat" => {
            ("/v1/chat/completions".to_owned(), json!({ "model": model, "messages": user, "stream": is_streamed }))
        }
        "responses" => ("/v1/responses".to_owned(), json!({ "model": model, "input": "hello", "stream": is_streamed })),
        "messages" => (
            "/v1/messages".to_owned(),
            json!({ "model": model, "messages": user, "max_tokens": 9, "stream": is_streamed }),
        ),
        _ => {
            let verb = if is_streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            (format!("/v1beta/models/{model}:{verb}"), json!({ "contents": [{ "parts": [{ "text": "hello" }] }] }))
        }
    }
}

// === impl Raw ===

impl Raw {
    fn split(bytes: &[u8]) -> Self {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(0, |end| end + 4);
        Self { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() }
    }

    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found == name);
        self.head.lines().find(|found| line(found)).map(|line| &line[name.len() + 2..])
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The chunks of HTTP, and whether the last one came.
    pub(super) fn chunks(&self) -> (Vec<Vec<u8>>, bool) {
        let (mut chunks, mut rest) = (Vec::new(), self.body.as_slice());
        loop {
            let Some(end) = memchr::memmem::find(rest, b"\r\n") else { return (chunks, false) };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            if size == 0 {
                return (chunks, true);
            }
            chunks.push(rest[end + 2..end + 2 + size].to_vec());
            rest = &rest[end + 4 + size..];
        }
    }

    /// The bytes of a stream, and whether it ended as HTTP does.
    pub(super) fn stream(&self) -> (Vec<u8>, bool) {
        let (chunks, is_whole) = self.chunks();
        (chunks.concat(), is_whole)
    }

    /// The data of the events.
    pub(super) fn data(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.stream().0).into_owned();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}
