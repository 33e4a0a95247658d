//! What rules make of tools, prompts and resources, and what servers get.

use quorate_tests::raw::{
    backend::Backend,
    client,
    gateway::{Gateway, modern_request},
    mcp::Mcp,
};
use serde_json::{Value, json};

use crate::support::{Client, code, defined, last_call, start};

/// A search with an argument of each fate.
fn search() -> Value {
    json!({
        "name": "search", "x-more": { "b": 1, "a": 1.0 }, "description": "Old.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": { "type": "string" },
                "tenant": { "type": "string", "x-mcp-header": "Tenant" },
                "debug": { "type": "boolean" },
                "limit": { "type": "integer" },
            },
            "required": ["query", "tenant"],
        },
    })
}

fn ruled(rules: Value) -> anyhow::Result<(Backend, Gateway)> {
    let library = defined("library", json!([search(), { "name": "other", "inputSchema": {} }])).start()?;
    let gateway = start(&[("library", &library)], json!({ "servers": ["library"], "tools": rules }))?;
    Ok((library, gateway))
}

fn withholding() -> anyhow::Result<(Backend, Gateway)> {
    ruled(json!([{
        "match": { "name": "search" },
        "arguments": {
            "tenant": { "fix": "acme" }, "debug": { "hide": true }, "limit": { "fix": 5 },
            "query": { "description": "What." },
        },
    }]))
}

#[test]
fn a_renamed_tool_has_its_new_name_alone_and_its_server_hears_the_old_one() -> anyhow::Result<()> {
    let (library, gateway) = ruled(json!([{ "match": { "server": "library", "name": "s*" }, "rename": "find.s*" }]))?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.tools()?, ["find.search", "other"], "{revision}");
        let answer = client.call("find.search", json!({ "query": "x" }))?;
        assert_eq!(answer["result"]["content"][0]["text"], "library:search", "{revision}: {answer}");
        for old in ["search", "library_search"] {
            assert_eq!(code(&client.call(old, json!({}))?).0, -32602, "{revision} {old}");
        }
    }
    let last = last_call(&library);
    assert_eq!((last.header("mcp-name"), &last.params()["name"]), (Some("search"), &json!("search")));
    Ok(())
}

#[test]
fn a_given_name_is_exact_whatever_the_naming() -> anyhow::Result<()> {
    let (one, two) = (Mcp::new("one").tools(&["a", "b"]).start()?, Mcp::new("two").tools(&["a", "c"]).start()?);
    let rules = json!([{ "match": { "server": "one", "name": "a" }, "rename": "c" }]);
    for (naming, expected) in [
        ("prefix", vec!["c", "one_b", "two_a", "two_c"]),
        ("on-collision", vec!["c", "b", "a", "two_c"]),
        ("bare", vec!["c", "b", "a"]),
    ] {
        let spec = json!({ "servers": ["one", "two"], "naming": naming, "tools": rules });
        let gateway = start(&[("one", &one), ("two", &two)], spec)?;
        for (revision, client) in Client::all(&gateway)? {
            assert_eq!(client.tools()?, expected, "{naming} {revision}");
            assert_eq!(client.call("c", json!({}))?["result"]["content"][0]["text"], "one:a", "{naming} {revision}");
        }
    }
    Ok(())
}

#[test]
fn two_tools_of_one_given_name_are_hidden_and_the_log_says_so() -> anyhow::Result<()> {
    let (one, two) = (Mcp::new("one").tools(&["a", "b"]).start()?, Mcp::new("two").tools(&["a"]).start()?);
    let spec = json!({ "servers": ["one", "two"], "tools": [{ "match": { "name": "a" }, "rename": "x" }] });
    let mut gateway = start(&[("one", &one), ("two", &two)], spec)?;

    assert_eq!(gateway.tools()?, ["b"]);
    let line = gateway.logged("not exposed")?;
    assert!(line.contains("GivenTwice") && line.contains("name=a"), "{line}");
    for name in ["x", "a", "one_a"] {
        let answer = gateway.modern("q", "tools/call", json!({ "name": name }))?.message()?;
        assert_eq!(code(&answer), (-32602, &json!("q")), "{name}: {answer}");
    }
    Ok(())
}

#[test]
fn texts_tags_and_hints_are_changed_and_everything_else_stays() -> anyhow::Result<()> {
    let (_library, gateway) = ruled(json!([
        { "match": { "name": "search" }, "title": "Search", "tags": ["a"], "annotations": { "readOnlyHint": true } },
        { "match": { "name": "*" }, "title": "Any", "description": "New.", "tags": ["b", "a"] },
    ]))?;
    for (revision, client) in Client::all(&gateway)? {
        let tool = client.tool("search")?;
        let mut expected = search();
        expected["description"] = json!("New.");
        expected["title"] = json!("Search");
        expected["annotations"] = json!({ "readOnlyHint": true });
        expected["_meta"] = json!({ "quorate/tags": ["a", "b"] });
        assert_eq!(tool, expected, "{revision}");
        let other = client.tool("other")?;
        assert_eq!(
            (&other["title"], &other["_meta"]["quorate/tags"]),
            (&json!("Any"), &json!(["b", "a"])),
            "{revision}"
        );
    }
    let raw = gateway.modern(1, "tools/list", json!({}))?.text()?;
    assert!(raw.contains(r#""x-more":{"b":1,"a":1.0}"#), "order and numbers of what is not changed stay: {raw}");
    Ok(())
}

#[test]
fn fixed_and_hidden_arguments_are_not_shown_and_fixed_ones_reach_the_server() -> anyhow::Result<()> {
    let (library, gateway) = withholding()?;
    for (revision, client) in Client::all(&gateway)? {
        let schema = client.tool("search")?["inputSchema"].clone();
        let expected = json!({
            "type": "object", "properties": { "query": { "type": "string", "description": "What." } }, "required": ["query"],
        });
        assert_eq!(schema, expected, "{revision}");
        for (arguments, sent) in [
            (json!({ "query": "x" }), json!({ "tenant": "acme", "limit": 5, "query": "x" })),
            (json!({}), json!({ "tenant": "acme", "limit": 5 })),
        ] {
            let answer = client.call("search", arguments)?;
            assert_eq!(answer["result"]["content"][0]["text"], "library:search", "{revision}: {answer}");
            assert_eq!(last_call(&library).params()["arguments"], sent, "{revision}");
        }
        let answer = client.ask("tools/call", json!({ "name": "search" }))?;
        assert!(answer["result"].is_object(), "{revision}: {answer}");
        assert_eq!(last_call(&library).params()["arguments"], json!({ "tenant": "acme", "limit": 5 }), "{revision}");
        client.call("other", json!({ "tenant": "mine" }))?;
        assert_eq!(last_call(&library).params()["arguments"], json!({ "tenant": "mine" }), "a rule is for its tools");
    }
    Ok(())
}

#[test]
fn an_argument_that_is_withheld_is_refused_as_the_revision_wants() -> anyhow::Result<()> {
    let (library, gateway) = withholding()?;
    for (revision, client) in Client::all(&gateway)? {
        for arguments in [
            json!({ "query": "x", "tenant": "other" }),
            json!({ "tenant": "acme" }),
            json!({ "debug": true }),
            json!({ "Tenant": "other" }),
            json!({ "LIMIT": 500 }),
        ] {
            let answer = client.call("search", arguments.clone())?;
            let text = match revision {
                "2025-06-18" => {
                    assert_eq!(code(&answer), (-32602, &json!("q")), "{revision} {arguments}: {answer}");
                    answer["error"]["message"].clone()
                }
                _ => {
                    assert_eq!(answer["result"]["isError"], true, "{revision} {arguments}: {answer}");
                    answer["result"]["content"][0]["text"].clone()
                }
            };
            let text = text.as_str().unwrap_or_default().to_lowercase();
            assert!(text.contains("tenant") || text.contains("debug") || text.contains("limit"), "{text}");
            assert!(!text.contains("acme"), "a fixed value is not told: {text}");
        }
    }
    assert_eq!(library.count("tools/call"), 0);
    Ok(())
}

#[test]
fn the_header_of_a_fixed_argument_is_ours_whatever_the_client_sends() -> anyhow::Result<()> {
    let (library, gateway) = withholding()?;
    gateway.tools()?;
    for sent in [None, Some("other"), Some("acme")] {
        let (headers, body) = modern_request(&json!(1), "tools/call", json!({ "name": "search", "arguments": {} }));
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend(sent.map(|value| ("mcp-param-tenant", value)));
        headers.push(("mcp-param-other", "passes"));
        let answer = client::send(gateway.address, "POST", "/mcp", &headers, body.to_string().as_bytes())?.message()?;
        assert_eq!(answer["result"]["content"][0]["text"], "library:search", "{sent:?}: {answer}");
        let call = last_call(&library);
        let tenants: Vec<&str> = call
            .headers
            .iter()
            .filter(|(name, _)| name == "mcp-param-tenant")
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!((tenants, call.header("mcp-param-other")), (vec!["acme"], Some("passes")), "{sent:?}");
    }
    Ok(())
}

#[test]
fn a_tool_whose_required_argument_is_hidden_is_not_exposed() -> anyhow::Result<()> {
    let rules = json!([{ "match": { "name": "search" }, "arguments": { "tenant": { "hide": true } } }]);
    let (library, mut gateway) = ruled(rules)?;

    assert_eq!(gateway.tools()?, ["other"]);
    let line = gateway.logged("not exposed")?;
    assert!(line.contains("RequiredHidden"), "{line}");
    let answer = gateway.modern("q", "tools/call", json!({ "name": "search" }))?.message()?;
    assert_eq!(code(&answer), (-32602, &json!("q")));
    assert_eq!(library.count("tools/call"), 0);
    Ok(())
}

#[test]
fn prompts_are_renamed_and_their_arguments_withheld() -> anyhow::Result<()> {
    let writer = Mcp::new("writer").on("prompts/list", |seen, out| {
        let arguments = json!([{ "name": "topic", "required": true }, { "name": "style", "required": true }]);
        let prompt = json!({ "name": "write", "arguments": arguments });
        let result = json!({ "prompts": [prompt], "resultType": "complete", "ttlMs": 1000, "cacheScope": "public" });
        out.result(seen, &result);
    });
    let writer = writer.start()?;
    let rules =
        json!([{ "match": { "name": "write" }, "rename": "compose", "arguments": { "style": { "fix": "short" } } }]);
    let gateway = start(&[("writer", &writer)], json!({ "servers": ["writer"], "prompts": rules }))?;
    for (revision, client) in Client::all(&gateway)? {
        let listed = client.ask("prompts/list", json!({}))?;
        let expected = json!([{ "name": "compose", "arguments": [{ "name": "topic", "required": true }] }]);
        assert_eq!(listed["result"]["prompts"], expected, "{revision}");
        let got = client.ask("prompts/get", json!({ "name": "compose", "arguments": { "topic": "x" } }))?;
        assert_eq!(got["result"]["messages"][0]["content"]["text"], "writer:write", "{revision}: {got}");
        let seen = writer.seen().into_iter().rfind(|seen| seen.method() == "prompts/get").expect("it was got");
        assert_eq!(seen.params()["arguments"], json!({ "style": "short", "topic": "x" }), "{revision}");
        let given = client.ask("prompts/get", json!({ "name": "compose", "arguments": { "style": "long" } }))?;
        assert_eq!(code(&given), (-32602, &json!("q")), "{revision}: {given}");

        let complete = |argument: &str| {
            let reference = json!({ "type": "ref/prompt", "name": "compose" });
            client
                .ask("completion/complete", json!({ "ref": reference, "argument": { "name": argument, "value": "" } }))
        };
        complete("topic")?;
        let seen = writer.wait_for_method("completion/complete")?;
        assert_eq!(seen.params()["ref"]["name"], "write", "{revision}");
        assert_eq!(code(&complete("style")?), (-32602, &json!("q")), "{revision}");
    }
    Ok(())
}

#[test]
fn resources_and_their_templates_get_texts_and_tags() -> anyhow::Result<()> {
    let files = Mcp::new("files").resources(&["file:///a", "web://b"]).start()?;
    let rules = json!([
        { "match": { "server": "files", "uri": "file:*" }, "title": "File", "tags": ["disk"],
          "annotations": { "audience": ["assistant"] } },
    ]);
    let gateway = start(&[("files", &files)], json!({ "servers": ["files"], "resources": rules }))?;
    for (revision, client) in Client::all(&gateway)? {
        let listed = client.ask("resources/list", json!({}))?;
        let expected = json!([
            { "name": "file:///a", "uri": "file:///a", "title": "File", "annotations": { "audience": ["assistant"] },
              "_meta": { "quorate/tags": ["disk"] } },
            { "name": "web://b", "uri": "web://b" },
        ]);
        assert_eq!(listed["result"]["resources"], expected, "{revision}");
        let read = client.ask("resources/read", json!({ "uri": "file:///a" }))?;
        assert_eq!(read["result"]["contents"][0]["text"], "files", "{revision}: {read}");
    }
    Ok(())
}

#[test]
fn patterns_that_match_nothing_are_said_once_and_counted_while_they_do() -> anyhow::Result<()> {
    let mcp = Mcp::new("files").tools(&["read"]).resources(&["file:///a"]);
    let lists = mcp.lists();
    let files = mcp.start()?;
    let spec = json!({
        "servers": [{ "server": "files", "tools": { "exclude": ["wirte"] } }],
        "tools": [{ "match": { "name": "raed" }, "timeout": "1s" }, { "match": { "name": "read" }, "timeout": "1s" }],
        "resources": [{ "match": { "uri": "flie:*" }, "tags": ["x"] }],
    });
    let mut gateway = start(&[("files", &files)], spec)?;
    let client = Client::of(&gateway, "2026-07-28")?;
    client.tools()?;
    client.list("resources/list", "resources", "uri")?;
    client.list("resources/templates/list", "resourceTemplates", "uriTemplate")?;

    gateway.metric_until("quorate_toolset_patterns_unmatched", "default", |count| (count - 3.0).abs() < 0.1)?;
    for (path, pattern) in [
        ("spec.servers[0].tools.exclude[0]", "wirte"),
        ("spec.tools[0].match.name", "raed"),
        ("spec.resources[0].match.uri", "flie:*"),
    ] {
        let line = gateway.logged(path)?;
        assert!(line.contains("matches nothing") && line.contains(pattern), "{line}");
    }

    lists.lock().expect("no holder panics").tools.push("raed".to_owned());
    let session = Client::of(&gateway, "2025-11-25")?;
    assert_eq!(session.tools()?, ["read", "raed"]);
    gateway.metric_until("quorate_toolset_patterns_unmatched", "default", |count| (count - 2.0).abs() < 0.1)?;
    Ok(())
}
