//! How many retries there may be: a share of the calls, so that a failure everywhere is not multiplied.
//!
//! A bucket of tokens: each call puts a share of one in, each retry takes one out. It begins full, so that the first calls of a quiet
//! model may be tried again, too. No clock: what counts is calls.

/// Hundredths of a token: shares are percents.
const TOKEN: u32 = 100;

/// Retries that may be had before any call was counted, and the most that are saved up.
pub const RETRIES_SAVED_MAX: u32 = 10;

/// The retries of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    percent: u32,
    hundredths: u32,
}

// === impl Budget ===

impl Budget {
    /// Begins with [`RETRIES_SAVED_MAX`] retries; each hundred calls bring `percent` more, from 0 to 100. With 0 there are none, not even
    /// the first.
    #[must_use]
    pub const fn new(percent: u32) -> Self {
        let hundredths = if percent == 0 { 0 } else { RETRIES_SAVED_MAX * TOKEN };
        Self { percent, hundredths }
    }

    /// Counts a call that is begun.
    pub fn call(&mut self) {
        self.hundredths = self.hundredths.saturating_add(self.percent).min(RETRIES_SAVED_MAX * TOKEN);
    }

    /// Takes a retry, if there is one.
    pub const fn retry(&mut self) -> bool {
        let has_one = self.hundredths >= TOKEN;
        if has_one {
            self.hundredths -= TOKEN;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &mut Budget) -> u32 {
        let mut count = 0;
        while budget.retry() {
            count += 1;
        }
        count
    }

    #[test]
    fn where_every_call_fails_there_are_the_first_retries_and_then_their_share() {
        let mut budget = Budget::new(20);
        assert_eq!(retries(&mut budget), RETRIES_SAVED_MAX);

        let of_a_hundred: u32 = (0..100)
            .map(|_| {
                budget.call();
                retries(&mut budget)
            })
            .sum();

        assert_eq!(of_a_hundred, 20);
    }

    #[test]
    fn no_more_is_saved_up_than_there_was_at_first_and_nothing_where_none_are_wanted() {
        let mut budget = Budget::new(100);
        (0..1_000).for_each(|_| budget.call());
        assert_eq!(retries(&mut budget), RETRIES_SAVED_MAX);

        let mut none = Budget::new(0);
        none.call();
        assert!(!none.retry());
    }
}
