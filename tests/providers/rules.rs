//! Who may ask which model what.

use quorate_tests::raw::{client, gateway::Gateway};
use serde_json::json;

use crate::ground::{Provider, Shape, model, post, text};

/// Development callers may ask `open` anything, `short` for little and without tools, and `closed` nothing.
const POLICY: &str = r#"
    permit (principal, action == Action::"llm:invoke", resource == Model::"open");
    permit (principal, action == Action::"llm:invoke", resource == Model::"short") when {
        context.request.bytes < 400 && !context.request.tools && !context.request.images && !context.request.streamed
    };
"#;

fn guarded(provider: &Provider) -> anyhow::Result<Gateway> {
    let target = json!({ "targets": [{ "provider": "p", "model": "mock" }] });
    let documents = [
        provider.document("p", "openai-compatible", &json!({})),
        model("open", &target),
        model("short", &target),
        model("closed", &target),
        json!({ "kind": "Policy", "name": "models", "spec": { "cedar": POLICY } }),
    ];
    Gateway::start(&text(&documents), &["--development-identity"])
}

#[test]
fn a_policy_decides_by_what_is_asked() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = guarded(&provider)?;
    let image = json!([{ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }]);
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let plain = |model: &str| Shape::Chat.request(model, "hi", false).1;
    let with = |model: &str, key: &str, value| {
        let mut body = plain(model);
        body[key] = value;
        body
    };

    for (what, body, status) in [
        ("anything of open", with("open", "tools", tools.clone()), 200),
        ("little of short", plain("short"), 200),
        ("much of short", Shape::Chat.request("short", &"x".repeat(400), false).1, 403),
        ("tools of short", with("short", "tools", tools), 403),
        ("an image of short", with("short", "messages", json!([{ "role": "user", "content": image }])), 403),
        ("a stream of short", with("short", "stream", json!(true)), 403),
        ("closed", plain("closed"), 403),
    ] {
        let answer = post(&gateway, "/v1/chat/completions", &body)?;
        let (found, text) = (answer.status, answer.text()?);
        assert_eq!(found, status, "{what}: {text}");
    }
    let denied = post(&gateway, "/v1/messages", &Shape::Messages.request("closed", "hi", false).1)?.message()?;
    assert_eq!(denied["error"]["type"], "permission_error");
    gateway.metric_until("quorate_policy_denials", "llm:invoke", |denials| denials >= 6.0)?;
    Ok(())
}

#[test]
fn a_list_has_what_the_caller_may_ask() -> anyhow::Result<()> {
    let provider = Provider::start(&[])?;
    let gateway = guarded(&provider)?;

    let listed = client::send(gateway.address, "GET", "/v1/models", &[], b"")?.message()?;

    let names: Vec<&str> =
        listed["data"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(names, ["open", "short"]);
    assert_eq!(client::send(gateway.address, "GET", "/v1/models/closed", &[], b"")?.status, 404);
    Ok(())
}
