//! How a change becomes commands, one where it fits, else a stage of them, and what they came to.
//!
//! For whoever proposes. The machine takes any order of commands; this one is what makes a large change whole.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::check::Hex;
use crate::limits::{COMMAND_BYTES_MAX, STAGE_PART_BYTES_MAX};
use crate::proto::{self, Reason, command, outcome};
use crate::refusal::Refusal;

/// The random id of a stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub [u8; 16]);

/// Returns the commands that apply a change at once when they are applied in order, each within [`COMMAND_BYTES_MAX`]. One
/// that fits comes alone; `id` is random, for one that does not. The last one's outcome is the change's.
#[must_use]
pub fn commands(level: u32, apply: proto::Apply, id: StageId) -> Vec<proto::Command> {
    let of = |kind| proto::Command { level, kind: Some(kind) };
    let whole = Bytes::from(apply.encode_to_vec());
    let alone = of(command::Kind::Apply(apply));
    if alone.encoded_len() <= COMMAND_BYTES_MAX {
        return vec![alone];
    }
    let stage = Bytes::copy_from_slice(&id.0);
    let sha256 = Bytes::copy_from_slice(&Sha256::digest(&whole));
    let begin = proto::StageBegin { stage: stage.clone(), bytes: whole.len() as u64, sha256 };
    let mut commands = vec![of(command::Kind::StageBegin(begin))];
    for offset in (0..whole.len()).step_by(STAGE_PART_BYTES_MAX) {
        let data = whole.slice(offset..whole.len().min(offset + STAGE_PART_BYTES_MAX));
        let part = proto::StagePart { stage: stage.clone(), offset: offset as u64, data };
        commands.push(of(command::Kind::StagePart(part)));
    }
    commands.push(of(command::Kind::StageCommit(proto::StageCommit { stage })));
    commands
}

/// Reads what a command came to.
///
/// # Errors
/// The command was refused, or these bytes are no outcome that this version knows ([`Reason::Malformed`]).
pub fn outcome(bytes: &[u8]) -> Result<outcome::Kind, Refusal> {
    let outcome = proto::Outcome::decode(bytes).ok().and_then(|outcome| outcome.kind);
    match outcome {
        Some(outcome::Kind::Refusal(refusal)) => Err(refusal.into()),
        Some(kind) => Ok(kind),
        None => {
            let value = format_args!("{} bytes", bytes.len());
            Err(Refusal::new(Reason::Malformed, "outcome", value, "an outcome that is known here"))
        }
    }
}

// === impl StageId ===

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_done_refused_or_not_known() {
        let encoded = |kind| proto::Outcome { kind: Some(kind) }.encode_to_vec();
        let done = outcome::Kind::Done(proto::Done {});
        assert_eq!(outcome(&encoded(done.clone())), Ok(done));

        let refusal = Refusal::invalid("to", 0, "1 or more");
        let refused = encoded(outcome::Kind::Refusal(refusal.clone().into_proto()));
        assert_eq!(outcome(&refused), Err(refusal));

        for bytes in [&b""[..], b"\xff", b"\x7a\x00"] {
            assert_eq!(outcome(bytes).map_err(|refusal| refusal.reason()), Err(Reason::Malformed));
        }
    }
}
