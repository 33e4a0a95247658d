//! What a node of the bench and the run say to each other: lines of JSON on the node's standard streams.
//!
//! An order has one answer, but for a load, which has none. That it serves a group a node says whenever it begins to, also
//! between an order and its answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the run asks of a node; answered by one [`Said`], but for [`Order::Load`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Begin these groups with all nodes as voters.
    Begin {
        /// The groups.
        groups: Vec<u32>,
    },
    /// Propose at the groups that this node leads, one writer after its own answer, and say how it went.
    Write {
        /// Writers, dealt out to the groups.
        writers: u32,
        /// For how long.
        millis: u64,
    },
    /// Propose so many commands, as fast as they are taken.
    Fill {
        /// Commands.
        commands: u64,
    },
    /// Propose from now on at the groups that this node leads, so many a second from each writer, without a word.
    Load {
        /// Writers for each group.
        writers: u32,
        /// Milliseconds between the proposals of one.
        every_ms: u64,
    },
    /// Tell how it stands.
    Status,
}

/// What a node says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// It listens.
    Listens {
        /// Where clients reach it.
        client: String,
    },
    /// It leads a group, and serves it.
    Serves {
        /// The group.
        group: u32,
        /// The term.
        epoch: u64,
        /// Since when, in microseconds since 1970: clocks of one machine agree.
        at_us: u64,
    },
    /// The groups have begun.
    Begun,
    /// What was written.
    Wrote(Wrote),
    /// How it stands.
    Status {
        /// The groups that it serves, with their terms.
        serves: BTreeMap<u32, u64>,
        /// Who leads each group, as far as it knows.
        leaders: BTreeMap<u32, u64>,
        /// Commands that its tables have applied since it was started, without those that were in a snapshot.
        applied: u64,
        /// Batches that its log has synced.
        syncs: u64,
        /// Records in them.
        records: u64,
    },
    /// It could not do what it was asked.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What writers did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Wrote {
    /// Commands that were committed and applied.
    pub(crate) commands: u64,
    /// Commands that were refused, or whose fate is unknown.
    pub(crate) failed: u64,
    /// What the last of them was told.
    #[serde(default)]
    pub(crate) last_failure: String,
    /// Seconds from the first to the last.
    pub(crate) seconds: f64,
    /// Median of the time of one, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile.
    pub(crate) p99_ms: f64,
}

// === impl Wrote ===

impl Wrote {
    /// Sums up: the times of single commands in microseconds.
    pub(crate) fn of(mut micros: Vec<u32>, failed: u64, last_failure: String, seconds: f64) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let place = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            micros.get(place).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        let commands = micros.len() as u64;
        Self { commands, failed, last_failure, seconds, p50_ms: at(0.5), p99_ms: at(0.99) }
    }

    /// Commands a second.
    pub(crate) fn rate(&self) -> f64 {
        self.commands as f64 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_by_their_order() {
        let wrote = Wrote::of((1..=100).rev().map(|n| n * 1000).collect(), 2, "x".to_owned(), 2.0);

        assert_eq!((wrote.commands, wrote.failed, wrote.p50_ms, wrote.p99_ms), (100, 2, 51.0, 100.0));
        assert!((wrote.rate() - 50.0).abs() < 1e-9);
        assert_eq!(Wrote::of(Vec::new(), 0, String::new(), 1.0).p99_ms, 0.0);
    }
}
