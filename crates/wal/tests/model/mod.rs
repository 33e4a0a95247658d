//! What a log has to say, kept in the simplest way.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_wal::{GroupId, Op, Slot, Wal};

/// A change, with numbers that are bent to what the log has at the time.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    group: u32,
    deeds: Vec<Deed>,
}

/// One part of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Append { bytes: usize },
    Truncate { at: u8 },
    Purge { at: u8 },
    Put { slot: u8, bytes: usize },
    Forget,
}

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    groups: BTreeMap<GroupId, Log>,
    /// Payloads made so far: no two are the same.
    payloads: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    first: u64,
    entries: Vec<Bytes>,
    purged: Option<Bytes>,
    slots: BTreeMap<Slot, Bytes>,
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    let deed = prop_oneof![
        8 => prop_oneof![0..40_usize, 200..3_000_usize].prop_map(|bytes| Deed::Append { bytes }),
        2 => any::<u8>().prop_map(|at| Deed::Truncate { at }),
        3 => any::<u8>().prop_map(|at| Deed::Purge { at }),
        3 => (0..3_u8, 0..200_usize).prop_map(|(slot, bytes)| Deed::Put { slot, bytes }),
    ];
    // Three deeds fit one batch: a change that does not is durable in parts.
    let deeds = prop_oneof![
        30 => prop::collection::vec(deed, 1..4),
        1 => Just(vec![Deed::Forget]),
    ];
    // One group of the four is mostly idle.
    let group = prop_oneof![20 => 0..3_u32, 1 => Just(3)];
    (group, deeds).prop_map(|(group, deeds)| Change { group, deeds })
}

impl Model {
    /// Makes a change; returns what to submit.
    pub(crate) fn make(&mut self, change: &Change) -> Option<(GroupId, Vec<Op>)> {
        let group = GroupId(change.group);
        let ops: Vec<Op> = change.deeds.iter().map(|deed| self.op(group, *deed)).collect();
        (!ops.is_empty()).then_some((group, ops))
    }

    fn op(&mut self, group: GroupId, deed: Deed) -> Op {
        self.payloads += 1;
        let payload = |bytes: usize| {
            let mut payload = self.payloads.to_le_bytes().to_vec();
            payload.resize(8 + bytes, self.payloads as u8);
            Bytes::from(payload)
        };
        let log = self.groups.entry(group).or_default();
        let next = log.first + log.entries.len() as u64;
        match deed {
            Deed::Append { bytes } => {
                let payload = payload(bytes);
                log.entries.push(payload.clone());
                Op::Append { index: next, payload }
            }
            Deed::Truncate { at } => {
                let kept = usize::from(at) % (log.entries.len() + 1);
                log.entries.truncate(kept);
                Op::Truncate { from: log.first + kept as u64 }
            }
            Deed::Purge { at } => {
                // Also a little beyond the log, as a snapshot does that was received.
                let gone = usize::from(at) % (log.entries.len() + 3);
                let before = log.first + gone as u64;
                log.entries.drain(..gone.min(log.entries.len()));
                log.first = before;
                let note = payload(0);
                log.purged = Some(note.clone());
                Op::Purge { before, note }
            }
            Deed::Put { slot, bytes } => {
                let value = payload(bytes);
                log.slots.insert(Slot(slot), value.clone());
                Op::Put { slot: Slot(slot), value }
            }
            Deed::Forget => {
                self.groups.remove(&group);
                Op::Forget
            }
        }
    }

    /// Compares with what a log says.
    pub(crate) fn check(&self, wal: &Wal) -> Result<(), TestCaseError> {
        for group in (0..4).map(GroupId) {
            let expected = self.groups.get(&group).cloned().unwrap_or_default();
            let found = wal.group(group);
            prop_assert_eq!(&found.slots, &expected.slots, "slots of {}", group);
            prop_assert_eq!(&found.purged, &expected.purged, "what was purged of {}", group);
            let entries = wal.read(group, found.first..found.next, usize::MAX);
            let entries = entries.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&entries, &expected.entries, "entries of {}", group);
            // Without entries, and if none was purged, a log begins anywhere.
            if !entries.is_empty() || found.purged.is_some() {
                prop_assert_eq!(found.first, expected.first, "the first of {}", group);
            }
        }
        Ok(())
    }
}
