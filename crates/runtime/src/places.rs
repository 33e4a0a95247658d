//! Places among things of which only so many may be in progress at once.
//!
//! Whoever has a place gives it up while it waits for a client, who may take minutes, and has it
//! back afterwards whether one is free or not: what a person answered is never thrown away, and for
//! that time there may be more than the limit. Nobody new enters before there are fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places that are taken of a limited number.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: AtomicUsize,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    rests: bool,
}

// === impl Places ===

impl Places {
    /// Makes places for at most `max` at once.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }

    /// Takes a place; none when all are taken.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let enter = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Place { places: Arc::clone(self), rests: false })
    }

    /// Tells whether somebody has a place, taken or given up for now.
    #[must_use]
    pub fn are_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }
}

// === impl Place ===

impl Place {
    /// Gives the place up for now, to whoever wants it.
    pub fn rest(&mut self) {
        if !std::mem::replace(&mut self.rests, true) {
            self.places.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Takes it again, beyond the limit where none is free.
    pub fn work(&mut self) {
        if std::mem::take(&mut self.rests) {
            self.places.taken.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_given_up_is_had_again_beyond_the_limit_and_nobody_else_enters() {
        let places = Places::new(1);
        let mut first = places.enter().expect("a free place");
        assert!(places.enter().is_none());

        first.rest();
        first.rest();
        let second = places.enter().expect("the place that was given up");
        first.work();
        first.work();
        assert!(places.enter().is_none());

        drop(second);
        assert!(places.enter().is_none(), "the first has its place again");
        first.rest();
        drop(first);
        let last = places.enter();
        assert!(last.is_some() && places.enter().is_none(), "a place is given back once");
        assert!(places.are_used());
        drop(last);
        assert!(!places.are_used());
    }
}
