//! Documents, their history, and two who change them at once.

use std::collections::BTreeMap;

use quorate_catalog::proto::{self, Reason, command::Kind};
use quorate_catalog::{DEFAULTS, DOCUMENT_BYTES_MAX, Diff, DocumentKey, Effect, Limits, Query};

use crate::support::{World, apply, key, labels, upsert};

fn said(world: &World) -> Vec<(String, String)> {
    let said = |(key, version): (&DocumentKey, &quorate_catalog::Version)| {
        let text = std::str::from_utf8(version.content.data()).expect("it is text").to_owned();
        (key.name().to_string(), text)
    };
    world.catalog.documents().iter().map(said).collect()
}

fn rollback(to_revision: u64) -> Kind {
    let author = "bob".to_owned();
    Kind::Rollback(proto::Rollback { to_revision, author, ..proto::Rollback::default() })
}

#[test]
fn documents_are_added_changed_and_deleted_at_once_and_come_back() {
    let mut world = World::new();
    let first = world.documents(apply(vec![upsert("a", "{\"v\":1}"), upsert("b", "{}")]));
    assert_eq!((first.revision, first.added), (1, 2));

    let second = proto::Apply { deletes: vec![key("ToolServer", "b")], ..apply(vec![upsert("a", "{\"v\":2}")]) };
    let second = world.documents(second);
    assert_eq!((second.revision, second.changed, second.deleted), (2, 1, 1));
    assert_eq!(said(&world), [("a".to_owned(), "{\"v\":2}".to_owned())]);

    assert_eq!(world.effects(rollback(1)), [Effect::Documents(3)]);
    let back = [("a".to_owned(), "{\"v\":1}".to_owned()), ("b".to_owned(), "{}".to_owned())];
    assert_eq!(said(&world), back);
    let last = world.catalog.revisions(None, 1).next().expect("it is kept").clone();
    assert_eq!((last.number, last.author(), last.rollback_to()), (3, "bob", Some(1)));

    let a = DocumentKey::new("ToolServer", "default", "a").expect("a key");
    let history: Vec<u64> = world.catalog.history(&a, None, 10).map(|(revision, _)| revision.number).collect();
    assert_eq!(history, [3, 2, 1]);
}

#[test]
fn what_is_there_already_makes_no_revision() {
    let mut world = World::new();
    world.documents(apply(vec![upsert("a", "{}")]));

    let again = world.documents(apply(vec![upsert("a", "{}")]));

    assert_eq!((again.revision, again.unchanged), (1, 1));
    assert_eq!(world.effects(rollback(1)), []);
    assert_eq!(world.catalog.revision(), 1);
}

#[test]
fn who_applies_second_is_told_who_was_faster_and_when() {
    let mut world = World::new();
    world.documents(apply(vec![upsert("a", "{}")]));
    let at = world.now;
    world.now += 1_000;

    let late = proto::Apply { expected_revision: Some(0), ..apply(vec![upsert("b", "{}")]) };
    let refusal = world.refused(Kind::Apply(late));

    let conflict = proto::Conflict { revision: 1, author: "alice".to_owned(), at };
    assert_eq!((refusal.reason(), refusal.conflict()), (Reason::Conflict, Some(&conflict)));
    let message = "expected_revision \"0\": changed meanwhile: 1 (revision 1 is by \"alice\", at 1970-01-01T00:16:40Z)";
    assert_eq!(refusal.to_string(), message);
}

#[test]
fn pruning_deletes_what_came_from_the_same_source_and_is_not_in_the_set() {
    let mut world = World::new();
    let from = |name: &str, source: &str| {
        let labels = labels(&[("source", source)]);
        proto::Upsert { labels, ..upsert(name, "{}") }
    };
    world.documents(apply(vec![from("a", "git"), from("b", "git"), from("c", "other"), upsert("d", "{}")]));

    let pruned = proto::Apply { prune_source: Some("git".to_owned()), ..apply(vec![from("a", "git")]) };
    let applied = world.documents(pruned);

    assert_eq!((applied.deleted, applied.unchanged), (1, 1));
    assert_eq!(said(&world).len(), 3);
    let stray = proto::Apply { prune_source: Some("git".to_owned()), ..apply(vec![from("a", "other")]) };
    assert_eq!(world.refused(Kind::Apply(stray)).field(), "upserts[0].labels.source");
}

#[test]
fn a_change_that_cannot_be_is_refused_whole_with_the_field() {
    let mut world = World::new();
    let good = || upsert("good", "{}");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX - 9));
    let with = |spoil: fn(&mut proto::Upsert)| {
        let mut spoilt = upsert("a", "{}");
        spoil(&mut spoilt);
        apply(vec![good(), spoilt])
    };
    let table = [
        ("upserts[1].key", with(|one| one.key = None)),
        ("upserts[1].kind", with(|one| one.key = Some(key("tool", "a")))),
        ("upserts[1].name", with(|one| one.key = Some(key("Tool", "A")))),
        ("upserts[1].content", with(|one| one.content = "{\"b\":1,\"a\":1}".into())),
        ("upserts[1].labels.name", with(|one| one.labels = labels(&[("b", ""), ("a", "")]))),
        ("upserts[1].labels.value", with(|one| one.labels = labels(&[("a", "\u{1b}")]))),
        ("upserts[1].key", apply(vec![good(), good()])),
        ("deletes[0]", proto::Apply { deletes: vec![key("ToolServer", "none")], ..apply(vec![good()]) }),
        ("author", proto::Apply { author: "a\nb".to_owned(), ..apply(vec![good()]) }),
        ("message", proto::Apply { message: "x".repeat(5_000), ..apply(vec![good()]) }),
        ("command", apply(vec![upsert("a", &long), upsert("b", &long)])),
    ];
    for (field, change) in table {
        assert_eq!(world.refused(Kind::Apply(change)).field(), field);
    }
    assert_eq!(world.catalog.documents().len(), 0);
}

#[test]
fn history_falls_off_at_its_oldest_end_and_says_so() {
    let mut world = World::new();
    let limits = Limits { revisions_max: 3, ..DEFAULTS };
    world.done(Kind::SetLimits(proto::SetLimits { limits: Some(limits.to_proto()) }));
    for value in 1..=6 {
        world.documents(apply(vec![upsert("a", &format!("{{\"v\":{value}}}"))]));
    }

    assert_eq!((world.catalog.oldest_revision(), world.catalog.revision()), (3, 6));
    assert!(world.catalog.at_revision(2).is_none() && world.catalog.at_revision(3).is_some());
    let refusal = world.refused(rollback(2));
    assert_eq!((refusal.reason(), refusal.allowed()), (Reason::Unknown, "3 to 6"));
    world.done(rollback(3));
    assert_eq!(said(&world), [("a".to_owned(), "{\"v\":3}".to_owned())]);
}

#[test]
fn history_is_bounded_in_bytes_and_equal_texts_count_once() {
    let mut world = World::new();
    let text = |at: usize| format!("{{\"v\":\"{}{at}\"}}", "x".repeat(1_000));
    for at in 0..50 {
        world.documents(apply(vec![upsert("a", &text(at % 2))]));
    }
    assert!(world.catalog.history_bytes() < 50 * 400 + 2 * 1_100, "{}", world.catalog.history_bytes());

    let limits = Limits { history_bytes_max: 8 * 1_024, ..DEFAULTS };
    world.done(Kind::SetLimits(proto::SetLimits { limits: Some(limits.to_proto()) }));
    assert!(world.catalog.history_bytes() <= 8 * 1_024);
    for at in 0..50 {
        world.documents(apply(vec![upsert("a", &text(100 + at))]));
        assert!(world.catalog.history_bytes() <= 8 * 1_024);
    }
    assert!(world.catalog.oldest_revision() > 80);
}

#[test]
fn documents_are_bounded_in_number_and_bytes_and_limits_do_not_cut_them_off() {
    let mut world = World::new();
    let set = |limits: Limits| Kind::SetLimits(proto::SetLimits { limits: Some(limits.to_proto()) });
    world.done(set(Limits { documents_max: 2, documents_bytes_max: 2_000, ..DEFAULTS }));

    world.documents(apply(vec![upsert("a", "{}"), upsert("b", "{}")]));
    assert_eq!(world.refused(Kind::Apply(apply(vec![upsert("c", "{}")]))).reason(), Reason::Limit);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2_000));
    let refusal = world.refused(Kind::Apply(apply(vec![upsert("a", &large)])));
    assert!(refusal.value().ends_with("bytes"), "{refusal}");
    let exchange = proto::Apply { deletes: vec![key("ToolServer", "a")], ..apply(vec![upsert("c", "{}")]) };
    world.documents(exchange);

    let refusal = world.refused(set(Limits { documents_max: 1, ..DEFAULTS }));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::State, "limits.documents_max"));
    assert_eq!(world.refused(set(Limits { revisions_max: 0, ..DEFAULTS })).field(), "limits.revisions_max");
}

#[test]
fn pages_go_on_where_the_last_one_ended_whatever_changes_between() {
    let mut world = World::new();
    let names: Vec<String> = (0..25).map(|at| format!("n{at:02}")).collect();
    world.documents(apply(names.iter().map(|name| upsert(name, "{}")).collect()));
    let mut seen = Vec::new();
    let mut query = Query { kind: Some("ToolServer".to_owned()), limit: 10, ..Query::default() };
    loop {
        let page = world.catalog.list(&query);
        seen.extend(page.documents.iter().map(|(key, _)| key.name().to_string()));
        let Some(next) = page.next else { break };
        let gone = proto::Apply { deletes: vec![next.to_proto()], ..apply(vec![upsert("n00a", "{}")]) };
        world.documents(gone);
        query.after = Some(next);
    }
    assert_eq!(seen, names);
    let none = Query { tenant: Some("acme".to_owned()), ..Query::default() };
    assert_eq!(world.catalog.list(&none).documents, []);
}

#[test]
fn a_list_is_filtered_by_labels() {
    let mut world = World::new();
    let labeled = |name: &str, pairs: &[(&str, &str)]| proto::Upsert { labels: labels(pairs), ..upsert(name, "{}") };
    world.documents(apply(vec![labeled("a", &[("env", "prod"), ("team", "x")]), labeled("b", &[("env", "prod")])]));
    let of = |pairs: &[(&str, &str)]| {
        let labels = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let page = world.catalog.list(&Query { labels, ..Query::default() });
        page.documents.iter().map(|(key, _)| key.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&[("env", "prod")]), ["a", "b"]);
    assert_eq!(of(&[("env", "prod"), ("team", "x")]), ["a"]);
    assert_eq!(of(&[("env", "test")]), Vec::<String>::new());
}

#[test]
fn a_diff_says_what_an_apply_would_do() {
    let mut world = World::new();
    let from = |name: &str, text: &str| proto::Upsert { labels: labels(&[("source", "git")]), ..upsert(name, text) };
    world.documents(apply(vec![from("a", "{\"v\":1}"), from("b", "{}"), from("c", "{}"), upsert("d", "{}")]));
    let mut other = world.clone();
    let set = vec![from("a", "{\"v\":2}"), from("b", "{}"), from("e", "{}")];
    let pruned = proto::Apply { prune_source: Some("git".to_owned()), ..apply(set) };
    let applied = other.documents(pruned);
    let wanted: BTreeMap<_, _> =
        other.catalog.documents().clone().into_iter().filter(|(key, _)| key.name().as_str() != "d").collect();

    let diff = world.catalog.diff(&wanted, Some("git"), &|_, _| false);

    let counts = |diff: &Diff| (diff.added.len(), diff.changed.len(), diff.deleted.len(), diff.unchanged);
    assert_eq!(counts(&diff), (1, 1, 1, 1));
    let of_apply = (applied.added, applied.changed, applied.deleted, applied.unchanged);
    assert_eq!(of_apply, (1, 1, 1, 1));
    assert_eq!(diff.changed[0].edits[0].pointer, "/v");
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut world = World::new();
    world.documents(apply(vec![upsert("a", "{}")]));
    let (clone, hash) = (world.catalog.clone(), world.catalog.hash());

    world.documents(apply(vec![upsert("a", "{\"v\":1}"), upsert("b", "{}")]));

    assert_eq!((clone.hash(), clone.documents().len()), (hash, 1));
    assert_ne!(world.catalog.hash(), hash);
}
