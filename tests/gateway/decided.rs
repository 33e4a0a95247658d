//! What policies see of a request, and what of their decisions is told: in both eras, as the development identity.
//!
//! Callers with credentials of their own are in the tests of identity; here is what needs none.

use std::process::Command;

use quorate_tests::paths;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::{Out, Seen},
    client::Answer,
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp},
    session::Session,
};

const VERSION: &str = "2025-11-25";

/// Starts a gateway that asks these policies about the development identity.
fn start(documents: &Documents, cedar: &str, flags: &[&str]) -> anyhow::Result<Gateway> {
    let policy = json!({ "kind": "Policy", "name": "access", "spec": { "cedar": cedar } });
    Gateway::start(&format!("{}\n---\n{policy}", documents.text()), &[&["--development-identity"], flags].concat())
}

/// A server that has every resource, and lists these.
fn library(listed: &[&str]) -> Mcp {
    Mcp::new("docs").resources(listed).listens().on("resources/read", |seen, out| {
        let mut result = json!({ "contents": [{ "uri": seen.params()["uri"], "text": "read" }] });
        if seen.is_modern() {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(0);
            result["cacheScope"] = json!("private");
        }
        out.result(seen, &result);
    })
}

/// Subscribes to a resource as a stateless client: whether that is honoured.
fn is_heard(gateway: &Gateway, uri: &str) -> anyhow::Result<bool> {
    let filter = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let first = first(gateway.modern(1, "subscriptions/listen", filter)?)?;
    Ok(first["params"]["notifications"]["resourceSubscriptions"] == json!([uri]))
}

/// The first message of a stream.
fn first(mut stream: Answer) -> anyhow::Result<Value> {
    Ok(stream.next_message()?.expect("a stream of subscriptions begins with a message"))
}

#[test]
fn policies_see_the_tags_of_a_resource_that_is_read_or_subscribed_to_whether_it_is_listed_or_not() -> anyhow::Result<()>
{
    let docs = library(&["file:///public/listed", "file:///secret/listed"]).start()?;
    let rule = json!({ "match": { "uri": "file:///public/*" }, "tags": ["public"] });
    let toolset = json!({ "servers": ["docs"], "resources": [rule] });
    let documents = Documents::new().server("docs", &docs.url()).toolset(toolset);
    let gateway = start(
        &documents,
        r#"
            permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);
            permit(principal, action in [Action::"mcp:read", Action::"mcp:subscribe"], resource is Resource)
            when { resource.tags.contains("public") };
        "#,
        &[],
    )?;
    let session = Session::open(&gateway, VERSION)?;

    assert_eq!(gateway.list("resources/list", "resources", "uri")?, ["file:///public/listed"]);
    for name in ["listed", "unlisted"] {
        for (folder, is_public) in [("public", true), ("secret", false)] {
            let uri = format!("file:///{folder}/{name}");
            let params = json!({ "uri": uri });
            let stateless = gateway.modern(1, "resources/read", params.clone())?.message()?;
            let in_session = session.request(uri.as_str(), "resources/read", params.clone())?.message()?;
            let subscribed = session.request(1, "resources/subscribe", params)?.message()?;
            for answer in [&stateless, &in_session, &subscribed] {
                assert_eq!(answer.get("result").is_some(), is_public, "{uri}: {answer}");
            }
            assert_eq!(is_heard(&gateway, &uri)?, is_public, "{uri}");
        }
    }
    let seen = docs.seen();
    let secret = seen.iter().find(|seen| seen.params()["uri"].as_str().is_some_and(|uri| uri.contains("secret")));
    assert!(secret.is_none(), "the server was asked for {secret:?}");
    Ok(())
}

#[test]
fn a_server_asks_nothing_of_a_client_by_a_resource_that_it_does_not_list() -> anyhow::Result<()> {
    let asks = |seen: &Seen, out: &mut Out| {
        let params = json!({ "message": "Which?", "requestedSchema": { "type": "object", "properties": {} } });
        let question = json!({ "method": "elicitation/create", "params": params });
        let result = json!({
            "resultType": "input_required", "inputRequests": { "which": question }, "requestState": "state",
        });
        out.result(seen, &result);
    };
    let curious = Mcp::new("curious").era(Era::Modern).on("resources/read", asks).start()?;
    let empty = Mcp::new("empty").era(Era::Modern).start()?;
    let holder = library(&[]).era(Era::Modern).start()?;
    let read = |other: &str| {
        let documents = Documents::new().server("curious", &curious.url()).server("other", other);
        let declared = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
        let params = json!({ "uri": "file:///unlisted", "_meta": declared });
        documents.start()?.modern(1, "resources/read", params)?.message()
    };

    let held = read(&holder.url())?;
    let nowhere = read(&empty.url())?;

    assert_eq!(held["result"]["contents"][0]["text"], "read", "{held}");
    assert!(nowhere["error"]["code"].is_i64(), "{nowhere}");
    for answer in [&held, &nowhere] {
        assert!(!answer.to_string().contains("Which?"), "the client was asked: {answer}");
    }
    assert_eq!(curious.count("resources/read"), 2, "it is asked for what nobody lists");
    Ok(())
}

#[test]
fn a_subscription_that_is_denied_is_counted_logged_and_audited() -> anyhow::Result<()> {
    let docs = library(&["file:///listed"]).start()?;
    let data = tempfile::tempdir()?;
    let folder = data.path().to_str().expect("a temporary folder has a plain name").to_owned();
    let connects = r#"permit(principal, action == Action::"mcp:connect", resource);"#;
    let documents = Documents::new().server("docs", &docs.url());
    let mut gateway = start(&documents, connects, &["--data-dir", &folder])?;

    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": ["file:///listed"] });
    let told = first(gateway.modern(1, "subscriptions/listen", json!({ "notifications": filter }))?)?;

    assert_eq!(told["params"]["notifications"], json!({}), "{told}");
    gateway
        .metric_until("quorate_policy_denials_total", "quorate_action=\"mcp:subscribe\"", |denials| denials == 2.0)?;
    gateway.logged("action == Action::\"mcp:subscribe\", resource == Toolset::\"default\"")?;
    gateway.logged("action == Action::\"mcp:subscribe\", resource == Resource::\"docs/file:///listed\"")?;
    gateway.process.terminate(PATIENCE)?;
    let mut show = Command::new(paths::binary("quorate")?);
    let shown = show.args(["audit", "show", "--json"]).arg(data.path().join("audit")).output()?;
    let records = String::from_utf8(shown.stdout)?;
    for resource in ["Toolset::", "Resource::"] {
        let is_it =
            |line: &&str| line.contains("\"denied\"") && line.contains("mcp:subscribe") && line.contains(resource);
        assert_eq!(records.lines().filter(is_it).count(), 1, "{resource}: {records}");
    }
    Ok(())
}
