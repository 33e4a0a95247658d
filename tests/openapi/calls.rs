//! Calls: what reaches the API, and what comes back to the client.

use std::fs;

use quorate_tests::raw::gateway::{Documents, Gateway, OPEN};
use serde_json::{Value, json};

use crate::api::Api;

/// A document with an operation for each place of an argument and each kind of answer.
pub(crate) fn document(api: &Api) -> String {
    let operation = |id: &str| json!({ "get": { "operationId": id, "responses": { "200": { "description": "" } } } });
    let item = json!({ "type": "object", "properties": { "id": { "type": "integer" }, "name": { "type": "string" } } });
    let answer = |schema: Value| json!({ "200": { "description": "", "content": { "application/json": { "schema": schema } } } });
    let parameter = |name: &str, place: &str, schema: Value| json!({ "name": name, "in": place, "required": place == "path", "schema": schema });
    let mut paths = json!({
        "/things/{id}": { "post": {
            "operationId": "makeThing", "summary": "Makes a thing",
            "parameters": [
                parameter("id", "path", json!({ "type": "string" })),
                parameter("tags", "query", json!({ "type": "array", "items": { "type": "string" } })),
                parameter("X-Mode", "header", json!({ "type": "string", "enum": ["dry", "wet"] })),
                parameter("flavour", "cookie", json!({ "type": "string" })),
            ],
            "requestBody": { "required": true, "content": { "application/json": { "schema": {
                "type": "object", "required": ["name"],
                "properties": { "id": { "type": "integer" }, "name": { "type": "string" }, "price": { "type": "number" } },
            } } } },
            "responses": answer(json!({ "type": "object", "properties": { "line": { "type": "string" } } })),
        } },
        "/special/list": { "get": {
            "operationId": "list", "parameters": [parameter("page", "query", json!({ "type": "integer" }))],
            "responses": answer(json!({ "type": "array", "items": { "type": "integer" } })),
        } },
        "/special/broken-promise": { "get": { "operationId": "brokenPromise", "responses": answer(item) } },
    });
    for what in ["text", "image", "file", "empty", "missing", "redirect", "large", "never"] {
        paths[format!("/special/{what}")] = operation(what);
    }
    json!({ "openapi": "3.1.0", "info": { "title": "Things", "version": "1" }, "servers": [{ "url": format!("http://{}", api.address) }], "paths": paths }).to_string()
}

/// A gateway in front of an API with this document and these other keys of `spec`.
pub(crate) fn gateway_with(document: &str, mut spec: Value) -> anyhow::Result<Gateway> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("api.json"), document)?;
    spec["openapi"]["document"] = json!("api.json");
    let resources = Documents::new().server_with("things", spec).text();
    fs::write(folder.path().join("resources.yaml"), resources)?;
    Gateway::start_in(folder, OPEN)
}

/// Calls a tool and returns its result.
pub(crate) fn call(gateway: &Gateway, tool: &str, arguments: &Value) -> anyhow::Result<Value> {
    let message = gateway.modern(1, "tools/call", json!({ "name": tool, "arguments": arguments }))?.message()?;
    Ok(message.get("result").cloned().unwrap_or(message))
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn arguments_reach_the_api_where_its_document_wants_them() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({ "headers": { "X-Team": "blue" } }))?;
    let arguments = json!({
        "path_id": "a/b", "tags": ["x y", "z"], "X-Mode": "dry", "flavour": "sweet", "body_id": 7, "name": "n", "price": 1.50
    });

    let result = call(&gateway, "makeThing", &arguments)?;

    let seen = api.only()?;
    assert_eq!(seen.line, "POST /things/a%2Fb?tags=x%20y&tags=z");
    assert_eq!(seen.body, r#"{"id":7,"name":"n","price":1.5}"#);
    let expected =
        [("x-mode", "dry"), ("cookie", "flavour=sweet"), ("x-team", "blue"), ("content-type", "application/json")];
    for (name, value) in expected {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert!(seen.header("traceparent").is_some() && seen.header("mcp-method").is_none(), "{seen:?}");
    assert_eq!(result["structuredContent"]["line"], seen.line.as_str(), "{result}");
    assert!(text(&result).contains(&seen.line), "{result}");
    Ok(())
}

#[test]
fn tools_are_listed_with_their_schemas_in_the_order_of_the_document() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({}))?;

    let message = gateway.modern(1, "tools/list", json!({}))?.message()?;

    let tools = message["result"]["tools"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names[..4], ["makeThing", "list", "brokenPromise", "text"]);
    assert_eq!(tools[0]["title"], "Makes a thing");
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["path_id", "name"]));
    assert_eq!(tools[0]["outputSchema"]["properties"]["line"], json!({ "type": ["string", "null"] }));
    assert_eq!(tools[1]["annotations"], json!({ "readOnlyHint": true }));
    assert_eq!(api.seen(), [], "a list asks the API for nothing");
    Ok(())
}

#[test]
fn every_kind_of_answer_becomes_a_result() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({ "limits": { "answer": "4MiB" } }))?;
    let result = |tool: &str| call(&gateway, tool, &json!({}));

    assert_eq!(text(&result("text")?), "plain text");
    assert_eq!(result("image")?["content"][0], json!({ "type": "image", "data": "iVBORw==", "mimeType": "image/png" }));
    let file = &result("file")?["content"][0]["resource"];
    assert_eq!((&file["blob"], &file["uri"]), (&json!("UEs="), &json!(format!("http://{}/special/file", api.address))));
    assert_eq!(text(&result("empty")?), "HTTP 204 No Content");
    let list = result("list")?;
    assert_eq!(list["structuredContent"], json!({ "result": [1, 2] }));
    assert_eq!(list["_meta"]["quorate/next"], json!({ "arguments": { "page": 2 } }));
    let mended = result("brokenPromise")?;
    assert_eq!(mended["structuredContent"], json!({ "id": null, "name": "n" }));
    assert_eq!(mended["_meta"]["quorate/replaced"], json!(["/id"]));
    for (tool, expected) in [
        ("missing", "HTTP 404 Not Found\n{\"error\":\"no such thing\"}"),
        ("redirect", "HTTP 302 Found\nlocation: /elsewhere\nRedirects are not followed."),
    ] {
        let found = result(tool)?;
        assert_eq!((text(&found), &found["isError"]), (expected, &json!(true)), "{tool}");
    }
    let large = result("large")?;
    assert!(text(&large).contains("larger than 1048576 bytes") && large["isError"] == true, "{}", text(&large));
    assert!(!api.seen().iter().any(|seen| seen.line.contains("elsewhere")), "redirects are not followed");
    Ok(())
}

#[test]
fn a_request_may_be_larger_than_an_answer() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({ "limits": { "answer": "64KiB" } }))?;
    let name = "x".repeat(100 << 10);

    let result = call(&gateway, "makeThing", &json!({ "path_id": "a", "name": name }))?;

    assert_eq!(api.only()?.body.len(), format!(r#"{{"name":"{name}"}}"#).len());
    assert!(text(&result).contains("its answer is larger than"), "{result}");
    Ok(())
}

#[test]
fn content_that_is_expected_and_absent_has_a_length_on_the_wire() -> anyhow::Result<()> {
    let api = Api::start()?;
    let operation = |id: &str| json!({ "operationId": id });
    let document = json!({
        "openapi": "3.1.0", "servers": [{ "url": format!("http://{}", api.address) }],
        "paths": { "/a": { "post": operation("post"), "put": operation("put"), "patch": operation("patch"), "get": operation("get") } },
    });
    let gateway = gateway_with(&document.to_string(), json!({}))?;

    for tool in ["post", "put", "patch", "get"] {
        call(&gateway, tool, &json!({}))?;
    }

    let seen = api.seen();
    let lengths: Vec<Option<&str>> = seen.iter().map(|one| one.header("content-length")).collect();
    assert_eq!(lengths, [Some("0"), Some("0"), Some("0"), None]);
    Ok(())
}

#[test]
fn wrong_arguments_are_results_that_a_model_can_read_and_reach_nobody() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({}))?;

    let found = call(&gateway, "makeThing", &json!({ "path_id": "..", "X-Mode": "damp", "nmae": "n" }))?;

    assert_eq!(found["isError"], true);
    assert_eq!(
        text(&found),
        "The arguments are not valid.\n\
         there is no argument \"nmae\"; allowed: path_id, tags, X-Mode, flavour, body_id, name, price\n\
         X-Mode: \"damp\" is not a choice; allowed: dry, wet\n\
         name: is required and missing; expected string"
    );
    let unknown = call(&gateway, "gone", &json!({}))?;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert_eq!(api.seen(), []);
    Ok(())
}

#[test]
fn an_api_that_is_gone_or_silent_is_an_error_and_comes_back() -> anyhow::Result<()> {
    let api = Api::start()?;
    let limits = json!({ "limits": { "firstByte": "300ms", "total": "1s" }, "health": { "interval": "1s" } });
    let gateway = gateway_with(&document(&api), limits.clone())?;
    let silent = call(&gateway, "never", &json!({}))?;
    assert_eq!(silent["error"]["code"], -31006, "{silent}");
    assert_eq!(text(&call(&gateway, "text", &json!({}))?), "plain text");

    let document = document(&api);
    drop(api);
    let gone = call(&gateway_with(&document, limits)?, "text", &json!({}))?;
    assert_eq!(gone["error"]["code"], -31001, "{gone}");
    Ok(())
}
