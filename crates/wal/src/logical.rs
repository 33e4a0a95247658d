//! What the log says: every change counts as soon as it is submitted.
//!
//! Payloads of entries are here until they are durable, and then for as long as there is room; slots always. Each version
//! of an item has a serial, by which [`crate::durable`] knows whether what it has on the disk is still what the log says.
//! Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::block::{GroupId, Kind, Op, Slot};
use crate::error::SubmitError;

/// Everything that the log says.
#[derive(Debug, Default)]
pub(crate) struct Logical {
    groups: BTreeMap<GroupId, Group>,
    /// The last version minted.
    serial: u64,
    cached_bytes: usize,
    /// Entries that are durable and still in memory, the oldest first; and some that went since.
    cached: VecDeque<Item>,
    /// How many of these there may be before the ones that went are looked for.
    cached_max: usize,
}

/// The log of one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The index of the first entry.
    pub(crate) first: u64,
    entries: VecDeque<Held>,
    pub(crate) slots: BTreeMap<Slot, (u64, Bytes)>,
    /// What was said of the last entry that was purged.
    pub(crate) purged: Option<(u64, Bytes)>,
}

#[derive(Debug)]
struct Held {
    serial: u64,
    /// None once it is durable and did not fit.
    payload: Option<Bytes>,
}

/// Names one version of an entry, a slot or what was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) group: GroupId,
    pub(crate) number: u64,
    pub(crate) serial: u64,
}

/// A record on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) item: Item,
    pub(crate) payload: Bytes,
}

/// As many entries are not worth a sweep: they take 40 KiB.
const SWEPT_MIN: usize = 1024;

// === impl Logical ===

impl Logical {
    /// Tells whether the changes can be made, in this order.
    pub(crate) fn check(&self, group: GroupId, ops: &[Op], payload_bytes_max: usize) -> Result<(), SubmitError> {
        let known = self.groups.get(&group);
        let (mut first, mut next) = known.map_or((0, 0), |known| (known.first, known.next()));
        let mut purged = known.is_some_and(|known| known.purged.is_some());
        for op in ops {
            let payload = match op {
                Op::Append { index, payload } => {
                    if first == next && !purged {
                        (first, next) = (*index, *index);
                    }
                    // The last number of all is none that an entry can have: the one behind it could not be told.
                    let Some(behind) = index.checked_add(1).filter(|_| *index == next) else {
                        return Err(SubmitError::NotNext { group, index: *index, expected: next });
                    };
                    next = behind;
                    payload.len()
                }
                Op::Truncate { from } => {
                    if !(first..=next).contains(from) {
                        return Err(SubmitError::Outside { group, from: *from, first, next });
                    }
                    next = *from;
                    0
                }
                Op::Purge { before, note } => {
                    (first, next, purged) = (first.max(*before), next.max(*before), true);
                    note.len()
                }
                Op::Put { value, .. } => value.len(),
                Op::Forget => {
                    (first, next, purged) = (0, 0, false);
                    0
                }
            };
            if payload > payload_bytes_max {
                return Err(SubmitError::TooLarge { group, bytes: payload, max: payload_bytes_max });
            }
        }
        Ok(())
    }

    /// Makes a change that was checked; returns its record.
    pub(crate) fn apply(&mut self, id: GroupId, op: Op) -> Outgoing {
        self.serial += 1;
        let serial = self.serial;
        let outgoing = |kind, number, payload| Outgoing { item: Item { kind, group: id, number, serial }, payload };
        let group = self.groups.entry(id).or_default();
        match op {
            Op::Append { index, payload } => {
                if group.entries.is_empty() {
                    group.first = index;
                }
                self.cached_bytes += payload.len();
                group.entries.push_back(Held { serial, payload: Some(payload.clone()) });
                outgoing(Kind::Entry, index, payload)
            }
            Op::Truncate { from } => {
                let gone = group.entries.split_off(group.position(from).min(group.entries.len()));
                self.cached_bytes -= bytes_of(gone);
                outgoing(Kind::Truncate, from, Bytes::new())
            }
            Op::Purge { before, note } => {
                let gone = group.position(before).min(group.entries.len());
                self.cached_bytes -= bytes_of(group.entries.drain(..gone).collect());
                group.first = group.first.max(before);
                group.purged = Some((serial, note.clone()));
                outgoing(Kind::Purge, group.first, note)
            }
            Op::Put { slot, value } => {
                group.slots.insert(slot, (serial, value.clone()));
                outgoing(Kind::Slot, u64::from(slot.0), value)
            }
            Op::Forget => {
                let gone = self.groups.remove(&id).unwrap_or_default();
                self.cached_bytes -= bytes_of(gone.entries);
                outgoing(Kind::Forget, 0, Bytes::new())
            }
        }
    }

    /// Takes a group as it was found on the disk: what was purged, its slots, and the serials of its entries.
    pub(crate) fn restore(&mut self, id: GroupId, group: Group, entries: impl Iterator<Item = u64>, serial: u64) {
        let entries = entries.map(|serial| Held { serial, payload: None }).collect();
        self.groups.insert(id, Group { entries, ..group });
        self.serial = self.serial.max(serial);
    }

    /// Notes that a record is durable, and forgets payloads for which there is no room.
    pub(crate) fn is_durable(&mut self, item: Item, cache_bytes_max: usize) {
        if item.kind == Kind::Entry && self.held(item).is_some() {
            self.cached.push_back(item);
            self.sweep();
        }
        while self.cached_bytes > cache_bytes_max
            && let Some(oldest) = self.cached.pop_front()
        {
            let payload = self.held(oldest).and_then(|held| held.payload.take());
            self.cached_bytes -= payload.map_or(0, |payload| payload.len());
        }
    }

    /// Tells whether the log still says this.
    pub(crate) fn says(&self, item: Item) -> bool {
        let Some(group) = self.groups.get(&item.group) else { return false };
        let serial = match item.kind {
            Kind::Entry | Kind::Moved => group.held(item.number).map(|held| held.serial),
            Kind::Slot => {
                u8::try_from(item.number).ok().and_then(|slot| group.slots.get(&Slot(slot))).map(|said| said.0)
            }
            Kind::Purge => group.purged.as_ref().map(|said| said.0),
            Kind::Truncate | Kind::Forget => None,
        };
        serial == Some(item.serial)
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Lets go of what is said of entries that went, each time that there may be as many of them as of others: they would
    /// gather for ever where entries go before there is no room for them.
    fn sweep(&mut self) {
        if self.cached.len() <= self.cached_max.max(SWEPT_MIN) {
            return;
        }
        let mut cached = std::mem::take(&mut self.cached);
        cached.retain(|item| self.held(*item).is_some());
        self.cached_max = 2 * cached.len();
        self.cached = cached;
    }

    fn held(&mut self, item: Item) -> Option<&mut Held> {
        let group = self.groups.get_mut(&item.group)?;
        let position = usize::try_from(item.number.checked_sub(group.first)?).ok()?;
        group.entries.get_mut(position).filter(|held| held.serial == item.serial)
    }
}

// === impl Group ===

impl Group {
    /// A group without its entries.
    pub(crate) fn found(first: u64, slots: BTreeMap<Slot, (u64, Bytes)>, purged: Option<(u64, Bytes)>) -> Self {
        Self { first, entries: VecDeque::new(), slots, purged }
    }

    /// The index behind the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Returns an entry's payload if it is in memory; the outer option is whether there is such an entry.
    pub(crate) fn payload(&self, index: u64) -> Option<Option<&Bytes>> {
        self.held(index).map(|held| held.payload.as_ref())
    }

    fn held(&self, index: u64) -> Option<&Held> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }
}

fn bytes_of(entries: VecDeque<Held>) -> usize {
    entries.into_iter().filter_map(|held| held.payload).map(|payload| payload.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries that were purged before the memory was full stayed in the list of what is in memory, which grew by 32
    /// bytes with each entry that was ever written.
    #[test]
    fn what_is_kept_of_entries_that_went_is_bounded() {
        let mut logical = Logical::default();
        let group = GroupId(1);
        for index in 0..100_000 {
            let ops = [Op::Append { index, payload: Bytes::from_static(b"entry") }];
            logical.check(group, &ops, 100).unwrap();
            for op in ops {
                let item = logical.apply(group, op).item;
                logical.is_durable(item, 1 << 20);
            }
            if index % 100 == 99 {
                let purge = logical.apply(group, Op::Purge { before: index, note: Bytes::new() }).item;
                logical.is_durable(purge, 1 << 20);
            }
        }
        assert!(logical.cached.len() <= SWEPT_MIN + 1, "{}", logical.cached.len());
        assert_eq!(logical.cached_bytes(), 5, "one entry is left");
    }

    #[test]
    fn what_fits_into_memory_stays_there_and_the_oldest_goes_first() {
        let mut logical = Logical::default();
        let group = GroupId(1);
        for index in 0..5_000 {
            let item = logical.apply(group, Op::Append { index, payload: Bytes::from(vec![0; 10]) }).item;
            logical.is_durable(item, 30_000);
        }
        let is_there = |index| logical.group(group).unwrap().payload(index).unwrap().is_some();
        assert!((0..2_000).all(|index| !is_there(index)) && (2_000..5_000).all(is_there));
    }
}
