//! The types of consensus: what openraft's types are made of here, and what a group's log carries.
//!
//! Terms are those of the paper (Ongaro 2014): a term has one leader, so that the term alone names the leader of a
//! committed entry, and is the epoch by which owners are fenced. Nodes are numbers; where they are is not in a
//! membership but in the catalog. What a command's body says is the business of the group's machine.

use std::fmt;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::impls::leader_id_std;
use quorate_types::{NodeId, Timestamp};

/// The types that openraft is used with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

/// A term and the node that leads it, or wants to.
pub type LeaderId = leader_id_std::LeaderId<u64, NodeId>;

/// A term that has a leader: the epoch of what its leader does.
pub type Epoch = openraft::vote::leader_id_std::CommittedLeaderId<u64>;

/// For whom a node votes; committed once a quorum does.
pub type Vote = openraft::Vote<LeaderId>;

/// The place of an entry: the term of the leader that proposed it, and its index.
pub type LogId = openraft::LogId<Epoch>;

/// What an entry says.
pub type Payload = openraft::EntryPayload<Command, NodeId, ()>;

/// An entry of a group's log.
pub type Entry = openraft::Entry<Epoch, Payload>;

/// Who votes and who learns in a group.
pub type Membership = openraft::Membership<NodeId, ()>;

/// A membership and the entry that says so.
pub type StoredMembership = openraft::StoredMembership<Epoch, NodeId, ()>;

/// What openraft knows of a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<Epoch, NodeId, ()>;

/// What a group's machine is asked to do.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The feature level that a replica needs to apply it; from 1.
    pub level: u32,
    /// The leader's time when it proposed it. Replicas apply it at the latest time of the log so far.
    pub time: Timestamp,
    /// What the machine reads; at most [`COMMAND_BYTES_MAX`].
    pub body: Bytes,
    /// Whether it is no command but a mark, at which each replica hashes its state ([`crate`]).
    pub is_mark: bool,
}

/// A command cannot be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command has {bytes} bytes, at most {COMMAND_BYTES_MAX} are allowed")]
pub struct TooLarge {
    /// The size of its body.
    pub bytes: usize,
}

/// Bytes of the largest body of a command: 256 KiB, so that an entry of one group delays those of the others by no more
/// than a write and a message of that size (architecture, "Bounded rings").
pub const COMMAND_BYTES_MAX: usize = 256 << 10;

/// Bytes of the largest entry on the disk: a command, and at most 128 bytes of log id, level, time, lengths and tags. A
/// membership is smaller: 10,000 nodes take 100 KB.
pub const ENTRY_BYTES_MAX: usize = COMMAND_BYTES_MAX + 128;

// === impl Types ===

impl RaftTypeConfig for Types {
    type D = Command;
    /// What the machine answered; empty for entries that are no commands.
    type R = Bytes;
    type NodeId = NodeId;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = crate::budget::Responder<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

// === impl Command ===

impl Command {
    /// Makes a mark.
    pub(crate) fn mark(time: Timestamp) -> Self {
        Self { level: 1, time, body: Bytes::new(), is_mark: true }
    }

    /// Checks that it fits an entry: what a proposer asks before it proposes, since a log that refuses an entry stops
    /// its group.
    ///
    /// # Errors
    /// [`TooLarge`] when the body is larger than [`COMMAND_BYTES_MAX`].
    pub fn check(&self) -> Result<(), TooLarge> {
        TooLarge::check(self.body.len())
    }
}

impl fmt::Debug for Command {
    /// Leaves the body out: it may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("level", &self.level)
            .field("time", &self.time)
            .field("bytes", &self.body.len())
            .finish()
    }
}

impl fmt::Display for Command {
    /// Leaves the body out: it may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {} at {}, {} bytes", self.level, self.time, self.body.len())
    }
}

// === impl TooLarge ===

impl TooLarge {
    /// Checks the size of a command's body.
    pub(crate) fn check(bytes: usize) -> Result<(), Self> {
        if bytes > COMMAND_BYTES_MAX { Err(Self { bytes }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(bytes: usize) -> Command {
        Command { level: 1, time: Timestamp::from_millis(5), body: Bytes::from(vec![b's'; bytes]), is_mark: false }
    }

    #[test]
    fn a_command_that_does_not_fit_an_entry_is_refused_with_its_size_and_the_limit() {
        assert_eq!(command(COMMAND_BYTES_MAX).check(), Ok(()));
        let refused = command(COMMAND_BYTES_MAX + 1).check().unwrap_err();
        assert_eq!(refused.to_string(), "a command has 262145 bytes, at most 262144 are allowed");
    }

    #[test]
    fn what_a_command_says_is_not_shown() {
        assert_eq!(format!("{:?}", command(3)), "Command { level: 1, time: Timestamp(5), bytes: 3 }");
        assert_eq!(command(3).to_string(), "level 1 at 5ms, 3 bytes");
    }
}
