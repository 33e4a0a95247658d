//! The laws of the board: one writer for each key, and the same board everywhere.
//!
//! Histories of writers (puts and restarts) become notices, which arrive in any order, several times and by way of others.

use proptest::prelude::*;

use super::*;

const OWN: NodeId = NodeId(1);

fn notice(node: u64, incarnation: u64, key: &str, version: u64, value: &str) -> Notice {
    Notice { node, incarnation, key: key.to_owned(), version, value: value.to_owned().into() }
}

fn board(members: &[u64]) -> State {
    let mut state = State::new(OWN, Incarnation(1));
    state.set_members(members.iter().copied().map(NodeId));
    state
}

/// What stands, without when it came.
fn standing(state: &State) -> Vec<(NodeId, String, Incarnation, u64, Bytes)> {
    let of = |node: &NodeId| {
        let node = *node;
        let tell = move |(key, posted): (&str, &Posted)| {
            (node, key.to_owned(), posted.incarnation, posted.version, posted.value.clone())
        };
        state.of(node).map(tell).collect::<Vec<_>>()
    };
    state.nodes.keys().flat_map(of).collect()
}

#[test]
fn a_later_version_stands_and_an_older_one_or_an_older_life_is_dropped() {
    let now = Instant::now();
    let mut state = board(&[2]);
    assert_eq!(state.merge(notice(2, 5, "load", 1, "a"), now), Merged::New);
    assert_eq!(state.merge(notice(2, 5, "load", 3, "c"), now), Merged::New);
    assert_eq!(state.merge(notice(2, 5, "load", 2, "b"), now), Merged::Known);
    assert_eq!(state.merge(notice(2, 4, "load", 9, "z"), now), Merged::Known);
    assert_eq!(state.get(NodeId(2), "load").unwrap().value, "c");

    assert_eq!(state.merge(notice(2, 6, "health", 1, "ok"), now), Merged::New);
    assert_eq!(state.get(NodeId(2), "load"), None, "a new life begins with nothing");
    assert_eq!(state.changes.len(), 1);
}

#[test]
fn nobody_writes_for_this_node_or_for_a_stranger() {
    let now = Instant::now();
    let mut state = board(&[2]);
    assert_eq!(state.merge(notice(OWN.0, 9, "load", 1, "a"), now), Merged::Dropped);
    assert_eq!(state.merge(notice(3, 1, "load", 1, "a"), now), Merged::Dropped);
    assert_eq!(standing(&state), []);
}

#[test]
fn what_is_outside_the_limits_is_refused_by_name_and_dropped_from_others() {
    let now = Instant::now();
    let mut state = board(&[2]);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    assert_eq!(state.put("", Bytes::new(), now), Err(PutError::Key { bytes: 0 }));
    assert_eq!(state.put(&long, Bytes::new(), now), Err(PutError::Key { bytes: KEY_BYTES_MAX + 1 }));
    let large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert_eq!(state.put("k", large.clone(), now), Err(PutError::Value { bytes: VALUE_BYTES_MAX + 1 }));
    for key in 0..KEYS_MAX {
        state.put(&key.to_string(), Bytes::new(), now).unwrap();
        state.merge(notice(2, 1, &key.to_string(), 1, ""), now);
    }
    assert_eq!(state.put("more", Bytes::new(), now), Err(PutError::Keys));
    assert_eq!(state.put("7", Bytes::new(), now), Ok(()));

    assert_eq!(state.merge(notice(2, 1, "more", 1, ""), now), Merged::Dropped);
    assert_eq!(state.merge(Notice { value: large, ..notice(2, 1, "7", 2, "") }, now), Merged::Dropped);
    assert_eq!(state.merge(notice(2, 2, "more", 1, ""), now), Merged::New, "a new life has room");
}

#[test]
fn who_is_no_longer_a_member_is_forgotten() {
    let now = Instant::now();
    let mut state = board(&[2, 3]);
    state.merge(notice(2, 1, "load", 1, "a"), now);
    state.merge(notice(3, 1, "load", 1, "b"), now);
    state.set_members([NodeId(3)].into_iter());

    assert_eq!(state.get(NodeId(2), "load"), None);
    assert_eq!(state.merge(notice(2, 1, "load", 2, "a"), now), Merged::Dropped);
    assert_eq!(state.part(0, OWN, usize::MAX).notices.len(), 1);
}

#[test]
fn a_reader_gets_what_changed_in_parts_and_not_what_it_said_itself() {
    let now = Instant::now();
    let mut state = board(&[2, 3]);
    state.put("a", "1".into(), now).unwrap();
    state.merge(notice(2, 1, "b", 1, "2"), now);
    state.merge(notice(3, 1, "c", 1, "3"), now);
    state.put("a", "4".into(), now).unwrap();

    let first = state.part(0, NodeId(2), 1);
    assert_eq!(first.notices, [notice(3, 1, "c", 1, "3")]);
    assert!(first.more);
    let second = state.part(first.upto, NodeId(2), 1);
    assert_eq!(second.notices, [notice(1, 1, "a", 2, "4")]);
    assert!(!second.more && second.upto == state.changed());
    assert_eq!(state.part(second.upto, NodeId(2), 1).notices, []);
}

/// One step of a writer.
#[derive(Clone, Debug)]
enum Step {
    Put { key: u8 },
    Restart,
}

/// Returns every notice that such writers make; values are never the same.
fn write(histories: &[Vec<Step>]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (node, history) in (2..).zip(histories) {
        let mut incarnation = 1;
        let mut versions = BTreeMap::new();
        for (number, step) in history.iter().enumerate() {
            match step {
                Step::Restart => {
                    incarnation += 1;
                    versions.clear();
                }
                Step::Put { key } => {
                    let version = versions.entry(*key).and_modify(|version| *version += 1).or_insert(1);
                    notices.push(notice(node, incarnation, &key.to_string(), *version, &number.to_string()));
                }
            }
        }
    }
    notices
}

fn histories() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![4 => (0_u8..4).prop_map(|key| Step::Put { key }), 1 => Just(Step::Restart)];
    proptest::collection::vec(proptest::collection::vec(step, 0..12), 3)
}

proptest! {
    #[test]
    fn every_order_and_every_repetition_gives_the_same_board(
        (in_order, shuffled, again) in histories().prop_flat_map(|histories| {
            let notices = write(&histories);
            let some = proptest::sample::subsequence(notices.clone(), 0..=notices.len());
            (Just(notices.clone()), Just(notices).prop_shuffle(), some)
        })
    ) {
        let now = Instant::now();
        let (mut one, mut two) = (board(&[2, 3, 4]), board(&[2, 3, 4]));
        in_order.iter().for_each(|notice| { one.merge(notice.clone(), now); });
        shuffled.into_iter().chain(again).for_each(|notice| { two.merge(notice, now); });
        prop_assert_eq!(standing(&one), standing(&two));

        // Each entry is what its writer said last in its last life: the last notice of the key in order.
        for (node, key, incarnation, version, value) in standing(&one) {
            let mut of_key = in_order.iter().filter(|notice| notice.node == node.0 && notice.key == key);
            let last = of_key.next_back().unwrap();
            prop_assert_eq!((last.incarnation, last.version, &last.value), (incarnation.0, version, &value));
        }
    }

    #[test]
    fn a_board_that_is_relayed_in_parts_arrives_whole(histories in histories(), bytes_max in 1_usize..200) {
        let now = Instant::now();
        let (mut from, mut to) = (board(&[2, 3, 4]), board(&[2, 3, 4]));
        for notice in write(&histories) {
            from.merge(notice, now);
        }
        let mut after = 0;
        loop {
            // The reader is no node that speaks here, so that nothing is left out.
            let part = from.part(after, NodeId(9), bytes_max);
            part.notices.into_iter().for_each(|notice| { to.merge(notice, now); });
            after = part.upto;
            if !part.more {
                break;
            }
        }
        prop_assert_eq!(standing(&from), standing(&to));
        prop_assert_eq!(from.changes.len(), standing(&from).len());
    }
}
