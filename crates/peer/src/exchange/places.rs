//! How many exchanges are open, and what is counted of them.
//!
//! A [`Place`] is held by an exchange until both its halves are gone. A connection that nobody used for a while is closed,
//! which no exchange can fall into: closing and entering are under one lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_types::Incarnation;
use tokio_util::sync::CancellationToken;

use super::dial::Slot;
use crate::observe::{ExchangeObservation, Reasons};

/// What a node keeps of the exchanges with one peer.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    /// The connection to the peer.
    pub(crate) slot: Mutex<Slot>,
    /// The connection of the peer, and of which of its lives it is.
    accepted: Mutex<Option<(Incarnation, CancellationToken)>>,
    pub(crate) counters: Arc<Counters>,
}

/// Counts what goes on with one peer.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Exchanges that this node opened and the peer took.
    pub(crate) outward: Way,
    /// Exchanges that the peer opened and this node took.
    pub(crate) inward: Way,
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) failures: Reasons,
}

/// Counts exchanges that were opened by one of two nodes.
#[derive(Debug, Default)]
pub(crate) struct Way {
    open: Arc<AtomicUsize>,
    pub(crate) opened: AtomicU64,
    pub(crate) refused: Reasons,
}

/// The places of one connection.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    is_closed: bool,
    /// Whether somebody came since it was asked last.
    was_used: bool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The connection ends.
    Closed,
    /// All are taken.
    TooMany,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    open: Arc<AtomicUsize>,
}

// === impl Sides ===

impl Sides {
    /// Takes a connection of a life of the peer; the one before ends. Returns what it ends with.
    pub(crate) fn accept(&self, incarnation: Incarnation, removed: &CancellationToken) -> CancellationToken {
        let stop = removed.child_token();
        if let Some((_, old)) = lock(&self.accepted).replace((incarnation, stop.clone())) {
            old.cancel();
        }
        stop
    }

    /// Ends a connection of a life of the peer that was before this one.
    pub(crate) fn end_before(&self, incarnation: Incarnation) {
        if let Some((_, old)) = lock(&self.accepted).take_if(|(of, _)| *of < incarnation) {
            old.cancel();
        }
    }

    pub(crate) fn observe(&self) -> ExchangeObservation {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExchangeObservation {
            is_connected: lock(&self.slot).is_open(),
            open_out: counters.outward.open(),
            open_in: counters.inward.open(),
            opened_out: read(&counters.outward.opened),
            opened_in: read(&counters.inward.opened),
            refused_out: counters.outward.refused.read(),
            refused_in: counters.inward.refused.read(),
            messages_in: read(&counters.messages_in),
            messages_out: read(&counters.messages_out),
            bytes_in: read(&counters.bytes_in),
            bytes_out: read(&counters.bytes_out),
            connects: read(&counters.connects),
            failures: counters.failures.read(),
        }
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn sent(&self, bytes: usize) {
        self.messages_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn came(&self, bytes: usize) {
        self.messages_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// === impl Way ===

impl Way {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

// === impl Places ===

impl Places {
    /// Takes a place of `max`, and counts it on its way.
    pub(crate) fn enter(self: &Arc<Self>, max: usize, way: &Way) -> Result<Place, Full> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Full::Closed);
        }
        if state.open >= max {
            return Err(Full::TooMany);
        }
        state.open += 1;
        state.was_used = true;
        way.open.fetch_add(1, Ordering::Relaxed);
        Ok(Place { places: Arc::clone(self), open: Arc::clone(&way.open) })
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Lets nobody in any more if nobody is there, nor was since it was asked last.
    pub(crate) fn close_unused(&self) -> bool {
        let mut state = self.lock();
        state.is_closed |= state.open == 0 && !state.was_used;
        state.was_used = false;
        state.is_closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open -= 1;
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks what no panic happens under; a poisoned lock would still hold consistent state.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let (places, way) = (Arc::new(Places::default()), Way::default());
        let first = places.enter(2, &way).unwrap();
        let _second = places.enter(2, &way).unwrap();
        assert_eq!(places.enter(2, &way).unwrap_err(), Full::TooMany);
        assert_eq!(way.open(), 2);
        drop(first);
        assert!(places.enter(2, &way).is_ok());
    }

    #[test]
    fn a_connection_closes_when_nobody_used_it_between_two_looks() {
        let (places, way) = (Arc::new(Places::default()), Way::default());
        let place = places.enter(9, &way).unwrap();
        assert!(!places.close_unused() && !places.close_unused(), "somebody is there");
        drop(place);
        drop(places.enter(9, &way).unwrap());
        assert!(!places.close_unused(), "somebody was there");
        assert!(places.close_unused());
        assert_eq!(places.enter(9, &way).unwrap_err(), Full::Closed);
    }

    #[test]
    fn a_newer_connection_and_a_newer_life_end_an_older_one() {
        let (sides, removed) = (Sides::default(), CancellationToken::new());
        let first = sides.accept(Incarnation(1), &removed);
        let second = sides.accept(Incarnation(1), &removed);
        assert!(first.is_cancelled() && !second.is_cancelled());
        sides.end_before(Incarnation(1));
        assert!(!second.is_cancelled());
        sides.end_before(Incarnation(2));
        assert!(second.is_cancelled());
    }
}
