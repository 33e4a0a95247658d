//! The pulse of a node: the heartbeats of all groups that it leads at once, and timers only where a leader is missed.
//!
//! Left alone each group has a timer of its own that fires every 12 ms, and sends its heartbeats when it likes: with 33 groups
//! that is 2,700 wake-ups a second and as many packets as heartbeats. Here all leaders of a node tell that they lead at the
//! same time, so that what they say to one peer goes in one packet; a follower that has heard its leader a moment ago needs
//! no timer, since nothing would come of it before the leader was silent for longer.
//!
//! A node whose own pulse comes late had no core for its groups either: what their leaders said meanwhile waits to be read. That
//! time is none of the leaders' silence, or a burst of requests would cost groups their leaders again and again.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::MissedTickBehavior;

use crate::Raft;
use crate::serve::Replicas;
use crate::timing::Timing;

/// Heartbeats that a follower may miss before its timer is started: its leader is not silent for long enough for an election
/// then, so that none comes later than with a timer that always runs.
const MISSED_MAX: u32 = 2;

/// How many elections' times of a node's own standstill its leaders are excused for: one that hardly gets a core must miss a
/// leader at last that is silent itself.
const STOOD_STILL_MAX: u32 = 4;

/// When a replica last heard its leader, as it said to the leader.
#[derive(Debug)]
pub(crate) struct Heard {
    since: Instant,
    /// Microseconds from there; 0 for never.
    at: AtomicU64,
    /// Microseconds since then in which this node stood still.
    stood_still: AtomicU64,
}

// === impl Heard ===

impl Heard {
    pub(crate) fn never() -> Self {
        Self { since: Instant::now(), at: AtomicU64::new(0), stood_still: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) {
        self.at.store(self.micros().max(1), Ordering::Relaxed);
        self.stood_still.store(0, Ordering::Relaxed);
    }

    /// Notes that this node stood still for a while.
    fn stood_still(&self, time: Duration) {
        self.stood_still.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// Whether the leader is missed: it was silent for `missed`, or for an election's time where this node stood still itself.
    fn misses(&self, missed: Duration, timing: &Timing) -> bool {
        match Duration::from_micros(self.stood_still.load(Ordering::Relaxed)) {
            Duration::ZERO => self.is_longer_ago_than(missed),
            stood_still => {
                self.is_longer_ago_than(timing.election_min + stood_still.min(STOOD_STILL_MAX * timing.election_max))
            }
        }
    }

    fn is_longer_ago_than(&self, time: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at == 0 || Duration::from_micros(self.micros().saturating_sub(at)) > time
    }

    fn micros(&self) -> u64 {
        micros(self.since.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Beats until the replicas are gone.
pub(crate) async fn beat(replicas: Weak<Replicas>, timing: Timing) {
    let every = timing.heartbeat;
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        turns.tick().await;
        let Some(replicas) = replicas.upgrade() else { return };
        let late = last.elapsed().saturating_sub(every);
        last = Instant::now();
        for replica in replicas.replicas() {
            if late > every / 2 {
                replica.heard.stood_still(late);
            }
            beat_once(replica.group.raft(), &replica.heard, &timing);
        }
    }
}

fn beat_once(raft: &Raft, heard: &Heard, timing: &Timing) {
    let leads = raft.server_metrics().borrow_watched().state == ServerState::Leader;
    raft.runtime_config().tick(!leads && heard.misses(MISSED_MAX * timing.heartbeat, timing));
    if leads {
        // A core whose queue is full is not waited for: the others have to beat. One that has ended does not mind.
        let _ = raft.trigger().heartbeat().now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::TIMING;

    #[test]
    fn who_never_heard_a_leader_misses_it_and_who_just_did_does_not() {
        let heard = Heard::never();
        assert!(heard.is_longer_ago_than(Duration::from_secs(3600)));

        heard.now();

        assert!(!heard.is_longer_ago_than(Duration::from_secs(3600)));
        assert!(heard_ago(Duration::from_secs(2)).is_longer_ago_than(Duration::from_secs(1)));
    }

    /// Of a leader that was heard so long ago.
    fn heard_ago(time: Duration) -> Heard {
        let since = Instant::now() - time;
        Heard { since, at: AtomicU64::new(1), stood_still: AtomicU64::new(0) }
    }

    #[test]
    fn a_node_that_stood_still_itself_misses_its_leader_later_and_at_last() {
        let missed = MISSED_MAX * TIMING.heartbeat;
        let misses = |heard_ms, stood_still_ms| {
            let heard = heard_ago(Duration::from_millis(heard_ms));
            heard.stood_still(Duration::from_millis(stood_still_ms));
            heard.misses(missed, &TIMING)
        };

        assert!(misses(200, 0));
        assert!(!misses(200, 100), "most of it was its own");
        assert!(!misses(340, 100), "what is left is shorter than the time of an election");
        assert!(misses(400, 100));
        assert!(misses(2_000, 1_990), "there is an end to it");
    }
}
