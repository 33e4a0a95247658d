//! Curated lists: what is exposed under which name, and that names lead back.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::Id;
use quorate_types::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::listing::{Collector, Config, DEFAULTS, Envelope, Merge, Merged, Resolution, ServerList, Source, merge};
use crate::naming::{HiddenReason, Naming};
use crate::uri::{Route, Router};
use crate::version::Era;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const SERVERS: [&str; 3] = ["one", "two", "three"];

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a valid name")
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect(text)
}

fn selection(include: &[&str], exclude: &[&str]) -> Selection {
    let patterns = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
    Selection { include: patterns(include), exclude: patterns(exclude) }
}

/// A rule for `SERVER/PATTERN`, or for `PATTERN` of every server.
fn rule(subject: &str, changes: Changes) -> Rule {
    let (member, text) = match subject.split_once('/') {
        Some((member, text)) => (Some(name(member)), text),
        None => (None, subject),
    };
    Rule { subject: Subject { member, version: None, pattern: pattern(text) }, changes }
}

fn rename(to: &str) -> Changes {
    Changes { rename: Some(Renaming::parse(to).expect(to)), ..Changes::default() }
}

fn curation(selections: &[Selections], rules: &Rules) -> Option<Arc<Curation>> {
    let names = SERVERS.map(name);
    let members: Vec<Member<'_>> =
        selections.iter().zip(&names).map(|(selections, name)| Member { name, server: name, selections }).collect();
    Curation::compile(&members, rules).map(Arc::new)
}

fn list(kind: ListKind, items: &[Value]) -> Arc<ServerList> {
    let config = Config::default();
    let mut collector = Collector::new(kind, &config);
    let page = json!({ kind.result_key(): items });
    collector.push(NOW, &Bytes::from(page.to_string())).expect("a valid page");
    Arc::new(collector.finish())
}

fn merged(kind: ListKind, naming: Naming, servers: &[Vec<Value>], curation: Option<&Curation>) -> Merged {
    let source = |(index, items): (usize, &Vec<Value>)| Source {
        server: ServerIndex(u16::try_from(index).expect("a few servers")),
        name: name(SERVERS[index]),
        list: list(kind, items),
    };
    let sources: Vec<Source> = servers.iter().enumerate().map(source).collect();
    let fresh_until_max = Timestamp::from_millis(u64::MAX);
    merge(&Merge { kind, naming, sources: &sources, fresh_until_max, router: None, curation, is_private: false })
}

fn tools(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// What is exposed, as `EXPOSED=SERVER/NAME`.
fn exposed(merged: &Merged) -> Vec<String> {
    let shown = |entry: &crate::listing::Entry| {
        let server = SERVERS.get(usize::from(entry.server.0)).unwrap_or(&"ours");
        format!("{}={server}/{}", entry.exposed, entry.upstream)
    };
    merged.entries().iter().map(shown).collect()
}

fn hidden(merged: &Merged) -> Vec<(&str, HiddenReason)> {
    merged.hidden().iter().map(|hidden| (&*hidden.name, hidden.reason)).collect()
}

#[test]
fn a_toolset_that_changes_nothing_has_no_curation() {
    assert!(curation(&[Selections::default(), Selections::default()], &Rules::default()).is_none());
    let some = Selections { prompts: selection(&["a"], &[]), ..Selections::default() };
    assert!(curation(&[Selections::default(), some], &Rules::default()).is_some());
}

#[test]
fn what_is_not_chosen_is_nowhere_and_frees_its_name() {
    let chosen = Selections { tools: selection(&["*"], &["search", "delete_*"]), ..Selections::default() };
    let curation = curation(&[chosen, Selections::default()], &Rules::default());
    let servers = [tools(&["search", "delete_all", "read"]), tools(&["search"])];

    let merged = merged(ListKind::Tools, Naming::OnCollision, &servers, curation.as_deref());

    assert_eq!(exposed(&merged), ["read=one/read", "search=two/search"]);
    assert_eq!(merged.resolve("delete_all"), Resolution::Unknown);
    assert_eq!((merged.excluded(), hidden(&merged)), (2, vec![]));
}

#[test]
fn a_given_name_is_exact_in_every_naming_and_nobody_elses() {
    let rules = Rules {
        tools: vec![rule("one/search", rename("find")), rule("one/get_*", rename("fetch.*"))],
        ..Rules::default()
    };
    let curation = curation(&[Selections::default(), Selections::default()], &rules);
    let servers = [tools(&["search", "get_a", "get_b"]), tools(&["find", "search"])];
    for (naming, expected) in [
        (Naming::Bare, vec!["find=one/search", "fetch.a=one/get_a", "fetch.b=one/get_b", "search=two/search"]),
        (
            Naming::Prefix,
            vec![
                "find=one/search",
                "fetch.a=one/get_a",
                "fetch.b=one/get_b",
                "two_find=two/find",
                "two_search=two/search",
            ],
        ),
        (
            Naming::OnCollision,
            vec!["find=one/search", "fetch.a=one/get_a", "fetch.b=one/get_b", "two_find=two/find", "search=two/search"],
        ),
    ] {
        let merged = merged(ListKind::Tools, naming, &servers, curation.as_deref());
        assert_eq!(exposed(&merged), expected, "{naming:?}");
        for gone in ["get_a", "one_search", "one_get_a", "one_find"] {
            assert_eq!(merged.resolve(gone), Resolution::Unknown, "{naming:?} {gone}");
        }
        let expected = if naming == Naming::Bare { vec![("find", HiddenReason::GivenAway)] } else { vec![] };
        assert_eq!(hidden(&merged), expected, "{naming:?}");

        // Its owner is away, and nobody inherits it.
        let merged = self::merged(ListKind::Tools, naming, &[vec![], tools(&["find"])], curation.as_deref());
        assert_eq!(merged.resolve("find"), Resolution::Unknown, "{naming:?}");
    }
}

#[test]
fn a_rule_of_texts_alone_leaves_nothing_to_be_called_past_the_list() {
    let title = |subject| rule(subject, Changes { title: Some("Title".to_owned()), ..Changes::default() });
    let rules = Rules { tools: vec![title("one/search")], ..Rules::default() };
    let curation = curation(&[Selections::default()], &rules).expect("it changes something");
    assert!(!curation.leaves(ListKind::Tools) && curation.leaves(ListKind::Prompts));
}

#[test]
fn a_name_that_two_tools_are_given_is_neithers() {
    let rules = Rules { tools: vec![rule("search", rename("find"))], ..Rules::default() };
    let curation = curation(&[Selections::default(), Selections::default()], &rules);
    let servers = [tools(&["search", "x"]), tools(&["search", "find"])];

    let merged = merged(ListKind::Tools, Naming::OnCollision, &servers, curation.as_deref());

    assert_eq!(exposed(&merged), ["x=one/x", "two_find=two/find"]);
    assert_eq!(merged.resolve("find"), Resolution::Unknown, "a third tool does not inherit it");
    assert_eq!(hidden(&merged), [("search", HiddenReason::GivenTwice), ("search", HiddenReason::GivenTwice)]);
}

#[test]
fn the_earlier_rule_wins_and_tags_add_up() {
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    let rules = Rules {
        tools: vec![
            rule("one/read", Changes { title: Some("First".to_owned()), tags: tags(&["a"]), ..rename("get") }),
            rule(
                "re*",
                Changes {
                    title: Some("Second".to_owned()),
                    description: Some("D".to_owned()),
                    tags: tags(&["b", "a"]),
                    timeout: Some(Duration::from_secs(3)),
                    concurrency: Some(2),
                    replayable: Some(true),
                    ..Changes::default()
                },
            ),
            rule("*", Changes { timeout: Some(Duration::from_secs(9)), replayable: Some(false), ..Changes::default() }),
        ],
        ..Rules::default()
    };
    let curation = curation(&[Selections::default()], &rules);
    let merged = merged(ListKind::Tools, Naming::Bare, &[tools(&["read", "write"])], curation.as_deref());

    let [get, write] = merged.entries() else { panic!("two tools: {:?}", exposed(&merged)) };
    assert_eq!(
        merged.definition(get),
        r#"{"name":"get","title":"First","description":"D","_meta":{"quorate/tags":["a","b"]}}"#
    );
    assert_eq!(merged.definition(write), r#"{"name":"write"}"#);
    let terms = get.terms.as_deref().expect("rules hold for it");
    assert_eq!((terms.timeout, terms.concurrency, terms.replayable), (Some(Duration::from_secs(3)), Some(2), true));
    let terms = write.terms.as_deref().expect("a rule holds for it");
    assert_eq!((terms.timeout, terms.concurrency, terms.replayable), (Some(Duration::from_secs(9)), None, false));
}

#[test]
fn patterns_that_match_nothing_are_known_by_their_place() {
    let chosen = Selections {
        tools: selection(&["read", "raed"], &["x*"]),
        prompts: selection(&[], &["never"]),
        resources: selection(&["*"], &["file:*"]),
    };
    let fix = ArgumentChange::Fix("1".to_owned());
    let arguments =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), fix.clone())).collect::<BTreeMap<_, _>>();
    let rules = Rules {
        tools: vec![
            rule("one/read", Changes { arguments: arguments(&["path", "paht"]), ..Changes::default() }),
            rule("two/wirte", Changes { concurrency: Some(1), ..Changes::default() }),
        ],
        ..Rules::default()
    };
    let curation = curation(&[chosen, Selections::default()], &rules).expect("it changes something");
    let read = json!({ "name": "read", "inputSchema": { "properties": { "path": {} } } });

    let merged = merged(ListKind::Tools, Naming::OnCollision, &[vec![read], tools(&["write"])], Some(&curation));

    let missing: Vec<_> = curation
        .watched()
        .iter()
        .enumerate()
        .filter(|(number, watched)| !watched.is_idle && !merged.marks().has(*number))
        .map(|(_, watched)| (watched.path.as_str(), watched.text.as_str(), watched.server.map(|server| server.0)))
        .collect();
    assert_eq!(
        missing,
        [
            ("spec.servers[0].tools.include[1]", "raed", Some(0)),
            ("spec.servers[0].tools.exclude[0]", "x*", Some(0)),
            ("spec.servers[0].resources.exclude[0]", "file:*", Some(0)),
            ("spec.tools[0].arguments.paht", "paht", Some(0)),
            ("spec.tools[1].match.name", "wirte", Some(1)),
        ]
    );
}

#[test]
fn a_rule_for_one_version_is_for_it_alone() {
    let (member, server) = (name("one"), name("one-v2"));
    let selections = Selections::default();
    let of = |version: &str| {
        let subject = Subject { member: Some(name("one")), version: Some(name(version)), pattern: pattern("a") };
        let rules = Rules { tools: vec![Rule { subject, changes: rename("b") }], ..Rules::default() };
        let member = Member { name: &member, server: &server, selections: &selections };
        let curation = Curation::compile(&[member], &rules).expect("it changes something");
        let merged = merged(ListKind::Tools, Naming::Bare, &[tools(&["a"])], Some(&curation));
        (exposed(&merged), curation.watched()[0].is_elsewhere)
    };
    assert_eq!(of("one-v2"), (vec!["b=one/a".to_owned()], false));
    assert_eq!(of("one-v1"), (vec!["a=one/a".to_owned()], true));
}

fn search(listed: Listed) -> Rules {
    Rules { search: Some(Search { listed, results_max: 5 }), ..Rules::default() }
}

#[test]
fn a_toolset_with_a_search_lists_what_is_pinned_and_knows_the_rest() {
    let rules = search(Listed::Pinned(vec![pattern("re*")]));
    let curation = curation(&[Selections::default(), Selections::default()], &rules);
    let servers = [tools(&["write", "read", "find_tools"]), tools(&["remove", "send"])];

    let merged = merged(ListKind::Tools, Naming::OnCollision, &servers, curation.as_deref());

    let all = [
        "find_tools=ours/find_tools",
        "read=one/read",
        "remove=two/remove",
        "write=one/write",
        "one_find_tools=one/find_tools",
        "send=two/send",
    ];
    assert_eq!((exposed(&merged), merged.listed()), (all.map(str::to_owned).to_vec(), 3));
    assert!(matches!(merged.resolve("send"), Resolution::Found(entry) if entry.server == ServerIndex(1)));
    let query = find::Query::read(
        Some(r#"{"query":"send it"}"#),
        curation.as_deref().and_then(Curation::search).expect("it has one"),
    );
    assert_eq!(query.expect("a query").run(&merged, |_| true), [5]);
}

/// The names on all pages of a list, as one session sees it.
fn pages(merged: &Merged, found: &[&str], page_items_max: usize) -> Vec<String> {
    let shown = merged.shown(found.iter().copied());
    let config = Config { page_items_max, ..DEFAULTS };
    let (mut names, mut position) = (Vec::new(), None);
    loop {
        let window = shown.window(position, &config).expect("a position of this list");
        let envelope = Envelope { id: &Id::from(1), era: Era::Legacy, now: NOW, next_cursor: None, meta: None };
        let answer: Value = serde_json::from_slice(&shown.answer(&window, &envelope)).expect("valid JSON");
        let page = answer["result"]["tools"].as_array().expect("a list");
        names.extend(page.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()));
        position = window.next;
        if position.is_none() {
            return names;
        }
    }
}

#[test]
fn a_session_is_shown_what_it_found_behind_what_everybody_is() {
    let curation = curation(&[Selections::default()], &search(Listed::Pinned(vec![pattern("a")])));
    let merged = merged(ListKind::Tools, Naming::Bare, &[tools(&["a", "b", "c", "d"])], curation.as_deref());
    for page_items_max in 1..5 {
        assert_eq!(pages(&merged, &[], page_items_max), ["find_tools", "a"]);
        assert_eq!(pages(&merged, &["d", "b", "gone", "a"], page_items_max), ["find_tools", "a", "b", "d"]);
    }
    let (none, one) = (merged.shown([]), merged.shown(["b"]));
    let config = Config { page_items_max: 1, ..DEFAULTS };
    let next = none.window(None, &config).expect("a page").next;
    assert!(one.window(next, &config).is_err(), "what was found since makes another list");
}

#[test]
fn find_tools_returns_definitions_within_its_bounds() {
    let large = "x".repeat(200 << 10);
    let items = vec![
        json!({ "name": "mail_a", "description": large }),
        json!({ "name": "mail_b", "description": large }),
        json!({ "name": "mail_c", "description": "small" }),
    ];
    let rules = search(Listed::All);
    let curation = curation(&[Selections::default()], &rules).expect("it has a search");
    let merged = merged(ListKind::Tools, Naming::Bare, &[items], Some(&curation));
    let query =
        find::Query::read(Some(r#"{"query":"mail"}"#), curation.search().expect("it has one")).expect("a query");
    let found = query.run(&merged, |_| true);
    assert_eq!(found.len(), 3);

    let result: Value = serde_json::from_str(&find::result(&merged, &found, Era::Modern)).expect("valid JSON");

    let content = &result["structuredContent"];
    let names: Vec<_> = content["tools"].as_array().expect("a list").iter().map(|tool| &tool["name"]).collect();
    assert_eq!((names.len(), &content["omitted"], &result["resultType"]), (2, &json!(1), &json!("complete")));
    assert!(names.contains(&&json!("mail_c")));
    let text = result["content"][0]["text"].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(text).expect("valid JSON"), *content);
    assert_eq!(merged.listed(), 4, "everything is listed, ours first");
    let ours: Value = serde_json::from_slice(&merged.definition(&merged.entries()[0])).expect("valid JSON");
    assert_eq!(
        (&ours["name"], &ours["inputSchema"]["properties"]["limit"]["maximum"]),
        (&json!("find_tools"), &json!(5))
    );
}

#[test]
fn a_query_that_says_nothing_is_refused_with_what_is_allowed() {
    let search = Search { listed: Listed::All, results_max: 5 };
    let long = format!(r#"{{"query":"{}"}}"#, "x".repeat(search::QUERY_CHARS_MAX + 1));
    for (arguments, expected) in [
        (None, find::InvalidQuery::Text),
        (Some("{}"), find::InvalidQuery::Text),
        (Some(r#"{"query":" "}"#), find::InvalidQuery::Text),
        (Some(r#"{"query":1}"#), find::InvalidQuery::Text),
        (Some(long.as_str()), find::InvalidQuery::Text),
        (Some(r#"{"query":"a","limit":0}"#), find::InvalidQuery::Limit { max: 5 }),
        (Some(r#"{"query":"a","limit":6}"#), find::InvalidQuery::Limit { max: 5 }),
        (Some(r#"{"query":"a","limit":1.5}"#), find::InvalidQuery::Limit { max: 5 }),
        (Some(r#"{"query":"a","more":1}"#), find::InvalidQuery::Arguments),
        (Some(r#"{"query":"a","query":"b"}"#), find::InvalidQuery::Arguments),
        (Some("[]"), find::InvalidQuery::Arguments),
    ] {
        assert_eq!(find::Query::read(arguments, &search), Err(expected), "{arguments:?}");
    }
    assert!(find::Query::read(Some(r#"{"query":"a","limit":5}"#), &search).is_ok());
    let longest = format!(r#"{{"query":"{}"}}"#, "é".repeat(search::QUERY_CHARS_MAX));
    assert!(find::Query::read(Some(&longest), &search).is_ok(), "the schema counts characters");
}

#[test]
fn an_exclusion_that_is_spelled_in_another_way_than_what_it_excludes_has_matched() {
    let resources = selection(&["*"], &["file:///my%20secret/*", "file:///other/*"]);
    let curation = curation(&[Selections { resources, ..Selections::default() }], &Rules::default());
    let servers = [vec![json!({ "uri": "file:///my secret/key", "name": "n" })]];

    let merged = merged(ListKind::Resources, Naming::Bare, &servers, curation.as_deref());

    let marked = |path: &str| {
        let watched = curation.as_ref().expect("it excludes something").watched();
        merged.marks().has(watched.iter().position(|watched| watched.path == path).expect("it is watched"))
    };
    assert_eq!((merged.excluded(), merged.entries().len()), (1, 0));
    assert!(marked("spec.servers[0].resources.exclude[0]") && !marked("spec.servers[0].resources.exclude[1]"));
}

#[test]
fn a_uri_that_is_not_chosen_leads_nowhere() {
    let resources =
        Selections { resources: selection(&["file:///a/*", "db://*"], &["db://secret"]), ..Selections::default() };
    let curation = curation(&[resources, Selections::default()], &Rules::default());
    let uri = |uri: &str| json!({ "uri": uri, "name": "n" });
    let servers = [vec![uri("file:///a/1"), uri("file:///b/1"), uri("db://secret")], vec![uri("web://x")]];
    let template = json!({ "uriTemplate": "db://{table}", "name": "t" });
    let of = |kind, servers: &[Vec<Value>]| Arc::new(merged(kind, Naming::OnCollision, servers, curation.as_deref()));
    let resources = of(ListKind::Resources, &servers);
    let templates = of(ListKind::ResourceTemplates, &[vec![template], vec![]]);
    assert_eq!(exposed(&resources), ["file:///a/1=one/file:///a/1", "web://x=two/web://x"]);
    let names = [(ServerIndex(0), name("one")), (ServerIndex(1), name("two"))];
    let router = Router::new(Naming::OnCollision, &names, resources, templates).curated(curation.clone());

    let to = |server, uri| Ok(Route::To { server: ServerIndex(server), uri });
    assert_eq!(router.route("file:///a/1"), to(0, "file:///a/1"));
    assert_eq!(router.route("db://users"), to(0, "db://users"));
    assert_eq!(router.route("quorate://one/file:///a/2"), to(0, "file:///a/2"));
    for secret in
        ["db://secret", "db://Secret", "db://%73ecret", "quorate://one/db://secret", "quorate://one/file:///a/../b"]
    {
        let route = router.route(secret).expect("it is short enough");
        let leads = match route {
            Route::To { server, .. } => vec![server],
            Route::Ask(servers) => servers,
            Route::Ambiguous { .. } => panic!("{secret} is nobody's"),
        };
        assert!(!leads.contains(&ServerIndex(0)), "{secret} leads to {leads:?}");
    }
    assert_eq!(router.route("file:///b/1"), to(1, "file:///b/1"), "who may have it is asked");
}

#[test]
fn a_resource_has_the_tags_of_each_way_to_read_its_uri() {
    let tagged = |uri: &str, tag: &str| rule(uri, Changes { tags: vec![tag.to_owned()], ..Changes::default() });
    let resources = vec![tagged("one/file:///secret/*", "secret"), tagged("one/file:///my%20notes/*", "mine")];
    let rules = Rules { resources, ..Rules::default() };
    let curation = curation(&[Selections::default()], &rules).expect("it tags");
    for (uri, own, touching) in [
        ("file:///secret/a", vec!["secret"], vec!["secret"]),
        ("file:///%73ecret/a", vec![], vec!["secret"]),
        ("file:////secret/a", vec![], vec!["secret"]),
        ("FILE:///secret/a", vec![], vec!["secret"]),
        ("file:///my notes/a", vec![], vec!["mine"]),
        ("file:///public/a", vec![], vec![]),
    ] {
        assert_eq!(curation.tags(ListKind::Resources, ServerIndex(0), uri), own, "{uri}");
        let spelled = Spelled::of(uri).expect("it leads somewhere");
        assert_eq!(curation.tags_touching(ServerIndex(0), &spelled), touching, "{uri}");
    }
}

const KINDS: [ListKind; 2] = [ListKind::Tools, ListKind::Prompts];
const NAMINGS: [Naming; 3] = [Naming::Bare, Naming::Prefix, Naming::OnCollision];

proptest! {
    #[test]
    fn curation_never_yields_two_things_of_one_name_and_every_name_leads_back(
        servers in prop::collection::vec(prop::collection::vec("[ab_]{1,4}", 0..6), 1..=3),
        rules in prop::collection::vec(("[ab*]{1,3}", "[ab_*]{1,4}"), 0..4),
        exclude in prop::collection::vec("[ab*]{1,2}", 0..2),
        pinned in proptest::option::of("[ab*]{1,2}"),
    ) {
        let renames = rules.iter().filter_map(|(from, to)| {
            let (from, to) = (Pattern::parse(from).ok()?, Renaming::parse(to).ok()?);
            let changes = Changes { rename: Some(to), ..Changes::default() };
            Some(Rule { subject: Subject { member: None, version: None, pattern: from }, changes })
        });
        let renames: Vec<Rule> = renames.collect();
        let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
        let chosen = Selections { tools: selection(&["*"], &exclude), ..Selections::default() };
        let search = pinned.map(|text| Search { listed: Listed::Pinned(vec![pattern(&text)]), results_max: 3 });
        let rules = Rules { tools: renames.clone(), prompts: renames, search, ..Rules::default() };
        let curation = curation(&[chosen.clone(), Selections::default(), Selections::default()], &rules);
        let lists: Vec<Vec<Value>> =
            servers.iter().map(|names| names.iter().map(|name| json!({ "name": name })).collect()).collect();

        for (kind, naming) in KINDS.into_iter().flat_map(|kind| NAMINGS.map(|naming| (kind, naming))) {
            let merged = merged(kind, naming, &lists, curation.as_deref());
            let mut names = HashSet::new();
            for entry in merged.entries() {
                prop_assert!(names.insert(&entry.exposed), "{} is exposed twice", entry.exposed);
                let Resolution::Found(found) = merged.resolve(&entry.exposed) else {
                    panic!("{} leads nowhere", entry.exposed)
                };
                prop_assert_eq!((found.server, &found.upstream), (entry.server, &entry.upstream));
                let definition: Value = serde_json::from_slice(&merged.definition(entry)).expect("valid JSON");
                prop_assert_eq!(definition["name"].as_str(), Some(&*entry.exposed));
                let listed = servers.get(usize::from(entry.server.0));
                prop_assert!(listed.is_none_or(|names| names.iter().any(|name| **name == *entry.upstream)));
                if kind == ListKind::Tools && entry.server == ServerIndex(0) {
                    prop_assert!(chosen.tools.has(&entry.upstream), "{} is not chosen", entry.upstream);
                }
            }
        }
    }
}
