//! A file of the log: its name, and the head that says what it is.
//!
//! ```text
//! wal-0000000000000007   magic │ version u32 │ log u128 │ segment u64 │ first batch u64 │ crc u32, then blocks
//! ```
//!
//! A segment gets its name after its head is on the disk, so that a file of that name without a good head is corrupt.

use std::io;

use crate::disk::{File, read_exact_at, write_all_at};

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The log it belongs to.
    pub(crate) log: u128,
    /// Its number; they have no gaps.
    pub(crate) segment: u64,
    /// The number of its first block.
    pub(crate) first_batch: u64,
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Head(Head),
    /// A good head of a newer format.
    Version(u32),
    /// No head.
    Nothing,
}

/// Bytes before the first block.
pub(crate) const HEAD_BYTES: u64 = 64;
/// The name of a spare that is being made.
pub(crate) const MAKING: &str = "making";
/// The format that this program writes.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"QUORWAL\n";
const PREFIX: &str = "wal-";
const SPARE_PREFIX: &str = "spare-";

/// Returns the name of a segment.
pub(crate) fn name(segment: u64) -> String {
    format!("{PREFIX}{segment:016x}")
}

/// Returns the number in the name of a segment.
pub(crate) fn number(name: &str) -> Option<u64> {
    number_behind(PREFIX, name)
}

/// Returns the name of a spare.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number:016x}")
}

/// Returns the number in the name of a spare.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    number_behind(SPARE_PREFIX, name)
}

fn number_behind(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

// === impl Head ===

impl Head {
    /// Writes it; durable only once the file is synced.
    pub(crate) fn write(&self, file: &dyn File) -> io::Result<()> {
        write_all_at(file, &self.to_bytes(), 0)
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.log.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.first_batch.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

// === impl Begin ===

impl Begin {
    /// Reads what a file begins with.
    pub(crate) fn read(file: &dyn File) -> io::Result<Self> {
        let mut bytes = [0; 48];
        match read_exact_at(file, &mut bytes, 0) {
            Ok(()) => Ok(Self::of(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::Nothing),
            Err(error) => Err(error),
        }
    }

    fn of(bytes: &[u8; 48]) -> Self {
        let (said, crc) = bytes.split_at(44);
        if said[..8] != MAGIC || crc32fast::hash(said).to_le_bytes() != crc {
            return Self::Nothing;
        }
        let version = u32::from_le_bytes(said[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Self::Version(version);
        }
        Self::Head(Head {
            log: u128::from_le_bytes(said[12..28].try_into().expect("sixteen bytes")),
            segment: u64::from_le_bytes(said[28..36].try_into().expect("eight bytes")),
            first_batch: u64::from_le_bytes(said[36..44].try_into().expect("eight bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same_thing() {
        for segment in [0, 1, 255, u64::MAX] {
            assert_eq!(number(&name(segment)), Some(segment));
            assert_eq!(spare_number(&spare_name(segment)), Some(segment));
        }
        for other in ["spare", "wal-", "wal-1", "wal-000000000000000g", "wal-00000000000000001"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_no_bit_of_it_may_differ() {
        let head = Head { log: 7, segment: 8, first_batch: 9 };
        let bytes: [u8; 48] = head.to_bytes().try_into().unwrap();
        assert_eq!(Begin::of(&bytes), Begin::Head(head));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Begin::of(&other), Begin::Nothing, "bit {bit}");
        }
    }
}
