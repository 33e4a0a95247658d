//! Which version of a member a principal or session has.
//!
//! In: who asks, and the weights. Out: one version, the same on every node. Rendezvous hashing with
//! weights (Mosko et al., "Weighted rendezvous hashing"; the idea is Thaler and Ravishankar's of
//! 1998): each version draws a number from the hash of itself and the asker, divided by its weight,
//! and the smallest wins. So each has its share, and raising one weight moves askers only to
//! that version, no more of them than its share has grown.

use sha2::{Digest, Sha256};

use super::fixed;

/// The largest weight of a version.
pub const WEIGHT_MAX: u32 = 1000;

/// One version of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighted<'a> {
    /// The tool server.
    pub server: &'a str,
    /// Its share of those who ask, beside the others' weights; 0 is none.
    pub weight: u32,
}

/// Returns the place of the version that `asker` has of the member `name`; nothing when no version
/// has a weight.
#[must_use]
pub fn draw(asker: &[u8; 16], name: &str, versions: &[Weighted<'_>]) -> Option<usize> {
    let drawn = versions.iter().enumerate().filter(|(_, version)| version.weight > 0);
    let drawn = drawn.map(|(place, version)| (place, cost(asker, name, version.server), u128::from(version.weight)));
    // cost / weight, compared without dividing.
    let smallest = drawn
        .min_by(|(_, cost, weight), (_, other_cost, other_weight)| (cost * other_weight).cmp(&(other_cost * weight)));
    smallest.map(|(place, ..)| place)
}

/// −log2 of a number from 0 to 1 that the hash draws: exponentially distributed.
fn cost(asker: &[u8; 16], name: &str, server: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(asker);
    // Names have no NUL, so nothing else hashes the same.
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(server.as_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let drawn = u64::from_be_bytes(first);
    64 * u128::from(fixed::ONE) - u128::from(fixed::log2(drawn.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVERS: [&str; 4] = ["v1", "v2", "v3", "v4"];

    fn versions(weights: &[u32]) -> Vec<Weighted<'static>> {
        weights.iter().zip(SERVERS).map(|(&weight, server)| Weighted { server, weight }).collect()
    }

    fn asker(number: u32) -> [u8; 16] {
        let mut asker = [0; 16];
        asker[..4].copy_from_slice(&number.to_be_bytes());
        asker
    }

    fn drawn(weights: &[u32], askers: u32) -> Vec<Option<usize>> {
        (0..askers).map(|number| draw(&asker(number), "search", &versions(weights))).collect()
    }

    #[test]
    fn each_version_has_its_share() {
        let drawn = drawn(&[90, 10, 0], 20_000);
        let count = |place| drawn.iter().filter(|one| **one == Some(place)).count();
        assert!((17_700..18_300).contains(&count(0)), "{}", count(0));
        assert_eq!((count(0) + count(1), count(2)), (20_000, 0));
    }

    #[test]
    fn a_draw_is_the_same_everywhere_and_for_ever() {
        // Golden: a node of another build must not move anybody.
        let drawn: Vec<usize> = drawn(&[1, 1, 2], 16).into_iter().flatten().collect();
        assert_eq!(drawn, [2, 1, 2, 2, 2, 2, 2, 0, 2, 2, 0, 1, 2, 2, 2, 2]);
        assert_eq!(draw(&asker(1), "search", &versions(&[0, 0])), None);
        assert_eq!(draw(&asker(1), "search", &[]), None);
    }

    proptest! {
        #[test]
        fn raising_a_weight_moves_askers_only_to_it(
            weights in prop::collection::vec(0u32..=WEIGHT_MAX, 1..=4),
            raised in any::<prop::sample::Index>(),
            by in 1u32..=WEIGHT_MAX,
        ) {
            let raised = raised.index(weights.len());
            let mut after = weights.clone();
            after[raised] += by;
            for (before, now) in drawn(&weights, 200).into_iter().zip(drawn(&after, 200)) {
                prop_assert!(now == before || now == Some(raised));
            }
        }

        #[test]
        fn the_same_weights_in_another_unit_move_nobody(
            weights in prop::collection::vec(0u32..=100, 1..=4), unit in 1u32..=10,
        ) {
            let scaled: Vec<u32> = weights.iter().map(|weight| weight * unit).collect();
            prop_assert_eq!(drawn(&weights, 100), drawn(&scaled, 100));
        }
    }
}
