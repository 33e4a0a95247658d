//! A machine of a shard that counts commands.
//!
//! The API tells of shards, and never looks into them.

use std::io::{self, Read, Write};

use bytes::Bytes;
use quorate_raft::{Applied, Frozen, Machine, RestoreError};

/// Counts commands.
pub(crate) struct Counter(pub(crate) u64);

// === impl Counter ===

impl Machine for Counter {
    fn apply(&mut self, _context: &Applied, _command: &[u8]) -> Bytes {
        self.0 += 1;
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Self(self.0))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let mut count = [0; 8];
        from.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

impl Frozen for Counter {
    fn hash(&self) -> u64 {
        self.0
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.0.to_le_bytes())
    }
}
