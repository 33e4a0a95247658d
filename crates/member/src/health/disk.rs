//! Judges how much room the file system of the data folder has.
//!
//! | Room | What is done |
//! |---|---|
//! | low | it is said |
//! | full | nothing new is taken: sessions, keys, documents; nothing is ever deleted for it |
//!
//! The log has marks of its own below these (`quorate_wal`), so that what is committed already has room. Pure but for
//! [`ask`].

use std::io;
use std::path::Path;

use super::FindingKind;

/// Below this share of the disk room is low, unless it is [`PLENTY_LOW`]: etcd's and Elasticsearch's advice.
const LOW_PERCENT: u64 = 20;
/// Below this share nothing new is taken, unless there is [`PLENTY_FULL`].
const FULL_PERCENT: u64 = 10;
/// Bytes that are room enough whatever the share: hours of what a loaded node writes.
const PLENTY_LOW: u64 = 16 << 30;
/// Bytes that are room enough for what is new.
const PLENTY_FULL: u64 = 4 << 30;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Enough.
    #[default]
    Enough,
    /// Little.
    Low,
    /// None for what is new.
    Full,
}

// === impl Room ===

impl Room {
    /// Judges. What was scarce counts as more again only with an eighth beyond the mark.
    pub(crate) fn judge(self, free: u64, total: u64) -> Self {
        let is_below = |percent: u64, plenty: u64, was: Self| {
            let mark = (total.saturating_mul(percent) / 100).min(plenty);
            free < if self >= was { mark + mark / 8 } else { mark }
        };
        if is_below(FULL_PERCENT, PLENTY_FULL, Self::Full) {
            Self::Full
        } else if is_below(LOW_PERCENT, PLENTY_LOW, Self::Low) {
            Self::Low
        } else {
            Self::Enough
        }
    }

    /// What is told of it, and as what.
    pub(crate) fn finding(self) -> Option<(FindingKind, &'static str)> {
        match self {
            Self::Enough => None,
            Self::Low => Some((
                FindingKind::DiskLow,
                "the disk of the data folder has little room left: free some, or give it more",
            )),
            Self::Full => Some((
                FindingKind::Disk,
                "the disk of the data folder is nearly full, and nothing new is taken: free some of it, or give it more. \
                 What there is goes on, and nothing is deleted",
            )),
        }
    }
}

/// Asks the file system what it has: bytes that are free for this process, and all bytes.
pub(crate) fn ask(folder: &Path) -> io::Result<(u64, u64)> {
    let asked = rustix::fs::statvfs(folder)?;
    Ok((asked.f_bavail.saturating_mul(asked.f_frsize), asked.f_blocks.saturating_mul(asked.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_scarce_below_a_share_of_the_disk_and_never_with_plenty() {
        use Room::{Enough, Full, Low};
        const GIB: u64 = 1 << 30;
        let table = [
            (Enough, 3 * GIB, 10 * GIB, Enough),
            (Enough, 2 * GIB - 1, 10 * GIB, Low),
            (Enough, GIB - 1, 10 * GIB, Full),
            // An eighth beyond the mark.
            (Full, GIB + GIB / 16, 10 * GIB, Full),
            (Full, GIB + GIB / 4, 10 * GIB, Low),
            (Low, 2 * GIB + GIB / 8, 10 * GIB, Low),
            (Low, 3 * GIB, 10 * GIB, Enough),
            // A large disk.
            (Enough, 17 * GIB, 10_000 * GIB, Enough),
            (Enough, 15 * GIB, 10_000 * GIB, Low),
            (Enough, 3 * GIB, 10_000 * GIB, Full),
            (Enough, 0, 0, Enough),
        ];
        for (before, free, total, expected) in table {
            assert_eq!(before.judge(free, total), expected, "{before:?} {free} of {total}");
        }
    }

    #[test]
    fn a_folder_is_on_a_disk_with_some_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (free, total) = ask(folder.path()).unwrap();

        assert!(0 < total && free <= total, "{free} of {total}");
        assert!(ask(&folder.path().join("none")).is_err());
    }
}
