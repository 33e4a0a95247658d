//! What tests of calls share: a call, written as it would go over the wire.

use http::Request;
use quorate_openapi::Api;
use serde_json::Value;

/// Writes a request as it would go over the wire, headers sorted.
fn shown(request: &Request<bytes::Bytes>) -> String {
    let mut headers: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != http::header::ACCEPT)
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    headers.sort();
    let body = String::from_utf8_lossy(request.body());
    format!("{} {}\n{}\n\n{body}", request.method(), request.uri(), headers.join("\n"))
}

/// Calls a tool; the request as text, or why there is none.
pub(crate) fn call(api: &Api, tool: &str, arguments: &Value) -> Result<String, String> {
    let tool = api.tool(tool).unwrap_or_else(|| panic!("there is no {tool}"));
    tool.call(&arguments.to_string()).map(|request| shown(&request)).map_err(|refusal| refusal.to_string())
}
