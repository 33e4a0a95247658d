//! Policies held against what servers have now: what is sure to be wrong is told, and nothing else.

mod common;

use std::collections::BTreeSet;

use common::{asked, compile, document, lines, reading};
use quorate_policy::{ArgumentType, Document, Offered, Policies};

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "path": { "type": "string" },
        "count": { "type": ["integer", "null"] },
        "amount": { "type": "number" },
        "force": { "type": "boolean" },
        "tags": { "type": "array", "items": { "type": "string" } },
        "sizes": { "type": "array", "items": { "type": "integer" } },
        "any": { "description": "no type" },
        "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }] }
    }
}"#;

fn doubts(policies: &Policies, tools: &[(&str, Option<&str>)]) -> String {
    let asked: Vec<_> = tools.iter().map(|(tool, schema)| (asked(tool), *schema)).collect();
    let offered = asked.iter().map(|(asked, schema)| Offered {
        resource: asked.resource(),
        schema: *schema,
        fixed: BTreeSet::from(["tenant"]),
    });
    lines(&policies.doubts(&offered.collect::<Vec<_>>()))
}

fn reads(scope: &str, name: &str, of: ArgumentType) -> Document {
    let condition = match of {
        ArgumentType::String => format!(r#"context.arguments["{name}"] == "x""#),
        ArgumentType::Integer => format!(r#"context.arguments["{name}"] > 1"#),
        ArgumentType::Number => format!(r#"context.arguments["{name}"].lessThan(decimal("1.0"))"#),
        ArgumentType::Boolean => format!(r#"context.arguments["{name}"]"#),
        ArgumentType::Strings => format!(r#"context.arguments["{name}"].contains("x")"#),
    };
    let text = format!(
        r#"@id("p") forbid (principal, action == Action::"mcp:call", {scope})
           when {{ context.arguments has "{name}" && {condition} }};"#
    );
    reading("doc", &[(name, of), ("unread", ArgumentType::String)], &text)
}

#[test]
fn an_argument_that_the_tool_has_not_or_has_with_another_type_is_told() {
    use ArgumentType::{Boolean, Integer, Number, String, Strings};
    let is = |name: &str, has: &str, declared: &str| {
        format!(
            "doc/p: Tool::\"s/t\": its argument {name:?} is {has} and not {declared}: calls that have it are denied"
        )
    };
    let lacks = |name: &str| {
        format!(
            "doc/p: Tool::\"s/t\": has no argument {name:?}; it has amount, any, count, either, force, path, sizes, tags"
        )
    };
    let fits = std::string::String::new;
    let table = [
        ("path", String, fits()),
        ("path", Integer, is("path", "string", "integer")),
        ("path", Strings, is("path", "string", "strings")),
        ("paht", String, lacks("paht")),
        ("Path", String, lacks("Path")),
        ("count", Integer, fits()),
        ("count", Number, fits()),
        ("count", String, is("count", "integer or null", "string")),
        ("amount", Number, fits()),
        // Whole numbers can be held against it; others are denied, as the guide says.
        ("amount", Integer, fits()),
        ("amount", Boolean, is("amount", "number", "boolean")),
        ("force", Boolean, fits()),
        ("force", String, is("force", "boolean", "string")),
        ("tags", Strings, fits()),
        ("tags", String, is("tags", "array", "string")),
        ("sizes", Strings, is("sizes", "array of integer", "strings")),
        ("any", Integer, fits()),
        ("either", Boolean, fits()),
        // The toolset fixes it, and the schema does not show it.
        ("tenant", String, fits()),
    ];
    for (name, of, expected) in table {
        let policies = compile(&[reads("resource == Tool::\"s/t\"", name, of)]);
        assert_eq!(doubts(&policies, &[("call default all s/t", Some(SCHEMA))]), expected, "{name}");
    }
}

#[test]
fn a_schema_that_leaves_it_open_raises_no_doubt() {
    let policies = compile(&[reads("resource == Tool::\"s/t\"", "path", ArgumentType::String)]);
    for schema in [
        r##"{ "$ref": "#/$defs/x" }"##,
        r#"{ "type": "object", "allOf": [{ "properties": {} }] }"#,
        r#"{ "additionalProperties": true }"#,
        r#"{ "additionalProperties": { "type": "string" } }"#,
        r#"{ "patternProperties": { "p": {} } }"#,
        r#"{ "properties": { "path": true } }"#,
        r#"{ "properties": { "path": { "type": 1 } } }"#,
        r#"{ "properties": [] }"#,
        "true",
        "no JSON",
    ] {
        assert_eq!(doubts(&policies, &[("call default all s/t", Some(schema))]), "", "{schema}");
    }
    assert_eq!(doubts(&policies, &[("call default all s/t", None)]), "");
    for schema in ["{}", r#"{ "properties": {}, "additionalProperties": false }"#] {
        let told = doubts(&policies, &[("call default all s/t", Some(schema))]);
        assert_eq!(told, "doc/p: Tool::\"s/t\": has no argument \"path\", and no other", "{schema}");
    }
}

#[test]
fn a_policy_about_many_tools_reads_what_one_of_them_has() {
    let policies = compile(&[reads("resource in ToolServer::\"s\"", "path", ArgumentType::String)]);
    let (with, without) = (Some(r#"{"properties":{"path":{"type":"string"}}}"#), Some("{}"));
    let other = Some(r#"{"properties":{"path":{"type":"integer"}}}"#);
    let told = |tools: &[(&str, Option<&str>)]| doubts(&policies, tools);

    assert_eq!(told(&[("call default all s/a", with), ("call default all s/b", without)]), "");
    assert_eq!(told(&[("call default all s/a", None), ("call default all s/b", without)]), "");
    assert_eq!(told(&[("call default all s/a", without), ("call default all other/b", with)]).lines().count(), 1);
    assert!(
        told(&[("call default all s/a", with), ("call default all s/b", other)]).starts_with("doc/p: Tool::\"s/b\"")
    );
    assert_eq!(told(&[]), "");
}

#[test]
fn a_tool_or_prompt_that_no_toolset_has_is_told() {
    let text = r#"
        forbid (principal, action, resource == Tool::"s/here");
        forbid (principal, action, resource == Tool::"s/gone");
        forbid (principal, action, resource in Prompt::"s/gone");
        forbid (principal, action, resource == Resource::"s/file:///gone");
        forbid (principal, action, resource in ToolServer::"s");
    "#;
    let theirs = Document { tenant: common::tenant("acme"), ..document("theirs", text) };
    let tools = [("call default all s/here", None), ("get default all s/here", None), ("call globex all s/gone", None)];

    let gone = "doc/policy3: Prompt::\"s/gone\": no toolset has it\n";
    assert_eq!(doubts(&compile(&[document("doc", text)]), &tools) + "\n", gone);
    // What another tenant's toolset has is not within reach of these callers.
    let gone =
        "theirs/policy2: Tool::\"s/gone\": no toolset has it\ntheirs/policy3: Prompt::\"s/gone\": no toolset has it";
    assert_eq!(doubts(&compile(&[theirs]), &tools), gone);
}
