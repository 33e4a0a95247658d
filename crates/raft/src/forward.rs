//! What a leader says to a node that had it propose or read, on the wire and off it.
//!
//! Both directions stand beside each other, so that a new way to fail is said and understood alike. What a leader cannot
//! have said leaves the outcome unknown; nothing here knows a group.

use std::time::Duration;

use quorate_proto::raft::v1;
use quorate_types::NodeId;

use crate::error::{ProposeError, ReadIndexError};
use crate::group::Proposed;
use crate::types::TooLarge;

pub(crate) fn to_response(outcome: Result<Proposed, ProposeError>) -> v1::ForwardResponse {
    use v1::forward_response::Outcome;
    let outcome = match outcome {
        Ok(Proposed { index, epoch, answer }) => {
            let at = Some(v1::LogId { term: epoch, index });
            Outcome::Proposed(v1::Proposed { at, answer })
        }
        Err(ProposeError::NotLeader { leader }) => Outcome::NotLeader(not_leader(leader)),
        Err(ProposeError::Overloaded { retry_after }) => {
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            Outcome::Overloaded(v1::Overloaded { retry_after_ms })
        }
        Err(ProposeError::TooLarge(TooLarge { bytes })) => Outcome::TooLarge(v1::TooLarge { bytes: bytes as u64 }),
        Err(ProposeError::DiskFull) => Outcome::DiskFull(v1::DiskFull {}),
        Err(ProposeError::Unknown) => Outcome::Unknown(v1::Unknown {}),
        Err(ProposeError::Stopped { reason }) => Outcome::Stopped(v1::Stopped { reason }),
    };
    v1::ForwardResponse { outcome: Some(outcome) }
}

pub(crate) fn of_response(response: v1::ForwardResponse) -> Result<Proposed, ProposeError> {
    use v1::forward_response::Outcome;
    match response.outcome {
        Some(Outcome::Proposed(v1::Proposed { at: Some(at), answer })) => {
            Ok(Proposed { index: at.index, epoch: at.term, answer })
        }
        Some(Outcome::NotLeader(told)) => Err(ProposeError::NotLeader { leader: leader_of(told) }),
        Some(Outcome::Overloaded(told)) => {
            Err(ProposeError::Overloaded { retry_after: Duration::from_millis(told.retry_after_ms) })
        }
        Some(Outcome::TooLarge(told)) => {
            let bytes = usize::try_from(told.bytes).unwrap_or(usize::MAX);
            Err(ProposeError::TooLarge(TooLarge { bytes }))
        }
        Some(Outcome::DiskFull(v1::DiskFull {})) => Err(ProposeError::DiskFull),
        // The leader's replica has stopped, which is no reason to stop here: the others elect another.
        Some(Outcome::Stopped(_)) => Err(ProposeError::NotLeader { leader: None }),
        Some(Outcome::Proposed(v1::Proposed { at: None, .. }) | Outcome::Unknown(_)) | None => {
            Err(ProposeError::Unknown)
        }
    }
}

pub(crate) fn to_index_response(outcome: Result<u64, ReadIndexError>) -> v1::ReadIndexResponse {
    use v1::read_index_response::Outcome;
    let outcome = match outcome {
        Ok(index) => Outcome::Index(index),
        Err(ReadIndexError::NotLeader { leader }) => Outcome::NotLeader(not_leader(leader)),
        Err(ReadIndexError::NoQuorum | ReadIndexError::Behind { .. }) => Outcome::NoQuorum(v1::NoQuorum {}),
        Err(ReadIndexError::Stopped { reason }) => Outcome::Stopped(v1::Stopped { reason }),
    };
    v1::ReadIndexResponse { outcome: Some(outcome) }
}

pub(crate) fn of_index_response(response: v1::ReadIndexResponse) -> Result<u64, ReadIndexError> {
    use v1::read_index_response::Outcome;
    match response.outcome {
        Some(Outcome::Index(index)) => Ok(index),
        Some(Outcome::NotLeader(told)) => Err(ReadIndexError::NotLeader { leader: leader_of(told) }),
        Some(Outcome::NoQuorum(_)) | None => Err(ReadIndexError::NoQuorum),
        Some(Outcome::Stopped(v1::Stopped { reason })) => Err(ReadIndexError::Stopped { reason }),
    }
}

fn not_leader(leader: Option<NodeId>) -> v1::NotLeader {
    v1::NotLeader { leader: leader.map_or(0, |leader| leader.0) }
}

fn leader_of(told: v1::NotLeader) -> Option<NodeId> {
    (told.leader != 0).then_some(NodeId(told.leader))
}
