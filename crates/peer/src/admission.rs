//! Bounds the accepted sockets that have not said who they are.
//!
//! Each has a [`Ticket`] until its node is known. Beyond the limit the oldest one is closed: members shake hands within
//! milliseconds, so that whoever holds many sockets open and says nothing loses his own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The sockets that have not said who they are.
#[derive(Debug)]
pub(crate) struct Admission {
    waiting: Arc<Mutex<Waiting>>,
    max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// By age: the numbers grow.
    tickets: BTreeMap<u64, CancellationToken>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    waiting: Arc<Mutex<Waiting>>,
    evicted: CancellationToken,
    admitted: CancellationToken,
}

// === impl Admission ===

impl Admission {
    pub(crate) fn new(max: usize) -> Self {
        Self { waiting: Arc::default(), max }
    }

    /// Takes one more; the oldest goes when there are too many.
    pub(crate) fn enter(&self) -> Ticket {
        let evicted = CancellationToken::new();
        let mut waiting = lock(&self.waiting);
        waiting.last += 1;
        let number = waiting.last;
        waiting.tickets.insert(number, evicted.clone());
        if waiting.tickets.len() > self.max
            && let Some((_, oldest)) = waiting.tickets.pop_first()
        {
            oldest.cancel();
        }
        Ticket { number, waiting: Arc::clone(&self.waiting), evicted, admitted: CancellationToken::new() }
    }

    /// Returns how many there are.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.waiting).tickets.len()
    }
}

// === impl Ticket ===

impl Ticket {
    /// Says that its node is known and taken.
    pub(crate) fn admit(&self) {
        self.leave();
        self.admitted.cancel();
    }

    /// Waits until its node is known and taken.
    pub(crate) async fn admitted(&self) {
        self.admitted.cancelled().await;
    }

    /// Waits until it has to go.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    fn leave(&self) {
        lock(&self.waiting).tickets.remove(&self.number);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // No panic happens under this lock; a poisoned one would still hold consistent state.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_oldest_goes_and_who_is_admitted_does_not_count() {
        let admission = Admission::new(2);
        let (first, second) = (admission.enter(), admission.enter());
        first.admit();
        let third = admission.enter();
        assert_eq!(admission.pending(), 2);
        let fourth = admission.enter();

        assert!(!first.evicted.is_cancelled() && second.evicted.is_cancelled());
        assert!(!third.evicted.is_cancelled() && !fourth.evicted.is_cancelled());
        drop((first, second, third, fourth));
        assert_eq!(admission.pending(), 0);
    }
}
