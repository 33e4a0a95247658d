//! The pulse of a node: the heartbeats of all groups that it leads at once, and timers only where a leader is missed.
//!
//! Left alone each group has a timer of its own that fires every 12 ms, and sends its heartbeats when it likes: with 33 groups
//! that is 2,700 wake-ups a second and as many packets as heartbeats. Here all leaders of a node tell that they lead at the
//! same time, so that what they say to one peer goes in one packet; a follower that has heard its leader a moment ago needs
//! no timer, since nothing would come of it before the leader was silent for longer.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::MissedTickBehavior;

use crate::Raft;
use crate::serve::Replicas;

/// Heartbeats that a follower may miss before its timer is started: its leader is not silent for long enough for an election
/// then, so that none comes later than with a timer that always runs.
const MISSED_MAX: u32 = 2;

/// When a replica last heard its leader, as it said to the leader.
#[derive(Debug)]
pub(crate) struct Heard {
    since: Instant,
    /// Microseconds from there; 0 for never.
    at: AtomicU64,
}

// === impl Heard ===

impl Heard {
    pub(crate) fn never() -> Self {
        Self { since: Instant::now(), at: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) {
        self.at.store(self.micros().max(1), Ordering::Relaxed);
    }

    fn is_longer_ago_than(&self, time: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at == 0 || Duration::from_micros(self.micros().saturating_sub(at)) > time
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Beats until the replicas are gone.
pub(crate) async fn beat(replicas: Weak<Replicas>, every: Duration) {
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(replicas) = replicas.upgrade() else { return };
        for replica in replicas.replicas() {
            beat_once(replica.group.raft(), &replica.heard, every);
        }
    }
}

fn beat_once(raft: &Raft, heard: &Heard, every: Duration) {
    let leads = raft.server_metrics().borrow_watched().state == ServerState::Leader;
    raft.runtime_config().tick(!leads && heard.is_longer_ago_than(MISSED_MAX * every));
    if leads {
        // A core whose queue is full is not waited for: the others have to beat. One that has ended does not mind.
        let _ = raft.trigger().heartbeat().now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_heard_a_leader_misses_it_and_who_just_did_does_not() {
        let heard = Heard::never();
        assert!(heard.is_longer_ago_than(Duration::from_secs(3600)));

        heard.now();

        assert!(!heard.is_longer_ago_than(Duration::from_secs(3600)));
        let earlier = Heard { since: Instant::now() - Duration::from_secs(2), at: AtomicU64::new(1) };
        assert!(earlier.is_longer_ago_than(Duration::from_secs(1)));
    }
}
