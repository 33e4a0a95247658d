//! How long consensus waits: the settings of openraft, with the reasons.
//!
//! A new leader is there after at most the lease, the longest election timeout and an election; so all of them are short. A
//! node that is busy for longer than that loses its leadership, so consensus has a runtime and a log of its own.

use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};

/// How long consensus waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader that has nothing else to say tells that it leads.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a follower stands for election.
    pub election_min: Duration,
    /// The longest; also how long a vote is not given to another while a leader is heard.
    pub election_max: Duration,
}

/// The default. An election takes at most the lease, the longest timeout and a heartbeat's age, 0.8 s, and some milliseconds
/// for the votes. A heartbeat is given up after its interval, so that these are for links of up to 20 ms there and back.
pub const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(60),
    election_min: Duration::from_millis(250),
    election_max: Duration::from_millis(400),
};

/// Entries of one message. It is bounded by its bytes first ([`crate::log`]).
const ENTRIES_MAX: u64 = 1024;

/// What openraft hands to the network as the time of a snapshot, in milliseconds: 4 GiB at 10 MB/s. The network has times of
/// its own for each piece ([`crate::transfer`]) and does not look at it.
const SNAPSHOT_MILLIS_MAX: u64 = 450_000;

/// Entries that a replica may be behind before it gets a snapshot instead: more than stay, so that only purging decides.
const LAG_MAX: u64 = 100_000;

/// The shortest election timeout that can be chosen: with a shorter one heartbeats come too late on a link of 20 ms.
pub const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(250);
/// The longest: who needs that long to notice a leader's end had better be told by somebody.
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(30);

// === impl Timing ===

impl Timing {
    /// The times that fit to an election timeout, in the proportions of [`TIMING`]: longer ones for nodes that are far from each
    /// other, or on machines that are often busy for longer. None out of [`ELECTION_TIMEOUT_MIN`] to [`ELECTION_TIMEOUT_MAX`].
    #[must_use]
    pub fn of_election_timeout(timeout: Duration) -> Option<Self> {
        let is_allowed = (ELECTION_TIMEOUT_MIN..=ELECTION_TIMEOUT_MAX).contains(&timeout);
        is_allowed.then(|| Self { heartbeat: timeout * 3 / 20, election_min: timeout * 5 / 8, election_max: timeout })
    }

    /// How long a leader may act on what a quorum has acknowledged: nobody who did votes for another for as long as
    /// [`Self::election_max`]. A tenth less, by which clocks of two nodes may differ in their pace.
    pub(crate) fn lease(&self) -> Duration {
        self.election_max - self.election_max / 10
    }

    /// How long a node that was started gives no votes: its last life may have acknowledged a leader, who counts on it.
    pub(crate) fn silence(&self) -> Duration {
        self.election_max
    }

    /// Makes openraft's settings.
    ///
    /// # Errors
    /// The times do not fit together.
    pub(crate) fn config(&self, cluster: String, entries_kept: u64) -> Result<Config, ConfigError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let lease = millis(self.election_max);
        let config = Config {
            cluster_name: cluster,
            heartbeat_interval: millis(self.heartbeat),
            // An append is as good as a heartbeat; half, so that one that comes a little early is not left out (`pulse`).
            heartbeat_min_interval: Some(millis(self.heartbeat) / 2),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            // A snapshot's pieces have times of their own (`transfer`).
            install_snapshot_timeout: SNAPSHOT_MILLIS_MAX,
            max_payload_entries: ENTRIES_MAX,
            replication_lag_threshold: LAG_MAX,
            // By size and age instead, see `snapshots`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: entries_kept,
            // A leader without a quorum goes silent for as long as the others need to elect another.
            quorum_loss_probe_interval: Some(2 * lease + millis(self.heartbeat)),
            enable_pre_vote: Some(true),
            // Who was the leader before a restart asks for votes as everybody.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            backoff: "20ms 40ms 80ms ...500ms".to_owned(),
            ..Config::default()
        };
        config.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_fit_together() {
        assert!(TIMING.config("test".to_owned(), 1).is_ok());
    }

    #[test]
    fn the_times_of_every_election_timeout_fit_together() {
        assert_eq!(Timing::of_election_timeout(TIMING.election_max), Some(TIMING));
        for millis in (250..=30_000).step_by(50) {
            let timing = Timing::of_election_timeout(Duration::from_millis(millis)).expect("it is allowed");
            assert!(timing.config("test".to_owned(), 1).is_ok(), "{timing:?}");
        }
        for millis in [0, 249, 30_001] {
            assert_eq!(Timing::of_election_timeout(Duration::from_millis(millis)), None);
        }
    }

    #[test]
    fn elections_that_are_shorter_than_heartbeats_are_refused() {
        let timing = Timing { election_min: Duration::from_millis(60), ..TIMING };

        assert!(timing.config("test".to_owned(), 1).is_err());
    }
}
