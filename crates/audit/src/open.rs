//! Opens a log: goes on where the last process stopped, or begins a chain and says why.
//!
//! The last segment and its link to the one before are checked; the rest is `verify`'s work, so that a start takes a
//! fraction of a second. A line that a crash left unfinished is cut. What does not fit is never continued and never
//! touched: a new chain begins in a new segment, and its first record says where the old one is broken. That chain is
//! then continued like any other: a break costs one chain, not one at every start.

use std::io::{self, BufRead};

use quorate_types::Timestamp;

use crate::config::Config;
use crate::folder::{Medium, Segment, name};
use crate::log::{Log, Written};
use crate::note::{Entry, Note};
use crate::record::{Hash, LINE_BYTES_MAX, Record};
use crate::scan::{Fault, Scan, Stopped, Tip, scan};

/// Before the first record.
const NOTHING: Tip = Tip { sequence: 0, hash: Hash::NONE };

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was no log.
    New,
    /// The chain goes on, after so many bytes of an unfinished line were cut.
    Resumed {
        /// Bytes that a crash had left.
        cut_bytes: u64,
    },
    /// The chain that was there cannot be continued, so another begins.
    Broken {
        /// The file that does not fit.
        file: String,
        /// The line in it, from 1.
        line: u64,
        /// In what way.
        fault: Fault,
    },
}

/// The last segment that has a record, and where the chain stands after it.
struct End {
    segment: Segment,
    scan: Scan,
    tip: Tip,
}

struct Broken {
    segment: Segment,
    line: u64,
    fault: Fault,
}

enum Found {
    Nothing,
    End(End),
    Broken(Broken),
}

/// Opens the log of a medium.
///
/// # Errors
/// What the system says.
pub(crate) fn open<M: Medium>(mut medium: M, config: &Config, now: Timestamp) -> io::Result<(Log<M>, Opened)> {
    let mut segments = medium.segments()?;
    remove_empty(&mut medium, &mut segments)?;
    let found = find_end(&mut medium, &mut segments)?;
    let mut written = Vec::with_capacity(segments.len() + 1);
    for segment in &segments {
        written.push(Written {
            first: segment.first,
            bytes: segment.bytes,
            previous: previous_of(medium.read(segment.first)?),
        });
    }
    let (tip, note, opened) = match found {
        Found::Nothing => (NOTHING, Note::Begun { reason: "new", at: None, fault: None }, Opened::New),
        Found::End(end) => {
            let cut_bytes = end.scan.unfinished_bytes;
            medium.resume(end.segment.first)?;
            if cut_bytes > 0 {
                medium.truncate(end.scan.bytes)?;
            }
            written.last_mut().expect("the end is in a segment").bytes = end.scan.bytes;
            (end.tip, Note::Resumed { cut_bytes }, Opened::Resumed { cut_bytes })
        }
        Found::Broken(broken) => {
            let file = name(broken.segment.first);
            let at = Some(format!("{file}:{}", broken.line).into());
            let note = Note::Begun { reason: "broken", at, fault: Some(broken.fault.to_string().into()) };
            let tip = Tip { sequence: beyond(&medium, &segments)?, hash: Hash::NONE };
            (tip, note, Opened::Broken { file, line: broken.line, fault: broken.fault })
        }
    };
    if !matches!(opened, Opened::Resumed { .. }) {
        medium.resume(tip.sequence + 1)?;
        written.push(Written { first: tip.sequence + 1, bytes: 0, previous: Some(Hash::NONE) });
    }
    let mut log = Log::new(medium, config, written, tip);
    let entry = (now, Entry::Note(note));
    match log.append(std::slice::from_ref(&entry)) {
        Ok(()) => {}
        // The chain is whole without it: a node that is started on a full disk goes on as one whose disk gets full.
        Err((_, error)) if error.kind() == io::ErrorKind::StorageFull && matches!(opened, Opened::Resumed { .. }) => {
            tracing::error!(%error, "the audit log cannot be written: that it goes on is its next record, once there is room");
            log.owe(entry);
        }
        Err((_, error)) => return Err(error),
    }
    log.sync()?;
    Ok((log, opened))
}

/// Removes segments that were made and never written.
fn remove_empty<M: Medium>(medium: &mut M, segments: &mut Vec<Segment>) -> io::Result<()> {
    for empty in segments.extract_if(.., |segment| segment.bytes == 0) {
        medium.remove(empty.first)?;
    }
    Ok(())
}

/// Finds the last record, and checks its segment and the link to the one before, unless a chain begins with it.
fn find_end<M: Medium>(medium: &mut M, segments: &mut Vec<Segment>) -> io::Result<Found> {
    while let Some(&segment) = segments.last() {
        let begins_chain = previous_of(medium.read(segment.first)?) == Some(Hash::NONE);
        let before = segments.len().checked_sub(2).map(|index| segments[index]);
        let tip = match before.filter(|_| !begins_chain) {
            None => None,
            Some(before) => match read(medium, before, None)? {
                Ok(scan) if scan.unfinished_bytes == 0 => scan.tip,
                Ok(_) => {
                    let line = lines(medium.read(before.first)?)? + 1;
                    return Ok(Found::Broken(Broken { segment: before, line, fault: Fault::Unfinished }));
                }
                Err(broken) => return Ok(Found::Broken(broken)),
            },
        };
        let scan = match read(medium, segment, tip)? {
            Ok(scan) => scan,
            Err(broken) => return Ok(Found::Broken(broken)),
        };
        match scan.tip {
            Some(tip) if scan.bytes > 0 => return Ok(Found::End(End { segment, scan, tip })),
            // Not one whole line: a crash right after the segment was made.
            Some(_) | None => {
                medium.remove(segment.first)?;
                segments.pop();
            }
        }
    }
    Ok(Found::Nothing)
}

fn read<M: Medium>(medium: &M, segment: Segment, tip: Option<Tip>) -> io::Result<Result<Scan, Broken>> {
    match scan(medium.read(segment.first)?, segment.first, tip, |_| {}) {
        Ok(scan) => Ok(Ok(scan)),
        Err(Stopped::Fault { line, fault }) => Ok(Err(Broken { segment, line, fault })),
        Err(Stopped::Io(error)) => Err(error),
    }
}

/// Returns a sequence beyond all that a broken chain may have used: each of its lines had one.
fn beyond<M: Medium>(medium: &M, segments: &[Segment]) -> io::Result<u64> {
    let last = segments.last().expect("a chain that is broken has a segment");
    Ok(last.first + lines(medium.read(last.first)?)?)
}

fn lines(mut reader: impl BufRead) -> io::Result<u64> {
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let read = bytes.len();
        reader.consume(read);
    }
}

/// Reads the hash before the first record of a segment; none if that is no record.
fn previous_of(reader: impl BufRead) -> Option<Hash> {
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).ok()?;
    Record::read(line.strip_suffix(b"\n")?).ok().map(|record| record.previous)
}
