//! Headers that a stateless server wants, and a client of sessions does not know.

use quorate_tests::raw::{
    mcp::{Era, Mcp, said},
    session::Session,
};
use serde_json::{Value, json};

use super::{fixture, serve, text};

fn marked(header: &str) -> Value {
    let region = json!({ "type": "string", "x-mcp-header": header });
    json!([{ "name": "echo", "inputSchema": { "type": "object", "properties": { "region": region } } }])
}

fn call(session: &Session, id: i64, region: &str) -> anyhow::Result<Value> {
    session.request(id, "tools/call", json!({ "name": "echo", "arguments": { "region": region } }))?.message()
}

#[test]
fn arguments_travel_as_headers_where_the_tools_schema_says_so() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let arguments = json!({ "region": "Zürich", "count": 42, "dryRun": true });

    // Without a list before: a client may know its tools from elsewhere.
    let answer = session.request(1, "tools/call", json!({ "name": "test_x_mcp_header", "arguments": arguments }))?;

    let answer = answer.message()?;
    assert!(answer["result"]["isError"] != true && answer.get("error").is_none(), "{answer}");
    Ok(())
}

#[test]
fn tools_are_listed_once_for_their_headers() -> anyhow::Result<()> {
    let (backend, gateway) = serve(
        Mcp::new("a")
            .era(Era::Modern)
            .on("tools/list", |seen, out| {
                out.result(seen, &json!({ "resultType": "complete", "tools": marked("Region") }));
            })
            .on("tools/call", |seen, out| {
                out.result(seen, &said(seen.header("mcp-param-region").unwrap_or("none")));
            }),
    )?;
    for id in 1..4 {
        let session = Session::open(&gateway, "2025-11-25")?;
        assert_eq!(text(&call(&session, id, "eu")?), "eu");
        assert_eq!(text(&call(&session, id, "Zürich")?), "=?base64?WsO8cmljaA==?=");
    }
    assert_eq!(backend.count("tools/list"), 1);
    Ok(())
}

#[test]
fn a_refused_header_is_made_anew_of_a_fresh_list_and_the_call_sent_once_more() -> anyhow::Result<()> {
    let (backend, gateway) = serve(
        Mcp::new("a")
            .era(Era::Modern)
            .on("tools/list", {
                let lists = std::sync::atomic::AtomicUsize::new(0);
                move |seen, out| {
                    let before = lists.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let tools = if before == 0 { json!([]) } else { marked("Region") };
                    out.result(seen, &json!({ "resultType": "complete", "tools": tools }));
                }
            })
            .on("tools/call", |seen, out| match seen.header("mcp-param-region") {
                Some(region) => out.result(seen, &said(region)),
                None => out.error(seen, 400, -32020, "Mcp-Param-Region is required"),
            }),
    )?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(text(&call(&session, 1, "eu")?), "eu");
    assert_eq!(text(&call(&session, 2, "us")?), "us");

    assert_eq!((backend.count("tools/list"), backend.count("tools/call")), (2, 3));
    Ok(())
}

#[test]
fn a_server_whose_tools_cannot_be_listed_is_called_all_the_same() -> anyhow::Result<()> {
    let (backend, gateway) =
        serve(Mcp::new("a").era(Era::Modern).on("tools/list", |seen, out| out.error(seen, 200, -32603, "not now")))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    for id in 1..4 {
        assert_eq!(text(&call(&session, id, "eu")?), "a:echo");
    }

    assert_eq!(backend.count("tools/list"), 1, "it is not asked again at once");
    Ok(())
}
