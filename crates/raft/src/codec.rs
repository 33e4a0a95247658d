//! The forms of openraft's types on the wire and on the disk: `quorate.raft.v1`.
//!
//! What is written can be read again and is the same ([`Wire`]). What is read comes from a peer or from a disk and is
//! checked: a message without a field that it must have, or with a value that consensus would not survive, is a
//! [`DecodeError`] and never a panic. Knows nothing of who sends what when.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;
use quorate_proto::raft::v1;
use quorate_types::{NodeId, Timestamp};

use crate::types::{
    COMMAND_BYTES_MAX, Command, Entry, Epoch, LeaderId, LogId, Membership, SnapshotMeta, StoredMembership, Types, Vote,
};

/// A type that has a form on the wire and on the disk.
pub trait Wire: Sized {
    /// Its form.
    type Message: Message + Default;

    /// Says it in its form. Bodies of commands are shared, not copied.
    fn to_message(&self) -> Self::Message;

    /// Reads it from its form.
    ///
    /// # Errors
    /// [`DecodeError`] names the field that cannot be.
    fn from_message(message: Self::Message) -> Result<Self, DecodeError>;

    /// Writes its form in bytes.
    fn encode(&self) -> Bytes {
        self.to_message().encode_to_vec().into()
    }

    /// Reads it from bytes. Bodies of commands are parts of these, not copies.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not its form.
    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        Self::from_message(Self::Message::decode(bytes).map_err(DecodeError::NotProtobuf)?)
    }
}

/// What was read is not what a node of this version writes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no message at all.
    #[error("not the message that is expected")]
    NotProtobuf(#[source] prost::DecodeError),
    /// A field is absent, or says something that a newer version added.
    #[error("{field} is absent, or has a kind that this version does not know")]
    Absent {
        /// The field.
        field: &'static str,
    },
    /// A message is not the one that was asked for.
    #[error("{field} is {kind}, which was not asked for")]
    Unexpected {
        /// The field.
        field: &'static str,
        /// Its kind.
        kind: &'static str,
    },
    /// A field has a value that cannot be.
    #[error("{field} is {value}, allowed is {allowed}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// An entry is not the one behind the one before it.
    #[error("entry {index} of term {term} is behind entry {previous_index} of term {previous_term}")]
    OutOfOrder {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The index of the one before it.
        previous_index: u64,
        /// The term of the one before it.
        previous_term: u64,
    },
    /// A membership cannot be.
    #[error("a membership cannot be: {reason}")]
    Membership {
        /// What is wrong with it.
        reason: String,
    },
}

// === impl Wire: places and votes ===

impl Wire for LogId {
    type Message = v1::LogId;

    fn to_message(&self) -> v1::LogId {
        v1::LogId { term: self.leader_id.term, index: self.index }
    }

    fn from_message(message: v1::LogId) -> Result<Self, DecodeError> {
        if message.index == u64::MAX {
            let (field, allowed) = ("log_id.index", "less than that: there is an index behind it");
            return Err(DecodeError::Invalid { field, value: message.index, allowed });
        }
        Ok(Self::new(Epoch::new(message.term), message.index))
    }
}

impl Wire for Vote {
    type Message = v1::Vote;

    fn to_message(&self) -> v1::Vote {
        v1::Vote { term: self.leader_id.term, node: self.leader_id.voted_for.0, committed: self.committed }
    }

    fn from_message(message: v1::Vote) -> Result<Self, DecodeError> {
        let leader_id = LeaderId { term: message.term, voted_for: NodeId(message.node) };
        Ok(Self { leader_id, committed: message.committed })
    }
}

// === impl Wire: memberships ===

impl Wire for Membership {
    type Message = v1::Membership;

    fn to_message(&self) -> v1::Membership {
        let voters = |nodes: &BTreeSet<NodeId>| v1::Voters { nodes: nodes.iter().map(|node| node.0).collect() };
        v1::Membership {
            configs: self.get_joint_config().iter().map(voters).collect(),
            members: self.nodes().map(|(node, ())| node.0).collect(),
        }
    }

    fn from_message(message: v1::Membership) -> Result<Self, DecodeError> {
        let voters = |voters: v1::Voters| voters.nodes.into_iter().map(NodeId).collect();
        let configs = message.configs.into_iter().map(voters).collect();
        let members: BTreeSet<_> = message.members.into_iter().map(NodeId).collect();
        let members: BTreeMap<_, _> = members.into_iter().map(|node| (node, ())).collect();
        Self::new(configs, members).map_err(|error| DecodeError::Membership { reason: error.to_string() })
    }
}

impl Wire for StoredMembership {
    type Message = v1::StoredMembership;

    fn to_message(&self) -> v1::StoredMembership {
        v1::StoredMembership {
            at: self.log_id().map(|at| at.to_message()),
            membership: Some(self.membership().to_message()),
        }
    }

    fn from_message(message: v1::StoredMembership) -> Result<Self, DecodeError> {
        Ok(Self::new(optional(message.at)?, required("membership", message.membership)?))
    }
}

impl Wire for SnapshotMeta {
    type Message = v1::SnapshotMeta;

    /// Says what openraft knows; the time and the hash of the state are said by who made the snapshot.
    fn to_message(&self) -> v1::SnapshotMeta {
        v1::SnapshotMeta {
            last: self.last_log_id.map(|last| last.to_message()),
            membership: Some(self.last_membership.to_message()),
            ..v1::SnapshotMeta::default()
        }
    }

    fn from_message(message: v1::SnapshotMeta) -> Result<Self, DecodeError> {
        Ok(Self {
            last_log_id: optional(message.last)?,
            last_membership: required("snapshot.membership", message.membership)?,
        })
    }
}

// === impl Wire: entries ===

impl Wire for Command {
    type Message = v1::Command;

    fn to_message(&self) -> v1::Command {
        let Self { level, time, body, is_mark } = self;
        v1::Command { level: *level, time_ms: time.as_millis(), body: body.clone(), is_mark: *is_mark }
    }

    fn from_message(message: v1::Command) -> Result<Self, DecodeError> {
        let invalid = |field, value, allowed| Err(DecodeError::Invalid { field, value, allowed });
        if message.level == 0 {
            return invalid("command.level", 0, "1 or more");
        }
        if message.body.len() > COMMAND_BYTES_MAX {
            return invalid("the size of command.body", message.body.len() as u64, "at most 262144");
        }
        if message.is_mark && !message.body.is_empty() {
            return invalid("the size of a mark's command.body", message.body.len() as u64, "0");
        }
        let v1::Command { level, time_ms, body, is_mark } = message;
        Ok(Self { level, time: Timestamp::from_millis(time_ms), body, is_mark })
    }
}

impl Wire for Entry {
    type Message = v1::Entry;

    fn to_message(&self) -> v1::Entry {
        let payload = match &self.payload {
            EntryPayload::Blank => v1::entry::Payload::Blank(v1::Blank {}),
            EntryPayload::Normal(command) => v1::entry::Payload::Command(command.to_message()),
            EntryPayload::Membership(membership) => v1::entry::Payload::Membership(membership.to_message()),
        };
        v1::Entry { log_id: Some(self.log_id.to_message()), payload: Some(payload) }
    }

    fn from_message(message: v1::Entry) -> Result<Self, DecodeError> {
        let payload = match message.payload.ok_or(DecodeError::Absent { field: "entry.payload" })? {
            v1::entry::Payload::Blank(v1::Blank {}) => EntryPayload::Blank,
            v1::entry::Payload::Command(command) => EntryPayload::Normal(Command::from_message(command)?),
            v1::entry::Payload::Membership(membership) => {
                EntryPayload::Membership(Membership::from_message(membership)?)
            }
        };
        Ok(Self { log_id: required("entry.log_id", message.log_id)?, payload })
    }
}

// === impl Wire: requests and responses ===

impl Wire for AppendEntriesRequest<Types> {
    type Message = v1::AppendEntries;

    fn to_message(&self) -> v1::AppendEntries {
        v1::AppendEntries {
            vote: Some(self.vote.to_message()),
            previous: self.prev_log_id.map(|previous| previous.to_message()),
            entries: self.entries.iter().map(Wire::to_message).collect(),
            committed: self.leader_commit.map(|committed| committed.to_message()),
            stream: 0,
        }
    }

    /// Checks also that the entries are in order, and that the vote is that of a leader who can have them: consensus
    /// takes it for granted.
    fn from_message(message: v1::AppendEntries) -> Result<Self, DecodeError> {
        let vote: Vote = required("append.vote", message.vote)?;
        if !vote.committed {
            let (field, allowed) = ("append.vote.committed", "true: who appends is a leader");
            return Err(DecodeError::Invalid { field, value: 0, allowed });
        }
        let prev_log_id = optional(message.previous)?;
        let entries: Vec<Entry> = message.entries.into_iter().map(Wire::from_message).collect::<Result<_, _>>()?;
        check_order(prev_log_id, &entries)?;
        let last = entries.last().map(|last| last.log_id).max(prev_log_id);
        if let Some(last) = last.filter(|last| last.leader_id.term > vote.leader_id.term) {
            let (field, allowed) = ("the last term of append", "that of append.vote, or an earlier one");
            return Err(DecodeError::Invalid { field, value: last.leader_id.term, allowed });
        }
        Ok(Self { vote, prev_log_id, entries, leader_commit: optional(message.committed)? })
    }
}

impl Wire for AppendEntriesResponse<Types> {
    type Message = v1::AppendResponse;

    fn to_message(&self) -> v1::AppendResponse {
        use v1::append_response::Outcome;
        let outcome = match self {
            Self::Success => Outcome::All(v1::Matched { last: None }),
            Self::PartialSuccess(last) => Outcome::Partly(v1::Matched { last: last.map(|last| last.to_message()) }),
            Self::Conflict => Outcome::Conflict(v1::Conflict { at: None }),
            Self::HigherVote(vote) => Outcome::HigherVote(vote.to_message()),
        };
        v1::AppendResponse { outcome: Some(outcome) }
    }

    fn from_message(message: v1::AppendResponse) -> Result<Self, DecodeError> {
        use v1::append_response::Outcome;
        Ok(match message.outcome.ok_or(DecodeError::Absent { field: "append_response.outcome" })? {
            Outcome::All(_) => Self::Success,
            Outcome::Partly(matched) => Self::PartialSuccess(optional(matched.last)?),
            Outcome::Conflict(_) => Self::Conflict,
            Outcome::HigherVote(vote) => Self::HigherVote(Vote::from_message(vote)?),
        })
    }
}

impl Wire for StreamAppendResult<Types> {
    type Message = v1::AppendResponse;

    fn to_message(&self) -> v1::AppendResponse {
        use v1::append_response::Outcome;
        let outcome = match self {
            Ok(last) => Outcome::All(v1::Matched { last: last.map(|last| last.to_message()) }),
            Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(v1::Conflict { at: Some(at.to_message()) }),
            Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote.to_message()),
        };
        v1::AppendResponse { outcome: Some(outcome) }
    }

    fn from_message(message: v1::AppendResponse) -> Result<Self, DecodeError> {
        use v1::append_response::Outcome;
        Ok(match message.outcome.ok_or(DecodeError::Absent { field: "append_response.outcome" })? {
            Outcome::All(matched) | Outcome::Partly(matched) => Ok(optional(matched.last)?),
            Outcome::Conflict(conflict) => Err(StreamAppendError::Conflict(required("conflict.at", conflict.at)?)),
            Outcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(Vote::from_message(vote)?)),
        })
    }
}

impl Wire for VoteRequest<Types> {
    type Message = v1::VoteRequest;

    fn to_message(&self) -> v1::VoteRequest {
        v1::VoteRequest {
            vote: Some(self.vote.to_message()),
            last: self.last_log_id.map(|last| last.to_message()),
            leader_transfer: self.leadership_transfer,
        }
    }

    fn from_message(message: v1::VoteRequest) -> Result<Self, DecodeError> {
        let vote: Vote = required("vote_request.vote", message.vote)?;
        if vote.committed {
            let (field, allowed) = ("vote_request.vote.committed", "false: who asks for votes has none");
            return Err(DecodeError::Invalid { field, value: 1, allowed });
        }
        Ok(Self { vote, last_log_id: optional(message.last)?, leadership_transfer: message.leader_transfer })
    }
}

impl Wire for VoteResponse<Types> {
    type Message = v1::VoteResponse;

    fn to_message(&self) -> v1::VoteResponse {
        v1::VoteResponse {
            vote: Some(self.vote.to_message()),
            granted: self.vote_granted,
            last: self.last_log_id.map(|last| last.to_message()),
        }
    }

    fn from_message(message: v1::VoteResponse) -> Result<Self, DecodeError> {
        Ok(Self {
            vote: required("vote_response.vote", message.vote)?,
            vote_granted: message.granted,
            last_log_id: optional(message.last)?,
        })
    }
}

impl Wire for TransferLeaderRequest<Types> {
    type Message = v1::TransferLeader;

    fn to_message(&self) -> v1::TransferLeader {
        v1::TransferLeader {
            from: Some(self.from_leader().to_message()),
            to: self.to_node_id().0,
            last: self.last_log_id().map(Wire::to_message),
        }
    }

    fn from_message(message: v1::TransferLeader) -> Result<Self, DecodeError> {
        let from = required("transfer_leader.from", message.from)?;
        Ok(Self::new(from, NodeId(message.to), optional(message.last)?))
    }
}

impl Wire for TransferLeaderResponse<Types> {
    type Message = v1::TransferResponse;

    fn to_message(&self) -> v1::TransferResponse {
        use v1::transfer_response::Outcome;
        let message = |log_id: &Option<LogId>| log_id.map(|log_id| log_id.to_message());
        let outcome = match self {
            Ok(()) => Outcome::Accepted(v1::Accepted {}),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => Outcome::VoteChanged(v1::VoteChanged {
                expected: Some(expected.to_message()),
                actual: Some(actual.to_message()),
            }),
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Outcome::LogNotFlushed(v1::LogNotFlushed { expected: message(expected), actual: message(actual) })
            }
        };
        v1::TransferResponse { outcome: Some(outcome) }
    }

    fn from_message(message: v1::TransferResponse) -> Result<Self, DecodeError> {
        use v1::transfer_response::Outcome;
        Ok(match message.outcome.ok_or(DecodeError::Absent { field: "transfer_response.outcome" })? {
            Outcome::Accepted(v1::Accepted {}) => Ok(()),
            Outcome::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
                expected: required("vote_changed.expected", changed.expected)?,
                actual: required("vote_changed.actual", changed.actual)?,
            }),
            Outcome::LogNotFlushed(log) => Err(TransferLeaderError::LogNotFlushed {
                expected: optional(log.expected)?,
                actual: optional(log.actual)?,
            }),
        })
    }
}

fn required<W: Wire>(field: &'static str, message: Option<W::Message>) -> Result<W, DecodeError> {
    W::from_message(message.ok_or(DecodeError::Absent { field })?)
}

fn optional<W: Wire>(message: Option<W::Message>) -> Result<Option<W>, DecodeError> {
    message.map(W::from_message).transpose()
}

/// Checks that each entry is the next one, the first being that of index 0, and that terms do not fall.
fn check_order(previous: Option<LogId>, entries: &[Entry]) -> Result<(), DecodeError> {
    let first = entries.first().map_or(0, |first| first.log_id.index);
    if previous.is_none() && first != 0 {
        let (field, allowed) = ("the first index of append", "0, since nothing is before it");
        return Err(DecodeError::Invalid { field, value: first, allowed });
    }
    let mut previous = previous;
    for entry in entries {
        let LogId { leader_id, index } = entry.log_id;
        if let Some(before) = previous
            && (before.index.checked_add(1) != Some(index) || before.leader_id > leader_id)
        {
            return Err(DecodeError::OutOfOrder {
                index,
                term: leader_id.term,
                previous_index: before.index,
                previous_term: before.leader_id.term,
            });
        }
        previous = Some(entry.log_id);
    }
    Ok(())
}
