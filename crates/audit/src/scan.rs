//! Reads one segment line by line, and says where it does not fit.
//!
//! Used alike by the node at its start and by `verify`. A line that is too long is not read to its end; what follows the
//! last line break is not looked at, but counted: it may be a line that was being written.

use std::fmt;
use std::io::{self, BufRead, Read};

use crate::record::{Hash, LINE_BYTES_MAX, Record, Unsound};

/// Where a chain stands: the sequence and hash of its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

/// What was read of a segment that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where the chain stands after it; what was given, if it has no records.
    pub(crate) tip: Option<Tip>,
    /// The bytes of all whole lines.
    pub(crate) bytes: u64,
    /// The bytes after the last line break.
    pub(crate) unfinished_bytes: u64,
}

/// Why a line does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not a record: not the form, or longer than any.
    Form,
    /// Its content has another hash than the line says: it was changed.
    Hash {
        /// The hash of its content.
        expected: Hash,
        /// The hash that it says.
        found: Hash,
    },
    /// It does not continue the record before it: lines were removed, moved or put in.
    Previous {
        /// The hash of the record before it.
        expected: Hash,
        /// What it says that hash is.
        found: Hash,
    },
    /// It has not the next sequence.
    Sequence {
        /// The next sequence.
        expected: u64,
        /// The sequence that it has.
        found: u64,
    },
    /// The file is named after another first record.
    Name {
        /// The sequence in the file's name.
        expected: u64,
        /// That of its first record.
        found: u64,
    },
    /// What was before it is gone, and no later record says that it was deleted for space.
    Beginning {
        /// The hash of the record that should be before it.
        expected: Hash,
    },
    /// The file ends within a line, and it is not the last file.
    Unfinished,
}

/// A segment was not read to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The line (from 1) does not fit.
    Fault { line: u64, fault: Fault },
    /// The system failed.
    Io(io::Error),
}

/// Reads a segment that is to begin after `tip`, or anywhere when there is none; `each` gets every record that fits.
pub(crate) fn scan(
    mut reader: impl BufRead,
    first: u64,
    mut tip: Option<Tip>,
    mut each: impl FnMut(&Record<'_>),
) -> Result<Scan, Stopped> {
    let mut buffer = Vec::new();
    let (mut line, mut bytes) = (0, 0);
    loop {
        buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut buffer).map_err(Stopped::Io)?;
        line += 1;
        let Some((b'\n', text)) = buffer.split_last() else {
            if read as u64 == limit {
                return Err(Stopped::Fault { line, fault: Fault::Form });
            }
            return Ok(Scan { tip, bytes, unfinished_bytes: read as u64 });
        };
        let record = Record::read(text).map_err(|unsound| Stopped::Fault { line, fault: unsound.into() })?;
        check(&record, (line == 1).then_some(first), tip).map_err(|fault| Stopped::Fault { line, fault })?;
        each(&record);
        tip = Some(Tip { sequence: record.sequence, hash: record.hash });
        bytes += read as u64;
    }
}

fn check(record: &Record<'_>, first: Option<u64>, tip: Option<Tip>) -> Result<(), Fault> {
    let found = record.sequence;
    if let Some(tip) = tip {
        if record.previous != tip.hash {
            return Err(Fault::Previous { expected: tip.hash, found: record.previous });
        }
        let expected = tip.sequence + 1;
        if found != expected {
            return Err(Fault::Sequence { expected, found });
        }
    }
    match first {
        Some(expected) if expected != found => Err(Fault::Name { expected, found }),
        Some(_) | None => Ok(()),
    }
}

// === impl Fault ===

impl From<Unsound> for Fault {
    fn from(unsound: Unsound) -> Self {
        match unsound {
            Unsound::Form => Self::Form,
            Unsound::Hash { expected, found } => Self::Hash { expected, found },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "this is not a record of at most {LINE_BYTES_MAX} bytes"),
            Self::Hash { expected, found } => {
                write!(f, "the record was changed: its content has the hash {expected}, the line says {found}")
            }
            Self::Previous { expected, found } => write!(
                f,
                "lines were removed, moved or put in: the record before has the hash {expected}, this one follows {found}"
            ),
            Self::Sequence { expected, found } => write!(f, "the record has sequence {found} in place of {expected}"),
            Self::Name { expected, found } => {
                write!(f, "the file is named after record {expected}, and its first is {found}")
            }
            Self::Beginning { expected } => write!(
                f,
                "what was before is missing, and no record says that it was deleted for space: the record before has the hash {expected}"
            ),
            Self::Unfinished => write!(f, "the file ends within this line, and it is not the last file"),
        }
    }
}
