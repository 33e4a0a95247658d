//! `subscriptions/listen` of stateless clients: acknowledged, told of changes, ended.

use serde_json::{Value, json};

use crate::support::{
    backend::Backend,
    client::Answer,
    gateway::{Documents, Gateway},
    mcp::Mcp,
};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A server whose own listen stream tells of a change when the test says so.
fn changing(name: &str) -> anyhow::Result<(Backend, std::sync::mpsc::SyncSender<&'static str>)> {
    changing_with(name, &[&format!("file:///{name}")])
}

/// One with these resources.
fn changing_with(
    name: &str,
    resources: &[&str],
) -> anyhow::Result<(Backend, std::sync::mpsc::SyncSender<&'static str>)> {
    let (change, changes) = std::sync::mpsc::sync_channel::<&'static str>(16);
    let changes = std::sync::Mutex::new(changes);
    let own = format!("file:///{name}");
    let backend = Mcp::new(name)
        .tools(&[&format!("of-{name}")])
        .resources(resources)
        .on("subscriptions/listen", move |seen, out| {
            let meta = json!({ SUBSCRIPTION: seen.id() });
            let honoured = &seen.params()["notifications"];
            let params = json!({ "notifications": honoured, "_meta": meta });
            let acknowledged = "notifications/subscriptions/acknowledged";
            out.message(&json!({ "jsonrpc": "2.0", "method": acknowledged, "params": params }));
            let changes = changes.lock().expect("no holder panics");
            while let Ok(method) = changes.recv() {
                let mut params = json!({ "_meta": meta });
                if method == "notifications/resources/updated" {
                    params["uri"] = json!(own);
                }
                if !out.message(&json!({ "jsonrpc": "2.0", "method": method, "params": params })) {
                    return;
                }
            }
        })
        .start()?;
    Ok((backend, change))
}

fn listen(gateway: &Gateway, id: &str, notifications: Value) -> anyhow::Result<Answer> {
    let stream = gateway.modern(id, "subscriptions/listen", json!({ "notifications": notifications }))?;
    assert_eq!((stream.status, stream.is_events()), (200, true));
    Ok(stream)
}

fn next(stream: &mut Answer, id: &str) -> anyhow::Result<Value> {
    let message = stream.next_message()?.unwrap_or_else(|| panic!("the stream ended"));
    assert_eq!(message["params"]["_meta"][SUBSCRIPTION], id, "everything names its subscription: {message}");
    Ok(message)
}

#[test]
fn a_change_reaches_each_listener_that_asked_for_it_under_its_own_id() -> anyhow::Result<()> {
    let ((a, change_a), (b, change_b)) = (changing("a")?, changing("b")?);
    let gateway = Documents::new().server("a", &a.url()).server("b", &b.url()).start()?;
    gateway.tools()?;

    let mut tools = listen(&gateway, "t", json!({ "toolsListChanged": true }))?;
    let first = next(&mut tools, "t")?;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"]["toolsListChanged"], true, "{first}");
    let mut resource = listen(&gateway, "r", json!({ "resourceSubscriptions": ["file:///b"] }))?;
    let first = next(&mut resource, "r")?;
    assert_eq!(first["params"]["notifications"]["resourceSubscriptions"], json!(["file:///b"]), "{first}");

    change_a.send("notifications/tools/list_changed")?;
    assert_eq!(next(&mut tools, "t")?["method"], "notifications/tools/list_changed");
    change_b.send("notifications/resources/updated")?;
    let updated = next(&mut resource, "r")?;
    assert_eq!(
        (&updated["method"], &updated["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!("file:///b"))
    );
    Ok(())
}

#[test]
fn a_change_drops_the_cached_list() -> anyhow::Result<()> {
    let (backend, change) = changing("a")?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let mut tools = listen(&gateway, "t", json!({ "toolsListChanged": true }))?;
    next(&mut tools, "t")?;
    gateway.tools()?;
    let before = backend.count("tools/list");

    change.send("notifications/tools/list_changed")?;
    next(&mut tools, "t")?;

    gateway.tools()?;
    assert!(backend.count("tools/list") > before, "the list was asked for anew");
    Ok(())
}

#[test]
fn a_listener_whose_servers_are_away_is_told_so_or_waits_and_the_gateway_goes_on() -> anyhow::Result<()> {
    let good = Mcp::new("good").start()?;
    let bad = Mcp::new("bad").tools(&["x"]).on("subscriptions/listen", |_, out| out.answer(500, &[], b"")).start()?;
    let gateway = Documents::new().server("good", &good.url()).server("bad", &bad.url()).start()?;

    // What cannot be had is not acknowledged, or the request is answered with an error: never silence for ever.
    let mut stream =
        gateway.modern("l", "subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }))?;
    if stream.is_events() {
        assert!(stream.next_message()?.is_some());
    } else {
        assert_eq!(stream.message()?["id"], "l");
    }
    assert_eq!(gateway.call("echo")?, "good:echo");
    Ok(())
}

#[test]
fn a_server_that_takes_no_more_of_a_caller_is_left_out_of_the_acknowledgement() -> anyhow::Result<()> {
    let uris: Vec<String> = (0..1025).map(|item| format!("file:///a/{item}")).collect();
    let (most, one) = (&uris[..1024], &uris[1024..]);
    let (a, _change_a) = changing_with("a", &uris.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (b, _change_b) = changing("b")?;
    let gateway = Documents::new().server("a", &a.url()).server("b", &b.url()).start()?;
    let only_a = Documents::new().server("a", &a.url()).start()?;
    gateway.tools()?;
    // Four times the most of one filter is the most of one caller.
    let fill = |gateway: &Gateway| -> anyhow::Result<Vec<Answer>> {
        let fill = |id: usize| listen(gateway, &id.to_string(), json!({ "resourceSubscriptions": most }));
        let mut streams = (0..4).map(fill).collect::<anyhow::Result<Vec<_>>>()?;
        for (id, stream) in streams.iter_mut().enumerate() {
            let honoured = next(stream, &id.to_string())?;
            let honoured = &honoured["params"]["notifications"]["resourceSubscriptions"];
            assert_eq!(honoured.as_array().map(Vec::len), Some(1024));
        }
        Ok(streams)
    };

    let streams = fill(&gateway)?;
    let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": one });
    let mut both = listen(&gateway, "t", wanted.clone())?;
    let honoured = next(&mut both, "t")?;
    let honoured = &honoured["params"]["notifications"];
    assert_eq!((&honoured["toolsListChanged"], honoured.get("resourceSubscriptions")), (&json!(true), None));
    drop(streams);

    let _streams = fill(&only_a)?;
    let refused = only_a.modern("t", "subscriptions/listen", json!({ "notifications": wanted }))?;
    assert_eq!(refused.status, 429);
    let error = &refused.message()?["error"];
    assert_eq!(error["data"], json!({ "limit": "principal_subscribed_items", "max": 4096 }), "{error}");
    Ok(())
}

#[test]
fn a_listen_with_wrong_contents_is_refused_with_its_id() -> anyhow::Result<()> {
    let backend = Mcp::new("a").start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;

    for notifications in
        [json!(7), json!("all"), json!({ "resourceSubscriptions": "x" }), json!({ "toolsListChanged": 1 })]
    {
        let params = json!({ "notifications": notifications });
        let answer = gateway.modern("l", "subscriptions/listen", params)?.message()?;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!("l"), &json!(-32602)),
            "{notifications}: {answer}"
        );
    }
    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}
