//! What is on the disk: where each item is that a restart would find, and how much of each segment that is.
//!
//! Follows the log by the records that were synced, in their order; a restart makes the same value of the same records.
//! A segment of which nothing lives can go once all older ones are gone: a record that drops something is never needed
//! longer than what it drops. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::block::{GroupId, Kind, RECORD_HEAD_BYTES, Slot};
use crate::logical::{self, Item, Logical};

/// Everything that a restart would find.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    groups: BTreeMap<GroupId, Group>,
    /// Bytes of each segment that are needed.
    live: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
struct Group {
    /// Not in the order of the disk: what was written again came later.
    entries: BTreeMap<u64, Placed>,
    slots: BTreeMap<Slot, Placed>,
    /// The first index that was not purged.
    purged: Option<(u64, Placed)>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    serial: u64,
    place: Place,
}

/// Where a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// Entries of a group that do not follow each other.
#[derive(Debug)]
pub(crate) struct Hole;

// === impl Durable ===

impl Durable {
    /// Takes a record that is durable at this place.
    pub(crate) fn take(&mut self, item: Item, place: Place) {
        let Item { kind, group: id, number, serial } = item;
        let placed = Placed { serial, place };
        let group = self.groups.entry(id).or_default();
        let mut gone = Vec::new();
        let lives = match kind {
            Kind::Entry => {
                gone.extend(group.entries.insert(number, placed));
                true
            }
            // It is the same entry, unless it went in the meantime.
            Kind::Moved => {
                let is_there = group.purged.is_none_or(|(first, _)| number >= first);
                if is_there {
                    gone.extend(group.entries.insert(number, placed));
                }
                is_there
            }
            Kind::Truncate => {
                gone.extend(group.entries.split_off(&number).into_values());
                false
            }
            Kind::Slot => {
                let slot = Slot(u8::try_from(number).unwrap_or(u8::MAX));
                gone.extend(group.slots.insert(slot, placed));
                true
            }
            Kind::Purge => {
                let kept = group.entries.split_off(&number);
                gone.extend(std::mem::replace(&mut group.entries, kept).into_values());
                gone.extend(group.purged.replace((number, placed)).map(|(_, placed)| placed));
                true
            }
            Kind::Forget => {
                let all = self.groups.remove(&id).unwrap_or_default();
                let purged = all.purged.map(|(_, placed)| placed);
                gone.extend(all.entries.into_values().chain(all.slots.into_values()).chain(purged));
                false
            }
        };
        if lives {
            *self.live.entry(place.segment).or_default() += place.disk_bytes();
        }
        for old in gone {
            let live = self.live.get_mut(&old.place.segment).expect("what is placed is counted there");
            *live = live.checked_sub(old.place.disk_bytes()).expect("what is placed is counted there once");
        }
    }

    /// Returns where an entry is.
    pub(crate) fn entry(&self, group: GroupId, index: u64) -> Option<Place> {
        Some(self.groups.get(&group)?.entries.get(&index)?.place)
    }

    /// Returns everything of a group that lives in a segment.
    pub(crate) fn living_in(&self, id: GroupId, segment: u64) -> Vec<(Item, Place)> {
        let Some(group) = self.groups.get(&id) else { return Vec::new() };
        let entries = group.entries.iter().map(|(index, placed)| (Kind::Moved, *index, placed));
        let slots = group.slots.iter().map(|(slot, placed)| (Kind::Slot, u64::from(slot.0), placed));
        let purged = group.purged.iter().map(|(first, placed)| (Kind::Purge, *first, placed));
        let all = entries.chain(slots).chain(purged).filter(|(_, _, placed)| placed.place.segment == segment);
        all.map(|(kind, number, placed)| (Item { kind, group: id, number, serial: placed.serial }, placed.place))
            .collect()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    pub(crate) fn live_in(&self, segment: u64) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.values().sum()
    }

    pub(crate) fn forget_segment(&mut self, segment: u64) {
        self.live.remove(&segment);
    }

    /// Returns the places of all slots, and of what is said of purged entries: their payloads are needed in memory.
    pub(crate) fn values(&self) -> impl Iterator<Item = Place> {
        self.groups.values().flat_map(|group| {
            let purged = group.purged.iter().map(|(_, placed)| placed.place);
            group.slots.values().map(|placed| placed.place).chain(purged)
        })
    }

    /// Makes what the log says out of what was found; `value` returns the payload at a place.
    ///
    /// # Errors
    /// [`Hole`] when a group's entries do not follow each other: something is missing.
    pub(crate) fn to_logical(&self, serial: u64, value: impl Fn(Place) -> Bytes) -> Result<Logical, Hole> {
        let mut logical = Logical::default();
        for (id, group) in &self.groups {
            let lowest = group.entries.keys().next().copied();
            let first = match (&group.purged, lowest) {
                (Some((first, _)), None) => *first,
                (Some((first, _)), Some(lowest)) if lowest != *first => return Err(Hole),
                (Some(_) | None, lowest) => lowest.unwrap_or(0),
            };
            if group.entries.keys().zip(first..).any(|(found, expected)| *found != expected) {
                return Err(Hole);
            }
            let slots = group.slots.iter().map(|(slot, placed)| (*slot, (placed.serial, value(placed.place))));
            let purged = group.purged.as_ref().map(|(_, placed)| (placed.serial, value(placed.place)));
            let found = logical::Group::found(first, slots.collect(), purged);
            logical.restore(*id, found, group.entries.values().map(|placed| placed.serial), serial);
        }
        Ok(logical)
    }
}

// === impl Place ===

impl Place {
    /// What the record takes.
    fn disk_bytes(self) -> u64 {
        u64::from(self.bytes) + RECORD_HEAD_BYTES as u64
    }
}
