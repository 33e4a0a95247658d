//! A large change that comes in parts.
//!
//! Parts are kept as they came. They are one message only while it is read, through [`Rope`], so that there is no second
//! copy of the whole.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use quorate_types::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::check::{self, Checked};
use crate::content::Digest;
use crate::limits::{STAGE_IDLE_MAX, STAGED_BYTES_MAX};
use crate::plan::StageId;
use crate::proto;

/// A stage that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) id: StageId,
    /// How long the whole is.
    pub(crate) bytes: u64,
    /// Of the whole.
    pub(crate) sha256: [u8; 32],
    /// When something came last.
    pub(crate) touched_at: Timestamp,
    /// What came, in order, each part with its digest, by which states are compared.
    pub(crate) parts: Vec<(Digest, Bytes)>,
    pub(crate) received: u64,
}

/// Several pieces of bytes that are read as one.
pub(crate) struct Rope {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(begin: &proto::StageBegin, now: Timestamp) -> Checked<Self> {
        Ok(Self {
            id: StageId(check::array("stage", &begin.stage)?),
            bytes: check::within("bytes", begin.bytes, &(1..=STAGED_BYTES_MAX))?,
            sha256: check::array("sha256", &begin.sha256)?,
            touched_at: now,
            parts: Vec::new(),
            received: 0,
        })
    }

    pub(crate) fn from_proto(stage: &proto::Stage) -> Checked<Self> {
        let (stage_id, bytes, sha256) = (stage.id.clone(), stage.bytes, stage.sha256.clone());
        Self::new(&proto::StageBegin { stage: stage_id, bytes, sha256 }, Timestamp::from_millis(stage.touched_at))
    }

    pub(crate) fn to_proto(&self) -> proto::Stage {
        proto::Stage {
            id: self.id.0.to_vec().into(),
            bytes: self.bytes,
            sha256: self.sha256.to_vec().into(),
            touched_at: self.touched_at.as_millis(),
            parts: u32::try_from(self.parts.len()).expect("no part is empty, and their bytes are bounded"),
        }
    }

    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.touched_at + STAGE_IDLE_MAX <= now
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        self.parts.push((Digest::of(data), Bytes::copy_from_slice(data)));
    }

    /// Whether these bytes are what came at this place.
    pub(crate) fn has(&self, offset: u64, data: &[u8]) -> bool {
        let mut at = 0;
        let found = self.parts.iter().find(|(_, part)| {
            let here = at == offset;
            at += part.len() as u64;
            here
        });
        found.is_some_and(|(_, part)| part == data)
    }

    /// SHA-256 of what came.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.parts.iter().for_each(|(_, part)| hash.update(part));
        hash.finalize().into()
    }

    pub(crate) fn rope(&self) -> Rope {
        let pieces: VecDeque<_> = self.parts.iter().map(|(_, part)| part.clone()).collect();
        let remaining = pieces.iter().map(Bytes::len).sum();
        Rope { pieces, remaining }
    }
}

// === impl Rope ===

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "a buffer is not advanced beyond its end");
        self.remaining -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rope_reads_as_its_pieces_in_a_row() {
        for cut in 0..=6 {
            let whole = b"abcdef";
            let (head, tail) = whole.split_at(cut);
            let pieces = [head, tail].into_iter().filter(|piece| !piece.is_empty()).map(Bytes::from_static);
            let mut rope = Rope { pieces: pieces.collect(), remaining: 6 };

            assert_eq!(&rope.copy_to_bytes(4)[..], b"abcd");
            assert_eq!((rope.remaining(), rope.get_u8(), rope.get_u8(), rope.has_remaining()), (2, b'e', b'f', false));
        }
    }
}
