//! Whole documents: what becomes of small ones, kept as golden files, and that broken and huge ones stay bounded.

use std::fmt::Write as _;

use http::Method;
use proptest::prelude::*;
use quorate_openapi::{
    Compiled, Config, Credential, Document, Effect, Format, Limits, Pattern, Problem, Rule, Secret, Selection, compile,
    limits,
};
use serde_json::{Map, Value, json};

fn compiled(text: &str, config: &Config, limits: &Limits) -> Result<Compiled, Vec<Problem>> {
    let format = if text.starts_with('{') { Format::Json } else { Format::Yaml };
    let document = Document::read(text, format, limits).map_err(|problem| vec![problem])?;
    compile(&document, config)
}

fn names(compiled: &Compiled) -> Vec<&str> {
    compiled.api.tools().iter().map(quorate_openapi::Tool::name).collect()
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// Everything that a document becomes, for people to read: its problems, and each tool's definition.
fn portrait(text: &str, config: &Config) -> String {
    let mut out = String::new();
    let problems = match compiled(text, config, &limits::DEFAULTS) {
        Err(problems) => problems,
        Ok(compiled) => {
            let _ = writeln!(
                out,
                "{} {}: {}",
                compiled.api.title(),
                compiled.api.version(),
                compiled.api.bases().join(" ")
            );
            for tool in compiled.api.tools() {
                let definition: Value = serde_json::from_str(tool.definition()).expect("a definition is JSON");
                let _ = writeln!(out, "\n{definition:#}");
            }
            compiled.problems
        }
    };
    for problem in problems {
        let _ = writeln!(out, "\n! {problem}");
    }
    out
}

/// A document and its golden file.
macro_rules! golden {
    ($($document:literal => $golden:literal),+ $(,)?) => {
        [$((concat!("tests/golden/", $golden), include_str!(concat!("documents/", $document)), include_str!(concat!("golden/", $golden)))),+]
    };
}

/// With `UPDATE_GOLDEN=1` the files are written anew, for a change that was meant: look at the difference.
#[test]
#[expect(clippy::disallowed_methods, reason = "golden files are written for whoever asks, never read by the crate")]
fn documents_become_what_their_golden_files_say() {
    let files = golden!["shop.yaml" => "shop.txt", "pets.json" => "pets.txt", "broken.yaml" => "broken.txt"];
    for (golden, document, expected) in files {
        let found = portrait(document, &Config::default());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden, &found).expect("can be written");
        } else {
            assert_eq!(found, expected, "{golden}");
        }
    }
}

#[test]
fn an_operation_that_cannot_be_offered_costs_only_itself_unless_all_is_asked_for() {
    let text = "
openapi: 3.1.0
servers: [{url: 'http://h'}]
paths:
  /a: {get: {operationId: good}}
  /b: {get: {operationId: bad, parameters: [{$ref: 'other.yaml#/p'}]}}
  /c/{id}: {get: {operationId: hole}}
";
    let lax = compiled(text, &Config::default(), &limits::DEFAULTS).expect("one is left");
    assert_eq!(names(&lax), ["good"]);
    let expected = [
        "#/paths/~1b/get/parameters/0/$ref: $ref \"other.yaml#/p\" leads out of the document: bundle the document, nothing \
         is fetched (GET /b is left out)",
        "#/paths/~1c~1{id}/get: the path parameter \"id\" is missing (GET /c/{id} is left out)",
    ];
    assert_eq!(shown(&lax.problems), expected);

    let strict = Config { strict: true, ..Config::default() };
    assert_eq!(shown(&compiled(text, &strict, &limits::DEFAULTS).expect_err("some are left out")), expected);

    let only_bad =
        Selection { include: vec![Rule { operations: vec![Pattern::new("bad")], ..Rule::default() }], exclude: vec![] };
    let config = Config { selection: only_bad, ..Config::default() };
    let refused = compiled(text, &config, &limits::DEFAULTS).expect_err("none is left");
    assert_eq!(
        refused[0].to_string(),
        "#/paths: no operation is left: 3 in the document, 1 selected, none of them can be offered"
    );
    assert_eq!(refused[0].effect, Effect::Refused);
}

#[test]
fn five_thousand_operations_are_compiled_or_refused_by_their_number() {
    let path = |index: usize| {
        let operation = json!({"operationId": format!("same{}", index / 2), "tags": [format!("t{}", index % 10)]});
        (format!("/p{index}"), json!({ "get": operation }))
    };
    let paths: Map<String, Value> = (0..5_000).map(path).collect();
    let text = json!({"openapi": "3.0.0", "servers": [{"url": "http://h"}], "paths": paths}).to_string();
    let all = compiled(&text, &Config::default(), &limits::DEFAULTS).expect("is compiled");
    assert_eq!(all.api.tools().len(), 5_000);
    assert_eq!(all.problems.len(), 5_000, "every id is there twice");
    assert_eq!((names(&all)[0], names(&all)[4_999]), ("get_p0", "get_p4999"));

    let few = Limits { operations_max: 100, ..limits::DEFAULTS };
    let refused = compiled(&text, &Config::default(), &few).expect_err("there are too many");
    assert_eq!(shown(&refused), ["#/paths: the selection has 5000 operations, the most allowed is 100"]);

    let one_tag = Rule { tags: vec![Pattern::new("t3")], methods: vec![Method::GET], ..Rule::default() };
    let config = Config { selection: Selection { include: vec![one_tag], exclude: vec![] }, ..Config::default() };
    assert_eq!(compiled(&text, &config, &limits::DEFAULTS).expect("is compiled").api.tools().len(), 500);
}

#[test]
fn all_tools_together_are_bounded() {
    let text = "
openapi: 3.0.0
servers: [{url: 'http://h'}]
paths: {/a: {get: {operationId: a}}, /b: {get: {operationId: b}}}
";
    let small = Limits { tools_bytes_max: 250, ..limits::DEFAULTS };
    let found = compiled(text, &Config::default(), &small).expect("one fits");
    assert_eq!(names(&found), ["a"]);
    assert_eq!(
        shown(&found.problems),
        ["#/paths/~1b/get: all tools together has more than 250 bytes, the most allowed is 250 (GET /b is left out)"]
    );
}

#[test]
fn schemas_that_multiply_stay_small() {
    // Each schema uses the next ten times: 10^30 when expanded.
    let mut schemas = Map::new();
    for index in 0..30 {
        let properties: Map<String, Value> = (0..10)
            .map(|name| (format!("p{name}"), json!({"$ref": format!("#/components/schemas/S{}", (index + 1) % 30)})))
            .collect();
        schemas.insert(format!("S{index}"), json!({"type": "object", "properties": properties}));
    }
    let root = json!({"$ref": "#/components/schemas/S0"});
    let text = json!({
        "openapi": "3.1.0", "servers": [{"url": "http://h"}], "components": {"schemas": schemas},
        "paths": {"/a": {"post": {
            "requestBody": {"content": {"application/json": {"schema": root}}},
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": root}}}},
        }}},
    });
    let found = compiled(&text.to_string(), &Config::default(), &limits::DEFAULTS).expect("is compiled");
    let definition = found.api.tools()[0].definition();
    assert!(
        definition.len() < limits::DEFAULTS.input_bytes_max + limits::DEFAULTS.output_bytes_max,
        "{}",
        definition.len()
    );
}

#[test]
fn a_credential_that_no_request_carries_is_told_and_a_silent_document_gets_it_everywhere() {
    let schemes = "components: {securitySchemes: {key: {type: apiKey, in: header, name: X-Key}, token: {type: http, scheme: bearer}, login: {type: http, scheme: basic}}}";
    let head = "openapi: 3.1.0\nservers: [{url: 'http://h'}]\n";
    let silent = format!("{head}paths: {{/a: {{get: {{operationId: a}}}}, /b: {{get: {{operationId: b}}}}}}\n");
    let partly = format!(
        "{head}paths: {{/a: {{get: {{operationId: a, security: [{{token: []}}]}}}}, /b: {{get: {{operationId: b}}}}}}\n{schemes}\n"
    );
    let (token, key) = (Credential::Token(Secret::new("t")), Credential::Value(Secret::new("k")));
    let login = Credential::Basic { username: "ann".to_owned(), password: Secret::new("w") };
    let unused =
        "#/components/securitySchemes/key: no selected operation asks for \"key\": its credential is never sent";
    let bearer = Some("Bearer t");
    let check =
        |text: &str, credentials: &[(&str, &Credential)], expected: Result<([Option<&str>; 2], &[&str]), &str>| {
            let credentials = credentials.iter().map(|(name, one)| ((*name).to_owned(), (*one).clone())).collect();
            let found = compiled(text, &Config { credentials, ..Config::default() }, &limits::DEFAULTS);
            let found = found.map(|found| {
                let carried = |tool: &str| {
                    let request = found.api.tool(tool).expect("is there").call("{}").expect("is valid");
                    request.headers().get("authorization").map(|value| value.to_str().expect("is text").to_owned())
                };
                ([carried("a"), carried("b")], shown(&found.problems))
            });
            let expected = expected.map(|(carried, problems)| {
                (
                    carried.map(|one| one.map(str::to_owned)),
                    problems.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(),
                )
            });
            assert_eq!(found.map_err(|problems| problems[0].to_string()), expected.map_err(str::to_owned), "{text}");
        };

    check(&silent, &[("any", &token)], Ok(([bearer, bearer], &[])));
    let elsewhere = format!(
        "{head}paths: {{/a: {{get: {{operationId: a}}}}, /b: {{get: {{operationId: b, servers: [{{url: 'http://other'}}]}}}}}}\n"
    );
    let passed_over = "#/paths/~1b/get: a configured credential is passed over: the document does not say that this other \
                       server gets it";
    check(&elsewhere, &[("any", &token)], Ok(([bearer, None], &[passed_over])));
    check(&silent, &[("any", &login)], Ok(([Some("Basic YW5uOnc="); 2], &[])));
    check(&format!("{silent}{schemes}"), &[("token", &token), ("key", &key)], Ok(([bearer, bearer], &[])));
    check(&partly, &[("token", &token)], Ok(([bearer, None], &[])));
    check(&partly, &[("token", &token), ("key", &key)], Ok(([bearer, None], &[unused])));
    check(
        &silent,
        &[("any", &key)],
        Err(
            "#: a value for \"any\", of which the document does not say where it goes, is not supported; use a token, a user \
             name and a password, or a fixed header",
        ),
    );
    check(
        &silent,
        &[("any", &token), ("other", &login)],
        Err(
            "#: more than one credential for the header Authorization is not valid: the document does not say which operation \
             needs which: configure one",
        ),
    );
    check(
        &partly,
        &[("any", &token)],
        Err("#/components/securitySchemes: \"any\" is not a choice; allowed: key, token, login"),
    );
}

/// A document whose one operation has this body.
fn with_body(schema: &Value, schemas: &Value) -> String {
    json!({
        "openapi": "3.1.0", "servers": [{"url": "http://h"}], "components": {"schemas": schemas},
        "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}},
    })
    .to_string()
}

#[test]
fn alternatives_that_multiply_are_compiled_in_time() {
    let mut schemas: Map<String, Value> = (1..8)
        .map(|index| {
            let next = json!({"$ref": format!("#/components/schemas/A{}", index + 1)});
            (format!("A{index}"), json!({"anyOf": vec![next; 100]}))
        })
        .collect();
    schemas.insert("A8".to_owned(), json!({"type": "string"}));
    let body = json!({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A1"}}});

    let found = compiled(&with_body(&body, &Value::Object(schemas)), &Config::default(), &limits::DEFAULTS);

    let refusal = found.expect("is compiled").api.tools()[0].call(r#"{"a":1}"#).expect_err("is no string");
    assert_eq!(refusal.to_string(), "a: expected string, found integer 1");
}

#[test]
fn properties_that_read_alike_are_named_in_time() {
    let properties: Map<String, Value> = (1..1_500).map(|count| ("é".repeat(count), json!({}))).collect();
    let text = with_body(&json!({"type": "object", "properties": properties}), &json!({}));

    let found = compiled(&text, &Config::default(), &limits::DEFAULTS).expect("is compiled");

    let definition: Value = serde_json::from_str(found.api.tools()[0].definition()).expect("a definition is JSON");
    let names: Vec<&String> =
        definition["inputSchema"]["properties"].as_object().expect("is an object").keys().collect();
    assert_eq!((names.len(), names[0].as_str(), names[1_498].as_str()), (1_499, "body_body", "body_body_1499"));
}

#[test]
fn an_object_with_more_properties_than_a_tool_may_have_is_left_out_in_time() {
    let properties: Map<String, Value> = (0..50_000).map(|index| (format!("p{index}"), json!({}))).collect();
    let names: Vec<&String> = properties.keys().collect();
    let wide = json!({"type": "object", "required": names, "properties": properties});
    let listed = json!({"type": "array", "items": {"type": "object", "required": names, "properties": {"p1": {}}}});
    for (schema, pointer, max) in [(wide, "schema", 4_000), (listed, "schema/items/required", 2_000)] {
        let found = compiled(&with_body(&schema, &json!({})), &Config::default(), &limits::DEFAULTS);
        let expected = format!(
            "#/paths/~1a/post/requestBody/content/application~1json/{pointer}: the schema has more than {max} names of \
             properties, the most allowed is {max} (POST /a is left out)"
        );
        assert_eq!(shown(&found.expect_err("nothing is left"))[1], expected);
    }
}

proptest! {
    #[test]
    fn no_document_panics_and_every_definition_is_well_formed(text in document()) {
        let Ok(found) = compiled(&text, &Config::default(), &limits::DEFAULTS) else { return Ok(()) };
        for tool in found.api.tools() {
            let definition: Value = serde_json::from_str(tool.definition()).expect("a definition is JSON");
            prop_assert_eq!(&definition["inputSchema"]["type"], "object");
            prop_assert!(definition.get("outputSchema").is_none_or(|schema| schema["type"] == "object"));
            let _ = tool.call("{}");
            let _ = tool.call(r#"{"id":1,"body":{"a":[null]},"name":"x"}"#);
        }
    }
}

/// Documents that are put together from parts that fit, and some that do not.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "integer", "nullable": true})),
        Just(json!({"$ref": "#/components/schemas/A"})),
        Just(json!({"$ref": "#/components/schemas/B"})),
        Just(json!({"$ref": "#/gone"})),
        Just(json!({"enum": [1, "a", null], "format": "binary"})),
        Just(json!(true)),
        Just(json!(7)),
    ];
    let schema = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"allOf": all})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|any| json!({"oneOf": any, "nullable": true})),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"properties": {"id": a, "name": b}, "required": ["id"]})),
        ]
    });
    let place = prop_oneof![Just("path"), Just("query"), Just("header"), Just("cookie"), Just("body")];
    let media = prop_oneof![
        Just("application/json"),
        Just("multipart/form-data"),
        Just("application/x-www-form-urlencoded"),
        Just("text/plain"),
        Just("image/*"),
    ];
    (schema.clone(), schema.clone(), schema, place, media, prop_oneof![Just("3.0.1"), Just("3.1.0")]).prop_map(
        |(a, b, c, place, media, version)| {
            json!({
                "openapi": version, "servers": [{"url": "http://h/{v}", "variables": {"v": {"default": "1"}}}],
                "components": {"schemas": {"A": a, "B": b}},
                "paths": {"/x/{id}": {
                    "parameters": [{"name": "id", "in": "path", "schema": c}, {"name": "id", "in": place, "schema": b}],
                    "post": {
                        "requestBody": {"content": {media: {"schema": a}}},
                        "responses": {"2XX": {"description": "", "content": {media: {"schema": c}}}},
                    },
                }},
            })
            .to_string()
        },
    )
}
