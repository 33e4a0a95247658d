//! The sessions of one shard as its replicas keep them: the pure machine of a shard group.
//!
//! ```text
//!   command (bytes) ─▶ ┌───────┐ ─▶ outcome (bytes), what was opened, changed and ended
//!   snapshot ◀───────▶ │ Shard │ ─▶ records, by key
//!                      └───────┘ ─▶ hash
//! ```
//!
//! [`Shard::apply`] is total and deterministic. A change names the version of the record that its owner meant: who owned a
//! session before somebody else did changes nothing. Records are shared with whoever reads them; a change copies the one that
//! it changes while somebody still has it.

mod command;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quorate_types::PrincipalDigest;

pub use self::command::{CHANGE_BYTES_MAX, PART_BYTES_MAX, Part, command, outcome, parts};
pub use self::snapshot::RestoreError;
use crate::record::proto::{self, Refusal};
use crate::record::{Common, Malformed, Record};

/// The most sessions of one shard: with 32 shards, two million, which is what nodes of 16 GiB hold as records.
pub const SESSIONS_MAX: usize = 1 << 16;
/// Ended sessions that a shard tells of, the latest: some hundred bytes each, so that 32 shards have some megabytes of them.
pub const ENDED_MAX: usize = 256;

/// Changes of which parts have come: four times as many as an owner writes at once. What is older was given up by its owner.
const STAGED_MAX: usize = 16;
/// Bytes of these, unless one alone is larger.
const STAGED_BYTES_MAX: usize = 2 * CHANGE_BYTES_MAX;

/// The sessions of one shard.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    slots: BTreeMap<u128, Slot>,
    /// How many sessions each principal has.
    owned: BTreeMap<PrincipalDigest, usize>,
    /// Changes of which parts have come, the one last of which the latest part has.
    staged: Vec<(u128, Staged)>,
    /// What records have in common.
    common: Common,
    /// Sessions that ended last, the earliest first.
    ended: VecDeque<(u128, Arc<proto::Ended>)>,
}

/// A record and how many changes made it.
#[derive(Clone, Debug)]
struct Slot {
    version: u64,
    record: Arc<Record>,
}

/// A change of which parts have come.
#[derive(Clone, Debug)]
struct Staged {
    version: u64,
    parts: u32,
    change: BytesMut,
}

/// What a command did.
#[derive(Debug, Default)]
pub struct Applied {
    /// The encoded [`proto::Outcome`].
    pub outcome: Bytes,
    /// The sessions that it opened, changed or ended.
    pub touched: Vec<u128>,
}

// === impl Shard ===

impl Shard {
    /// Makes a shard without sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a session's record and its version.
    #[must_use]
    pub fn get(&self, session: u128) -> Option<(u64, &Arc<Record>)> {
        self.slots.get(&session).map(|slot| (slot.version, &slot.record))
    }

    /// Returns all records with their keys, in order, from a key on.
    pub fn from(&self, first: u128) -> impl Iterator<Item = (u128, &Arc<Record>)> {
        self.slots.range(first..).map(|(key, slot)| (*key, &slot.record))
    }

    /// Returns what is known of a session that has ended, as long as it is among the latest [`ENDED_MAX`] of the shard.
    #[must_use]
    pub fn ended(&self, session: u128) -> Option<&Arc<proto::Ended>> {
        self.ended.iter().rev().find(|(key, _)| *key == session).map(|(_, ended)| ended)
    }

    /// Returns the sessions that ended last with their keys, the latest first.
    pub fn ended_last(&self) -> impl Iterator<Item = (u128, &Arc<proto::Ended>)> {
        self.ended.iter().rev().map(|(key, ended)| (*key, ended))
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many sessions a principal has here.
    #[must_use]
    pub fn owned_by(&self, principal: PrincipalDigest) -> usize {
        self.owned.get(&principal).copied().unwrap_or(0)
    }

    /// Applies a command.
    pub fn apply(&mut self, command: &[u8]) -> Applied {
        let mut applied = Applied::default();
        let mut outcome = proto::Outcome::default();
        match proto::Command::decode(Bytes::copy_from_slice(command)) {
            Ok(command) => {
                for (place, part) in (0..).zip(command.parts) {
                    match self.take(part) {
                        Ok(touched) => applied.touched.extend(touched),
                        Err(reason) => outcome.refused.push(proto::Refused { part: place, reason: reason.into() }),
                    }
                }
            }
            // Whoever proposed it learns that none of it was taken.
            Err(_) => outcome.refused.push(proto::Refused { part: u32::MAX, reason: Refusal::Malformed.into() }),
        }
        applied.outcome = outcome.encode_to_vec().into();
        applied
    }

    fn take(&mut self, part: proto::Part) -> Result<Option<u128>, Refusal> {
        let key: [u8; 16] = part.session[..].try_into().map_err(|_| Refusal::Malformed)?;
        let key = u128::from_be_bytes(key);
        let version = self.slots.get(&key).map_or(0, |slot| slot.version);
        if part.version != version {
            return Err(Refusal::Stale);
        }
        let Some(change) = self.whole(key, part)? else { return Ok(None) };
        let change = proto::Change::decode(change).map_err(|_| Refusal::Malformed)?;
        self.change(key, &change)?;
        Ok(Some(key))
    }

    /// Puts a part to those before it; returns the change when it is complete.
    fn whole(&mut self, key: u128, part: proto::Part) -> Result<Option<Bytes>, Refusal> {
        let mut staged = match (part.index, self.unstage(key)) {
            (0, _) if !part.more => return Ok(Some(part.change)),
            (0, _) => Staged { version: part.version, parts: 0, change: BytesMut::new() },
            (index, Some(staged)) if (staged.version, staged.parts) == (part.version, index) => staged,
            _ => return Err(Refusal::Stale),
        };
        if staged.change.len() + part.change.len() > CHANGE_BYTES_MAX {
            return Err(Refusal::Stale);
        }
        staged.parts += 1;
        staged.change.extend_from_slice(&part.change);
        if part.more {
            self.stage(key, staged);
            return Ok(None);
        }
        Ok(Some(staged.change.freeze()))
    }

    /// Keeps the parts of a change, and gives up those whose owners have written nothing for longest: they never will.
    fn stage(&mut self, key: u128, staged: Staged) {
        self.staged.push((key, staged));
        let bytes = |staged: &[(u128, Staged)]| staged.iter().map(|(_, staged)| staged.change.len()).sum::<usize>();
        while self.staged.len() > STAGED_MAX || (self.staged.len() > 1 && bytes(&self.staged) > STAGED_BYTES_MAX) {
            self.staged.remove(0);
        }
    }

    fn unstage(&mut self, key: u128) -> Option<Staged> {
        let place = self.staged.iter().position(|(staged, _)| *staged == key)?;
        Some(self.staged.remove(place).1)
    }

    fn change(&mut self, key: u128, change: &proto::Change) -> Result<(), Refusal> {
        let malformed = |_: Malformed| Refusal::Malformed;
        let is_full = self.slots.len() >= SESSIONS_MAX;
        match self.slots.get_mut(&key) {
            Some(slot) => {
                Arc::make_mut(&mut slot.record).apply(change, &mut self.common).map_err(malformed)?;
                slot.version += 1;
            }
            None if is_full => return Err(Refusal::Full),
            None => {
                let record = Record::open(change, &mut self.common).map_err(malformed)?;
                self.insert(key, Slot { version: 1, record: Arc::new(record) });
            }
        }
        // What a change opens it may end, too.
        if let Some(proto::Op { kind: Some(proto::op::Kind::End(end)) }) = change.ops.last() {
            self.end(key, end);
        }
        Ok(())
    }

    fn end(&mut self, key: u128, end: &proto::End) {
        let Some(slot) = self.remove(key) else { return };
        if end.reason() == proto::EndReason::Unparked {
            return;
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((key, Arc::new(slot.record.ended(key, end))));
    }

    fn insert(&mut self, key: u128, slot: Slot) {
        *self.owned.entry(slot.record.principal()).or_default() += 1;
        self.slots.insert(key, slot);
    }

    fn remove(&mut self, key: u128) -> Option<Slot> {
        self.unstage(key);
        let slot = self.slots.remove(&key)?;
        let principal = slot.record.principal();
        if let Some(count) = self.owned.get_mut(&principal) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&principal);
            }
        }
        Some(slot)
    }
}
