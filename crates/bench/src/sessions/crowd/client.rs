//! One client: a session, a call, and its events, read on from wherever they can be.
//!
//! It holds each event against the number that the tool server gave it, so that one that is missing, or comes twice, is seen. When
//! its connection ends it comes again to the next node, with the last event that it has.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quorate_http::sse::{Event, EventStream};
use serde::Deserialize;

use super::super::ticker::{TOOL, now_us};
use super::tally::Tally;
use crate::client::{Connection, Target};
use crate::message;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events of a call: none that is measured ends by itself.
const EVENTS: u64 = 1 << 40;
/// How long a client waits that was not told: what the SDKs do.
const RETRY: Duration = Duration::from_secs(1);
/// Between two nodes that are asked.
const NEXT_NODE_PAUSE: Duration = Duration::from_millis(50);
/// How long a client tries to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest event that is read: 64 KiB.
const EVENT_BYTES_MAX: usize = 64 << 10;

/// The nodes that a client comes to, by their places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) opens: usize,
    pub(super) calls: usize,
}

/// A client with its session.
pub(super) struct Client {
    number: u32,
    targets: Arc<Vec<Target>>,
    /// Where it calls.
    at: usize,
    session: HeaderValue,
    tally: Arc<Tally>,
}

/// A client that reads.
pub(super) struct Reading {
    client: Client,
    stream: EventStream<Incoming>,
    /// The connection of the stream.
    _connection: Connection,
    last_id: Option<HeaderValue>,
    last: u64,
}

#[derive(Deserialize)]
struct Progress {
    method: Option<String>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    progress: u64,
    message: String,
}

// === impl Client ===

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) async fn open(number: u32, targets: Arc<Vec<Target>>, way: Way, tally: Arc<Tally>) -> Result<Self> {
        let session = Connection::open(&targets[way.opens]).await?.initialize().await?;
        Ok(Self { number, targets, at: way.calls, session, tally })
    }

    /// Makes one call, ends the session if it is to, and is gone.
    ///
    /// # Errors
    /// When it is not answered.
    pub(super) async fn call_once(self, ends: bool) -> Result<()> {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{TOOL}\",\
             \"arguments\":{{}}}}}}"
        );
        let mut connection = Connection::open(&self.targets[self.at]).await?;
        let answer = connection.post(&message::legacy(Some(&self.session)), body.into()).await?;
        message::result("1", &answer)?;
        if ends {
            let headers = message::legacy(Some(&self.session));
            let response = connection.begin(Method::DELETE, &headers, Bytes::new()).await?;
            ensure!(response.status().is_success(), "no end: {}", text_of(response).await);
        }
        Ok(())
    }

    /// Begins a call whose events are read.
    ///
    /// # Errors
    /// When it is not answered by a stream.
    pub(super) async fn call(self, every_us: u64) -> Result<Reading> {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{TOOL}\",\
             \"arguments\":{{\"every_us\":{every_us},\"events\":{EVENTS}}},\"_meta\":{{\"progressToken\":1}}}}}}"
        );
        let mut headers = message::legacy(Some(&self.session));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        let mut connection = Connection::open(&self.targets[self.at]).await?;
        let response = connection.begin(Method::POST, &headers, body.into()).await?;
        let stream = stream_of(response).await?;
        Ok(Reading { client: self, stream, _connection: connection, last_id: None, last: 0 })
    }
}

// === impl Reading ===

impl Reading {
    /// Reads until it is dropped, or cannot go on.
    pub(super) async fn read(mut self) {
        if let Err(error) = self.read_on().await {
            self.client.tally.failed(self.client.number, &format!("{error:#}"));
        }
    }

    async fn read_on(&mut self) -> Result<()> {
        let mut asked_us = None;
        loop {
            match self.stream.next().await {
                Some(Ok(event)) => {
                    if self.take(&event, asked_us)? {
                        asked_us = None;
                    }
                }
                // Broken, or ended where SDKs ask again.
                Some(Err(_)) | None => asked_us = Some(self.come_back().await?),
            }
        }
    }

    /// Takes an event; tells whether it was one of those that count.
    fn take(&mut self, event: &Event, asked_us: Option<u64>) -> Result<bool> {
        if let Some(id) = &event.id {
            self.last_id = Some(HeaderValue::from_str(id.as_str())?);
        }
        if event.data.is_empty() {
            return Ok(false);
        }
        let shown = || String::from_utf8_lossy(&event.data[..event.data.len().min(300)]).into_owned();
        let progress: Progress = serde_json::from_slice(&event.data).with_context(shown)?;
        let Some(params) = progress.params.filter(|_| progress.method.is_some()) else {
            bail!("its call has ended: {}", shown());
        };
        ensure!(event.id.is_some(), "an event without an id: {}", shown());
        let due_us = params.message.parse().with_context(shown)?;
        self.client.tally.event(self.client.number, self.last, params.progress, due_us, asked_us);
        self.last = self.last.max(params.progress);
        Ok(true)
    }

    /// Asks the other nodes for the rest, when it may; returns when that was.
    async fn come_back(&mut self) -> Result<u64> {
        let Client { number, targets, at, session, tally } = &mut self.client;
        tally.broke(*number);
        tokio::time::sleep(self.stream.retry().unwrap_or(RETRY)).await;
        let asked_us = now_us();
        let mut headers = message::legacy(Some(session));
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(LAST_EVENT_ID, self.last_id.clone().context("its connection broke before the first event")?);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // They scatter: one loss must not bring all of them to the node that is lost next.
        let step = if u64::from(*number) % 2 == self.last % 2 { 1 } else { targets.len().max(2) - 1 };
        loop {
            *at = (*at + step) % targets.len();
            match resume(&targets[*at], &headers).await {
                Ok((connection, response)) if response.status() == StatusCode::OK => {
                    self.stream = stream_of(response).await?;
                    self._connection = connection;
                    return Ok(asked_us);
                }
                Ok((_, response)) if !response.status().is_server_error() => {
                    bail!("the rest is refused: {}", text_of(response).await);
                }
                Ok(_) | Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(NEXT_NODE_PAUSE).await;
                }
                Ok((_, response)) => bail!("nobody has the rest: {}", text_of(response).await),
                Err(error) => return Err(error.context("nobody has the rest")),
            }
        }
    }
}

async fn resume(target: &Target, headers: &HeaderMap) -> Result<(Connection, Response<Incoming>)> {
    let mut connection = Connection::open(target).await?;
    let response = connection.begin(Method::GET, headers, Bytes::new()).await?;
    Ok((connection, response))
}

async fn stream_of(response: Response<Incoming>) -> Result<EventStream<Incoming>> {
    let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"text/event-stream");
    if response.status() != StatusCode::OK || !is_stream {
        bail!("no stream: {}", text_of(response).await);
    }
    Ok(EventStream::new(response.into_body(), EVENT_BYTES_MAX))
}

async fn text_of(response: Response<Incoming>) -> String {
    let status = response.status();
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}
