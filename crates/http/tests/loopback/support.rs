//! A server of one test, an observer that remembers, and sockets that speak raw HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use quorate_http::server::{ConnectionError, DEFAULTS, Limits, Listener, Peer, Server};
use quorate_http::{BodyError, Observer, RequestBody, ResponseBody, collect};
use quorate_tls::ServerTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes: a wait that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Limits that no test runs into unless it sets its own.
pub(crate) const WIDE: Limits = Limits {
    header_read_timeout: PATIENCE,
    idle_timeout: PATIENCE,
    write_stall_timeout: PATIENCE,
    drain_timeout: PATIENCE,
    ..DEFAULTS
};

/// What an observer heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) hits: Vec<&'static str>,
    pub(crate) refusals: Vec<&'static str>,
    pub(crate) opened: usize,
    pub(crate) closed: usize,
}

/// Remembers what it hears, and lets tests wait for it.
pub(crate) struct Recorder(watch::Sender<Heard>);

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Heard::default())))
    }

    pub(crate) fn heard(&self) -> Heard {
        self.0.borrow().clone()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn wait_for(&self, what: &str, condition: impl Fn(&Heard) -> bool) -> Heard {
        let mut receiver = self.0.subscribe();
        match tokio::time::timeout(PATIENCE, receiver.wait_for(condition)).await {
            Ok(heard) => heard.expect("the recorder lives").clone(),
            Err(_) => panic!("waited in vain for {what}, heard {:?}", self.heard()),
        }
    }
}

impl Observer for Recorder {
    fn limit_hit(&self, limit: &'static str) {
        self.0.send_modify(|heard| heard.hits.push(limit));
    }

    fn client_refused(&self, peer: SocketAddr, refusal: &quorate_tls::Refusal) {
        assert!(peer.ip().is_loopback() && peer.port() != 0, "{peer}");
        self.0.send_modify(|heard| heard.refusals.push(refusal.reason()));
    }

    fn connection_opened(&self) {
        self.0.send_modify(|heard| heard.opened += 1);
    }

    fn connection_closed(&self) {
        self.0.send_modify(|heard| heard.closed += 1);
    }
}

/// A server that runs until it is dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Arc<Recorder>,
    pub(crate) drain: CancellationToken,
    ends: tokio::sync::Mutex<mpsc::Receiver<Result<(), ConnectionError>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl TestServer {
    pub(crate) fn start<H, F>(limits: Limits, tls: Option<ServerTls>, handler: H) -> Self
    where
        H: Fn(Request<RequestBody>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let heard = Recorder::new();
        let observer = Arc::clone(&heard) as Arc<dyn Observer>;
        let server = Server::new(limits, tls, Arc::clone(&observer)).expect("the limits are valid");
        let listener = Listener::bind("127.0.0.1:0".parse().expect("is an address"), observer).expect("a port is free");
        let address = listener.local_address().expect("it listens");
        let drain = CancellationToken::new();
        let (sender, ends) = mpsc::channel(64);
        let token = drain.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await;
                let (server, token) = (server.clone(), token.clone());
                let (handler, sender) = (handler.clone(), sender.clone());
                connections.spawn(async move {
                    let end = server.serve(stream, peer, &token, handler).await;
                    // The test may not care.
                    let _ = sender.try_send(end);
                });
            }
        });
        Self { address, heard, drain, ends: ends.into(), accepting }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.expect("the server listens"))
    }

    /// Waits for the end of the next connection that ends.
    pub(crate) async fn next_end(&self) -> Result<(), ConnectionError> {
        let mut ends = self.ends.lock().await;
        within("a connection's end", ends.recv()).await.expect("the server runs")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A socket on which a test writes and reads HTTP/1.1 by hand.
pub(crate) struct Raw(pub TcpStream);

impl Raw {
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.expect("the server reads");
    }

    /// Reads until what was read satisfies `done`.
    pub(crate) async fn read_until(&mut self, done: impl Fn(&str) -> bool) -> String {
        let mut all = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&all).into_owned();
            if done(&text) {
                return text;
            }
            let read = within("more bytes", self.0.read_buf(&mut all)).await.expect("the socket works");
            assert!(read > 0, "the server closed after {text:?}");
        }
    }

    /// Reads one answer with a `content-length`.
    pub(crate) async fn read_answer(&mut self) -> String {
        self.read_until(|text| {
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let head = head.to_ascii_lowercase();
            let (_, length) = head.split_once("content-length: ").expect("the answer has a length");
            let length: usize = length.lines().next().expect("has a line").parse().expect("is a number");
            body.len() >= length
        })
        .await
    }

    /// Reads until the server closes; an error counts as a close after what came before.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let _ = within("the server to close", self.0.read_to_end(&mut all)).await;
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Waits for `future`, but not forever.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Answers with the method, path and length of the request's body; 413 and 408 as it has to be.
pub(crate) async fn echo(request: Request<RequestBody>, _peer: Peer) -> Response<ResponseBody> {
    let line = format!("{} {}", request.method(), request.uri().path());
    match collect(request.into_body(), DEFAULTS.body_bytes_max, PATIENCE).await {
        Ok(body) => text(format!("{line} {}", body.len())),
        Err(BodyError::TooLarge { .. }) => status(StatusCode::PAYLOAD_TOO_LARGE),
        Err(BodyError::Timeout { .. }) => status(StatusCode::REQUEST_TIMEOUT),
        Err(BodyError::Broken(_)) => status(StatusCode::BAD_REQUEST),
    }
}

pub(crate) fn text(body: impl Into<Bytes>) -> Response<ResponseBody> {
    Response::new(ResponseBody::Full(body.into()))
}

pub(crate) fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
}

/// Tells when it is dropped.
pub(crate) struct DropFlag(Option<tokio::sync::oneshot::Sender<()>>);

pub(crate) fn drop_flag() -> (DropFlag, tokio::sync::oneshot::Receiver<()>) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    (DropFlag(Some(sender)), receiver)
}

impl Drop for DropFlag {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(());
        }
    }
}

/// Hands out one value to the first who asks: for handlers, which are `Fn`.
pub(crate) fn once<T>(value: T) -> impl Fn() -> Option<T> + Clone {
    let cell = Arc::new(Mutex::new(Some(value)));
    move || cell.lock().expect("nobody panics with it").take()
}
