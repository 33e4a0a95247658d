//! What waits to be sent to one peer, in order and by urgency.
//!
//! Pure: pushes are bounded in bytes, pops give batches. Consensus goes before bulk; within one urgency order is kept. Bulk
//! may fill half of the bytes, so that it never makes consensus wait outside; and when it was passed over a few times, one
//! of it goes along, because a follower that waits for a snapshot behind a loaded leader would wait for ever.

use std::collections::VecDeque;

/// How urgent a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// What a group waits for: appends, votes, heartbeats, and forwarded commands.
    Consensus,
    /// What may wait: chunks of snapshots (of 256 KiB at most, so that what is behind one waits little).
    Bulk,
}

/// Bytes after which a batch is full: what one write to a socket takes well, and little enough that an urgent frame which
/// comes later waits less than a millisecond at 1 Gbit/s. One larger frame is a batch of its own.
pub(crate) const BATCH_BYTES: usize = 64 << 10;

/// Bytes that a waiting frame costs beside its payload: its place here, its headers, and where its answer goes.
const FRAME_COST: usize = 128;

/// Batches that bulk lets go before one of it goes along.
const PASSED_MAX: u32 = 8;

/// Frames that wait; `T` is whatever becomes one.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    urgent: VecDeque<(usize, T)>,
    bulk: VecDeque<(usize, T)>,
    bytes: usize,
    bulk_bytes: usize,
    bytes_max: usize,
    /// Batches since bulk had one.
    passed: u32,
}

// === impl Queue ===

impl<T> Queue<T> {
    /// Makes an empty one for so many bytes; a frame that is larger than them finds no place.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { urgent: VecDeque::new(), bulk: VecDeque::new(), bytes: 0, bulk_bytes: 0, bytes_max, passed: 0 }
    }

    /// Returns the bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many frames wait.
    pub(crate) fn len(&self) -> usize {
        self.urgent.len() + self.bulk.len()
    }

    /// Returns how many frames of bulk wait.
    pub(crate) fn bulk_len(&self) -> usize {
        self.bulk.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether a payload of so many bytes finds a place.
    pub(crate) fn has_place(&self, urgency: Urgency, payload: usize) -> bool {
        let cost = payload + FRAME_COST;
        let fits = self.bytes + cost <= self.bytes_max;
        match urgency {
            Urgency::Consensus => fits,
            Urgency::Bulk => fits && self.bulk_bytes + cost <= self.bytes_max / 2,
        }
    }

    /// Appends a frame. Whether it has a place is asked before, by those whose frames may be refused.
    pub(crate) fn push(&mut self, urgency: Urgency, payload: usize, item: T) {
        let cost = payload + FRAME_COST;
        self.bytes += cost;
        match urgency {
            Urgency::Consensus => self.urgent.push_back((cost, item)),
            Urgency::Bulk => {
                self.bulk_bytes += cost;
                self.bulk.push_back((cost, item));
            }
        }
    }

    /// Takes the next batch into `take`: as many frames as [`BATCH_BYTES`] hold, or one larger one.
    pub(crate) fn pop_batch(&mut self, mut take: impl FnMut(T)) {
        let mut room = BATCH_BYTES;
        let mut is_first = true;
        let has_turn = self.passed >= PASSED_MAX && self.pop_bulk(&mut room, &mut is_first, &mut take);
        while let Some((cost, _)) = self.urgent.front()
            && (is_first || *cost <= room)
        {
            let (cost, item) = self.urgent.pop_front().expect("it was looked at");
            self.bytes -= cost;
            room = room.saturating_sub(cost);
            is_first = false;
            take(item);
        }
        let mut has_some = has_turn || self.bulk.is_empty();
        while self.urgent.is_empty() && self.pop_bulk(&mut room, &mut is_first, &mut take) {
            has_some = true;
        }
        self.passed = if has_some { 0 } else { self.passed + 1 };
    }

    fn pop_bulk(&mut self, room: &mut usize, is_first: &mut bool, take: &mut impl FnMut(T)) -> bool {
        match self.bulk.front() {
            Some((cost, _)) if *is_first || *cost <= *room => {}
            _ => return false,
        }
        let (cost, item) = self.bulk.pop_front().expect("it was looked at");
        self.bytes -= cost;
        self.bulk_bytes -= cost;
        *room = room.saturating_sub(cost);
        *is_first = false;
        take(item);
        true
    }

    /// Takes everything, in no order that matters.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.bytes = 0;
        self.bulk_bytes = 0;
        let (urgent, bulk) = (std::mem::take(&mut self.urgent), std::mem::take(&mut self.bulk));
        urgent.into_iter().chain(bulk).map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pop(queue: &mut Queue<u32>) -> Vec<u32> {
        let mut batch = Vec::new();
        queue.pop_batch(|item| batch.push(item));
        batch
    }

    #[test]
    fn consensus_goes_before_bulk_that_came_earlier() {
        let mut queue = Queue::new(1 << 20);
        queue.push(Urgency::Bulk, 10, 1);
        queue.push(Urgency::Consensus, 10, 2);
        queue.push(Urgency::Consensus, 10, 3);

        assert_eq!(pop(&mut queue), [2, 3, 1]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn a_batch_ends_when_it_is_full_and_a_large_frame_is_one_of_its_own() {
        let mut queue = Queue::new(16 << 20);
        queue.push(Urgency::Consensus, 40 << 10, 1);
        queue.push(Urgency::Consensus, 40 << 10, 2);
        queue.push(Urgency::Consensus, 4 << 20, 3);
        queue.push(Urgency::Consensus, 1, 4);

        assert_eq!(pop(&mut queue), [1]);
        assert_eq!(pop(&mut queue), [2]);
        assert_eq!(pop(&mut queue), [3]);
        assert_eq!(pop(&mut queue), [4]);
    }

    #[test]
    fn bulk_takes_at_most_half_of_the_bytes_and_consensus_the_rest() {
        let mut queue = Queue::new(2 * (1000 + FRAME_COST));
        assert!(queue.has_place(Urgency::Bulk, 1000));
        queue.push(Urgency::Bulk, 1000, 1);

        assert!(!queue.has_place(Urgency::Bulk, 0));
        assert!(queue.has_place(Urgency::Consensus, 1000));
        assert!(!queue.has_place(Urgency::Consensus, 1001));
    }

    #[test]
    fn bulk_behind_consensus_without_end_is_sent_now_and_then() {
        let mut queue = Queue::new(64 << 20);
        for number in 0..3 {
            queue.push(Urgency::Bulk, 256 << 10, number);
        }
        let mut between = Vec::new();
        let mut since = 0;
        for _ in 0..40 {
            while queue.urgent.len() < 3 {
                queue.push(Urgency::Consensus, BATCH_BYTES / 2, 100);
            }
            since += 1;
            if pop(&mut queue).iter().any(|item| *item < 100) {
                between.push(since);
                since = 0;
            }
        }
        assert_eq!(between, [PASSED_MAX + 1; 3]);
    }

    proptest! {
        #[test]
        fn order_is_kept_within_an_urgency_and_nothing_is_lost(
            pushes in proptest::collection::vec((any::<bool>(), 0_usize..100_000, 0_u8..4), 1..60)
        ) {
            let mut queue = Queue::new(usize::MAX);
            let mut sent = Vec::new();
            for (number, (is_bulk, bytes, pops)) in pushes.iter().enumerate() {
                let urgency = if *is_bulk { Urgency::Bulk } else { Urgency::Consensus };
                queue.push(urgency, *bytes, (urgency, number, *bytes));
                for _ in 0..pops.saturating_sub(1) {
                    queue.pop_batch(|item| sent.push(item));
                }
            }
            while !queue.is_empty() {
                let mut batch = 0;
                let mut count = 0;
                queue.pop_batch(|item| { batch += item.2; count += 1; sent.push(item) });
                prop_assert!(count == 1 || batch <= BATCH_BYTES, "{count} frames of {batch} bytes");
                prop_assert!(count > 0, "a queue that is not empty gives something");
            }
            prop_assert_eq!(queue.bytes(), 0);
            prop_assert_eq!(sent.len(), pushes.len());
            for urgency in [Urgency::Consensus, Urgency::Bulk] {
                let numbers: Vec<_> = sent.iter().filter(|item| item.0 == urgency).map(|item| item.1).collect();
                prop_assert!(numbers.is_sorted(), "{:?}", numbers);
            }
        }
    }
}
