//! The machine of a shard: who may change a record, what is applied as a whole, and that a snapshot is not believed.
//!
//! Changes are made by hand here, as an owner makes them; what sessions write is in the histories.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use quorate_session::EndReason;
use quorate_session::record::proto::{self, Refusal, op::Kind};
use quorate_session::shard::{ENDED_MAX, PART_BYTES_MAX, Shard, command, outcome, parts};
use quorate_types::PrincipalDigest;

const KEY: u128 = 7;

fn op(kind: Kind) -> proto::Op {
    proto::Op { kind: Some(kind) }
}

fn change(kinds: Vec<Kind>) -> proto::Change {
    proto::Change { time_ms: 1_000, ops: kinds.into_iter().map(op).collect() }
}

fn charter(principal: u8) -> proto::Charter {
    proto::Charter {
        principal: vec![principal; 16].into(),
        scope: Some(proto::charter::Scope::Toolset("tools".to_owned())),
        owner: Some(proto::Owner::default()),
        opened_ms: 1_000,
        ..proto::Charter::default()
    }
}

fn open(principal: u8) -> Vec<Kind> {
    vec![Kind::Open(charter(principal)), Kind::Ids(1024)]
}

fn stream(stream: u32, oldest: u64) -> Kind {
    Kind::Stream(proto::Stream { stream, oldest, ..proto::Stream::default() })
}

fn deleted() -> Kind {
    Kind::End(EndReason::Deleted.written(1))
}

fn append(stream: u32, data: &'static str) -> Kind {
    Kind::Append(proto::Append { stream, data: Bytes::from_static(data.as_bytes()) })
}

/// Applies a change part by part, and says what became of the last.
fn apply(shard: &mut Shard, session: u128, version: u64, change: &proto::Change) -> Result<(), Refusal> {
    let mut last = Ok(());
    for part in parts(session, version, change) {
        let applied = shard.apply(&command(&[part]));
        last = outcome(&applied.outcome, 1)[0];
    }
    last
}

fn opened() -> Shard {
    let mut shard = Shard::new();
    assert_eq!(apply(&mut shard, KEY, 0, &change(open(1))), Ok(()));
    shard
}

fn bytes(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.write_snapshot(&mut bytes).expect("a vector grows");
    bytes
}

#[test]
fn only_who_knows_the_version_changes_a_record() {
    let mut shard = opened();
    let touch = change(vec![Kind::ActiveMs(2_000)]);

    assert_eq!(apply(&mut shard, KEY, 0, &touch), Err(Refusal::Stale), "another owner has opened it");
    assert_eq!(apply(&mut shard, KEY, 2, &touch), Err(Refusal::Stale));
    assert_eq!(apply(&mut shard, KEY, 1, &touch), Ok(()));
    assert_eq!(apply(&mut shard, KEY, 1, &touch), Err(Refusal::Stale), "a change is applied once");
    assert_eq!(shard.get(KEY).map(|(version, _)| version), Some(2));
}

#[test]
fn a_change_that_is_not_an_owner_s_changes_nothing() {
    let cases = [
        vec![Kind::Open(charter(1))],
        vec![append(1, "of no stream")],
        vec![stream(1, 0), Kind::StreamEnd(1), Kind::CallState(proto::CallState { call: 9, ..Default::default() })],
        vec![deleted(), Kind::Ids(9)],
    ];
    for kinds in cases {
        let mut shard = opened();
        let before = shard.hash();
        assert_eq!(apply(&mut shard, KEY, 1, &change(kinds.clone())), Err(Refusal::Malformed), "{kinds:?}");
        assert_eq!(shard.hash(), before, "{kinds:?}");
    }
    let mut shard = Shard::new();
    assert_eq!(apply(&mut shard, KEY, 0, &change(vec![Kind::Ids(1)])), Err(Refusal::Malformed), "nothing is opened");
    assert_eq!(
        apply(&mut shard, KEY, 0, &change(vec![Kind::Open(proto::Charter::default())])),
        Err(Refusal::Malformed)
    );
    assert_eq!(outcome(&shard.apply(b"\xff no command").outcome, 2), vec![Err(Refusal::Malformed); 2]);
    assert!(shard.is_empty());
}

/// An idle session took 4.4 KB of each node, most of it what it had in common with all others of its client.
#[test]
fn what_sessions_have_in_common_is_in_memory_once_and_they_say_what_they_are() {
    let mut shard = Shard::new();
    let at = |opened_ms| proto::Charter { opened_ms, ..charter(1) };
    let leg = |session: &str| {
        let session = Some(session.to_owned());
        let upstream = proto::Upstream { url: "http://files".to_owned(), session, ..proto::Upstream::default() };
        let upstream = Some(upstream);
        Kind::Leg(proto::Leg { server: "files".to_owned(), is_up: true, upstream, ..proto::Leg::default() })
    };
    for (session, opened_ms, upstream) in [(1, 1_000, "a"), (2, 2_000, "b")] {
        let change = change(vec![Kind::Open(at(opened_ms)), leg(upstream)]);
        assert_eq!(apply(&mut shard, session, 0, &change), Ok(()));
    }
    let written = bytes(&shard);
    for upstream in ["a", "b"] {
        let id = proto::Upstream { session: Some(upstream.to_owned()), ..proto::Upstream::default() }.encode_to_vec();
        assert!(written.windows(id.len()).any(|part| part == id), "a snapshot says which session {upstream} is");
    }
    let mut restored = Shard::restore(&mut &written[..]).expect("it is whole");
    assert_eq!(bytes(&restored), written);
    for shard in [&mut shard, &mut restored] {
        let charter =
            |shard: &Shard, session| std::sync::Arc::clone(shard.get(session).expect("it is open").1.charter());
        let opened = |session| shard.get(session).expect("it is open").1.opened().as_millis();
        assert_eq!((opened(1), opened(2)), (1_000, 2_000));
        assert!(std::sync::Arc::ptr_eq(&charter(shard, 1), &charter(shard, 2)));

        let agent = Some("ci".to_owned());
        let owner = Kind::Owner(proto::Owner { agent: agent.clone(), ..proto::Owner::default() });
        assert_eq!(apply(shard, 1, 1, &change(vec![owner])), Ok(()));
        let agent_of = |session| charter(shard, session).owner.as_ref().and_then(|owner| owner.agent.clone());
        assert_eq!((agent_of(1), agent_of(2)), (agent, None), "the other session is as it was");
    }
}

#[test]
fn what_ended_is_gone_and_no_longer_its_principal_s() {
    let mut shard = opened();
    let principal = PrincipalDigest([1; 16]);
    assert_eq!(shard.owned_by(principal), 1);

    assert_eq!(apply(&mut shard, KEY, 1, &change(vec![deleted()])), Ok(()));

    assert!(shard.get(KEY).is_none());
    assert_eq!((shard.len(), shard.owned_by(principal)), (0, 0));
    assert_eq!(apply(&mut shard, KEY, 2, &change(vec![Kind::Ids(9)])), Err(Refusal::Stale));
}

#[test]
fn a_session_that_ended_is_told_of_with_who_ended_it_and_what_happened_to_it() {
    let mut shard = opened();
    let moved = proto::Moment { at_ms: 1_500, happening: proto::Happening::Moved.into(), node: 2 };
    let owner = proto::Owner { agent: Some("ci".to_owned()), ..proto::Owner::default() };
    let changed = change(vec![Kind::Moment(moved), Kind::Owner(owner)]);
    assert_eq!(apply(&mut shard, KEY, 1, &changed), Ok(()));
    assert_eq!(shard.ended(KEY), None, "it goes on");
    let by = EndReason::Operator { by: format!("operator ana{}", "é".repeat(200)).into() };
    let end = proto::Change { time_ms: 2_000, ops: vec![op(Kind::End(by.written(2)))] };

    assert_eq!(apply(&mut shard, KEY, 2, &end), Ok(()));

    let ended = shard.ended(KEY).expect("it is told of");
    assert_eq!((ended.agent.as_str(), ended.opened_ms, ended.at_ms), ("ci", 1_000, 2_000));
    assert_eq!(ended.scope, Some(proto::ended::Scope::Toolset("tools".to_owned())));
    assert_eq!(ended.timeline, [moved]);
    let how = ended.end.as_ref().expect("it says how");
    assert_eq!((how.reason(), how.node), (proto::EndReason::Operator, 2));
    assert!(how.by.starts_with("operator ana") && how.by.len() <= 128, "{}", how.by);
    let copy = Shard::restore(&mut bytes(&shard).as_slice()).expect("it is one");
    assert_eq!((copy.ended(KEY), copy.hash()), (shard.ended(KEY), shard.hash()));
    assert_ne!(shard.hash(), 0);
}

#[test]
fn a_shard_tells_of_the_latest_that_ended_and_no_snapshot_has_more() {
    let mut shard = Shard::new();
    let all = u128::try_from(ENDED_MAX).expect("it is small") + 3;
    for key in 0..all {
        assert_eq!(apply(&mut shard, key, 0, &change(open(1))), Ok(()));
        assert_eq!(apply(&mut shard, key, 1, &change(vec![deleted()])), Ok(()));
    }

    let told: Vec<u128> = shard.ended_last().map(|(key, _)| key).collect();
    assert_eq!(told, (3..all).rev().collect::<Vec<_>>());

    let mut more = Vec::new();
    let head = proto::snapshot_item::Kind::Head(proto::ShardHead { version: 1 });
    let ended = shard.ended_last().map(|(_, ended)| (**ended).clone()).next().expect("there are some");
    let ended = std::iter::repeat_n(proto::snapshot_item::Kind::Ended(ended), ENDED_MAX + 1);
    let tail = proto::snapshot_item::Kind::Tail(proto::ShardTail { records: 0 });
    for kind in std::iter::once(head).chain(ended).chain([tail]) {
        let item = proto::SnapshotItem { kind: Some(kind) };
        item.encode_length_delimited(&mut more).expect("a vector grows");
    }
    let refused = Shard::restore(&mut more.as_slice()).expect_err("it is more than a shard keeps");
    assert!(refused.to_string().contains("too many"), "{refused}");
}

/// Happened where a call of a stateless client was parked and ended while the end of the one before it was being written: the
/// record stayed, owned by nobody, and the next one was refused.
#[test]
fn a_change_that_opens_a_record_and_ends_it_leaves_none() {
    let unparked = Kind::End(proto::End { reason: proto::EndReason::Unparked.into(), ..proto::End::default() });
    for (end, is_told) in [(unparked, false), (deleted(), true)] {
        let mut shard = Shard::new();
        let whole: Vec<Kind> = open(1).into_iter().chain([end]).collect();

        assert_eq!(apply(&mut shard, KEY, 0, &change(whole)), Ok(()));

        assert!(shard.is_empty());
        assert_eq!(shard.ended(KEY).is_some(), is_told, "a session that goes on has not ended");
        assert_eq!(apply(&mut shard, KEY, 0, &change(open(1))), Ok(()), "and can be opened again");
    }
}

#[test]
fn a_change_that_is_larger_than_an_entry_is_applied_with_its_last_part() {
    let mut shard = opened();
    let large = Kind::Append(proto::Append { stream: 1, data: vec![b'x'; 3 * PART_BYTES_MAX].into() });
    let change = change(vec![stream(1, 0), large]);
    let parts = parts(KEY, 1, &change);
    assert_eq!(parts.len(), 4);
    assert!(parts.iter().all(|part| command(std::slice::from_ref(part)).len() <= 256 << 10));

    for part in &parts[..3] {
        assert_eq!(outcome(&shard.apply(&command(std::slice::from_ref(part))).outcome, 1), vec![Ok(())]);
    }
    assert_eq!(shard.get(KEY).map(|(version, record)| (version, record.holds().events)), Some((1, 0)));
    // A replica that joins now has the parts, too.
    let mut copy = Shard::restore(&mut bytes(&shard).as_slice()).expect("it is one");
    for shard in [&mut shard, &mut copy] {
        assert_eq!(outcome(&shard.apply(&command(&parts[3..])).outcome, 1), vec![Ok(())]);
        assert_eq!(shard.get(KEY).map(|(version, record)| (version, record.holds().events)), Some((2, 1)));
    }
    assert_eq!(copy.hash(), shard.hash());
}

#[test]
fn parts_of_a_change_that_was_given_up_are_of_no_other() {
    let mut shard = opened();
    let large = |byte| {
        let data = vec![byte; 2 * PART_BYTES_MAX].into();
        change(vec![stream(1, 0), Kind::Append(proto::Append { stream: 1, data })])
    };
    let (first, second) = (parts(KEY, 1, &large(b'a')), parts(KEY, 1, &large(b'b')));

    assert_eq!(outcome(&shard.apply(&command(&first[..2])).outcome, 2), vec![Ok(()); 2]);
    assert_eq!(outcome(&shard.apply(&command(&second)).outcome, 3), vec![Ok(()); 3], "it begins again");
    assert_eq!(outcome(&shard.apply(&command(&first[2..])).outcome, 1), vec![Err(Refusal::Stale)]);
    assert_eq!(outcome(&shard.apply(&command(&second[1..2])).outcome, 1), vec![Err(Refusal::Stale)]);
}

#[test]
fn parts_of_sessions_that_were_never_opened_do_not_pile_up() {
    let mut shard = Shard::new();
    let large = Kind::Client(proto::Client { initialize_params: "x".repeat(2 * PART_BYTES_MAX), ..Default::default() });
    let opening = change(open(1).into_iter().chain([large]).collect());
    for session in 0..100 {
        let parts = parts(session, 0, &opening);
        assert_eq!(outcome(&shard.apply(&command(&parts[..2])).outcome, 2), vec![Ok(()); 2]);
    }
    assert!(bytes(&shard).len() < 40 * PART_BYTES_MAX, "{}", bytes(&shard).len());

    // Whoever goes on is heard, as long as it is no matter of the past.
    assert_eq!(outcome(&shard.apply(&command(&parts(99, 0, &opening)[2..])).outcome, 1), vec![Ok(())]);
    assert_eq!(outcome(&shard.apply(&command(&parts(3, 0, &opening)[2..])).outcome, 1), vec![Err(Refusal::Stale)]);
}

#[test]
fn events_have_the_sequences_of_their_stream_and_go_from_the_front() {
    let mut shard = opened();
    let events = change(vec![stream(1, 0), append(1, "one"), append(1, "two"), append(1, "three"), stream(1, 2)]);
    assert_eq!(apply(&mut shard, KEY, 1, &events), Ok(()));

    let holds = shard.get(KEY).map(|(_, record)| record.holds()).expect("it is there");
    assert_eq!((holds.events, holds.event_bytes), (1, 5));

    assert_eq!(apply(&mut shard, KEY, 2, &change(vec![Kind::StreamEnd(1)])), Ok(()));
    assert_eq!(shard.get(KEY).map(|(_, record)| record.holds().streams), Some(0));
}

#[test]
fn a_shard_of_a_version_that_kept_nothing_is_an_empty_one() {
    let empty = Shard::restore(&mut [].as_slice()).expect("no bytes are no sessions");
    assert!(empty.is_empty());
    assert_eq!((empty.hash(), Shard::new().hash()), (0, 0));

    let copy = Shard::restore(&mut bytes(&Shard::new()).as_slice()).expect("it is one");
    assert!(copy.is_empty());
}

proptest! {
    #[test]
    fn what_is_no_snapshot_is_refused_and_never_a_panic(cut in 0..400_usize, flip in 0..400_usize, bit in 0..8_u8) {
        let mut shard = opened();
        let events = change(vec![stream(1, 0), append(1, "one"), Kind::Ids(2048)]);
        prop_assert_eq!(apply(&mut shard, KEY, 1, &events), Ok(()));
        let mut bytes = bytes(&shard);
        let restored = Shard::restore(&mut bytes.as_slice());
        prop_assert_eq!(restored.map(|copy| copy.hash()).ok(), Some(shard.hash()));

        let short = &bytes[..cut.clamp(1, bytes.len() - 1)];
        prop_assert!(Shard::restore(&mut &short[..]).is_err());
        let place = flip % bytes.len();
        bytes[place] ^= 1 << bit;
        // What it says then may be a state; what it is not is a panic.
        let _either = Shard::restore(&mut bytes.as_slice());
    }
}
