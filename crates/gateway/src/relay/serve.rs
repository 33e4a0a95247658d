//! Requests that other nodes relay: answered as those of this node's own clients, from classify on.
//!
//! A node of the cluster says who calls; it has proven to be one by its certificate. What the caller may do is decided here,
//! by this node's configuration.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use prost::Message as _;
use quorate_http::{ResponseBody, sse};
use quorate_peer::{Exchange, ExchangeHandler, Offer, Protocol};
use quorate_proto::relay::v1 as proto;
use quorate_proto::relay::v1::told::Kind as Told;
use quorate_proto::session::v1::Charter;
use quorate_runtime::session::{Connection, Refused};
use quorate_runtime::shard;
use quorate_session::{RequestKey, StreamId};
use quorate_telemetry::TraceContext;
use quorate_telemetry::names::span;
use quorate_types::{NodeId, ResourceName};

use super::call::{boxed, told};
use super::{Again, PROTOCOL, again, is_done, ride};
use crate::authenticate::Caller;
use crate::classify::Received;
use crate::dispatch::Dispatched;
use crate::listener::{self, Endpoint};
use crate::respond::{self, Refusal};
use crate::snapshot::Snapshot;
use crate::{authorize, pipeline};

/// Answers what other nodes relay.
struct Server {
    snapshot: Weak<ArcSwap<Snapshot>>,
}

/// A call cannot be understood: its node is of another version.
#[derive(Debug)]
struct Malformed(&'static str);

/// Begins to answer what other nodes relay, once the node is in a cluster.
pub(crate) fn serve(snapshot: &Arc<ArcSwap<Snapshot>>) {
    let shards = snapshot.load().services.sessions.shards().clone();
    if let Some(host) = shards.host() {
        host.peers().serve_exchanges(PROTOCOL, Arc::new(Server { snapshot: Arc::downgrade(snapshot) }));
    }
}

impl ExchangeHandler for Server {
    fn exchange(&self, from: NodeId, _protocol: Protocol, head: Bytes, offer: Offer) {
        let Some(snapshot) = self.snapshot.upgrade() else { return offer.refuse("the node goes away") };
        let snapshot = snapshot.load_full();
        tokio::spawn(async move {
            let call = match proto::Call::decode(head) {
                Ok(call) => call,
                Err(_) => return offer.refuse("the call cannot be read"),
            };
            let received = match received(snapshot, &call) {
                Ok(received) => received,
                Err(Malformed(what)) => return offer.refuse(what),
            };
            let Ok(exchange) = offer.accept() else { return };
            match call.rejoin {
                Some(wanted) => rejoin(&received, &wanted, exchange).await,
                None => answer(received, exchange).await,
            }
            tracing::trace!(%from, "a relayed request is answered");
        });
    }
}

/// What a call says of a request.
fn received(snapshot: Arc<Snapshot>, call: &proto::Call) -> Result<Received, Malformed> {
    let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| Malformed("an address cannot be read"));
    let connection = listener::Connection {
        listener: ResourceName::new(&call.listener).map_err(|_| Malformed("the listener's name cannot be read"))?,
        local: address(&call.local)?,
        peer: address(&call.peer)?,
        is_encrypted: call.is_encrypted,
        certificate: None,
    };
    let method = if call.rejoin.is_some() { "GET" } else { &*call.method };
    let mut request = Request::builder().method(method).uri(&*call.uri);
    for header in &call.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed("a header cannot be read"))?;
        let value = HeaderValue::from_bytes(&header.value).map_err(|_| Malformed("a header cannot be read"))?;
        request = request.header(name, value);
    }
    let (head, ()) = request.body(()).map_err(|_| Malformed("the request cannot be read"))?.into_parts();
    let charter = Charter { tenant: call.tenant.clone(), owner: call.caller.clone(), ..Charter::default() };
    let principal = shard::owner(&charter).ok_or(Malformed("the caller cannot be read"))?;
    let caller = Caller::new(principal, snapshot.judge(), &snapshot.services.metrics);
    let endpoint = if call.is_sse { Endpoint::Sse } else { Endpoint::Mcp };
    let context = TraceContext::extract(&head.headers);
    let trace = snapshot.services.tracer.begin(span::REQUEST, context).context().trace_id();
    let accepted = listener::relayed(snapshot, connection, (endpoint, &call.toolset), head, trace)
        .map_err(|_| Malformed("this node's configuration does not serve that"))?;
    let key = <[u8; 16]>::try_from(&call.key[..]).ok().map(RequestKey);
    Ok(Received { accepted, caller, body: call.body.clone(), key, is_again: call.is_again })
}

/// Answers a request.
async fn answer(received: Received, mut exchange: Exchange) {
    let services = Arc::clone(&received.accepted.snapshot.services);
    let context = TraceContext::extract(&received.accepted.head.headers);
    let mut trace = services.tracer.begin(span::REQUEST, context);
    if let Some(id) = received.session_id() {
        services.sessions.settled(id).await;
    }
    let walled = authorize::wall_of(&received.accepted, &received.caller);
    let result = match walled {
        Ok(()) => pipeline::stages(received.clone(), &mut trace, Instant::now()).await,
        Err(error) => Err(Refusal::Authorize { id: None, error }),
    };
    let response = match result {
        Err(refusal) if is_done(&received, &refusal) => respond::write(Dispatched::Ended),
        Err(refusal) => match again(&refusal) {
            Some(again) => return moved(exchange, matches!(again, Again::Same)).await,
            None => respond::refuse(&refusal, &services.metrics),
        },
        Ok(Dispatched::Connected { connection, .. }) => {
            let session = received.session_id().unwrap_or_default().to_owned();
            return pass(connection, &session, exchange).await;
        }
        Ok(Dispatched::Events(events)) => return pass_events(events, exchange).await,
        Ok(dispatched) => respond::write(dispatched),
    };
    let Some(head) = head_of(response).await else { return };
    let sent = exchange.send(encode(Told::Head(head))).await;
    let mut rest = exchange.finish();
    // The other node ends the exchange when it has the answer.
    if sent.is_ok() && rest.receive().await.is_ok() {
        ride::acknowledge(&received);
    }
}

/// Goes on with a stream.
async fn rejoin(received: &Received, wanted: &proto::Rejoin, exchange: Exchange) {
    let sessions = &received.accepted.snapshot.services.sessions;
    let toolset = received.accepted.toolset.name();
    sessions.settled(&wanted.session).await;
    let session = match sessions.find(&wanted.session, received.caller.digest, toolset).await {
        Ok(session) => session,
        Err(shard::Unknown::Elsewhere(_)) => return moved(exchange, false).await,
        Err(_) => return over(exchange).await,
    };
    match session.rejoin(StreamId(wanted.stream), wanted.has, wanted.primes).await {
        Ok(connection) => pass(connection, &wanted.session, exchange).await,
        Err(Refused::Moved | Refused::Rested) => moved(exchange, false).await,
        Err(_) => over(exchange).await,
    }
}

/// Passes the events of a stream on, and what was passed on to its client back.
async fn pass(mut connection: Connection, session: &str, exchange: Exchange) {
    connection.wait_for_word();
    let stream = Some(connection.stream().0);
    let head =
        proto::Head { status: 200, has_events: true, stream, session: session.to_owned(), ..proto::Head::default() };
    let (mut sending, mut receiving) = exchange.split();
    if sending.send(encode(Told::Head(head))).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            emission = connection.receive() => {
                let message = match emission {
                    Some(emission) => told(Some(emission.sequence), quorate_runtime::session::event(emission)),
                    None if connection.is_moved() => {
                        // Who does not hear it finds out by itself.
                        let _gone = sending.send(encode(Told::Moved(proto::Moved::default()))).await;
                        return sending.finish();
                    }
                    None => {
                        sending.finish();
                        break;
                    }
                };
                if sending.send(message).await.is_err() {
                    return;
                }
            }
            word = receiving.receive() => match word.ok().flatten().and_then(|word| proto::Ack::decode(word).ok()) {
                Some(ack) => connection.acknowledge(ack.up_to),
                // Its client has gone.
                None => return,
            },
        }
    }
    // What was passed on last is heard of, too.
    while let Ok(Some(word)) = receiving.receive().await {
        if let Ok(ack) = proto::Ack::decode(word) {
            connection.acknowledge(ack.up_to);
        }
    }
}

/// Passes events on that cannot be gone on with.
async fn pass_events(events: sse::Events, mut exchange: Exchange) {
    let head = proto::Head { status: 200, has_events: true, ..proto::Head::default() };
    if exchange.send(encode(Told::Head(head))).await.is_err() {
        return;
    }
    let mut events = boxed(events.into_events());
    while let Some(event) = events.next().await {
        if exchange.send(told(None, event)).await.is_err() {
            return;
        }
    }
    let _rest = exchange.finish().receive().await;
}

async fn moved(mut exchange: Exchange, may_be_done: bool) {
    // Who does not hear it finds out by itself.
    let _gone = exchange.send(encode(Told::Moved(proto::Moved { may_be_done }))).await;
    let _rest = exchange.finish().receive().await;
}

/// There is nothing to go on with.
async fn over(mut exchange: Exchange) {
    let head = proto::Head { status: 404, ..proto::Head::default() };
    // Who does not hear it finds out by itself.
    let _gone = exchange.send(encode(Told::Head(head))).await;
    let _rest = exchange.finish().receive().await;
}

fn encode(kind: Told) -> Bytes {
    proto::Told { kind: Some(kind) }.encode_to_vec().into()
}

/// A response as it is passed on; none where its body cannot be read.
async fn head_of(response: Response<ResponseBody>) -> Option<proto::Head> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let header = |(name, value): (&HeaderName, &HeaderValue)| proto::Header {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let headers = parts.headers.iter().map(header).collect();
    Some(proto::Head { status: parts.status.as_u16().into(), headers, body, ..proto::Head::default() })
}
