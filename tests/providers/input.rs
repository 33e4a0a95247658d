//! Requests that cannot be answered: an error of the client's shape that says which field and what is allowed.

use anyhow::{Context as _, ensure};
use quorate_tests::raw::client;
use serde_json::json;

use crate::ground::{Provider, SHAPES, Shape, gateway, model, plain, post, post_with};

/// What is sent, with which headers and body, and the status of the answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16);

#[test]
fn what_is_no_request_is_refused_in_the_clients_shape() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = plain(&provider, &json!({}))?;
    let json = [("content-type", "application/json")];
    let deep = format!(r#"{{"model":"mock","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let cases: [Case<'_>; 8] = [
        ("nothing", &json, b"".to_vec(), 400),
        ("no JSON", &json, b"{\"model\":\"mock\",".to_vec(), 400),
        ("no object", &json, b"[1]".to_vec(), 400),
        ("no UTF-8", &json, b"{\"model\":\"mock\",\"x\":\"\xff\"}".to_vec(), 400),
        ("a field twice", &json, b"{\"model\":\"mock\",\"model\":\"m\",\"contents\":[],\"contents\":[]}".to_vec(), 400),
        ("nested", &json, deep.into_bytes(), 400),
        ("text", &[("content-type", "text/plain")], b"{}".to_vec(), 415),
        ("compressed", &[json[0], ("content-encoding", "gzip")], b"{}".to_vec(), 415),
    ];
    for shape in SHAPES {
        let (path, _) = shape.request("mock", "", false);
        for (what, headers, body, status) in &cases {
            let answer = client::send(gateway.address, "POST", &path, headers, body)?;
            let (found, text) = (answer.status, answer.text()?);
            ensure!(found == *status, "{what} of {shape:?}: {found} {text}");
            shape.error(&serde_json::from_str(&text)?).with_context(|| format!("{what} of {shape:?}: {text}"))?;
        }
    }
    assert_eq!(provider.ledger()?["requests"], 0, "nobody was asked");
    Ok(())
}

#[test]
fn a_parameter_that_is_wrong_is_named() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = plain(&provider, &json!({}))?;
    for (body, field) in [
        (json!({ "messages": [] }), "model"),
        (json!({ "model": 5, "messages": [] }), "model"),
        (json!({ "model": "mock", "messages": [], "stream": "yes" }), "stream"),
        (json!({ "model": "mock", "messages": [], "max_tokens": -1 }), "max_tokens"),
        (json!({ "model": "m".repeat(300), "messages": [] }), "model"),
    ] {
        let answer = post(&gateway, "/v1/chat/completions", &body)?;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.message()?["error"]["param"], field, "{body}");
    }
    Ok(())
}

#[test]
fn a_model_that_does_not_exist_is_not_found() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let gateway = gateway(&[provider.document("p", "openai-compatible", &json!({})), model("m", &target)])?;
    let kinds = ["invalid_request_error", "invalid_request_error", "not_found_error", "NOT_FOUND"];
    for (shape, kind) in SHAPES.into_iter().zip(kinds) {
        let (path, body) = shape.request("another", "hi", false);
        let answer = post(&gateway, &path, &body)?;
        assert_eq!(answer.status, 404, "{shape:?}");
        let answer = answer.message()?;
        let (found, text) = shape.error(&answer).with_context(|| answer.to_string())?;
        assert_eq!(found, kind);
        assert!(text.contains("another"), "{text}");
    }
    let listed = client::send(gateway.address, "GET", "/v1/models", &[], b"")?.message()?;
    assert_eq!(listed["data"][0]["id"], "m");
    let listed = client::send(gateway.address, "GET", "/v1/models", &[("anthropic-version", "2023-06-01")], b"")?;
    assert_eq!(listed.message()?["has_more"], false);
    let listed = client::send(gateway.address, "GET", "/v1beta/models", &[], b"")?.message()?;
    assert_eq!(listed["models"][0]["name"], "models/m");
    for (path, status) in [("/v1/models/m", 200), ("/v1/models/another", 404), ("/v1/files", 404)] {
        assert_eq!(client::send(gateway.address, "GET", path, &[], b"")?.status, status, "{path}");
    }
    let wrong = client::send(gateway.address, "GET", "/v1/chat/completions", &[], b"")?;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST, OPTIONS")));
    Ok(())
}

#[test]
fn a_body_has_the_limit_of_its_model() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let spec = |max: &str| json!({ "targets": [{ "provider": "p", "model": "mock" }], "limits": { "body": max } });
    let gateway = gateway(&[
        provider.document("p", "openai-compatible", &json!({})),
        model("small", &spec("64KiB")),
        model("large", &spec("6MiB")),
    ])?;
    let said = |model: &str, bytes: usize| {
        let (path, body) = Shape::Chat.request(model, &"x".repeat(bytes), false);
        post(&gateway, &path, &body)
    };

    assert_eq!(said("small", 10_000)?.status, 200);
    let refused = said("small", 100_000)?;
    assert_eq!(refused.status, 413);
    assert!(refused.text()?.contains("65536"));
    assert_eq!(said("large", 5 << 20)?.status, 200, "it is more than a listener's limit for tools");
    assert_eq!(said("large", 7 << 20)?.status, 413);
    Ok(())
}

#[test]
fn tools_whose_schema_is_broken_are_refused_where_they_are_translated() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let target = json!({ "names": ["*"], "targets": [{ "provider": "p", "model": "mock" }] });
    let gateway = gateway(&[provider.document("p", "anthropic", &json!({})), model("m", &target)])?;
    for tools in
        [json!("none"), json!([{ "type": "function" }]), json!([{ "type": "function", "function": { "name": 5 } }])]
    {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tools": tools });
        let answer = post(&gateway, "/v1/chat/completions", &body)?;
        assert_eq!(answer.status, 400, "{tools}");
        let answer = answer.message()?;
        let field = answer["error"]["param"].as_str().unwrap_or_default().to_owned();
        assert!(field.starts_with("tools"), "{answer}");
    }
    Ok(())
}

#[test]
fn a_credential_in_the_url_is_refused() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let documents = [provider.document("p", "openai-compatible", &json!({})), model("m", &target)];
    let gateway = quorate_tests::raw::gateway::Gateway::start(&crate::ground::text(&documents), &[])?;
    let (_, body) = Shape::Generate.request("m", "hi", false);
    let body = body.to_string();

    let unknown = post_with(&gateway, "/v1beta/models/m:generateContent", &[], body.as_bytes())?;
    assert_eq!(unknown.status, 401);
    assert_eq!(unknown.message()?["error"]["status"], "UNAUTHENTICATED");
    let shown = post_with(&gateway, "/v1beta/models/m:generateContent?access_token=x", &[], body.as_bytes())?;
    assert_eq!(shown.status, 400);
    Ok(())
}
