//! Snapshots of a shard: items that are written one by one, and its hash.
//!
//! An item is a protobuf message with its length before it. Records come in the order of their keys and what they hold in a
//! fixed order, so that equal states are equal bytes. What is read is believed as little as a command: it has to be what
//! changes make.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quorate_types::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{CHANGE_BYTES_MAX, ENDED_MAX, Shard, Slot, Staged};
use crate::record::proto::snapshot_item::Kind as Item;
use crate::record::proto::{self, op::Kind};
use crate::record::{Common, Record, Work};

/// The version of the form.
const VERSION: u32 = 1;
/// The largest item: parts of a change that is not complete, with what is around them.
const ITEM_BYTES_MAX: usize = CHANGE_BYTES_MAX + 1024;

/// A snapshot is not one of a shard.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It could not be read, or ends too early.
    #[error("item {item} cannot be read")]
    Read {
        /// How many items were read before.
        item: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what a shard writes.
    #[error("item {item} is not what a shard's snapshot has there: {what}")]
    Form {
        /// How many items were read before.
        item: u64,
        /// What is wrong.
        what: &'static str,
    },
}

// === impl Shard ===

impl Shard {
    /// Writes the state. Small pieces are written, so `to` should be buffered.
    ///
    /// # Errors
    /// What `to` says.
    pub fn write_snapshot(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        self.visit(&mut |kind| {
            buffer.clear();
            let item = proto::SnapshotItem { kind: Some(kind) };
            item.encode_length_delimited(&mut buffer).expect("a vector grows");
            to.write_all(&buffer)
        })
    }

    /// Returns a hash of the state: equal states have equal ones, on every node and in every process. That of nothing is 0, as
    /// it was before shards kept anything.
    #[must_use]
    pub fn hash(&self) -> u64 {
        if self.slots.is_empty() && self.staged.is_empty() && self.ended.is_empty() {
            return 0;
        }
        let (mut hash, mut buffer) = (Sha256::new(), Vec::new());
        let hashed: Result<(), std::convert::Infallible> = self.visit(&mut |kind| {
            buffer.clear();
            let item = proto::SnapshotItem { kind: Some(kind) };
            item.encode_length_delimited(&mut buffer).expect("a vector grows");
            hash.update(&buffer);
            Ok(())
        });
        match hashed {
            Ok(()) => u64::from_be_bytes(hash.finalize()[..8].try_into().expect("eight bytes")),
        }
    }

    /// Reads a state that [`Self::write_snapshot`] wrote, to the end of `from`. No bytes are no sessions: so it was written
    /// before shards kept anything.
    ///
    /// # Errors
    /// [`RestoreError`] says which item is wrong.
    pub fn restore(from: &mut dyn Read) -> Result<Self, RestoreError> {
        let mut first = [0];
        if from.read(&mut first).map_err(|source| RestoreError::Read { item: 0, source })? == 0 {
            return Ok(Self::default());
        }
        let from: &mut dyn Read = &mut first.as_slice().chain(from);
        let mut building = Building::default();
        for item in 0.. {
            let bytes = read_item(from).map_err(|source| RestoreError::Read { item, source })?;
            let form = |what| RestoreError::Form { item, what };
            let read = proto::SnapshotItem::decode(bytes).map_err(|_| form("no item"))?;
            match read.kind {
                None => return Err(form("an item of a kind that is not known")),
                Some(Item::Tail(tail)) => {
                    if from.read(&mut [0]).map_err(|source| RestoreError::Read { item, source })? > 0 {
                        return Err(form("something follows the tail"));
                    }
                    return building.finish(tail).map_err(form);
                }
                Some(kind) => building.take(item, kind).map_err(form)?,
            }
        }
        unreachable!("items end with the bytes, at the latest")
    }

    fn visit<E>(&self, sink: &mut dyn FnMut(Item) -> Result<(), E>) -> Result<(), E> {
        sink(Item::Head(proto::ShardHead { version: VERSION }))?;
        for (key, slot) in &self.slots {
            let record = &slot.record;
            sink(Item::Record(proto::RecordHead {
                session: Bytes::copy_from_slice(&key.to_be_bytes()),
                version: slot.version,
                time_ms: record.time.as_millis(),
                streams: record.streams_minted,
            }))?;
            record.visit(sink)?;
        }
        for (key, staged) in &self.staged {
            sink(Item::Staged(proto::Staged {
                session: Bytes::copy_from_slice(&key.to_be_bytes()),
                version: staged.version,
                parts: staged.parts,
                change: staged.change.clone().freeze(),
            }))?;
        }
        self.ended.iter().try_for_each(|(_, ended)| sink(Item::Ended((**ended).clone())))?;
        sink(Item::Tail(proto::ShardTail { records: self.slots.len() as u64 }))
    }
}

/// A state of which some items were read.
#[derive(Default)]
struct Building {
    shard: Shard,
    /// The record that the next items belong to.
    open: Option<Open>,
}

/// A record of which some items were read.
struct Open {
    key: u128,
    head: proto::RecordHead,
    record: Option<Record>,
    /// The stream that events belong to.
    stream: Option<u32>,
}

// === impl Building ===

impl Building {
    fn take(&mut self, item: u64, kind: Item) -> Result<(), &'static str> {
        match (item, kind) {
            (0, Item::Head(head)) if head.version == VERSION => return Ok(()),
            (0, _) => return Err("no head of this version"),
            (_, Item::Record(head)) => {
                self.close()?;
                let key = key_of(&head.session)?;
                if head.version == 0 || self.shard.slots.last_key_value().is_some_and(|(last, _)| *last >= key) {
                    return Err("records that are out of order");
                }
                self.open = Some(Open { key, head, record: None, stream: None });
            }
            (_, Item::Op(op)) => self.open.as_mut().ok_or("an op of no record")?.take(op, &mut self.shard.common)?,
            (_, Item::Entry(entry)) => self.open.as_mut().ok_or("an event of no record")?.push(entry)?,
            (_, Item::Staged(staged)) => {
                self.close()?;
                let key = key_of(&staged.session)?;
                let change = BytesMut::from(&staged.change[..]);
                self.shard.staged.push((key, Staged { version: staged.version, parts: staged.parts, change }));
            }
            (_, Item::Ended(ended)) => {
                self.close()?;
                let key = key_of(&ended.session)?;
                if ended.end.is_none() || self.shard.ended.len() == ENDED_MAX {
                    return Err("an ended session without its end, or too many of them");
                }
                self.shard.ended.push_back((key, Arc::new(ended)));
            }
            (_, Item::Head(_) | Item::Tail(_)) => return Err("a second head"),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), &'static str> {
        let Some(Open { key, head, record, .. }) = self.open.take() else { return Ok(()) };
        let mut record = record.ok_or("a record that is not opened")?;
        record.time = Timestamp::from_millis(head.time_ms);
        record.streams_minted = head.streams;
        record.work = record.work.filter(|work| !work.is_empty());
        self.shard.insert(key, Slot { version: head.version, record: Arc::new(record) });
        Ok(())
    }

    fn finish(mut self, tail: proto::ShardTail) -> Result<Shard, &'static str> {
        self.close()?;
        let records = self.shard.slots.len() as u64;
        if tail.records == records { Ok(self.shard) } else { Err("a tail of other records") }
    }
}

// === impl Open ===

impl Open {
    fn take(&mut self, op: proto::Op, common: &mut Common) -> Result<(), &'static str> {
        let kind = op.kind.ok_or("an op of a kind that is not known")?;
        self.stream = if let Kind::Stream(stream) = &kind { Some(stream.stream) } else { None };
        match (&mut self.record, kind) {
            (record @ None, Kind::Open(charter)) => {
                let ops = vec![proto::Op { kind: Some(Kind::Open(charter)) }];
                let change = proto::Change { time_ms: self.head.time_ms, ops };
                *record = Some(Record::open(&change, common).map_err(|malformed| malformed.what)?);
                Ok(())
            }
            (None, _) | (Some(_), Kind::Open(_) | Kind::End(_) | Kind::Append(_)) => Err("an op that is out of place"),
            (Some(record), kind) => {
                record.apply_one(&kind, common);
                Ok(())
            }
        }
    }

    fn push(&mut self, entry: proto::Entry) -> Result<(), &'static str> {
        let work: Option<&mut Work> = self.record.as_mut().and_then(|record| record.work.as_deref_mut());
        let row = work.zip(self.stream).and_then(|(work, stream)| work.streams.get_mut(stream));
        row.ok_or("an event of no stream")?.entries.push_back((Timestamp::from_millis(entry.at_ms), entry.data));
        Ok(())
    }
}

fn key_of(bytes: &[u8]) -> Result<u128, &'static str> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| "a key of another length")
}

/// Reads an item; memory grows with what comes, not with what is announced.
fn read_item(from: &mut dyn Read) -> io::Result<Bytes> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let (mut length, mut shift) = (0_u64, 0);
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return Err(invalid("a length that is too long"));
        }
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= ITEM_BYTES_MAX);
    let length = length.ok_or_else(|| invalid("an item that is too large"))?;
    let mut bytes = Vec::with_capacity(length.min(64 << 10));
    let read = from.take(length as u64).read_to_end(&mut bytes)?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
}
