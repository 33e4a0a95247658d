//! `mcp_servers` of a LiteLLM proxy: tool servers, all in one toolset.
//!
//! In: the section. Out: a `ToolServer` for each server that can be reached, and the `Toolset` at `/mcp`, with the names of the servers before
//! those of their tools, as clients of the proxy know them.

use serde_json::{Map, Value, json};

use super::super::Import;
use super::super::source::Part;
use super::super::tool_server::{headers, program};

/// What is said of keys of a server.
const KEYS: &[(&str, &str)] = &[
    ("extra_headers", "headers of callers are not handed on"),
    ("mcp_access_groups", "who may call what is said by a Policy"),
    ("allow_all_keys", "who may call what is said by a Policy"),
    ("description", "servers describe themselves"),
    ("spec_version", "the version is found out"),
    ("authorization_url", "callers of a server are not sent to others: see `credential` of a ToolServer"),
    ("token_url", "see `credential.clientCredentials` of a ToolServer"),
    ("client_id", "see `credential.clientCredentials` of a ToolServer"),
    ("client_secret", "see `credential.clientCredentials` of a ToolServer"),
    ("scopes", "see `credential.clientCredentials` of a ToolServer"),
    ("spec_path", "write `spec.openapi.document` of a ToolServer, with the file"),
];

/// Takes the servers.
pub(super) fn import(source: &mut Part, import: &mut Import<'_>) {
    let Some(mut servers) = source.part("mcp_servers", &mut import.notes) else { return };
    let at = servers.at().to_owned();
    let mut names = Vec::<Value>::new();
    for name in servers.keys() {
        let Some(mut part) = servers.part(&name, &mut import.notes) else { continue };
        let from = part.at().to_owned();
        let spec = spec(&mut part, &name, import);
        let mut tools = Map::new();
        for (key, choice) in [("allowed_tools", "include"), ("disallowed_tools", "exclude")] {
            let patterns = part.texts(key, &mut import.notes);
            if !patterns.is_empty() {
                tools.insert(choice.to_owned(), json!(patterns));
            }
        }
        part.end(KEYS, &mut import.notes);
        names.extend(spec.map(|spec| {
            let name = import.documents.add("ToolServer", &name, spec, &from);
            if tools.is_empty() { name.into() } else { json!({ "server": name, "tools": tools }) }
        }));
    }
    if !names.is_empty() {
        let spec = json!({ "servers": names, "naming": "prefix" });
        import.documents.add("Toolset", "default", spec, &at);
    }
}

fn spec(part: &mut Part, name: &str, import: &mut Import<'_>) -> Option<Value> {
    let transport = part.text("transport", &mut import.notes).unwrap_or_else(|| "sse".to_owned());
    if transport == "stdio" || part.has("command") {
        let stdio = program(part, "command", name, import)?;
        return Some(json!({ "stdio": stdio }));
    }
    let at = part.path("url");
    let Some(url) = part.text("url", &mut import.notes) else {
        import.notes.say(part.at(), "it has no address: it is left out");
        return None;
    };
    let url = import.address(url, &at);
    let mut spec = json!({ "urls": [url] });
    match transport.as_str() {
        "sse" => spec["transport"] = "sse".into(),
        "http" => spec["transport"] = "streamable-http".into(),
        other => import.notes.add(&part.path("transport"), &other.into(), "it is found out"),
    }
    let headers: Map<String, Value> = headers(part, "static_headers", name, import);
    if !headers.is_empty() {
        spec["headers"] = Value::Object(headers);
    }
    if let Some(credential) = credential(part, name, import) {
        spec["credential"] = credential;
    }
    Some(spec)
}

fn credential(part: &mut Part, name: &str, import: &mut Import<'_>) -> Option<Value> {
    let kind = part.text("auth_type", &mut import.notes).filter(|kind| kind != "none")?;
    let key = ["authentication_token", "auth_value"].into_iter().find(|key| part.has(key)).unwrap_or("auth_value");
    let at = part.path(key);
    let header = match kind.as_str() {
        "bearer_token" => json!({ "name": "Authorization", "scheme": "Bearer" }),
        "basic" => json!({ "name": "Authorization", "scheme": "Basic" }),
        "authorization" => json!({ "name": "Authorization" }),
        "api_key" => json!({ "name": "X-API-Key" }),
        _ => {
            import.notes.add(&part.path("auth_type"), &kind.into(), "see `credential` of a ToolServer");
            return None;
        }
    };
    let Some(secret) = part.text(key, &mut import.notes) else {
        import.notes.say(part.at(), "what it is shown is not said: see `credential` of the ToolServer");
        return None;
    };
    let mut header = header;
    header["value"] = import.secrets.write(&secret, &at, &format!("{name} token"), &mut import.notes).into();
    Some(json!({ "header": header }))
}
