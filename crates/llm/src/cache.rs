//! Answers that are kept for requests that are the same, within bytes and time.
//!
//! A pure machine: keys are [digests](crate::canonical), values are the owner's, and `now` is an argument. What is too old is not given
//! out; where there is no room, the one that was used longest ago goes first. Invariant: the bytes of all that is kept never exceed the
//! limit, each counted with what it costs to know it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use quorate_types::Timestamp;

use crate::canonical::Digest;

/// What it costs to know an answer, beside its own bytes: a key twice, times, and the tables' slack.
const ENTRY_BYTES: usize = 256;

/// The limits of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an answer is good.
    pub ttl: Duration,
    /// The largest answer that is kept, in bytes.
    pub answer_bytes_max: usize,
    /// All answers together, in bytes.
    pub total_bytes_max: usize,
}

/// Answers that are kept.
#[derive(Debug)]
pub struct Cache<V> {
    limits: Limits,
    kept: HashMap<Digest, Kept<V>>,
    /// By when they were used last.
    order: BTreeMap<u64, Digest>,
    uses: u64,
    bytes: usize,
}

/// An answer that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<V> {
    /// The answer.
    pub value: V,
    /// How old it is.
    pub age: Duration,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    bytes: usize,
    since: Timestamp,
    used: u64,
}

// === impl Cache ===

impl<V: Clone> Cache<V> {
    /// Begins empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, kept: HashMap::new(), order: BTreeMap::new(), uses: 0, bytes: 0 }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Finds an answer that is good.
    pub fn find(&mut self, key: &Digest, now: Timestamp) -> Option<Found<V>> {
        let kept = self.kept.get(key)?;
        let age = now.since(kept.since);
        if age >= self.limits.ttl {
            self.forget(key);
            return None;
        }
        self.uses += 1;
        let kept = self.kept.get_mut(key)?;
        self.order.remove(&kept.used);
        self.order.insert(self.uses, *key);
        kept.used = self.uses;
        Some(Found { value: kept.value.clone(), age })
    }

    /// Keeps an answer of so many bytes in place of any before; says whether it is kept.
    pub fn keep(&mut self, key: Digest, value: V, bytes: usize, now: Timestamp) -> bool {
        self.forget(&key);
        let cost = bytes.saturating_add(ENTRY_BYTES);
        if bytes > self.limits.answer_bytes_max || cost > self.limits.total_bytes_max {
            return false;
        }
        while self.bytes + cost > self.limits.total_bytes_max {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = *oldest;
            self.forget(&oldest);
        }
        self.uses += 1;
        self.bytes += cost;
        self.order.insert(self.uses, key);
        self.kept.insert(key, Kept { value, bytes: cost, since: now, used: self.uses });
        true
    }

    /// How many are kept, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    fn forget(&mut self, key: &Digest) {
        if let Some(gone) = self.kept.remove(key) {
            self.order.remove(&gone.used);
            self.bytes -= gone.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn cache(answers: usize) -> Cache<usize> {
        let total_bytes_max = answers * (100 + ENTRY_BYTES);
        Cache::new(Limits { ttl: TTL, answer_bytes_max: 100, total_bytes_max })
    }

    fn key(number: u8) -> Digest {
        [number; 32]
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn an_answer_is_good_for_its_time_and_no_longer() {
        let mut cache = cache(2);
        assert!(cache.keep(key(1), 1, 100, at(0)));

        assert_eq!(cache.find(&key(1), at(9)), Some(Found { value: 1, age: Duration::from_secs(9) }));
        assert_eq!(cache.find(&key(1), at(10)), None);
        assert_eq!(cache.size(), (0, 0), "what is too old makes room");
        assert!(!cache.keep(key(2), 2, 101, at(0)), "it is too large");
    }

    #[test]
    fn the_one_that_was_used_longest_ago_makes_room() {
        let mut cache = cache(2);
        cache.keep(key(1), 1, 100, at(0));
        cache.keep(key(2), 2, 100, at(0));
        cache.find(&key(1), at(1));

        cache.keep(key(3), 3, 100, at(1));

        let found = [1, 2, 3].map(|number| cache.find(&key(number), at(1)).is_some());
        assert_eq!(found, [true, false, true]);
    }

    proptest! {
        #[test]
        fn it_never_grows_beyond_its_limit_and_gives_out_what_was_kept_last(
            steps in prop::collection::vec((0_u8..8, 0_usize..140, 0_u64..20), 1..200),
        ) {
            let mut cache = cache(3);
            let mut last = HashMap::new();
            let mut now = 0;
            for (index, (number, bytes, later)) in steps.into_iter().enumerate() {
                now += later / 10;
                if bytes % 3 == 0 {
                    if let Some(found) = cache.find(&key(number), at(now)) {
                        prop_assert_eq!(Some(&found.value), last.get(&number));
                        prop_assert!(found.age < TTL);
                    }
                } else if cache.keep(key(number), index, bytes, at(now)) {
                    last.insert(number, index);
                } else {
                    last.remove(&number);
                }
                let bytes: usize = cache.kept.values().map(|kept| kept.bytes).sum();
                prop_assert_eq!(cache.size().1, bytes);
                prop_assert!(bytes <= cache.limits.total_bytes_max);
                prop_assert_eq!(cache.order.len(), cache.kept.len());
            }
        }
    }
}
