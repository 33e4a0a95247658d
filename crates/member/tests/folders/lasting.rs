//! What lasts: members over restarts, and what is refused of a disk that is not what the cluster remembers.

use std::time::Duration;

use quorate_member::{Failure, OpenError, RotationStep};
use quorate_membership::rotation::Phase;
use quorate_types::{ClusterId, Incarnation, NodeId};

use crate::world::{Place, is_active, sees, token, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_back_with_all_it_had_when_every_node_was_killed() {
    let places = ["one", "two", "three"].map(Place::new);
    let (first, _) = places[0].bootstrap(2).await;
    let second = places[1].join(token(&first).await).await;
    let third = places[2].join(token(&first).await).await;
    sees(&third, "three replicas", |catalog| catalog.shards().all(|shard| shard.voters.len() == 3)).await;
    let unused = token(&second).await;
    for member in [first, second, third] {
        drop(member);
    }

    let mut members = Vec::new();
    for place in &places {
        members.push(place.member().await);
    }
    for member in &members {
        sees(member, "second life of all nodes", |catalog| {
            catalog.nodes().all(|node| node.life.as_ref().is_some_and(|life| life.incarnation >= Incarnation(2)))
        })
        .await;
    }
    let fourth = Place::new("four").join(unused).await;
    assert_eq!(fourth.identity().node, NodeId(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_shut_down_starts_again() {
    let place = Place::new("one");
    let (member, _) = place.bootstrap(1).await;
    let cluster = member.identity().cluster;
    sees(&member, "active node", |catalog| is_active(catalog, 1)).await;
    member.shutdown().await;

    let member = place.member().await;

    assert_eq!((member.identity().cluster, member.identity().incarnation), (cluster, Incarnation(2)));
    sees(&member, "second life", |catalog| {
        catalog
            .node(NodeId(1))
            .and_then(|node| node.life.as_ref())
            .is_some_and(|life| life.incarnation == Incarnation(2))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_disk_is_refused_and_its_node_has_to_end() {
    let places = ["one", "two"].map(Place::new);
    let (first, _) = places[0].bootstrap(1).await;
    let second = places[1].join(token(&first).await).await;
    second.shutdown().await;
    let copy = places[1].copied();
    for _ in 0..2 {
        let second = places[1].member().await;
        let life = second.identity().incarnation;
        sees(&first, "next life", |catalog| {
            catalog.node(NodeId(2)).and_then(|node| node.life.as_ref()).is_some_and(|known| known.incarnation == life)
        })
        .await;
        second.shutdown().await;
    }

    places[1].restore(&copy);
    let old = places[1].member().await;

    let failed = old.failed();
    until(
        "refusal",
        || matches!(&*failed.borrow(), Some(Failure::Refused { reason }) if reason.contains("incarnation")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_cluster_or_with_parts_of_another_node_is_refused_with_the_way_out() {
    let places = ["one", "two"].map(Place::new);
    for place in &places {
        let (member, _) = place.bootstrap(1).await;
        member.shutdown().await;
    }
    let mut elsewhere = Place::new("three");
    elsewhere.restore(&places[0].copied());
    elsewhere.settings.cluster = Some(ClusterId([9; 16]));
    let refused = elsewhere.open().await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("an empty one and let the node join"), "{refused}");

    elsewhere.settings.cluster = None;
    for name in ["node.pem", "cluster"] {
        elsewhere.restore(&places[0].copied());
        std::fs::copy(places[1].path().join(name), elsewhere.path().join(name)).unwrap();
        let refused = elsewhere.open().await.map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Mixed { name: found, .. } if found == name), "{refused}");
        std::fs::remove_file(elsewhere.path().join(name)).unwrap();
        let refused = elsewhere.open().await.map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Incomplete { name: found } if found == name), "{refused}");
    }
    elsewhere.restore(&places[0].copied());
    std::fs::remove_dir_all(elsewhere.path().join("wal")).unwrap();
    let refused = elsewhere.open().await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::LogMissing), "{refused}");
    elsewhere.restore(&places[0].copied());
    std::fs::remove_dir_all(elsewhere.path().join("wal")).unwrap();
    let copied = places[1].copied();
    std::fs::rename(copied.path().join("wal"), elsewhere.path().join("wal")).unwrap();
    let refused = elsewhere.open().await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("belongs to another log"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_before_they_end_and_the_catalog_is_told() {
    let mut places = ["one", "two"].map(Place::new);
    for place in &mut places {
        place.settings.certificate_lifetime = Duration::from_secs(20);
    }
    let (first, _) = places[0].bootstrap(1).await;
    let second = places[1].join(token(&first).await).await;
    for (member, number) in [(&first, 1), (&second, 2)] {
        let shown = member.credentials().chain()[0].clone();
        until("renewed certificate", || member.credentials().chain()[0] != shown).await;
        let told = |catalog: &quorate_catalog::Catalog| {
            let renewed = fingerprint(&member.credentials().chain()[0]);
            catalog.node_with_certificate(&renewed).is_some_and(|node| node.id == NodeId(number))
        };
        sees(&first, "renewed certificate in the catalog", told).await;
    }
    // And it is used: a node that starts on it is taken.
    drop(second);
    let second = places[1].member().await;
    sees(&second, "active node", |catalog| is_active(catalog, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_replaced_while_all_nodes_go_on() {
    let places = ["one", "two"].map(Place::new);
    let (first, _) = places[0].bootstrap(1).await;
    let second = places[1].join(token(&first).await).await;
    let old = first.trust().bundle().authorities();
    assert!(first.rotate_authority(RotationStep::Switch).await.is_err(), "nothing was announced");

    first.rotate_authority(RotationStep::Announce(None)).await.expect("it is announced");
    for member in [&first, &second] {
        until("trust in both", || member.trust().bundle().authorities().len() == 2).await;
    }
    step(&second, RotationStep::Switch).await;
    let phase = step(&first, RotationStep::Retire).await;

    let Phase::Steady { signing } = phase else { panic!("{phase:?}") };
    assert!(!old.contains(&signing));
    for member in [&first, &second] {
        until("trust in the new one", || member.trust().bundle().authorities() == [signing].into()).await;
    }
    let third = Place::new("three").join(token(&second).await).await;
    sees(&third, "three active nodes", |catalog| (1..=3).all(|node| is_active(catalog, node))).await;
}

/// Takes a step when all nodes are ready for it.
pub(crate) async fn step(member: &quorate_member::Member, step: RotationStep) -> Phase {
    let begun = std::time::Instant::now();
    loop {
        match member.rotate_authority(step.clone()).await {
            Ok(status) => return status.phase,
            Err(error) => assert!(begun.elapsed() < crate::world::PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, certificate).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
