//! Verifies a whole log: that each record follows the one before, from the first that is there to the last.
//!
//! Reads only, and may run beside the node that writes. The oldest records may be gone for space: a record still there
//! says so, with the hash of the last that went. Everything else that is missing, changed, moved or added is the first place
//! that does not fit.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use crate::folder::{Segment, list, name, open};
use crate::note::Head;
use crate::record::{Hash, LINE_BYTES_MAX, Record};
use crate::scan::{Fault, Scan, Stopped, Tip, scan};

/// Times that a log is listed anew because its node deleted a segment meanwhile.
const TRIES_MAX: usize = 3;
/// Kinds of events that are counted by name; there are fewer.
const KINDS_MAX: usize = 32;

/// A log whose records fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Files with records.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// How the first record begins; `None` when there is no record.
    pub beginning: Option<Beginning>,
    /// The first record.
    pub first: Option<Point>,
    /// The last record.
    pub last: Option<Point>,
    /// Bytes after the last whole line: a record that is being written, or that a crash cut.
    pub unfinished_bytes: u64,
    /// Records by the kind of their event.
    pub kinds: BTreeMap<String, u64>,
}

/// What is before the first record that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing: it is the first of a chain.
    Chain,
    /// Records that were deleted for space, as a later record says.
    Deleted,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its sequence.
    pub sequence: u64,
    /// When it was made (RFC 3339).
    pub time: String,
    /// Its hash.
    pub hash: Hash,
}

/// The first place of a log that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {fault}", file.display())]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// Why it does not fit.
    pub fault: Fault,
}

/// A log is not what it should be, or that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// A record does not fit.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The record that was noted elsewhere is not in the log.
    #[error("no record has the hash {hash}, and none follows it: the log was cut or made anew")]
    NotThere {
        /// The hash that was noted.
        hash: Hash,
    },
    /// The system failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What is gathered on the way.
#[derive(Default)]
struct Walk {
    records: u64,
    kinds: BTreeMap<String, u64>,
    first: Option<(Point, Hash)>,
    last: Option<Point>,
    /// Hashes of records that later ones say were the last of what was deleted.
    deleted: HashSet<Hash>,
    is_anchored: bool,
}

/// Verifies the log of a folder; with `from`, the hash of a record that was noted elsewhere, also that it is there or
/// was the last before what is there.
///
/// # Errors
/// [`Unverified`] names the first place that does not fit, or says what cannot be read.
pub fn verify(folder: &Path, from: Option<Hash>) -> Result<Report, Unverified> {
    let mut tries = 1;
    loop {
        match walk(folder, from) {
            Err(Unverified::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX && folder.is_dir() =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Returns the last lines of a log of those that are wanted, the oldest first, without looking whether they fit.
///
/// # Errors
/// What the system says.
pub fn last_lines(folder: &Path, count: usize, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut lines = VecDeque::new();
    if count == 0 {
        return Ok(Vec::new());
    }
    for segment in list(folder)?.into_iter().rev() {
        let mut of_segment = VecDeque::new();
        let mut reader = open(folder, segment.first)?;
        let mut line = Vec::new();
        while (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if !is_wanted(&text) {
                continue;
            }
            if of_segment.len() == count - lines.len() {
                of_segment.pop_front();
            }
            of_segment.push_back(text);
        }
        of_segment.extend(lines);
        lines = of_segment;
        if lines.len() >= count {
            break;
        }
    }
    Ok(lines.into())
}

fn walk(folder: &Path, from: Option<Hash>) -> Result<Report, Unverified> {
    let failed = |path: PathBuf| move |source| Unverified::Io { path, source };
    let mut segments = list(folder).map_err(failed(folder.to_owned()))?;
    // Made and never written.
    segments.retain(|segment| segment.bytes > 0);
    let mut walk = Walk::default();
    let (mut tip, mut unfinished_bytes) = (None, 0);
    for (index, segment) in segments.iter().enumerate() {
        let scanned = walk.segment(folder, *segment, tip, from)?;
        tip = scanned.tip;
        unfinished_bytes = scanned.unfinished_bytes;
        if unfinished_bytes > 0 && index + 1 < segments.len() {
            let line = tip.map_or(1, |tip| tip.sequence + 2 - segment.first);
            return Err(broken(folder, *segment, line, Fault::Unfinished).into());
        }
    }
    let beginning = walk.beginning(folder, segments.first())?;
    if let Some(hash) = from.filter(|_| !walk.is_anchored) {
        return Err(Unverified::NotThere { hash });
    }
    Ok(Report {
        segments: segments.len() as u64,
        records: walk.records,
        beginning,
        first: walk.first.map(|(point, _)| point),
        last: walk.last,
        unfinished_bytes,
        kinds: walk.kinds,
    })
}

fn broken(folder: &Path, segment: Segment, line: u64, fault: Fault) -> Broken {
    Broken { file: folder.join(name(segment.first)), line, fault }
}

// === impl Walk ===

impl Walk {
    fn segment(
        &mut self,
        folder: &Path,
        segment: Segment,
        tip: Option<Tip>,
        from: Option<Hash>,
    ) -> Result<Scan, Unverified> {
        let path = folder.join(name(segment.first));
        let reader = open(folder, segment.first).map_err(|source| Unverified::Io { path: path.clone(), source })?;
        let scanned = scan(reader, segment.first, tip, |record| self.take(record, from));
        scanned.map_err(|stopped| match stopped {
            Stopped::Fault { line, fault } => broken(folder, segment, line, fault).into(),
            Stopped::Io(source) => Unverified::Io { path, source },
        })
    }

    fn take(&mut self, record: &Record<'_>, from: Option<Hash>) {
        let point = Point { sequence: record.sequence, time: record.time.to_owned(), hash: record.hash };
        self.records += 1;
        self.is_anchored |= from == Some(record.hash) || (self.first.is_none() && from == Some(record.previous));
        if self.first.is_none() {
            self.first = Some((point.clone(), record.previous));
        }
        self.last = Some(point);
        let head: Head<'_> = serde_json::from_str(record.event.get()).unwrap_or(Head { kind: "unknown", hash: None });
        if let Some(hash) = head.hash.filter(|_| head.kind == "deleted") {
            self.deleted.extend(hash.parse::<Hash>());
        }
        let has_room = self.kinds.len() < KINDS_MAX;
        match self.kinds.get_mut(head.kind) {
            Some(count) => *count += 1,
            None if has_room => _ = self.kinds.insert(head.kind.to_owned(), 1),
            None => {}
        }
    }

    /// Says what is before the first record, and whether that may be missing.
    fn beginning(&self, folder: &Path, segment: Option<&Segment>) -> Result<Option<Beginning>, Broken> {
        let (Some((_, previous)), Some(segment)) = (&self.first, segment) else { return Ok(None) };
        if *previous == Hash::NONE {
            return Ok(Some(Beginning::Chain));
        }
        if self.deleted.contains(previous) {
            return Ok(Some(Beginning::Deleted));
        }
        Err(broken(folder, *segment, 1, Fault::Beginning { expected: *previous }))
    }
}

#[cfg(test)]
mod tests;
