//! The events of one stream that a client may still need.
//!
//! ```text
//!     dropped     │ delivered │ sent, unwritten │ unsent
//!  1 … oldest     │ …         │ …               │ … newest
//!  (resumable     ▲           ▲                 ▲
//!   from here)  oldest    delivered            sent
//! ```
//!
//! Sequences have no gaps: `oldest ≤ delivered ≤ sent ≤ newest`, and exactly the events behind
//! `oldest` are held. Delivered events make room for new ones; undelivered ones never do, they
//! make the ring full instead. `reach` is the furthest place that any connection was told of: a
//! client can claim no more than that.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_types::Timestamp;

#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Of these, the bytes behind `delivered`.
    undelivered_bytes: usize,
    oldest: u64,
    delivered: u64,
    sent: u64,
    reach: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    at: Timestamp,
    data: Bytes,
}

/// How much one ring holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// A client cannot go on from where it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Events behind it are dropped; it can be no older than this.
    TooOld { oldest: u64 },
    /// No connection was ever given it; the newest given is this.
    NeverSent { newest: u64 },
}

// === impl Ring ===

impl Ring {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the ring of a stream whose events behind `oldest` are these, and of which `delivered` was written by
    /// connections that are gone. Any of them may have arrived.
    pub(crate) fn restored(oldest: u64, delivered: u64, entries: impl Iterator<Item = (Timestamp, Bytes)>) -> Self {
        let entries: VecDeque<Entry> = entries.map(|(at, data)| Entry { at, data }).collect();
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        let newest = oldest + entries.len() as u64;
        let delivered = delivered.clamp(oldest, newest);
        let undelivered = entries.iter().skip(index(delivered - oldest)).map(|entry| entry.data.len()).sum();
        Self { entries, bytes, undelivered_bytes: undelivered, oldest, delivered, sent: delivered, reach: newest }
    }

    /// Returns when its last event happened; none when it holds none.
    pub(crate) fn newest_at(&self) -> Option<Timestamp> {
        self.entries.back().map(|entry| entry.at)
    }

    pub(crate) const fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(crate) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Returns the events behind a place.
    pub(crate) fn after(&self, place: u64) -> impl Iterator<Item = Bytes> + '_ {
        self.entries.iter().skip(index(place.saturating_sub(self.oldest))).map(|entry| entry.data.clone())
    }

    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn newest(&self) -> u64 {
        self.oldest + self.entries.len() as u64
    }

    /// Appends an event, dropping delivered ones as far as room is needed.
    pub(crate) fn push(&mut self, now: Timestamp, data: Bytes, bounds: Bounds) {
        self.bytes += data.len();
        self.undelivered_bytes += data.len();
        self.entries.push_back(Entry { at: now, data });
        while (self.entries.len() > bounds.events_max || self.bytes > bounds.bytes_max) && self.oldest < self.delivered
        {
            self.drop_front();
        }
    }

    /// Whether undelivered events alone fill the ring: its sources have to stop.
    pub(crate) fn is_full(&self, bounds: Bounds) -> bool {
        self.undelivered_len() >= bounds.events_max || self.undelivered_bytes >= bounds.bytes_max
    }

    /// Takes the next event for a connection that has less than `window` events to write.
    pub(crate) fn send_next(&mut self, window: usize) -> Option<(u64, Bytes)> {
        if self.sent == self.newest() || self.sent - self.delivered >= window as u64 {
            return None;
        }
        let data = self.entries[index(self.sent - self.oldest)].data.clone();
        self.sent += 1;
        self.reach = self.reach.max(self.sent);
        Some((self.sent, data))
    }

    /// Whether a connection was given everything.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.newest()
    }

    /// Returns how many events were not written.
    pub(crate) fn undelivered_len(&self) -> usize {
        self.entries.len() - self.delivered_len()
    }

    /// Returns how many bytes were not written.
    pub(crate) const fn undelivered_bytes(&self) -> usize {
        self.undelivered_bytes
    }

    /// Whether everything was written.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered == self.newest()
    }

    /// Whether an event with the same bytes waits to be sent.
    pub(crate) fn has_unsent(&self, data: &Bytes) -> bool {
        self.entries.iter().skip(index(self.sent - self.oldest)).any(|entry| entry.data == *data)
    }

    /// Takes the report that a connection wrote events up to `up_to`.
    pub(crate) fn deliver(&mut self, up_to: u64) {
        while self.delivered < up_to.min(self.sent) {
            self.undelivered_bytes -= self.entries[self.delivered_len()].data.len();
            self.delivered += 1;
        }
    }

    /// Goes back to what was written: the connection is gone, or replaced by one that claims
    /// nothing.
    pub(crate) const fn rewind(&mut self) {
        self.sent = self.delivered;
    }

    /// Tells whether a client that has everything up to `has` can go on from there.
    pub(crate) fn can_resume(&self, has: u64) -> Result<(), Gap> {
        if has > self.reach {
            return Err(Gap::NeverSent { newest: self.reach });
        }
        if has < self.oldest {
            return Err(Gap::TooOld { oldest: self.oldest });
        }
        Ok(())
    }

    /// Goes on behind `has`, which the client claims to have and [`Self::can_resume`] allows.
    pub(crate) fn resume(&mut self, has: u64) {
        while self.oldest < has {
            self.drop_front();
        }
        self.delivered = has;
        self.sent = has;
        self.undelivered_bytes = self.bytes;
    }

    /// Drops what was delivered.
    pub(crate) fn drop_delivered(&mut self) {
        while self.oldest < self.delivered {
            self.drop_front();
        }
    }

    /// Drops events that happened at `until` or earlier: delivered ones, and others too if no
    /// connection reads. Returns how many of the others there were.
    pub(crate) fn expire(&mut self, until: Timestamp, attached: bool) -> usize {
        let mut lost = 0;
        while self.entries.front().is_some_and(|entry| entry.at <= until) {
            if self.oldest == self.delivered {
                if attached {
                    break;
                }
                lost += 1;
            }
            self.drop_front();
        }
        lost
    }

    /// Returns when the oldest event that [`Self::expire`] may drop happened.
    pub(crate) fn oldest_at(&self, attached: bool) -> Option<Timestamp> {
        let droppable = !attached || self.oldest < self.delivered;
        self.entries.front().filter(|_| droppable).map(|entry| entry.at)
    }

    /// Returns what does not add up.
    pub(crate) fn check(&self, window: usize) -> Result<(), &'static str> {
        if !(self.oldest <= self.delivered && self.delivered <= self.sent && self.sent <= self.newest()) {
            return Err("the ring's positions are out of order");
        }
        let bytes = |skip| self.entries.iter().skip(skip).map(|entry| entry.data.len()).sum::<usize>();
        if self.bytes != bytes(0) || self.undelivered_bytes != bytes(self.delivered_len()) {
            return Err("the ring's bytes are not those of its events");
        }
        if self.reach < self.sent {
            return Err("more is sent than ever was");
        }
        if self.sent - self.delivered > window as u64 {
            return Err("more is unwritten than the window allows");
        }
        Ok(())
    }

    fn delivered_len(&self) -> usize {
        index(self.delivered - self.oldest)
    }

    fn drop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= entry.data.len();
        if self.oldest == self.delivered {
            self.undelivered_bytes -= entry.data.len();
        }
        self.oldest += 1;
        self.delivered = self.delivered.max(self.oldest);
        self.sent = self.sent.max(self.oldest);
        self.reach = self.reach.max(self.oldest);
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

/// A position within the ring, which fits since its events are in memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset into a queue in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { events_max: 4, bytes_max: 100 };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ring(events: u64) -> Ring {
        let mut ring = Ring::default();
        for millis in 1..=events {
            ring.push(at(millis), Bytes::from_static(b"0123456789"), BOUNDS);
        }
        ring
    }

    fn sequences(ring: &mut Ring, window: usize) -> Vec<u64> {
        std::iter::from_fn(|| ring.send_next(window)).map(|(sequence, _)| sequence).collect()
    }

    #[test]
    fn a_window_of_unwritten_events_is_sent_and_delivery_opens_it_again() {
        let mut ring = ring(4);
        assert_eq!(sequences(&mut ring, 3), [1, 2, 3]);
        ring.deliver(2);
        assert_eq!(sequences(&mut ring, 3), [4]);
        ring.deliver(99);
        assert_eq!((ring.delivered, ring.is_delivered()), (4, true));
    }

    #[test]
    fn delivered_events_make_room_and_undelivered_ones_fill_the_ring() {
        let mut ring = ring(4);
        assert!(ring.is_full(BOUNDS));
        sequences(&mut ring, 9);
        ring.deliver(1);
        assert!(!ring.is_full(BOUNDS));

        ring.push(at(9), Bytes::from_static(b"x"), BOUNDS);
        assert_eq!((ring.oldest, ring.newest()), (1, 5));
        ring.push(at(9), Bytes::from_static(b"x"), BOUNDS);
        assert_eq!((ring.oldest, ring.newest()), (1, 6), "nothing undelivered is dropped");
    }

    #[test]
    fn one_event_larger_than_the_ring_is_taken_and_fills_it() {
        let mut ring = ring(2);
        sequences(&mut ring, 9);
        ring.deliver(2);
        ring.push(at(3), Bytes::from(vec![0; 1000]), BOUNDS);
        assert_eq!((ring.len(), ring.bytes()), (1, 1000));
        assert!(ring.is_full(BOUNDS));
    }

    #[test]
    fn a_resumed_client_gets_exactly_what_follows() {
        let mut ring = ring(4);
        sequences(&mut ring, 9);
        ring.deliver(4);
        for has in [0, 2, 4] {
            let mut ring = ring.clone();
            assert_eq!(ring.can_resume(has), Ok(()));
            ring.resume(has);
            assert_eq!(sequences(&mut ring, 9), (has + 1..=4).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_client_cannot_claim_what_no_connection_was_given() {
        let mut ring = ring(4);
        sequences(&mut ring, 2);
        assert_eq!(ring.can_resume(3), Err(Gap::NeverSent { newest: 2 }));
        ring.rewind();
        assert_eq!(ring.can_resume(2), Ok(()), "it may have arrived although it was not reported");
        assert_eq!(ring.can_resume(u64::MAX), Err(Gap::NeverSent { newest: 2 }));
    }

    #[test]
    fn a_client_cannot_resume_behind_what_was_dropped() {
        let mut ring = ring(4);
        sequences(&mut ring, 9);
        ring.resume(3);
        assert_eq!(ring.can_resume(2), Err(Gap::TooOld { oldest: 3 }));
    }

    #[test]
    fn only_events_without_a_reader_expire_undelivered() {
        let mut attached = ring(4);
        sequences(&mut attached, 2);
        attached.deliver(1);
        let mut detached = attached.clone();

        assert_eq!(attached.expire(at(3), true), 0);
        assert_eq!((attached.oldest, attached.newest()), (1, 4));

        assert_eq!(detached.expire(at(3), false), 2);
        assert_eq!((detached.oldest, detached.newest(), detached.delivered, detached.sent()), (3, 4, 3, 3));
        assert_eq!(detached.oldest_at(false), Some(at(4)));
    }
}
