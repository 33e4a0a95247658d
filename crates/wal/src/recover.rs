//! Reads a log from the disk, and refuses one that is not what was written.
//!
//! Blocks are numbered without gaps through segments that are numbered without gaps. The first block that is none ends a
//! segment. Behind it there may be nothing but what was never synced: no later block, and no segment whose first block is
//! another than the next. (A damage of the very last batch is no different from one that was never synced, and is not
//! seen.) A writer begins a segment of its own, so that what was torn is never written over. What was found is made
//! durable before anybody is told of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{self, BLOCK_HEAD_BYTES, GroupId, Record, block_at, later_block_in, records_of};
use crate::config::{Config, SEGMENT_BYTES_MAX};
use crate::disk::{Disk, File, read_exact_at, write_all_at};
use crate::durable::{Durable, Place};
use crate::error::{OpenError, ReadError};
use crate::logical::{Item, Logical};
use crate::queue::Queue;
use crate::segment::{self, Begin, HEAD_BYTES, Head, VERSION};
use crate::space::Gauge;
use crate::spare::Spares;
use crate::wal::{Inner, Shared, Wal, payload_at};
use crate::writer::Writer;

/// A log that was read, and the writer that goes on with it.
pub struct Opened {
    /// The log.
    pub wal: Wal,
    /// Its writer, which nobody runs yet.
    pub writer: Writer,
    /// Whether there was a log.
    pub existed: bool,
}

/// A log as it was found.
pub(crate) struct Replayed {
    pub(crate) durable: Durable,
    pub(crate) logical: Logical,
    pub(crate) scanned: Scanned,
}

/// What was read.
#[derive(Default)]
pub(crate) struct Scanned {
    pub(crate) files: BTreeMap<u64, Arc<dyn File>>,
    /// The number of the next block.
    batch: u64,
    /// The last block: its segment, where it begins, and its bytes.
    last: Option<(u64, u64, usize)>,
    /// Where a batch was begun and not finished: segment and offset.
    pub(crate) torn: Vec<(u64, u64)>,
}

/// Where the blocks of a segment end.
struct End {
    offset: u64,
    /// Whether another one begins there, and is not finished.
    is_torn: bool,
}

/// Read of a segment at once: small beside one, large beside a block.
const WINDOW_BYTES: usize = 1 << 20;

/// A block of a segment: its records, and where it begins.
pub(crate) struct Found<'a> {
    pub(crate) head: &'a Head,
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
    pub(crate) records: Vec<Record>,
}

/// Opens the log with this id, or makes it when the disk has none and `must_exist` does not hold.
///
/// # Errors
/// [`OpenError`] says why it cannot be used.
pub fn open(disk: Arc<dyn Disk>, config: Config, log: u128, must_exist: bool) -> Result<Opened, OpenError> {
    config.check()?;
    let names = disk.names().map_err(failed("the folder"))?;
    let Replayed { durable, logical, scanned } = replay(&*disk, &names, Some(log), |_| {})?;
    let existed = !scanned.files.is_empty();
    if must_exist && !existed {
        return Err(OpenError::Missing);
    }
    settle(&*disk, &scanned)?;
    let Scanned { files, batch, .. } = scanned;
    let newest = files.last_key_value().map_or(0, |(segment, _)| *segment);
    let (segment_bytes, spares) = (u64::from(config.segment_bytes), config.spare_segments as usize);
    let spares = Spares::find(Arc::clone(&disk), &names, segment_bytes, spares).map_err(failed("a spare segment"))?;
    let inner = Inner {
        logical,
        durable,
        files,
        queue: Queue::default(),
        gauge: Gauge { spares: spares.ready(), ..Gauge::default() },
        ended: None,
        closing: false,
    };
    let shared = Arc::new(Shared::new(config, inner));
    let writer = Writer::new(Arc::clone(&shared), disk, spares, log, newest, batch);
    Ok(Opened { wal: Wal { shared }, writer, existed })
}

/// Makes durable what was found. A process that was killed may have left a last block that only the system's memory has,
/// and names that are not on the disk; every block before the last was synced before the next was written.
///
/// The block is written again, for a sync alone may do nothing: after one that failed, Linux takes what it could not
/// write for written. What is there does not change by it, so that this may be cut short at any point.
fn settle(disk: &dyn Disk, scanned: &Scanned) -> Result<(), OpenError> {
    disk.sync_names().map_err(failed("the folder"))?;
    let Some((segment, offset, bytes)) = scanned.last else { return Ok(()) };
    let file = &**scanned.files.get(&segment).expect("the block was found in it");
    let mut block = vec![0; bytes];
    let written = read_exact_at(file, &mut block, offset).and_then(|()| write_all_at(file, &block, offset));
    written.and_then(|()| file.sync()).map_err(failed(&segment::name(segment)))
}

/// Reads a log into what it says, and shows each block on the way.
///
/// # Errors
/// [`OpenError`] says why it is none.
pub(crate) fn replay(
    disk: &dyn Disk,
    names: &[String],
    log: Option<u128>,
    mut visit: impl FnMut(&Found<'_>),
) -> Result<Replayed, OpenError> {
    let mut durable = Durable::default();
    let mut serial = 0;
    let scanned = scan(disk, names, log, |found| {
        visit(found);
        for record in &found.records {
            serial += 1;
            let Record { kind, group, number, .. } = *record;
            durable.take(Item { kind, group, number, serial }, found.place(record));
        }
    })?;
    let values = values(&durable, &scanned.files)?;
    let value = |place: Place| values.get(&(place.segment, place.offset)).cloned().unwrap_or_default();
    let newest = scanned.files.last_key_value().map_or(0, |(segment, _)| *segment);
    let logical = durable.to_logical(serial, value).map_err(|_| OpenError::Corrupt {
        file: segment::name(newest),
        offset: 0,
        what: "the entries of a group do not follow each other",
    })?;
    Ok(Replayed { durable, logical, scanned })
}

/// Reads all segments, in order.
fn scan(
    disk: &dyn Disk,
    names: &[String],
    log: Option<u128>,
    mut visit: impl FnMut(&Found<'_>),
) -> Result<Scanned, OpenError> {
    let mut segments: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    segments.sort_unstable();
    let mut scanned = Scanned::default();
    let mut last = None;
    let mut log = log;
    // Where the segment before ended.
    let mut end: Option<(u64, u64)> = None;
    for (number, is_last) in segments.iter().map(|number| (*number, segments.last() == Some(number))) {
        let name = segment::name(number);
        let corrupt = |offset, what| OpenError::Corrupt { file: name.clone(), offset, what };
        let file = disk.open(&name).map_err(failed(&name))?;
        let head = head_of(&*file, &name, number, *log.get_or_insert(log_of(&*file, &name)?))?;
        match end {
            Some((before, _)) if number != before + 1 => return Err(corrupt(0, "the segment before it is missing")),
            Some((before, offset)) if head.first_batch != scanned.batch => {
                let what = "it ends before the segment behind it begins";
                return Err(OpenError::Corrupt { file: segment::name(before), offset, what });
            }
            Some(_) => {}
            None => scanned.batch = head.first_batch,
        }
        let End { offset, is_torn } =
            read_segment(&*file, &head, is_last, &mut scanned.batch, &mut |found: &Found<'_>| {
                last = Some((number, found.offset, found.bytes));
                visit(found);
            })?;
        scanned.files.insert(number, file);
        if is_torn {
            scanned.torn.push((number, offset));
        }
        end = Some((number, offset));
    }
    scanned.last = last;
    Ok(scanned)
}

/// Reads the blocks of a segment; returns where they end.
fn read_segment(
    file: &dyn File,
    head: &Head,
    is_last: bool,
    batch: &mut u64,
    visit: &mut impl FnMut(&Found<'_>),
) -> Result<End, OpenError> {
    let name = segment::name(head.segment);
    let corrupt = |offset: usize, what| OpenError::Corrupt { file: name.clone(), offset: offset as u64, what };
    let file_bytes = file.bytes().map_err(failed(&name))?;
    if file_bytes > u64::from(SEGMENT_BYTES_MAX) {
        return Err(corrupt(0, "it is longer than a segment can be"));
    }
    let mut window = Window::of(file, usize::try_from(file_bytes).expect("it is bounded"));
    let seed = block::seed(head.log, head.segment);
    let mut offset = usize::try_from(HEAD_BYTES).expect("a small constant");
    let mut rest;
    loop {
        rest = window.from(offset, BLOCK_HEAD_BYTES).map_err(failed(&name))?;
        if let Some(length) = block::length_at(&rest, seed) {
            rest = window.from(offset, length).map_err(failed(&name))?;
        }
        let Some((number, length)) = block_at(&rest, seed) else { break };
        if number != *batch {
            return Err(corrupt(offset, "a batch is missing before this one"));
        }
        let records = records_of(&rest.slice(..length));
        let records = records.ok_or_else(|| corrupt(offset, "a batch has records of an unknown kind"))?;
        visit(&Found { head, offset: offset as u64, bytes: length, records });
        offset += length;
        *batch += 1;
    }
    let is_torn = block::is_torn(&rest, seed);
    if is_last {
        let all = window.from(offset, usize::MAX).map_err(failed(&name))?;
        if later_block_in(&all, seed, *batch).is_some() {
            return Err(corrupt(offset, "a batch is damaged, and a later one is not"));
        }
    }
    Ok(End { offset: offset as u64, is_torn })
}

/// A part of a file that is in memory. A segment has its whole length from the beginning, and most of one that a restart ended is
/// nothing.
struct Window<'a> {
    file: &'a dyn File,
    file_bytes: usize,
    /// Where the part begins.
    begin: usize,
    part: Bytes,
}

// === impl Window ===

impl<'a> Window<'a> {
    const fn of(file: &'a dyn File, file_bytes: usize) -> Self {
        Self { file, file_bytes, begin: 0, part: Bytes::new() }
    }

    /// Returns what is from a place on: so many bytes, or all that the file has, and maybe more.
    fn from(&mut self, offset: usize, bytes: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(bytes).min(self.file_bytes);
        let is_there =
            (self.begin..=self.begin + self.part.len()).contains(&offset) && end <= self.begin + self.part.len();
        if !is_there {
            let end = end.max(offset.saturating_add(WINDOW_BYTES)).min(self.file_bytes);
            let mut part = vec![0; end.saturating_sub(offset)];
            read_exact_at(self.file, &mut part, offset as u64)?;
            (self.begin, self.part) = (offset, part.into());
        }
        Ok(self.part.slice(offset - self.begin..))
    }
}

/// The log that a segment says it belongs to.
fn log_of(file: &dyn File, name: &str) -> Result<u128, OpenError> {
    match Begin::read(file).map_err(failed(name))? {
        Begin::Head(head) => Ok(head.log),
        // Its own error says why.
        Begin::Version(_) | Begin::Nothing => Ok(0),
    }
}

fn head_of(file: &dyn File, name: &str, number: u64, log: u128) -> Result<Head, OpenError> {
    let file_name = || name.to_owned();
    match Begin::read(file).map_err(failed(name))? {
        Begin::Head(head) if head.log != log => {
            Err(OpenError::Foreign { file: file_name(), found: head.log, expected: log })
        }
        Begin::Head(head) if head.segment != number => {
            Err(OpenError::Corrupt { file: file_name(), offset: 0, what: "it has the name of another segment" })
        }
        Begin::Head(head) => Ok(head),
        Begin::Version(found) => Err(OpenError::Version { file: file_name(), found, known: VERSION }),
        Begin::Nothing => Err(OpenError::Corrupt { file: file_name(), offset: 0, what: "its head is damaged" }),
    }
}

/// Reads what has to be in memory.
fn values(durable: &Durable, files: &BTreeMap<u64, Arc<dyn File>>) -> Result<HashMap<(u64, u32), Bytes>, OpenError> {
    let mut values = HashMap::new();
    for place in durable.values() {
        let file = files.get(&place.segment).expect("the place was found in it");
        let value = payload_at(&**file, place, GroupId(0), 0).map_err(|error| match error {
            ReadError::Disk { file, source } => OpenError::Disk { file, source },
            ReadError::Corrupt { file, offset, .. } => {
                OpenError::Corrupt { file, offset, what: "a value has another checksum than its batch" }
            }
            ReadError::Outside { .. } => unreachable!("one place was asked for"),
        })?;
        values.insert((place.segment, place.offset), value);
    }
    Ok(values)
}

fn failed(file: &str) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::Disk { file: file.to_owned(), source }
}

// === impl Found ===

impl Found<'_> {
    /// Where the payload of one of its records is.
    pub(crate) fn place(&self, record: &Record) -> Place {
        let begin = u32::try_from(self.offset).expect("segments are bounded by the settings");
        let bytes = u32::try_from(record.payload.len()).expect("its length is a number of 32 bits");
        Place { segment: self.head.segment, offset: begin + record.at, bytes }
    }
}
