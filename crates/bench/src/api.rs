//! The tool server as an HTTP API: an OpenAPI document, what is asked for, and what it answers.
//!
//! Its operations are called like the tools of the MCP server, so that the same load calls them. What an operation gets is
//! checked as strictly as the measure needs: its page in the path, its query in a JSON body, its token.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::message::{ANSWER_BYTES, JSON, TOOLS, tool_name};

/// Where the operations are.
pub(crate) const PREFIX: &str = "/reports/";
/// The token that each request has to have.
pub(crate) const TOKEN: &str = "a-token-of-the-bench";

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(borrow)]
    query: std::borrow::Cow<'a, str>,
}

/// The document of an API that is served at `origin`, such as `http://127.0.0.1:1`.
pub(crate) fn document(origin: &str) -> Value {
    let row = json!({ "type": "object", "properties": {
        "row": { "type": "integer" }, "name": { "type": "string" }, "share": { "type": "number" },
    }});
    let rows = json!({ "type": "object", "properties": { "rows": { "type": "array", "items": row } } });
    let operation = |index: usize| {
        json!({
            "operationId": tool_name(index),
            "summary": "Reads one page of a report.",
            "parameters": [{ "name": "page", "in": "path", "required": true, "schema": { "type": "integer", "minimum": 0 } }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": {
                "type": "object", "properties": { "query": { "type": "string" } }, "required": ["query"],
            }}}},
            "responses": { "200": { "description": "Rows.", "content": { "application/json": { "schema": rows } } } },
        })
    };
    let path = |index: usize| (format!("{PREFIX}{index:02}/{{page}}"), json!({ "post": operation(index) }));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Reports", "version": "1" },
        "servers": [{ "url": origin }],
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{ "token": [] }],
        "paths": (0..TOOLS).map(path).collect::<serde_json::Map<_, _>>(),
    })
}

/// What every operation answers: rows, as large as the answers of the tools.
pub(crate) fn answer() -> Bytes {
    let mut rows = Vec::new();
    let mut bytes = br#"{"rows":[]}"#.len();
    for row in 0.. {
        let text = format!("{{\"row\":{row},\"name\":\"entry {row}\",\"share\":0.{row:03}}}");
        bytes += text.len() + 1;
        if bytes > ANSWER_BYTES {
            break;
        }
        rows.push(text);
    }
    format!("{{\"rows\":[{}]}}", rows.join(",")).into()
}

/// Judges a request: the status of its answer.
pub(crate) fn judge(head: &Parts, body: &[u8]) -> StatusCode {
    let place = head.uri.path().strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    let is_place = place.is_some_and(|(report, page)| report.parse::<u8>().is_ok() && page.parse::<u64>().is_ok());
    if head.method != Method::POST || !is_place {
        return StatusCode::NOT_FOUND;
    }
    if !is_authorized(&head.headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let is_json = head.headers.get(CONTENT_TYPE) == Some(&JSON);
    match serde_json::from_slice::<Asked<'_>>(body) {
        Ok(asked) if is_json && !asked.query.is_empty() => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn is_authorized(headers: &HeaderMap) -> bool {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token == Some(TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, token: &str) -> Parts {
        let request = http::Request::post(path).header(AUTHORIZATION, token).header(CONTENT_TYPE, JSON);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_without_what_the_document_asks_for_is_refused() {
        let token = format!("Bearer {TOKEN}");
        for (path, token, body, expected) in [
            ("/reports/07/41", token.as_str(), r#"{"query":"a"}"#, StatusCode::OK),
            ("/reports/07/%7Bpage%7D", &token, r#"{"query":"a"}"#, StatusCode::NOT_FOUND),
            ("/reports/07", &token, r#"{"query":"a"}"#, StatusCode::NOT_FOUND),
            ("/reports/07/41", "Bearer ", r#"{"query":"a"}"#, StatusCode::UNAUTHORIZED),
            ("/reports/07/41", &token, r#"{"query":""}"#, StatusCode::BAD_REQUEST),
            ("/reports/07/41", &token, r#"{"query":"a","page":41}"#, StatusCode::BAD_REQUEST),
            ("/reports/07/41", &token, "", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(judge(&head(path, token), body.as_bytes()), expected, "{path} {token} {body}");
        }
    }

    #[test]
    fn the_answer_is_json_of_the_size_that_the_table_names() {
        let answer = answer();

        let value: Value = serde_json::from_slice(&answer).unwrap();

        assert!(value["rows"].as_array().unwrap().len() > 50);
        assert!((ANSWER_BYTES - 100..=ANSWER_BYTES).contains(&answer.len()), "{} bytes", answer.len());
    }
}
