//! The settings of a log; already valid.
//!
//! The sizes bound the disk whatever happens; the rates bound how fast what is there can be pushed out of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Class;
use crate::limiter::Rates;
use crate::record::LINE_BYTES_MAX;
use crate::text::Text;

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the segments are; nothing else writes there.
    pub folder: PathBuf,
    /// The node's name, in every record.
    pub node: Text,
    /// Bytes after which a segment is full; at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Bytes of all segments together; at least two segments.
    pub total_bytes: u64,
    /// The longest time for which a record is written and not yet on disk.
    pub sync_every: Duration,
    /// How often counts of suppressed events are written, while there are any.
    pub suppressed_every: Duration,
    /// How long nothing is written after a failure; doubled with each, up to [`RETRY_MAX`].
    pub retry_after: Duration,
}

/// Bytes of the smallest segment: room for some of the longest lines.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// The longest time for which nothing is written after a failure.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// The default settings.
pub const DEFAULTS: Defaults = Defaults {
    segment_bytes: 16 << 20,
    total_bytes: 1 << 30,
    sync_every: Duration::from_secs(1),
    suppressed_every: Duration::from_secs(10),
    retry_after: Duration::from_secs(1),
};

/// What settings are where none are given.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// 16 MiB: read within a fifth of a second when a node starts.
    pub segment_bytes: u64,
    /// 1 GiB: more than a week of the most that strangers can cause.
    pub total_bytes: u64,
    /// One second: what a loss of power may take.
    pub sync_every: Duration,
    /// Ten seconds: a flood has a record every ten seconds.
    pub suppressed_every: Duration,
    /// One second.
    pub retry_after: Duration,
}

const _: () = assert!(SEGMENT_BYTES_MIN >= 4 * LINE_BYTES_MAX as u64);
const _: () = assert!(DEFAULTS.segment_bytes >= SEGMENT_BYTES_MIN);
const _: () = assert!(DEFAULTS.total_bytes >= 2 * DEFAULTS.segment_bytes);

// === impl Config ===

impl Config {
    /// Makes the default settings for a folder and node.
    #[must_use]
    pub fn new(folder: PathBuf, node: &str) -> Self {
        Self {
            folder,
            node: node.into(),
            segment_bytes: DEFAULTS.segment_bytes,
            total_bytes: DEFAULTS.total_bytes,
            sync_every: DEFAULTS.sync_every,
            suppressed_every: DEFAULTS.suppressed_every,
            retry_after: DEFAULTS.retry_after,
        }
    }

    /// Returns the most bytes that events of a class take in a day, when they never end.
    #[must_use]
    pub const fn bytes_per_day_max(class: Class) -> u64 {
        const MINUTES: u64 = 24 * 60;

        Rates::of(class).class.per_minute as u64 * MINUTES * class.record_bytes_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_strangers_is_a_fifth_of_the_default_size_at_most() {
        let strangers = Config::bytes_per_day_max(Class::AuthenticationFailed);
        assert_eq!(strangers, 60 * 1_440 * 2_048);
        assert!(5 * strangers < DEFAULTS.total_bytes, "{strangers}");
    }
}
