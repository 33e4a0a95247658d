//! Lists: pages with sealed cursors, the cache, its invalidation, what passes unchanged.

use std::sync::{Arc, Mutex};

use quorate_tests::wait;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Backend,
    gateway::{Documents, Gateway},
    mcp::{Era, Lists, Mcp},
    session::Session,
};

/// A server with so many tools that the gateway's lists have pages.
fn many(count: usize) -> anyhow::Result<(Backend, Gateway, Arc<Mutex<Lists>>)> {
    let names: Vec<String> = (0..count).map(|at| format!("tool-{at:05}")).collect();
    let mcp = Mcp::new("a").tools(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let lists = mcp.lists();
    let backend = mcp.start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway, lists))
}

fn page(gateway: &Gateway, cursor: Option<&Value>) -> anyhow::Result<Value> {
    let params = cursor.map_or(json!({}), |cursor| json!({ "cursor": cursor }));
    gateway.modern("p", "tools/list", params)?.message()
}

#[test]
fn a_long_list_comes_in_pages_whose_cursors_are_ours_alone() -> anyhow::Result<()> {
    let (_backend, gateway, _) = many(9_000)?;

    let first = page(&gateway, None)?;
    let cursor = &first["result"]["nextCursor"];
    let text = cursor.as_str().unwrap_or_else(|| panic!("9,000 tools are more than one page"));
    let all = gateway.tools()?;
    assert_eq!(all.len(), 9_000);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "each tool once, in the server's order");

    let second = page(&gateway, Some(cursor))?;
    assert!(second["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
    assert_eq!(
        page(&gateway, Some(cursor))?["result"]["tools"],
        second["result"]["tools"],
        "a cursor may be used again"
    );
    let cut = &text[..text.len() - 2];
    let swapped = format!("{}{}", if text.starts_with('A') { "B" } else { "A" }, &text[1..]);
    for wrong in [cut, &swapped, "x", "0", "1000"] {
        let answer = page(&gateway, Some(&json!(wrong)))?;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32602), &json!("p")), "{wrong}: {answer}");
    }
    let other_list = gateway.modern("p", "prompts/list", json!({ "cursor": text }))?.message()?;
    assert_eq!(other_list["error"]["code"], -32602, "a cursor is for its own list: {other_list}");

    // The session's list is another one, and so are its cursors.
    let session = Session::open(&gateway, "2025-11-25")?;
    let listed = session.request(1, "tools/list", json!({}))?.message()?;
    let next = session.request(2, "tools/list", json!({ "cursor": listed["result"]["nextCursor"] }))?.message()?;
    assert!(next["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{next}");
    let wrong = session.request(3, "tools/list", json!({ "cursor": "x" }))?;
    assert_eq!(wrong.status, 200);
    assert_eq!(wrong.message()?["error"]["code"], -32602);
    Ok(())
}

#[test]
fn a_cached_list_is_asked_for_once() -> anyhow::Result<()> {
    let (backend, gateway, _) = many(3)?;

    for _ in 0..10 {
        assert_eq!(gateway.tools()?.len(), 3);
    }

    let asked = backend.count("tools/list");
    assert!(asked <= 2, "10 lists asked the server {asked} times");
    Ok(())
}

#[test]
fn a_change_that_a_legacy_server_announces_drops_the_cached_list_and_reaches_the_client() -> anyhow::Result<()> {
    // The server's GET stream: says that its tools changed when the test asks for it.
    let (change, changed) = std::sync::mpsc::sync_channel::<()>(1);
    let changed = Mutex::new(changed);
    let mcp = Mcp::new("a").era(Era::Legacy).rule(move |seen, out| {
        let is_stream = seen.http == "GET" && seen.header("mcp-session-id").is_some();
        if is_stream {
            out.begin_events(&[]);
            while changed.lock().expect("no holder panics").recv().is_ok() {
                if !out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })) {
                    break;
                }
            }
        }
        is_stream
    });
    let lists = mcp.lists();
    let backend = mcp.start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let names = |session: &Session| -> anyhow::Result<Vec<String>> {
        let listed = session.request(1, "tools/list", json!({}))?.message()?;
        let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
        Ok(tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect())
    };
    assert_eq!(names(&session)?, ["echo"]);
    let mut listening = session.get(None)?;
    assert_eq!(listening.status, 200);
    backend.wait_for("the gateway's own stream", |seen| (seen.http == "GET").then_some(()))?;

    lists.lock().expect("no holder panics").tools.push("new".to_owned());
    change.send(())?;

    let told = listening.next_message()?.unwrap_or_default();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    wait::until("the new list", PATIENCE, || {
        let names = names(&session)?;
        anyhow::ensure!(names == ["echo", "new"], "{names:?}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn what_a_server_lists_passes_byte_for_byte() -> anyhow::Result<()> {
    let odd = r#"{"zeta":1.0,"name":"odd","inputSchema":{"type":"object","properties":{"n":{"type":"number","maximum":1E2,"x-own":[1,1.0,1e0]}}},"annotations":{"unknown":null,"a":"\u00e9\/"}}"#;
    let mcp = Mcp::new("a").on("tools/list", move |seen, out| {
        let result = format!(r#"{{"tools":[{odd}],"resultType":"complete","ttlMs":1000,"cacheScope":"public"}}"#);
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, seen.id());
        out.answer(200, &[("content-type", "application/json")], body.as_bytes());
    });
    let backend = mcp.start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;

    let text = gateway.modern(1, "tools/list", json!({}))?.text()?;

    assert!(text.contains(odd), "{text}");
    Ok(())
}

#[test]
fn a_call_and_its_answer_pass_byte_for_byte() -> anyhow::Result<()> {
    let odd = r#"{"content":[{"type":"text","text":"\u00e9","own":1.0}],"structuredContent":{"b":1E2,"a":1},"resultType":"complete","own":[1,1.0]}"#;
    let mcp = Mcp::new("a").on("tools/call", move |seen, out| {
        let body = format!(r#"{{"jsonrpc":"2.0","result":{odd},"id":{}}}"#, seen.id());
        out.answer(200, &[("content-type", "application/json")], body.as_bytes());
    });
    let backend = mcp.start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;

    let text = gateway.modern("x", "tools/call", json!({ "name": "echo" }))?.text()?;
    assert!(text.contains(odd), "{text}");
    let session = Session::open(&gateway, "2025-11-25")?;
    let text = session.request(1, "tools/call", json!({ "name": "echo" }))?.text()?;
    assert!(text.contains(odd), "{text}");
    Ok(())
}
