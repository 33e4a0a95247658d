//! Rotations of one node: how often, and what becomes of those that a node did not finish.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate_catalog::{KEY_VERSIONS_MAX, KeyState};
use quorate_membership::rotation::Rotation;

use super::*;
use crate::authorities::{PURPOSE, ROTATION};
use crate::bootstrap::tests::{opened, settings};
use crate::settings::BootstrapSettings;
use crate::waiting::{Opened, open};

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

async fn bootstrap(folder: &Path) -> Member {
    let Opened::Waiting(waiting) = open(settings(folder), crate::nothing()).await.unwrap() else { panic!("it is new") };
    let asked = BootstrapSettings { name: None, shards: 1, replicas: 1, authority: None };
    waiting.bootstrap(asked).await.unwrap().0
}

/// Ends a node as a kill does, and starts it again.
async fn killed(member: Member, folder: &Path) -> Member {
    drop(member);
    match opened(folder).await {
        Opened::Member(member) => member,
        Opened::Waiting(_) => panic!("it is a node's"),
    }
}

/// Takes a step when the node is ready for it.
async fn step(member: &Member, step: RotationStep) -> RotationStatus {
    let begun = Instant::now();
    loop {
        match member.rotate_authority(step.clone()).await {
            Ok(status) => return status,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{step:?}: {error}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Puts the key of an authority that is to be announced, as a step does first.
async fn put_next(member: &Member) -> (Rotation, Authority) {
    let catalog = member.control().latest().await.unwrap();
    let before = member.0.authorities.rotation(&catalog).unwrap().unwrap();
    let next = Authority::mint(member.identity().cluster, now()).unwrap();
    let put = member.0.authorities.put_next(&catalog, &next).unwrap();
    member.control().command(Command::RotateKey(put)).await.unwrap();
    (before, next)
}

fn phase(member: &Member) -> Phase {
    member.rotation(&member.control().catalog()).unwrap().unwrap().phase
}

/// The versions of authorities that something is sealed in, by key.
fn sealed(member: &Member) -> BTreeMap<String, u32> {
    let (catalog, root) = (member.control().catalog(), member.root_key());
    let ours = catalog.keys().filter(|key| key.purpose.as_str() == PURPOSE && key.state != KeyState::Retired);
    let opens = |key: &&Key| {
        let material = quorate_membership::root::Material {
            purpose: PURPOSE,
            id: key.id.as_str(),
            version: u64::from(key.version),
        };
        !root.open(material, &key.sealed).unwrap().is_empty()
    };
    ours.filter(opens).map(|key| (key.id.as_str().to_owned(), key.version)).collect()
}

/// Whether exactly the trusted authorities are sealed, and nothing else opens anything.
fn is_settled(member: &Member) -> bool {
    let catalog = member.control().catalog();
    let trusted = member.0.authorities.rotation(&catalog).unwrap().unwrap().trusted().len();
    sealed(member).len() == trusted && retiring(&catalog).is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_rotates_for_ever_and_keeps_the_keys_that_it_uses() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    let mut counts = Vec::new();
    let mut signed = Vec::new();
    for _ in 0..20 {
        for asked in [RotationStep::Announce(None), RotationStep::Switch, RotationStep::Retire] {
            step(&member, asked).await;
        }
        until("only what is used is kept", || is_settled(&member)).await;
        let Phase::Steady { signing } = phase(&member) else { panic!("{}", phase(&member)) };
        signed.push(signing);
        let catalog = member.control().catalog();
        counts.push(catalog.keys().filter(|key| matches!(key.purpose.as_str(), PURPOSE | ROTATION)).count());
    }

    assert_eq!(signed.iter().collect::<BTreeSet<_>>().len(), 20, "each is another one");
    // The first authority's key in two versions, two places and the state in as many as a key can have.
    let most = 2 + 3 * KEY_VERSIONS_MAX;
    assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
    assert_eq!(counts[19], counts[18], "no more come: {counts:?}");
    assert_eq!(member.0.authorities.bundle(&member.control().catalog()).unwrap().authorities(), [signed[19]].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_was_not_finished_is_put_away_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    let (before, _) = put_next(&member).await;

    let member = killed(member, folder.path()).await;

    until("what nobody trusts is thrown away", || is_settled(&member)).await;
    assert_eq!(phase(&member), before.phase);
    let status = step(&member, RotationStep::Announce(None)).await;
    assert!(
        matches!(status.phase, Phase::Announced { signing, .. } if signing == before.signing()),
        "{}",
        status.phase
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retirement_that_was_not_finished_throws_the_old_key_away_when_the_node_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    step(&member, RotationStep::Announce(None)).await;
    let switched = step(&member, RotationStep::Switch).await;
    until("it is ready to retire", || member.rotation(&member.control().catalog()).unwrap().unwrap().behind.is_none())
        .await;
    let catalog = member.control().latest().await.unwrap();
    let mut rotation = member.0.authorities.rotation(&catalog).unwrap().unwrap();
    let members = members(&catalog);
    rotation.step(Step::Retire, &members, &upkeep::reports(member.control(), &members)).unwrap();
    // The state alone, as of a node that is killed there; who leads is held up by nothing, so that it may be faster.
    let put = member.0.authorities.put_rotation(&catalog, &rotation);
    member.control().command(Command::RotateKey(put)).await.unwrap();

    let member = killed(member, folder.path()).await;

    until("the old key is thrown away", || is_settled(&member)).await;
    let Phase::Switched { signing, .. } = switched.phase else { panic!("{}", switched.phase) };
    assert_eq!(phase(&member), Phase::Steady { signing });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_key_was_put_away_meanwhile_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    let (mut rotation, next) = put_next(&member).await;
    let (catalog, authorities) = (member.control().latest().await.unwrap(), &member.0.authorities);
    until("who leads takes it for one that was left", || is_settled(&member)).await;

    rotation.step(Step::Announce(next.id()), &BTreeSet::new(), &BTreeMap::new()).unwrap();
    let late = member.control().command(Command::RotateKey(authorities.put_rotation(&catalog, &rotation))).await;

    assert!(late.unwrap_err().to_string().contains("expected_version"));
    assert!(matches!(phase(&member), Phase::Steady { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_under_way_keeps_its_key_from_who_leads() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    let (mut rotation, next) = put_next(&member).await;
    let (catalog, authorities) = (member.control().latest().await.unwrap(), &member.0.authorities);

    // As whoever leads does at each change of the catalog.
    settle_left(member.control(), authorities).await.unwrap();

    rotation.step(Step::Announce(next.id()), &BTreeSet::new(), &BTreeMap::new()).unwrap();
    let put = authorities.put_rotation(&catalog, &rotation);
    member.control().command(Command::RotateKey(put)).await.unwrap();
    let catalog = member.control().latest().await.unwrap();
    assert!(authorities.get(&catalog, next.id()).is_ok() && authorities.bundle(&catalog).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_announcements_at_once_one_is_refused_and_no_key_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let member = bootstrap(folder.path()).await;
    // The first one has put its key, and stands still before it writes its state.
    let (mut rotation, first) = put_next(&member).await;
    let (then, authorities) = (member.control().latest().await.unwrap(), &member.0.authorities);

    let second = member.rotate_authority(RotationStep::Announce(None)).await.unwrap();

    rotation.step(Step::Announce(first.id()), &BTreeSet::new(), &BTreeMap::new()).unwrap();
    let late = member.control().command(Command::RotateKey(authorities.put_rotation(&then, &rotation))).await;
    assert!(late.unwrap_err().to_string().contains("expected_version"), "the state of the first one");
    let catalog = member.control().latest().await.unwrap();
    assert_eq!(member.rotation(&catalog).unwrap().unwrap().phase, second.phase);
    assert_eq!(authorities.bundle(&catalog).unwrap().authorities().len(), 2, "both keys are there");
}
