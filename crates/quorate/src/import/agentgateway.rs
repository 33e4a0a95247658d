//! The configuration of agentgateway: binds with listeners and routes, and the shorter `llm` and `mcp`.
//!
//! Ports become `Listener`s, MCP targets `ToolServer`s in a `Toolset`, AI providers `Provider`s with a `Model` before them, tokens an
//! `Issuer`. Requests are told apart by toolset and model here, and not by path, host or header: routes are noted where that makes a
//! difference. What expressions decide has to be written as policies.
//!
//! From its public schema and examples, September 2026.

mod ai;
mod bind;
mod llm;
mod mcp;
mod model_policies;
mod policies;

use serde_json::{Value, json};

use self::policies::Policies;
use super::Import;
use super::source::Part;

/// What is said of sections.
const SECTIONS: &[(&str, &str)] = &[
    ("config", "settings of a node are flags: see `quorate serve --help`"),
    ("services", "write addresses into ToolServers and Providers"),
    ("workloads", "write addresses into ToolServers and Providers"),
    ("backends", "backends that routes name are not followed: write them into their routes and import again"),
    ("policies", "policies that name their targets are not followed: write them into their routes and import again"),
    ("frontendPolicies", "see `spec.limits` of a Listener"),
    ("gateways", "write its routes below `binds` and import again"),
    ("routes", "write its routes below `binds` and import again"),
    ("routeGroups", "write its routes below `binds` and import again"),
    ("tcpRoutes", "only HTTP is served"),
    ("ui", "there is no configuration of a user interface"),
];

/// What was made so far, of which there may be one of a name only.
#[derive(Debug, Default)]
struct Made {
    /// Toolsets, of which the first is the one that is found at `/mcp`.
    toolsets: Vec<String>,
    /// Binds that serve none, by where they stand.
    without: Vec<String>,
    /// Models of routes, of which the first answers for all names.
    models: usize,
}

/// Makes documents of a configuration.
pub(super) fn import(value: Value, import: &mut Import<'_>) {
    let Some(mut source) = Part::of(value, "", &mut import.notes) else { return };
    let mut made = Made::default();
    for part in source.parts("binds", &mut import.notes) {
        bind::import(part, &mut made, import);
    }
    for at in made.without.iter().filter(|_| !made.toolsets.is_empty()) {
        import.notes.say(at, "toolsets of other ports are found here as well: see `toolsets` of the Listener");
    }
    if let Some(part) = source.part("llm", &mut import.notes) {
        llm::import(part, import);
    }
    if let Some(mut part) = source.part("mcp", &mut import.notes) {
        listener(&mut part, "mcp", import);
        let given = part.part("policies", &mut import.notes);
        let policies = given.map(|given| Policies::take(given, import)).unwrap_or_default();
        mcp::import(part, "mcp", None, &policies, &mut made, import);
    }
    source.end(SECTIONS, &mut import.notes);
}

/// Makes the listener of a short form.
fn listener(part: &mut Part, name: &str, import: &mut Import<'_>) {
    let Some(port) = part.count("port", &mut import.notes) else {
        import.notes.say(part.at(), "it names no port: write a Listener, or serve with `--listen`");
        return;
    };
    let spec = json!({ "address": format!("0.0.0.0:{port}"), "plaintext": true });
    import
        .notes
        .say(&part.path("port"), "it is served without TLS to other machines, as before: see `tls` of the Listener");
    import.documents.share("Listener", name, spec, part.at());
}
