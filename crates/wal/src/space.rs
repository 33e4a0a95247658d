//! Whether there is room on the disk for new entries.
//!
//! What the file system has free, and whether segments could be made ahead, goes in; how scarce space is comes out. What is
//! left for votes, truncations, purges and compaction are the spare segments, which entries stop short of. Pure.

use crate::block::GroupId;
use crate::config::Config;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Everything is taken.
    #[default]
    Roomy,
    /// No new entries of ordinary groups are taken.
    Low,
    /// No new entries are taken.
    Critical,
}

/// What is known of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) space: Space,
    /// Bytes that the file system has for the log; none when it does not say.
    pub(crate) free: Option<u64>,
    /// Segments that are ready to be used.
    pub(crate) spares: usize,
}

// === impl Space ===

impl Space {
    /// Judges how scarce space is. It counts as more again only with an eighth beyond the mark, so that a disk at a mark is
    /// not one thing and the other in turn.
    pub(crate) fn judge(self, free: Option<u64>, is_short: bool, config: &Config) -> Self {
        if is_short {
            return Self::Critical;
        }
        let Some(free) = free else { return Self::Roomy };
        let is_below = |mark: u64, was: Self| free < if self >= was { mark + mark / 8 } else { mark };
        if is_below(config.critical_free_bytes, Self::Critical) {
            Self::Critical
        } else if is_below(config.low_free_bytes, Self::Low) {
            Self::Low
        } else {
            Self::Roomy
        }
    }

    /// Tells whether a new entry of a group is taken.
    pub(crate) fn takes(self, group: GroupId, config: &Config) -> bool {
        match self {
            Self::Roomy => true,
            Self::Low => group < config.ordinary_from,
            Self::Critical => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULTS;

    const CONFIG: Config = Config { low_free_bytes: 800, critical_free_bytes: 400, ..DEFAULTS };

    #[test]
    fn space_is_scarce_below_a_mark_and_until_an_eighth_beyond_it() {
        use Space::{Critical, Low, Roomy};
        let table = [
            (Roomy, Some(800), false, Roomy),
            (Roomy, Some(799), false, Low),
            (Roomy, Some(399), false, Critical),
            (Low, Some(800), false, Low),
            (Low, Some(899), false, Low),
            (Low, Some(900), false, Roomy),
            (Low, Some(400), false, Low),
            (Critical, Some(400), false, Critical),
            (Critical, Some(449), false, Critical),
            (Critical, Some(450), false, Low),
            (Critical, Some(899), false, Low),
            (Critical, Some(900), false, Roomy),
            (Roomy, Some(u64::MAX), true, Critical),
            (Roomy, None, true, Critical),
            (Critical, None, false, Roomy),
        ];
        for (before, free, is_short, expected) in table {
            assert_eq!(before.judge(free, is_short, &CONFIG), expected, "{before:?} {free:?} {is_short}");
        }
    }

    #[test]
    fn the_first_groups_go_on_for_longer() {
        for (space, first, ordinary) in
            [(Space::Roomy, true, true), (Space::Low, true, false), (Space::Critical, false, false)]
        {
            assert_eq!((space.takes(GroupId(0), &CONFIG), space.takes(GroupId(1), &CONFIG)), (first, ordinary));
        }
    }
}
