//! Lists of backends: whatever the pages hold, the merged list is valid JSON, its names are unique and lead back to
//! their servers, and its pages hold each item once. Input: the pages of two servers, one per line, an empty line
//! between the servers.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Id, Limits, elements, pick_exact};
use quorate_mcp::listing::{
    self, Collector, Config, Envelope, Merge, Merged, Progress, Resolution, ServerIndex, ServerList, Source,
};
use quorate_mcp::naming::Naming;
use quorate_mcp::{Era, ListKind};
use quorate_types::{ResourceName, Timestamp};

/// Small bounds, so that an input of the fuzzer can reach them.
const CONFIG: Config = Config { items_max: 20, pages_max: 4, page_items_max: 3, ..listing::DEFAULTS };

fuzz_target!(|input: &str| {
    let (first, second) = input.split_once("\n\n").unwrap_or((input, ""));
    for kind in ListKind::ALL {
        let lists: Vec<Source> = [("one", first), ("two", second)]
            .iter()
            .enumerate()
            .filter_map(|(index, (name, pages))| source(kind, index, name, pages))
            .collect();
        for naming in [Naming::Bare, Naming::Prefix, Naming::OnCollision] {
            let merge = Merge {
                kind,
                naming,
                sources: &lists,
                fresh_until_max: Timestamp::from_millis(u64::MAX),
                router: None,
                curation: None,
                is_private: false,
            };
            check(&listing::merge(&merge));
        }
    }
});

/// One server's list; `None` when the server is refused.
fn source(kind: ListKind, index: usize, name: &str, pages: &str) -> Option<Source> {
    let list = collect(kind, pages)?;
    let server = ServerIndex(u16::try_from(index).expect("there are two servers"));
    Some(Source { server, name: ResourceName::new(name).expect("a plain name"), list: Arc::new(list) })
}

fn collect(kind: ListKind, pages: &str) -> Option<ServerList> {
    let mut collector = Collector::new(kind, &CONFIG);
    for page in pages.lines() {
        // Results reach the collector as parts of a frame, which has been checked.
        let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{page}}}"#);
        let result = Frame::parse(Bytes::from(frame), &Limits::ANSWER).ok()?.result()?;
        if collector.push(Timestamp::from_millis(1), &result).ok()? == Progress::Done {
            break;
        }
    }
    Some(collector.finish())
}

fn check(merged: &Merged) {
    let mut names = HashSet::new();
    for entry in merged.entries() {
        assert!(names.insert(&entry.exposed), "{} is exposed twice", entry.exposed);
        match merged.resolve(&entry.exposed) {
            Resolution::Found(found) => assert_eq!((found.server, &found.upstream), (entry.server, &entry.upstream)),
            other => panic!("{} leads to {other:?}", entry.exposed),
        }
    }

    let mut position = None;
    let mut items = 0;
    loop {
        let window = merged.window(position, &CONFIG).expect("a position of this list is in it");
        assert!(window.items.len() <= CONFIG.page_items_max);
        let now = Timestamp::from_millis(1);
        let envelope = Envelope { id: &Id::from(1), era: Era::Modern, now, next_cursor: Some("c"), meta: None };
        items += count(merged, &merged.answer(&window, &envelope));
        position = window.next;
        if position.is_none() {
            break;
        }
    }
    assert_eq!(items, merged.entries().len());
}

/// The items of one page, counted in its text.
fn count(merged: &Merged, answer: &Bytes) -> usize {
    let frame = Frame::parse(answer.clone(), &Limits::ANSWER).expect("a page is a frame");
    let result = frame.result_span().expect("a page is a result");
    let [items] =
        pick_exact(frame.text_of(result), result.start, [merged.kind().result_key()]).expect("a result is an object");
    let items = items.expect("a page has its items");
    let mut count = 0;
    elements(frame.text_of(items), items.start, |_| count += 1).expect("items are an array");
    count
}
