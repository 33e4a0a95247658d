//! A bounded map that forgets what was not used for long.
//!
//! Two maps per shard: what was used lately, and what was used before that. When the first is full it becomes the
//! second, and the second is forgotten: an approximation of least-recently-used without lists, in which every
//! operation is a lookup or two. At most `capacity` entries live at once. When an entry stops being true is its owner's
//! business: entries are checked when they are found. The hash is keyed at random, so that nobody aims at one bucket.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many locks that cores rarely meet at one; a power of two.
const SHARDS: usize = 16;

/// A bounded map for many readers and writers.
pub(crate) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    /// How many entries one generation of a shard has.
    generation_max: usize,
}

struct Shard<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
}

// === impl Cache ===

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Makes a map of at most `capacity` entries, at least one a shard and generation.
    pub(crate) fn new(capacity: usize) -> Self {
        let hasher = RandomState::new();
        let shard = || Shard { young: HashMap::with_hasher(hasher.clone()), old: HashMap::with_hasher(hasher.clone()) };
        let shards = std::iter::repeat_with(|| Mutex::new(shard())).take(SHARDS).collect();
        Self { shards, hasher, generation_max: (capacity / SHARDS / 2).max(1) }
    }

    /// Finds an entry and keeps it from being forgotten.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = shard.old.remove_entry(key)?;
        shard.put(key, value.clone(), self.generation_max);
        Some(value)
    }

    /// Adds an entry or replaces it.
    pub(crate) fn put(&self, key: K, value: V) {
        let mut shard = self.shard(&key);
        shard.old.remove(&key);
        shard.put(key, value, self.generation_max);
    }

    /// Forgets an entry.
    pub(crate) fn remove(&self, key: &K) {
        let mut shard = self.shard(key);
        shard.young.remove(key);
        shard.old.remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.young.clear();
            shard.old.clear();
        }
    }

    /// Returns how many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(lock).map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        // The upper bits: the maps take the lower ones of the same hash.
        let upper = self.hasher.hash_one(key) >> (u64::BITS - SHARDS.trailing_zeros());
        lock(&self.shards[usize::try_from(upper).expect("it is below the number of shards")])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Shard ===

impl<K: Hash + Eq, V> Shard<K, V> {
    fn put(&mut self, key: K, value: V, generation_max: usize) {
        if self.young.len() >= generation_max && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_never_has_more_entries_than_its_capacity() {
        let cache = Cache::new(320);
        for key in 0..10_000 {
            cache.put(key, key);
            assert_eq!(cache.get(&key), Some(key));
        }
        assert!((160..=320).contains(&cache.len()), "{}", cache.len());
        cache.remove(&9_999);
        assert_eq!(cache.get(&9_999), None);
        cache.clear();
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn what_is_used_again_and_again_is_kept() {
        let cache = Cache::new(320);
        cache.put(u64::MAX, 0);
        for key in 0..10_000 {
            cache.put(key, key);
            if key % 5 == 0 {
                assert_eq!(cache.get(&u64::MAX), Some(0), "after {key}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_never_says_what_was_not_put_last(steps: Vec<(u8, Option<u16>)>) {
            let (cache, mut model) = (Cache::new(64), HashMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        cache.put(key, value);
                        model.insert(key, value);
                        prop_assert_eq!(cache.get(&key), Some(value));
                    }
                    None => prop_assert!(cache.get(&key).is_none_or(|found| model.get(&key) == Some(&found))),
                }
            }
        }
    }
}
