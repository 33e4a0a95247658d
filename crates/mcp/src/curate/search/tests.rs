//! Whether a query finds what a person would mean by it, and the bounds.

use proptest::prelude::*;

use super::*;

/// Tools of different servers: name, description, tags, arguments.
const TOOLS: [(&str, &str, &[&str], &[&str]); 8] = [
    ("create_issue", "Opens an issue in a repository.", &["tracker"], &["title", "body", "labels"]),
    ("list_issues", "Lists the issues of a repository, newest first.", &["tracker"], &["state", "page"]),
    ("search_code", "Searches the code of all repositories for a text.", &[], &["query", "language"]),
    ("read_file", "Returns the contents of a file.", &["files"], &["path"]),
    ("write_file", "Writes a file, and makes its folder where it is missing.", &["files"], &["path", "contents"]),
    ("sendEmail", "Sends a message to one or more people.", &["mail"], &["to", "subject", "body"]),
    ("get_weather", "The weather of a city, now and in the next days.", &[], &["city", "days"]),
    ("天気予報", "都市の天気を調べます。", &[], &["都市"]),
];

fn index() -> Index {
    let mut builder = Builder::default();
    for (name, description, tags, arguments) in TOOLS {
        let described = Described { name, title: "", description };
        builder.add(described, tags.iter().copied(), arguments.iter().copied());
    }
    builder.build()
}

fn found(query: &str) -> Vec<&'static str> {
    index().search(query, 3, |_| true).into_iter().map(|place| TOOLS[place].0).collect()
}

#[test]
fn the_tool_that_is_meant_comes_first() {
    for (query, expected) in [
        ("open a new issue", "create_issue"),
        ("issues", "create_issue"),
        ("which issues are there: list", "list_issues"),
        ("search repository code", "search_code"),
        ("write something to a file", "write_file"),
        ("email", "sendEmail"),
        ("send mail", "sendEmail"),
        ("wea", "get_weather"),
        ("WEATHER in a city", "get_weather"),
        ("天気", "天気予報"),
        ("read file contents", "read_file"),
    ] {
        assert_eq!(found(query).first(), Some(&expected), "{query}: {:?}", found(query));
    }
}

#[test]
fn words_of_every_field_count_and_names_most() {
    assert_eq!(found("labels"), ["create_issue"]);
    assert_eq!(found("tracker").len(), 2);
    // `body` is an argument of two tools; that it is rare does not make it worth a name.
    assert_eq!(found("body of an email")[0], "sendEmail");
    assert_eq!(found("to"), ["sendEmail"], "a filler counts where there is nothing else");
}

#[test]
fn what_nobody_has_finds_nothing_and_short_beginnings_do_not_either() {
    for query in ["", "   ", "zzz", "w", "we", "?!"] {
        assert_eq!(found(query), [""; 0], "{query}");
    }
    assert!(Index::default().search("file", 5, |_| true).is_empty());
    let mut nothing = Builder::default();
    nothing.add_nothing();
    assert!(nothing.build().search("file", 5, |_| true).is_empty());
}

#[test]
fn results_are_as_many_as_asked_for_and_of_equals_the_earlier_comes_first() {
    let mut builder = Builder::default();
    for _ in 0..50 {
        builder.add(Described { name: "same", ..Described::default() }, [].into_iter(), [].into_iter());
    }
    assert_eq!(builder.build().search("same", 5, |_| true), [0, 1, 2, 3, 4]);
}

#[test]
fn a_hostile_description_costs_no_more_than_its_bound() {
    let long = (0..100_000).map(|word| format!("w{word} ")).collect::<String>();
    let mut builder = Builder::default();
    builder.add(Described { name: "a", title: "", description: &long }, [].into_iter(), [].into_iter());
    let index = builder.build();
    assert!(index.bytes() < 64 << 10, "{}", index.bytes());
    assert_eq!(index.search("w1", 5, |_| true), [0]);
    assert!(index.search("w99999", 5, |_| true).is_empty(), "beyond the words that count");
}

proptest! {
    #[test]
    fn any_query_over_any_tools_finds_each_at_most_once(
        tools in prop::collection::vec(("\\PC{0,12}", "\\PC{0,40}"), 0..12),
        query in "\\PC{0,40}",
        max in 0usize..8,
    ) {
        let mut builder = Builder::default();
        for (name, description) in &tools {
            builder.add(Described { name, title: "", description }, [].into_iter(), [].into_iter());
        }
        let index = builder.build();
        let found = index.search(&query, max, |_| true);
        prop_assert!(found.len() <= max && found.iter().all(|place| *place < tools.len()));
        let mut unique = found.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), found.len());
        prop_assert_eq!(index.search(&query, max, |_| true), found);
    }

    #[test]
    fn a_tool_is_found_by_a_word_of_its_name(
        names in prop::collection::vec("[a-z]{4,8}", 1..20), which in any::<prop::sample::Index>(),
    ) {
        let mut builder = Builder::default();
        for name in &names {
            builder.add(Described { name, ..Described::default() }, [].into_iter(), [].into_iter());
        }
        let asked = &names[which.index(names.len())];
        let found = builder.build().search(asked, names.len(), |_| true);
        prop_assert!(found.iter().any(|place| &names[*place] == asked));
    }
}
