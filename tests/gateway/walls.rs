//! Toolsets of other tenants: no request of a known caller tells them from toolsets that nobody has.

use serde_json::json;

use crate::support::{
    backend::Backend,
    client::{self, Answer},
    gateway::{Documents, Gateway, OPEN},
    mcp::Mcp,
};

/// A gateway whose caller belongs to no tenant, with a toolset `ours` of nobody's and `theirs` of a tenant that
/// demands a user.
fn start() -> anyhow::Result<(Backend, Gateway)> {
    let backend = Mcp::new("a").start()?;
    let documents = Documents::new().limit("body", "4KiB").server("a", &backend.url()).text();
    let further = [
        json!({ "kind": "Tenant", "name": "acme", "spec": {} }),
        json!({ "kind": "Toolset", "name": "theirs", "tenant": "acme",
            "spec": { "servers": ["a"], "requires": ["user"], "scopes": ["work"] } }),
    ];
    let further: Vec<String> = further.iter().map(|document| format!("\n---\n{document}")).collect();
    let gateway = Gateway::start(&format!("{documents}{}", further.concat()), OPEN)?;
    Ok((backend, gateway))
}

/// A method, headers and a body.
type Shape<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// A status, headers and a body.
type Told = (u16, Vec<(String, String)>, String);

/// All of an answer, but for the moment at which it was made.
fn all_of(answer: Answer, name: &str) -> anyhow::Result<Told> {
    let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    Ok((answer.status, headers, answer.text()?.replace(name, "NAME")))
}

#[test]
fn a_toolset_of_another_tenant_is_answered_as_one_that_nobody_has_whatever_the_request_is() -> anyhow::Result<()> {
    let (backend, gateway) = start()?;
    let large = "x".repeat(8192);
    let (json, accept) = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"));
    let session = ("mcp-session-id", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let origin = ("origin", "http://localhost:3000");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let shapes: &[Shape<'_>] = &[
        ("POST", &[json, accept], ping),
        ("POST", &[json, accept, session], ping),
        ("POST", &[json, accept, session], "[]"),
        ("POST", &[json, accept, origin], ping),
        ("POST", &[json, accept], "{broken"),
        ("POST", &[json, accept], &large),
        ("POST", &[], ""),
        ("GET", &[accept], ""),
        ("GET", &[accept, session], ""),
        ("GET", &[accept, session, ("last-event-id", "x")], ""),
        ("DELETE", &[session], ""),
        ("DELETE", &[], ""),
        ("PUT", &[json, origin], ping),
        ("PATCH", &[], ""),
    ];

    for endpoint in ["mcp", "sse"] {
        for (method, headers, body) in shapes {
            let ask = |name: &str| -> anyhow::Result<_> {
                let path = format!("/{endpoint}/{name}");
                all_of(client::send(gateway.address, method, &path, headers, body.as_bytes())?, name)
            };
            let (foreign, missing) = (ask("theirs")?, ask("nobody")?);
            assert_eq!(foreign.0, 404, "{method} /{endpoint} {headers:?}");
            assert_eq!(foreign, missing, "{method} /{endpoint} {headers:?}");
        }
    }
    assert_eq!(backend.count("ping"), 0);
    assert_eq!(gateway.call("echo")?, "a:echo");
    Ok(())
}

#[test]
fn a_method_that_an_endpoint_does_not_have_is_still_told_where_there_is_one() -> anyhow::Result<()> {
    let (_backend, gateway) = start()?;

    let answer = gateway.send("PUT", &[], "")?;

    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, GET, DELETE, OPTIONS")));
    Ok(())
}
