//! What clients saw since the last mark, and whether anything was lost or came twice since the beginning.
//!
//! Of each client the latest event is kept, and how soon it was back: a client is one sample of a fault, however many events it has.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::super::ticker::now_us;
use crate::cluster::report::share_at;

/// A client that waited for less was not held up: it is what a busy machine takes.
const PAUSE_MIN_MS: f64 = 30.0;
/// Failures that are told of.
const FAILURES_MAX: usize = 5;

/// What all clients saw.
pub(super) struct Tally {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    marked_us: u64,
    events: u64,
    lost: u64,
    doubled: u64,
    failed: u64,
    failures: Vec<String>,
    clients: Vec<Client>,
}

/// Since the mark.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// How late its latest event was at most.
    late_ms: f64,
    /// Its connection broke.
    broke: bool,
    /// From when it asked again, as soon as it might, to the next event.
    back_ms: Option<f64>,
}

/// What came since the mark.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) events: u64,
    /// Since the beginning.
    pub(crate) lost: u64,
    /// Since the beginning.
    pub(crate) doubled: u64,
    /// Clients that could not go on, since the beginning.
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
    /// How late events were at most, of each client whose connection lasted.
    pub(crate) late: Times,
    /// Of those that were held up.
    pub(crate) paused: Times,
    /// From the moment at which a client may come back to its next event, of those whose connections broke.
    pub(crate) back: Times,
    /// Clients whose connections broke, and which have no event since.
    pub(crate) away: u64,
}

/// Times of many clients, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(clients: u32) -> Self {
        let clients = vec![Client::default(); usize::try_from(clients).unwrap_or(0)];
        let seen =
            Seen { marked_us: now_us(), events: 0, lost: 0, doubled: 0, failed: 0, failures: Vec::new(), clients };
        Self { seen: Mutex::new(seen) }
    }

    /// Forgets what clients saw.
    pub(super) fn mark(&self) {
        self.with(|seen| {
            seen.marked_us = now_us();
            seen.events = 0;
            seen.clients.fill(Client::default());
        });
    }

    /// An event came: the one after `last`, if all is well. `asked_us` is when the client asked again, if it is its first
    /// one since.
    pub(super) fn event(&self, client: u32, last: u64, number: u64, due_us: u64, asked_us: Option<u64>) {
        let now = now_us();
        self.with(|seen| {
            seen.events += 1;
            match number.checked_sub(last + 1) {
                Some(gap) => seen.lost += gap,
                None => seen.doubled += 1,
            }
            let waited = ms(now.saturating_sub(due_us.max(seen.marked_us)));
            let Some(row) = seen.client(client) else { return };
            row.late_ms = row.late_ms.max(waited);
            if let Some(asked) = asked_us.filter(|_| row.broke) {
                row.back_ms = Some(ms(now.saturating_sub(asked.max(due_us))));
            }
        });
    }

    pub(super) fn broke(&self, client: u32) {
        self.with(|seen| {
            if let Some(row) = seen.client(client) {
                (row.broke, row.back_ms) = (true, None);
            }
        });
    }

    pub(super) fn failed(&self, client: u32, reason: &str) {
        self.with(|seen| {
            seen.failed += 1;
            if seen.failures.len() < FAILURES_MAX {
                seen.failures.push(format!("client {client}: {reason}"));
            }
        });
    }

    pub(super) fn report(&self) -> Report {
        self.with(|seen| {
            let lasted = || seen.clients.iter().filter(|client| !client.broke).map(|client| client.late_ms);
            let broke = || seen.clients.iter().filter(|client| client.broke);
            Report {
                seconds: now_us().saturating_sub(seen.marked_us) as f64 / 1e6,
                events: seen.events,
                lost: seen.lost,
                doubled: seen.doubled,
                failed: seen.failed,
                failures: seen.failures.clone(),
                late: Times::of(lasted()),
                paused: Times::of(lasted().filter(|late| *late >= PAUSE_MIN_MS)),
                back: Times::of(broke().filter_map(|client| client.back_ms)),
                away: broke().filter(|client| client.back_ms.is_none()).count() as u64,
            }
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Seen ===

impl Seen {
    fn client(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.get_mut(usize::try_from(number).ok()?)
    }
}

// === impl Times ===

impl Times {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let times: Vec<f64> = times.collect();
        // Of nothing, nothing: JSON knows no number that is none.
        let at = |share| if times.is_empty() { 0.0 } else { share_at(&times, share) };
        Self { count: times.len() as u64, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_and_what_comes_again_is_counted() {
        let tally = Tally::new(1);
        for (last, number) in [(0, 1), (1, 2), (2, 5), (5, 5), (5, 6)] {
            tally.event(0, last, number, now_us(), None);
        }
        let report = tally.report();

        assert_eq!((report.events, report.lost, report.doubled, report.failed), (5, 2, 1, 0));
    }

    #[test]
    fn who_waits_is_held_up_and_who_came_back_is_counted_apart() {
        let tally = Tally::new(3);
        tally.mark();
        let due = now_us();
        std::thread::yield_now();
        tally.event(0, 0, 1, due, None);
        tally.broke(1);
        tally.broke(2);
        tally.event(1, 0, 1, due, Some(due));
        let report = tally.report();

        assert_eq!((report.late.count, report.back.count, report.away), (1, 1, 1));
        tally.mark();
        assert_eq!((tally.report().events, tally.report().away), (0, 0));
    }
}
