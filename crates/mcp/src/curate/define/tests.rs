//! Definitions before and after, byte for byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// A treatment of arguments alone.
fn arguments(changes: &BTreeMap<String, ArgumentChange>) -> Treatment<'_> {
    let treated = changes.iter().enumerate().map(|(watched, (name, change))| Treated { name, change, watched });
    Treatment { arguments: treated.collect(), ..Treatment::default() }
}

fn changes(list: &[(&str, ArgumentChange)]) -> BTreeMap<String, ArgumentChange> {
    list.iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect()
}

fn fix(value: &str) -> ArgumentChange {
    ArgumentChange::Fix(value.to_owned())
}

fn defined(kind: ListKind, raw: &str, treatment: &Treatment<'_>) -> Result<(String, Terms), Unusable> {
    let bytes = Bytes::copy_from_slice(raw.as_bytes());
    let mut splice = Splice::new(&bytes);
    let defined = define(&mut splice, raw, kind, treatment)?;
    Ok((String::from_utf8(splice.finish().to_vec()).expect("text"), defined.terms))
}

fn text(kind: ListKind, raw: &str, treatment: &Treatment<'_>) -> Result<String, Unusable> {
    defined(kind, raw, treatment).map(|(text, _)| text)
}

#[test]
fn texts_tags_and_annotations_are_set_where_they_are_or_at_the_end() {
    let treatment = Treatment {
        title: Some("New \"title\""),
        description: Some("New."),
        tags: vec!["a", "b"],
        annotations: vec![("readOnlyHint", "true"), ("destructiveHint", "false")],
        ..Treatment::default()
    };
    for (raw, expected) in [
        (
            r#"{"name":"t"}"#,
            r#"{"name":"t","title":"New \"title\"","description":"New.","annotations":{"readOnlyHint":true,"destructiveHint":false},"_meta":{"quorate/tags":["a","b"]}}"#,
        ),
        (
            r#"{"title":"Old", "x" : 1.0,"description":"Old.","_meta":{"k":1},"annotations":{"title":"Old","readOnlyHint":false},"name":"t"}"#,
            r#"{"title":"New \"title\"", "x" : 1.0,"description":"New.","_meta":{"quorate/tags":["a","b"],"k":1},"annotations":{"destructiveHint":false,"title":"New \"title\"","readOnlyHint":true},"name":"t"}"#,
        ),
        (
            r#"{"name":"t","_meta":{"quorate/tags":["theirs"]},"title":1}"#,
            r#"{"name":"t","_meta":{"quorate/tags":["a","b"]},"title":"New \"title\"","description":"New.","annotations":{"readOnlyHint":true,"destructiveHint":false}}"#,
        ),
        // What a server writes as null it does not have.
        (
            r#"{"title":null,"annotations":null,"_meta":null,"description":null,"name":"t"}"#,
            r#"{"title":"New \"title\"","annotations":{"readOnlyHint":true,"destructiveHint":false},"_meta":{"quorate/tags":["a","b"]},"description":"New.","name":"t"}"#,
        ),
    ] {
        assert_eq!(text(ListKind::Tools, raw, &treatment).as_deref(), Ok(expected));
    }
}

#[test]
fn withheld_arguments_leave_the_schema_and_the_list_of_required_ones() {
    let changes = changes(&[
        ("tenant", fix("\"acme\"")),
        ("debug", ArgumentChange::Hide),
        ("q", ArgumentChange::Describe("What.".to_owned())),
        ("any", ArgumentChange::Describe("Any.".to_owned())),
        ("elsewhere", fix("1")),
    ]);
    let raw = r#"{"name":"t","inputSchema":{"type":"object","properties":{"tenant":{"type":"string"}, "q":{"type":"string","description":"?"},"debug":{},"any":true,"n":{"minimum":1.50}},"required":["tenant" , "q"],"x-more":{"tenant":1}}}"#;

    let (text, terms) = defined(ListKind::Tools, raw, &arguments(&changes)).expect("it can be changed");

    let expected = r#"{"name":"t","inputSchema":{"type":"object","properties":{"q":{"type":"string","description":"What."},"any":{"description":"Any."},"n":{"minimum":1.50}},"required":["q"],"x-more":{"tenant":1}}}"#;
    assert_eq!(text, expected);
    let withheld: Vec<_> = terms.withheld().collect();
    assert_eq!(withheld, [("debug", false), ("elsewhere", false), ("tenant", true)], "what is not there is not sent");
}

#[test]
fn arguments_of_prompts_leave_their_list() {
    let changes = changes(&[
        ("style", fix("\"short\"")),
        ("seed", ArgumentChange::Hide),
        ("topic", ArgumentChange::Describe("Of what.".to_owned())),
    ]);
    let raw = r#"{"name":"p","arguments":[{"name":"style","required":true},{"name":"topic"},{"name":"seed","required":false}]}"#;

    let (text, terms) = defined(ListKind::Prompts, raw, &arguments(&changes)).expect("it can be changed");

    assert_eq!(text, r#"{"name":"p","arguments":[{"name":"topic","description":"Of what."}]}"#);
    assert_eq!(terms.withheld().collect::<Vec<_>>(), [("seed", false), ("style", true)]);
}

#[test]
fn a_definition_that_cannot_be_changed_is_not_exposed() {
    let hidden = changes(&[("key", ArgumentChange::Hide)]);
    let fixed = changes(&[("key", fix("1"))]);
    let described = changes(&[("key", ArgumentChange::Describe("x".to_owned()))]);
    let title = Treatment { title: Some("x"), ..Treatment::default() };
    let tags = Treatment { tags: vec!["x"], ..Treatment::default() };
    let required = r#"{"name":"t","inputSchema":{"properties":{"key":{}},"required":["key"]}}"#;
    for (kind, raw, treatment, expected) in [
        (ListKind::Tools, required, arguments(&hidden), Unusable::RequiredHidden),
        // Required without being a property is required all the same.
        (
            ListKind::Tools,
            r#"{"name":"t","inputSchema":{"required":["key"]}}"#,
            arguments(&hidden),
            Unusable::RequiredHidden,
        ),
        (
            ListKind::Prompts,
            r#"{"name":"p","arguments":[{"name":"key","required":true}]}"#,
            arguments(&hidden),
            Unusable::RequiredHidden,
        ),
        (ListKind::Tools, r#"{"name":"t","title":"a","title":"b"}"#, title.clone(), Unusable::Definition),
        (ListKind::Tools, r#"{"name":"t","_meta":[]}"#, tags.clone(), Unusable::Definition),
        (ListKind::Tools, r#"{"name":"t","inputSchema":[]}"#, arguments(&fixed), Unusable::Definition),
        (ListKind::Tools, r#"{"name":"t","inputSchema":{"properties":1}}"#, arguments(&fixed), Unusable::Definition),
        (
            ListKind::Tools,
            r#"{"name":"t","inputSchema":{"properties":{},"properties":{"key":{}}}}"#,
            arguments(&fixed),
            Unusable::Definition,
        ),
        (
            ListKind::Tools,
            r#"{"name":"t","inputSchema":{"properties":{"key":"any"}}}"#,
            arguments(&described),
            Unusable::Definition,
        ),
    ] {
        assert_eq!(text(kind, raw, &treatment), Err(expected), "{raw}");
    }
    assert!(text(ListKind::Tools, required, &arguments(&fixed)).is_ok());
}

#[test]
fn headers_of_withheld_arguments_go_to_the_server_alone() {
    let changes = changes(&[("region", fix("\"eu\"")), ("debug", ArgumentChange::Hide)]);
    let raw = r#"{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"debug":{"type":"boolean","x-mcp-header":"Debug"},"q":{"type":"string","x-mcp-header":"Q"}}}}"#;

    let (text, terms) = defined(ListKind::Tools, raw, &arguments(&changes)).expect("it can be changed");

    assert!(text.contains(r#""x-mcp-header":"Q""#) && !text.contains("Region") && !text.contains("Debug"), "{text}");
    let header = |name: &'static str| http::HeaderName::from_static(name);
    assert!(terms.withholds_header(&header("mcp-param-region")) && terms.withholds_header(&header("mcp-param-debug")));
    assert!(!terms.withholds_header(&header("mcp-param-q")));
    assert_eq!(terms.headers(), [(header("mcp-param-region"), http::HeaderValue::from_static("eu"))]);
}

proptest! {
    #[test]
    fn what_is_hidden_or_fixed_never_shows_and_everything_else_stays(
        properties in prop::collection::btree_map("[a-f]", 0u8..9, 0..6),
        required in prop::collection::btree_set("[a-f]", 0..4),
        withheld in prop::collection::btree_set("[a-f]", 0..4),
        pretty: bool,
    ) {
        let properties: Map<String, Value> =
            properties.into_iter().map(|(name, minimum)| (name, json!({ "minimum": minimum }))).collect();
        let tool = json!({ "name": "t", "inputSchema": { "properties": properties, "required": required }, "more": [1, 2] });
        let raw = if pretty { serde_json::to_string_pretty(&tool) } else { serde_json::to_string(&tool) };
        let changes: BTreeMap<String, ArgumentChange> = withheld.iter().map(|name| (name.clone(), fix("0"))).collect();

        let text = text(ListKind::Tools, &raw.expect("plain data"), &arguments(&changes)).expect("it can be changed");

        let mut expected = tool.clone();
        let left: Map<String, Value> = properties.into_iter().filter(|(name, _)| !withheld.contains(name)).collect();
        expected["inputSchema"]["properties"] = Value::Object(left);
        expected["inputSchema"]["required"] = required.iter().filter(|name| !withheld.contains(*name)).cloned().collect();
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("valid JSON"), expected);
    }
}
