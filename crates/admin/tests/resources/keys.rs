//! Keys: made, used by nodes, listed without secrets, revoked.

use std::collections::BTreeSet;

use quorate_identity::api_key::{Config, Keys, MacKey, Secret};
use quorate_membership::identity::Role;
use quorate_proto::admin::v1 as wire;
use quorate_types::{ResourceName, TenantId, Timestamp};
use tonic::Code;

use crate::harness::{Harness, operator};

fn create(name: &str) -> wire::CreateKeyRequest {
    wire::CreateKeyRequest {
        name: name.to_owned(),
        tenant: "acme".to_owned(),
        agent: "reporter".to_owned(),
        scopes: vec!["tools:call".to_owned()],
        valid_for: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_made_is_known_to_every_node_and_revoked_it_is_not() {
    let harness = Harness::new().await;
    let mut keys = harness.of(operator("ann", Role::Admin)).keys();

    let made = keys.create(create("nightly")).await.expect("it is made").into_inner();
    harness.is_active(made.revision).await;

    let secrets = || {
        let running = harness.running.lock().expect("nobody panicked");
        running.as_ref().map(|set| set.api_keys().iter().flat_map(|key| key.secrets.clone()).collect::<Vec<_>>())
    };
    let [secret] = &secrets().expect("it runs")[..] else { panic!("one key") };
    let id = made.key.strip_prefix("qk_").and_then(|rest| rest.split('_').next()).expect("its visible part");
    // Every node looks it up with a key that it derives from the root key.
    let kept = Secret {
        id: secret.id.parse().expect("it is an id"),
        mac: secret.mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>().parse().expect("it is a MAC"),
        not_before: secret.not_before,
        expires: secret.expires,
    };
    let table = |root: [u8; 32]| {
        let name = ResourceName::new("nightly").expect("a name");
        let config = Config {
            name: name.clone(),
            tenant: TenantId::default(),
            agent: name,
            scopes: BTreeSet::new(),
            groups: BTreeSet::new(),
            secrets: vec![kept],
        };
        Keys::new(&[config], MacKey::of_root(&root)).expect("it is one")
    };
    let now = Timestamp::from_millis(secret.expires.expect("it ends").as_millis() - 1_000);
    assert!(table([9; 32]).lookup(&made.key, now).is_ok());
    assert!(table([8; 32]).lookup(&made.key, now).is_err());
    assert!(table([9; 32]).lookup(&made.key, now + std::time::Duration::from_secs(2)).is_err());
    let document = String::from_utf8(made.document.expect("it is there").json.to_vec()).expect("text");
    assert!(!document.contains(&made.key) && document.contains(id), "{document}");

    let listed = keys.list(wire::ListKeysRequest { tenant: "acme".to_owned(), ..Default::default() }).await;
    let listed = listed.expect("they are listed").into_inner().keys;
    let [key] = &listed[..] else { panic!("{listed:?}") };
    let prefix = format!("qk_{id}");
    assert_eq!((key.prefix.as_str(), key.agent.as_str(), key.scopes.len()), (prefix.as_str(), "reporter", 1));
    assert!(key.expires.is_some() && key.last_used.is_none());

    let again = keys.create(create("nightly")).await.expect_err("it is there");
    assert_eq!(again.code(), Code::AlreadyExists, "{again}");
    let revoke = wire::RevokeKeyRequest { name: "nightly".to_owned(), tenant: "acme".to_owned() };
    let revision = keys.revoke(revoke.clone()).await.expect("it is there").into_inner().revision;
    harness.is_active(revision).await;
    assert_eq!(secrets().map(|all| all.len()), Some(0));
    assert_eq!(keys.revoke(revoke).await.expect_err("it is gone").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_would_be_no_good_is_not_made() {
    let harness = Harness::new().await;
    let mut keys = harness.of(operator("ann", Role::Admin)).keys();
    let name = keys.create(create("Nightly")).await.expect_err("it is no name");
    assert_eq!(name.code(), Code::InvalidArgument, "{name}");
    for seconds in [-1, 0, i64::MAX] {
        let valid_for = Some(prost_types::Duration { seconds, nanos: 0 });
        let refused = keys.create(wire::CreateKeyRequest { valid_for, ..create("a") }).await.expect_err("no time");
        assert!(refused.message().contains("valid_for") && refused.message().contains("1 second"), "{refused}");
    }
    let scope = wire::CreateKeyRequest { scopes: vec!["a b".to_owned()], ..create("a") };
    let scope = keys.create(scope).await.expect_err("it is no scope");
    assert!(scope.message().contains("ApiKey/a: spec.scopes[0]"), "{scope}");
    assert_eq!(harness.control().catalog().revision(), 0);
}
