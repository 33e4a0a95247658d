//! What the bench's groups replicate: a table of values by key, as small as one can be that does something.
//!
//! A command is a key of eight bytes and its value. The table is shared with its views: freezing it copies pointers.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_raft::{Applied, Frozen, Machine, RestoreError};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 8;

/// Values by key.
#[derive(Clone, Default)]
pub(super) struct Table {
    values: Arc<BTreeMap<[u8; KEY_BYTES], Bytes>>,
    /// Commands that were applied to all tables of the process.
    applied: Arc<AtomicU64>,
}

// === impl Table ===

impl Table {
    /// Makes an empty one that counts what is applied.
    pub(super) fn new(applied: Arc<AtomicU64>) -> Self {
        Self { values: Arc::default(), applied }
    }
}

/// Makes a command.
pub(super) fn command(key: u64, value: &[u8]) -> Bytes {
    Bytes::from([&key.to_be_bytes()[..], value].concat())
}

impl Machine for Table {
    fn apply(&mut self, _context: &Applied, command: &[u8]) -> Bytes {
        self.applied.fetch_add(1, Ordering::Relaxed);
        let Some((key, value)) = command.split_first_chunk::<KEY_BYTES>() else {
            return Bytes::from_static(b"a command has a key of eight bytes");
        };
        Arc::make_mut(&mut self.values).insert(*key, Bytes::copy_from_slice(value));
        Bytes::new()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.clone())
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let mut values = BTreeMap::new();
        let mut head = [0; KEY_BYTES + 4];
        // Ends with what is read.
        while from.read(&mut head[..1])? == 1 {
            from.read_exact(&mut head[1..])?;
            let (key, length) = head.split_at(KEY_BYTES);
            let length = u32::from_be_bytes(length.try_into().expect("four bytes are left"));
            if length as usize > quorate_raft::COMMAND_BYTES_MAX {
                return Err(RestoreError::Invalid { reason: format!("a value of {length} bytes") });
            }
            let mut value = vec![0; length as usize];
            from.read_exact(&mut value)?;
            values.insert(key.try_into().expect("it was split there"), value.into());
        }
        self.values = Arc::new(values);
        Ok(())
    }
}

impl Frozen for Table {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.values.hash(&mut hasher);
        hasher.finish()
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for (key, value) in &*self.values {
            to.write_all(key)?;
            to.write_all(&u32::try_from(value.len()).expect("it came in a command").to_be_bytes())?;
            to.write_all(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Timestamp;

    #[test]
    fn a_table_is_restored_as_it_was_frozen() {
        let context = Applied { index: 1, term: 1, time: Timestamp::from_millis(1) };
        let mut table = Table::default();
        for (key, value) in [(1, "one"), (2, ""), (1, "won")] {
            table.apply(&context, &command(key, value.as_bytes()));
        }
        let frozen = table.freeze();
        table.apply(&context, &command(3, b"later"));

        let mut written = Vec::new();
        frozen.write(&mut written).unwrap();
        let mut restored = Table::default();
        restored.restore(&mut &written[..]).unwrap();

        assert_eq!(restored.values.len(), 2);
        assert_eq!(restored.hash(), frozen.hash());
        assert_ne!(restored.hash(), table.hash());
    }

    #[test]
    fn what_is_cut_off_is_not_restored() {
        let mut written = Vec::new();
        let mut table = Table::default();
        table.apply(&Applied { index: 1, term: 1, time: Timestamp::from_millis(1) }, &command(1, b"value"));
        table.freeze().write(&mut written).unwrap();

        for length in 1..written.len() {
            assert!(Table::default().restore(&mut &written[..length]).is_err(), "{length} bytes");
        }
    }
}
