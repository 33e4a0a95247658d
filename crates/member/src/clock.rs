//! The clock and the randomness of this crate.
//!
//! Times of certificates, tokens and logs are those of the wall clock; ids of clusters and of starts come from the
//! operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_types::Timestamp;

/// The time now.
pub(crate) fn now() -> Timestamp {
    // A clock before 1970 is refused where certificates are made and verified.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Draws an id.
///
/// # Panics
/// When the operating system has no randomness: whatever it made could be guessed.
pub(crate) fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}
