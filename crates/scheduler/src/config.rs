//! When a replica is taken out, for how long, and how often it is checked.
//!
//! Plain values, valid as they are; `const` asserts keep the defaults consistent. Whether a check
//! is made at all is its owner's decision, who asks for the due ones.

use std::time::Duration;

/// The configuration of one set of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many calls in a row fail before their replica is ejected. One failure may be the call's
    /// own; five in a row with none between are not.
    pub call_failures_max: u32,
    /// How many active checks in a row fail before their replica is ejected. A check costs a user
    /// nothing, so fewer than calls.
    pub check_failures_max: u32,
    /// How many active checks in a row succeed before they bring their replica back. One will do: a
    /// call that succeeds does so at once, and a replica that still fails is ejected for longer.
    pub check_successes_min: u32,
    /// How long the first ejection lasts; each further one lasts twice as long.
    pub ejection_min: Duration,
    /// The longest ejection.
    pub ejection_max: Duration,
    /// How long a replica has to be healthy until its earlier ejections are forgotten.
    pub forget_after: Duration,
    /// How long a call on probation keeps others from their try. Calls of tools may take minutes,
    /// and a replica must not stay out that long for want of an outcome.
    pub trial_max: Duration,
    /// The pause between active checks of one replica. One that is not reported for twice as long
    /// has failed.
    pub check_interval: Duration,
}

// === impl Config ===

impl Config {
    /// The one set of defaults.
    pub const DEFAULTS: Self = Self {
        call_failures_max: 5,
        check_failures_max: 3,
        check_successes_min: 1,
        ejection_min: Duration::from_secs(5),
        ejection_max: Duration::from_secs(5 * 60),
        forget_after: Duration::from_secs(5 * 60),
        trial_max: Duration::from_secs(30),
        check_interval: Duration::from_secs(10),
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

const _: () = {
    let defaults = Config::DEFAULTS;
    assert!(defaults.call_failures_max >= 1 && defaults.check_failures_max >= 1);
    assert!(defaults.check_successes_min >= 1);
    assert!(defaults.ejection_min.as_millis() >= 1 && defaults.check_interval.as_millis() >= 1);
    assert!(defaults.ejection_min.as_millis() <= defaults.ejection_max.as_millis());
};
