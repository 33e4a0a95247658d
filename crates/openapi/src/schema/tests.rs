//! What schemas become.

use serde_json::{Value, json};

use super::*;
use crate::document::Format;
use crate::limits::DEFAULTS;

/// Translates the schema at `components.schemas.Root` of a document with these schemas.
fn translated(version: &str, direction: Direction, schemas: &Value, bytes_max: usize) -> Result<Schemas, String> {
    let text = json!({"openapi": version, "components": {"schemas": schemas}}).to_string();
    let document = Document::read(&text, Format::Json, &DEFAULTS).expect("is read");
    let root = document.node().get("components").and_then(|node| node.get("schemas")?.get("Root")).expect("is there");
    translate(&document, direction, &[root], bytes_max).map_err(|fault| fault.refused().to_string())
}

fn check(version: &str, direction: Direction, schema: &Value, expected: &Value) {
    let found = translated(version, direction, &json!({"Root": schema}), 10_000).expect("is translated");
    assert_eq!(found.parts[0], *expected, "{version} {direction:?} {schema}");
}

#[test]
fn the_dialect_of_3_0_becomes_standard() {
    let cases = [
        (json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]})),
        (
            json!({"type": "string", "nullable": true, "enum": ["a"]}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
        ),
        (
            json!({"nullable": true, "allOf": [{"type": "object"}]}),
            json!({"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]}),
        ),
        (
            json!({"type": "number", "minimum": 1, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false}),
            json!({"type": "number", "exclusiveMinimum": 1, "maximum": 9}),
        ),
        (json!({"type": "string", "example": "x"}), json!({"type": "string", "examples": ["x"]})),
        (json!({"type": "string", "format": "byte"}), json!({"type": "string", "contentEncoding": "base64"})),
        (json!({"type": "string", "format": "binary"}), json!({"type": "string", "contentEncoding": "base64"})),
        (json!({"type": "string", "format": "date"}), json!({"type": "string", "format": "date"})),
        (
            json!({"oneOf": [{"type": "string"}], "discriminator": {"propertyName": "x"}}),
            json!({"anyOf": [{"type": "string"}]}),
        ),
    ];
    for (schema, expected) in cases {
        check("3.0.0", Direction::Input, &schema, &expected);
    }
}

#[test]
fn the_standard_of_3_1_stays_as_far_as_it_is_well_formed() {
    let same = json!({
        "type": ["object", "null"], "description": "d", "properties": {"a": {"const": 1}, "b": {"prefixItems": [{}]}},
        "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": false, "minProperties": 1,
        "not": {"type": "string"}, "if": {"type": "object"}, "then": {"minProperties": 2}, "else": {},
        "oneOf": [{"type": "object"}, {"type": "null"}], "unevaluatedProperties": {"not": {}},
    });
    check("3.1.0", Direction::Input, &same, &same);
    let cases = [
        (
            json!({"minLength": -1, "maxLength": "5", "pattern": 3, "multipleOf": 0, "default": "d"}),
            json!({"default": "d"}),
        ),
        (json!({"required": ["a", 1, "a"]}), json!({"required": ["a"]})),
        (json!({"required": true, "x-mcp-header": "X", "$schema": "s", "xml": {}}), json!({})),
        (json!({"type": ["string", "string"], "enum": []}), json!({"type": "string"})),
        (json!(true), json!({})),
        (json!(false), json!({"not": {}})),
        (
            json!({"examples": [1, 2], "format": "int32", "type": "integer"}),
            json!({"type": "integer", "examples": [1], "format": "int32"}),
        ),
    ];
    for (schema, expected) in cases {
        check("3.1.0", Direction::Input, &schema, &expected);
    }
}

#[test]
fn a_keyword_without_a_value_is_absent() {
    let empty = json!({
        "type": "object", "properties": null, "items": null, "allOf": null, "anyOf": null, "enum": null, "required": null,
        "additionalProperties": null, "prefixItems": null, "not": null, "patternProperties": null, "description": null,
    });
    for version in ["3.0.3", "3.1.0"] {
        check(version, Direction::Input, &empty, &json!({"type": "object"}));
        check(version, Direction::Output, &empty, &json!({"type": ["object", "null"]}));
    }
    let cases = [
        (json!({"type": ["string", null]}), json!({"type": ["string", "null"]})),
        (json!({"const": null}), json!({"const": null})),
        (json!({"default": null}), json!({"default": null})),
        (json!({"type": null, "properties": {"a": null, "b": {}}}), json!({"properties": {"b": {}}})),
    ];
    for (schema, expected) in cases {
        check("3.1.0", Direction::Input, &schema, &expected);
    }
}

#[test]
fn input_leaves_out_what_only_servers_set_and_output_what_they_never_show() {
    let schema = json!({
        "type": "object", "required": ["id", "name", "secret"], "additionalProperties": false,
        "properties": {
            "id": {"type": "integer", "readOnly": true},
            "name": {"type": "string", "enum": ["a", "b"], "minLength": 1},
            "secret": {"type": "string", "writeOnly": true},
        },
    });
    let input = json!({
        "type": "object", "required": ["name", "secret"], "additionalProperties": false,
        "properties": {"name": {"type": "string", "enum": ["a", "b"], "minLength": 1}, "secret": {"type": "string"}},
    });
    let output = json!({
        "type": ["object", "null"],
        "properties": {
            "id": {"type": ["integer", "null"]},
            "name": {"type": ["string", "null"], "examples": ["a", "b"]},
        },
    });
    for version in ["3.0.3", "3.1.0"] {
        check(version, Direction::Input, &schema, &input);
        check(version, Direction::Output, &schema, &output);
    }
}

#[test]
fn a_schema_used_once_is_put_in_its_place_and_a_circle_stays_a_definition() {
    let schemas = json!({
        "Root": {"type": "object", "properties": {
            "once": {"$ref": "#/components/schemas/Once"},
            "tree": {"$ref": "#/components/schemas/Tree"},
            "id": {"$ref": "#/components/schemas/Id"},
            "other": {"$ref": "#/components/schemas/Id"},
        }},
        "Once": {"type": "object", "properties": {"a": {"type": "string", "description": "long enough to be no small thing"}}},
        "Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}},
        "Id": {"type": "integer"},
    });
    let found = translated("3.0.0", Direction::Input, &schemas, 10_000).expect("is translated");
    assert_eq!(
        found.parts[0],
        json!({"type": "object", "properties": {
            "once": {"type": "object", "properties": {"a": {"type": "string", "description": "long enough to be no small thing"}}},
            "tree": {"$ref": "#/$defs/Tree"},
            "id": {"type": "integer"},
            "other": {"type": "integer"},
        }})
    );
    let tree =
        json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}});
    assert_eq!(Value::Object(found.definitions), json!({"Tree": tree}));
}

#[test]
fn what_stands_beside_a_reference_counts_in_3_1_only() {
    let schemas = json!({
        "Root": {"properties": {"a": {"$ref": "#/components/schemas/A", "description": "here", "maxLength": 3}}},
        "A": {"type": "string"},
    });
    let old = translated("3.0.0", Direction::Input, &schemas, 10_000).expect("is translated");
    assert_eq!(old.parts[0], json!({"properties": {"a": {"type": "string"}}}));
    let new = translated("3.1.0", Direction::Input, &schemas, 10_000).expect("is translated");
    assert_eq!(
        new.parts[0],
        json!({"properties": {"a": {"description": "here", "maxLength": 3, "$ref": "#/$defs/A"}}})
    );
    assert_eq!(Value::Object(new.definitions), json!({"A": {"type": "string"}}));
}

#[test]
fn two_schemas_of_one_last_name_are_two_definitions() {
    let long = "x".repeat(120);
    let schemas = json!({
        "Root": {"properties": {
            "a": {"$ref": "#/components/schemas/Root/x-a/Node"}, "b": {"$ref": "#/components/schemas/Root/x-b/Node"},
            "c": {"$ref": "#/components/schemas/Root/x-a/Node"}, "d": {"$ref": "#/components/schemas/Root/x-b/Node"},
        }, "x-a": {"Node": {"description": long, "type": "string"}}, "x-b": {"Node": {"description": long, "type": "integer"}}},
    });
    let found = translated("3.0.0", Direction::Input, &schemas, 10_000).expect("is translated");
    assert_eq!(found.definitions.keys().collect::<Vec<_>>(), ["Node", "Node_2"]);
    assert_eq!(found.parts[0]["properties"]["d"], json!({"$ref": "#/$defs/Node_2"}));
}

#[test]
fn references_that_cannot_be_followed_name_their_place() {
    let at = "#/components/schemas/Root/properties/a/$ref";
    let with = |reference: &str| json!({"Root": {"properties": {"a": {"$ref": reference}}}});
    let loops = json!({
        "Root": {"properties": {"a": {"$ref": "#/components/schemas/A"}}},
        "A": {"allOf": [{"$ref": "#/components/schemas/B"}]},
        "B": {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/A"}]},
    });
    let pure = json!({"Root": {"$ref": "#/components/schemas/A"}, "A": {"$ref": "#/components/schemas/Root"}});
    let cases = [
        (with("https://example.com/a.json"), format!("{at}: $ref \"https://example.com/a.json\" leads out of the document: bundle the document, nothing is fetched")),
        (with("#/components/schemas/Gone"), format!("{at}: $ref \"#/components/schemas/Gone\" leads nowhere: allowed is #/ and a path that exists in the document")),
        (loops, "#/components/schemas/A: $ref \"#/components/schemas/A\" leads back to itself without a property or item between".to_owned()),
        (pure, "#/components/schemas/Root: $ref \"#/components/schemas/A\" leads back to itself without a property or item between".to_owned()),
        (json!({"Root": {"properties": {"a": 7}}}), "#/components/schemas/Root/properties/a: expected an object, found 7".to_owned()),
        (json!({"Root": {"properties": [1]}}), "#/components/schemas/Root/properties: expected an object, found a list".to_owned()),
    ];
    for (schemas, expected) in cases {
        for direction in [Direction::Input, Direction::Output] {
            let found = translated("3.1.0", direction, &schemas, 10_000).map(|found| found.parts);
            assert_eq!(found, Err(expected.clone()), "{schemas}");
        }
    }
}

#[test]
fn what_is_too_large_is_left_open_below_a_level_and_accepts_more_not_less() {
    let wide = |inner: Value| {
        let properties: Map<String, Value> = (0..8).map(|index| (format!("p{index}"), inner.clone())).collect();
        json!({"type": "object", "properties": properties, "required": ["p0"], "unevaluatedProperties": false})
    };
    let mut schema = json!({"type": "string", "minLength": 1});
    for _ in 0..4 {
        schema = wide(schema);
    }
    let found = translated("3.1.0", Direction::Input, &json!({"Root": schema}), 20_000).expect("is translated");

    let inner = &found.parts[0]["properties"]["p0"]["properties"]["p1"];
    assert_eq!(*inner, json!({"type": "object", "required": ["p0"], "properties": inner["properties"]}));
    assert_eq!(inner["properties"]["p2"], json!({"type": "object"}), "{inner}");
    assert!(!found.parts[0].to_string().contains("unevaluated"), "what closes is left out with what it closed");
    assert_eq!(
        found.notes[0].clone().noted().to_string(),
        "#/components/schemas/Root: the input schema is larger than 20000 bytes: below level 2 it is left open"
    );
}

#[test]
fn a_chain_deeper_than_the_limit_is_left_open_too() {
    let mut schema = json!({"type": "string"});
    for _ in 0..40 {
        schema = json!({"type": "array", "items": schema});
    }
    let found = translated("3.1.0", Direction::Input, &json!({"Root": schema}), 10_000).expect("is translated");
    assert!(matches!(found.notes[0].reason, Reason::Loosened { depth: 8, .. }), "{:?}", found.notes);
}

#[test]
fn what_is_too_large_at_any_depth_is_a_fault() {
    let properties: Map<String, Value> =
        (0..500).map(|index| (format!("property{index}"), json!({"type": "string"}))).collect();
    let found = translated("3.1.0", Direction::Input, &json!({"Root": {"properties": properties}}), 1_000);
    assert_eq!(
        found.map(|found| found.parts),
        Err("#/components/schemas/Root: the input schema has more at any depth, the most allowed is 1000 bytes"
            .to_owned())
    );
}

#[test]
fn long_lists_of_choices_and_unknown_types_are_left_open_and_noted() {
    let choices: Vec<usize> = (0..300).collect();
    let found =
        translated("3.1.0", Direction::Input, &json!({"Root": {"enum": choices}}), 10_000).expect("is translated");
    assert_eq!(found.parts[0], json!({}));
    assert_eq!(found.notes.len(), 1);
    let found =
        translated("3.0.0", Direction::Input, &json!({"Root": {"type": "file"}}), 10_000).expect("is translated");
    assert_eq!(found.parts[0], json!({}));
    assert_eq!(
        found.notes[0].clone().noted().to_string(),
        "#/components/schemas/Root/type: the type \"file\" is passed over: it is none of JSON Schema, so any value is allowed"
    );
}
