//! Whether a change can be applied as a whole.
//!
//! Asked before anything is applied, so that a change that cannot be read to its end changes nothing. What its frames say is
//! not looked at: only the owner wrote them, and whoever restores the session reads them.

use std::collections::BTreeSet;

use super::proto::{self, op::Kind};
use super::{Record, Work};

/// A change is not one that an owner makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change is not one of a session's owner: {what}")]
pub struct Malformed {
    /// What is wrong with it.
    pub what: &'static str,
}

/// Checks a change of a record, or of nothing.
pub(super) fn check(before: Option<&Record>, change: &proto::Change) -> Result<(), Malformed> {
    let malformed = |what| Err(Malformed { what });
    let is_opening = matches!(change.ops.first(), Some(proto::Op { kind: Some(Kind::Open(_)) }));
    if before.is_none() != is_opening {
        return malformed("the first change of a record opens it, and no other");
    }
    let mut fresh = Fresh { before: before.and_then(|record| record.work.as_deref()), ..Fresh::default() };
    for (place, op) in change.ops.iter().enumerate() {
        match op.kind.as_ref() {
            None => return malformed("an op of a kind that is not known"),
            Some(Kind::Open(charter)) => {
                if place > 0 {
                    return malformed("a record is opened once");
                }
                if charter.principal.len() != 16 || charter.scope.is_none() || charter.owner.is_none() {
                    return malformed("a charter without its principal, scope or owner");
                }
            }
            Some(Kind::Call(call)) => drop(fresh.calls.insert(call.call)),
            Some(Kind::CallState(state)) if !fresh.has_call(state.call) => return malformed("the state of no call"),
            Some(Kind::Stream(stream)) => drop(fresh.streams.insert(stream.stream)),
            Some(Kind::StreamEnd(stream)) => drop(fresh.ended.insert(*stream)),
            Some(Kind::Append(append)) if !fresh.has_stream(append.stream) => {
                return malformed("an event of no stream");
            }
            Some(Kind::End(_)) if place + 1 < change.ops.len() => return malformed("nothing follows the end"),
            Some(_) => {}
        }
    }
    Ok(())
}

/// What is there, and what the change has made so far.
#[derive(Default)]
struct Fresh<'a> {
    before: Option<&'a Work>,
    calls: BTreeSet<u64>,
    streams: BTreeSet<u32>,
    ended: BTreeSet<u32>,
}

// === impl Fresh ===

impl Fresh<'_> {
    fn has_call(&self, call: u64) -> bool {
        self.calls.contains(&call) || self.before.is_some_and(|work| work.calls.get(call).is_some())
    }

    fn has_stream(&self, stream: u32) -> bool {
        self.streams.contains(&stream)
            || (self.before.is_some_and(|work| work.streams.get(stream).is_some()) && !self.ended.contains(&stream))
    }
}
