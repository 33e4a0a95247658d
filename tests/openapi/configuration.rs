//! Configuration: selection, servers, problems with documents, and changes while the gateway runs.

use std::fs;
use std::process::{Command, Output};

use quorate_tests::paths;
use quorate_tests::process::Process;
use quorate_tests::raw::PATIENCE;
use quorate_tests::raw::gateway::{Documents, replace};
use serde_json::{Value, json};

use crate::api::Api;
use crate::calls::{call, document, gateway_with};

/// Runs `quorate validate` on resources with this `spec`, beside a document of this text.
fn validate(document: &str, spec: &Value) -> anyhow::Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("api.yaml"), document)?;
    fs::write(folder.path().join("resources.yaml"), Documents::new().server_with("things", spec.clone()).text())?;
    let file = folder.path().join("resources.yaml");
    let Output { status, stdout, stderr } =
        Command::new(paths::binary("quorate")?).args(["validate", "-f"]).arg(&file).output()?;
    let text = [stdout, stderr].concat();
    let place = format!("{}/", folder.path().display());
    Ok((status.code(), String::from_utf8_lossy(&text).replace(&place, "")))
}

#[test]
fn only_what_is_selected_is_offered() -> anyhow::Result<()> {
    let api = Api::start()?;
    let include = json!([{ "paths": ["/special/*"], "methods": ["get"] }]);
    let spec = json!({ "openapi": { "include": include, "exclude": [{ "operations": ["l*", "never"] }] } });
    let gateway = gateway_with(&document(&api), spec)?;

    assert_eq!(gateway.tools()?, ["brokenPromise", "text", "image", "file", "empty", "missing", "redirect"]);
    let hidden = call(&gateway, "makeThing", &json!({}))?;
    assert_eq!(hidden["error"]["code"], -32602, "{hidden}");
    Ok(())
}

#[test]
fn requests_go_to_the_configured_server_and_nowhere_else() -> anyhow::Result<()> {
    let (named, configured) = (Api::start()?, Api::start()?);
    let mut text: Value = serde_json::from_str(&document(&named))?;
    text["paths"]["/special/text"]["servers"] = json!([{ "url": format!("http://{}", named.address) }]);
    let url = format!("http://{}/v2", configured.address);
    let gateway = gateway_with(&text.to_string(), json!({ "openapi": { "server": url } }))?;

    call(&gateway, "text", &json!({}))?;

    assert_eq!(configured.only()?.line, "GET /v2/special/text");
    assert_eq!(named.seen(), []);
    Ok(())
}

#[test]
fn validate_says_what_becomes_of_a_document() -> anyhow::Result<()> {
    let text = "
openapi: 3.1.0
servers: [{url: 'http://127.0.0.1:1'}]
paths:
  /a: {get: {operationId: same}, post: {operationId: same}}
  /b: {get: {parameters: [{name: x, in: query, schema: {$ref: 'https://example.com/x.json'}}]}}
";
    let (code, shown) = validate(text, &json!({ "openapi": { "document": "api.yaml" } }))?;
    assert_eq!(code, Some(0), "{shown}");
    let expected = "
things: 2 tools, 3 notes
  #/paths/~1a/get/operationId: \"same\" is the name of 2 operations: this one is called \"get_a\"
  #/paths/~1a/post/operationId: \"same\" is the name of 2 operations: this one is called \"post_a\"
  #/paths/~1b/get/parameters/0/schema/$ref: $ref \"https://example.com/x.json\" leads out of the document: bundle the document, nothing is fetched (GET /b is left out)
";
    assert!(shown.ends_with(expected), "{shown}");
    let (code, shown) = validate(text, &json!({ "openapi": { "document": "api.yaml", "strict": true } }))?;
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("ToolServer/things: api.yaml: #/paths/~1b/get/parameters/0/schema/$ref: "), "{shown}");
    Ok(())
}

#[test]
fn what_is_wrong_is_said_with_its_place() -> anyhow::Result<()> {
    let good =
        "openapi: 3.1.0\nservers: [{url: 'http://127.0.0.1:1'}]\npaths: {/a: {get: {operationId: a, tags: [t]}}}\n";
    let cases = [
        (good, json!({ "document": "gone.yaml" }), "ToolServer/things: gone.yaml: cannot be read: No such file"),
        ("swagger: '2.0'", json!({}), "api.yaml: #: swagger: \"2.0\" is not read: allowed is openapi: 3.0.x or 3.1.x"),
        ("a: [", json!({}), "api.yaml: #: is not valid YAML"),
        (good, json!({ "include": [{ "tags": ["u"] }] }), "#/tags: \"u\" matches no tag of the document; there are: t"),
        (
            good,
            json!({ "auth": { "x": { "value": "v" } } }),
            "#: a value for \"x\", of which the document does not say where it goes, is not supported; use a token",
        ),
        (
            good,
            json!({ "auth": { "x": { "token": "env:QUORATE_NOT_SET" } } }),
            "the environment variable QUORATE_NOT_SET is not set",
        ),
        (
            good,
            json!({ "auth": { "x": { "token": "t", "value": "v" } } }),
            "spec.openapi.auth.x: a credential is a token, or a value, or a username and a password",
        ),
        (good, json!({ "variables": { "v": "1" } }), "#/servers: \"v\" is not a choice; allowed: none"),
        (
            good,
            json!({ "server": "ftp://x" }),
            "spec.openapi.server: \"ftp://x\" is not valid: the scheme must be http or https",
        ),
        (
            good,
            json!({ "includes": [] }),
            "spec.openapi.includes: unknown key \"includes\" (did you mean \"include\"?)",
        ),
        (good, json!({ "include": [{}] }), "spec.openapi.include[0]: {} is not valid: a rule without"),
    ];
    for (text, mut openapi, expected) in cases {
        if openapi.get("document").is_none() {
            openapi["document"] = json!("api.yaml");
        }
        let (code, shown) = validate(text, &json!({ "openapi": openapi }))?;
        assert_eq!(code, Some(3), "{shown}");
        assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
    }
    let both = json!({ "openapi": { "document": "api.yaml" }, "urls": ["http://127.0.0.1:1/"] });
    assert!(validate(good, &both)?.1.contains("spec: urls and openapi contradict each other: keep one of them"));
    assert!(
        validate(good, &json!({}))?
            .1
            .contains("spec.urls: is missing: The URLs of the server's MCP endpoint, or openapi")
    );
    Ok(())
}

#[test]
fn a_document_that_changes_is_compiled_again_and_a_broken_one_changes_nothing() -> anyhow::Result<()> {
    let api = Api::start()?;
    let mut gateway = gateway_with(&document(&api), json!({}))?;
    let file = gateway.folder.path().join("api.json");
    assert!(gateway.tools()?.contains(&"text".to_owned()));

    replace(&file, "{ broken")?;
    let line = gateway.logged("the changed resource files are refused")?;
    assert!(line.contains("api.json: #: is not valid JSON"), "{line}");
    assert_eq!(call(&gateway, "text", &json!({}))?["content"][0]["text"], "plain text");

    let mut changed: Value = serde_json::from_str(&document(&api))?;
    changed["paths"] = json!({ "/new": { "get": { "operationId": "fresh" } } });
    replace(&file, &changed.to_string())?;
    gateway.logged("the changed resource files are in force")?;
    assert_eq!(gateway.tools()?, ["fresh"]);
    Ok(())
}

#[test]
fn up_takes_documents_beside_tool_servers() -> anyhow::Result<()> {
    let api = Api::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("api.json");
    fs::write(&file, document(&api))?;
    let mut command = Command::new(paths::binary("quorate")?);
    command.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--openapi"]);
    command.arg(format!("things={}", file.display()));
    let mut process = Process::start("quorate up", &mut command)?;
    let url = process
        .line(PATIENCE, |line| line.split_whitespace().find(|word| word.ends_with("/mcp")).map(str::to_owned))?;

    let tool =
        Command::new(paths::binary("quorate")?).args(["call", "text", "--era", "modern", "--url", &url]).output()?;

    assert_eq!(String::from_utf8_lossy(&tool.stdout).trim(), "plain text", "{tool:?}\n{}", process.said());
    Ok(())
}
