//! Sealed keys and their versions.

use quorate_catalog::proto::{self, Reason, command::Kind, outcome};
use quorate_catalog::{KEY_VERSIONS_MAX, KEYS_MAX, KeyState, SEALED_BYTES_MAX};
use quorate_types::ResourceName;

use crate::support::World;

fn rotate(id: &str, expected_version: u32) -> proto::RotateKey {
    let (purpose, id) = ("session".to_owned(), id.to_owned());
    proto::RotateKey { purpose, id, expected_version, sealed: vec![7; 100].into() }
}

fn retire(version: u32) -> Kind {
    Kind::RetireKey(proto::RetireKey { purpose: "session".to_owned(), id: "a".to_owned(), version })
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a name")
}

fn states(world: &World) -> Vec<(u32, KeyState, bool)> {
    world.catalog.keys().map(|key| (key.version, key.state, key.sealed.is_empty())).collect()
}

#[test]
fn a_key_is_rotated_and_its_versions_retire() {
    let mut world = World::new();
    let done = world.done(Kind::RotateKey(rotate("a", 0)));
    assert_eq!(done, outcome::Kind::Key(proto::KeyRotated { version: 1 }));
    assert_eq!(world.refused(Kind::RotateKey(rotate("a", 0))).reason(), Reason::Conflict);
    world.done(Kind::RotateKey(rotate("a", 1)));
    assert_eq!(states(&world), [(1, KeyState::Retiring, false), (2, KeyState::Active, false)]);

    assert_eq!(world.refused(retire(2)).reason(), Reason::State);
    assert_eq!(world.refused(retire(3)).reason(), Reason::Unknown);
    world.done(retire(1));
    assert_eq!(states(&world), [(1, KeyState::Retired, true), (2, KeyState::Active, false)]);
    assert_eq!(world.catalog.active_key(&name("session"), &name("a")).map(|key| key.version), Some(2));
}

#[test]
fn a_key_is_sealed_anew_under_another_root_key() {
    let mut world = World::new();
    world.done(Kind::RotateKey(rotate("a", 0)));
    let rewrap = |version, length| {
        let (purpose, id) = ("session".to_owned(), "a".to_owned());
        Kind::RewrapKey(proto::RewrapKey { purpose, id, version, sealed: vec![8; length].into() })
    };
    world.done(rewrap(1, SEALED_BYTES_MAX));
    let key = world.catalog.key(&name("session"), &name("a"), 1).expect("it is there").clone();
    assert_eq!((key.sealed.len(), key.state), (SEALED_BYTES_MAX, KeyState::Active));
    assert!(!format!("{key:?}").contains("8, 8"));
    assert_eq!(world.refused(rewrap(1, SEALED_BYTES_MAX + 1)).field(), "sealed");
    assert_eq!(world.refused(rewrap(1, 0)).field(), "sealed");
    world.done(Kind::RotateKey(rotate("a", 1)));
    world.done(retire(1));
    assert_eq!(world.refused(rewrap(1, 1)).reason(), Reason::State);
}

#[test]
fn keys_have_limits_and_retired_versions_make_room() {
    let mut world = World::new();
    let versions = u32::try_from(KEY_VERSIONS_MAX).expect("it is small");
    (0..versions).for_each(|version| drop(world.done(Kind::RotateKey(rotate("a", version)))));
    assert_eq!(world.refused(Kind::RotateKey(rotate("a", versions))).reason(), Reason::Limit);
    world.done(retire(1));
    world.done(Kind::RotateKey(rotate("a", versions)));
    assert_eq!(states(&world).len(), KEY_VERSIONS_MAX);

    (KEY_VERSIONS_MAX..KEYS_MAX).for_each(|at| drop(world.done(Kind::RotateKey(rotate(&format!("k{at}"), 0)))));
    assert_eq!(world.refused(Kind::RotateKey(rotate("more", 0))).reason(), Reason::Limit);
}
