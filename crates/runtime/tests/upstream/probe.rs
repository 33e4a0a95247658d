//! Which answers make a server modern, legacy, or neither.
//!
//! Each table is one rule of the era probe: proof of the modern era, reasons to try `initialize`,
//! reasons to try HTTP+SSE, and what is no evidence of anything.

use std::time::Duration;

use quorate_mcp::Version;
use quorate_runtime::upstream::error::Nonsense;
use quorate_runtime::upstream::legacy::Transport;
use quorate_runtime::upstream::{EraSetting, Error, LegacySupport, Probe, TransportSetting, probe};

use crate::support::{Script, Seen, Server, Step, events, impatient, initialized, json, limits, reply};

const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2099-01-01","2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"instructions":"hi","ttlMs":1500,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"m"}}}}"#;

async fn probed(server: &Server, era: EraSetting) -> Result<Probe, Error> {
    probe(&server.endpoint(), era, TransportSetting::Auto).await
}

/// Starts a legacy server that answers `server/discover` in some way of its own.
async fn legacy(discover: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match (seen.rpc().as_str(), seen.method.as_str()) {
        ("server/discover", _) => discover(),
        ("initialize", _) => initialized("s-1"),
        _ => reply(202, "", ""),
    })
    .await
}

#[tokio::test]
async fn a_discover_result_describes_a_modern_server() {
    for stream in [false, true] {
        let server =
            Server::always(
                move || if stream { events(&format!("data: {DISCOVERED}\n\n")) } else { json(200, DISCOVERED) },
            )
            .await;

        let found = probed(&server, EraSetting::Auto).await.unwrap();

        let modern = found.modern.unwrap();
        assert_eq!((modern.versions, modern.ttl), (vec![Version::V2026_07_28], Duration::from_millis(1500)));
        assert_eq!(modern.capabilities.unwrap(), r#"{"tools":{}}"#);
        assert_eq!(modern.server_info.unwrap(), r#"{"name":"m"}"#);
        assert_eq!(modern.instructions.as_deref(), Some("hi"));
        assert_eq!(found.legacy, LegacySupport::Unknown);
        assert_eq!(server.seen().len(), 1, "no session is left behind");
    }
}

#[tokio::test]
async fn our_own_discover_meets_the_rules_of_the_era() {
    let server = Server::always(|| json(200, DISCOVERED)).await;
    probed(&server, EraSetting::Modern).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.header("mcp-method"), seen.header("mcp-protocol-version")),
        (Some("server/discover"), Some("2026-07-28"))
    );
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    let meta = &body["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "quorate");
}

#[tokio::test]
async fn http_400_with_a_modern_error_is_proof_of_the_era() {
    let error = |id: &str, code: i64, data: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"m","data":{data}}}}}"#)
    };
    let cases = [
        error("0", -32020, "{}"),
        error("null", -32020, "{}"),
        error("0", -32021, r#"{"requiredCapabilities":{}}"#),
        error("0", -32022, r#"{"supported":["2026-07-28"],"requested":"x"}"#),
    ];
    for body in cases {
        let shown = body.clone();
        let server = Server::always(move || json(400, &body)).await;
        let found = probed(&server, EraSetting::Auto).await.unwrap();
        assert_eq!(found.modern.expect(&shown).versions, [Version::V2026_07_28], "{shown}");
    }
}

#[tokio::test]
async fn any_other_refusal_leads_to_initialize() {
    let cases: [Script; 12] = [
        || {
            json(
                400,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#,
            )
        },
        || json(400, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"m"}}"#),
        || json(200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"m"}}"#),
        || json(200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32020,"message":"a legacy server's own code"}}"#),
        || json(404, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"m"}}"#),
        || reply(404, "", ""),
        || reply(405, "", ""),
        || reply(406, "", ""),
        || reply(422, "", "no"),
        || reply(202, "", ""),
        || json(200, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#),
        || {
            json(
                400,
                r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32022,"message":"m","data":{"supported":["2025-06-18"]}}}"#,
            )
        },
    ];
    for (number, discover) in cases.into_iter().enumerate() {
        let server = legacy(discover).await;

        let found = probed(&server, EraSetting::Auto).await.unwrap();

        assert!(found.modern.is_none(), "case {number}");
        let LegacySupport::Supported { version, transport, capabilities, .. } = found.legacy else {
            panic!("case {number}")
        };
        assert_eq!((version, transport), (Version::V2025_11_25, Transport::StreamableHttp), "case {number}");
        assert_eq!(capabilities, r#"{"tools":{}}"#);
        assert_eq!(server.seen().last().unwrap().method, "DELETE", "case {number}: the session is ended");
        let refused = probed(&server, EraSetting::Modern).await;
        assert!(refused.is_err(), "case {number}: only modern was asked for");
    }
}

#[tokio::test]
async fn what_is_no_evidence_of_an_era_is_returned_as_it_is() {
    type Check = fn(&Error) -> bool;
    let cases: [(Script, Check); 8] = [
        (|| reply(401, "", ""), |e| matches!(e, Error::Status { .. })),
        (|| reply(403, "", ""), |e| matches!(e, Error::Status { .. })),
        (|| reply(429, "", ""), |e| matches!(e, Error::Status { .. })),
        (|| reply(500, "", ""), |e| matches!(e, Error::Status { .. })),
        (|| reply(503, "", ""), |e| matches!(e, Error::Status { .. })),
        (|| reply(302, "location: /x\r\n", ""), |e| matches!(e, Error::Redirect { .. })),
        (|| vec![Step::Hang], |e| matches!(e, Error::Timeout { .. })),
        (Vec::new, |e| matches!(e, Error::Broken { .. })),
    ];
    for (number, (discover, expected)) in cases.into_iter().enumerate() {
        let server = legacy(discover).await;
        let endpoint = server.endpoint_with(impatient());
        let error = probe(&endpoint, EraSetting::Auto, TransportSetting::Auto).await.unwrap_err();
        assert!(expected(&error), "case {number}: {error:?}");
        assert!(
            server.seen().iter().all(|seen| seen.rpc() == "server/discover"),
            "case {number}: initialize was not tried"
        );
    }
}

#[tokio::test]
async fn a_server_that_refuses_post_is_tried_over_http_and_sse() {
    for status in [400, 404, 405] {
        let (push, _) = tokio::sync::broadcast::channel::<String>(8);
        let server = Server::start(move |seen: &Seen, _| match (seen.target.as_str(), seen.method.as_str()) {
            ("/mcp", "GET") => {
                crate::support::events_then("event: endpoint\ndata: /post\n\n", Step::Follow(push.subscribe()))
            }
            ("/mcp", _) => reply(status, "", ""),
            _ => {
                if seen.rpc() == "initialize" {
                    let answer =
                        r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05","capabilities":{}}}"#;
                    push.send(format!("data: {answer}\n\n")).unwrap();
                }
                reply(202, "", "")
            }
        })
        .await;

        let found = probed(&server, EraSetting::Auto).await.unwrap();

        let LegacySupport::Supported { version, transport, .. } = found.legacy else { panic!("{status}: {found:?}") };
        assert_eq!((version, transport), (Version::V2024_11_05, Transport::Sse), "{status}");
        let only = probe(&server.endpoint(), EraSetting::Legacy, TransportSetting::StreamableHttp).await;
        assert!(only.is_err(), "{status}: only streamable HTTP was asked for");
    }
}

#[tokio::test]
async fn a_server_that_is_no_mcp_server_fails_with_its_first_refusal() {
    let server = Server::always(|| reply(404, "content-type: text/html\r\n", "<html>")).await;
    let error = probed(&server, EraSetting::Auto).await.unwrap_err();
    assert!(matches!(error, Error::Status { status, .. } if status.as_u16() == 404), "{error:?}");

    let server = Server::always(|| reply(200, "content-type: text/html\r\n", "<html>")).await;
    let error = probe(&server.endpoint_with(limits()), EraSetting::Auto, TransportSetting::Auto).await.unwrap_err();
    assert!(matches!(error, Error::Malformed(Nonsense::ContentType { .. })), "{error:?}");
}
