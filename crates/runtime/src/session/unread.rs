//! What the clients of one principal have not read, in all of its sessions together.
//!
//! In: each session's own bytes after each of its messages. Out: whether that is too much for new calls. What is
//! unread is never dropped to make room: beyond the bound a principal begins nothing new, and its clients can read on. What
//! was begun before still comes, at most one answer for each call that is open.
//! A session that has ended has nothing unread. Sums are only about right while sessions of several threads change
//! them, by what those change at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One session's part of what its principal has not read.
#[derive(Debug)]
pub struct Unread {
    all: Arc<AtomicUsize>,
    own: usize,
    max: usize,
}

// === impl Unread ===

impl Unread {
    /// Makes a part, without anything unread, of a sum that takes new calls up to `max` bytes.
    pub(crate) fn of(all: Arc<AtomicUsize>, max: usize) -> Self {
        Self { all, own: 0, max }
    }

    /// Says how many bytes the session has now.
    pub(super) fn set(&mut self, own: usize) {
        if own > self.own {
            self.all.fetch_add(own - self.own, Ordering::Relaxed);
        } else if own < self.own {
            self.all.fetch_sub(self.own - own, Ordering::Relaxed);
        }
        self.own = own;
    }

    /// Returns the bound when there is more than that unread.
    pub(super) fn exceeded(&self) -> Option<usize> {
        (self.all.load(Ordering::Relaxed) > self.max).then_some(self.max)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_of_a_principal_share_what_may_be_unread() {
        let all = Arc::default();
        let [mut one, mut two] = [(); 2].map(|()| Unread::of(Arc::clone(&all), 100));

        one.set(60);
        two.set(40);
        assert_eq!((one.exceeded(), two.exceeded()), (None, None));
        two.set(41);
        assert_eq!((one.exceeded(), two.exceeded()), (Some(100), Some(100)));
        one.set(59);
        assert_eq!(two.exceeded(), None, "a client has read");

        two.set(1_000);
        assert_eq!(one.exceeded(), Some(100));
        drop(two);
        assert_eq!(one.exceeded(), None, "a session has ended");
        drop(one);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
