//! What clients are told without asking for it: what servers say of themselves, and that lists have changed.

use anyhow::{Context as _, ensure};
use quorate_tests::{raw::PATIENCE, raw::session::initialize_message, wait};
use serde_json::{Value, json};

use crate::{
    ground::{ALL, COMMON, Ground},
    party::{Party, Reply, VERSION},
};

/// The instructions that a client of each era gets.
fn instructions(party: &Party) -> anyhow::Result<[Value; 2]> {
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let opened =
        Reply::of(party.send("POST", COMMON, &headers, &initialize_message(VERSION).to_string())?)?.result()?;
    let discovered = party.modern(COMMON, "server/discover", json!({}))?.result()?;
    Ok([opened, discovered].map(|result| result["instructions"].clone()))
}

#[test]
fn a_caller_does_not_read_what_a_server_says_of_which_it_may_use_nothing() -> anyhow::Result<()> {
    let enters = r#"permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);"#;
    let both = "[hub] The hub knows.\n\n[desk] The desk asks.";
    for (permit, expected) in [
        ("", Value::Null),
        (
            r#"permit(principal, action == Action::"mcp:call", resource == Tool::"desk/acmeco-work");"#,
            json!("[desk] The desk asks."),
        ),
        (
            r#"permit(principal, action == Action::"mcp:get", resource == Prompt::"hub/acmeco-prompt");"#,
            json!("[hub] The hub knows."),
        ),
        (
            r#"permit(principal, action == Action::"mcp:read", resource == Resource::"hub/acmeco://doc");"#,
            json!("[hub] The hub knows."),
        ),
        (r#"permit(principal, action == Action::"mcp:sample", resource);"#, Value::Null),
        (r#"permit(principal, action == Action::"mcp:call", resource);"#, json!(both)),
        (
            r#"@scope("more") permit(principal, action == Action::"mcp:call", resource in ToolServer::"hub");"#,
            json!("[hub] The hub knows."),
        ),
    ] {
        let ground = Ground::start(&format!("{enters}{permit}"))?;
        assert_eq!(instructions(&ground.party)?, [expected.clone(), expected], "{permit}");
    }
    Ok(())
}

/// The methods of what the stream of a session is told when the desk tells that its prompts have changed, and then of
/// something that is for everybody.
fn told(ground: &Ground) -> anyhow::Result<Vec<String>> {
    let party = &ground.party;
    let session = party.open(COMMON)?;
    party.ask(COMMON, &session, "tools/list", json!({}))?.result()?;
    let mut stream = party.listen(COMMON, &session, None)?;
    std::thread::scope(|scope| {
        let reads = scope.spawn(move || {
            let mut methods = Vec::new();
            loop {
                let message = stream.next_message()?.context("the stream ended")?;
                let method = message["method"].as_str().unwrap_or_default().to_owned();
                let is_last = method == "notifications/message";
                methods.push(method);
                if is_last {
                    return anyhow::Ok(methods);
                }
            }
        });
        wait::until("the news", PATIENCE, || {
            ground.desk.1.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/prompts/list_changed" }));
            let params = json!({ "level": "emergency", "data": "all" });
            ground.desk.1.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params }));
            ensure!(reads.is_finished(), "somebody still reads");
            Ok(())
        })?;
        reads.join().expect("it does not panic")
    })
}

#[test]
fn a_session_is_told_that_lists_have_changed_where_a_listen_would_be() -> anyhow::Result<()> {
    let changed = "notifications/prompts/list_changed";
    // What the desk says of itself is for those who may use something there.
    let uses = r#"permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);
        permit(principal, action == Action::"mcp:call", resource == Tool::"desk/acmeco-work");"#;
    for (policy, is_told) in [(ALL, true), (uses, false)] {
        let ground = Ground::start(policy)?;
        let params = json!({ "notifications": { "promptsListChanged": true } });
        let first = Reply::first_of(ground.party.begin(COMMON, "subscriptions/listen", params)?)?.message()?;
        let is_honoured = first["params"]["notifications"]["promptsListChanged"] == true;

        let told = told(&ground)?;

        assert_eq!(
            (is_honoured, told.iter().any(|method| method == changed)),
            (is_told, is_told),
            "{policy}: {told:?}"
        );
    }
    Ok(())
}
