//! What operators do with resources, keys and records: as on the wire, over a real catalog.

mod audit;
mod harness;
mod keys;
#[path = "../../../control/tests/nodes/world.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod world;

use std::time::Instant;

use harness::{Harness, document, operator, server};
use quorate_membership::identity::Role;
use quorate_proto::admin::v1 as wire;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn apply(documents: Vec<wire::Document>) -> wire::ApplyRequest {
    wire::ApplyRequest { documents, ..wire::ApplyRequest::default() }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn names(changes: &[wire::Change]) -> Vec<(wire::change::Action, String)> {
    changes.iter().map(|change| (change.action(), change.name.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_active_and_told_and_a_second_time_changes_nothing() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let request = wire::ApplyRequest { message: "first".to_owned(), ..apply(vec![server("a", 1), server("b", 1)]) };

    let applied = ann.apply(request.clone()).await.expect("it is valid").into_inner();
    harness.is_active(applied.revision).await;

    use wire::change::Action::Add;
    assert_eq!(names(&applied.changes), [(Add, "a".to_owned()), (Add, "b".to_owned())]);
    let running = harness.running.lock().expect("nobody panicked").as_ref().map(|set| set.tool_servers().len());
    assert_eq!(running, Some(2));
    let again = ann.apply(request).await.expect("it is valid").into_inner();
    assert_eq!((again.revision, again.changes), (applied.revision, Vec::new()));
    let revisions =
        ann.list_revisions(wire::ListRevisionsRequest::default()).await.expect("they are there").into_inner();
    let [only] = &revisions.revisions[..] else { panic!("{revisions:?}") };
    assert_eq!(
        (only.author.as_str(), only.message.as_str(), only.changes.len()),
        ("operator ann (operator)", "first", 2)
    );
    assert!(only.time.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_expect_the_same_revision_one_is_told_who_was_faster() {
    let harness = Harness::new().await;
    let base = harness.operator("ann").apply(apply(vec![server("a", 1)])).await.expect("valid").into_inner().revision;
    let of = |name: &'static str, port: u16| {
        let mut client = harness.operator(name);
        let request = wire::ApplyRequest { expected_revision: Some(base), ..apply(vec![server("a", port)]) };
        async move { client.apply(request).await }
    };

    let (ann, ben) = tokio::join!(of("ann", 2), of("ben", 3));

    let (won, lost) = match (ann, ben) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won.into_inner(), lost),
        other => panic!("{other:?}"),
    };
    assert_eq!((lost.code(), reason(&lost).as_str()), (Code::Aborted, "CONFLICT"), "{lost}");
    let info = lost.get_details_error_info().expect("it is there").metadata;
    assert_eq!(info["revision"], won.revision.to_string(), "{info:?}");
    assert!(info["author"].starts_with("operator "), "{info:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_who_expect_no_revision_do_not_lose_each_others_changes() {
    let harness = Harness::new().await;
    let each = |number: u16| {
        let mut client = harness.operator(&format!("o{number}"));
        async move { client.apply(apply(vec![server(&format!("s{number}"), 1)])).await }
    };

    let (one, two, three) = tokio::join!(each(1), each(2), each(3));

    for applied in [one, two, three] {
        assert_eq!(applied.expect("it is taken").into_inner().changes.len(), 1);
    }
    assert_eq!(harness.control().catalog().documents().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn doing_again_what_was_done_is_safe_also_when_a_revision_was_expected() {
    let harness = Harness::new().await;
    let request = wire::ApplyRequest { expected_revision: Some(0), ..apply(vec![server("a", 1)]) };
    let first = harness.operator("ann").apply(request.clone()).await.expect("valid").into_inner();

    let again = harness.operator("ann").apply(request.clone()).await.expect("it is ann's own").into_inner();
    assert_eq!(again.revision, first.revision);
    let other = harness.operator("ben").apply(request).await.expect_err("it is another's");
    assert_eq!(other.code(), Code::Aborted, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_document_of_many_leaves_everything_as_it_was_and_is_named() {
    let harness = Harness::new().await;
    let mut documents: Vec<_> = (0..100).map(|number| server(&format!("s{number}"), 1)).collect();
    let bad = json!({ "kind": "ToolServer", "name": "bad", "spec": { "urls": ["http://127.0.0.1/"], "era": "modrn" } });
    documents.insert(50, document(&bad, "mesh.yaml:207"));

    let refused = harness.operator("ann").apply(apply(documents)).await.expect_err("one is not valid");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID"));
    let violations = refused.get_details_bad_request().expect("it is there").field_violations;
    let [only] = &violations[..] else { panic!("{violations:?}") };
    assert_eq!(only.field, "mesh.yaml:207 ToolServer/bad: spec.era");
    let expected = "\"modrn\" is not a choice (did you mean \"modern\"?); allowed: auto, legacy, modern";
    assert_eq!(only.description, expected);
    assert!(refused.message().contains("mesh.yaml:207 ToolServer/bad: spec.era: \"modrn\""), "{refused}");
    assert_eq!(harness.control().catalog().revision(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_nothing_is_refused_against_the_whole_set_and_so_is_taking_away_what_is_linked_to() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let toolset = || document(&json!({ "kind": "Toolset", "name": "t", "spec": { "servers": ["a"] } }), "t.yaml:1");
    let refused = ann.apply(apply(vec![toolset()])).await.expect_err("there is no server");
    assert!(
        refused.message().contains("t.yaml:1 Toolset/t: spec.servers[0]: there is no ToolServer \"a\""),
        "{refused}"
    );

    ann.apply(apply(vec![server("a", 1)])).await.expect("valid");
    ann.apply(apply(vec![toolset()])).await.expect("the server is there already");
    let delete = wire::DeleteRequest { kind: "ToolServer".to_owned(), name: "a".to_owned(), ..Default::default() };
    let refused = ann.delete(delete.clone()).await.expect_err("it is linked to");
    assert!(refused.message().contains("Toolset/t: spec.servers[0]"), "{refused}");
    let gone = wire::DeleteRequest { kind: "Toolset".to_owned(), name: "t".to_owned(), ..Default::default() };
    ann.delete(gone.clone()).await.expect("nothing links to it");
    ann.delete(delete).await.expect("nothing links to it any more");
    let absent = ann.delete(gone).await.expect_err("it is gone");
    assert_eq!(absent.code(), Code::NotFound, "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_problems_fit_into_the_headers_of_an_answer() {
    let harness = Harness::new().await;
    let bad = |number: usize| {
        let spec = json!({ "urls": ["http://127.0.0.1/"], "nothing": "x".repeat(300) });
        document(&json!({ "kind": "ToolServer", "name": format!("s{number}"), "spec": spec }), &"f".repeat(200))
    };

    let refused = harness.operator("ann").apply(apply((0..1_000).map(bad).collect())).await.expect_err("none is valid");

    let head: usize = refused.message().len() + refused.details().len() * 4 / 3;
    assert!(head < 12 << 10, "{head}");
    assert!(refused.message().ends_with("of 1000 problems"), "{refused}");
    assert!(!refused.get_details_bad_request().expect("it is there").field_violations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_large_is_refused_by_name() {
    let harness = Harness::new().await;
    let cedar = format!("// {}\n", "x".repeat(300 << 10));
    let large = document(&json!({ "kind": "Policy", "name": "large", "spec": { "cedar": cedar } }), "");

    let refused = harness.operator("ann").apply(apply(vec![server("a", 1), large])).await.expect_err("it is too large");

    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("Policy/default/large") && refused.message().contains("262144"), "{refused}");
    assert_eq!(harness.control().catalog().revision(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_documents_are_applied_at_once_and_active() {
    let harness = Harness::new().await;
    let mut documents: Vec<_> = (0..4_000).map(|number| server(&format!("s{number}"), 1)).collect();
    let toolset = |number: usize| {
        let spec = json!({ "servers": [format!("s{number}"), format!("s{}", number + 1)] });
        document(&json!({ "kind": "Toolset", "name": format!("t{number}"), "spec": spec }), "")
    };
    documents.extend((0..1_000).map(toolset));

    let begun = Instant::now();
    let applied = harness.operator("ann").apply(apply(documents)).await.expect("it is valid").into_inner();
    let answered = begun.elapsed();
    harness.is_active(applied.revision).await;

    eprintln!("5,000 documents: answered after {answered:?}, active after {:?}", begun.elapsed());
    assert_eq!((applied.changes.len(), applied.revision), (5_000, 1));
    let mut listed = 0;
    let mut page = wire::ListRequest { page_size: 1_000, ..wire::ListRequest::default() };
    loop {
        let answer = harness.operator("ann").list(page.clone()).await.expect("it is there").into_inner();
        listed += answer.resources.len();
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(listed, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_makes_everything_as_it_was_or_is_refused() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let first = ann.apply(apply(vec![server("a", 1)])).await.expect("valid").into_inner().revision;
    ann.apply(apply(vec![server("a", 2), server("b", 1)])).await.expect("valid");

    let back = wire::RollbackRequest { to: first, message: "b was wrong".to_owned(), ..Default::default() };
    let done = ann.rollback(back.clone()).await.expect("it is kept").into_inner();
    harness.is_active(done.revision).await;

    use wire::change::Action::{Change, Delete};
    assert_eq!((done.revision, names(&done.changes)), (3, vec![(Change, "a".to_owned()), (Delete, "b".to_owned())]));
    let of = |revision: Option<u64>| wire::GetRequest {
        kind: "ToolServer".to_owned(),
        name: "a".to_owned(),
        revision,
        ..Default::default()
    };
    let port = |resource: wire::Resource| -> Value {
        let json = resource.document.expect("it is there").json;
        serde_json::from_slice::<Value>(&json).expect("JSON")["spec"]["urls"][0].clone()
    };
    assert_eq!(port(ann.get(of(None)).await.expect("it is there").into_inner()), "http://127.0.0.1:1/");
    assert_eq!(port(ann.get(of(Some(2))).await.expect("it was there").into_inner()), "http://127.0.0.1:2/");
    let absent = ann.rollback(wire::RollbackRequest { to: 99, ..back.clone() }).await.expect_err("it never was");
    assert_eq!(absent.code(), Code::NotFound, "{absent}");
    let late = wire::RollbackRequest { to: 2, expected_revision: Some(1), ..back };
    assert_eq!(ann.rollback(late).await.expect_err("it is at 3").code(), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_has_no_more_is_deleted_and_nothing_of_others() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let of = |source: &str, documents| wire::ApplyRequest { source: source.to_owned(), ..apply(documents) };
    ann.apply(apply(vec![server("by-hand", 1)])).await.expect("valid");
    ann.apply(of("git", vec![server("a", 1), server("b", 1)])).await.expect("valid");
    ann.apply(of("other", vec![server("c", 1)])).await.expect("valid");

    let dry = ann.apply(wire::ApplyRequest { dry_run: true, ..of("git", vec![server("b", 1)]) }).await.expect("valid");
    assert_eq!(
        (dry.get_ref().revision, names(&dry.get_ref().changes)),
        (3, vec![(wire::change::Action::Delete, "a".to_owned())])
    );
    let done = ann.apply(of("git", vec![server("b", 1)])).await.expect("valid").into_inner();

    assert_eq!(names(&done.changes), [(wire::change::Action::Delete, "a".to_owned())]);
    let left: Vec<String> = harness.control().catalog().documents().keys().map(|key| key.name().to_string()).collect();
    assert_eq!(left, ["b", "by-hand", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_says_what_differs_and_shows_no_secret() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let of = |port: u16, secret: &str| {
        let spec = json!({ "urls": [format!("http://127.0.0.1:{port}/")], "headers": { "x-key": secret } });
        document(&json!({ "kind": "ToolServer", "name": "a", "spec": spec }), "")
    };
    ann.apply(apply(vec![of(1, "s3cret-one")])).await.expect("valid");

    let diff = ann.diff(wire::DiffRequest { documents: vec![of(2, "s3cret-two")], ..Default::default() }).await;
    let diff = diff.expect("it is valid").into_inner();

    let fields: Vec<_> = diff.changes[0]
        .fields
        .iter()
        .map(|one| (one.path.as_str(), one.before.as_deref(), one.after.as_deref()))
        .collect();
    let hidden = Some("\"(hidden)\"");
    let url = ("/spec/urls/0", Some("\"http://127.0.0.1:1/\""), Some("\"http://127.0.0.1:2/\""));
    assert_eq!(fields, [("/spec/headers/x-key", hidden, hidden), url]);
    assert_eq!((diff.revision, harness.control().catalog().revision()), (1, 1));
    // A dry run shows the same, and a viewer may ask for it.
    let mut eve = harness.of(operator("eve", Role::Viewer)).resources();
    let dry = wire::ApplyRequest { dry_run: true, ..apply(vec![of(2, "s3cret-two")]) };
    assert_eq!(eve.apply(dry.clone()).await.expect("viewers may look").into_inner().changes, diff.changes);
    let refused = eve.apply(wire::ApplyRequest { dry_run: false, ..dry }).await.expect_err("viewers do not apply");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_for_who_may_change_them_and_a_masked_one_is_not_taken() {
    let harness = Harness::new().await;
    let spec = json!({ "urls": ["http://127.0.0.1/"], "headers": { "x-key": "s3cret" } });
    let one = document(&json!({ "kind": "ToolServer", "name": "a", "spec": spec }), "");
    harness.operator("ann").apply(apply(vec![one])).await.expect("valid");
    let get = wire::GetRequest { kind: "ToolServer".to_owned(), name: "a".to_owned(), ..Default::default() };
    let text = |resource: wire::Resource| {
        String::from_utf8(resource.document.expect("it is there").json.to_vec()).expect("text")
    };

    let open = text(harness.operator("ann").get(get.clone()).await.expect("it is there").into_inner());
    let mut eve = harness.of(operator("eve", Role::Viewer)).resources();
    let masked = text(eve.get(get).await.expect("it is there").into_inner());
    let listed = eve.list(wire::ListRequest::default()).await.expect("it is there").into_inner().resources.remove(0);

    assert!(open.contains("s3cret"), "{open}");
    assert!(!masked.contains("s3cret") && masked.contains("(hidden)"), "{masked}");
    assert_eq!(text(listed), masked);
    let back = wire::Document { json: masked.into(), ..wire::Document::default() };
    let refused = harness.operator("ann").apply(apply(vec![back])).await.expect_err("the secret would be lost");
    assert!(refused.message().contains("env:NAME"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_each_revision_and_where_it_is_active() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    ann.apply(apply(vec![server("a", 1)])).await.expect("valid");
    ann.apply(apply(vec![server("b", 1)])).await.expect("valid");

    let mut watch = ann.watch(wire::WatchRequest { after: Some(0) }).await.expect("it is watched").into_inner();
    let mut seen = Vec::new();
    let mut applied = false;
    loop {
        let said = watch.message().await.expect("it goes on").expect("it goes on");
        let number = said.revision.as_ref().map(|one| one.number).unwrap_or_default();
        if seen.last() != Some(&number) {
            seen.push(number);
        }
        if number == 2 && !applied {
            applied = true;
            harness.operator("ben").apply(apply(vec![server("c", 1)])).await.expect("valid");
        }
        let [node] = &said.nodes[..] else { panic!("{said:?}") };
        if number == 3 && node.active == 3 {
            assert_eq!((node.node, node.reason.as_str()), (1, ""));
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_says_of_a_document_is_held_against_it() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    let other = wire::Document { name: "b".to_owned(), ..server("a", 1) };
    let refused = ann.apply(apply(vec![other])).await.expect_err("it is a");
    assert!(refused.message().starts_with("documents[0].name \"b\""), "{refused}");
    let twice = ann.apply(apply(vec![server("a", 1), server("a", 2)])).await.expect_err("it is there twice");
    assert!(twice.message().contains("each document once"), "{twice}");
    let local = json!({ "kind": "ToolServer", "name": "a", "spec": { "openapi": { "document": "api.yaml" } } });
    let local = ann.apply(apply(vec![document(&local, "")])).await.expect_err("only one node has it");
    assert!(
        local.message().contains("spec.openapi.document: \"api.yaml\" is not valid: in a cluster a path"),
        "{local}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_come_in_pages_and_of_one_document() {
    let harness = Harness::new().await;
    let mut ann = harness.operator("ann");
    for port in 1..=3 {
        ann.apply(apply(vec![server("a", port)])).await.expect("valid");
    }
    ann.apply(apply(vec![server("b", 1)])).await.expect("valid");

    let mut numbers = Vec::new();
    let mut page = wire::ListRevisionsRequest { page_size: 2, ..Default::default() };
    loop {
        let answer = ann.list_revisions(page.clone()).await.expect("they are there").into_inner();
        numbers.extend(answer.revisions.iter().map(|one| one.number));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(numbers, [4, 3, 2, 1]);
    let of = wire::ListRevisionsRequest { kind: "ToolServer".to_owned(), name: "a".to_owned(), ..Default::default() };
    let of_a = ann.list_revisions(of).await.expect("they are there").into_inner();
    assert_eq!(of_a.revisions.iter().map(|one| one.number).collect::<Vec<_>>(), [3, 2, 1]);
}

/// A tool server and a toolset over it, whose spec has something more.
fn toolset(more: Value) -> Vec<wire::Document> {
    let mut spec = json!({ "servers": ["a"] });
    spec.as_object_mut().expect("is one").extend(more.as_object().expect("is one").clone());
    vec![server("a", 1), document(&json!({ "kind": "Toolset", "name": "tools", "spec": spec }), "mesh.yaml:5")]
}

fn level(harness: &Harness) -> u32 {
    harness.control().catalog().cluster().expect("there is one").level
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_earlier_programs_cannot_read_raises_the_level_and_says_so() {
    let harness = Harness::of_levels(3).await;
    let mut ann = harness.operator("ann");
    let plain = toolset(json!({ "tools": [{ "match": { "name": "a" }, "replayable": true }] }));
    let applied = ann.apply(apply(plain)).await.expect("it is valid").into_inner();
    assert_eq!((applied.warnings, level(&harness)), (Vec::new(), 1), "every program reads that");
    let durable = || apply(toolset(json!({ "durability": "ephemeral" })));
    let raises = "Toolset/default/tools: spec.durability raises the cluster's feature level from 1 to 3: \
                  earlier programs cannot join it";

    let dry_run = wire::ApplyRequest { dry_run: true, ..durable() };
    let shown = ann.apply(dry_run).await.expect("it is valid").into_inner();
    assert_eq!((shown.warnings, level(&harness)), (vec![raises.to_owned()], 1), "nothing has changed");
    let applied = ann.apply(durable()).await.expect("it is valid").into_inner();
    harness.is_active(applied.revision).await;

    assert_eq!((applied.warnings, level(&harness)), (vec![raises.to_owned()], 3));
    let running = harness.running.lock().expect("nobody panicked").clone().expect("it runs one");
    assert_eq!(format!("{:?}", running.toolsets()[0].durability), "Ephemeral");
    let again = ann.apply(apply(toolset(json!({ "durability": "strict" })))).await.expect("it is valid").into_inner();
    assert_eq!((again.warnings, level(&harness)), (Vec::new(), 3), "it is there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_node_cannot_read_is_refused_with_the_node_that_is_in_the_way() {
    let harness = Harness::of_levels(2).await;
    let mut ann = harness.operator("ann");

    let refused = ann.apply(apply(toolset(json!({ "durability": "strict" })))).await.expect_err("node-1 is old");

    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LEVEL"));
    assert_eq!(
        refused.message(),
        "Toolset/default/tools: spec.durability takes feature level 3; allowed: 1 to 2, what node node-1 can work at: \
         start that node with a newer program"
    );
    assert_eq!((level(&harness), harness.control().catalog().revision()), (1, 0), "nothing has changed");
}
