//! Tokens: used once, and told apart when they cannot be.

use quorate_catalog::proto::{self, Reason, command::Kind};
use quorate_catalog::{TOKENS_MAX, TOKENS_TOLD_FOR};
use quorate_types::Timestamp;

use crate::support::{World, add_node, digest16, issue, secret_hash};

const TOKEN: [u8; 16] = [3; 16];

fn add(name: &str) -> Kind {
    Kind::AddNode(add_node(name, TOKEN))
}

fn revoke() -> Kind {
    Kind::RevokeToken(proto::RevokeToken { token: TOKEN.to_vec().into() })
}

#[test]
fn a_token_is_used_once_and_why_it_cannot_be_is_told() {
    let mut world = World::new();
    assert_eq!(world.refused(add("n2")).reason(), Reason::TokenUnknown);

    world.done(Kind::IssueToken(issue(TOKEN, world.now + 100)));
    let forged = proto::AddNode { secret_hash: secret_hash([4; 16]), ..add_node("n2", TOKEN) };
    assert_eq!(world.refused(Kind::AddNode(forged.clone())).reason(), Reason::TokenForged);
    world.done(add("n2"));
    assert_eq!(world.refused(add("n3")).reason(), Reason::TokenUsed);
    assert_eq!(world.refused(revoke()).reason(), Reason::TokenUsed);
    assert_eq!(world.refused(Kind::AddNode(forged)).reason(), Reason::TokenForged, "not that it was used");
}

#[test]
fn a_node_that_asks_again_with_the_same_is_answered_the_same_and_nobody_else_is() {
    let mut world = World::new();
    world.done(Kind::IssueToken(issue(TOKEN, world.now + 100)));
    let asked = |name: &str, application: u8| {
        Kind::AddNode(proto::AddNode { application: vec![application; 32].into(), ..add_node(name, TOKEN) })
    };
    let first = world.done(asked("n2", 1));
    let before = world.catalog.hash();

    assert_eq!(world.done(asked("n2", 1)), first);
    assert_eq!(world.catalog.hash(), before, "and nothing changes");
    assert_eq!(world.refused(asked("n2", 2)).reason(), Reason::TokenUsed);
    assert_eq!(world.refused(add("n2")).reason(), Reason::TokenUsed);
    world.done(Kind::RemoveNode(proto::RemoveNode { node: 2, force: false }));
    assert_eq!(world.refused(asked("n2", 1)).reason(), Reason::Unknown, "the node is gone");
}

#[test]
fn a_token_that_expired_or_was_revoked_is_told_for_a_while() {
    let mut world = World::new();
    let expires_at = world.now + 100;
    world.done(Kind::IssueToken(issue(TOKEN, expires_at)));
    let mut revoked = world.clone();

    world.now = expires_at;
    assert_eq!(world.refused(add("n2")).reason(), Reason::TokenExpired);
    world.now = (Timestamp::from_millis(expires_at) + TOKENS_TOLD_FOR).as_millis();
    assert_eq!(world.refused(add("n2")).reason(), Reason::TokenUnknown);
    world.done(Kind::IssueToken(issue([9; 16], world.now + 1)));
    assert_eq!(world.catalog.tokens(Timestamp::default()).count(), 1, "it is swept");

    revoked.done(revoke());
    revoked.done(revoke());
    assert_eq!(revoked.refused(add("n2")).reason(), Reason::TokenRevoked);
}

#[test]
fn a_token_may_be_for_one_node_or_rack_only() {
    let mut world = World::new();
    let (node_name, rack) = ("n5".to_owned(), "r1".to_owned());
    world.done(Kind::IssueToken(proto::IssueToken { node_name, rack, ..issue(TOKEN, world.now + 100) }));

    let refusal = world.refused(add("n2"));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::TokenMismatch, "node.name"));
    let refusal = world.refused(add("n5"));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::TokenMismatch, "node.rack"));
    let mut right = add_node("n5", TOKEN);
    right.node.as_mut().expect("a node").rack = "r1".to_owned();
    world.done(Kind::AddNode(right));
}

#[test]
fn a_token_that_has_expired_already_or_is_there_is_not_issued() {
    let mut world = World::new();
    let refusal = world.refused(Kind::IssueToken(issue(TOKEN, world.now)));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Invalid, "expires_at"));
    world.done(Kind::IssueToken(issue(TOKEN, world.now + 1)));
    assert_eq!(world.refused(Kind::IssueToken(issue(TOKEN, world.now + 2))).reason(), Reason::Exists);
}

#[test]
fn usable_tokens_have_a_limit_and_those_of_before_make_room() {
    let mut world = World::new();
    let id = |round: usize, at: usize| digest16(format!("{round} {at}").as_bytes());
    for round in 0..3 {
        for at in 0..TOKENS_MAX {
            world.done(Kind::IssueToken(issue(id(round, at), world.now + 100)));
        }
        let more = Kind::IssueToken(issue(TOKEN, world.now + 100));
        assert_eq!(world.refused(more).reason(), Reason::Limit);
        world.now += 100;
    }
    assert_eq!(world.catalog.tokens(Timestamp::default()).count(), 2 * TOKENS_MAX);
}

#[test]
fn no_secret_is_shown() {
    let mut world = World::new();
    world.done(Kind::IssueToken(issue(TOKEN, world.now + 100)));
    let hash = secret_hash(TOKEN);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = format!("{:?}", world.catalog.tokens(Timestamp::default()).collect::<Vec<_>>());
    assert!(!shown.contains(&hex) && !shown.contains(&format!("{:?}", &hash[..4])[1..]), "{shown}");
}
