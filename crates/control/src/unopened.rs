//! Groups that are placed on this node and cannot be opened: why, and when each is tried again.
//!
//! A replica whose snapshot or log is damaged stays so until somebody does something. It is tried again seldom, told when the
//! reason changes, and known to whoever asks how the node does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_wal::GroupId;

/// The first pause before a group is tried again, which doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest: what an operator waits who has mended something.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What cannot be opened.
#[derive(Default)]
pub(crate) struct Unopened(Mutex<BTreeMap<GroupId, Failed>>);

/// Why one cannot be.
struct Failed {
    reason: String,
    pause: Duration,
    again: Instant,
}

// === impl Unopened ===

impl Unopened {
    /// Whether a group is to be tried now.
    pub(crate) fn is_due(&self, group: GroupId, now: Instant) -> bool {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(&group).is_none_or(|failed| failed.again <= now)
    }

    /// Notes that a group could not be opened; says whether that is new.
    pub(crate) fn failed(&self, group: GroupId, reason: String, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&group);
        let pause = before.map_or(PAUSE, |before| (before.pause * 2).min(PAUSE_MAX));
        let is_new = before.is_none_or(|before| before.reason != reason);
        all.insert(group, Failed { reason, pause, again: now + pause });
        is_new
    }

    /// Forgets the groups that are not among these, or were opened.
    pub(crate) fn retain(&self, is_wanted: impl Fn(GroupId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|group, _| is_wanted(*group));
    }

    /// The groups, each with the reason.
    pub(crate) fn reasons(&self) -> Vec<(GroupId, String)> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|(group, failed)| (*group, failed.reason.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_tried_again_seldom_and_told_when_the_reason_changes() {
        let (unopened, group, begun) = (Unopened::default(), GroupId(3), Instant::now());

        assert!(unopened.is_due(group, begun));
        assert!(unopened.failed(group, "a".to_owned(), begun));
        assert!(!unopened.is_due(group, begun) && unopened.is_due(group, begun + PAUSE));
        assert!(!unopened.failed(group, "a".to_owned(), begun));
        assert!(!unopened.is_due(group, begun + PAUSE));
        for _ in 0..20 {
            unopened.failed(group, "a".to_owned(), begun);
        }
        assert!(!unopened.is_due(group, begun) && unopened.is_due(group, begun + PAUSE_MAX));
        assert!(unopened.failed(group, "b".to_owned(), begun));
        assert_eq!(unopened.reasons(), [(group, "b".to_owned())]);

        unopened.retain(|_| false);
        assert!(unopened.is_due(group, begun) && unopened.reasons().is_empty());
    }
}
