//! A listen at a server of sessions: what stateless clients get of its changes.
//!
//! Such a server tells changes to sessions only, so a listen is a session of the gateway's own:
//! opened, listened to, subscribed resource by resource, and then acknowledged with what the server
//! took. It declares no capabilities, and what the server asks is refused. It ends with its task:
//! dropping it closes the session at the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, build, quote};
use quorate_mcp::Method;
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::error::METHOD_NOT_FOUND;
use quorate_mcp::subscription::{End, Interest, Notification};
use tokio::sync::mpsc;

use super::Handle;
use super::hub::Heard;
use crate::upstream::legacy::Leg;
use crate::upstream::{FrameStream, probe};

/// Pause before the session's stream is opened again after the server ended it: 1 s, as clients do.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Subscriptions that are under way at once: 16.
const SUBSCRIBES_MAX: usize = 16;
/// How long one may take: 3 s; who listens waits for all of them.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest pause that a server's `retry` may ask for.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Watches a server until the session is lost, or `heard` is closed.
///
/// Each notice waits until the one before was taken: a server that floods waits itself.
pub(super) async fn watch(server: &Handle, interest: &Interest, heard: &mpsc::Sender<Heard>) -> End {
    let Ok(opened) = server.open_session(&probe::initialize_params()).await else { return End::Lost };
    let initialized = opened.initialized;
    let session = Session { leg: opened.session };
    let stream = match session.leg.listen(HeaderMap::new(), None).await {
        Ok(Some(stream)) => stream,
        // Without a stream of its own it could only tell while it answers something else.
        Ok(None) => return End::Unsupported,
        Err(_) => return End::Lost,
    };
    let capabilities = std::str::from_utf8(&initialized.capabilities).unwrap_or("{}");
    let honoured = session.subscribe(interest, capabilities).await;
    if heard.send(Heard::Acknowledged(honoured)).await.is_err() {
        return End::Lost;
    }
    session.read(stream, heard).await
}

/// The session of one listen; closed when dropped.
struct Session {
    leg: Leg,
}

// === impl Session ===

impl Session {
    /// Subscribes to resources, some at once; returns what the server took in time.
    async fn subscribe(&self, interest: &Interest, capabilities: &str) -> Interest {
        let mut offered = Capabilities::new();
        // What is no object offers nothing.
        let _offers_nothing = offered.add(capabilities);
        let mut honoured = Interest {
            tools: interest.tools && offered.has("tools"),
            prompts: interest.prompts && offered.has("prompts"),
            resources: interest.resources && offered.has("resources"),
            ..Interest::default()
        };
        if !offered.has("resources") {
            return honoured;
        }
        let wanted: Vec<(u64, Arc<str>)> = (1..).zip(interest.uris.iter().cloned()).collect();
        let leg = self.leg.clone();
        let subscribing = wanted.into_iter().map(move |(number, uri)| subscribe(leg.clone(), number, uri));
        let subscribed: Vec<_> = stream::iter(subscribing).buffer_unordered(SUBSCRIBES_MAX).collect().await;
        honoured.uris.extend(subscribed.into_iter().flatten());
        honoured
    }

    /// Reads the session's stream, opening it again where the server ends it.
    async fn read(&self, mut stream: FrameStream, heard: &mpsc::Sender<Heard>) -> End {
        loop {
            while let Some(Ok(item)) = stream.next().await {
                if item.frame.kind() == Kind::Request {
                    self.refuse(&item.frame).await;
                    continue;
                }
                // Whatever else a server says here is nothing that a subscriber could use.
                let Ok(notification) = Notification::read(item.frame) else { continue };
                if heard.send(Heard::Changed(Box::new(notification))).await.is_err() {
                    return End::Lost;
                }
            }
            // Without a place to go on from, changes may be missed: the listen begins anew, and tells.
            let Some(last) = stream.last_event_id().map(str::to_owned) else { return End::Lost };
            tokio::time::sleep(stream.retry().unwrap_or(REOPEN_PAUSE).min(REOPEN_PAUSE_MAX)).await;
            stream = match self.leg.listen(HeaderMap::new(), Some(&last)).await {
                Ok(Some(stream)) => stream,
                Ok(None) | Err(_) => return End::Lost,
            };
        }
    }

    async fn refuse(&self, request: &Frame) {
        let Some(id) = request.id() else { return };
        let answer: Bytes = match request.method().and_then(Method::parse) {
            Some(Method::Ping) => build::result(id, "{}"),
            _ => build::error(Some(id), METHOD_NOT_FOUND, "nobody is there to be asked", None),
        };
        // A server that does not take it has to live without.
        let _untold = self.leg.notify(HeaderMap::new(), answer).await;
    }
}

/// Subscribes to one resource; returns it when the server takes it in time.
async fn subscribe(leg: Leg, number: u64, uri: Arc<str>) -> Option<Arc<str>> {
    let params = format!("{{\"uri\":{}}}", quote(&uri));
    let request = build::request(&Id::from(number), Method::Subscribe.as_str(), Some(&params));
    let frame = Frame::parse(request, &Limits::REQUEST).ok()?;
    let asked = async { leg.request(HeaderMap::new(), frame).await.ok()?.finish(|_| {}).await.ok() };
    let answer = tokio::time::timeout(SUBSCRIBE_TIMEOUT, asked).await.ok()??;
    (answer.kind() == Kind::Result).then_some(uri)
}

impl Drop for Session {
    fn drop(&mut self) {
        let leg = self.leg.clone();
        // Without a runtime the process ends, and its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { leg.close().await });
        }
    }
}
