//! The one place that reads the wall clock for the pure machines.
//!
//! Machines take `now` as an argument; shells ask here. The clock may step back (NTP): machines
//! treat an earlier `now` as no time passed.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_types::Timestamp;

/// Returns the present.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
