//! What servers ask of people: each way to ask is decided, says who asks, and answers reach the one that asked.

use serde_json::{Value, json};

use crate::support::{
    backend::{Backend, Out, Seen},
    gateway::{Documents, Gateway},
    mcp::{Era, Mcp},
    session::Session,
};

/// Everything is allowed, but for what the server `bad` wants of people.
const POLICY: &str = r#"
    permit(principal, action, resource);
    forbid(principal, action == Action::"mcp:elicit", resource == ToolServer::"bad");
"#;

/// A gateway before `good` and `bad`, whose tools are named after their servers.
fn start(good: &Backend, bad: &Backend) -> anyhow::Result<Gateway> {
    let documents = Documents::new().server("good", &good.url()).server("bad", &bad.url()).text();
    let policy = json!({ "kind": "Policy", "name": "asks", "spec": { "cedar": POLICY } });
    Gateway::start(&format!("{documents}\n---\n{policy}"), &["--development-identity"])
}

/// A server whose tool answers with an error that wants a URL visited first.
fn visited(name: &str, era: Era, tool: &str) -> anyhow::Result<Backend> {
    let visit = json!({ "mode": "url", "elicitationId": "e", "url": "https://a.example/", "message": "Sign in" });
    let error = json!({ "code": -32042, "message": "first", "data": { "elicitations": [visit], "kept": true } });
    Mcp::new(name)
        .era(era)
        .tools(&[tool])
        .on("tools/call", move |seen: &Seen, out: &mut Out| {
            let message = json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error });
            out.json_with(&[], &message);
        })
        .start()
}

#[test]
fn an_error_that_wants_a_url_visited_is_a_question_of_its_server() -> anyhow::Result<()> {
    for (era, version) in [(Era::Legacy, Some("2025-11-25")), (Era::Modern, None)] {
        let (good, bad) = (visited("good", era, "this")?, visited("bad", era, "that")?);
        let gateway = start(&good, &bad)?;
        let call = |tool: &str| -> anyhow::Result<Value> {
            match version {
                Some(version) => {
                    let capabilities = json!({ "elicitation": { "url": {} } });
                    Session::open_as(&gateway, version, capabilities)?.call(7, tool)
                }
                None => gateway.modern(7, "tools/call", json!({ "name": tool, "arguments": {} }))?.message(),
            }
        };

        let allowed = call("this")?;
        let visit = &allowed["error"]["data"]["elicitations"][0];
        assert_eq!(
            (&allowed["error"]["code"], &visit["url"], &visit["message"], &visit["_meta"]["quorate/server"]),
            (&json!(-32042), &json!("https://a.example/"), &json!("[good] Sign in"), &json!("good")),
            "{allowed}"
        );
        assert_eq!((&allowed["id"], &allowed["error"]["data"]["kept"]), (&json!(7), &json!(true)), "{allowed}");

        let denied = call("that")?;
        assert_eq!(denied["id"], 7, "{denied}");
        assert_ne!(denied["error"]["code"], -32042, "{denied}");
        assert!(!denied.to_string().contains("a.example"), "{denied}");
    }
    Ok(())
}
