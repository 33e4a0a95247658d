//! Certificates of operators: listed, taken back, and forgotten when they have ended everywhere.

use quorate_catalog::proto::{self, Reason, command::Kind};
use quorate_catalog::{Digest, OPERATORS_KEPT_FOR, OPERATORS_MAX, OperatorId};
use quorate_types::Timestamp;

use crate::support::{World, issue_operator, revoke_operator};

fn id(of: &str) -> OperatorId {
    OperatorId(Digest::of(of.as_bytes()).0)
}

/// A cluster of one node at the level that the commands need.
fn world() -> World {
    let mut world = World::new();
    world.done(Kind::RaiseLevel(proto::RaiseLevel { to: 2 }));
    world
}

#[test]
fn a_cluster_of_an_earlier_feature_level_refuses_what_its_nodes_do_not_know() {
    let mut world = World::new();
    let ends = world.now + 1_000;

    for kind in [Kind::IssueOperator(issue_operator("a", ends)), Kind::RevokeOperator(revoke_operator("a", ends))] {
        let refusal = world.refused(kind);
        assert_eq!((refusal.reason(), refusal.value()), (Reason::Level, "2"), "{refusal}");
    }
}

#[test]
fn a_certificate_that_is_taken_back_stays_so_over_a_snapshot_and_to_its_end_everywhere() {
    let mut world = world();
    let ends = world.now + 1_000;
    world.done(Kind::IssueOperator(issue_operator("a", ends)));
    world.done(Kind::IssueOperator(issue_operator("b", ends)));
    let again = world.refused(Kind::IssueOperator(issue_operator("a", ends)));
    assert_eq!(again.reason(), Reason::Exists, "{again}");
    assert!(!world.catalog.is_revoked(&id("a")));

    world.now += 10;
    world.done(Kind::RevokeOperator(revoke_operator("a", 0)));
    let when = world.catalog.time();
    world.now += 10;
    world.done(Kind::RevokeOperator(revoke_operator("a", 0)));

    let restored = world.restored();
    assert_eq!(restored, world.catalog);
    assert!(restored.is_revoked(&id("a")) && !restored.is_revoked(&id("b")));
    let revoked: Vec<_> = restored.operators(restored.time()).filter_map(|operator| operator.revoked_at).collect();
    assert_eq!(revoked, [when], "when it was done first");
    // Ended by the log's clock, and maybe not by another one.
    world.now = ends + 1;
    world.done(Kind::RevokeOperator(revoke_operator("b", 0)));
    assert!(world.catalog.is_revoked(&id("a")));
    // By a leader whose clock runs ahead, and is right again later.
    world.done(Kind::IssueOperator(issue_operator("c", world.now + 1)));
    world.now = (Timestamp::from_millis(ends) + OPERATORS_KEPT_FOR).as_millis() + 10;
    world.done(Kind::IssueOperator(issue_operator("d", world.now + 1)));
    let left: Vec<_> = world.catalog.operators(Timestamp::default()).map(|operator| operator.id).collect();
    assert!(left.len() == 3 && !left.contains(&id("c")), "what ended is swept: {left:?}");
    assert!(world.catalog.is_revoked(&id("a")) && world.catalog.is_revoked(&id("b")), "what was taken back is not");
}

#[test]
fn what_was_never_listed_can_be_taken_back_also_when_no_more_can_be_listed() {
    let mut world = world();
    let ends = world.now + 1_000;
    let ended = world.refused(Kind::RevokeOperator(revoke_operator("old", world.now)));
    assert_eq!((ended.reason(), ended.field()), (Reason::Invalid, "expires_at"), "{ended}");
    for number in 0..OPERATORS_MAX {
        world.done(Kind::IssueOperator(issue_operator(&number.to_string(), ends)));
    }
    let more = world.refused(Kind::IssueOperator(issue_operator("more", ends)));
    assert_eq!((more.reason(), more.to_string().contains("revoke some")), (Reason::Limit, true), "{more}");
    world.done(Kind::RevokeOperator(revoke_operator("7", ends)));
    world.done(Kind::IssueOperator(issue_operator("in its place", ends)));

    world.done(Kind::RevokeOperator(revoke_operator("old", ends)));
    assert!(world.catalog.is_revoked(&id("old")));
    for number in 2..OPERATORS_MAX {
        world.done(Kind::RevokeOperator(revoke_operator(&format!("old {number}"), ends)));
    }
    let more = world.refused(Kind::RevokeOperator(revoke_operator("more", ends)));
    assert_eq!(more.reason(), Reason::Limit, "{more}");
    // One that is listed takes no room.
    world.done(Kind::RevokeOperator(revoke_operator("0", ends)));
    // What ended long ago makes room: first what ended first.
    world.now = (Timestamp::from_millis(ends) + OPERATORS_KEPT_FOR).as_millis();
    let later = world.now + 1_000;
    let revoked = world.catalog.operators(Timestamp::default()).filter(|one| one.revoked_at.is_some()).count();
    for number in revoked..=2 * OPERATORS_MAX {
        world.done(Kind::RevokeOperator(revoke_operator(&format!("new {number}"), later)));
    }
    assert_eq!(world.catalog.operators(Timestamp::default()).count(), 2 * OPERATORS_MAX);
    assert_eq!(world.restored(), world.catalog);
}
