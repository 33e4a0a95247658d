//! What two servers look like through one toolset: names, collisions, prompts, resources.

use serde_json::{Value, json};

use crate::support::{
    backend::Backend,
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp},
    session::Session,
};

fn two(naming: Option<&'static str>) -> anyhow::Result<(Backend, Backend, Gateway)> {
    let first = Mcp::new("first")
        .tools(&["search", "only-first"])
        .prompts(&["plan", "first-prompt"])
        .resources(&["file:///shared", "file:///first"]);
    let second = Mcp::new("second")
        .tools(&["search", "only-second"])
        .prompts(&["plan", "second-prompt"])
        .resources(&["file:///shared", "file:///second"]);
    let (first, second) = (first.start()?, second.start()?);
    let mut documents = Documents::new().server("first", &first.url()).server("second", &second.url());
    documents.naming = naming;
    let gateway = documents.start()?;
    Ok((first, second, gateway))
}

fn prompt(gateway: &Gateway, name: &str) -> anyhow::Result<Value> {
    gateway.modern(1, "prompts/get", json!({ "name": name }))?.message()
}

#[test]
fn on_collision_prefixes_what_collides_and_nothing_else() -> anyhow::Result<()> {
    let (_first, _second, gateway) = two(None)?;

    let mut tools = gateway.tools()?;
    tools.sort();
    assert_eq!(tools, ["first_search", "only-first", "only-second", "second_search"]);
    for (name, said) in [
        ("first_search", "first:search"),
        ("second_search", "second:search"),
        ("only-first", "first:only-first"),
        ("only-second", "second:only-second"),
    ] {
        assert_eq!(gateway.call(name)?, said);
        let session = Session::open(&gateway, "2025-11-25")?;
        assert_eq!(session.call(1, name)?["result"]["content"][0]["text"], said);
    }
    let ambiguous = gateway.modern("q", "tools/call", json!({ "name": "search" }))?.message()?;
    assert_eq!((&ambiguous["id"], &ambiguous["error"]["code"]), (&json!("q"), &json!(-32602)), "{ambiguous}");
    let message = ambiguous["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("first_search") && message.contains("second_search"), "{message}");
    Ok(())
}

#[test]
fn prefix_prefixes_everything_and_bare_names_are_unknown() -> anyhow::Result<()> {
    let (_first, _second, gateway) = two(Some("prefix"))?;

    let mut tools = gateway.tools()?;
    tools.sort();
    assert_eq!(tools, ["first_only-first", "first_search", "second_only-second", "second_search"]);
    assert_eq!(gateway.call("second_only-second")?, "second:only-second");
    for unknown in ["only-first", "search", "third_search", "first_nothing", "first__search", ""] {
        let answer = gateway.modern(1, "tools/call", json!({ "name": unknown }))?.message()?;
        assert_eq!(answer["error"]["code"], -32602, "{unknown}: {answer}");
    }
    assert_eq!(prompt(&gateway, "first_plan")?["result"]["messages"][0]["content"]["text"], "first:plan");
    Ok(())
}

#[test]
fn bare_with_two_servers_serves_the_unambiguous_names() -> anyhow::Result<()> {
    let (_first, _second, gateway) = two(Some("bare"))?;

    let tools = gateway.tools()?;
    assert!(tools.contains(&"only-first".to_owned()) && tools.contains(&"only-second".to_owned()), "{tools:?}");
    let ambiguous = tools.iter().filter(|name| *name == "search").count();
    assert!(ambiguous <= 1, "a name stands for one tool: {tools:?}");
    assert_eq!(gateway.call("only-first")?, "first:only-first");
    assert_eq!(gateway.call("only-second")?, "second:only-second");
    Ok(())
}

#[test]
fn prompts_are_named_as_tools_are() -> anyhow::Result<()> {
    let (_first, second, gateway) = two(None)?;

    let mut prompts = gateway.list("prompts/list", "prompts", "name")?;
    prompts.sort();
    assert_eq!(prompts, ["first-prompt", "first_plan", "second-prompt", "second_plan"]);
    assert_eq!(prompt(&gateway, "second_plan")?["result"]["messages"][0]["content"]["text"], "second:plan");
    let unknown = prompt(&gateway, "plans")?;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    // A completion goes to the prompt's server under the name that the server knows.
    let reference =
        json!({ "ref": { "type": "ref/prompt", "name": "second_plan" }, "argument": { "name": "x", "value": "" } });
    gateway.modern(1, "completion/complete", reference)?;
    let seen = second.wait_for_method("completion/complete")?;
    assert_eq!(seen.params()["ref"]["name"], "plan");
    Ok(())
}

#[test]
fn resources_keep_their_uris_unless_two_servers_claim_one() -> anyhow::Result<()> {
    let (first, second, gateway) = two(None)?;

    let uris = gateway.list("resources/list", "resources", "uri")?;
    assert_eq!(uris.len(), 4, "{uris:?}");
    assert!(uris.contains(&"file:///first".to_owned()) && uris.contains(&"file:///second".to_owned()), "{uris:?}");
    for uri in &uris {
        let answer = gateway.modern(1, "resources/read", json!({ "uri": uri }))?.message()?;
        let contents = &answer["result"]["contents"][0];
        assert_eq!(contents["uri"], **uri, "what is read names itself as it is known here: {answer}");
        let server = if uri.contains("second") { "second" } else { "first" };
        assert_eq!(contents["text"], server, "{uri}");
        let session = Session::open(&gateway, "2025-11-25")?;
        let answer = session.request(1, "resources/read", json!({ "uri": uri }))?.message()?;
        assert_eq!(
            (&answer["result"]["contents"][0]["uri"], &answer["result"]["contents"][0]["text"]),
            (&json!(uri), &json!(server))
        );
    }
    let upstream: Vec<Value> = [&first, &second]
        .into_iter()
        .flat_map(Backend::seen)
        .filter(|seen| seen.method() == "resources/read")
        .map(|seen| seen.params()["uri"].clone())
        .collect();
    assert!(upstream.iter().all(|uri| uri.as_str().is_some_and(|uri| uri.starts_with("file:///"))), "{upstream:?}");
    Ok(())
}

#[test]
fn a_resource_that_nobody_lists_is_asked_for_and_then_not_found() -> anyhow::Result<()> {
    let (first, second, gateway) = two(None)?;

    let modern = gateway.modern("q", "resources/read", json!({ "uri": "file:///nowhere" }))?.message()?;
    assert_eq!((&modern["id"], &modern["error"]["code"]), (&json!("q"), &json!(-32602)), "{modern}");
    let session = Session::open(&gateway, "2025-11-25")?;
    let legacy = session.request(7, "resources/read", json!({ "uri": "file:///nowhere" }))?.message()?;
    assert_eq!((&legacy["id"], &legacy["error"]["code"]), (&json!(7), &json!(-32002)), "{legacy}");
    assert!(first.count("resources/read") + second.count("resources/read") >= 2);
    Ok(())
}

#[test]
fn a_refusal_to_read_is_not_hidden_by_the_servers_that_do_not_have_it() -> anyhow::Result<()> {
    let none = || Mcp::new("none").resources(&["file:///a"]);
    let locked = |era| {
        let locked = Mcp::new("locked").era(era).resources(&["file:///b"]);
        locked.on("resources/read", |seen, out| out.error(seen, 200, -32099, "it is locked"))
    };
    for era in [Era::Modern, Era::Legacy] {
        let (first, second, last) = (none().start()?, locked(era).start()?, none().start()?);
        let servers = [("first", &first), ("second", &second), ("last", &last)];
        let documents = servers.iter().fold(Documents::new(), |all, (name, server)| all.server(name, &server.url()));
        let gateway = documents.start()?;
        let params = json!({ "uri": "file:///nowhere" });

        let modern = gateway.modern("q", "resources/read", params.clone())?.message()?;
        let legacy = Session::open(&gateway, "2025-11-25")?.request("q", "resources/read", params)?.message()?;

        for answer in [modern, legacy] {
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("q"), &json!(-32099)), "{answer}");
            assert_eq!(answer["error"]["message"], "it is locked");
        }
    }
    Ok(())
}

#[test]
fn long_names_are_cut_to_64_characters_and_still_lead_to_their_tool() -> anyhow::Result<()> {
    let long = format!("{}a", "n".repeat(80));
    let other = format!("{}b", "n".repeat(80));
    let first = Mcp::new("first").tools(&[&long, &other]).start()?;
    let second = Mcp::new("second").tools(&["x"]).start()?;
    let gateway =
        Documents::new().server("first", &first.url()).server("second", &second.url()).naming("prefix").start()?;

    let tools = gateway.tools()?;

    assert_eq!(tools.len(), 3, "{tools:?}");
    assert!(tools.iter().all(|name| name.len() <= 64), "{tools:?}");
    let said: Vec<String> = tools.iter().map(|name| gateway.call(name)).collect::<Result<_, _>>()?;
    assert!(said.contains(&format!("first:{long}")) && said.contains(&format!("first:{other}")), "{said:?}");
    Ok(())
}

#[test]
fn a_later_server_never_takes_a_name_that_is_there() -> anyhow::Result<()> {
    // `second` has a tool with the very name that `first`'s tool would get on a collision.
    let first = Mcp::new("first").tools(&["search"]).start()?;
    let second = Mcp::new("second").tools(&["search", "first_search"]).start()?;
    let gateway = Documents::new().server("first", &first.url()).server("second", &second.url()).start()?;

    let tools = gateway.tools()?;

    assert_eq!(tools.len(), 3, "{tools:?}");
    let mut said: Vec<String> = tools.iter().map(|name| gateway.call(name)).collect::<Result<_, _>>()?;
    said.sort();
    assert_eq!(said, ["first:search", "second:first_search", "second:search"], "{tools:?}");
    // The name that both could mean leads to neither.
    let ambiguous = gateway.modern(1, "tools/call", json!({ "name": "first_search" }))?.message()?;
    assert_eq!(ambiguous["error"]["code"], -32602, "{ambiguous}");
    Ok(())
}
