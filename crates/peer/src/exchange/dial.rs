//! The connection of exchanges to a peer: dialed when somebody needs it, kept while somebody uses it.
//!
//! Whoever comes while it is dialed waits for the same dial, and has its error; who comes a moment after a dial that failed
//! has that error, too, so that thousands who want to reach a node that is gone do not dial it thousands of times.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quorate_proto::peer::v1::frame::Kind;
use quorate_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::line::{Attending, Failure, Line, dialing};
use super::places::lock;
use super::socket::{Socket, keep_alive};
use super::{Exchange, ExchangeError};
use crate::Protocol;
use crate::config::Address;
use crate::dial::{begin_error, first_frame, prove};
use crate::error::DialError;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::shared::Shared;

type Outcome = Result<Arc<Line>, Arc<DialError>>;

/// How it stands with the connection to a peer.
#[derive(Default)]
pub(crate) enum Slot {
    /// There is none.
    #[default]
    Idle,
    /// It is dialed; whoever waits hears what comes of it.
    Dialing(watch::Receiver<Option<Outcome>>),
    /// There is one.
    Open(Arc<Line>),
    /// The last dial failed, and when.
    Failed(Arc<DialError>, Instant),
}

/// A connection that works.
struct Established {
    attending: Attending,
    connection: AbortOnDropHandle<Result<(), h2::Error>>,
    pings: h2::PingPong,
    heard: super::socket::Heard,
    line: Arc<Line>,
}

/// Closes a line when its task ends, in whatever way.
struct Closing(Arc<Line>);

// === impl Slot ===

impl Slot {
    /// Tells whether exchanges can be opened without a dial.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(line) if !line.is_closed())
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Dialing(_) => "Dialing",
            Self::Open(_) => "Open",
            Self::Failed(..) => "Failed",
        })
    }
}

// === impl Closing ===

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Opens an exchange with a peer.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    to: NodeId,
    protocol: Protocol,
    head: Bytes,
) -> Result<Exchange, ExchangeError> {
    let member = shared.member(to).ok_or(ExchangeError::Unknown { node: to })?;
    let unreachable = |reason| ExchangeError::Unreachable { node: to, reason };
    loop {
        let line = line_to(shared, &member).await?;
        // A line that has just closed is not in its slot any more.
        let Some(place) = line.enter()? else { continue };
        return line.open(place, protocol, head).await.map_err(|failure| match failure {
            Failure::Before(reason) => unreachable(Arc::new(reason)),
            Failure::Refused(declined) => {
                line.count_refused(&declined);
                ExchangeError::Refused(declined)
            }
            Failure::Broken(error) => error,
        });
    }
}

/// Returns the connection to a peer, dialed if there is none.
async fn line_to(shared: &Arc<Shared>, member: &Arc<Member>) -> Result<Arc<Line>, ExchangeError> {
    let unreachable = |reason| ExchangeError::Unreachable { node: member.node, reason };
    let mut outcome = {
        let mut slot = lock(&member.exchanges.slot);
        match &*slot {
            Slot::Open(line) if slot.is_open() => return Ok(Arc::clone(line)),
            Slot::Failed(reason, at) if at.elapsed() < shared.config.limits.backoff_min => {
                return Err(unreachable(Arc::clone(reason)));
            }
            Slot::Dialing(outcome) if outcome.has_changed().is_ok() => outcome.clone(),
            Slot::Idle | Slot::Dialing(_) | Slot::Open(_) | Slot::Failed(..) => {
                let (told, outcome) = watch::channel(None);
                *slot = Slot::Dialing(outcome.clone());
                let keeping = keep(Arc::clone(shared), Arc::clone(member), told);
                shared.tasks.spawn(member.removed.clone().run_until_cancelled_owned(keeping));
                outcome
            }
        }
    };
    let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
    match outcome {
        Ok(Some(outcome)) => outcome.map_err(unreachable),
        // The dial ends without an outcome when the node is no peer any more, or this one shuts down.
        Ok(None) | Err(_) => Err(ExchangeError::Unknown { node: member.node }),
    }
}

/// Dials a peer, and keeps the connection until it ends.
async fn keep(shared: Arc<Shared>, member: Arc<Member>, told: watch::Sender<Option<Outcome>>) {
    let address = member.address.borrow().clone();
    let limit = shared.config.limits.dial_timeout;
    let dialed = tokio::time::timeout(limit, dial(&shared, &member, &address)).await;
    let established = match dialed.unwrap_or_else(|_| Err(DialError::TimedOut { ms: limit.as_millis() })) {
        Ok(established) => established,
        Err(error) => {
            member.exchanges.counters.failures.count(error.label());
            if shared.refused.admits(std::time::Instant::now()) {
                tracing::warn!(peer = %member.node, address = address.as_str(), reason = error.label(),
                    "cannot reach a peer for exchanges: {error}");
            }
            let error = Arc::new(error);
            *lock(&member.exchanges.slot) = Slot::Failed(Arc::clone(&error), Instant::now());
            told.send_replace(Some(Err(error)));
            return;
        }
    };
    member.exchanges.counters.connects.fetch_add(1, Ordering::Relaxed);
    tracing::info!(peer = %member.node, "a connection of exchanges to a peer is open");
    let line = Arc::clone(&established.line);
    let closing = Closing(Arc::clone(&line));
    *lock(&member.exchanges.slot) = Slot::Open(Arc::clone(&line));
    told.send_replace(Some(Ok(line)));
    let end = carry(&shared, established).await;
    drop(closing);
    tracing::info!(peer = %member.node, reason = %end, "a connection of exchanges to a peer ended");
}

/// Waits until a connection ends; returns why it did.
async fn carry(shared: &Shared, established: Established) -> String {
    let Established { mut attending, mut connection, pings, heard, line } = established;
    let limits = &shared.config.limits;
    let unused = async {
        loop {
            tokio::time::sleep(limits.exchange_idle).await;
            if line.close_unused() {
                break;
            }
        }
    };
    tokio::select! {
        ended = &mut connection => match ended {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) | Err(_) => "the peer closed it".to_owned(),
        },
        end = attending.attend() => end,
        () = keep_alive(pings, heard, limits.keepalive_interval, limits.keepalive_timeout) => "it was silent".to_owned(),
        () = unused => "nobody used it".to_owned(),
    }
}

/// Dials a peer: as for consensus, but for what the connection is for.
async fn dial(shared: &Shared, member: &Member, address: &Address) -> Result<Established, DialError> {
    let proven = prove(shared, member, address, true).await?;
    greet(shared, member, proven).await
}

/// Lets both sides say who they are.
async fn greet<IO>(shared: &Shared, member: &Member, io: IO) -> Result<Established, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (socket, heard) = Socket::new(io);
    let (sender, mut connection) = dialing().handshake(socket).await.map_err(|error| begin_error(&error))?;
    let pings = connection.ping_pong().expect("nobody else took it");
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let opening = Attending::open(&sender, shared.identity.to_proto());
    let mut attending = opening.await.map_err(|error| begin_error(&error))?;
    let node = member.node;
    let hello = match first_frame(Some(attending.hear().await.map_err(DialError::Stream)?)) {
        Some(Kind::Hello(hello)) => hello,
        Some(Kind::Refused(refused)) => {
            return Err(DialError::RefusedByPeer { node, reason: Refusal::from_proto(&refused) });
        }
        _ => return Err(DialError::Stream("the first frame is no hello".to_owned())),
    };
    if let Err(reason) = shared.meet(&hello, node) {
        attending.refuse(&reason);
        // The peer closes when it has read why; the dial's limit is this wait's.
        attending.hung_up().await;
        return Err(DialError::RefusedByUs { node, reason });
    }
    let counters = Arc::clone(&member.exchanges.counters);
    let line = Arc::new(Line::new(sender, shared.config.limits.exchanges, counters));
    Ok(Established { attending, connection, pings, heard, line })
}
