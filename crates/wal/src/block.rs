//! What is written at once: a block of records, with one checksum over all of it.
//!
//! ```text
//! block   magic u32 │ length u32 │ batch u64 │ crc of records u32 │ crc of head u32 │ records…    (little endian)
//! record  kind u8 │ group u32 │ number u64 │ length u32 │ crc u32 │ payload
//! ```
//!
//! Blocks are numbered through all segments. A block's checksum begins with the log's id and its segment's number, so that
//! what an older life of the file left behind is no block. The head has a checksum of its own: what a payload pretends to
//! be is told from a head without reading the length that it claims. A record's own checksum is over its payload and is
//! checked when it is read again. Pure: bytes in, records out.

use std::fmt;

use bytes::Bytes;

/// One of the logs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A named value of a group, of which the latest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// A change of one group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds the next entry.
    Append {
        /// Its index: the one behind the last, or any in a group that never had entries.
        index: u64,
        /// What it says.
        payload: Bytes,
    },
    /// Drops the entries from this index on.
    Truncate {
        /// The first that goes; at most the one behind the last.
        from: u64,
    },
    /// Drops the entries before this index; entries up to there that are missing count as dropped.
    Purge {
        /// The first that stays.
        before: u64,
        /// What is known of the last that goes.
        note: Bytes,
    },
    /// Gives a slot a value.
    Put {
        /// Which one.
        slot: Slot,
        /// Its value.
        value: Bytes,
    },
    /// Drops the group with all it has.
    Forget,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Entry,
    /// An entry, written again; it says nothing of the ones behind it.
    Moved,
    Truncate,
    Slot,
    Purge,
    Forget,
}

/// One record, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) group: GroupId,
    /// The entry's index, the slot, or the first index that goes or stays.
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
    /// Where its payload begins, in bytes from the block's begin.
    pub(crate) at: u32,
}

/// Collects the records of a block.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

/// Bytes before the records of a block.
pub(crate) const BLOCK_HEAD_BYTES: usize = 24;
/// Bytes before the payload of a record.
pub(crate) const RECORD_HEAD_BYTES: usize = 21;

/// `QBLK`.
const MAGIC: [u8; 4] = *b"QBLK";

// === impl GroupId ===

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "group {}", self.0)
    }
}

// === impl Kind ===

impl Kind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Moved => 2,
            Self::Truncate => 3,
            Self::Slot => 4,
            Self::Purge => 5,
            Self::Forget => 6,
        }
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Moved,
            3 => Self::Truncate,
            4 => Self::Slot,
            5 => Self::Purge,
            6 => Self::Forget,
            _ => return None,
        })
    }
}

// === impl Builder ===

impl Builder {
    /// Begins a block, in the memory of the last one.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BLOCK_HEAD_BYTES, 0);
    }

    /// Adds a record; returns where its payload begins.
    pub(crate) fn push(&mut self, kind: Kind, group: GroupId, number: u64, payload: &[u8]) -> u32 {
        self.bytes.push(kind.to_byte());
        self.bytes.extend_from_slice(&group.0.to_le_bytes());
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&length(payload).to_le_bytes());
        self.bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let at = length(&self.bytes);
        self.bytes.extend_from_slice(payload);
        at
    }

    /// Ends the block as number `batch` in a segment with this seed.
    pub(crate) fn finish(&mut self, seed: u32, batch: u64) -> &[u8] {
        let records = length(&self.bytes[BLOCK_HEAD_BYTES..]);
        let crc = checksum(seed, batch, &self.bytes[BLOCK_HEAD_BYTES..]);
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..8].copy_from_slice(&records.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&batch.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        let crc = head_checksum(seed, &self.bytes);
        self.bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// The length that the head of a block says, its own included; none where there is no head.
pub(crate) fn length_at(bytes: &[u8], seed: u32) -> Option<usize> {
    head_at(bytes, seed).map(|(_, length)| BLOCK_HEAD_BYTES + length)
}

/// Returns the number and the length of the block that the bytes begin with, its head included; `None` when there is none,
/// or another than was written.
pub(crate) fn block_at(bytes: &[u8], seed: u32) -> Option<(u64, usize)> {
    let (batch, length) = head_at(bytes, seed)?;
    let records = bytes.get(BLOCK_HEAD_BYTES..)?.get(..length)?;
    (checksum(seed, batch, records) == u32_at(bytes, 16)).then_some((batch, BLOCK_HEAD_BYTES + length))
}

/// Returns the number and the length of the records of the head that the bytes begin with.
fn head_at(bytes: &[u8], seed: u32) -> Option<(u64, usize)> {
    let head = bytes.get(..BLOCK_HEAD_BYTES)?;
    let is_one = head[..4] == MAGIC && head_checksum(seed, head) == u32_at(head, 20);
    is_one.then(|| Some((u64_at(head, 8), usize::try_from(u32_at(head, 4)).ok()?)))?
}

/// Tells whether the bytes begin with the head of a block, of which the rest is not what was to be written.
pub(crate) fn is_torn(bytes: &[u8], seed: u32) -> bool {
    head_at(bytes, seed).is_some() && block_at(bytes, seed).is_none()
}

/// Returns where in the bytes a block begins whose number is higher than `before`.
pub(crate) fn later_block_in(bytes: &[u8], seed: u32, before: u64) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&bytes[from..], &MAGIC) {
        let at = from + at;
        if block_at(&bytes[at..], seed).is_some_and(|(batch, _)| batch > before) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Returns the records of a block whose checksum is right, head included; `None` when they are none that this program
/// writes.
pub(crate) fn records_of(block: &Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = BLOCK_HEAD_BYTES;
    while at < block.len() {
        let head = block.get(at..at + RECORD_HEAD_BYTES)?;
        let kind = Kind::of_byte(head[0])?;
        let begin = at + RECORD_HEAD_BYTES;
        let end = begin.checked_add(usize::try_from(u32_at(head, 13)).ok()?)?;
        if end > block.len() {
            return None;
        }
        records.push(Record {
            kind,
            group: GroupId(u32_at(head, 1)),
            number: u64_at(head, 5),
            payload: block.slice(begin..end),
            at: u32::try_from(begin).ok()?,
        });
        at = end;
    }
    Some(records)
}

/// The begin of the checksums of a segment's blocks.
pub(crate) fn seed(log: u128, segment: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&log.to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

fn checksum(seed: u32, batch: u64, records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&batch.to_le_bytes());
    hasher.update(records);
    hasher.finalize()
}

fn head_checksum(seed: u32, head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&head[..20]);
    hasher.finalize()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a block is bounded by the settings")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(batch: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = Builder::default();
        builder.begin();
        for (number, payload) in (7..).zip(payloads) {
            builder.push(Kind::Entry, GroupId(3), number, payload);
        }
        builder.finish(seed(1, 2), batch).to_vec()
    }

    proptest! {
        #[test]
        fn a_block_says_what_was_put_into_it(batch: u64, payloads: Vec<Vec<u8>>) {
            let bytes = block(batch, &payloads);
            prop_assert_eq!(block_at(&bytes, seed(1, 2)), Some((batch, bytes.len())));
            let records = records_of(&Bytes::from(bytes.clone())).unwrap();
            prop_assert_eq!(records.len(), payloads.len());
            for (record, payload) in records.iter().zip(&payloads) {
                prop_assert_eq!(&record.payload[..], &payload[..]);
                let at = record.at as usize;
                prop_assert_eq!(&bytes[at..at + payload.len()], &payload[..]);
            }
        }

        #[test]
        fn a_block_with_any_other_bit_is_none(payloads: Vec<Vec<u8>>, bit: prop::sample::Index) {
            let mut bytes = block(9, &payloads);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(block_at(&bytes, seed(1, 2)), None);
        }
    }

    #[test]
    fn a_block_of_another_log_segment_or_length_is_none() {
        let bytes = block(9, &[vec![1, 2, 3]]);
        for other in [seed(1, 3), seed(2, 2)] {
            assert_eq!(block_at(&bytes, other), None);
        }
        assert_eq!(block_at(&bytes[..bytes.len() - 1], seed(1, 2)), None);
        assert_eq!(block_at(&[0; 64], seed(1, 2)), None);
    }

    #[test]
    fn a_later_block_is_found_behind_what_is_none() {
        let mut bytes = b"torn QBLK and more".to_vec();
        assert_eq!(later_block_in(&bytes, seed(1, 2), 8), None);
        bytes.extend(block(9, &[vec![1]]));
        assert_eq!(later_block_in(&bytes, seed(1, 2), 8), Some(18));
        assert_eq!(later_block_in(&bytes, seed(1, 2), 9), None, "it is the same batch");
    }

    /// A caller's payload may be full of what looks like heads, each of which claims all that follows: looking for a later
    /// block took a checksum over all of that for each of them, hours for one torn batch.
    #[test]
    fn what_pretends_to_be_a_head_is_not_read_to_the_length_that_it_claims() {
        let mut fake = block(9, &[vec![1; 100]]);
        assert_eq!(head_at(&fake, seed(1, 2)), Some((9, RECORD_HEAD_BYTES + 100)));
        fake[4..8].copy_from_slice(&(2_u32 << 20).to_le_bytes());
        assert_eq!(head_at(&fake, seed(1, 2)), None, "its length is another");
        assert_eq!(head_at(&block(9, &[]), seed(1, 3)), None, "whoever does not know the log's id cannot make one");
    }

    /// The bytes were computed by another program from the page on the format: what a later version writes differently needs
    /// another version in the head of its segments.
    #[test]
    fn a_block_has_the_bytes_that_the_format_says() {
        let mut builder = Builder::default();
        builder.begin();
        builder.push(Kind::Entry, GroupId(3), 5, b"entry");
        let bytes = builder.finish(seed(7, 8), 9);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "51424c4b1a0000000900000000000000634bf8d4657cb418",
            "0103000000050000000000000005000000709d212b656e747279",
        );
        assert_eq!(digits, expected);
    }
}
