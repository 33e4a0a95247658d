//! `find_tools`, and toolsets that list only what was found.

use std::process::Command;

use quorate_tests::paths;
use quorate_tests::raw::{backend::Backend, gateway::Gateway, mcp::Mcp, session::Session, sse::Sse};
use serde_json::{Value, json};

use crate::support::{Client, code, defined, start};

fn office() -> anyhow::Result<Backend> {
    let tool = |name: &str, about: &str| {
        let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
        json!({ "name": name, "description": about, "inputSchema": schema })
    };
    let tools = json!([
        tool("send_mail", "Sends a message to somebody."),
        tool("list_mails", "Lists the newest messages."),
        tool("weather", "Tells the weather of a city."),
        tool("find_tools", "The server's own."),
    ]);
    defined("office", tools).start()
}

fn searched(search: Value) -> anyhow::Result<(Backend, Gateway)> {
    let office = office()?;
    let gateway = start(&[("office", &office)], json!({ "servers": ["office"], "search": search }))?;
    Ok((office, gateway))
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["structuredContent"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[test]
fn find_tools_returns_definitions_of_what_can_be_called() -> anyhow::Result<()> {
    let (office, gateway) = searched(json!({}))?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.tools()?, ["find_tools", "send_mail", "list_mails", "weather"], "{revision}");
        let found = client.call("find_tools", json!({ "query": "send a mail" }))?;
        assert_eq!(names(&found), ["send_mail", "list_mails"], "{revision}");
        assert_eq!(found["result"]["structuredContent"]["tools"][0], client.tool("send_mail")?, "{revision}");
        let text = found["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(text)?, found["result"]["structuredContent"], "{revision}");
        let one = client.call("find_tools", json!({ "query": "mail", "limit": 1 }))?;
        assert_eq!(names(&one).len(), 1, "{revision}");
        assert!(names(&client.call("find_tools", json!({ "query": "zebra" }))?).is_empty(), "{revision}");
        for wrong in [json!({}), json!({ "query": "" }), json!({ "query": "a", "limit": 0 }), json!({ "q": "a" })] {
            let answer = client.call("find_tools", wrong.clone())?;
            assert_eq!(answer["result"]["isError"], true, "{revision} {wrong}: {answer}");
        }
    }
    assert_eq!(office.count("tools/call"), 0, "the server's own tool of that name is not called");
    Ok(())
}

#[test]
fn stateless_clients_call_what_they_found_and_their_list_stays() -> anyhow::Result<()> {
    let (_office, gateway) = searched(json!({ "disclosure": "progressive", "pinned": ["wea*"] }))?;
    let client = Client::of(&gateway, "2026-07-28")?;
    assert_eq!(client.tools()?, ["find_tools", "weather"]);

    let found = client.call("find_tools", json!({ "query": "mail" }))?;

    assert_eq!(names(&found).len(), 2);
    let sent = client.call("send_mail", json!({ "text": "x" }))?;
    assert_eq!(sent["result"]["content"][0]["text"], "office:send_mail", "{sent}");
    assert_eq!(client.tools()?, ["find_tools", "weather"], "a list must not depend on what was asked before");
    Ok(())
}

#[test]
fn the_command_line_calls_what_is_not_listed_and_the_server_says_what_is_not_there() -> anyhow::Result<()> {
    // So many tools share the words of the one that is meant that no search has it among the first.
    let names: Vec<String> = (0..99).map(|number| format!("mail_{number}")).chain(["mail".to_owned()]).collect();
    let office = Mcp::new("office").tools(&names.iter().map(String::as_str).collect::<Vec<_>>()).start()?;
    let spec = json!({ "servers": ["office"], "search": { "disclosure": "progressive" } });
    let gateway = start(&[("office", &office)], spec)?;
    let url = format!("http://{}/mcp", gateway.address);
    let call = |tool: &str| -> anyhow::Result<(Option<i32>, String)> {
        let mut command = Command::new(paths::binary("quorate")?);
        let run = command.args(["call", tool, "--url", &url, "--quiet"]).output()?;
        Ok((run.status.code(), String::from_utf8([run.stdout, run.stderr].concat())?))
    };
    for tool in ["mail", "mail_7", "mail_98"] {
        let (code, said) = call(tool)?;
        assert_eq!((code, said.trim()), (Some(0), format!("office:{tool}").as_str()), "{tool}");
    }
    let (code, said) = call("nothing")?;
    assert!(code != Some(0) && said.contains("nothing"), "{said}");
    Ok(())
}

#[test]
fn a_session_lists_what_it_found_and_is_told_that_its_list_changed() -> anyhow::Result<()> {
    let (_office, gateway) = searched(json!({ "disclosure": "progressive" }))?;
    let (session, other) = (Session::open(&gateway, "2025-11-25")?, Session::open(&gateway, "2025-11-25")?);
    let listed = |session: &Session| -> anyhow::Result<Vec<String>> {
        let answer = session.request(1, "tools/list", json!({}))?.message()?;
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        Ok(tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect())
    };
    assert_eq!(listed(&session)?, ["find_tools"]);
    let mut stream = session.get(None)?;
    let find = |query: &str| {
        let params = json!({ "name": "find_tools", "arguments": { "query": query } });
        session.request(2, "tools/call", params)?.message()
    };

    assert_eq!(names(&find("mail")?).len(), 2);

    let told = stream.next_message()?.expect("the stream goes on");
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    assert_eq!(listed(&session)?, ["find_tools", "send_mail", "list_mails"], "in the toolset's order");
    assert_eq!(listed(&other)?, ["find_tools"], "what one session found is its own");
    assert_eq!(session.call(3, "send_mail")?["result"]["content"][0]["text"], "office:send_mail");
    assert_eq!(
        other.call(3, "send_mail")?["result"]["content"][0]["text"],
        "office:send_mail",
        "unlisted, and callable"
    );
    // Found again is nothing new; the next change is that of the next tool.
    find("mail")?;
    find("weather")?;
    let told = stream.next_message()?.expect("the stream goes on");
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    assert_eq!(listed(&session)?, ["find_tools", "send_mail", "list_mails", "weather"]);
    Ok(())
}

#[test]
fn a_client_of_2024_finds_on_its_one_stream_and_is_told_of_unknown_tools_there() -> anyhow::Result<()> {
    let (_office, gateway) = searched(json!({ "disclosure": "progressive" }))?;
    let mut sse = Sse::open(&gateway, "/sse")?;
    let params = json!({ "name": "find_tools", "arguments": { "query": "weather" } });

    let found = sse.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }))?;

    assert_eq!(names(&found), ["weather"]);
    let listed = sse.ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }))?;
    assert_eq!(listed["result"]["tools"][1]["name"], "weather", "{listed}");
    assert_eq!(sse.call(json!(3), "weather")?["result"]["content"][0]["text"], "office:weather");
    let unknown = sse.call(json!(4), "nothing")?;
    assert_eq!(code(&unknown), (-32602, &json!(4)), "{unknown}");
    Ok(())
}

#[test]
fn a_search_finds_renamed_tools_by_their_tags_and_never_what_is_excluded() -> anyhow::Result<()> {
    let office = office()?;
    let spec = json!({
        "servers": [{ "server": "office", "tools": { "exclude": ["list_*"] } }],
        "tools": [{ "match": { "name": "weather" }, "rename": "forecast", "tags": ["meteorology"], "description": "Sky." }],
        "search": { "disclosure": "progressive", "results": 2 },
    });
    let gateway = start(&[("office", &office)], spec)?;
    for (revision, client) in Client::all(&gateway)? {
        let find = |query: &str| client.call("find_tools", json!({ "query": query }));
        assert_eq!(names(&find("meteorology")?), ["forecast"], "{revision}");
        assert!(names(&find("weather")?).is_empty(), "{revision}: its old name and description are gone");
        assert_eq!(names(&find("mail messages")?), ["send_mail"], "{revision}");
        assert_eq!(code(&client.call("list_mails", json!({}))?).0, -32602, "{revision}");
    }
    Ok(())
}

#[test]
fn among_thousands_of_tools_the_one_that_is_meant_is_found() -> anyhow::Result<()> {
    let verbs = ["create", "read", "update", "delete", "list", "archive", "share", "export", "import", "check"];
    let names_of = |server: usize| -> Vec<String> {
        let thing = |number: usize| format!("{}_thing{server}x{number}", verbs[number % verbs.len()]);
        (0..2_500).map(thing).chain((server == 1).then(|| "translate_document".to_owned())).collect()
    };
    let start_one = |server: usize| {
        let names = names_of(server);
        Mcp::new("big").tools(&names.iter().map(String::as_str).collect::<Vec<_>>()).start()
    };
    let (zero, one) = (start_one(0)?, start_one(1)?);
    let spec = json!({ "servers": ["zero", "one"], "search": { "disclosure": "progressive" } });
    let gateway = start(&[("zero", &zero), ("one", &one)], spec)?;
    for (revision, client) in Client::all(&gateway)? {
        assert_eq!(client.tools()?, ["find_tools"], "{revision}");
        let found = client.call("find_tools", json!({ "query": "translate a document" }))?;
        assert_eq!(names(&found)[0], "translate_document", "{revision}");
        let found = client.call("find_tools", json!({ "query": "export thing1x1237" }))?;
        assert_eq!(names(&found)[0], "export_thing1x1237", "{revision}");
        assert_eq!(
            client.call("export_thing1x1237", json!({}))?["result"]["content"][0]["text"],
            "big:export_thing1x1237"
        );
    }
    Ok(())
}
