//! A file that changes a toolset while clients are there.

use std::collections::BTreeSet;

use quorate_tests::raw::{
    gateway::{Gateway, OPEN},
    mcp::{Era, Mcp, said},
    session::Session,
};
use serde_json::{Value, json};

use crate::support::document;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

#[test]
fn sessions_are_told_of_a_changed_toolset_and_listens_on_it_end() -> anyhow::Result<()> {
    let files = Mcp::new("files")
        .tools(&["read", "write"])
        .resources(&["file:///a", "file:///secret"])
        .on("subscriptions/listen", |seen, out| {
            let meta = json!({ "io.modelcontextprotocol/subscriptionId": seen.id() });
            let params = json!({ "notifications": seen.params()["notifications"], "_meta": meta });
            out.message(&json!({ "jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params }));
            out.wait_for_close();
        })
        .start()?;
    let text = |member| document(&[("files", &files)], &json!({ "servers": [member] }));
    let gateway = Gateway::start(&text(json!({ "server": "files" })), OPEN)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut told = session.get(None)?;
    let wanted = json!({ "notifications": { "resourceSubscriptions": ["file:///secret"] } });
    let mut listen = gateway.modern("l", "subscriptions/listen", wanted.clone())?;
    let first = listen.next_message()?.expect("the stream goes on");
    assert_eq!(first["params"]["notifications"]["resourceSubscriptions"], json!(["file:///secret"]), "{first}");

    gateway.rewrite(&text(json!({
        "server": "files", "tools": { "include": ["read"] }, "resources": { "exclude": ["file:///secret"] },
    })))?;

    let mut methods = BTreeSet::new();
    for _ in 0..3 {
        let message = told.next_message()?.expect("the stream goes on");
        methods.insert(message["method"].as_str().unwrap_or_default().to_owned());
    }
    let expected = ["tools", "prompts", "resources"].map(|kind| format!("notifications/{kind}/list_changed"));
    assert_eq!(methods, BTreeSet::from(expected));
    let listed = session.request(2, "tools/list", json!({}))?.message()?;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(1), "{listed}");
    let end = listen.next_message()?.expect("its end is said");
    assert_eq!((&end["id"], end["result"].is_object()), (&json!("l"), true), "{end}");
    assert!(listen.next_message()?.is_none(), "and nothing comes after it");

    let mut again = gateway.modern("m", "subscriptions/listen", wanted)?;
    let first = again.next_message()?.expect("the stream goes on");
    let honoured = &first["params"]["notifications"]["resourceSubscriptions"];
    assert!(honoured.as_array().is_none_or(Vec::is_empty), "it is no longer chosen: {first}");
    Ok(())
}

#[test]
fn a_session_hears_no_more_of_a_resource_that_is_no_longer_chosen() -> anyhow::Result<()> {
    const UPDATED: &str = "notifications/resources/updated";
    let files = Mcp::new("files")
        .era(Era::Legacy)
        .resources(&["file:///a", "file:///secret"])
        .on("tools/call", |seen, out| {
            out.begin_events(&[]);
            for uri in ["file:///secret", "file:///a"] {
                out.message(&json!({ "jsonrpc": "2.0", "method": UPDATED, "params": { "uri": uri } }));
            }
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("done") }));
            out.end_events();
        })
        .start()?;
    let text = |member| document(&[("files", &files)], &json!({ "servers": [member] }));
    let gateway = Gateway::start(&text(json!({ "server": "files" })), OPEN)?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let mut stream = session.get(None)?;
    for uri in ["file:///a", "file:///secret"] {
        let subscribed = session.request(1, "resources/subscribe", json!({ "uri": uri }))?.message()?;
        assert!(subscribed["result"].is_object(), "{subscribed}");
    }
    let updated = |id: u8| -> anyhow::Result<Vec<Value>> {
        let mut answer = session.request(id, "tools/call", json!({ "name": "echo" }))?;
        assert!(answer.is_events(), "{}", answer.status);
        let mut uris = Vec::new();
        while let Some(message) = answer.next_message()?.filter(|message| message.get("method").is_some()) {
            uris.push(message["params"]["uri"].clone());
        }
        Ok(uris)
    };
    assert_eq!(updated(2)?, ["file:///secret", "file:///a"]);

    gateway.rewrite(&text(json!({ "server": "files", "resources": { "exclude": ["file:///secret"] } })))?;
    for _ in 0..3 {
        let told = stream.next_message()?.expect("the stream goes on");
        assert!(told["method"].as_str().is_some_and(|method| method.ends_with("/list_changed")), "{told}");
    }

    assert_eq!(updated(3)?, ["file:///a"]);
    Ok(())
}
