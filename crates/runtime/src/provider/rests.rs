//! Which keys rest for which models.
//!
//! Providers limit calls and tokens of each model apart: a key that has no calls left for one of them has some for the others. A pure
//! machine, with `now` as an argument. Bounded: what rests no more is forgotten, and where too many pairs rest the next key rests for
//! none apart.

use std::collections::HashMap;

use quorate_types::Timestamp;

/// Models that have keys at rest, at most. Names that a client makes up get no answer that would let a key rest, as a rule.
const MODELS_MAX: usize = 1024;

/// Keys that rest for a model, and until when.
#[derive(Debug, Default)]
pub(super) struct Rests {
    models: HashMap<String, Vec<(usize, Timestamp)>>,
}

// === impl Rests ===

impl Rests {
    /// Until when a key rests for a model.
    pub(super) fn until(&self, model: &str, key: usize, now: Timestamp) -> Option<Timestamp> {
        let rests = self.models.get(model)?;
        rests.iter().find(|(rests, until)| *rests == key && *until > now).map(|(_, until)| *until)
    }

    /// Lets a key rest for a model, until then or until what was said before; says whether there was room to know it.
    pub(super) fn rest(&mut self, model: &str, key: usize, until: Timestamp, now: Timestamp) -> bool {
        let until = self.until(model, key, now).map_or(until, |before| before.max(until));
        if until <= now {
            return true;
        }
        if !self.models.contains_key(model) && self.models.len() >= MODELS_MAX {
            self.models.retain(|_, rests| rests.iter().any(|(_, until)| *until > now));
            if self.models.len() >= MODELS_MAX {
                return false;
            }
        }
        let rests = self.models.entry(model.to_owned()).or_default();
        rests.retain(|(rests, until)| *rests != key && *until > now);
        rests.push((key, until));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn a_key_rests_for_one_model_until_its_time() {
        let mut rests = Rests::default();
        assert!(rests.rest("large", 0, at(10), at(0)) && rests.rest("large", 1, at(5), at(0)));

        assert_eq!(rests.until("large", 0, at(9)), Some(at(10)));
        assert_eq!(rests.until("large", 0, at(10)), None);
        assert_eq!(rests.until("small", 0, at(0)), None);

        assert!(rests.rest("large", 0, at(30), at(20)), "it is limited again");
        assert_eq!(rests.until("large", 0, at(20)), Some(at(30)));
        assert!(rests.rest("large", 0, at(25), at(20)), "a call that was on its way is told less");
        assert_eq!(rests.until("large", 0, at(20)), Some(at(30)));
        assert!(rests.rest("other", 0, at(20), at(20)));
        assert!(!rests.models.contains_key("other"), "what does not rest takes no room");
    }

    #[test]
    fn what_rests_no_more_makes_room() {
        let mut rests = Rests::default();
        for number in 0..MODELS_MAX {
            assert!(rests.rest(&number.to_string(), 0, at(10), at(0)));
        }
        assert!(!rests.rest("another", 0, at(20), at(9)));
        assert!(rests.rest("0", 1, at(20), at(9)), "one that is known has room");
        assert!(rests.rest("another", 0, at(20), at(10)));
        assert_eq!(rests.models.len(), 2);
    }
}
