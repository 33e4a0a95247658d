//! The catalog as that of a new cluster of one node.

use std::collections::BTreeSet;

use quorate_catalog::proto::{self, Reason, command::Kind};
use quorate_catalog::{NodeState, Recovery};
use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp};

use crate::support::{World, apply, certificate, issue, issue_operator, upsert};

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a name")
}

fn recovery(node: u64) -> Recovery {
    Recovery {
        cluster: ClusterId([8; 16]),
        node: NodeId(node),
        certificates: vec![certificate("new")],
        ended: [name("authority")].into(),
        at: Timestamp::from_millis(5_000_000),
    }
}

fn rotate(purpose: &str) -> Kind {
    let sealed = vec![7; 100].into();
    Kind::RotateKey(proto::RotateKey { purpose: purpose.to_owned(), id: "a".to_owned(), expected_version: 0, sealed })
}

#[test]
fn what_is_of_nobody_stays_and_what_is_of_the_old_nodes_goes() {
    let mut world = World::of_nodes(3);
    world.documents(apply(vec![upsert("files", "{}")]));
    world.documents(apply(vec![upsert("files", "{\"a\":1}")]));
    world.done(rotate("authority"));
    world.done(rotate("session"));
    world.done(Kind::IssueToken(issue([9; 16], world.now + 60_000)));
    world.done(Kind::RaiseAlarm(proto::RaiseAlarm { node: 2, kind: "disk".into(), message: "full".into() }));
    world.set_state(3, proto::NodeState::Draining);
    world.done(Kind::RaiseLevel(proto::RaiseLevel { to: 2 }));
    world.done(Kind::IssueOperator(issue_operator("ana", world.now + 60_000)));
    let old = world.catalog.clone();

    let new = old.recovered(&recovery(3)).expect("it is the state of a cluster");

    assert_eq!(new.check(), Ok(()));
    assert_eq!((new.documents(), new.revision()), (old.documents(), old.revision()));
    assert_eq!(new.at_revision(1), old.at_revision(1));
    let (was, is) = (old.cluster().expect("a cluster"), new.cluster().expect("a cluster"));
    assert_eq!(
        (is.id, is.level, is.groups, is.replication),
        (ClusterId([8; 16]), was.level, was.groups, was.replication)
    );
    assert_eq!((is.created_at, new.time()), (Timestamp::from_millis(5_000_000), is.created_at));
    assert_eq!(new.keys().map(|key| key.purpose.as_str()).collect::<Vec<_>>(), ["session"]);
    assert_eq!(new.nodes().map(|node| (node.id, node.state)).collect::<Vec<_>>(), [(NodeId(3), NodeState::Active)]);
    assert_eq!((new.tokens(new.time()).count(), new.alarms().count()), (0, 0));
    assert_eq!(new.operators(new.time()).count(), 0, "they name the old cluster");
    let alone = BTreeSet::from([NodeId(3)]);
    assert!(new.shards().all(|shard| shard.version == 1 && shard.voters == alone && shard.pending.is_none()));
    assert_eq!(new.shards().count(), old.shards().count());

    let mut world = World { catalog: new, now: 6_000_000 };
    assert_eq!(world.join("n1"), 4, "a name is free again, a number is not");
    assert_eq!(world.restored(), world.catalog);
}

#[test]
fn a_state_of_no_cluster_or_without_the_node_cannot_be_recovered() {
    let refused =
        |world: &World, recovery: &Recovery| world.catalog.recovered(recovery).expect_err("it cannot").reason();

    assert_eq!(refused(&World::empty(), &recovery(1)), Reason::NotBootstrapped);
    assert_eq!(refused(&World::new(), &recovery(2)), Reason::Unknown);
    let same = Recovery { cluster: ClusterId([7; 16]), ..recovery(1) };
    assert_eq!(refused(&World::new(), &same), Reason::Invalid);
    let many = Recovery { certificates: vec![certificate("new"); 5], ..recovery(1) };
    assert_eq!(refused(&World::new(), &many), Reason::Limit);
}
