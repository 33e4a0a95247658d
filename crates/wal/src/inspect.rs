//! What is in a log, for people: reads it as opening it would, and changes nothing.
//!
//! Out go its segments, with what they hold and how much of that is needed, and the groups as a restart would find them. A
//! log that opening would refuse is refused here for the same reason.

use std::collections::BTreeMap;

use crate::block::{GroupId, Kind};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::recover::{Replayed, replay};
use crate::wal::GroupState;

/// What a log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The log; none when there is no segment.
    pub log: Option<u128>,
    /// Its segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// Each group's first and next index, what was said of purged entries, and its slots.
    pub groups: BTreeMap<GroupId, GroupState>,
    /// Bytes that a restart needs.
    pub live_bytes: u64,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// The number of its first batch.
    pub first_batch: u64,
    /// Batches in it.
    pub batches: u64,
    /// Records in them, by kind: entries, entries written again, truncations, slots, purges, groups forgotten.
    pub records: [u64; 6],
    /// Bytes of the file that are written.
    pub bytes: u64,
    /// Bytes that a restart needs of it.
    pub live_bytes: u64,
}

/// Reads a log without changing it.
///
/// # Errors
/// [`OpenError`] says why it is none.
pub fn inspect(disk: &dyn Disk) -> Result<Inspected, OpenError> {
    let source = |source| OpenError::Disk { file: "the folder".to_owned(), source };
    let names = disk.names().map_err(source)?;
    let mut log = None;
    let mut reports: BTreeMap<u64, SegmentReport> = BTreeMap::new();
    let Replayed { durable, logical, .. } = replay(disk, &names, None, |found| {
        log = Some(found.head.log);
        let report = reports.entry(found.head.segment).or_insert_with(|| SegmentReport {
            segment: found.head.segment,
            first_batch: found.head.first_batch,
            batches: 0,
            records: [0; 6],
            bytes: 0,
            live_bytes: 0,
        });
        report.batches += 1;
        report.bytes = found.offset + found.bytes as u64;
        found.records.iter().for_each(|record| report.records[column(record.kind)] += 1);
    })?;
    let groups = logical.groups().filter_map(|id| Some((id, GroupState::of(logical.group(id)?)))).collect();
    for report in reports.values_mut() {
        report.live_bytes = durable.live_in(report.segment);
    }
    Ok(Inspected { log, segments: reports.into_values().collect(), groups, live_bytes: durable.live() })
}

fn column(kind: Kind) -> usize {
    match kind {
        Kind::Entry => 0,
        Kind::Moved => 1,
        Kind::Truncate => 2,
        Kind::Slot => 3,
        Kind::Purge => 4,
        Kind::Forget => 5,
    }
}
