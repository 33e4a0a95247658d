//! What a follower has already of the log with which a leader began, so that it is not sent to it again.
//!
//! openraft does not know where followers stand when a term begins. It finds out by appends of entries from the middle of the
//! log, then from the middle of what is left, and so on: much of the log for each follower, though nearly always it has all
//! of it, and nothing is committed meanwhile. So before entries of earlier terms are sent, the follower is asked for the last
//! of them, by an append without entries, which consensus there answers as any other: who has that entry has all before it,
//! the same ones (Raft's log matching). They are acknowledged without being sent.

use std::sync::{Mutex, PoisonError};

use openraft::raft::AppendEntriesRequest;

use crate::types::{Entry, Epoch, LogId, Types, Vote};

/// What is known of one follower.
#[derive(Debug, Default)]
pub(crate) struct Matched(Mutex<Option<Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The leader who asked.
    vote: Vote,
    /// The last entry of earlier terms, if the follower has it.
    has: Option<LogId>,
}

/// What of an append is to be sent.
#[derive(Debug)]
pub(crate) enum Missing {
    /// Nothing: the follower has its entries, of which this is the last.
    Nothing(LogId),
    /// This.
    Rest(AppendEntriesRequest<Types>),
}

// === impl Matched ===

impl Matched {
    /// What this leader was told; none when it has not asked.
    pub(crate) fn told(&self, vote: &Vote) -> Option<Option<LogId>> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|known| known.vote == *vote).map(|known| known.has)
    }

    pub(crate) fn note(&self, vote: Vote, has: Option<LogId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { vote, has });
    }

    /// Takes nothing for granted any more: an append did not fit, or did not arrive.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether an append has entries of terms before its leader's.
pub(crate) fn has_inherited(request: &AppendEntriesRequest<Types>) -> bool {
    request.entries.first().is_some_and(|first| is_inherited(first, request.vote.leader_id.term))
}

/// Whether an entry is of a term before this one.
pub(crate) fn is_inherited(entry: &Entry, term: u64) -> bool {
    // Log ids are ordered by their terms first.
    entry.log_id < LogId::new(Epoch::new(term), 0)
}

/// Leaves out of an append what the follower has.
pub(crate) fn missing(mut request: AppendEntriesRequest<Types>, has: Option<LogId>) -> Missing {
    let known = request.entries.partition_point(|entry| Some(entry.log_id) <= has);
    let Some(last) = request.entries.drain(..known).next_back() else { return Missing::Rest(request) };
    if request.entries.is_empty() {
        return Missing::Nothing(last.log_id);
    }
    request.prev_log_id = Some(last.log_id);
    Missing::Rest(request)
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use quorate_types::NodeId;

    use super::*;

    /// The leader of term 3.
    const LEADER: NodeId = NodeId(1);

    fn at(term: u64, index: u64) -> LogId {
        LogId::new(Epoch::new(term), index)
    }

    /// An append of the leader of term 3, of entries in these terms from index 5 on.
    fn append(terms: &[u64]) -> AppendEntriesRequest<Types> {
        let entry = |(term, index): (&u64, u64)| Entry { log_id: at(*term, index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(3, LEADER),
            prev_log_id: Some(at(1, 4)),
            entries: terms.iter().zip(5..).map(entry).collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn only_what_the_follower_does_not_have_is_sent() {
        // The terms of an append, what the follower has, what is sent and behind what; nothing is sent where it has the last.
        let table = [
            (vec![1, 1, 2, 3], None, Ok((at(1, 4), 4))),
            (vec![1, 1, 2, 3], Some(at(1, 4)), Ok((at(1, 4), 4))),
            (vec![1, 1, 2, 3], Some(at(1, 6)), Ok((at(1, 6), 2))),
            (vec![1, 1, 2, 3], Some(at(2, 7)), Ok((at(2, 7), 1))),
            (vec![1, 1, 2], Some(at(2, 7)), Err(at(2, 7))),
            (vec![1, 1], Some(at(2, 7)), Err(at(1, 6))),
            (vec![3, 3], Some(at(2, 4)), Ok((at(1, 4), 2))),
            (vec![], Some(at(2, 7)), Ok((at(1, 4), 0))),
        ];
        for (terms, has, expected) in table {
            let found = match missing(append(&terms), has) {
                Missing::Nothing(last) => Err(last),
                Missing::Rest(rest) => Ok((rest.prev_log_id.unwrap(), rest.entries.len())),
            };
            assert_eq!(found, expected, "{terms:?} {has:?}");
        }
    }

    #[test]
    fn a_follower_is_asked_only_for_what_its_leader_did_not_write() {
        assert!(has_inherited(&append(&[2, 3])));
        assert!(!has_inherited(&append(&[3])) && !has_inherited(&append(&[])));
    }

    #[test]
    fn what_another_leader_was_told_counts_no_more() {
        let (matched, vote) = (Matched::default(), Vote::new_committed(3, LEADER));
        assert_eq!(matched.told(&vote), None);

        matched.note(vote, Some(at(2, 7)));
        assert_eq!(matched.told(&vote), Some(Some(at(2, 7))));
        assert_eq!(matched.told(&Vote::new_committed(4, LEADER)), None);

        matched.forget();
        assert_eq!(matched.told(&vote), None);
    }
}
