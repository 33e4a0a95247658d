//! The one place that draws randomness for identifiers and choices.
//!
//! Identifiers that leave the node (session ids, seals) come from the operating system's
//! generator. Names that must only differ are counted, behind some of its bytes that are the process's.
//! Choices among equals (which of two replicas) only need to be spread, so they come from a counter
//! passed through a mixing function: no system call on the request path.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Draws `N` bytes from the operating system's cryptographic generator.
///
/// # Panics
/// When the operating system has no randomness: a node that would hand out guessable
/// identifiers must not go on.
#[must_use]
pub fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

/// Returns 16 bytes that nobody else returns, on this node or another one; no secret.
///
/// # Panics
/// As [`secret`], the first time.
#[must_use]
pub fn unique() -> [u8; 16] {
    static PROCESS: LazyLock<[u8; 8]> = LazyLock::new(secret);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&*PROCESS);
    bytes[8..].copy_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

/// Returns a well-spread number for a choice among equals; not a secret.
#[must_use]
pub fn spread() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // SplitMix64's increment and finaliser (Steele, Lea, Flood 2014): consecutive counters give
    // independent-looking outputs.
    let mut z = COUNTER.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_names_differ_and_choices_spread() {
        assert_ne!(secret::<16>(), secret::<16>());
        assert_ne!(unique(), unique());

        let heads = (0..1_000).filter(|_| spread().is_multiple_of(2)).count();
        assert!((350..650).contains(&heads), "{heads} of 1000");
    }
}
