//! What consensus says and writes is read as it was written, and what nobody wrote is refused.
//!
//! Types are made of random parts, memberships and entries that consensus could have; bytes are made of nothing, and of
//! messages with some bytes changed. Reading them is either right or an error, and never ends the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proptest::prelude::*;
use prost::Message;
use quorate_proto::raft::v1;
use quorate_raft::codec::{DecodeError, Wire};
use quorate_raft::types::{
    COMMAND_BYTES_MAX, Command, ENTRY_BYTES_MAX, Entry, Epoch, LeaderId, LogId, Membership, Payload, SnapshotMeta,
    StoredMembership, Types, Vote,
};
use quorate_types::{NodeId, Timestamp};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Epoch::new(term), index)
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term, voted_for: NodeId(node) }, committed }
}

fn log_ids() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| log_id(term, index))
}

fn votes() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| vote(term, node, committed))
}

fn memberships() -> impl Strategy<Value = Membership> {
    let nodes = || prop::collection::btree_set((1..9_u64).prop_map(NodeId), 1..5);
    (prop::collection::vec(nodes(), 0..3), nodes()).prop_map(|(configs, learners)| {
        let members: BTreeMap<NodeId, ()> = configs.iter().flatten().chain(&learners).map(|node| (*node, ())).collect();
        Membership::new(configs, members).expect("each voter is a member")
    })
}

fn stored_memberships() -> impl Strategy<Value = StoredMembership> {
    (prop::option::of(log_ids()), memberships()).prop_map(|(at, membership)| StoredMembership::new(at, membership))
}

fn payloads() -> impl Strategy<Value = Payload> {
    let command =
        (1..=u32::MAX, any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(level, time, body)| {
            Command { level, time: Timestamp::from_millis(time), body: body.into(), is_mark: false }
        });
    prop_oneof![
        Just(EntryPayload::Blank),
        command.prop_map(EntryPayload::Normal),
        memberships().prop_map(EntryPayload::Membership),
    ]
}

/// Entries without gaps, whose terms do not fall, and the place before them.
fn entries() -> impl Strategy<Value = (Option<LogId>, Vec<Entry>)> {
    let steps = prop::collection::vec((0..3_u64, payloads()), 0..6);
    (any::<bool>(), 0..1_000_u64, 0..1_000_u64, steps).prop_map(|(is_first, mut term, index, steps)| {
        let previous = (!is_first).then(|| log_id(term, index));
        let begin = if is_first { 0 } else { index + 1 };
        let entry = |(index, (step, payload))| {
            term += step;
            Entry { log_id: log_id(term, index), payload }
        };
        (previous, (begin..).zip(steps).map(entry).collect())
    })
}

/// Writes and reads, and reads what it becomes with bytes changed and cut.
fn check<W: Wire + Debug + PartialEq>(written: &W, spoil: &[(usize, u8)]) -> Result<(), TestCaseError> {
    let bytes = written.encode();
    let read = W::decode(bytes.clone()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&read, written);
    prop_assert_eq!(read.encode(), bytes.clone());

    let mut spoiled = bytes.to_vec();
    for (at, byte) in spoil {
        if !spoiled.is_empty() {
            let at = at % spoiled.len();
            spoiled[at] ^= byte;
        }
    }
    let cut = spoil.first().map_or(0, |(at, _)| at % (spoiled.len() + 1));
    for bytes in [&spoiled[..], &spoiled[..cut]] {
        if let Ok(read) = W::decode(Bytes::copy_from_slice(bytes)) {
            prop_assert_eq!(W::decode(read.encode()), Ok(read));
        }
    }
    Ok(())
}

fn spoils() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)
}

fn read_as_all(bytes: &Bytes) {
    let _ = (LogId::decode(bytes.clone()), Vote::decode(bytes.clone()), Entry::decode(bytes.clone()));
    let _ = (Membership::decode(bytes.clone()), StoredMembership::decode(bytes.clone()));
    let _ = (SnapshotMeta::decode(bytes.clone()), Command::decode(bytes.clone()));
    let _ = AppendEntriesRequest::<Types>::decode(bytes.clone()).is_ok();
    let _ = (AppendEntriesResponse::<Types>::decode(bytes.clone()), StreamAppendResult::<Types>::decode(bytes.clone()));
    let _ = (VoteRequest::<Types>::decode(bytes.clone()), VoteResponse::<Types>::decode(bytes.clone()));
    let _ = TransferLeaderRequest::<Types>::decode(bytes.clone());
    let _ = TransferLeaderResponse::<Types>::decode(bytes.clone());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn places_votes_and_memberships_are_read_as_written(
        log_id in log_ids(), vote in votes(), stored in stored_memberships(), last in prop::option::of(log_ids()),
        spoil in spoils(),
    ) {
        check(&log_id, &spoil)?;
        check(&vote, &spoil)?;
        check(stored.membership(), &spoil)?;
        check(&SnapshotMeta { last_log_id: last, last_membership: stored.clone() }, &spoil)?;
        check(&stored, &spoil)?;
    }

    #[test]
    fn appends_are_read_as_written(
        vote in votes(), (prev_log_id, entries) in entries(), leader_commit in prop::option::of(log_ids()),
        last in prop::option::of(log_ids()), at in log_ids(), spoil in spoils(),
    ) {
        for entry in &entries {
            check(entry, &spoil)?;
        }
        let latest = entries.last().map(|last| last.log_id).max(prev_log_id).map_or(0, |last| last.leader_id.term);
        let leader_id = LeaderId { term: vote.leader_id.term.max(latest), ..vote.leader_id };
        let leader = Vote { leader_id, committed: true };
        let request = AppendEntriesRequest::<Types> { vote: leader, prev_log_id, entries, leader_commit };
        let read = AppendEntriesRequest::<Types>::decode(request.encode());
        let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(read.entries, request.entries);
        prop_assert_eq!((read.vote, read.prev_log_id, read.leader_commit), (leader, prev_log_id, leader_commit));

        type Response = AppendEntriesResponse<Types>;
        let partial = Response::PartialSuccess(last);
        for response in [Response::Success, partial, Response::Conflict, Response::HigherVote(vote)] {
            check(&response, &spoil)?;
        }
        let conflict = Err(StreamAppendError::Conflict(at));
        for result in [Ok(last), conflict, Err(StreamAppendError::HigherVote(vote))] {
            check::<StreamAppendResult<Types>>(&result, &spoil)?;
        }
    }

    #[test]
    fn elections_and_transfers_are_read_as_written(
        votes in (votes(), votes()), last in (prop::option::of(log_ids()), prop::option::of(log_ids())),
        flag in any::<bool>(), node in any::<u64>(), spoil in spoils(),
    ) {
        let asked = Vote { committed: false, ..votes.0 };
        let mut request = VoteRequest::<Types>::new(asked, last.0);
        request.leadership_transfer = flag;
        check(&request, &spoil)?;
        check(&VoteResponse::<Types>::new(votes.0, last.0, flag), &spoil)?;
        check(&TransferLeaderRequest::<Types>::new(votes.0, NodeId(node), last.0), &spoil)?;
        let changed = Err(TransferLeaderError::VoteChanged { expected: votes.0, actual: votes.1 });
        let not_flushed = Err(TransferLeaderError::LogNotFlushed { expected: last.0, actual: last.1 });
        for response in [Ok(()), changed, not_flushed] {
            check::<TransferLeaderResponse<Types>>(&response, &spoil)?;
        }
    }

    #[test]
    fn bytes_that_nobody_wrote_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        read_as_all(&bytes.into());
    }

    #[test]
    fn an_entry_takes_its_command_and_a_bounded_rest(
        term in any::<u64>(), index in any::<u64>(), time in any::<u64>(),
    ) {
        let body = Bytes::from(vec![7; COMMAND_BYTES_MAX]);
        let command = Command { level: u32::MAX, time: Timestamp::from_millis(time), body, is_mark: false };
        let entry = Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) };
        prop_assert!(entry.encode().len() <= ENTRY_BYTES_MAX);
    }
}

#[test]
fn a_message_that_consensus_would_not_survive_is_refused_by_name() {
    let entry = |term, index| v1::Entry {
        log_id: Some(v1::LogId { term, index }),
        payload: Some(v1::entry::Payload::Blank(v1::Blank {})),
    };
    let leader = v1::Vote { term: 3, node: 1, committed: true };
    let append = |vote, previous: (u64, u64), entries| v1::AppendEntries {
        stream: 0,
        vote,
        previous: Some(v1::LogId { term: previous.0, index: previous.1 }),
        entries,
        committed: None,
    };
    let cases = [
        (append(None, (1, 1), vec![]), "append.vote is absent, or has a kind that this version does not know"),
        (
            append(Some(v1::Vote { committed: false, ..leader }), (1, 1), vec![]),
            "append.vote.committed is 0, allowed is true: who appends is a leader",
        ),
        (append(Some(leader), (1, 1), vec![entry(1, 3)]), "entry 3 of term 1 is behind entry 1 of term 1"),
        (append(Some(leader), (2, 1), vec![entry(2, 2), entry(1, 3)]), "entry 3 of term 1 is behind entry 2 of term 2"),
        (
            append(Some(leader), (1, u64::MAX), vec![entry(1, 0)]),
            "log_id.index is 18446744073709551615, allowed is less than that: there is an index behind it",
        ),
        (
            append(Some(leader), (1, 1), vec![v1::Entry { log_id: None, ..entry(1, 2) }]),
            "entry.log_id is absent, or has a kind that this version does not know",
        ),
        (
            v1::AppendEntries { previous: None, ..append(Some(leader), (0, 0), vec![entry(1, 1)]) },
            "the first index of append is 1, allowed is 0, since nothing is before it",
        ),
        (
            append(Some(leader), (1, 1), vec![entry(4, 2)]),
            "the last term of append is 4, allowed is that of append.vote, or an earlier one",
        ),
        (
            append(Some(leader), (4, 1), vec![]),
            "the last term of append is 4, allowed is that of append.vote, or an earlier one",
        ),
    ];
    for (message, expected) in cases {
        let error = AppendEntriesRequest::<Types>::decode(message.encode_to_vec().into()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn an_entry_of_a_kind_that_a_newer_version_added_is_refused() {
    // The log id, and a field 9 with a message of no bytes.
    let mut bytes = v1::Entry { log_id: Some(v1::LogId { term: 1, index: 1 }), payload: None }.encode_to_vec();
    bytes.extend([9 << 3 | 2, 0]);

    assert_eq!(Entry::decode(bytes.into()), Err(DecodeError::Absent { field: "entry.payload" }));
}

#[test]
fn a_membership_whose_voter_is_no_member_or_whose_voters_are_none_is_refused() {
    let membership =
        |voters: &[u64]| v1::Membership { configs: vec![v1::Voters { nodes: voters.to_vec() }], members: vec![1, 2] };

    let read = Membership::from_message(membership(&[2, 1, 2])).unwrap();
    assert_eq!(read.get_joint_config(), &[BTreeSet::from([NodeId(1), NodeId(2)])]);
    for voters in [&[3][..], &[]] {
        let refused = Membership::from_message(membership(voters));
        assert!(matches!(refused, Err(DecodeError::Membership { .. })), "{refused:?}");
    }
}

#[test]
fn a_command_of_no_level_or_of_too_many_bytes_is_refused() {
    for (level, bytes, field) in [(0, 1, "command.level"), (1, COMMAND_BYTES_MAX + 1, "the size of command.body")] {
        let message = v1::Command { level, time_ms: 1, body: vec![0; bytes].into(), is_mark: false };
        let refused = Command::from_message(message);
        assert!(matches!(refused, Err(DecodeError::Invalid { field: found, .. }) if found == field), "{refused:?}");
    }
}

/// What is on a disk outlives the program: these bytes are read by every later version.
#[test]
fn what_is_written_to_the_disk_has_the_bytes_of_the_first_version() {
    let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let entry = |payload| hex(Entry { log_id: log_id(3, 300), payload }.encode());
    let command =
        Command { level: 1, time: Timestamp::from_millis(1_000), body: Bytes::from_static(b"abc"), is_mark: false };
    let nodes = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let members: BTreeMap<_, _> = nodes(&[1, 2, 4]).into_iter().map(|node| (node, ())).collect();
    let membership = Membership::new(vec![nodes(&[1, 2])], members).unwrap();
    let stored = StoredMembership::new(Some(log_id(2, 9)), membership.clone());

    assert_eq!(entry(EntryPayload::Blank), "0a05080310ac021200");
    assert_eq!(entry(EntryPayload::Normal(command)), "0a05080310ac021a0a080110e8071a03616263");
    assert_eq!(entry(EntryPayload::Membership(membership)), "0a05080310ac02220b0a040a0201021203010204");
    assert_eq!(hex(vote(5, 2, true).encode()), "080510021801");
    assert_eq!(hex(log_id(3, 300).encode()), "080310ac02");
    assert_eq!(
        hex(SnapshotMeta { last_log_id: Some(log_id(3, 300)), last_membership: stored }.encode()),
        "0a05080310ac0212130a0408021009120b0a040a0201021203010204"
    );
}

/// openraft takes over such a vote as that of a leader: two could lead one term.
#[test]
fn who_asks_for_votes_has_none() {
    let request = VoteRequest::<Types>::new(vote(3, 1, true), None);

    let error = VoteRequest::<Types>::decode(request.encode()).unwrap_err();
    assert!(error.to_string().starts_with("vote_request.vote.committed is 1"), "{error}");
}
