//! Judges whether the wall clock jumped, against one that counts the seconds since the machine was started.
//!
//! Certificates and tokens are judged by the wall clock, and times of the log come from it (they never step back); a node
//! whose clock jumps takes what others refuse. The other clock counts while the machine is suspended too, so that a
//! machine that wakes is not blamed. Pure.

use std::time::Duration;

/// What counts as a jump: more than a clock is slewed by between two looks, and less than what certificates are dated back.
const JUMP: Duration = Duration::from_secs(2);
/// For how long a jump is told of: as long as somebody needs who looks every few minutes.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// A judge of the wall clock.
#[derive(Debug, Default)]
pub(crate) struct Wall {
    /// What both clocks said at the last look: since the start of the machine, since 1970.
    last: Option<(Duration, Duration)>,
    /// When it jumped last.
    jumped: Option<Duration>,
}

// === impl Wall ===

impl Wall {
    /// Judges; tells whether a jump is to be told of.
    pub(crate) fn tick(&mut self, booted: Duration, wall: Duration) -> bool {
        if let Some((booted_before, wall_before)) = self.last.replace((booted, wall)) {
            let expected = wall_before + booted.saturating_sub(booted_before);
            if expected.abs_diff(wall) > JUMP {
                self.jumped = Some(booted);
            }
        }
        self.jumped.is_some_and(|jumped| booted.saturating_sub(jumped) < TOLD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_jump_in_either_direction_is_told_of_for_a_while() {
        for after in [s(1_000), s(3_000)] {
            let mut wall = Wall::default();
            assert!(!wall.tick(s(10), s(2_000)));
            assert!(!wall.tick(s(11), s(2_002)), "it is slewed");
            assert!(wall.tick(s(12), after));
            assert!(wall.tick(s(500), after + s(488)));
            assert!(!wall.tick(s(612), after + s(600)));
        }
    }

    #[test]
    fn a_machine_that_was_suspended_did_not_jump() {
        let mut wall = Wall::default();
        wall.tick(s(10), s(2_000));

        assert!(!wall.tick(s(10_000), s(11_990)));
    }
}
