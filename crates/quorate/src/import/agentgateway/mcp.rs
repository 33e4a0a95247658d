//! MCP backends: targets become tool servers, all of one backend a toolset.
//!
//! In: one backend and the policies around it. Out: a `ToolServer` for each target that can be reached, and a `Toolset` of them, of which the
//! first is the one at `/mcp`.

use serde_json::{Value, json};

use super::super::Import;
use super::super::source::Part;
use super::super::tool_server::program;
use super::Made;
use super::policies::{Policies, Said};

/// What is said of backends.
const ROWS: &[(&str, &str)] = &[
    ("failureMode", "a toolset serves what those of its servers have that answer"),
    ("name", "a toolset is named by its route"),
];

/// Takes a backend.
pub(super) fn import(
    mut part: Part,
    wanted: &str,
    path: Option<&Said<String>>,
    policies: &Policies,
    made: &mut Made,
    import: &mut Import<'_>,
) {
    let at = part.at().to_owned();
    let mut names = Vec::new();
    for target in part.parts("targets", &mut import.notes) {
        names.extend(server(target, policies, import));
    }
    let mode = part.text("prefixMode", &mut import.notes).unwrap_or_else(|| "conditional".to_owned());
    let naming = match mode.as_str() {
        "always" => "prefix",
        "never" => "bare",
        _ if names.len() > 1 => "prefix",
        _ => "bare",
    };
    if !matches!(mode.as_str(), "always" | "never" | "conditional") {
        import.notes.add(&part.path("prefixMode"), &mode.as_str().into(), "not known here: it is as `conditional`");
    }
    let stateful = part.text("statefulMode", &mut import.notes);
    if let Some(mode) = stateful.filter(|mode| mode != "stateful") {
        import.notes.add(&part.path("statefulMode"), &mode.into(), "clients have a session where they ask for one");
    }
    part.end(ROWS, &mut import.notes);
    if names.is_empty() {
        import.notes.say(&at, "none of its targets is taken over: there is no toolset of it");
        return;
    }
    let of_path =
        path.map_or("", |path| path.value.as_str()).trim_matches('/').trim_end_matches("mcp").trim_matches('/');
    let wanted = [wanted, of_path, &names[0]].into_iter().find(|name| !name.is_empty()).unwrap_or("default").to_owned();
    let wanted = if made.toolsets.is_empty() { "default" } else { &wanted };
    let mut spec = json!({ "servers": names, "naming": naming });
    if policies.needs_user {
        spec["requires"] = json!(["user"]);
    }
    let name = import.documents.add("Toolset", wanted, spec, &at);
    made.toolsets.push(name.clone());
    let own = if name == "default" { "/mcp".to_owned() } else { format!("/mcp/{name}") };
    let why = format!("clients find it at {own}: paths are those of toolsets");
    match path {
        Some(Said { value, at }) if value.trim_end_matches('/') != own => {
            import.notes.add(at, &value.as_str().into(), why);
        }
        None if name != "default" => import.notes.say(&at, why),
        Some(_) | None => {}
    }
}

/// Makes a tool server of a target.
fn server(mut target: Part, outer: &Policies, import: &mut Import<'_>) -> Option<String> {
    let at = target.at().to_owned();
    let name = target.text("name", &mut import.notes).unwrap_or_else(|| "server".to_owned());
    let given = target.part("policies", &mut import.notes);
    let policies = given.map_or_else(|| outer.clone(), |given| Policies::take(given, import).within(outer));
    if policies.needs_user && !outer.needs_user {
        import.notes.say(&at, "tokens are required of a whole Toolset: see its `requires`");
    }
    let mut spec = None;
    for (key, transport) in [("mcp", "streamable-http"), ("sse", "sse"), ("stdio", ""), ("openapi", "")] {
        if spec.is_some() {
            target.lose(key, "a target is reached in one way: the first that is said is written", &mut import.notes);
            continue;
        }
        let Some(mut part) = target.part(key, &mut import.notes) else { continue };
        spec = match key {
            "stdio" => {
                let stdio = program(&mut part, "cmd", &name, import).map(|stdio| json!({ "stdio": stdio }));
                part.end(&[], &mut import.notes);
                stdio
            }
            "openapi" => openapi(part, &policies, import),
            _ => {
                let path = if key == "sse" { "/sse" } else { "/mcp" };
                let url = address(&mut part, path, &policies, import);
                part.end(&[("backend", "backends that are named are not followed: write the host")], &mut import.notes);
                url.map(|url| json!({ "urls": [url], "transport": transport }))
            }
        };
    }
    target.end(&[], &mut import.notes);
    let Some(mut spec) = spec else {
        import.notes.say(&at, "nothing says how it is reached: it is left out");
        return None;
    };
    if spec.get("urls").is_some() {
        if let Some(key) = &policies.key {
            let value = key.used(&mut import.notes).as_str();
            spec["credential"] = json!({ "header": { "name": "Authorization", "scheme": "Bearer", "value": value } });
        }
        if let Some(tls) = &policies.tls {
            let tls = tls.used(&mut import.notes);
            if !tls.is_empty() {
                spec["tls"] = Value::Object(tls.clone());
            }
        }
    }
    let limits = policies.limits(&mut import.notes);
    if !limits.is_empty() {
        spec["limits"] = Value::Object(limits);
    }
    Some(import.documents.share("ToolServer", &name, spec, &at))
}

/// The address of a host that may be a whole one.
fn address(part: &mut Part, path: &str, policies: &Policies, import: &mut Import<'_>) -> Option<String> {
    let at = part.path("host");
    let host = part.text("host", &mut import.notes).map(|host| import.address(host, &at));
    let port = part.count("port", &mut import.notes);
    let given = part.text("path", &mut import.notes);
    let is_whole = host.as_ref().is_some_and(|host| host.contains("://"));
    if host.is_none() || is_whole {
        let why = if is_whole { "the host is a whole address" } else { "there is no host that it is of" };
        for (key, value) in [("port", port.map(Value::from)), ("path", given.map(Value::from))] {
            if let Some(value) = value {
                import.notes.add(&part.path(key), &value, why);
            }
        }
        return host;
    }
    let host = host?;
    let tls = policies.tls.as_ref();
    if let Some(tls) = tls.filter(|tls| tls.value.is_empty()) {
        tls.used(&mut import.notes);
    }
    let scheme = if tls.is_some() || port == Some(443) { "https" } else { "http" };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = given.unwrap_or_else(|| path.to_owned());
    Some(format!("{scheme}://{host}{port}/{}", path.trim_start_matches('/')))
}

fn openapi(mut part: Part, policies: &Policies, import: &mut Import<'_>) -> Option<Value> {
    let server = address(&mut part, "", policies, import);
    let mut file = None;
    if let Some(mut schema) = part.part("schema", &mut import.notes) {
        file = schema.text("file", &mut import.notes);
        schema.end(&[("url", "documents are read from files: fetch it, and write its name")], &mut import.notes);
    }
    let at = part.at().to_owned();
    part.end(&[], &mut import.notes);
    let Some(file) = file else {
        import.notes.say(&at, "an API needs the file of its document: it is left out");
        return None;
    };
    if policies.key.is_some() {
        import.notes.say(&at, "its key is not written: see `openapi.auth` of the ToolServer");
    }
    let mut openapi = json!({ "document": file });
    if let Some(server) = server {
        openapi["server"] = server.trim_end_matches('/').into();
    }
    Some(json!({ "openapi": openapi }))
}
