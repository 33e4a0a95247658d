//! One request at another node, as the node of its client sees it.
//!
//! Out go the request and who makes it, but for what was shown to prove that. Back comes a whole answer, or a stream, or that
//! the node does not own what was asked for; or it is gone, and the request may have been taken.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use prost::Message as _;
use quorate_http::{ResponseBody, sse};
use quorate_peer::{ExchangeError, Receiving, Sending};
use quorate_proto::relay::v1 as proto;
use quorate_proto::relay::v1::told::Kind as Told;
use quorate_runtime::shard::owner_of;
use quorate_session::StreamId;
use quorate_types::NodeId;

use super::PROTOCOL;
use super::ride::{self, At, Remote, Ride, Source};
use crate::classify::Received;
use crate::dispatch::Dispatched;
use crate::listener::Endpoint;
use crate::standing::{Cut, Standing};

/// Another node has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is not in a cluster any more.
    #[error("this node is in no cluster")]
    Alone,
    /// It was not reached, or is gone.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// It does not own what was asked for, or owns it no more.
    #[error("it does not own what was asked for")]
    Moved {
        /// Whether it did, and may have done it.
        may_be_done: bool,
    },
    /// It says what this version does not know.
    #[error("its answer cannot be read: {0}")]
    Unreadable(&'static str),
}

// === impl Error ===

impl Error {
    /// Whether the node may have done what it was asked for.
    pub(super) const fn may_be_done(&self) -> bool {
        match self {
            Self::Alone => false,
            Self::Moved { may_be_done } => *may_be_done,
            Self::Exchange(error) => !error.is_untaken(),
            Self::Unreadable(_) => true,
        }
    }
}

/// An answer that has begun.
pub(super) struct Begun {
    pub(super) head: proto::Head,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
}

/// Has another node answer a request.
pub(super) async fn call(received: &Received, node: NodeId) -> Result<Dispatched, Error> {
    let Begun { head, sending, receiving } = begin(received, call_of(received), node).await?;
    if !head.has_events {
        // Its end, in order, tells the owner that the answer has arrived.
        sending.finish();
        ride::hear_out(receiving);
        return response(&head).map(Dispatched::Relayed);
    }
    let standing = Standing::relayed(received, Cut::Resumed);
    let stream = head.stream.map(StreamId);
    let source = Source::Remote(Box::new(Remote { node, sending, receiving }));
    let ride = Box::new(Ride::new(received, &head.session, stream, source));
    Ok(Dispatched::Ridden { endpoint: None, ride, standing })
}

/// Goes on with a stream at another node.
pub(super) async fn rejoin(
    template: &proto::Call,
    rejoin: proto::Rejoin,
    shards: &At,
    node: NodeId,
) -> Result<Begun, Error> {
    let call = proto::Call { rejoin: Some(rejoin), ..template.clone() };
    exchange(shards, call, node).await
}

async fn begin(received: &Received, call: proto::Call, node: NodeId) -> Result<Begun, Error> {
    exchange(&At::of(received), call, node).await
}

async fn exchange(at: &At, call: proto::Call, node: NodeId) -> Result<Begun, Error> {
    let peers = at.shards().host().ok_or(Error::Alone)?.peers().clone();
    let exchange = peers.exchange(node, PROTOCOL, call.encode_to_vec().into()).await?;
    let (sending, mut receiving) = exchange.split();
    let first = receiving.receive().await?.ok_or(Error::Unreadable("it ends before it begins"))?;
    match read(first)? {
        Told::Head(head) => Ok(Begun { head, sending, receiving }),
        Told::Moved(moved) => Err(Error::Moved { may_be_done: moved.may_be_done }),
        Told::Event(_) => Err(Error::Unreadable("an event before the head")),
    }
}

/// Reads what an owner says.
pub(super) fn read(message: Bytes) -> Result<Told, Error> {
    let told = proto::Told::decode(message).map_err(|_| Error::Unreadable("no message"))?;
    told.kind.ok_or(Error::Unreadable("a message of a kind that is not known"))
}

/// What the owner is told of a request.
fn call_of(received: &Received) -> proto::Call {
    let head = &received.accepted.head;
    let header = |(name, value): (&HeaderName, &HeaderValue)| proto::Header {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    // Who calls is found out; what was shown stays here.
    let shown = [http::header::AUTHORIZATION, HeaderName::from_static("x-api-key"), http::header::COOKIE];
    let headers = head.headers.iter().filter(|(name, _)| !shown.contains(name)).map(header).collect();
    proto::Call {
        method: head.method.as_str().to_owned(),
        uri: head.uri.to_string(),
        headers,
        body: received.body.clone(),
        is_again: received.is_again,
        key: received.key.map(|key| Bytes::copy_from_slice(&key.0)).unwrap_or_default(),
        ..template(received)
    }
}

/// What the owner is told of each request of a client.
pub(super) fn template(received: &Received) -> proto::Call {
    let (accepted, principal) = (&received.accepted, &received.caller.principal);
    let connection = &accepted.connection;
    proto::Call {
        listener: connection.listener.as_str().to_owned(),
        toolset: accepted.toolset.name().as_str().to_owned(),
        is_sse: accepted.endpoint == Endpoint::Sse,
        tenant: principal.tenant.as_str().to_owned(),
        caller: Some(owner_of(principal)),
        peer: connection.peer.to_string(),
        local: connection.local.to_string(),
        is_encrypted: connection.is_encrypted,
        uri: accepted.head.uri.path().to_owned(),
        ..proto::Call::default()
    }
}

/// Writes the response that an owner has made.
fn response(head: &proto::Head) -> Result<Response<ResponseBody>, Error> {
    let status = u16::try_from(head.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let body = if head.body.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(head.body.clone()) };
    let mut response = Response::new(body);
    *response.status_mut() = status.ok_or(Error::Unreadable("a status"))?;
    for header in &head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Error::Unreadable("a header"))?;
        let value = HeaderValue::from_bytes(&header.value).map_err(|_| Error::Unreadable("a header"))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// An event as a client gets it.
pub(super) fn event(event: proto::Event) -> sse::Event {
    let line = |text: String| sse::Line::new(text).ok();
    sse::Event {
        id: event.id.and_then(line),
        name: event.name.and_then(line),
        data: event.data,
        retry: event.retry_ms.map(Duration::from_millis),
    }
}

/// The same, as another node passes it on.
pub(super) fn told(sequence: Option<u64>, event: sse::Event) -> Bytes {
    let retry_ms = event.retry.map(|retry| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
    let event = proto::Event {
        sequence,
        id: event.id.map(|id| id.as_str().to_owned()),
        name: event.name.map(|name| name.as_str().to_owned()),
        data: event.data,
        retry_ms,
    };
    proto::Told { kind: Some(Told::Event(event)) }.encode_to_vec().into()
}

/// The events of a stream, one after the other.
pub(super) fn boxed(
    events: impl futures_util::Stream<Item = sse::Event> + Send + 'static,
) -> futures_util::stream::BoxStream<'static, sse::Event> {
    events.boxed()
}
