//! The one place of this crate that reads the wall clock.
//!
//! Records carry its time, and buckets are filled by it; durations are measured by the monotonic clock. It may step back:
//! records are ordered by their sequence, and buckets stand still.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_types::Timestamp;

/// Returns the present.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
