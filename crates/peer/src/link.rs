//! The stream to one peer: dialed, kept, and dialed again.
//!
//! ```text
//!             ┌────────────── dial fails: wait ──────────────┐
//! Connecting ─┴▶ dial ─▶ Connected ─▶ stream ends ─▶ Connecting ─▶ dial at once ─┬▶ Connected
//!                  └▶ one side does not want the other: Refused                  └▶ nothing listens: Gone
//! ```
//!
//! [`Link::Gone`] is the news that a takeover waits for: a process that is killed closes its sockets, and a dial that the
//! operating system refuses says that nobody listens any more. A peer that was never reached is not gone, and a host that
//! does not answer is not either: that is what elections are for.

use std::sync::Arc;
use std::time::Instant;

use quorate_proto::peer::v1::frame::Kind;
use quorate_types::{Incarnation, NodeId};

use crate::backoff::Backoff;
use crate::dial::{Established, dial};
use crate::error::DialError;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::spread::spread;

/// How it stands with the stream to a peer.
#[derive(Clone, Debug)]
pub enum Link {
    /// There is no stream yet, or not any more; the peer is dialed.
    Connecting,
    /// Requests go through.
    Connected {
        /// Since when.
        since: Instant,
        /// The life of the peer at the other end.
        incarnation: Incarnation,
        /// The highest feature level that both nodes can work at.
        level: u32,
    },
    /// The stream ended and nothing listens at the peer's address: its process is gone. It is dialed all the same.
    Gone,
    /// One of the two does not want the other, for a reason that dialing does not change. It is dialed all the same.
    Refused {
        /// Who, and why.
        reason: Arc<DialError>,
    },
}

// === impl Link ===

impl Link {
    /// Tells whether requests go through.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Tells whether the peer's process is gone.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// Returns the state after a dial that failed.
    fn after(&self, error: DialError, was_connected: bool) -> Self {
        match (&error, self) {
            (DialError::NothingListens, _) if was_connected => Self::Gone,
            // A host that does not answer says nothing new of a process that was gone.
            (DialError::TimedOut { .. } | DialError::Connect(_) | DialError::Resolve(_), Self::Gone) => Self::Gone,
            _ if error.is_refusal() => Self::Refused { reason: Arc::new(error) },
            _ => Self::Connecting,
        }
    }
}

/// Keeps the stream to a peer, until it is cancelled.
pub(crate) async fn keep(shared: Arc<Shared>, member: Arc<Member>) {
    let limits = &shared.config.limits;
    let mut backoff = Backoff::new(limits.backoff_min, limits.backoff_max);
    let mut addresses = member.address.subscribe();
    let mut was_connected = false;
    // What was logged last: the same failure again is no news.
    let mut told = String::new();
    loop {
        let address = addresses.borrow_and_update().clone();
        match dial(&shared, &member, &address).await {
            Ok(established) => {
                (was_connected, told) = (true, String::new());
                let began = Instant::now();
                let end = carry(&shared, &member, established).await;
                tracing::info!(peer = %member.node, reason = %end, "the stream to a peer ended");
                backoff.ended(began.elapsed());
            }
            Err(error) => {
                member.counters.failures.count(error.label());
                let text = error.to_string();
                if told != text {
                    tell(member.node, address.as_str(), &error);
                    told = text;
                }
                member.set_link(|link| link.after(error, was_connected));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(entropy())) => {}
            _ = addresses.changed() => backoff.moved(),
            // It dialed us: whatever it was that failed is over. It has a back-off of its own.
            () = member.came.notified() => backoff.moved(),
        }
    }
}

/// Takes answers from a stream until it ends; returns why it did.
async fn carry(shared: &Shared, member: &Member, established: Established) -> String {
    let Established { calls, mut inbound, agreed, connection } = established;
    let (incarnation, level) = (agreed.incarnation, agreed.level);
    member.counters.connects.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let connected = member.connect(Arc::clone(&calls));
    member.set_link(|_| Link::Connected { since: Instant::now(), incarnation, level });
    tracing::info!(peer = %member.node, %incarnation, level, "a stream to a peer is open");
    let reading = async {
        loop {
            let batch = match inbound.message().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return "the peer closed it".to_owned(),
                Err(status) => return status.message().to_owned(),
            };
            for frame in batch.frames {
                match frame.kind {
                    Some(Kind::Answer(answer)) => {
                        member.counters.came(crate::frame::answer_bytes(&answer));
                        if !calls.answer(answer) {
                            return "the peer answered what was not asked".to_owned();
                        }
                    }
                    Some(Kind::Refused(refused)) => {
                        let reason = Refusal::from_proto(&refused);
                        tracing::error!(peer = %member.node, %reason, "node {} refuses this node", member.node);
                        return format!("the peer refuses this node: {reason}");
                    }
                    // A frame of a newer version, which works without an answer to it.
                    None => {}
                    Some(Kind::Hello(_) | Kind::Request(_) | Kind::Board(_)) => {
                        return "the peer sent what only who dialed sends".to_owned();
                    }
                }
            }
        }
    };
    let end = tokio::select! {
        end = reading => end,
        () = spread(&shared.board, &calls) => "the board is not spread any more".to_owned(),
    };
    // Calls end before anybody reads of it.
    drop(connected);
    drop(connection);
    member.set_link(|_| Link::Connecting);
    end
}

/// Logs a dial that failed otherwise than the one before.
fn tell(peer: NodeId, address: &str, error: &DialError) {
    if error.is_refusal() {
        tracing::error!(%peer, address, reason = error.label(), "{error}");
    } else {
        tracing::warn!(%peer, address, reason = error.label(), "cannot reach a peer: {error}");
    }
}

/// Returns randomness for jitter. Without any, which only a broken system has, there is no jitter.
fn entropy() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_gone_when_it_was_there_and_nothing_listens_any_more() {
        let timed_out = || DialError::TimedOut { ms: 1 };
        assert!(Link::Connecting.after(DialError::NothingListens, true).is_gone());
        assert!(matches!(Link::Connecting.after(DialError::NothingListens, false), Link::Connecting));
        assert!(matches!(Link::Connecting.after(timed_out(), true), Link::Connecting));
        assert!(Link::Gone.after(timed_out(), true).is_gone());
        assert!(matches!(Link::Gone.after(DialError::Stream(String::new()), true), Link::Connecting));
        assert!(matches!(Link::Gone.after(DialError::Stranger, true), Link::Refused { .. }));
    }
}
