//! What a group promises, over real sockets, certificates and disks: what was answered stays, whoever ends.

mod stalls;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_raft::{
    ChangeError, OpenError, Proposal, ProposeError, Role, SNAPSHOT_MARKS, SnapshotMarks, Stopped, Timing,
};
use quorate_types::NodeId;
use quorate_wal::{Verdict, WATCHDOG_DEFAULTS, Watchdog};
use world::{CALM, GROUP, PATIENCE, World};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn voters(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// Those of the nodes that are not this one.
fn others(than: NodeId) -> [NodeId; 2] {
    let others: Vec<NodeId> = NODES.into_iter().filter(|id| *id != than).collect();
    others.try_into().expect("two are left")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proposed_anywhere_is_applied_everywhere_in_one_order() {
    let world = World::new(1..=3).await;
    world.begin(1..=3).await;

    let through = |n: u64| NODES[usize::try_from(n % 3).expect("it is small")];
    let proposals = (0..300).map(|n: u64| world.propose(through(n), n.to_le_bytes().to_vec()));
    let proposed = futures_util::future::join_all(proposals).await;

    let tape = world.agree(300).await;
    assert_eq!(tape.len(), 300);
    for (n, proposed) in (0_u64..).zip(proposed) {
        let place = u64::from_le_bytes(proposed.expect("nobody ended").answer[..].try_into().expect("eight bytes"));
        assert_eq!(tape[usize::try_from(place - 1).expect("it is small")], n.to_le_bytes().to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proposes_through_a_follower_finds_it_there_next() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;

    let [follower, _] = others(leader);
    for n in 1..=20 {
        world.propose(follower, vec![n]).await.expect("nobody ends");
        assert_eq!(world.tape(follower).last(), Some(&Bytes::from(vec![n])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_what_was_committed_before_on_every_node() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;

    for n in 1..=20 {
        world.propose(leader, vec![n]).await.expect("nobody ends");
        for id in NODES {
            world.group(id).read_index().await.expect("there is a quorum");
            assert_eq!(world.tape(id).last(), Some(&Bytes::from(vec![n])), "node {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_the_leader_and_the_leader_finds_it_when_it_comes_back() {
    let mut world = World::new(1..=3).await;
    let mut answered = 0;
    let mut leader = world.begin(1..=3).await;
    for round in 0..3_u8 {
        for n in 0..20_u8 {
            world.propose(leader, vec![round, n]).await.expect("it leads");
            answered += 1;
        }
        world.kill(leader).await;
        let next = world.leader().await;
        assert_ne!(next, leader);
        world.propose(next, vec![round, 99]).await.expect("two are a quorum");
        answered += 1;
        world.start(leader).await;
        leader = next;
    }

    let tape = world.agree(answered).await;
    assert_eq!(tape.len(), answered);
}

/// The election timeout is so long here that it cannot be the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_process_is_gone_is_followed_without_waiting_for_the_election_timeout() {
    let timing = Timing {
        heartbeat: Duration::from_secs(1),
        election_min: Duration::from_secs(600),
        election_max: Duration::from_secs(900),
    };
    let mut world = World::with(1..=3, SNAPSHOT_MARKS, timing).await;
    let leader = world.begin(1..=3).await;
    for id in others(leader) {
        world.propose(id, vec![1]).await.expect("it leads");
    }

    let killed = Instant::now();
    world.kill(leader).await;
    let next = world.leader().await;

    println!("node {next} serves {:?} after node {leader} was killed", killed.elapsed());
    world.propose(next, vec![2]).await.expect("two are a quorum");
    assert_eq!(world.agree(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_find_everything_when_they_are_started_again() {
    let mut world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    for n in 0..50 {
        world.propose(leader, vec![n]).await.expect("nobody ended");
    }
    for id in NODES {
        world.kill(id).await;
    }
    for id in NODES {
        world.start(id).await;
    }

    world.leader().await;
    assert_eq!(world.agree(50).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_committed_and_a_read_says_so() {
    let mut world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    world.propose(leader, vec![1]).await.expect("nobody ended");
    for id in others(leader) {
        world.kill(id).await;
    }

    assert!(world.group(leader).read_index().await.is_err());
    let proposal = Proposal { level: 1, body: Bytes::from_static(b"never answered"), epoch: None };
    let refused = world.group(leader).propose(proposal).await.expect_err("there is no quorum");
    assert!(matches!(refused, ProposeError::Unknown | ProposeError::NotLeader { .. }), "{refused}");
    assert_eq!(world.tape(leader), [Bytes::from_static(&[1])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_no_quorum_hears_serves_no_longer_than_its_lease_and_again_when_the_quorum_is_back() {
    let mut world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    assert!(world.group(leader).serves().is_some());
    for id in others(leader) {
        world.kill(id).await;
    }

    world.role(leader, "end of its lease", |role| role.serves().is_none()).await;
    assert_eq!(world.group(leader).serves(), None);

    for id in others(leader) {
        world.start(id).await;
    }
    let next = world.leader().await;
    world.until("lease", || world.group(next).serves()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_in_which_nothing_happens_keeps_its_leader() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let epoch = world.group(leader).serves();
    assert!(epoch.is_some());
    let mut role = world.group(leader).role();
    role.mark_unchanged();

    // Longer than a lease and the longest election timeout. A stall of a busy machine may let a lease end: it comes back.
    let ended = role.wait_for(|role| !role.leads());
    let ended = tokio::time::timeout(CALM.election_min + CALM.election_max, ended).await;

    assert!(ended.is_err(), "{:?}", world.group(leader).role().borrow());
    world.until("lease", || (world.group(leader).serves() == epoch).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_followers_wait_for_their_disks_stays_the_leader() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    world.propose(leader, vec![1]).await.expect("nobody ends");
    let epoch = world.group(leader).serves();
    for id in others(leader) {
        world.disk(id).begin();
    }

    // It is on the followers' queues to the disk, and each heartbeat is behind it.
    let proposed = async { world.propose(leader, vec![2]).await };
    let stalled = async {
        let mut role = world.group(leader).role();
        let ended = role.wait_for(|role| !role.leads());
        let ended = tokio::time::timeout(CALM.election_min + CALM.election_max, ended).await.is_ok();
        let still = world.group(leader).role().borrow().clone();
        let acked = tokio::time::timeout(PATIENCE, async {
            while world.group(leader).serves() != epoch {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let acked = acked.await.is_ok();
        for id in others(leader) {
            world.disk(id).end();
        }
        (ended, acked, still)
    };
    let (proposed, (ended, acked, still)) = tokio::join!(proposed, stalled);

    assert!(!ended && acked, "it is {still:?}");
    proposed.expect("the disks go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_stalls_is_found_out_and_hands_over_while_its_disk_still_does_not_answer() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    world.propose(leader, vec![1]).await.expect("nobody ends");
    let next = others(leader)[0];
    world.until("follower that has everything", || world.group(leader).has_caught_up(next).then_some(())).await;
    world.disk(leader).begin();
    let proposal = Proposal { level: 1, body: Bytes::from_static(&[2]), epoch: None };
    let (group, began) = (world.group(leader).clone(), Instant::now());
    let proposed = tokio::spawn(async move { group.propose(proposal).await });

    let mut dog = Watchdog::new(WATCHDOG_DEFAULTS);
    while !matches!(dog.tick(began.elapsed(), world.disk_busy(leader)), Verdict::Slow { .. }) {
        assert!(began.elapsed() < PATIENCE, "the disk counts as fine");
        tokio::time::sleep(WATCHDOG_DEFAULTS.tick).await;
    }
    world.group(leader).transfer_to(next).await.expect("it leads");

    world.role(next, "new leader", |role| role.serves().is_some()).await;
    world.propose(next, vec![3]).await.expect("two disks are a quorum");
    world.disk(leader).end();
    let committed = proposed.await.expect("it does not panic").is_ok();
    let tape = world.agree(2 + usize::from(committed)).await;
    assert_eq!((tape.first(), tape.last()), (Some(&Bytes::from_static(&[1])), Some(&Bytes::from_static(&[3]))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_behind_a_snapshot_is_bounded_in_bytes() {
    let marks = SnapshotMarks { bytes_kept: 512 << 10, ..SNAPSHOT_MARKS };
    let world = World::with(1..=3, marks, CALM).await;
    let leader = world.begin(1..=3).await;
    for n in 0..40 {
        world.propose(leader, vec![n; 64 << 10]).await.expect("nobody ended");
    }
    assert_eq!(world.first(leader), 0);

    world.group(leader).snapshot().await.expect("the disk works");

    // Some entries are the group's own; eight or nine of the commands stay.
    world.until("purge", || (world.first(leader) > 30).then_some(())).await;
    world.propose(leader, vec![99]).await.expect("nobody ended");
    assert_eq!(world.agree(41).await.len(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_state_than_the_others_says_so_and_stops() {
    for is_leader in [false, true] {
        let world = World::new(1..=3).await;
        let leader = world.begin(1..=3).await;
        world.propose(leader, vec![1]).await.expect("nobody ends");
        world.agree(1).await;
        world.group(leader).compare().await;
        assert!(NODES.iter().all(|id| world.group(*id).stopped().borrow().is_none()), "they are equal");

        let broken = if is_leader { leader } else { others(leader)[0] };
        world.tamper(broken);
        world.group(leader).compare().await;

        let alarm = world.group(broken).stopped().borrow().clone();
        assert!(matches!(alarm, Some(Stopped::Diverged { .. })), "{alarm:?}");
        world.role(broken, "end of it", |role| *role == Role::Stopped).await;
        let whole = others(broken);
        assert!(whole.iter().all(|id| world.group(*id).stopped().borrow().is_none()), "the others are equal");
        world.propose(whole[0], vec![2]).await.expect("two are a quorum");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_serves_no_more() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let next = others(leader)[0];
    world.until("follower that has everything", || world.group(leader).has_caught_up(next).then_some(())).await;

    world.group(leader).transfer_to(next).await.expect("it leads");

    assert_eq!(world.group(leader).serves(), None);
    world.role(next, "new leader", |role| role.serves().is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_serves_as_long_as_it_runs() {
    let world = World::new(1..=1).await;
    let leader = world.begin([1]).await;
    let mut role = world.group(leader).role();
    role.mark_unchanged();

    // Longer than the lease.
    let changed = tokio::time::timeout(CALM.election_max, role.changed()).await;

    assert!(changed.is_err(), "{:?}", world.group(leader).role().borrow());
    assert!(world.group(leader).serves().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_is_handed_over_without_an_error_for_proposers() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let [next, through] = others(leader);
    // To one that is behind nothing is handed over.
    world.until("follower that has everything", || world.group(leader).has_caught_up(next).then_some(())).await;

    let handed = async {
        world.group(leader).transfer_to(next).await.expect("it leads");
        world.role(next, "new leader", |role| role.serves().is_some()).await;
    };
    let proposed = async {
        for n in 0..100 {
            world.propose(through, vec![n]).await.expect("it is handed over");
        }
    };
    tokio::join!(handed, proposed);

    assert_eq!(world.agree(100).await.len(), 100);
    assert!(matches!(world.group(leader).transfer_to(next).await, Err(ChangeError::NotLeader { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_does_not_send_what_its_followers_have() {
    const COMMANDS: u8 = 100;
    const BYTES: usize = 16 << 10;
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let next = others(leader)[0];
    for n in 0..COMMANDS {
        world.propose(leader, vec![n; BYTES]).await.expect("nobody ended");
    }
    world.agree(COMMANDS.into()).await;
    world.until("follower that has everything", || world.group(leader).has_caught_up(next).then_some(())).await;
    let sent = || world.host(next).peers().observe().peers.iter().map(|peer| peer.bytes_out).sum::<u64>();
    let before = sent();

    world.group(leader).transfer_to(next).await.expect("it leads");
    world.role(next, "new leader", |role| role.serves().is_some()).await;
    world.propose(next, vec![COMMANDS]).await.expect("nobody ended");
    assert_eq!(world.agree(usize::from(COMMANDS) + 1).await.len(), usize::from(COMMANDS) + 1);

    let (sent, all) = (sent() - before, u64::from(COMMANDS) * BYTES as u64);
    assert!(sent < all / 20, "{sent} bytes to two followers that have {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_led_in_another_term_cannot_propose() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let epoch = world.group(leader).role().borrow().serves().expect("it leads");

    let proposal = |epoch| Proposal { level: 1, body: Bytes::from_static(b"x"), epoch: Some(epoch) };
    let refused = world.group(leader).propose(proposal(epoch - 1)).await.expect_err("that term is over");
    assert!(matches!(refused, ProposeError::NotLeader { .. }), "{refused}");
    assert!(world.group(leader).propose(proposal(epoch)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_replaced_by_one_that_gets_a_snapshot() {
    let marks = SnapshotMarks { entries_kept: 10, ..SNAPSHOT_MARKS };
    let world = World::with(1..=4, marks, CALM).await;
    let leader = world.begin(1..=3).await;
    for n in 0..60 {
        world.propose(leader, vec![n; 64 << 10]).await.expect("nobody ended");
    }
    world.group(leader).snapshot().await.expect("the disk works");

    let group = world.group(leader);
    group.add_learner(NodeId(4)).await.expect("it leads");
    world.until("copy", || (world.tape(NodeId(4)).len() == 60).then_some(())).await;
    let gone = others(leader)[0];
    let rest: Vec<u64> = NODES.into_iter().filter(|id| *id != gone).map(|id| id.0).chain([4]).collect();
    group.set_voters(voters(rest)).await.expect("it has caught up");

    world.propose(leader, vec![77]).await.expect("there is a quorum");
    world.role(NodeId(4), "follower", |role| matches!(role, Role::Follower { leader: Some(_) })).await;
    assert_eq!(world.tape(NodeId(4))[..60], world.tape(leader)[..60]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_moved_away_is_forgotten_and_can_come_back() {
    let world = World::new(1..=1).await;
    let node = world.begin([1]).await;
    world.propose(node, vec![1]).await.expect("it is alone");
    let host = world.host(node);
    assert!(matches!(host.open(GROUP, || unreachable!("it is open")).await, Err(OpenError::Twice(_))));

    assert!(matches!(host.forget(GROUP).await, Err(OpenError::Twice(_))));
    host.close(GROUP).await.expect("it ends");
    host.forget(GROUP).await.expect("the disk works");
    assert!(host.group(GROUP).is_none());
    let again = host.open(GROUP, || world.machine()).await.expect("there is nothing in its way");

    again.begin(voters([1])).await.expect("it never began here");
    let proposal = Proposal { level: 1, body: Bytes::from_static(b"new"), epoch: None };
    let begun = Instant::now();
    while again.propose(proposal.clone()).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not lead");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_its_size_wherever_it_is_proposed() {
    let world = World::new(1..=3).await;
    let leader = world.begin(1..=3).await;
    let too_large = vec![0; quorate_raft::COMMAND_BYTES_MAX + 1];

    for through in [leader, others(leader)[0]] {
        let refused = world.propose(through, too_large.clone()).await.expect_err("it does not fit");
        assert!(refused.to_string().contains("262145 bytes, at most 262144"), "{refused}");
    }
}
