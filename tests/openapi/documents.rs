//! Documents of public APIs, as packages ship them, and documents that are broken or huge, behind a real gateway.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use quorate_tests::raw::PATIENCE;
use quorate_tests::raw::gateway::{Documents, Gateway};
use quorate_tests::{paths, wait};
use serde_json::{Value, json};

use crate::api::Api;
use crate::calls::{call, document, gateway_with};

/// The documents: file in the installation, its size in bytes at least, and the tools that come of it.
const PUBLIC: [(&str, u64, usize); 5] = [
    ("@octokit/openapi/generated/api.github.com.json", 10 << 20, 1_223),
    ("@readme/oas-examples/3.1/json/readme.json", 500_000, 54),
    ("@readme/oas-examples/3.0/yaml/star-trek.yaml", 300_000, 120),
    ("@scalar/galaxy/dist/3.1.yaml", 40_000, 10),
    ("@readme/oas-examples/3.0/json/parameters-style.json", 40_000, 25),
];

/// The longest name of a tool, as MCP hosts allow it.
const NAME_CHARS_MAX: usize = 64;
/// The most bytes of one definition: the input and output schema at their limits, and what is around them.
const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// How long the largest document may take to be compiled, without optimisation and on a loaded machine.
const COMPILED_WITHIN: Duration = Duration::from_secs(120);

fn installed(file: &str) -> anyhow::Result<PathBuf> {
    paths::installed(paths::OPENAPI, &format!("node_modules/{file}"))
}

/// All tools of a gateway, as they are listed.
fn listed(gateway: &Gateway) -> anyhow::Result<Vec<Value>> {
    let (mut tools, mut cursor) = (Vec::new(), None);
    loop {
        let params = cursor.map_or(json!({}), |cursor: Value| json!({ "cursor": cursor }));
        let message = gateway.modern(1, "tools/list", params)?.message()?;
        let page = message["result"]["tools"].as_array().cloned();
        tools.extend(page.ok_or_else(|| anyhow::anyhow!("no list: {message}"))?);
        cursor = message["result"].get("nextCursor").cloned();
        if cursor.is_none() {
            return Ok(tools);
        }
    }
}

/// Every `$ref` of a schema leads to one of its own definitions.
fn check_references(schema: &Value, root: &Value) {
    match schema {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                assert!(target.is_some(), "{reference} leads nowhere");
            }
            object.values().for_each(|value| check_references(value, root));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(item, root)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check(tool: &Value) {
    let name = tool["name"].as_str().unwrap_or_default();
    assert!((1..=NAME_CHARS_MAX).contains(&name.len()), "{name}");
    assert!(tool.to_string().len() <= DEFINITION_BYTES_MAX, "{name} has {} bytes", tool.to_string().len());
    assert!(tool["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no description");
    for key in ["inputSchema", "outputSchema"] {
        let Some(schema) = tool.get(key) else { continue };
        assert_eq!(schema["type"], "object", "{name} {key}");
        check_references(schema, schema);
    }
    let properties = tool["inputSchema"]["properties"].as_object().cloned().unwrap_or_default();
    assert!(properties.keys().all(|key| key.len() <= NAME_CHARS_MAX), "{name}: {properties:?}");
}

#[test]
fn public_apis_are_listed_whole_and_each_tool_is_well_formed() -> anyhow::Result<()> {
    let api = Api::start()?;
    let mut gateway = gateway_with(&document(&api), json!({}))?;
    for (index, (file, bytes_min, count)) in PUBLIC.into_iter().enumerate() {
        let path = installed(file)?;
        let bytes = fs::metadata(&path)?.len();
        assert!(bytes >= bytes_min, "{file} has {bytes} bytes");
        let name = format!("public{index}");
        let spec = json!({ "openapi": { "document": path, "strict": true } });

        gateway.rewrite(&Documents::new().server_with(&name, spec).text())?;
        let compiled = |line: &str| (line.contains("was compiled") && line.contains(&name)).then_some(());
        gateway.process.line(COMPILED_WITHIN, compiled)?;
        let tools = wait::until(file, PATIENCE, || {
            let tools = listed(&gateway)?;
            anyhow::ensure!(tools.len() == count, "{} tools", tools.len());
            Ok(tools)
        })?;

        tools.iter().for_each(check);
        let names: BTreeSet<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names.len(), count, "{file}");
    }
    assert_eq!(api.seen(), [], "whatever is listed, nothing is asked");
    Ok(())
}

#[test]
fn a_tool_of_the_largest_document_calls_its_api() -> anyhow::Result<()> {
    let api = Api::start()?;
    let mut gateway = gateway_with(&document(&api), json!({}))?;
    let openapi = json!({
        "document": installed(PUBLIC[0].0)?, "server": format!("http://{}", api.address), "include": [{ "tags": ["repos"] }],
        "auth": { "bearer": { "token": "t0" } },
    });
    gateway.rewrite(&Documents::new().server_with("github", json!({ "openapi": openapi })).text())?;
    let in_force = |line: &str| line.contains("the changed resource files are in force").then_some(());
    gateway.process.line(COMPILED_WITHIN, in_force)?;
    let arguments = json!({ "owner": "o", "repo": "r", "path": "docs/a b.md", "ref": "main" });

    let result = call(&gateway, "repos_get-content", &arguments)?;

    let seen = api.only()?;
    assert_eq!(seen.line, "GET /repos/o/r/contents/docs%2Fa%20b.md?ref=main");
    assert_eq!(seen.header("authorization"), Some("Bearer t0"), "the document says nothing about credentials");
    assert!(result["content"][0]["text"].as_str().is_some_and(|text| text.contains("/repos/o/r")), "{result}");
    Ok(())
}

#[test]
fn five_thousand_operations_are_served() -> anyhow::Result<()> {
    let api = Api::start()?;
    let path = |index: usize| {
        let operation = json!({ "operationId": format!("op{}", index / 2), "description": "x".repeat(200) });
        (format!("/p/{index}"), json!({ "get": operation }))
    };
    let paths: serde_json::Map<String, Value> = (0..5_000).map(path).collect();
    let servers = json!([{ "url": format!("http://{}", api.address) }]);
    let document = json!({ "openapi": "3.0.0", "servers": servers, "paths": paths });
    let gateway = gateway_with(&document.to_string(), json!({}))?;

    let tools = listed(&gateway)?;

    assert_eq!(tools.len(), 5_000);
    assert_eq!((&tools[0]["name"], &tools[4_999]["name"]), (&json!("get_p_0"), &json!("get_p_4999")));
    call(&gateway, "get_p_4999", &json!({}))?;
    assert_eq!(api.only()?.line, "GET /p/4999");
    Ok(())
}

#[test]
fn circles_remote_references_and_shared_ids_cost_only_what_needs_them() -> anyhow::Result<()> {
    let api = Api::start()?;
    let with = |id: &str, schema: Value| {
        json!({ "post": {
            "operationId": id,
            "requestBody": { "content": { "application/json": { "schema": schema } } },
        } })
    };
    let document = json!({
        "openapi": "3.1.0", "servers": [{ "url": format!("http://{}", api.address) }],
        "paths": {
            "/tree": with("tree", json!({ "$ref": "#/components/schemas/Tree" })),
            "/loop": with("loop", json!({ "$ref": "#/components/schemas/Loop" })),
            "/remote": with("remote", json!({ "$ref": "http://169.254.169.254/schema.json" })),
            "/one": with("same", json!({})),
            "/two": with("same", json!({})),
        },
        "components": { "schemas": {
            "Tree": { "type": "object", "properties": { "children": { "type": "array", "items": { "$ref": "#/components/schemas/Tree" } } } },
            "Loop": { "allOf": [{ "$ref": "#/components/schemas/Loop" }] },
        } },
    });
    let gateway = gateway_with(&document.to_string(), json!({}))?;

    assert_eq!(gateway.tools()?, ["tree", "post_one", "post_two"]);
    let nested = json!({ "children": [{ "children": [] }] });
    call(&gateway, "tree", &nested)?;
    assert_eq!(api.only()?.body, nested.to_string());
    let log = wait::until("the log", PATIENCE, || {
        let log = gateway.process.output().join("\n");
        anyhow::ensure!(log.matches("an operation is left out").count() == 2, "{log}");
        Ok(log)
    })?;
    assert!(log.contains("leads back to itself") && log.contains("leads out of the document"), "{log}");
    Ok(())
}
