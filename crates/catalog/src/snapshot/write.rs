//! Writes a state, and hashes it.
//!
//! Both go through the records one by one with one buffer that is used again. What is written ends with a trailer that has
//! the number and the hash of everything before it.

use std::io::{self, Write};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::catalog::Catalog;
use crate::proto::{self, record};

// === impl Catalog ===

impl Catalog {
    /// Writes the state as a snapshot. A clone can be written while the original goes on. Small pieces are written, so
    /// `to` should be buffered.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_snapshot(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut hash = Sha256::new();
        let mut records = 0;
        let mut buffer = Vec::new();
        self.visit(&mut |kind| {
            encode(kind, &mut buffer);
            hash.update(&buffer);
            records += 1;
            to.write_all(&buffer)
        })?;
        let sha256 = hash.finalize().to_vec().into();
        encode(record::Kind::Trailer(proto::Trailer { records, sha256 }), &mut buffer);
        to.write_all(&buffer)
    }

    /// A hash of the state: the same on every node and in every process with the same state, before and after a snapshot.
    /// Takes time for each document, change and record, and none for their bytes.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = Sha256::new();
        let mut buffer = Vec::new();
        let hashed = self.visit(&mut |kind| {
            // What holds a text has its digest, and follows.
            if !matches!(kind, record::Kind::Content(_) | record::Kind::StageData(_)) {
                encode(kind, &mut buffer);
                hash.update(&buffer);
            }
            Ok(())
        });
        hashed.expect("a hash takes everything");
        for (digest, _) in self.stages.values().flat_map(|stage| &stage.parts) {
            hash.update(digest.0);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        let (first, _) = bytes.split_first_chunk().expect("a digest has 32 bytes");
        u64::from_be_bytes(*first)
    }
}

fn encode(kind: record::Kind, buffer: &mut Vec<u8>) {
    buffer.clear();
    let record = proto::Record { kind: Some(kind) };
    record.encode_length_delimited(buffer).expect("a vector grows");
}
