//! The whole client: lists with pages, calls with headers, and servers that ask back.
//!
//! The parts below have tests of their own; here it is about what the client adds to them: paging
//! with bounds, mirrored headers, the log level, and answers to a server's requests.

use http::HeaderMap;
use quorate_mcp::{Level, ListKind, Method};
use quorate_runtime::upstream::error::Nonsense;
use quorate_runtime::upstream::{Client, EraSetting, Error, ToolCall, TransportSetting};

use crate::support::{Seen, Server, Step, events, initialized, json, reply};

fn result(seen: &Seen, result: &str) -> Vec<Step> {
    json(200, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, seen.id()))
}

fn discovered(seen: &Seen) -> Vec<Step> {
    result(seen, r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#)
}

async fn connect(server: &Server) -> Client {
    Client::connect(server.endpoint(), EraSetting::Auto, TransportSetting::Auto).await.unwrap()
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_items_stay_as_they_are() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "server/discover" => discovered(seen),
        _ if seen.body.contains(r#""cursor":"next\"""#) => result(seen, r#"{"tools":[{"name": "b", "n": 1.0}]}"#),
        _ => result(seen, r#"{"tools":[{"name":"a"}],"nextCursor":"next\""}"#),
    })
    .await;
    let client = connect(&server).await;

    assert_eq!(client.list(ListKind::Tools).await.unwrap(), [r#"{"name":"a"}"#, r#"{"name": "b", "n": 1.0}"#]);
    assert!(client.list(ListKind::Prompts).await.unwrap().is_empty());
    assert!(server.seen().iter().all(|seen| seen.rpc() != "prompts/list"), "what is not announced is not asked for");
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "server/discover" => discovered(seen),
        _ => result(seen, &format!(r#"{{"tools":[{}1],"nextCursor":""}}"#, "1,".repeat(999))),
    })
    .await;
    let error = connect(&server).await.list(ListKind::Tools).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { max: 10_000 }), "{error:?}");
}

#[tokio::test]
async fn a_page_of_another_shape_is_refused() {
    for page in ["{}", "[]", r#"{"tools":{}}"#, r#"{"tools":[],"nextCursor":7}"#] {
        let server = Server::start(move |seen, _| match seen.rpc().as_str() {
            "server/discover" => discovered(seen),
            _ => result(seen, page),
        })
        .await;
        let error = connect(&server).await.list(ListKind::Tools).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(Nonsense::Result { .. })), "{page}: {error:?}");
    }
}

#[tokio::test]
async fn a_modern_call_mirrors_what_its_tool_asks_for() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "server/discover" => discovered(seen),
        _ => result(seen, r#"{"resultType":"complete","content":[]}"#),
    })
    .await;
    let tool = r#"{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#;

    let arguments = r#"{"region":"eu"}"#;
    let call = ToolCall { name: "grüße", arguments, definition: Some(tool), log_level: Some(Level::Warning) };
    let got = connect(&server).await.call_tool(&call, |_| {}).await.unwrap();

    assert_eq!(got, r#"{"resultType":"complete","content":[]}"#);
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.header("mcp-method"), Some("tools/call"));
    assert_eq!(seen.header("mcp-name"), Some("=?base64?Z3LDvMOfZQ==?="));
    assert_eq!(seen.header("mcp-param-region"), Some("eu"));
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body["params"]["arguments"]["region"], "eu");
    assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/logLevel"], "warning");
}

#[tokio::test]
async fn a_legacy_server_that_asks_back_is_answered_on_a_post_of_its_own() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "server/discover" => reply(404, "", ""),
        "initialize" => initialized("s-1"),
        "tools/call" => events(&format!(
            "data: {{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}}\n\n\
             data: {{\"jsonrpc\":\"2.0\",\"id\":\"r\",\"method\":\"roots/list\"}}\n\n\
             data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progress\":1}}}}\n\n\
             data: {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[]}}}}\n\n",
            seen.id()
        )),
        _ => reply(202, "", ""),
    })
    .await;
    let client = connect(&server).await;
    let mut notified = Vec::new();
    let call = ToolCall { name: "t", arguments: "{}", definition: None, log_level: Some(Level::Info) };

    client.call_tool(&call, |frame| notified.push(frame.method().unwrap().to_owned())).await.unwrap();
    client.close().await;

    assert_eq!(notified, ["notifications/progress"]);
    let bodies: Vec<String> = server.seen().into_iter().map(|seen| seen.body).collect();
    assert!(bodies.contains(&r#"{"jsonrpc":"2.0","id":"p","result":{}}"#.to_owned()), "{bodies:?}");
    assert!(bodies.iter().any(|body| body.contains(r#""id":"r","error":{"code":-32601"#)), "{bodies:?}");
}

#[tokio::test]
async fn an_answer_to_another_request_is_not_taken() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "server/discover" => discovered(seen),
        _ => json(200, r#"{"jsonrpc":"2.0","id":99,"result":{}}"#),
    })
    .await;
    let error = connect(&server).await.request(Method::ListTools, "", HeaderMap::new(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Malformed(Nonsense::WrongId)), "{error:?}");
}

#[tokio::test]
async fn a_log_level_is_set_where_a_session_has_one() {
    for (capabilities, expected) in [(r#"{"logging":{}}"#, 1), (r#"{"tools":{}}"#, 0)] {
        let server = Server::start(move |seen, _| match seen.rpc().as_str() {
            "server/discover" => reply(404, "", ""),
            "initialize" => {
                result(seen, &format!(r#"{{"protocolVersion":"2025-06-18","capabilities":{capabilities}}}"#))
            }
            "logging/setLevel" => {
                json(200, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":1,"message":"no"}}}}"#, seen.id()))
            }
            "tools/call" => result(seen, r#"{"content":[]}"#),
            _ => reply(202, "", ""),
        })
        .await;
        let call = ToolCall { name: "t", arguments: "{}", definition: None, log_level: Some(Level::Info) };
        connect(&server).await.call_tool(&call, |_| {}).await.unwrap();
        let levels = server.seen().iter().filter(|seen| seen.rpc() == "logging/setLevel").count();
        assert_eq!(levels, expected, "{capabilities}: a refusal does not stop the call");
    }
}
