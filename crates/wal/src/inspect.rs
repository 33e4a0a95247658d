//! What is in a log, for people: reads it as opening it would, and changes nothing.
//!
//! Out go its segments, with what they hold and how much of that is needed, the groups as a restart would find them, and
//! their entries. Of a log that opening would refuse come the reason and what was read before the damaged place; of its
//! groups nothing is said, for nothing of it can be trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{GroupId, Kind};
use crate::disk::{Disk, File};
use crate::durable::Durable;
use crate::error::{OpenError, ReadError};
use crate::recover::{Found, Replayed, replay};
use crate::segment;
use crate::wal::{GroupState, payload_at};

/// What a log has.
pub struct Inspected {
    /// The log; none when no batch of it was read.
    pub log: Option<u128>,
    /// Its segments, the oldest first; only those that were read when it is refused.
    pub segments: Vec<SegmentReport>,
    /// Each group's first and next index, what was said of purged entries, and its slots.
    pub groups: BTreeMap<GroupId, GroupState>,
    /// Bytes that a restart needs.
    pub live_bytes: u64,
    /// Files that are ready to become segments.
    pub spares: usize,
    /// Why opening would refuse it.
    pub refused: Option<OpenError>,
    durable: Durable,
    files: BTreeMap<u64, Arc<dyn File>>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryReport {
    /// Its index.
    pub index: u64,
    /// The file it is in.
    pub file: String,
    /// Where its payload begins in the file, in bytes.
    pub offset: u64,
    /// The checksum (CRC-32) of its payload.
    pub crc: u32,
    /// What it says.
    pub payload: Bytes,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// The number of its first batch; none when none was read.
    pub first_batch: Option<u64>,
    /// Batches in it.
    pub batches: u64,
    /// Records in them, by kind: entries, entries written again, truncations, slots, purges, groups forgotten.
    pub records: [u64; 6],
    /// Bytes of the file that are written.
    pub bytes: u64,
    /// Bytes that a restart needs of it; none when the log is refused.
    pub live_bytes: Option<u64>,
    /// Where a batch was begun and not finished, in bytes: it was cut by a crash, was never reported durable, and is no part
    /// of the log.
    pub torn_at: Option<u64>,
}

/// Reads a log without changing it.
///
/// # Errors
/// [`OpenError::Disk`] when it cannot be read. One that cannot be trusted is no error: [`Inspected::refused`].
pub fn inspect(disk: &dyn Disk) -> Result<Inspected, OpenError> {
    let source = |source| OpenError::Disk { file: "the folder".to_owned(), source };
    let names = disk.names().map_err(source)?;
    let mut log = None;
    let mut reports: BTreeMap<u64, SegmentReport> = BTreeMap::new();
    for number in names.iter().filter_map(|name| segment::number(name)) {
        reports.insert(number, SegmentReport::new(number));
    }
    let replayed = replay(disk, &names, None, |found| {
        log = Some(found.head.log);
        reports.entry(found.head.segment).or_insert_with(|| SegmentReport::new(found.head.segment)).add(found);
    });
    let mut inspected = Inspected {
        log,
        segments: Vec::new(),
        groups: BTreeMap::new(),
        live_bytes: 0,
        spares: names.iter().filter(|name| segment::spare_number(name).is_some()).count(),
        refused: None,
        durable: Durable::default(),
        files: BTreeMap::new(),
    };
    match replayed {
        Ok(Replayed { durable, logical, scanned }) => {
            for report in reports.values_mut() {
                report.live_bytes = Some(durable.live_in(report.segment));
                report.torn_at = scanned.torn.iter().find(|torn| torn.0 == report.segment).map(|torn| torn.1);
            }
            let groups = logical.groups().filter_map(|id| Some((id, GroupState::of(logical.group(id)?))));
            inspected.groups = groups.collect();
            inspected.live_bytes = durable.live();
            (inspected.durable, inspected.files) = (durable, scanned.files);
        }
        Err(error @ OpenError::Disk { .. }) => return Err(error),
        Err(error) => inspected.refused = Some(error),
    }
    inspected.segments = reports.into_values().collect();
    Ok(inspected)
}

// === impl Inspected ===

impl Inspected {
    /// Reads entries of a group, from an index on, as many as there are up to a limit.
    ///
    /// # Errors
    /// [`ReadError`] when one cannot be read, or is not what was written.
    pub fn entries(&self, group: GroupId, from: u64, limit: usize) -> Result<Vec<EntryReport>, ReadError> {
        let (first, next) = self.groups.get(&group).map_or((0, 0), |state| (state.first, state.next));
        let entries = (from.max(first)..next).take(limit).map(|index| {
            let place = self.durable.entry(group, index).expect("each entry has a place");
            let file = self.files.get(&place.segment).expect("the place was found in it");
            let payload = payload_at(&**file, place, group, index)?;
            let (file, offset) = (segment::name(place.segment), u64::from(place.offset));
            Ok(EntryReport { index, file, offset, crc: crc32fast::hash(&payload), payload })
        });
        entries.collect()
    }
}

// === impl SegmentReport ===

impl SegmentReport {
    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        segment::name(self.segment)
    }

    fn new(segment: u64) -> Self {
        Self { segment, first_batch: None, batches: 0, records: [0; 6], bytes: 0, live_bytes: None, torn_at: None }
    }

    fn add(&mut self, found: &Found<'_>) {
        self.first_batch = Some(found.head.first_batch);
        self.batches += 1;
        self.bytes = found.offset + found.bytes as u64;
        found.records.iter().for_each(|record| self.records[column(record.kind)] += 1);
    }
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
