//! Lists end to end: pages in, pages out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::Id;
use quorate_types::{PrincipalDigest, ResourceName, Sealer, Timestamp};
use serde_json::Value;

use super::*;
use crate::cursor::{self, Binding, CursorError, Position};
use crate::message::ListKind;
use crate::naming::{HiddenReason, Naming};
use crate::uri::Router;
use crate::version::Era;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);
const SERVERS: [&str; 3] = ["files", "web", "db"];

fn collected(kind: ListKind, result: &str) -> Arc<ServerList> {
    let mut collector = Collector::new(kind, &DEFAULTS);
    assert_eq!(collector.push(NOW, &Bytes::from(result.to_owned())), Ok(Progress::Done));
    Arc::new(collector.finish())
}

fn sources(kind: ListKind, results: &[&str]) -> Vec<Source> {
    let source = |(index, result): (usize, &&str)| Source {
        server: ServerIndex(u16::try_from(index).expect("a few servers")),
        name: ResourceName::new(SERVERS[index]).expect("a valid name"),
        list: collected(kind, result),
    };
    results.iter().enumerate().map(source).collect()
}

fn merged(naming: Naming, results: &[&str]) -> Merged {
    merged_of(ListKind::Tools, naming, results)
}

fn merged_of(kind: ListKind, naming: Naming, results: &[&str]) -> Merged {
    merge(&Merge {
        kind,
        naming,
        sources: &sources(kind, results),
        fresh_until_max: NEVER,
        router: None,
        curation: None,
        is_private: false,
    })
}

fn tools(names: &[&str]) -> String {
    let items: Vec<String> = names.iter().map(|name| serde_json::json!({ "name": name }).to_string()).collect();
    format!("{{\"tools\":[{}]}}", items.join(","))
}

fn answer(merged: &Merged, era: Era) -> String {
    let window = merged.window(None, &DEFAULTS).expect("the first page is never stale");
    let envelope = Envelope { id: &Id::from(7), era, now: NOW, next_cursor: None, meta: None };
    String::from_utf8(merged.answer(&window, &envelope).to_vec()).expect("UTF-8")
}

#[test]
fn definitions_pass_unchanged_but_for_their_names() {
    let first = r#"{ "tools": [ {"title" : "R", "name":"re\u0061d", "x": 1.0, "inputSchema":{"b":1,"a":2E3}},{"name":"own"} ], "extra": 1 }"#;
    let second = r#"{"tools":[{"name":"read","_meta":{"name":"kept"}}]}"#;

    let alone = answer(&merged(Naming::Bare, &[first]), Era::Legacy);
    let together = answer(&merged(Naming::OnCollision, &[first, second]), Era::Legacy);

    assert_eq!(
        alone,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"title" : "R", "name":"re\u0061d", "x": 1.0, "inputSchema":{"b":1,"a":2E3}},{"name":"own"}]}}"#
    );
    assert_eq!(
        together,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"title" : "R", "name":"files_read", "x": 1.0, "inputSchema":{"b":1,"a":2E3}},{"name":"own"},{"name":"web_read","_meta":{"name":"kept"}}]}}"#
    );
}

#[test]
fn a_modern_answer_says_how_fresh_and_for_whom_it_is() {
    let public = r#"{"resultType":"complete","ttlMs":60000,"cacheScope":"public","tools":[]}"#;
    let private = r#"{"resultType":"complete","ttlMs":5000,"cacheScope":"private","tools":[]}"#;
    let envelope = Envelope {
        id: &Id::from_text("a").expect("an id"),
        era: Era::Modern,
        now: NOW + Duration::from_millis(1500),
        next_cursor: Some("c"),
        meta: Some("{\"k\":1}"),
    };
    let answer = |results: &[&str]| {
        let merged = merged(Naming::Bare, results);
        merged.answer(&merged.window(None, &DEFAULTS).expect("not stale"), &envelope)
    };

    assert_eq!(
        answer(&[public]),
        r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","ttlMs":58500,"cacheScope":"public","nextCursor":"c","_meta":{"k":1},"tools":[]}}"#
    );
    assert_eq!(
        answer(&[public, private]),
        r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","ttlMs":3500,"cacheScope":"private","nextCursor":"c","_meta":{"k":1},"tools":[]}}"#
    );
}

#[test]
fn a_list_is_fresh_and_shared_no_more_than_each_server_says() {
    let default = DEFAULTS.ttl_default;
    for (members, ttl, scope) in [
        (r#""ttlMs":100,"cacheScope":"public","#, Duration::from_millis(100), CacheScope::Public),
        (r#""ttlMs":0,"cacheScope":"private","#, Duration::ZERO, CacheScope::Private),
        (r#""cacheScope":"public","#, default, CacheScope::Public),
        (r#""cacheScope":"shared","#, default, CacheScope::Private),
        ("", default, CacheScope::Private),
        (r#""ttlMs":-5,"#, Duration::ZERO, CacheScope::Private),
        (r#""ttlMs":1.5,"#, Duration::ZERO, CacheScope::Private),
        (r#""ttlMs":"9","#, Duration::ZERO, CacheScope::Private),
        (r#""ttlMs":99999999999999999,"#, DEFAULTS.ttl_max, CacheScope::Private),
    ] {
        let list = collected(ListKind::Tools, &format!("{{{members}\"tools\":[]}}"));

        assert_eq!((list.expires_at(), list.scope()), (NOW + ttl, scope), "{members}");
    }
}

#[test]
fn a_missing_server_shortens_freshness() {
    let retry_at = NOW + Duration::from_secs(2);
    let sources = sources(ListKind::Tools, &[r#"{"tools":[],"ttlMs":60000}"#]);
    let merged = |sources| {
        merge(&Merge {
            kind: ListKind::Tools,
            naming: Naming::Bare,
            sources,
            fresh_until_max: retry_at,
            router: None,
            curation: None,
            is_private: false,
        })
    };

    assert_eq!(merged(&sources[..]).expires_at(), retry_at);
    assert_eq!(merged(&[]).expires_at(), retry_at);
}

#[test]
fn pages_of_a_server_become_one_list() {
    let mut collector = Collector::new(ListKind::Prompts, &DEFAULTS);
    let pages = [
        (
            r#"{"prompts":[{"name":"a"}],"nextCursor":"","ttlMs":9000,"cacheScope":"public"}"#,
            Progress::Next { cursor: String::new() },
        ),
        (
            r#"{"prompts":[],"nextCursor":"2","ttlMs":10,"cacheScope":"public"}"#,
            Progress::Next { cursor: "2".to_owned() },
        ),
        (r#"{"prompts":[{"name":"b"}],"nextCursor":null,"ttlMs":9000,"cacheScope":"public"}"#, Progress::Done),
    ];
    for (page, expected) in pages {
        assert_eq!(collector.push(NOW, &Bytes::from_static(page.as_bytes())), Ok(expected));
    }
    let list = collector.finish();

    assert_eq!(list.items().iter().map(Item::name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((list.expires_at(), list.scope()), (NOW + Duration::from_millis(10), CacheScope::Public));
}

#[test]
fn items_without_a_usable_name_are_dropped_and_counted() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let result = format!(
        r#"{{"tools":[{{"name":"good"}},{{}},{{"name":1}},{{"name":""}},{{"name":"a","name":"b"}},{{"name":"a","\u004eame":"b"}},"x",null,[],{{"name":"{long}"}},{{"name":"\ud800"}}]}}"#
    );

    let list = collected(ListKind::Tools, &result);

    assert_eq!(list.items().iter().map(Item::name).collect::<Vec<_>>(), ["good"]);
    assert_eq!(list.dropped(), 10);
}

#[test]
fn a_result_that_is_no_page_is_refused() {
    let no_items = CollectError::Page(PageError::NoItems { key: "tools" });
    let incomplete = PageError::Incomplete { found: "input_required".to_owned() };
    for (result, expected) in [
        (r#"{}"#, no_items.clone()),
        (r#"{"prompts":[]}"#, no_items.clone()),
        (r#"{"tools":{}}"#, no_items.clone()),
        (r#"{"tools":null}"#, no_items),
        (r#"{"tools":[],"nextCursor":5}"#, CollectError::Page(PageError::Cursor)),
        (r#"{"resultType":"input_required","inputRequests":{}}"#, CollectError::Page(incomplete)),
        (r#"{"resultType":5,"tools":[]}"#, CollectError::Page(PageError::Incomplete { found: "5".to_owned() })),
    ] {
        let mut collector = Collector::new(ListKind::Tools, &DEFAULTS);
        assert_eq!(collector.push(NOW, &Bytes::from(result)), Err(expected), "{result}");
    }
    for result in ["", "[]", "null", r#"{"tools":[],"tools":[]}"#, r#"{"tools":[1,]}"#, "{\"tools\":[\u{0}]}"] {
        let mut collector = Collector::new(ListKind::Tools, &DEFAULTS);
        let refused = collector.push(NOW, &Bytes::from(result));
        assert!(matches!(refused, Err(CollectError::Page(PageError::Malformed(_)))), "{result} {refused:?}");
    }
    let mut collector = Collector::new(ListKind::Tools, &DEFAULTS);
    let refused = collector.push(NOW, &Bytes::from_static(b"{\"tools\":[\xff]}"));
    assert!(matches!(refused, Err(CollectError::Page(PageError::Malformed(_)))), "{refused:?}");
}

#[test]
fn a_list_over_a_bound_is_refused_by_name() {
    let page =
        |cursor: &str| Bytes::from(format!(r#"{{"tools":[{{"name":"a"}},{{"name":"b"}}],"nextCursor":"{cursor}"}}"#));
    let ok = |cursor: &str| Ok(Progress::Next { cursor: cursor.to_owned() });
    let small = Config { items_max: 3, ..DEFAULTS };
    let mut collector = Collector::new(ListKind::Tools, &small);
    assert_eq!(collector.push(NOW, &page("1")), ok("1"));
    assert_eq!(collector.push(NOW, &page("2")), Err(CollectError::TooManyItems { max: 3 }));

    let small = Config { bytes_max: 45, ..DEFAULTS };
    let mut collector = Collector::new(ListKind::Tools, &small);
    assert_eq!(collector.push(NOW, &page("1")), ok("1"));
    assert_eq!(collector.push(NOW, &page("2")), Err(CollectError::TooManyBytes { max: 45 }));

    let small = Config { pages_max: 2, ..DEFAULTS };
    let mut collector = Collector::new(ListKind::Tools, &small);
    assert_eq!(collector.push(NOW, &page("1")), ok("1"));
    assert_eq!(collector.push(NOW, &page("2")), Err(CollectError::TooManyPages { max: 2 }));

    let mut collector = Collector::new(ListKind::Tools, &DEFAULTS);
    assert_eq!(collector.push(NOW, &page("1")), ok("1"));
    assert_eq!(collector.push(NOW, &page("1")), Err(CollectError::Circle));
}

#[test]
fn ten_thousand_tools_are_listed_in_pages() {
    let names: Vec<String> = (0..10_000).map(|number| format!("tool_{number}")).collect();
    let merged = merged(Naming::Prefix, &[&tools(&names.iter().map(String::as_str).collect::<Vec<_>>())]);

    assert_eq!(pages(&merged, &DEFAULTS).len(), 10);
    assert!(matches!(merged.resolve("files_tool_9999"), Resolution::Found(entry) if &*entry.upstream == "tool_9999"));
}

#[test]
fn a_bare_name_that_became_ambiguous_names_its_alternatives() {
    let merged = merged(Naming::OnCollision, &[&tools(&["read", "list"]), &tools(&["read"])]);

    let alternatives = vec!["files_read", "web_read"];
    assert_eq!(merged.resolve("read"), Resolution::Ambiguous { alternatives: alternatives.clone() });
    assert_eq!(merged.resolve("re\u{200b}ad"), Resolution::Ambiguous { alternatives });
    assert_eq!(merged.resolve("absent"), Resolution::Unknown);
    let entry = &merged.entries()[1];
    assert_eq!(merged.resolve("list"), Resolution::Found(entry));
    assert_eq!(merged.resolve("files_list"), Resolution::Found(entry));
    assert_eq!((entry.server, &*entry.upstream, &*entry.exposed), (ServerIndex(0), "list", "list"));
    assert_eq!(merged.definition(entry), r#"{"name":"list"}"#);
}

#[test]
fn what_bare_hides_is_reported() {
    let merged = merged(Naming::Bare, &[&tools(&["read", "read"]), &tools(&["read", "own"])]);

    let hidden = |server, reason| HiddenItem { server: ServerIndex(server), name: "read".into(), reason };
    let taken = HiddenReason::TakenBy(ServerIndex(0));
    assert_eq!(merged.hidden(), [hidden(0, HiddenReason::Duplicate), hidden(1, taken)]);
    assert!(matches!(merged.resolve("read"), Resolution::Found(entry) if entry.server == ServerIndex(0)));
}

#[test]
fn the_epoch_is_of_the_content_alone() {
    let one = tools(&["a", "b"]);
    let spaced = r#"{"nextCursor":null, "ttlMs":5, "tools": [ {"name":"a"} , {"name":"b"} ] }"#;
    let epoch = |results: &[&str]| merged(Naming::Bare, results).epoch();

    assert_eq!(epoch(&[&one]), epoch(&[spaced]));
    assert_eq!(epoch(&[&one]), epoch(&[&tools(&["a"]), &tools(&["b"])]));
    assert_ne!(epoch(&[&one]), epoch(&[&tools(&["b", "a"])]));
    assert_ne!(epoch(&[&one]), epoch(&[&tools(&["a", "b", "c"])]));
    let prompts = merged_of(ListKind::Prompts, Naming::Bare, &[r#"{"prompts":[]}"#]).epoch();
    assert_ne!(epoch(&[&tools(&[])]), prompts);
}

#[test]
fn ui_resources_of_tools_follow_their_resources() {
    let shared = r#"{"resources":[{"uri":"ui://app"}]}"#;
    let kind = ListKind::Resources;
    let resources = Arc::new(merged_of(kind, Naming::Prefix, &[shared, shared]));
    let none = r#"{"resourceTemplates":[]}"#;
    let templates = Arc::new(merged_of(ListKind::ResourceTemplates, Naming::Prefix, &[none, none]));
    let names: Vec<_> =
        sources(kind, &[shared, shared]).into_iter().map(|source| (source.server, source.name)).collect();
    let router = Router::new(Naming::Prefix, &names, resources, templates);
    let tool = r#"{"tools":[{"_meta":{"ui":{"resourceUri":"ui:\/\/app","v":1},"ui/resourceUri":"ui://app","x":"ui://app"},"name":"t"}]}"#;

    let sources = sources(ListKind::Tools, &[tool, tool]);
    let merged = merge(&Merge {
        kind: ListKind::Tools,
        naming: Naming::Prefix,
        sources: &sources,
        fresh_until_max: NEVER,
        router: Some(&router),
        curation: None,
        is_private: false,
    });

    assert_eq!(
        merged.definition(&merged.entries()[1]),
        r#"{"_meta":{"ui":{"resourceUri":"quorate://web/ui://app","v":1},"ui/resourceUri":"quorate://web/ui://app","x":"ui://app"},"name":"web_t"}"#
    );
}

#[test]
fn a_position_in_other_content_is_stale() {
    let before = merged(Naming::Bare, &[&tools(&["a", "b"])]);
    let after = merged(Naming::Bare, &[&tools(&["a", "c"])]);
    let single = Config { page_items_max: 1, ..DEFAULTS };

    let next = before.window(None, &single).expect("not stale").next.expect("a second page");

    assert_eq!(after.window(Some(next), &single), Err(CursorError::Stale));
    assert_eq!(before.window(Some(Position { offset: 3, ..next }), &single), Err(CursorError::Stale));
    assert_eq!(before.window(Some(next), &single).map(|window| window.items), Ok(1..2));
}

#[test]
fn a_page_is_bounded_in_bytes_and_an_item_over_the_bound_has_its_own() {
    let big = "x".repeat(100);
    let merged = merged(Naming::Bare, &[&tools(&["a", "b", &big, "c", "d"])]);
    let config = Config { page_bytes_max: 40, ..DEFAULTS };

    let names: Vec<usize> = pages(&merged, &config).iter().map(Vec::len).collect();

    assert_eq!(names, [2, 1, 2]);
}

/// The names on each page, following sealed cursors as a client would.
fn pages(merged: &Merged, config: &Config) -> Vec<Vec<String>> {
    let sealer = Sealer::new(&[3; 32]);
    let toolset = ResourceName::new("default").expect("a valid name");
    let binding = Binding { kind: merged.kind(), toolset: &toolset, principal: PrincipalDigest([1; 16]) };
    let mut pages = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let position = cursor.as_deref().map(|cursor| cursor::open(&sealer, cursor, &binding).expect("our own cursor"));
        let window = merged.window(position, config).expect("the list has not changed");
        let next = window.next.map(|position| cursor::seal(&sealer, position, &binding, &[9; 24]));
        let envelope =
            Envelope { id: &Id::from(1), era: Era::Legacy, now: NOW, next_cursor: next.as_deref(), meta: None };
        let answer: Value = serde_json::from_slice(&merged.answer(&window, &envelope)).expect("an answer is JSON");
        let items = answer["result"][merged.kind().result_key()].as_array().expect("an array");
        pages.push(items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect());
        cursor = answer["result"]["nextCursor"].as_str().map(str::to_owned);
        assert_eq!(cursor, next);
        if cursor.is_none() {
            return pages;
        }
    }
}

fn lists() -> impl Strategy<Value = Vec<Vec<String>>> {
    let name = prop_oneof!["[a-c]", "(files|web|db)_[a-c]", "[\\PC]{0,3}", Just("x".repeat(70))];
    prop::collection::vec(prop::collection::vec(name, 0..8), 0..=3)
}

fn of_lists(naming: Naming, lists: &[Vec<String>]) -> Merged {
    let results: Vec<String> =
        lists.iter().map(|names| tools(&names.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    merged(naming, &results.iter().map(String::as_str).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn every_exposed_name_resolves_to_its_origin(lists in lists()) {
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let merged = of_lists(naming, &lists);
            for entry in merged.entries() {
                prop_assert_eq!(merged.resolve(&entry.exposed), Resolution::Found(entry));
                prop_assert!(lists[usize::from(entry.server.0)].iter().any(|name| **name == *entry.upstream));
                let definition: Value = serde_json::from_slice(&merged.definition(entry)).expect("a definition is JSON");
                prop_assert_eq!(definition["name"].as_str(), Some(&*entry.exposed));
            }
        }
    }

    #[test]
    fn merging_is_deterministic_and_keeps_the_servers_order(lists in lists()) {
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let (one, other) = (of_lists(naming, &lists), of_lists(naming, &lists));
            prop_assert_eq!(one.epoch(), other.epoch());
            prop_assert_eq!(one.entries(), other.entries());
            prop_assert_eq!(&one.items, &other.items);

            let place = |entry: &Entry| {
                let names = &lists[usize::from(entry.server.0)];
                (entry.server, names.iter().position(|name| **name == *entry.upstream))
            };
            prop_assert!(one.entries().is_sorted_by_key(place));
        }
    }

    #[test]
    fn every_item_is_exposed_hidden_or_dropped(lists in lists()) {
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let merged = of_lists(naming, &lists);
            let usable = lists.iter().flatten().filter(|name| !name.is_empty()).count();
            prop_assert_eq!(merged.entries().len() + merged.hidden().len(), usable);
        }
    }

    #[test]
    fn following_cursors_yields_every_item_once(lists in lists(), items in 1_usize..5, bytes in 1_usize..200) {
        let merged = of_lists(Naming::OnCollision, &lists);
        let config = Config { page_items_max: items, page_bytes_max: bytes, ..DEFAULTS };
        let pages = pages(&merged, &config);
        let expected: Vec<&str> = merged.entries().iter().map(|entry| &*entry.exposed).collect();
        prop_assert!(pages.iter().all(|page| page.len() <= items));
        prop_assert_eq!(pages.concat(), expected);
    }

    #[test]
    fn reading_a_page_never_panics_and_keeps_bytes(result in "[\\[\\]{}\":,0-9a-z\\\\]{0,60}", name in "\\PC{1,8}") {
        let mut collector = Collector::new(ListKind::Tools, &DEFAULTS);
        let _ = collector.push(NOW, &Bytes::from(result));

        let item = format!("{{\"k\": [ 1.0 ],\"name\":{}}}", serde_json::json!(name));
        let list = collected(ListKind::Tools, &format!("{{\"tools\":[ {item} ]}}"));
        prop_assert_eq!(list.items()[0].bytes(), item.as_bytes());
        prop_assert_eq!(list.items()[0].name(), name);
    }
}

/// The names on all pages of what is shown, and the scope that they say.
fn paged(shown: &Shown<'_>, config: &Config) -> (Vec<String>, BTreeSet<String>) {
    let (mut names, mut scopes, mut position) = (Vec::new(), BTreeSet::new(), None);
    loop {
        let window = shown.window(position, config).expect("a position of this list");
        let envelope = Envelope { id: &Id::from(7), era: Era::Modern, now: NOW, next_cursor: None, meta: None };
        let page: Value = serde_json::from_slice(&shown.answer(&window, &envelope)).expect("valid JSON");
        let items = page["result"]["tools"].as_array().expect("a list");
        names.extend(items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()));
        scopes.insert(page["result"]["cacheScope"].as_str().expect("a scope").to_owned());
        match window.next {
            Some(next) => position = Some(next),
            None => return (names, scopes),
        }
    }
}

#[test]
fn a_list_of_another_caller_has_another_cursor_even_where_it_shows_as_many() {
    let merged = merged(Naming::Bare, &[&tools(&["a", "b", "c"])]);
    let config = Config { page_items_max: 1, ..DEFAULTS };

    let first = merged.shown([]).only(|entry| &*entry.exposed != "a");
    let second = merged.shown([]).only(|entry| &*entry.exposed != "c");

    let next = first.window(None, &config).expect("the first page").next;
    assert!(next.is_some() && first.window(next, &config).is_ok());
    assert_eq!(second.window(next, &config), Err(CursorError::Stale));
    assert_eq!(merged.window(next, &config), Err(CursorError::Stale));
}

proptest! {
    #[test]
    fn a_caller_is_shown_exactly_what_it_may_use_in_the_order_of_all(
        shown in prop::collection::vec(any::<bool>(), 0..12), page in 1_usize..5,
    ) {
        let names: Vec<String> = (0..shown.len()).map(|index| format!("t{index}")).collect();
        let merged = merged(Naming::Bare, &[&tools(&names.iter().map(String::as_str).collect::<Vec<_>>())]);
        let config = Config { page_items_max: page, ..DEFAULTS };

        let may = |name: &str| shown[name[1..].parse::<usize>().expect("a number")];
        let (listed, scopes) = paged(&merged.shown([]).only(|entry| may(&entry.exposed)), &config);

        prop_assert_eq!(listed, names.into_iter().filter(|name| may(name)).collect::<Vec<_>>());
        prop_assert_eq!(scopes, BTreeSet::from(["private".to_owned()]));
    }
}
