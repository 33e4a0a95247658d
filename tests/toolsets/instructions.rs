//! What clients are told of a toolset.

use quorate_tests::raw::{gateway::Gateway, mcp::Mcp, session};
use serde_json::{Value, json};

use crate::support::start;

fn speaking(name: &'static str) -> Mcp {
    let text = format!("Says {name}.");
    Mcp::new(name).rule(move |seen, out| {
        let says = ["server/discover", "initialize"].contains(&seen.method());
        if says {
            let mut result = json!({
                "capabilities": { "tools": {} }, "serverInfo": { "name": name, "version": "1" }, "instructions": text,
            });
            match seen.is_modern() {
                true => {
                    result["supportedVersions"] = json!(["2026-07-28"]);
                    result["resultType"] = json!("complete");
                    result["ttlMs"] = json!(1000);
                    result["cacheScope"] = json!("public");
                }
                false => result["protocolVersion"] = seen.params()["protocolVersion"].clone(),
            }
            out.json_with(&[("mcp-session-id", "s")], &json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result }));
        }
        says
    })
}

fn told(gateway: &Gateway) -> anyhow::Result<(Value, Value)> {
    let modern = gateway.modern(1, "server/discover", json!({}))?.message()?;
    let legacy = session::initialize(gateway, "2025-11-25")?.message()?;
    Ok((modern["result"]["instructions"].clone(), legacy["result"]["instructions"].clone()))
}

#[test]
fn the_toolset_speaks_first_and_then_the_servers_that_are_kept() -> anyhow::Result<()> {
    let (one, two) = (speaking("one").start()?, speaking("two").start()?);
    let servers = [("one", &one), ("two", &two)];
    let omitted = json!({ "server": "two", "name": "second", "instructions": "omit" });
    for (spec, expected) in [
        (json!({ "servers": ["one"] }), json!("Says one.")),
        (json!({ "servers": ["one", "two"] }), json!("[one] Says one.\n\n[two] Says two.")),
        (
            json!({ "servers": ["one", { "server": "two", "name": "second" }], "instructions": "For all." }),
            json!("For all.\n\n[one] Says one.\n\n[second] Says two."),
        ),
        (json!({ "servers": ["one", omitted] }), json!("[one] Says one.")),
        (json!({ "servers": [{ "server": "one", "instructions": "omit" }] }), Value::Null),
    ] {
        let gateway = start(&servers, spec.clone())?;
        assert_eq!(told(&gateway)?, (expected.clone(), expected), "{spec}");
    }
    Ok(())
}

#[test]
fn clients_are_told_how_to_find_what_is_not_listed() -> anyhow::Result<()> {
    let one = speaking("one").start()?;
    let spec = json!({ "servers": ["one"], "search": { "disclosure": "progressive" } });
    let gateway = start(&[("one", &one)], spec)?;

    let (modern, legacy) = told(&gateway)?;

    assert!(
        modern.as_str().is_some_and(|text| text.starts_with("Says one.") && text.contains("find_tools")),
        "{modern}"
    );
    assert_eq!(modern, legacy);
    Ok(())
}
