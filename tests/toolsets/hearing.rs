//! What clients hear of servers, and servers of clients, beside calls: subscriptions, logs, notifications.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use quorate_tests::raw::backend::{Backend, Out, Seen};
use quorate_tests::raw::client::Answer;
use quorate_tests::raw::mcp::{Era, Mcp};
use quorate_tests::raw::session::Session;
use serde_json::{Value, json};

use crate::support::document;
use crate::uris::{ALL, ENTER, ruled};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// How long a server waits for a stream that is opened again after a pause.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stateless server that tells listens of each URI that the test says has changed.
fn changing(listed: &[&str]) -> anyhow::Result<(Backend, SyncSender<&'static str>)> {
    let (change, changes) = sync_channel::<&'static str>(16);
    let changes = Mutex::new(changes);
    let backend = Mcp::new("files").resources(listed).on("subscriptions/listen", move |seen, out| {
        let meta = json!({ SUBSCRIPTION: seen.id() });
        let params = json!({ "notifications": seen.params()["notifications"], "_meta": meta });
        let acknowledged = "notifications/subscriptions/acknowledged";
        out.message(&json!({ "jsonrpc": "2.0", "method": acknowledged, "params": params }));
        let changes = changes.lock().expect("no holder panics");
        while let Ok(uri) = changes.recv() {
            let params = json!({ "uri": uri, "_meta": meta });
            let updated = "notifications/resources/updated";
            if !out.message(&json!({ "jsonrpc": "2.0", "method": updated, "params": params })) {
                return;
            }
        }
    });
    Ok((backend.start()?, change))
}

/// The next message of a stream.
fn next(stream: &mut Answer) -> anyhow::Result<Value> {
    Ok(stream.next_message()?.unwrap_or_else(|| panic!("the stream ended")))
}

#[test]
fn a_listen_is_told_of_what_is_within_a_resource_only_where_policy_and_choice_allow() -> anyhow::Result<()> {
    let forbid = r#"forbid (principal, action == Action::"mcp:subscribe", resource is Resource)
        when { resource.uri like "file:///pub/hr/*" };"#;
    let excluded = json!({ "server": "files", "resources": { "exclude": ["file:///pub/hr/*"] } });
    let other = Mcp::new("other").resources(&["file:///pub/both", "db:x"]).start()?;
    for (member, cedar) in [(json!("files"), vec![ALL, forbid]), (excluded, vec![ALL])] {
        for is_alone in [true, false] {
            let (files, change) = changing(&["file:///pub", "file:///pub/both"])?;
            let servers = [("files", &files), ("other", &other)];
            let (servers, members) = match is_alone {
                true => (&servers[..1], json!([member])),
                false => (&servers[..], json!([member, "other"])),
            };
            let gateway = ruled(&document(servers, &json!({ "servers": members })), &cedar)?;
            let wanted = json!({ "notifications": { "resourceSubscriptions": ["file:///pub"] } });
            let mut stream = gateway.modern("l", "subscriptions/listen", wanted)?;
            assert_eq!(next(&mut stream)?["params"]["notifications"]["resourceSubscriptions"], json!(["file:///pub"]));

            for uri in ["file:///pub/hr/salaries", "file:///pub/%68r/salaries", "file:///pub/both"] {
                change.send(uri)?;
            }

            let told = next(&mut stream)?;
            let expected = if is_alone { "file:///pub/both" } else { "quorate://files/file:///pub/both" };
            assert_eq!(told["params"]["uri"], expected, "{cedar:?}: {told}");
        }
    }
    Ok(())
}

#[test]
fn only_the_server_that_a_session_has_subscribed_at_hears_that_it_is_over() -> anyhow::Result<()> {
    let first = Mcp::new("first").resources(&["first:x", "both:x"]).era(Era::Legacy);
    let first = first.on("resources/subscribe", |seen, out| {
        if seen.params()["uri"] == "first:x" {
            out.result(seen, &json!({}))
        } else {
            out.error(seen, 200, -32002, "no")
        }
    });
    let (first, second) = (first.start()?, Mcp::new("second").resources(&["both:x"]).era(Era::Legacy).start()?);
    let resources = document(&[("first", &first), ("second", &second)], &json!({ "servers": ["first", "second"] }));
    let told = |backend: &Backend| backend.count("resources/unsubscribe");

    // Whoever may only connect reaches nobody, and learns nothing.
    let gateway = ruled(&resources, &[ENTER])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    for uri in ["first:x", "both:x", "quorate://second/both:x", "nowhere:x", "file:///a/../b"] {
        let answer = session.request("u", "resources/unsubscribe", json!({ "uri": uri }))?.message()?;
        assert_eq!(answer["result"], json!({}), "{uri}: {answer}");
    }
    assert_eq!((told(&first), told(&second)), (0, 0));

    let gateway = ruled(&resources, &[ALL])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let ask = |method: &str, uri: &str| session.request("s", method, json!({ "uri": uri }))?.message();
    for uri in ["nowhere:x", "first:x", "quorate://second/both:x"] {
        let answer = ask("resources/subscribe", uri)?;
        assert_eq!(answer["result"], json!({}), "{uri}: {answer}");
    }
    for (uri, expected) in [("nowhere:x", (0, 1)), ("first:x", (1, 1)), ("quorate://second/both:x", (1, 2))] {
        for _again in 0..2 {
            let answer = ask("resources/unsubscribe", uri)?;
            assert_eq!(answer["result"], json!({}), "{uri}: {answer}");
            assert_eq!((told(&first), told(&second)), expected, "{uri}");
        }
    }
    Ok(())
}

/// A server of sessions that logs on its own stream as soon as it gets a turn, and then ends it; each stream is told of.
fn talking(name: &'static str) -> anyhow::Result<(Backend, SyncSender<()>, Receiver<()>)> {
    let ((turn, turns), (stream, streams)) = (sync_channel::<()>(64), sync_channel::<()>(64));
    let turns = Mutex::new(turns);
    let talk = move |seen: &Seen, out: &mut Out| {
        if seen.http != "GET" {
            return false;
        }
        // Whoever does not look any more has seen enough.
        let _full = stream.try_send(());
        if turns.lock().expect("no holder panics").recv().is_ok() {
            let log = json!({ "level": "error", "data": name });
            out.message(&json!({ "jsonrpc": "2.0", "method": format!("notifications/{name}") }));
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": log }));
        }
        true
    };
    let backend = Mcp::new(name).era(Era::Legacy).tools(&[&format!("of-{name}")]).rule(talk).start()?;
    Ok((backend, turn, streams))
}

#[test]
fn who_may_do_nothing_at_a_server_hears_nothing_of_it() -> anyhow::Result<()> {
    let ((hidden, hidden_turn, hidden_streams), (open, open_turn, open_streams)) =
        (talking("hidden")?, talking("open")?);
    let resources = document(&[("hidden", &hidden), ("open", &open)], &json!({ "servers": ["hidden", "open"] }));
    let some = r#"permit (principal, action == Action::"mcp:call", resource == Tool::"open/of-open");"#;
    let gateway = ruled(&resources, &[ENTER, some])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let listed = session.request("l", "tools/list", json!({}))?.message()?;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(1), "{listed}");

    let mut stream = session.get(None)?;
    hidden_streams.recv_timeout(PATIENCE)?;
    hidden_turn.send(())?;
    // Read to its end, since there is another one.
    hidden_streams.recv_timeout(PATIENCE)?;
    open_streams.recv_timeout(PATIENCE)?;
    open_turn.send(())?;

    assert_eq!(next(&mut stream)?["method"], "notifications/open");
    assert_eq!(next(&mut stream)?["params"]["data"], "open");
    Ok(())
}

#[test]
fn a_notification_of_a_client_that_is_for_one_server_reaches_no_other() -> anyhow::Result<()> {
    let servers = [Mcp::new("a").era(Era::Legacy).tools(&["x"]).start()?, Mcp::new("b").era(Era::Legacy).start()?];
    let resources = document(&[("a", &servers[0]), ("b", &servers[1])], &json!({ "servers": ["a", "b"] }));
    let gateway = ruled(&resources, &[ALL])?;
    let session = Session::open(&gateway, "2025-11-25")?;
    session.request("l", "tools/list", json!({}))?.message()?;

    let others = ["notifications/tasks/status", "notifications/x-vendor", "notifications/message"];
    for method in others.into_iter().chain(["notifications/roots/list_changed"]) {
        let params = json!({ "taskId": "a-secret", "status": "working" });
        let answer = session.post(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))?;
        assert_eq!(answer.status, 202, "{method}");
    }

    for server in &servers {
        server.wait_for_method("notifications/roots/list_changed")?;
        for method in others {
            assert_eq!(server.count(method), 0, "{method}");
        }
    }
    Ok(())
}
