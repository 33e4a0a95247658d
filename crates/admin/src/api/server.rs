//! Connections of the API: TLS on the admin address, and plain HTTP/2 on the Unix socket.
//!
//! ```text
//! TCP, first byte 0x16 ─▶ handshake (time limit) ─▶ who? ─▶ place ─▶ HTTP/2 ─▶ gate
//! Unix socket ─────────────────────────────────── local ─▶ place ─▶ HTTP/2 ─▶ gate
//! ```
//!
//! | Limit | Value | Why |
//! |---|---|---|
//! | connections of members | 128 | every node and operator at once |
//! | connections without a certificate | 32 | nodes that join, and probes; they take no place of members |
//! | connections of the Unix socket | 32 | command lines of one machine |
//! | handshake | 10 s | as on the data address |
//! | idle | 5 min, 20 s without a certificate | a watch keeps its connection busy |
//! | streams of a connection | 64, 4 without a certificate | a program that watches and asks |
//! | head, message | 16 KiB, 4 MiB | gRPC's usual; larger sets are sent in parts |
//!
//! A certificate is asked for again on a connection that is open: with every look, so that one that ended, or whose authority
//! is trusted no more, ends within seconds with what it had open. What the catalog has to say of it is asked with every change
//! of the catalog: an operator's certificate is not revoked; a node shows one that it may show there, and is not removed. It may
//! do no more with it than strangers may, but more often.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_catalog::{Digest, OperatorId};
use quorate_membership::authority::{BACKDATE, OPERATOR_LIFETIME_MAX};
use quorate_membership::handshake::{self, Accept};
use quorate_membership::identity::PeerIdentity;
use quorate_membership::trust::{Refusal, Side, key_digest, life};
use quorate_types::{NodeId, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::gate::{Busy, Connection, Gate};
use super::node::{Membership, Standing};
use super::record::{self, Origin};

/// The first byte of a TLS record that begins a handshake (RFC 8446 §5.1); no method of HTTP begins so.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Bytes of a message.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

const MEMBERS_MAX: usize = 128;
const STRANGERS_MAX: usize = 32;
const LOCALS_MAX: usize = 32;
const STREAMS_MAX: u32 = 64;
const STRANGER_STREAMS_MAX: u32 = 4;
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// As much as one message: a connection holds no more that nobody has read.
const WINDOW_BYTES: u32 = 4 << 20;
const STRANGER_WINDOW_BYTES: u32 = 64 << 10;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long open calls get when the node ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Times of connections; tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// In which a handshake has to end.
    pub handshake: Duration,
    /// After which a connection without calls is closed.
    pub idle: Duration,
    /// The same without a certificate.
    pub idle_stranger: Duration,
    /// How often a certificate is asked for again.
    pub look: Duration,
    /// How long an answer may wait for its reader when its time is up; the connection ends then.
    pub unread: Duration,
}

/// The times that nodes have.
pub const TIMES: Times = Times {
    handshake: Duration::from_secs(10),
    idle: Duration::from_secs(300),
    idle_stranger: Duration::from_secs(20),
    look: Duration::from_secs(2),
    unread: Duration::from_secs(10),
};

/// Serves connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    gate: Gate,
    times: Times,
    tls: Arc<OnceLock<Arc<ServerConfig>>>,
    members: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    locals: Arc<Semaphore>,
}

/// A connection was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// The node has nothing to show yet.
    #[error("the node is in no cluster: it has no certificate to show")]
    NoCluster,
    /// It did not shake hands in time.
    #[error("no handshake in {0:?}")]
    Slow(Duration),
    /// It did not shake hands.
    #[error("the handshake failed")]
    Handshake(#[source] std::io::Error),
    /// Its certificate is not taken.
    #[error(transparent)]
    Certificate(#[from] NotTaken),
    /// There are too many.
    #[error("there are {0} connections of this kind")]
    Full(usize),
    /// Its certificate was taken, and is no more.
    #[error("its certificate is taken no more: {0}")]
    Ended(#[source] NotTaken),
    /// It does not read what it is answered.
    #[error("an answer was not read, {0:?} after its time was up")]
    Unread(Duration),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// By whom the cluster trusts.
    #[error(transparent)]
    Untrusted(#[from] Refusal),
    /// By the catalog: its node was removed, or may show another one.
    #[error("node {0} has no such certificate: it was removed, or shows one that was replaced")]
    Node(NodeId),
    /// By the catalog: it was taken back.
    #[error("the certificate {id} of {identity} was revoked")]
    Revoked {
        /// Which one.
        id: OperatorId,
        /// Whose it is.
        identity: Box<PeerIdentity>,
    },
    /// It lives longer than what was taken back is remembered for.
    #[error(
        "the certificate of {identity} is for {} days, and one of an operator may be for {} at most: one that is revoked is \
         remembered that long. Make one that ends earlier",
        days(*life), days(OPERATOR_LIFETIME_MAX)
    )]
    Long {
        /// Whose it is.
        identity: Box<PeerIdentity>,
        /// From its beginning to its end.
        life: Duration,
    },
}

/// Days, the last one whole.
fn days(of: Duration) -> u64 {
    of.as_secs().div_ceil(86_400)
}

/// What a connection showed, and whom it is held against.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    /// What the catalog knows the leaf by.
    id: [u8; 32],
    identity: PeerIdentity,
    member: Arc<dyn Membership>,
}

/// What differs by who is connected.
struct Terms {
    streams: u32,
    window: u32,
    idle: Duration,
}

// === impl Server ===

impl Server {
    pub(crate) fn new(gate: Gate, times: Times) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (members, strangers, locals) = (places(MEMBERS_MAX), places(STRANGERS_MAX), places(LOCALS_MAX));
        Self { gate, times, tls: Arc::default(), members, strangers, locals }
    }

    /// Serves a socket whose first byte begins a handshake, to its end.
    pub(crate) async fn serve_tls(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<(), Unserved> {
        let Standing::Member(member) = self.gate.node().standing() else { return Err(Unserved::NoCluster) };
        let config = self.tls.get_or_init(|| handshake::server(member.credentials(), member.trust(), Accept::Anyone));
        let shaking = TlsAcceptor::from(Arc::clone(config)).accept(socket);
        let shaken = tokio::time::timeout(self.times.handshake, shaking).await;
        let audit = self.gate.node().audit();
        let origin = Origin::Remote(peer);
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let Some(refusal) = Refusal::find(&error) else { return Err(Unserved::Handshake(error)) };
                record::failed(audit, &origin, "certificate_refused", "certificate");
                return Err(NotTaken::from(refusal.clone()).into());
            }
            Err(_elapsed) => return Err(Unserved::Slow(self.times.handshake)),
        };
        let chain: Vec<CertificateDer<'static>> = stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|der| der.clone().into_owned())
            .collect();
        if chain.is_empty() {
            let place = place(&self.strangers, STRANGERS_MAX)?;
            return self.serve(stream, Caller::Nobody, origin, None, place, stop).await;
        }
        let shown = Shown::check(chain, member)
            .inspect_err(|_| record::failed(audit, &origin, "certificate_refused", "certificate"))?;
        let place = place(&self.members, MEMBERS_MAX)?;
        self.serve(stream, Caller::of_identity(&shown.identity), origin, Some(shown), place, stop).await
    }

    /// Serves a socket of this machine's own user, to its end.
    pub(crate) async fn serve_local(&self, socket: UnixStream, stop: &CancellationToken) -> Result<(), Unserved> {
        let caller = Caller::Local { uid: socket.peer_cred().ok().map(|credentials| credentials.uid()) };
        let place = place(&self.locals, LOCALS_MAX)?;
        self.serve(socket, caller, Origin::Local, None, place, stop).await
    }

    async fn serve<IO>(
        &self,
        io: IO,
        caller: Caller,
        origin: Origin,
        shown: Option<Shown>,
        place: OwnedSemaphorePermit,
        stop: &CancellationToken,
    ) -> Result<(), Unserved>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _place = place;
        let terms = self.terms(&caller);
        let busy = Busy::new();
        let connection = Arc::new(Connection { caller, origin, busy: Arc::clone(&busy) });
        let gate = self.gate.clone();
        let service = service_fn(move |request| {
            let (gate, connection) = (gate.clone(), Arc::clone(&connection));
            // In a box: what a call needs is large, and is freed with it.
            Box::pin(async move { Ok::<_, std::convert::Infallible>(gate.answer(connection, request).await) })
        });
        let mut connection = pin!(terms.builder().serve_connection(TokioIo::new(io), service));
        let mut look = tokio::time::interval(self.times.look);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = shown.as_ref().map(|shown| shown.member.control().changed());
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(Unserved::Broken),
                () = stop.cancelled() => break,
                () = next(&mut changed) => {
                    shown.as_ref().map_or(Ok(()), Shown::stands).map_err(Unserved::Ended)?;
                }
                _ = look.tick() => {
                    shown.as_ref().map_or(Ok(()), Shown::is_good).map_err(Unserved::Ended)?;
                    if busy.overdue() >= self.times.unread {
                        return Err(Unserved::Unread(self.times.unread));
                    }
                    if busy.idle() >= terms.idle {
                        break;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
            Ok(ended) => ended.map_err(Unserved::Broken),
            // Watches never end by themselves.
            Err(_elapsed) => Ok(()),
        }
    }

    fn terms(&self, caller: &Caller) -> Terms {
        match caller {
            Caller::Nobody => {
                let idle = self.times.idle_stranger;
                Terms { streams: STRANGER_STREAMS_MAX, window: STRANGER_WINDOW_BYTES, idle }
            }
            Caller::Local { .. } | Caller::Operator { .. } | Caller::Node(_) => {
                Terms { streams: STREAMS_MAX, window: WINDOW_BYTES, idle: self.times.idle }
            }
        }
    }
}

// === impl Shown ===

impl Shown {
    /// Takes a chain, when it is taken.
    fn check(chain: Vec<CertificateDer<'static>>, member: Arc<dyn Membership>) -> Result<Self, NotTaken> {
        let identity = member.trust().verify(&chain, Side::Client, now())?;
        let leaf = chain.first().map_or(&[][..], |leaf| leaf);
        let id = match &identity {
            // Which one a node may show is said: another one is none.
            PeerIdentity::Node { .. } => Digest::of(leaf).0,
            PeerIdentity::Operator { .. } => {
                // The cluster makes none that is longer; somebody else may.
                let life = life(leaf).map_err(Refusal::from)?;
                if member.has_certificate_files() && life > OPERATOR_LIFETIME_MAX + BACKDATE {
                    return Err(NotTaken::Long { identity: Box::new(identity), life });
                }
                key_digest(leaf).map_err(Refusal::from)?
            }
        };
        let shown = Self { chain, id, identity, member };
        shown.stands().map(|()| shown)
    }

    /// Whether the cluster's authorities vouch for it now, and the catalog takes it.
    fn is_good(&self) -> Result<(), NotTaken> {
        self.member.trust().verify(&self.chain, Side::Client, now())?;
        self.stands()
    }

    /// Whether the catalog, as this node has it, takes it now.
    fn stands(&self) -> Result<(), NotTaken> {
        let catalog = self.member.control().catalog();
        match &self.identity {
            PeerIdentity::Node { node, .. } => {
                let holder = catalog.node_with_certificate(&self.id);
                if holder.is_some_and(|holder| holder.id == *node) { Ok(()) } else { Err(NotTaken::Node(*node)) }
            }
            PeerIdentity::Operator { .. } => {
                let id = OperatorId(self.id);
                if catalog.is_revoked(&id) {
                    return Err(NotTaken::Revoked { id, identity: Box::new(self.identity.clone()) });
                }
                Ok(())
            }
        }
    }
}

/// Waits for the next change of the catalog; for ever where there is nothing to watch, or the node ends.
async fn next(changed: &mut Option<watch::Receiver<u64>>) {
    if let Some(changed) = changed
        && changed.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

// === impl Terms ===

impl Terms {
    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_header_list_size(HEADER_BYTES_MAX)
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

fn place(places: &Arc<Semaphore>, most: usize) -> Result<OwnedSemaphorePermit, Unserved> {
    Arc::clone(places).try_acquire_owned().map_err(|_| Unserved::Full(most))
}

/// The wall clock, for certificates.
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use quorate_membership::identity::Role;
    use quorate_types::{ClusterId, ResourceName};

    use super::*;

    #[test]
    fn a_certificate_that_lives_too_long_is_refused_with_its_life_and_the_most() {
        let name = ResourceName::new("ana").unwrap();
        let identity = Box::new(PeerIdentity::Operator { cluster: ClusterId([7; 16]), name, role: Role::Admin });
        let life = OPERATOR_LIFETIME_MAX + BACKDATE + Duration::from_secs(1);
        let told = NotTaken::Long { identity, life }.to_string();
        assert!(told.contains("ana/admin is for 367 days") && told.contains("for 366 at most"), "{told}");
    }
}
