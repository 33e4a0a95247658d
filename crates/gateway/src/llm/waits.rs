//! How long a call waits when there is no target to be asked now.
//!
//! In: why there is none, and what the last target said. Out: the time after which targets are asked again, or the fault that the client
//! is told. All that a call waits is within one bound, and a little of it is left to chance, so that those who failed together do not come
//! back together.

use std::time::Duration;

use quorate_llm::Fault;
use quorate_llm::error::Kind;
use quorate_runtime::entropy;

/// How long the first retry at a target that failed waits; doubled with each further round.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// There is no target to be asked now.
pub(super) enum Nobody {
    /// Those that were not tried rest.
    Rests { retry_after: Duration },
    /// All were tried, or none may be.
    Left,
}

/// How often, and for how long, a call has waited.
pub(super) struct Waits {
    round: u32,
    /// What is left of the time that it may wait.
    left: Duration,
}

// === impl Waits ===

impl Waits {
    /// A call that may wait so long altogether.
    pub(super) const fn new(most: Duration) -> Self {
        Self { round: 0, left: most }
    }

    /// Waits until somebody can be asked again.
    ///
    /// # Errors
    /// The fault of whoever was asked last, where that takes longer than the call may wait, or could not help.
    pub(super) async fn wait(&mut self, nobody: Nobody, last: Option<&Fault>, has_tried: bool) -> Result<(), Fault> {
        let may_pass = last.is_some_and(|last| last.kind.may_pass());
        let said = || last.cloned();
        let delay = match nobody {
            Nobody::Rests { retry_after } if retry_after <= self.left => spread(retry_after),
            // Those who were tried may be asked sooner than those who rest.
            Nobody::Rests { .. } | Nobody::Left if has_tried && may_pass => {
                let asked = last.and_then(|last| last.retry_after);
                delay(self.round, asked, self.left).ok_or_else(|| said().unwrap_or_else(unavailable))?
            }
            Nobody::Rests { retry_after } => {
                let resting = || Fault::new(Kind::RateLimited, "all providers of this model ask to be left alone");
                return Err(Fault { retry_after: Some(retry_after), ..said().unwrap_or_else(resting) });
            }
            Nobody::Left => return Err(said().unwrap_or_else(unavailable)),
        };
        self.round += 1;
        self.left = self.left.saturating_sub(delay);
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Nobody is there to be asked.
fn unavailable() -> Fault {
    Fault::new(Kind::Unavailable, "no provider of this model can be asked")
}

/// A tenth more at most, so that those who wait for the same do not come together.
fn spread(delay: Duration) -> Duration {
    delay + up_to(delay / 10)
}

/// How long to wait before all targets are asked again; none where one asks for more patience than there is.
fn delay(round: u32, retry_after: Option<Duration>, max: Duration) -> Option<Duration> {
    if let Some(asked) = retry_after {
        return (asked <= max).then_some(asked);
    }
    let doubled = RETRY_DELAY.saturating_mul(1 << round.min(16)).min(max);
    // Half of it at least, so that those who failed together do not come back together.
    Some(doubled / 2 + up_to(doubled / 2))
}

/// A part of a time that is left to chance: from nothing to all of it.
fn up_to(most: Duration) -> Duration {
    let share = u32::try_from(entropy::spread() >> 33).unwrap_or(u32::MAX);
    most.mul_f64(f64::from(share) / f64::from(u32::MAX >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_longer_each_round_and_never_beyond_its_limit() {
        let max = Duration::from_secs(2);
        for (round, longest) in [(0, 50), (1, 100), (4, 800), (10, 2_000), (u32::MAX, 2_000)] {
            for _ in 0..100 {
                let waits = delay(round, None, max).expect("nobody asks for more");
                let longest = Duration::from_millis(longest);
                assert!(waits >= longest / 2 && waits <= longest, "{round}: {waits:?}");
            }
        }
        assert_eq!(delay(0, Some(max), max), Some(max));
        assert_eq!(delay(0, Some(max * 2), max), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_a_call_waits_is_within_its_bound() {
        let second = Duration::from_secs(1);
        let mut waits = Waits::new(Duration::from_millis(2_500));
        let limited = Fault { retry_after: Some(second), ..Fault::new(Kind::RateLimited, "later") };

        for _ in 0..2 {
            let rests = Nobody::Rests { retry_after: second };
            waits.wait(rests, Some(&limited), true).await.expect("there is time for it");
        }
        let told =
            waits.wait(Nobody::Rests { retry_after: second }, None, false).await.expect_err("there is none left");
        assert_eq!((told.kind, told.retry_after), (Kind::RateLimited, Some(second)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_tried_is_asked_before_somebody_who_rests_for_long() {
        let mut waits = Waits::new(Duration::from_secs(2));
        let rests = || Nobody::Rests { retry_after: Duration::from_secs(60) };
        let broken = Fault::new(Kind::Provider, "it broke");

        waits.wait(rests(), Some(&broken), true).await.expect("the one that broke is asked again");
        let told = waits.wait(rests(), Some(&broken), false).await.expect_err("nobody was tried");
        assert_eq!(told.message, "it broke");
        let invalid = Fault::new(Kind::Invalid, "no");
        assert!(waits.wait(Nobody::Left, Some(&invalid), true).await.is_err(), "it would not help");
    }
}
