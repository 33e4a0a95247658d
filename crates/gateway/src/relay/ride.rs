//! A client's stream that outlives the owner of its session.
//!
//! It reads from whoever owns the session, here or at another node, and notes the last event that it passed on. When the
//! owner is lost, or is another one now, it goes on there after that event; a stream that cannot be gone on with ends, and
//! its client comes again with the last event that it has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use quorate_http::sse;
use quorate_jsonrpc::{Frame, Id, Limits, build};
use quorate_mcp::error::OUTCOME_UNKNOWN;
use quorate_peer::{Receiving, Sending};
use quorate_proto::relay::v1 as proto;
use quorate_proto::relay::v1::told::Kind as Told;
use quorate_runtime::entropy;
use quorate_runtime::session::{Connection, Refused};
use quorate_runtime::shard::Unknown;
use quorate_runtime::shards::{Shards, Where};
use quorate_session::{Emission, EventId, Rejection, StreamId};
use quorate_types::{NodeId, PrincipalDigest, ResourceName};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{PATIENCE, PAUSE, call};
use crate::classify::Received;
use crate::dispatch::Dispatched;
use crate::snapshot::Services;

/// Where a session is asked for, and by whom.
#[derive(Clone)]
pub(super) struct At {
    services: Arc<Services>,
    principal: PrincipalDigest,
    toolset: ResourceName,
}

/// A client's stream.
pub struct Ride {
    at: At,
    /// What another owner is told of its client.
    template: proto::Call,
    session: String,
    shard: u32,
    /// When somebody else may own it.
    changed: watch::Receiver<u64>,
    /// The stream, where it can be gone on with.
    stream: Option<StreamId>,
    /// The last event that was passed on, or that its client said it has.
    has: Option<u64>,
    /// Whether it answers a POST.
    is_post: bool,
    /// The call that the stream has to answer, and has not yet.
    call: Option<Id>,
    /// Whether anything was passed on.
    has_begun: bool,
    /// Whether its client has an event to go on after, so that it comes again when its connection ends.
    is_resumable: bool,
    /// How long the client was asked to wait before it comes again; none where it knows no events without data.
    retry: Option<Duration>,
    /// Whether the client was sent to another node.
    is_handed_over: bool,
    source: Source,
}

/// Where events come from.
pub(super) enum Source {
    /// The session's actor, on this node.
    Here(Box<Connection>),
    /// Another node.
    Remote(Box<Remote>),
    /// Nobody, until the owner is found.
    Nobody,
}

/// The stream at another node.
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
}

/// How going on with a stream ended.
enum Rejoined {
    At(Source),
    /// Not yet.
    Again,
    /// It cannot be gone on with, or there is nothing left of it.
    Over,
}

/// Waits for the end of an exchange whose last word is said: to drop it before would take that back.
pub(super) fn hear_out(mut receiving: Receiving) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let end = async move { while matches!(receiving.receive().await, Ok(Some(_))) {} };
        drop(runtime.spawn(tokio::time::timeout(PATIENCE, end)));
    }
}

// === impl At ===

impl At {
    pub(super) fn of(received: &Received) -> Self {
        Self {
            services: Arc::clone(&received.accepted.snapshot.services),
            principal: received.caller.digest,
            toolset: received.accepted.toolset.name().clone(),
        }
    }

    pub(super) fn shards(&self) -> &Shards {
        self.services.sessions.shards()
    }
}

/// Makes the streams of sessions among answers go on when their sessions have other owners.
pub(super) fn ridden(received: &Received, dispatched: Dispatched) -> Dispatched {
    match dispatched {
        Dispatched::Connected { connection, standing } => {
            let session = received.session_id().unwrap_or_default().to_owned();
            let ride = Box::new(Ride::here(received, &session, connection));
            Dispatched::Ridden { endpoint: None, ride, standing }
        }
        Dispatched::ConnectedSse { endpoint, connection, standing } => {
            let session = endpoint.split_once("sessionId=").map(|(_, id)| id.to_owned()).unwrap_or_default();
            let ride = Box::new(Ride::here(received, &session, connection));
            Dispatched::Ridden { endpoint: Some(endpoint), ride, standing }
        }
        Dispatched::Json { status, body } => {
            // The client's connection is this node's: what becomes of one becomes of the other.
            acknowledge(received);
            Dispatched::Json { status, body }
        }
        other => other,
    }
}

/// Says that the answer to a request has arrived where its client is.
pub(super) fn acknowledge(received: &Received) {
    if let (Some(session), Some(key)) = (received.session_id(), received.key) {
        received.accepted.snapshot.services.sessions.acknowledge(session, key);
    }
}

// === impl Ride ===

impl Ride {
    pub(super) fn new(received: &Received, session: &str, stream: Option<StreamId>, source: Source) -> Self {
        let at = At::of(received);
        let shard = at.services.sessions.shard_of(session).unwrap_or(0);
        let changed = at.shards().changed_of(shard);
        // What the client says that it has is where its stream begins.
        let last = received.accepted.head.headers.get(quorate_mcp::header::LAST_EVENT_ID);
        let last = last.and_then(|id| id.to_str().ok()?.parse::<EventId>().ok());
        let has = last.filter(|event| Some(event.stream) == stream).map(|event| event.sequence);
        let is_post = received.accepted.head.method == http::Method::POST;
        let has = has.or((is_post && stream != Some(StreamId::STANDALONE)).then_some(0));
        let call = is_post.then(|| id_of(&received.body)).flatten();
        Self {
            at,
            template: call::template(received),
            session: session.to_owned(),
            shard,
            changed,
            stream,
            has,
            is_post,
            call,
            has_begun: false,
            is_resumable: false,
            retry: None,
            is_handed_over: false,
            source,
        }
    }

    fn here(received: &Received, session: &str, connection: Connection) -> Self {
        let stream = Some(connection.stream());
        Self::new(received, session, stream, Source::Here(Box::new(connection)))
    }

    fn is_of_post(&self) -> bool {
        self.stream.is_some_and(|stream| stream != StreamId::STANDALONE) && self.is_post
    }

    /// The events, until the stream ends.
    pub(crate) fn events(self) -> impl Stream<Item = sse::Event> + Send {
        stream::unfold(self, |mut ride| async move { ride.next().await.map(|event| (event, ride)) })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        if self.is_handed_over {
            return None;
        }
        let draining = self.at.services.draining.clone();
        tokio::select! {
            biased;
            event = self.next_of_owner() => event,
            () = draining.cancelled() => self.hand_over(),
        }
    }

    /// Sends its client to another node, where it goes on after the last event that it has. Not all come at the same moment.
    fn hand_over(&mut self) -> Option<sse::Event> {
        self.is_handed_over = true;
        let (stream, sequence) = self.stream.zip(self.has).filter(|_| self.is_resumable)?;
        let permille = 250 + u32::try_from(entropy::spread() % 751).unwrap_or(0);
        let (id, retry) = (Some(EventId { stream, sequence }), Some(self.retry? * permille / 1_000));
        Some(quorate_runtime::session::event(Emission { sequence, id, data: Bytes::new(), retry }))
    }

    async fn next_of_owner(&mut self) -> Option<sse::Event> {
        loop {
            match &mut self.source {
                Source::Here(connection) => match connection.receive().await {
                    Some(emission) => {
                        self.has = Some(emission.sequence);
                        let event = quorate_runtime::session::event(emission);
                        self.saw(&event);
                        return Some(event);
                    }
                    None if connection.is_moved() => self.source = Source::Nobody,
                    None => return None,
                },
                Source::Remote(_) => match self.next_remote().await {
                    Ok(event) => {
                        event.iter().for_each(|event| self.saw(event));
                        return event;
                    }
                    Err(()) => self.source = Source::Nobody,
                },
                Source::Nobody => match self.rejoin().await {
                    Rejoined::At(source) => self.source = source,
                    // Its client comes again, when somebody owns the session.
                    Rejoined::Again if self.is_resumable => return None,
                    Rejoined::Again | Rejoined::Over => return self.unanswered(),
                },
            }
        }
    }

    /// Says that the outcome of a call is not known, where its stream cannot be gone on with before its answer: a call never
    /// ends without one.
    fn unanswered(&mut self) -> Option<sse::Event> {
        let id = self.call.take()?;
        self.at.services.metrics.outcome_unknown("");
        let message = "outcome unknown: the node was lost that had the call, nothing of it is kept, and it may have run: find \
                       out before you call again";
        let error = build::error(Some(&id), OUTCOME_UNKNOWN, message, Some(r#"{"mayHaveRun":true}"#));
        Some(sse::Event::new(error))
    }

    /// Notes what its client can go on after, and the answer to the call, when it passes.
    fn saw(&mut self, event: &sse::Event) {
        let data = &event.data;
        self.has_begun = true;
        self.is_resumable |= event.id.is_some();
        self.retry = event.retry.or(self.retry);
        if self.call.is_some() && memchr::memmem::find(data, b"\"method\"").is_none() && id_of(data) == self.call {
            self.call = None;
        }
    }

    /// The next event of another node, none at the end; an error when that node is the owner no more.
    async fn next_remote(&mut self) -> Result<Option<sse::Event>, ()> {
        loop {
            let Source::Remote(remote) = &mut self.source else { return Err(()) };
            let Remote { node, sending, receiving } = &mut **remote;
            let node = *node;
            self.changed.borrow_and_update();
            let is_lost = |at| matches!(at, Where::Here(_)) || matches!(at, Where::There(other) if other != node);
            if is_lost(self.at.shards().locate(self.shard)) {
                return Err(());
            }
            let message = tokio::select! {
                message = receiving.receive() => message,
                _ = self.changed.changed() => continue,
            };
            match message.map(|message| message.map(call::read)) {
                Ok(Some(Ok(Told::Event(event)))) => {
                    if let Some(sequence) = event.sequence {
                        let ack = proto::Ack { up_to: sequence };
                        // An owner that is gone shows with the next event.
                        let _gone = sending.send(ack.encode_to_vec().into()).await;
                        // Only now: a client that is sent away meanwhile has not got it.
                        self.has = Some(sequence);
                    }
                    return Ok(Some(call::event(event)));
                }
                Ok(None) => {
                    let _over = self.leave();
                    return Ok(None);
                }
                Ok(Some(Ok(Told::Moved(_) | Told::Head(_)) | Err(_))) | Err(_) => return Err(()),
            }
        }
    }

    /// Says the last word to another node; to drop it would take back what was said last of events that were passed on.
    fn leave(&mut self) -> Option<Receiving> {
        let Source::Remote(remote) = std::mem::replace(&mut self.source, Source::Nobody) else { return None };
        remote.sending.finish();
        Some(remote.receiving)
    }

    /// Finds the owner, and goes on there, unless that cannot be; not yet where none is found in time.
    async fn rejoin(&mut self) -> Rejoined {
        if self.call.is_none() && self.has.is_some() && self.is_of_post() {
            // Its answer was passed on, which is all that there is.
            return Rejoined::Over;
        }
        let Some(stream) = self.stream else { return Rejoined::Over };
        let shards = self.at.shards().clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.changed.borrow_and_update();
            let rejoined = match shards.locate(self.shard) {
                Where::Here(_) => self.rejoin_here(stream).await,
                Where::There(node) => self.rejoin_there(stream, node).await,
                Where::Unknown => Rejoined::Again,
            };
            match rejoined {
                Rejoined::Again if Instant::now() < deadline => {}
                rejoined => {
                    if matches!(rejoined, Rejoined::At(_)) {
                        self.at.services.metrics.resumption("carried");
                    }
                    return rejoined;
                }
            }
            tokio::select! {
                _ = self.changed.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn rejoin_here(&self, stream: StreamId) -> Rejoined {
        let sessions = &self.at.services.sessions;
        let session = match sessions.find(&self.session, self.at.principal, &self.at.toolset).await {
            Ok(session) => session,
            Err(Unknown::Elsewhere(_)) => return Rejoined::Again,
            Err(_) => return Rejoined::Over,
        };
        match session.rejoin(stream, self.has, !self.has_begun).await {
            Ok(connection) => Rejoined::At(Source::Here(Box::new(connection))),
            Err(Refused::Moved | Refused::Rested) => Rejoined::Again,
            Err(Refused::Rejected(Rejection::StreamFinished { .. })) => Rejoined::Over,
            Err(refused) => {
                tracing::debug!(%stream, %refused, "a stream cannot be gone on with");
                Rejoined::Over
            }
        }
    }

    async fn rejoin_there(&self, stream: StreamId, node: NodeId) -> Rejoined {
        let primes = !self.has_begun;
        let rejoin = proto::Rejoin { session: self.session.clone(), stream: stream.0, has: self.has, primes };
        match call::rejoin(&self.template, rejoin, &self.at, node).await {
            Ok(call::Begun { head, sending, receiving }) if head.has_events => {
                Rejoined::At(Source::Remote(Box::new(Remote { node, sending, receiving })))
            }
            Ok(_) => Rejoined::Over,
            Err(error) => {
                tracing::debug!(%stream, %node, %error, "a stream is asked for again");
                Rejoined::Again
            }
        }
    }
}

impl Drop for Ride {
    /// Many a client goes as soon as it has its answer: the owner hears of that, too.
    fn drop(&mut self) {
        if self.call.is_some() || !self.is_of_post() {
            return;
        }
        if let Some(receiving) = self.leave() {
            hear_out(receiving);
        }
    }
}

/// The id of a request or an answer.
fn id_of(data: &Bytes) -> Option<Id> {
    Frame::parse(data.clone(), &Limits::ANSWER).ok()?.id().cloned()
}
