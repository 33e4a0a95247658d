//! Commands of a shard: changes cut to the size of entries, and what became of them.
//!
//! In: a session's change and the version that it is meant for. Out: parts, each small enough for an entry; a command has parts
//! of many sessions, and its outcome says which of them changed nothing.

use bytes::Bytes;
use prost::Message as _;

use crate::record::proto::{self, Refusal};

/// The most bytes of a part: an entry of consensus holds 256 KiB, and what is around the part needs few of them.
pub const PART_BYTES_MAX: usize = 240 << 10;
/// The most bytes of a change: what may wait for a client in all its streams, twice.
pub const CHANGE_BYTES_MAX: usize = 64 << 20;

/// A part of a change, ready to be put into a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Part(proto::Part);

// === impl Part ===

impl Part {
    /// Bytes that it adds to a command.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Its own length, and the tag and length before it.
        self.0.encoded_len() + 8
    }
}

/// Cuts a change of a session whose record has this version into parts, each small enough for a command of its own.
#[must_use]
pub fn parts(session: u128, version: u64, change: &proto::Change) -> Vec<Part> {
    let mut rest = Bytes::from(change.encode_to_vec());
    let mut parts = Vec::new();
    loop {
        let slice = rest.split_to(rest.len().min(PART_BYTES_MAX));
        let more = !rest.is_empty();
        let index = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let session = Bytes::copy_from_slice(&session.to_be_bytes());
        parts.push(Part(proto::Part { session, version, index, more, change: slice }));
        if !more {
            return parts;
        }
    }
}

/// Makes a command of parts.
#[must_use]
pub fn command(parts: &[Part]) -> Bytes {
    let parts = parts.iter().map(|part| part.0.clone()).collect();
    proto::Command { parts }.encode_to_vec().into()
}

/// Reads what became of each of so many parts of a command.
#[must_use]
pub fn outcome(outcome: &[u8], parts: usize) -> Vec<Result<(), Refusal>> {
    let mut results = vec![Ok(()); parts];
    match proto::Outcome::decode(outcome) {
        Ok(outcome) => {
            for refused in outcome.refused {
                let reason = Refusal::try_from(refused.reason).unwrap_or(Refusal::Malformed);
                match usize::try_from(refused.part).ok().and_then(|part| results.get_mut(part)) {
                    Some(result) => *result = Err(reason),
                    None => results.fill(Err(reason)),
                }
            }
        }
        // A version that says more than this one knows: what it did is not known.
        Err(_) => results.fill(Err(Refusal::Malformed)),
    }
    results
}
