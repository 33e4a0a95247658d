//! Serves a connection of exchanges: its Hello, then each exchange to whoever serves its protocol.
//!
//! The socket has its [`Ticket`] until the node is known, as one of consensus has. An exchange is offered when its head is
//! here; whoever serves it takes or refuses the [`Offer`]. A newer connection of a node replaces this one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use quorate_proto::peer::v1::exchange_message::Kind;
use quorate_proto::peer::v1::frame::Kind as Frame;
use quorate_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::{Declined, ExchangeError};
use super::halves::{Exchange, Sending};
use super::line::{ATTEND, Attending, CONTENT_TYPE, EXCHANGE, accepting};
use super::places::{Place, Places};
use super::socket::{Heard, Socket, keep_alive};
use super::stream::{Reader, Room, Writer};
use super::{EXCHANGES_MAX, ExchangeHandler};
use crate::Protocol;
use crate::admission::Ticket;
use crate::dial::first_frame;
use crate::member::Member;
use crate::shared::Shared;

/// Who serves which protocol, and where.
#[derive(Default)]
pub(crate) struct Handlers {
    by_protocol: RwLock<BTreeMap<Protocol, Arc<dyn ExchangeHandler>>>,
    /// The runtime on which the first handler came.
    runtime: OnceLock<Handle>,
}

/// An exchange that a peer has opened: taken, or refused. Dropped it is refused.
#[must_use = "dropping it refuses the exchange"]
pub struct Offer {
    respond: SendResponse<Bytes>,
    rest: Option<(Reader, Place)>,
    member: Arc<Member>,
}

/// A connection whose node is known.
struct Begun<IO> {
    connection: Connection<Socket<IO>, Bytes>,
    attending: Attending,
    member: Arc<Member>,
    stop: CancellationToken,
    heard: Heard,
}

/// What the exchanges of a connection share.
struct Serving {
    shared: Arc<Shared>,
    member: Arc<Member>,
    places: Arc<Places>,
    room: Room,
}

// === impl Handlers ===

impl Handlers {
    pub(crate) fn insert(&self, protocol: Protocol, handler: Arc<dyn ExchangeHandler>) {
        self.runtime.get_or_init(Handle::current);
        let old = self.write().insert(protocol, handler);
        // What it holds may end here, which may ask for this lock: it is given back before.
        drop(old);
    }

    pub(crate) fn remove(&self, protocol: Protocol) {
        let old = self.write().remove(&protocol);
        drop(old);
    }

    pub(crate) fn clear(&self) {
        let old = std::mem::take(&mut *self.write());
        drop(old);
    }

    /// Has connections served there, unless a handler is somewhere else already.
    pub(crate) fn place(&self, runtime: Handle) {
        self.runtime.get_or_init(|| runtime);
    }

    /// Returns where connections are served: where it was said, or the handlers are, or here, when all is refused.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.get().cloned().unwrap_or_else(Handle::current)
    }

    fn of(&self, protocol: Protocol) -> Option<Arc<dyn ExchangeHandler>> {
        self.by_protocol.read().unwrap_or_else(PoisonError::into_inner).get(&protocol).cloned()
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Protocol, Arc<dyn ExchangeHandler>>> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.by_protocol.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Offer ===

impl Offer {
    /// Takes the exchange; whoever opened it learns that.
    ///
    /// # Errors
    /// [`ExchangeError::Cancelled`] or [`ExchangeError::Lost`] when it was given up meanwhile: there is nothing to do.
    pub fn accept(mut self) -> Result<Exchange, ExchangeError> {
        let (reader, place) = self.rest.take().expect("it is there until it is taken");
        let counters = &self.member.exchanges.counters;
        let response = Response::builder().header(http::header::CONTENT_TYPE, CONTENT_TYPE).body(());
        let response = response.expect("its parts are constants");
        let stream = self.respond.send_response(response, false).map_err(|error| ExchangeError::from_h2(&error))?;
        counters.inward.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Exchange::new(Sending::new(Writer::new(stream), true, Arc::clone(counters), place), reader))
    }

    /// Refuses the exchange, and says why (at most 1 KiB): nothing was done, and it can be opened again, or elsewhere.
    pub fn refuse(mut self, reason: &str) {
        self.decline(&Declined::by_handler(reason));
    }

    fn decline(&mut self, declined: &Declined) {
        if self.rest.take().is_some() {
            self.member.exchanges.counters.inward.refused.count(declined.label());
            decline(&mut self.respond, declined);
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.decline(&Declined::by_handler("dropped"));
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("from", &self.member.node).finish_non_exhaustive()
    }
}

/// Answers an exchange that is not taken.
fn decline(respond: &mut SendResponse<Bytes>, declined: &Declined) {
    // Who has given it up does not hear it.
    let _ = respond.send_response(declined.to_status().into_http::<()>(), true);
}

/// Serves a node of this cluster, until its connection ends.
pub(crate) async fn serve<IO>(
    shared: Arc<Shared>,
    node: NodeId,
    io: IO,
    ticket: Arc<Ticket>,
    deadline: tokio::time::Instant,
) -> Result<(), (&'static str, String)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = tokio::select! {
        begun = begin(&shared, node, io) => begun,
        () = ticket.evicted() => return Err(("evicted", format!("node {node} has not said hello"))),
        () = tokio::time::sleep_until(deadline) => return Err(("slow", format!("node {node} has not said hello"))),
    };
    let Some(begun) = begun else { return Ok(()) };
    ticket.admit();
    tracing::info!(peer = %node, "a connection of exchanges of a peer is open");
    let end = carry(&shared, begun).await;
    tracing::info!(peer = %node, reason = %end, "a connection of exchanges of a peer ended");
    Ok(())
}

/// Lets both sides say who they are; nothing when the connection ends by that.
async fn begin<IO>(shared: &Arc<Shared>, node: NodeId, io: IO) -> Option<Begun<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (socket, heard) = Socket::new(io);
    let mut connection = accepting(shared.config.limits.exchanges).handshake(socket).await.ok()?;
    let (request, respond) = connection.accept().await?.ok()?;
    if request.uri().path() != ATTEND {
        return None;
    }
    let mut greeting = Box::pin(greet(shared, node, request.into_body(), respond));
    let greeted = loop {
        tokio::select! {
            greeted = &mut greeting => break greeted?,
            next = connection.accept() => {
                let (_, mut early) = next?.ok()?;
                early.send_reset(Reason::REFUSED_STREAM);
            }
        }
    };
    match greeted {
        Ok((attending, member, stop)) => Some(Begun { connection, attending, member, stop, heard }),
        Err(mut attending) => {
            // Who is refused reads why, and hangs up.
            tokio::select! {
                () = attending.hung_up() => {}
                () = async { while let Some(Ok(_)) = connection.accept().await {} } => {}
            }
            None
        }
    }
}

type Greeted = Result<(Attending, Arc<Member>, CancellationToken), Attending>;

/// Answers the hello of a node: with one, or with a refusal.
async fn greet(
    shared: &Arc<Shared>,
    node: NodeId,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Option<Greeted> {
    let response = Response::builder().header(http::header::CONTENT_TYPE, CONTENT_TYPE).body(()).ok()?;
    let mut attending = Attending::new(respond.send_response(response, false).ok()?, body);
    let Some(Frame::Hello(hello)) = first_frame(attending.hear().await.ok()) else { return None };
    match shared.admit(&hello, node) {
        Ok((member, agreed)) => {
            let stop = member.exchanges.accept(agreed.incarnation, &member.removed);
            attending.say(Frame::Hello(shared.identity.to_proto()));
            Some(Ok((attending, member, stop)))
        }
        Err(refusal) => {
            attending.refuse(&refusal);
            Some(Err(attending))
        }
    }
}

/// Hands exchanges on until the connection ends; returns why it did.
async fn carry<IO>(shared: &Arc<Shared>, begun: Begun<IO>) -> String
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Begun { mut connection, mut attending, member, stop, heard } = begun;
    let limits = &shared.config.limits;
    let pings = connection.ping_pong().expect("nobody else took it");
    let mut silence = Box::pin(keep_alive(pings, heard, limits.keepalive_interval, limits.keepalive_timeout));
    let mut attended = Box::pin(attending.attend());
    let places = Arc::<Places>::default();
    let serving = Arc::new(Serving { shared: Arc::clone(shared), member, places, room: Room::new() });
    let end = loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    let taking = Arc::clone(&serving).take(request, respond);
                    shared.tasks.spawn(stop.clone().run_until_cancelled_owned(taking));
                }
                Some(Err(error)) => break error.to_string(),
                None => break "the peer closed it".to_owned(),
            },
            end = &mut attended => break end,
            () = &mut silence => break "it was silent".to_owned(),
            () = stop.cancelled() => break "a newer one came, or the peer is no member any more".to_owned(),
        }
    };
    serving.room.close();
    end
}

// === impl Serving ===

impl Serving {
    /// Reads how an exchange begins, and offers it.
    async fn take(self: Arc<Self>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let counters = &self.member.exchanges.counters;
        let (parts, body) = request.into_parts();
        let mut reader = Reader::new(body, self.room.clone());
        let mut refuse = |declined: Declined| {
            counters.inward.refused.count(declined.label());
            decline(&mut respond, &declined);
        };
        if parts.uri.path() != EXCHANGE {
            return refuse(Declined::UnknownProtocol);
        }
        let max = self.shared.config.limits.exchanges.min(EXCHANGES_MAX);
        let Ok(place) = self.places.enter(max, &counters.inward) else { return refuse(Declined::TooMany) };
        // What ends or is no exchange here ends by the drop of its stream.
        let Ok(Some(Kind::Opening(opening))) = reader.next().await else { return };
        let protocol = Protocol(opening.protocol);
        let Some(handler) = self.shared.exchange_handlers.of(protocol) else {
            return refuse(Declined::UnknownProtocol);
        };
        let Ok(Some(Kind::Payload(head))) = reader.next().await else { return };
        counters.came(head.len());
        let offer = Offer { respond, rest: Some((reader, place)), member: Arc::clone(&self.member) };
        handler.exchange(self.member.node, protocol, head, offer);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    struct Nothing;

    impl ExchangeHandler for Nothing {
        fn exchange(&self, _from: NodeId, _protocol: Protocol, _head: Bytes, _offer: Offer) {}
    }

    fn runtime(name: &str) -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name(name).build().unwrap()
    }

    /// The name of the thread on which connections are served.
    fn served(handlers: &Handlers, by: &Runtime) -> String {
        let runtime = {
            let _entered = by.enter();
            handlers.runtime()
        };
        let name = async { std::thread::current().name().map(str::to_owned) };
        by.block_on(async { runtime.spawn(name).await }).unwrap().unwrap()
    }

    #[test]
    fn connections_that_come_before_anybody_serves_them_are_served_where_it_was_said() {
        let (consensus, requests) = (runtime("consensus"), runtime("requests"));
        let handlers = Handlers::default();
        assert_eq!(served(&handlers, &consensus), "consensus");

        handlers.place(requests.handle().clone());
        assert_eq!(served(&handlers, &consensus), "requests");
        let _entered = consensus.enter();
        handlers.insert(Protocol(9), Arc::new(Nothing));
        assert_eq!(handlers.of(Protocol(9)).map(|_| served(&handlers, &requests)).as_deref(), Some("requests"));
    }
}
