//! What a follower has already of the log with which a leader began, so that it is not sent to it again.
//!
//! openraft does not know where followers stand when a term begins. It finds out by appends of entries from the middle of the
//! log, then from the middle of what is left, and so on: much of the log for each follower, though nearly always it has all
//! of it, and nothing is committed meanwhile. So before entries of earlier terms are sent, the follower is asked for the last
//! of them, by an append without entries, which consensus there answers as any other: who has that entry has all before it,
//! the same ones (Raft's log matching). They are left out of what is sent, also where nothing is left of an append: it goes
//! out all the same, since its answer also says that the follower still follows, from which leases are counted.

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

    /// Takes nothing for granted any more: an append did not fit, or did not arrive. Who had nothing is not asked again.
    pub(crate) fn forget(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.filter(|known| known.has.is_none());
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
pub(crate) fn missing(mut request: AppendEntriesRequest<Types>, has: Option<LogId>) -> AppendEntriesRequest<Types> {
    let known = request.entries.partition_point(|entry| Some(entry.log_id) <= has);
    if let Some(last) = request.entries.drain(..known).next_back() {
        request.prev_log_id = Some(last.log_id);
    }
    request
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
        // The terms of an append, what the follower has, behind what is sent, and how many entries.
        let table = [
            (vec![1, 1, 2, 3], None, (at(1, 4), 4)),
            (vec![1, 1, 2, 3], Some(at(1, 4)), (at(1, 4), 4)),
            (vec![1, 1, 2, 3], Some(at(1, 6)), (at(1, 6), 2)),
            (vec![1, 1, 2, 3], Some(at(2, 7)), (at(2, 7), 1)),
            (vec![1, 1, 2], Some(at(2, 7)), (at(2, 7), 0)),
            (vec![1, 1], Some(at(2, 7)), (at(1, 6), 0)),
            (vec![3, 3], Some(at(2, 4)), (at(1, 4), 2)),
            (vec![], Some(at(2, 7)), (at(1, 4), 0)),
        ];
        for (terms, has, expected) in table {
            let sent = missing(append(&terms), has);
            assert_eq!((sent.prev_log_id.unwrap(), sent.entries.len()), expected, "{terms:?} {has:?}");
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
        matched.note(vote, None);
        matched.forget();
        assert_eq!(matched.told(&vote), Some(None), "it has nothing, and is not asked again");
    }
}
