//! Numbers that are drawn from a seed: the same seed, the same numbers, on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): small, and good enough to choose.
//! Whoever draws beside others has dice of its own, thrown from the seed and its number, so that no order of threads matters.

/// Draws numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

// === impl Dice ===

impl Dice {
    /// The dice of one of those who draw from a seed.
    #[must_use]
    pub fn of(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        // The first draws of neighbours would resemble each other.
        dice.draw();
        dice
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `count` - 1; 0 where there is none.
    pub fn below(&mut self, count: u64) -> u64 {
        self.draw().checked_rem(count).unwrap_or(0)
    }

    /// A number of a range, its end included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True in so many of a hundred.
    pub fn in_hundred(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    ///
    /// # Panics
    ///
    /// There is none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let chosen = usize::try_from(self.below(count)).unwrap_or(0);
        &all[chosen]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_neighbours_draw_others() {
        let draws = |number| {
            let mut dice = Dice::of(7, number);
            (0..16).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };

        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn a_range_has_both_of_its_ends_and_nothing_else() {
        let mut dice = Dice::of(1, 1);
        let drawn: std::collections::BTreeSet<u64> = (0..1_000).map(|_| dice.between(3, 5)).collect();

        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(dice.below(0), 0);
    }
}
