//! The one place of this crate that draws randomness: nonces, serial numbers, secrets of tokens.
//!
//! From the operating system, by ring. A machine without randomness cannot be a member: whatever it made could be guessed.
//! Keys of certificates are drawn where they are made, from the same source.

use ring::rand::{SecureRandom, SystemRandom};

/// Draws `N` bytes.
///
/// # Panics
/// When the operating system has no randomness: what would be made could be guessed.
pub(crate) fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_differs() {
        assert_ne!(draw::<16>(), draw::<16>());
    }
}
