//! What of its servers a toolset has, and that the rest is nowhere.

use quorate_tests::raw::{backend::Backend, gateway::Gateway, mcp::Mcp, session::Session};
use serde_json::{Value, json};

use crate::support::{Client, code, start};

fn files() -> anyhow::Result<Backend> {
    Mcp::new("files")
        .tools(&["read", "write", "delete_file", "delete_all"])
        .prompts(&["plan", "secret_plan"])
        .resources(&["file:///public/a", "file:///secret/a"])
        .start()
}

/// One server with bare names, which a toolset without choices asks without looking names up.
fn one(member: Value) -> anyhow::Result<(Backend, Gateway)> {
    let files = files()?;
    let gateway = start(&[("files", &files)], json!({ "servers": [member] }))?;
    Ok((files, gateway))
}

#[test]
fn a_tool_that_is_not_chosen_is_neither_listed_nor_callable() -> anyhow::Result<()> {
    let (files, gateway) = one(json!({ "server": "files", "tools": { "exclude": ["delete_*"] } }))?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.tools()?, ["read", "write"], "{revision}");
        assert_eq!(client.call("read", json!({}))?["result"]["content"][0]["text"], "files:read", "{revision}");
        for hidden in ["delete_all", "delete_file", "files_delete_all", "nothing"] {
            let answer = client.call(hidden, json!({}))?;
            assert_eq!(code(&answer), (-32602, &json!("q")), "{revision} {hidden}: {answer}");
        }
    }
    let called = files.seen().into_iter().filter(|seen| seen.method() == "tools/call");
    assert!(called.into_iter().all(|seen| seen.params()["name"] == "read"), "the server hears nothing of the others");
    Ok(())
}

#[test]
fn a_call_before_any_list_is_held_to_the_choice_as_well() -> anyhow::Result<()> {
    let (files, gateway) = one(json!({ "server": "files", "tools": { "include": ["read"] } }))?;

    let answer = Client::of(&gateway, "2026-07-28")?.call("delete_all", json!({}))?;
    assert_eq!(code(&answer), (-32602, &json!("q")), "{answer}");
    let answer = Client::of(&gateway, "2025-11-25")?.call("delete_all", json!({}))?;
    assert_eq!(code(&answer), (-32602, &json!("q")), "{answer}");

    assert_eq!(files.count("tools/call"), 0);
    Ok(())
}

#[test]
fn a_resource_that_is_not_chosen_cannot_be_reached_by_any_spelling() -> anyhow::Result<()> {
    let member =
        json!({ "server": "files", "resources": { "include": ["file:///*"], "exclude": ["file:///secret/*"] } });
    let (files, gateway) = one(member)?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.list("resources/list", "resources", "uri")?, ["file:///public/a"], "{revision}");
        let read = client.ask("resources/read", json!({ "uri": "file:///public/a" }))?;
        assert_eq!(read["result"]["contents"][0]["text"], "files", "{revision}: {read}");
        for uri in [
            "file:///secret/a",
            "file:///%73ecret/a",
            "file:///public/../secret/a",
            "file:///public/../secret/a?/../../public/a",
            "file:////secret/a",
            "file://localhost/secret/a",
            "FILE:///secret/a",
            "x://y",
        ] {
            let answer = client.ask("resources/read", json!({ "uri": uri }))?;
            assert!(answer["error"]["code"].is_i64() && answer["id"] == "q", "{revision} {uri}: {answer}");
            let reference =
                json!({ "ref": { "type": "ref/resource", "uri": uri }, "argument": { "name": "x", "value": "" } });
            assert!(client.ask("completion/complete", reference)?["error"]["code"].is_i64(), "{revision} {uri}");
        }
    }
    let session = Session::open(&gateway, "2025-11-25")?;
    let subscribed = session.request(1, "resources/subscribe", json!({ "uri": "file:///secret/a" }))?.message()?;
    assert!(subscribed["error"]["code"].is_i64(), "{subscribed}");
    let reached = files.seen().into_iter().filter(|seen| seen.params().to_string().contains("ecret"));
    assert_eq!(reached.map(|seen| seen.body).collect::<Vec<_>>(), [Value::Null; 0], "nothing of it reached the server");
    Ok(())
}

#[test]
fn a_list_of_which_nothing_is_chosen_is_not_announced_and_not_asked_for() -> anyhow::Result<()> {
    let member = json!({ "server": "files", "prompts": { "include": [] }, "resources": { "exclude": ["*"] } });
    let (files, gateway) = one(member)?;
    let discovered = gateway.modern(1, "server/discover", json!({}))?.message()?;
    let capabilities = &discovered["result"]["capabilities"];
    assert!(capabilities.get("tools").is_some() && capabilities.get("prompts").is_none(), "{discovered}");
    assert!(capabilities.get("resources").is_none(), "{discovered}");
    for (revision, client) in Client::all(&gateway)? {
        assert!(client.list("prompts/list", "prompts", "name")?.is_empty(), "{revision}");
        assert!(client.list("resources/list", "resources", "uri")?.is_empty(), "{revision}");
        let answer = client.ask("prompts/get", json!({ "name": "plan" }))?;
        assert_eq!(code(&answer).0, -32602, "{revision}: {answer}");
        assert_eq!(client.tools()?.len(), 4, "{revision}");
    }
    assert_eq!(files.count("prompts/list") + files.count("resources/list") + files.count("prompts/get"), 0);
    Ok(())
}

#[test]
fn choices_are_of_one_server_and_free_its_names_for_others() -> anyhow::Result<()> {
    let files = files()?;
    let web = Mcp::new("web").tools(&["read", "fetch"]).prompts(&["plan"]).start()?;
    let servers = json!([{ "server": "files", "tools": { "include": ["write"] }, "prompts": { "include": ["secret_*"] } }, "web"]);
    let gateway = start(&[("files", &files), ("web", &web)], json!({ "servers": servers }))?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.tools()?, ["write", "read", "fetch"], "{revision}");
        assert_eq!(client.call("read", json!({}))?["result"]["content"][0]["text"], "web:read", "{revision}");
        assert_eq!(client.list("prompts/list", "prompts", "name")?, ["secret_plan", "plan"], "{revision}");
    }
    Ok(())
}
