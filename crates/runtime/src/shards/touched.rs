//! Which sessions changed, for those who watch the shards of a node.
//!
//! Each watcher has a set of its own, into which replicas write as they apply commands, and which it empties when it comes to
//! that: what changes often in between is one entry. A set that is full is given up, and so are all of them when a replica's
//! state is replaced; then the watcher reads everything again. Where nobody watches, a replica pays for one look at a number.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Sessions that a watcher may have to look at: beyond, reading everything costs no more.
const TOUCHED_MAX: usize = 4_096;

/// Those who watch the shards of a node; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    all: Mutex<Vec<Weak<Mutex<Changes>>>>,
}

/// What one of them has not looked at yet.
#[derive(Debug, Default)]
struct Changes {
    sessions: BTreeSet<(u32, u128)>,
    /// Whether there is more than the sessions.
    is_lost: bool,
}

/// The sessions that changed since they were taken the last time.
#[derive(Debug)]
pub struct Touched(Arc<Mutex<Changes>>);

// === impl Watchers ===

impl Watchers {
    /// Begins to watch; ends when what is returned is dropped.
    pub(super) fn watch(&self) -> Touched {
        let changes = Arc::default();
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&changes));
        self.0.count.store(all.len(), Ordering::Release);
        Touched(changes)
    }

    /// These sessions of a shard were opened, changed or ended.
    pub(super) fn touch(&self, shard: u32, sessions: &[u128]) {
        self.each(|changes| changes.add(shard, sessions));
    }

    /// All sessions of a shard may be others.
    pub(super) fn replaced(&self) {
        self.each(Changes::give_up);
    }

    fn each(&self, tell: impl Fn(&mut Changes)) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| match known.upgrade() {
            Some(changes) => {
                tell(&mut changes.lock().unwrap_or_else(PoisonError::into_inner));
                true
            }
            None => false,
        });
        self.0.count.store(all.len(), Ordering::Release);
    }
}

// === impl Changes ===

impl Changes {
    fn add(&mut self, shard: u32, sessions: &[u128]) {
        if self.is_lost {
            return;
        }
        self.sessions.extend(sessions.iter().map(|session| (shard, *session)));
        if self.sessions.len() > TOUCHED_MAX {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        *self = Self { sessions: BTreeSet::new(), is_lost: true };
    }
}

// === impl Touched ===

impl Touched {
    /// Takes the sessions that changed, by shard and key; none when everything has to be read again.
    #[must_use]
    pub fn take(&self) -> Option<BTreeSet<(u32, u128)>> {
        let changes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (!changes.is_lost).then_some(changes.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_often_is_told_once_to_each_who_watches() {
        let watchers = Watchers::default();
        watchers.touch(1, &[7]);
        let (one, other) = (watchers.watch(), watchers.watch());

        watchers.touch(1, &[8, 9]);
        watchers.touch(1, &[8]);

        let both = Some(BTreeSet::from([(1, 8), (1, 9)]));
        assert_eq!((one.take(), one.take()), (both.clone(), Some(BTreeSet::new())));
        drop(one);
        watchers.touch(2, &[8]);
        assert_eq!(other.take(), both.map(|both| both.into_iter().chain([(2, 8)]).collect()));
        drop(other);
        watchers.touch(2, &[8]);
        assert_eq!(watchers.0.count.load(Ordering::Acquire), 0, "nobody is told any more");
    }

    #[test]
    fn who_does_not_look_reads_everything_again_and_takes_no_memory() {
        let watchers = Watchers::default();
        let touched = watchers.watch();
        for shard in 0..8 {
            let many: Vec<u128> = (0..1_000).collect();
            watchers.touch(shard, &many);
        }
        assert!(touched.0.lock().expect("nobody panicked").sessions.is_empty());
        assert_eq!(touched.take(), None);
        assert_eq!(touched.take(), Some(BTreeSet::new()), "and then it goes on");

        watchers.replaced();
        assert_eq!(touched.take(), None);
    }
}
