//! A small map in a sorted vector.
//!
//! Sessions are many and mostly idle, so an empty table owns no memory, also after a burst: the
//! last removal frees it (a `BTreeMap` keeps a node of eleven places). Iteration is in key order,
//! so that the same events have the same effects. Keys are minted in ascending order or few, which
//! makes insertion a push; a removal moves at most a few hundred small rows.

/// Rows up to which a table has room for no more than it has.
const EXACT_MAX: usize = 4;

/// A map with at most a few hundred rows.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    rows: Vec<(K, V)>,
}

// === impl Table ===

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<K: Copy + Ord, V> Table<K, V> {
    pub(crate) const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.place(key) {
            Ok(at) => self.rows[at].1 = value,
            Err(at) => {
                // A few large rows are what most tables have, and there are many of them.
                if self.rows.len() < EXACT_MAX {
                    self.rows.reserve_exact(1);
                }
                self.rows.insert(at, (key, value));
            }
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.rows[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.place(key).ok().map(|at| &mut self.rows[at].1)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let (_, value) = self.rows.remove(self.place(key).ok()?);
        self.free_if_empty();
        Some(value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        self.rows.retain_mut(|(key, value)| keep(*key, value));
        self.free_if_empty();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.rows.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.rows.iter_mut().map(|(key, value)| (*key, value))
    }

    /// Returns the keys whose rows are wanted, for loops that change the table.
    pub(crate) fn keys_where(&self, mut wanted: impl FnMut(&V) -> bool) -> Vec<K> {
        self.rows.iter().filter(|(_, value)| wanted(value)).map(|(key, _)| *key).collect()
    }

    fn place(&self, key: K) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&key, |(key, _)| *key)
    }

    fn free_if_empty(&mut self) {
        if self.rows.is_empty() {
            self.rows = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_emptied_table_owns_no_memory() {
        let mut table = Table::new();
        for key in 0..100 {
            table.insert(key, [0_u8; 64]);
        }
        for key in 0..100 {
            table.remove(key);
        }
        assert_eq!(table.rows.capacity(), 0);

        table.insert(1, [0; 64]);
        table.retain(|_, _| false);
        assert_eq!(table.rows.capacity(), 0);
    }

    proptest! {
        #[test]
        fn a_table_behaves_as_a_sorted_map(history in prop::collection::vec((any::<bool>(), 0..20_u8, any::<u16>()), 0..100)) {
            let (mut table, mut model) = (Table::new(), BTreeMap::new());
            for (insert, key, value) in history {
                if insert {
                    table.insert(key, value);
                    model.insert(key, value);
                } else {
                    prop_assert_eq!(table.remove(key), model.remove(&key));
                }
                prop_assert_eq!(table.get(key), model.get(&key));
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert!(table.iter().eq(model.iter().map(|(key, value)| (*key, value))));
        }
    }
}
