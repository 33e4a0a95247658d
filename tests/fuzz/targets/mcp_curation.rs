//! Curated lists: whatever servers define and rules say, exposed definitions are valid JSON under names that are there
//! once and lead back, what is withheld shows nowhere and is in no call unless its value is fixed, and any search ends.
//! Input: patterns that are chosen, patterns that are not, a rule's pattern and its new name (each by spaces), its fixed
//! and its hidden arguments, a query, the arguments of a call; then the page of one server.
#![no_main]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Limits, pick, quote};
use quorate_mcp::curate::{
    ArgumentChange, Changes, Curation, Listed, Member, Pattern, Place, Renaming, Rule, Rules, Search, Selection,
    Selections, Subject, Terms, find,
};
use quorate_mcp::listing::{self, Collector, Config, Merge, Merged, Resolution, ServerIndex, Source};
use quorate_mcp::naming::Naming;
use quorate_mcp::{Era, ListKind};
use quorate_types::{ResourceName, Timestamp};
use serde_json::Value;

/// Small bounds, so that an input of the fuzzer can reach them.
const CONFIG: Config = Config { items_max: 20, pages_max: 4, ..listing::DEFAULTS };
/// What no server has by chance.
const FIXED: &str = "\"fixed by the toolset\"";

fuzz_target!(|input: &str| {
    let mut lines = input.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (include, exclude, rename, fixed, hidden) = (line(), line(), line(), line(), line());
    let (query, call, page) = (line(), line(), line());
    let names = [ResourceName::new("one").expect("a plain name")];
    let choice = Selection { include: patterns(include), exclude: patterns(exclude) };
    let selections = Selections { tools: choice.clone(), prompts: choice.clone(), resources: choice };
    let rules = rules(rename, fixed, hidden);
    let member = Member { name: &names[0], server: &names[0], selections: &selections };
    let Some(curation) = Curation::compile(&[member], &rules) else { return };
    for kind in ListKind::ALL {
        let Some(source) = source(kind, &names[0], page) else { continue };
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let merged = listing::merge(&Merge {
                kind,
                naming,
                sources: std::slice::from_ref(&source),
                fresh_until_max: Timestamp::from_millis(u64::MAX),
                router: None,
                curation: Some(&curation),
                is_private: false,
            });
            check(kind, &merged, &rules, call);
            search(&merged, curation.search().expect("the rules have one"), query);
        }
    }
});

fn patterns(line: &str) -> Vec<Pattern> {
    line.split_whitespace().filter_map(|text| Pattern::parse(text).ok()).collect()
}

fn rules(rename: &str, fixed: &str, hidden: &str) -> Rules {
    let mut words = rename.split_whitespace();
    let pattern = words.next().and_then(|text| Pattern::parse(text).ok()).unwrap_or_else(Pattern::everything);
    let rename = words.next().and_then(|text| Renaming::parse(text).ok());
    let mut arguments = BTreeMap::new();
    arguments.extend(hidden.split_whitespace().map(|name| (name.to_owned(), ArgumentChange::Hide)));
    let fix = |name: &str| (name.to_owned(), ArgumentChange::Fix(FIXED.to_owned()));
    arguments.extend(fixed.split_whitespace().map(fix));
    let changes = Changes { rename, arguments, tags: vec!["t\"".to_owned()], ..Changes::default() };
    let rule = Rule { subject: Subject { member: None, version: None, pattern: pattern.clone() }, changes };
    let search = Search { listed: Listed::Pinned(vec![pattern]), results_max: 3 };
    Rules { tools: vec![rule.clone()], prompts: vec![rule], search: Some(search), ..Rules::default() }
}

fn source(kind: ListKind, name: &ResourceName, page: &str) -> Option<Source> {
    // Results reach the collector as parts of a frame, which has been checked.
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{page}}}"#);
    let result = Frame::parse(Bytes::from(frame), &Limits::ANSWER).ok()?.result()?;
    let mut collector = Collector::new(kind, &CONFIG);
    collector.push(Timestamp::from_millis(1), &result).ok()?;
    Some(Source { server: ServerIndex(0), name: name.clone(), list: Arc::new(collector.finish()) })
}

fn check(kind: ListKind, merged: &Merged, rules: &Rules, call: &str) {
    let mut names = HashSet::new();
    for entry in merged.entries() {
        assert!(names.insert(&entry.exposed), "{} is exposed twice", entry.exposed);
        let Resolution::Found(found) = merged.resolve(&entry.exposed) else {
            panic!("{} leads nowhere", entry.exposed)
        };
        assert_eq!((found.server, &found.upstream), (entry.server, &entry.upstream));
        // Numbers that no float holds are no matter of ours.
        let Ok(definition) = serde_json::from_slice::<Value>(&merged.definition(entry)) else { continue };
        let Some(terms) = &entry.terms else { continue };
        for (name, _) in terms.withheld() {
            assert!(!shows(kind, &definition, name), "{name} shows in {definition}");
        }
        applied(terms, rules, &entry.upstream, call);
    }
}

/// Whether a definition has the argument `name`, where definitions of its kind have theirs.
fn shows(kind: ListKind, definition: &Value, name: &str) -> bool {
    let lists = |list: &Value, is_it: &dyn Fn(&Value) -> bool| list.as_array().is_some_and(|all| all.iter().any(is_it));
    match kind {
        ListKind::Tools => {
            let schema = &definition["inputSchema"];
            schema["properties"].get(name).is_some() || lists(&schema["required"], &|one| one == name)
        }
        ListKind::Prompts => lists(&definition["arguments"], &|one| one["name"] == name),
        ListKind::Resources | ListKind::ResourceTemplates => false,
    }
}

/// A call under terms: refused, or with every fixed argument and no hidden one.
fn applied(terms: &Terms, rules: &Rules, upstream: &str, call: &str) {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"exposed","arguments":{call}}}}}"#);
    let Ok(frame) = Frame::parse(Bytes::from(text), &Limits::REQUEST) else { return };
    let params = frame.params_span().expect("the frame has parameters");
    let Ok([Some(name), arguments]) = pick(frame.text_of(params), params.start, ["name", "arguments"]) else { return };
    let arguments = arguments.filter(|span| frame.text_of(*span).starts_with('{'));
    let Ok(sent) = terms.apply(&frame, Place { name, arguments }, upstream) else { return };
    let params = sent.text_of(sent.params_span().expect("the frame has parameters"));
    let [sent_name, sent_arguments] = pick(params, 0, ["name", "arguments"]).expect("an object");
    assert_eq!(sent_name.expect("it has a name").of(params), quote(upstream));
    let sent = sent_arguments.map_or("{}", |span| span.of(params));
    for (name, has_value) in terms.withheld() {
        let [value] = pick(sent, 0, [name]).expect("it is there once");
        assert_eq!(value.map(|span| span.of(sent)), has_value.then_some(FIXED), "{name}");
        let change = rules.tools[0].changes.arguments.get(name).expect("a rule withholds it");
        assert_eq!(matches!(change, ArgumentChange::Fix(_)) || !has_value, true);
    }
}

fn search(merged: &Merged, search: &Search, query: &str) {
    let arguments = format!("{{\"query\":{}}}", quote(query));
    let Ok(query) = find::Query::read(Some(&arguments), search) else { return };
    let found = query.run(merged, |_| true);
    assert!(found.len() <= search.results_max);
    let result = find::result(merged, &found, Era::Modern);
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    Frame::parse(Bytes::from(frame), &Limits::ANSWER).expect("a result of ours is a result");
}
