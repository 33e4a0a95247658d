//! Waiting for a condition: the only way in which a test lets time pass.
//!
//! A condition is asked again and again until it holds or the time is over; the error then says what was waited
//! for and what the last answer was. There is no fixed sleep "to be sure".

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// The pause between two looks: short beside every deadline, long enough not to load the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `condition` until it yields a value, and returns it.
///
/// # Errors
///
/// `within` passed; the error names `what` and the last reason that `condition` gave.
pub fn until<T>(what: &str, within: Duration, mut condition: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let reason = match condition() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if Instant::now() >= deadline {
            bail!("waited {within:?} for {what}: {reason:#}");
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the harness is synchronous, and no runtime waits behind this thread")]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;

        let seen = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            if looks < 3 { bail!("look {looks}") } else { Ok(looks) }
        });

        assert_eq!(seen.expect("the third look comes"), 3);
    }

    #[test]
    fn a_condition_that_stays_false_is_named_with_its_last_reason() {
        let never = until("the moon", Duration::from_millis(30), || -> anyhow::Result<()> { bail!("it is day") });

        let error = never.expect_err("the moon does not come").to_string();
        assert!(error.contains("the moon") && error.contains("it is day"), "{error}");
    }
}
