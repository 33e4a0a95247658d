//! Keys: made, used by nodes, listed without secrets, revoked.

use std::collections::BTreeSet;

use quorate_identity::api_key::{Config, Keys, MacKey, Secret};
use quorate_membership::identity::Role;
use quorate_proto::admin::v1 as wire;
use quorate_types::{ResourceName, TenantId, Timestamp};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Harness, document, operator, server};

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

/// An operator's request to apply documents of a source.
fn of_source(documents: Vec<wire::Document>) -> wire::ApplyRequest {
    wire::ApplyRequest { documents, source: "git".to_owned(), ..wire::ApplyRequest::default() }
}

/// A document of a key as somebody who knows its secret writes it.
fn minted(name: &str, id: &str) -> wire::Document {
    let kept = serde_json::json!({ "id": id, "hmac": "0".repeat(64) });
    document(&serde_json::json!({ "kind": "ApiKey", "name": name, "spec": { "keys": [kept] } }), "")
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_keys_changes_their_documents_by_no_other_call() {
    let harness = Harness::new().await;
    let mut admin = harness.of(operator("ann", Role::Admin)).resources();
    let set = || vec![minted("ci", "aaaaaaaaaaaa"), server("a", 1)];
    let first = admin.apply(of_source(set())).await.expect("an admin may").into_inner().revision;
    let mut ben = harness.operator("ben");

    // What has the keys as they are is an operator's to apply, with whatever else differs.
    let same = ben.apply(of_source(set())).await.expect("nothing of a key differs").into_inner();
    assert_eq!(same.revision, first);
    let other = vec![minted("ci", "aaaaaaaaaaaa"), server("a", 2)];
    ben.apply(of_source(other)).await.expect("only the server differs");

    let added = vec![minted("ci", "aaaaaaaaaaaa"), minted("mine", "bbbbbbbbbbbb"), server("a", 2)];
    let changed = vec![minted("ci", "cccccccccccc"), server("a", 2)];
    let pruned = vec![server("a", 2)];
    for (what, documents) in [("added", added), ("changed", changed), ("pruned", pruned)] {
        let dry = wire::ApplyRequest { dry_run: true, ..of_source(documents.clone()) };
        let dry = ben.apply(dry).await.expect("looking is free").into_inner();
        assert!(dry.warnings.iter().any(|warning| warning.contains("admin:keys")), "{what}: {:?}", dry.warnings);
        let refused = ben.apply(of_source(documents)).await.expect_err(what);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE"), "{what}: {refused}");
        assert!(refused.message().contains("admin:keys"), "{refused}");
    }
    let delete = wire::DeleteRequest { kind: "ApiKey".to_owned(), name: "ci".to_owned(), ..Default::default() };
    let refused = ben.delete(delete.clone()).await.expect_err("it is a key");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(harness.control().catalog().revision(), first + 1, "nothing of it was done");
    admin.delete(delete).await.expect("an admin may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_no_key_back_and_takes_none_away() {
    let harness = Harness::new().await;
    let admin = harness.of(operator("ann", Role::Admin));
    let (mut keys, mut resources) = (admin.clone().keys(), admin.resources());
    keys.create(create("old")).await.expect("it is made");
    let then = resources.apply(of_source(vec![server("a", 1)])).await.expect("valid").into_inner().revision;
    resources.apply(of_source(vec![server("a", 2), server("b", 1)])).await.expect("valid");
    keys.revoke(wire::RevokeKeyRequest { name: "old".to_owned(), tenant: "acme".to_owned() })
        .await
        .expect("it is there");
    keys.create(create("new")).await.expect("it is made");

    let back = wire::RollbackRequest { to: then, ..Default::default() };
    let done = harness.operator("ben").rollback(back.clone()).await.expect("it is an operator").into_inner();

    let changed: Vec<_> = done.changes.iter().map(|one| (one.kind.as_str(), one.name.as_str())).collect();
    assert_eq!(changed, [("ToolServer", "a"), ("ToolServer", "b")]);
    let [warning] = &done.warnings[..] else { panic!("{:?}", done.warnings) };
    assert!(warning.contains("2 differ from revision 2"), "{warning}");
    let catalog = harness.control().catalog();
    let left: Vec<String> = catalog.documents().keys().map(ToString::to_string).collect();
    assert_eq!(left, ["ApiKey/acme/new", "ToolServer/default/a"]);
    let last = catalog.revisions(None, 1).next().map(|last| last.message().to_owned());
    assert_eq!(last.as_deref(), Some("as revision 2 was, but for API keys"));
    // It is so already: a second time there is nothing to do, for an admin neither.
    let again = resources.rollback(back).await.expect("it is an admin").into_inner();
    assert_eq!((again.revision, again.changes.len(), again.warnings.len()), (done.revision, 0, 1));
}
