//! Credentials: who gets them, and that nobody else sees them.

use std::fs;

use quorate_tests::raw::gateway::{Documents, Gateway, OPEN, modern_request};
use serde_json::{Value, json};

use crate::api::Api;
use crate::calls::{call, gateway_with};

/// What no log, answer or other server may show.
const SECRETS: [&str; 3] = ["s3cret-token", "s3cret-key", "s3cret-word"];

fn document(api: &Api) -> String {
    let operation = |id: &str, security: Value| json!({ "get": { "operationId": id, "security": security } });
    json!({
        "openapi": "3.0.3", "servers": [{ "url": format!("http://{}/base", api.address) }],
        "components": { "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer" },
            "key": { "type": "apiKey", "in": "query", "name": "api_key" },
            "login": { "type": "http", "scheme": "basic" },
        } },
        "paths": {
            "/bearer": operation("bearer", json!([{ "bearer": [] }])),
            "/key": operation("key", json!([{ "key": [] }])),
            "/login": operation("login", json!([{ "login": [] }])),
            "/public": operation("public", json!([])),
        },
    })
    .to_string()
}

#[test]
fn each_operation_gets_its_own_credential_and_nobody_sees_it() -> anyhow::Result<()> {
    let api = Api::start()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("api.json"), document(&api))?;
    fs::write(folder.path().join("token"), "s3cret-token\n")?;
    let auth = json!({
        "bearer": { "token": "file:token" },
        "key": { "value": "s3cret-key" },
        "login": { "username": "ann", "password": "s3cret-word" },
    });
    let spec = json!({ "openapi": { "document": "api.json", "auth": auth } });
    fs::write(folder.path().join("resources.yaml"), Documents::new().server_with("things", spec).text())?;
    let gateway = Gateway::start_in(folder, &[OPEN, &["--log", "trace"]].concat())?;

    let mut results = String::new();
    for tool in ["bearer", "key", "login", "public"] {
        results.push_str(&call(&gateway, tool, &json!({}))?.to_string());
    }

    let seen = api.seen();
    let carried: Vec<(&str, Option<&str>)> =
        seen.iter().map(|one| (one.line.as_str(), one.header("authorization"))).collect();
    assert_eq!(
        carried,
        [
            ("GET /base/bearer", Some("Bearer s3cret-token")),
            ("GET /base/key?api_key=s3cret-key", None),
            ("GET /base/login", Some("Basic YW5uOnMzY3JldC13b3Jk")),
            ("GET /base/public", None),
        ]
    );
    let log = gateway.process.output().join("\n");
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log shows {secret}");
    }
    // The API repeats its own URI.
    assert!(results.contains("GET /base/key?api_key=(hidden)") && !results.contains("s3cret"), "{results}");
    Ok(())
}

#[test]
fn a_clients_own_credentials_do_not_reach_the_api() -> anyhow::Result<()> {
    let api = Api::start()?;
    let gateway = gateway_with(&document(&api), json!({}))?;
    let (mut headers, body) = modern_request(&json!(1), "tools/call", json!({ "name": "public", "arguments": {} }));
    headers.push(("authorization", "Bearer of-the-client".to_owned()));
    headers.push(("cookie", "of=the-client".to_owned()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();

    let answer = gateway.send("POST", &headers, &body.to_string())?;

    assert_eq!(answer.status, 200);
    let seen = api.only()?;
    assert_eq!((seen.header("authorization"), seen.header("cookie")), (None, None));
    Ok(())
}

#[test]
fn a_secret_that_changes_is_read_again() -> anyhow::Result<()> {
    let api = Api::start()?;
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    fs::write(folder.path().join("api.json"), document(&api))?;
    fs::write(&token, "old")?;
    let spec = json!({ "openapi": { "document": "api.json", "auth": { "bearer": { "token": "file:token" } } } });
    fs::write(folder.path().join("resources.yaml"), Documents::new().server_with("things", spec).text())?;
    let mut gateway = Gateway::start_in(folder, OPEN)?;
    call(&gateway, "bearer", &json!({}))?;

    fs::write(&token, "newer")?;
    gateway.logged("the changed resource files are in force")?;
    call(&gateway, "bearer", &json!({}))?;

    let carried: Vec<Option<String>> =
        api.seen().iter().map(|one| one.header("authorization").map(str::to_owned)).collect();
    assert_eq!(carried, [Some("Bearer old".to_owned()), Some("Bearer newer".to_owned())]);
    Ok(())
}
