//! Requests that are refused for their HTTP part: size, host, origin, path, method, media types.

use std::io::Write as _;

use quorate_tests::http as plain;
use serde_json::json;

use crate::support::{
    backend::Backend,
    client,
    gateway::{Documents, Gateway, modern_request},
    mcp::Mcp,
    session::Session,
};

fn one_backend(documents: Documents) -> anyhow::Result<(Backend, Gateway)> {
    let backend = Mcp::new("a").start()?;
    let gateway = documents.server("a", &backend.url()).start()?;
    Ok((backend, gateway))
}

/// The status of a correct call with these headers besides, or instead.
fn status_with(gateway: &Gateway, changed: &[(&str, &str)]) -> anyhow::Result<(u16, Option<String>)> {
    let (headers, body) = modern_request(&json!(7), "tools/call", json!({ "name": "echo", "arguments": {} }));
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.retain(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    headers.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
    let answer = gateway.send("POST", &headers, &body.to_string())?;
    Ok((answer.status, answer.header("access-control-allow-origin").map(str::to_owned)))
}

#[test]
fn a_body_over_the_limit_is_413_however_it_is_sent() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend(Documents::new().limit("body", "16KiB"))?;
    let large = |size: usize| {
        let params = json!({ "name": "echo", "arguments": { "x": "y".repeat(size) } });
        gateway.modern(7, "tools/call", params)
    };

    assert_eq!(large(15 * 1024)?.status, 200);
    let refused = large(17 * 1024)?;
    assert_eq!(refused.status, 413);
    assert!(refused.message()?["error"]["code"].is_i64());

    // Without a length the limit is met while reading, and the rest is never read.
    let mut socket = client::connect(gateway.address)?;
    let head = "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
                accept: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes())?;
    for _ in 0..20 {
        let chunk = format!("{:x}\r\n{}\r\n", 1024, "[".repeat(1024));
        // The gateway may close before everything is sent.
        if socket.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(client::read_head(&mut socket)?.status, 413);

    // A length that lies is believed where it refuses.
    let lie = "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
               content-length: 99999999999\r\n\r\n{}";
    assert_eq!(client::send_raw(gateway.address, lie.as_bytes())?.status, 413);
    assert_eq!(backend.count("tools/call"), 1);
    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}

#[test]
fn a_header_over_the_limit_is_431() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new().limit("header", "16KiB"))?;

    let large = "x".repeat(20 * 1024);
    assert_eq!(status_with(&gateway, &[("x-large", &large)])?.0, 431);
    let names: Vec<String> = (0..200).map(|at| format!("x-{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(status_with(&gateway, &many)?.0, 431);

    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}

#[test]
fn bytes_that_are_no_http_end_their_connection_only() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new())?;
    let host = "host: 127.0.0.1\r\n";
    let cases = [
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".to_owned(),
        "HELLO\r\n\r\n".to_owned(),
        format!("POST /mcp HTTP/9.9\r\n{host}\r\n"),
        format!("POST /mcp HTTP/1.1\r\n{host}content-length: -1\r\n\r\n"),
        format!("POST /mcp HTTP/1.1\r\n{host}content-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
        format!("POST /mcp HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\nZZ\r\n"),
        format!("POST /mcp HTTP/1.1\r\n{host}bad header: x\r\n\r\n"),
    ];
    for bytes in &cases {
        // Either an error status or a closed connection: never a hang, never success.
        if let Ok(answer) = client::send_raw(gateway.address, bytes.as_bytes()) {
            assert!((400..500).contains(&answer.status), "{bytes:?} is answered {}", answer.status);
        }
    }

    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}

#[test]
fn hosts_and_origins_that_are_not_ours_are_403() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend(Documents::new())?;
    let port = gateway.address.port();

    for host in ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "localhost@evil.example", "localhost:x"] {
        assert_eq!(status_with(&gateway, &[("host", host)])?.0, 403, "host {host}");
    }
    let origins = [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "https://127.0.0.1@evil.example",
        "file://",
        "http://localhost/path",
    ];
    for origin in origins {
        assert_eq!(status_with(&gateway, &[("origin", origin)])?, (403, None), "origin {origin}");
    }
    assert_eq!(backend.count("tools/call"), 0);

    for host in [format!("localhost:{port}"), "LOCALHOST".to_owned(), format!("127.0.0.1:{port}"), "[::1]".to_owned()] {
        assert_eq!(status_with(&gateway, &[("host", &host)])?.0, 200, "host {host}");
    }
    let origin = format!("http://localhost:{port}");
    assert_eq!(status_with(&gateway, &[("origin", &origin)])?, (200, Some(origin.clone())));
    Ok(())
}

#[test]
fn a_request_without_a_host_is_refused() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new())?;

    let bare = client::send_raw(gateway.address, b"POST /mcp HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")?;
    assert!([400, 403].contains(&bare.status), "{}", bare.status);
    // The address in the request line is the one that counts (RFC 9112 §3.2.2).
    let absolute = "POST http://evil.example/mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(client::send_raw(gateway.address, absolute.as_bytes())?.status, 403);
    Ok(())
}

#[test]
fn a_preflight_is_answered_for_allowed_origins_only() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new())?;
    let preflight =
        |origin: &str| gateway.send("OPTIONS", &[("origin", origin), ("access-control-request-method", "POST")], "");

    let allowed = preflight("http://localhost:5173")?;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, Some("http://localhost:5173")));
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    let refused = preflight("https://evil.example")?;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    Ok(())
}

#[test]
fn unknown_paths_toolsets_and_methods_say_so() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new())?;
    let status = |method: &str, path: &str| client::send(gateway.address, method, path, &[], b"{}").map(|a| a.status);

    for path in
        ["/", "/mcpx", "/mcp/a/b", "/mcp/nobody", "/sse/nobody", "/mcp/..", "/mcp/%2e%2e", "/metrics", "/healthz"]
    {
        assert_eq!(status("POST", path)?, 404, "{path}");
    }
    for method in ["PUT", "PATCH", "HEAD", "TRACE", "BREW"] {
        let answer = client::send(gateway.address, method, "/mcp", &[], b"")?;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{method}");
    }
    let admin = plain::get(gateway.admin, "/mcp")?;
    assert_eq!(admin.status, 404, "the admin address serves no MCP");
    Ok(())
}

#[test]
fn media_types_that_do_not_fit_are_refused_with_the_id() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend(Documents::new())?;
    let session = Session::open(&gateway, "2025-11-25")?;

    for (kind, expected) in [
        ("text/plain", 415),
        ("application/jsonx", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
    ] {
        assert_eq!(status_with(&gateway, &[("content-type", kind)])?.0, expected, "content type {kind:?}");
    }
    for (accept, expected) in [
        ("text/html", 406),
        ("image/*", 406),
        ("application/json", 200),
        ("*/*", 200),
        ("", 200),
        ("application/*", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/json;q=0, text/event-stream;q=0", 406),
    ] {
        assert_eq!(status_with(&gateway, &[("accept", accept)])?.0, expected, "accept {accept:?}");
    }
    let (_, body) = modern_request(&json!("q"), "tools/list", json!({}));
    let answer = gateway.send("POST", &[("content-type", "text/plain")], &body.to_string())?;
    assert_eq!(answer.message()?["id"], "q");
    assert_eq!(session.call(1, "echo")?["result"]["content"][0]["text"], "a:echo");
    Ok(())
}
