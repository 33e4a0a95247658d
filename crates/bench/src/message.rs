//! What is said on the wire: the requests of each measure, the answers, and how they are checked.
//!
//! Both sides of the bench take their bytes from here, so that the direct connection and the one
//! through the gateway carry the same. Ids and arguments change with every request and alternate
//! between numbers and strings; sizes stay. Shapes follow the MCP revisions 2026-07-28 (modern)
//! and 2025-11-25 (legacy).

use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Answer;
use crate::prompt::Prompt;

/// The modern revision.
pub(crate) const MODERN: &str = "2026-07-28";
/// The legacy revision.
pub(crate) const LEGACY: &str = "2025-11-25";
/// Header that names a legacy session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Header that names the revision.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Header that names a modern request's method.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Header that names a modern request's tool.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The media type of requests and answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Bytes of a `tools/call` request's body.
pub(crate) const REQUEST_BYTES: usize = 500;
/// Bytes of the answer to `tools/call`, give or take the length of its id.
pub(crate) const ANSWER_BYTES: usize = 4096;
/// Tools that the backend lists.
pub(crate) const TOOLS: usize = 50;
/// The tool that asks its client something before it answers.
pub(crate) const ASKING_TOOL: &str = "ask";
/// The tool that is called: number 7 of them.
pub(crate) const TOOL: &str = "read_report_07";

/// The argument of every tool that no request gives.
pub(crate) const FIXED_ARGUMENT: &str = "locale";

/// What one load consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// `tools/call` of the modern era: 500 B in, 4 KB out.
    ModernCall,
    /// `tools/call` in legacy sessions, one per connection: 500 B in, 4 KB out as JSON.
    LegacyCall,
    /// `tools/list` of the modern era: 50 tools, which a gateway has in its cache.
    ToolsList,
    /// What is asked of a model.
    Model(Prompt),
}

/// The members of a JSON-RPC response that are looked at.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// The part of a list that is counted.
#[derive(Deserialize)]
struct Listed {
    tools: Vec<serde::de::IgnoredAny>,
}

/// What the asking tool asks, as a server-sent event, under an id that no other question of the session has.
pub(crate) fn question(id: u64) -> Bytes {
    let schema = r#"{"type":"object","properties":{"region":{"type":"string"}}}"#;
    let params = format!("{{\"message\":\"Which region?\",\"requestedSchema\":{schema}}}");
    let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"elicitation/create\",\"params\":{params}}}");
    format!("data: {request}\n\n").into()
}

// === impl Measure ===

impl Measure {
    /// The path that it is sent to.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ModernCall | Self::LegacyCall | Self::ToolsList => "/mcp",
            Self::Model(prompt) => prompt.path(),
        }
    }

    /// The name on the command line of `load`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ModernCall => "modern-call",
            Self::LegacyCall => "legacy-call",
            Self::ToolsList => "tools-list",
            Self::Model(prompt) => prompt.name(),
        }
    }

    /// Tells whether it needs a session.
    pub(crate) fn in_session(self) -> bool {
        self == Self::LegacyCall
    }

    /// The headers that every request of the measure has.
    pub(crate) fn headers(self, session: Option<&HeaderValue>) -> HeaderMap {
        match self {
            Self::ModernCall => {
                let mut headers = modern("tools/call");
                headers.insert(NAME, HeaderValue::from_static(TOOL));
                headers
            }
            Self::ToolsList => modern("tools/list"),
            Self::LegacyCall => legacy(session),
            Self::Model(prompt) => prompt.headers(),
        }
    }

    /// The id, as JSON, and the body of the request with this number; of a model, what its text begins with.
    pub(crate) fn request(self, number: u64) -> (String, Bytes) {
        let id = if number.is_multiple_of(2) { number.to_string() } else { format!("\"c{number}\"") };
        let meta = format!(
            "\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{MODERN}\",\
             \"io.modelcontextprotocol/clientInfo\":{{\"name\":\"quorate-bench\",\"version\":\"1\"}},\
             \"io.modelcontextprotocol/clientCapabilities\":{{}}}}"
        );
        let body = match self {
            Self::ModernCall => call(&id, number, &format!(",{meta}")),
            Self::LegacyCall => call(&id, number, ""),
            Self::Model(prompt) => return prompt.request(number),
            Self::ToolsList => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\",\"params\":{{{meta}}}}}")
            }
        };
        (id, body.into())
    }

    /// Holds an answer against the request with this id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(self, id: &str, answer: &Answer) -> Result<()> {
        let bytes_min = match self {
            Self::ModernCall | Self::LegacyCall => ANSWER_BYTES - 200,
            Self::ToolsList => TOOLS * 100,
            Self::Model(prompt) => return prompt.check(id, answer),
        };
        let result = result(id, answer)?;
        ensure!(result.len() >= bytes_min, "a result of {} bytes, at least {bytes_min} expected", result.len());
        Ok(())
    }

    /// Checks an answer down to its content; too expensive for every request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_whole(self, id: &str, answer: &Answer) -> Result<()> {
        if let Self::Model(prompt) = self {
            return prompt.check_whole(id, answer);
        }
        self.check(id, answer)?;
        if self == Self::ToolsList {
            let listed: Listed = serde_json::from_str(result(id, answer)?).context("the list of tools")?;
            ensure!(listed.tools.len() == TOOLS, "{} tools are listed, not {TOOLS}", listed.tools.len());
        }
        Ok(())
    }
}

impl ValueEnum for Measure {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Measure>> = LazyLock::new(|| {
            let tools = [Measure::ModernCall, Measure::LegacyCall, Measure::ToolsList];
            tools.into_iter().chain(Prompt::ALL.map(Measure::Model)).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// The headers of a request in a legacy session, or before it.
pub(crate) fn legacy(session: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = common();
    if let Some(session) = session {
        headers.insert(SESSION, session.clone());
        headers.insert(VERSION, HeaderValue::from_static(LEGACY));
    }
    headers
}

/// The headers and body of a modern call of the tool that asks, with this number as its id.
pub(crate) fn asking_call(number: u64) -> (HeaderMap, Bytes) {
    let mut headers = modern("tools/call");
    headers.insert(NAME, HeaderValue::from_static(ASKING_TOOL));
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"tools/call\",\"params\":{{\"name\":\"{ASKING_TOOL}\",\
         \"arguments\":{{}},\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{MODERN}\",\
         \"io.modelcontextprotocol/clientCapabilities\":{{\"elicitation\":{{}}}}}}}}}}"
    );
    (headers, body.into())
}

/// The body of `initialize`.
pub(crate) fn initialize() -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{LEGACY}\",\
         \"capabilities\":{{}},\"clientInfo\":{{\"name\":\"quorate-bench\",\"version\":\"1\"}}}}}}"
    )
    .into()
}

/// The body that follows the answer to `initialize`.
pub(crate) fn initialized() -> Bytes {
    Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}")
}

/// The body of `ping`, whose id is `"ping"`.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":\"ping\",\"method\":\"ping\"}")
}

/// Returns the result of an answer to the request with this id.
///
/// # Errors
/// When it is another answer, or an error.
pub(crate) fn result<'a>(id: &str, answer: &'a Answer) -> Result<&'a str> {
    let shown = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
    ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, shown());
    let media = answer.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    ensure!(media.starts_with(JSON.as_bytes()), "the answer to {id} is not JSON: {}", shown());
    let response: Response<'_> = serde_json::from_slice(&answer.body).with_context(shown)?;
    ensure!(response.id.get() == id, "the answer to {id} has the id {}", response.id);
    match response.result {
        Some(result) => Ok(result.get()),
        None => bail!("no result: {}", shown()),
    }
}

/// The result of `tools/call`, less its braces; with `resultType` it is a modern one.
pub(crate) fn call_result(is_modern: bool) -> String {
    let kind = if is_modern { "\"resultType\":\"complete\"," } else { "" };
    let frame = format!("{kind}\"content\":[{{\"type\":\"text\",\"text\":\"\"}}],\"isError\":false");
    let envelope = "{\"jsonrpc\":\"2.0\",\"id\":0000000,\"result\":{}}".len();
    let room = ANSWER_BYTES - envelope - frame.len();
    let mut text = String::with_capacity(room);
    for row in 0.. {
        // As tools answer: JSON in a text, so that every few bytes are an escape.
        let row = format!("{{\\\"row\\\":{row},\\\"name\\\":\\\"entry {row}\\\",\\\"share\\\":0.{row:03}}}\\n");
        if text.len() + row.len() > room {
            break;
        }
        text.push_str(&row);
    }
    text.extend(std::iter::repeat_n('.', room - text.len()));
    frame.replacen("\"text\":\"\"", &format!("\"text\":\"{text}\""), 1)
}

/// The name of the tool with this number.
pub(crate) fn tool_name(index: usize) -> String {
    format!("read_report_{index:02}")
}

/// The result of `tools/list`, less its braces.
pub(crate) fn list_result(is_modern: bool) -> String {
    let tool = |index: usize| {
        format!(
            "{{\"name\":\"{}\",\"title\":\"Read report {index}\",\"description\":\"Reads one page \
             of report {index} and returns its rows, newest first, with their names and shares.\",\"inputSchema\":\
             {{\"type\":\"object\",\"properties\":{{\"query\":{{\"type\":\"string\",\"description\":\"Words that a row \
             must contain\"}},\"page\":{{\"type\":\"integer\",\"minimum\":0}},\"{FIXED_ARGUMENT}\":\
             {{\"type\":\"string\"}}}},\"required\":[\"query\"]}},\
             \"annotations\":{{\"readOnlyHint\":true}}}}",
            tool_name(index)
        )
    };
    let tools: Vec<String> = (0..TOOLS).map(tool).collect();
    let kind = if is_modern { "\"resultType\":\"complete\",\"ttlMs\":60000,\"cacheScope\":\"public\"," } else { "" };
    format!("{kind}\"tools\":[{}]", tools.join(","))
}

fn modern(method: &'static str) -> HeaderMap {
    let mut headers = common();
    headers.insert(VERSION, HeaderValue::from_static(MODERN));
    headers.insert(METHOD, HeaderValue::from_static(method));
    headers
}

fn common() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers
}

fn call(id: &str, number: u64, meta: &str) -> String {
    let head = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{TOOL}\",\
         \"arguments\":{{\"page\":{number},\"query\":\""
    );
    let tail = format!("\"}}{meta}}}}}");
    let room = REQUEST_BYTES.saturating_sub(head.len() + tail.len());
    let words = "revenue by region and month, without returns ".chars().cycle().take(room);
    head.chars().chain(words).chain(tail.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Measure; 3] = [Measure::ModernCall, Measure::LegacyCall, Measure::ToolsList];

    fn answer(body: String) -> Answer {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
        Answer::new(StatusCode::OK, headers, body.into())
    }

    fn answered(measure: Measure, id: &str) -> Answer {
        let is_modern = !measure.in_session();
        let result = if measure == Measure::ToolsList { list_result(is_modern) } else { call_result(is_modern) };
        answer(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{result}}}}}"))
    }

    #[test]
    fn requests_are_json_with_ids_that_vary() {
        for measure in ALL {
            let mut ids: Vec<String> = Vec::new();
            for number in [7_u64, 8, 123_456, 123_457] {
                let (id, body) = measure.request(number);

                let value: serde_json::Value = serde_json::from_slice(&body).unwrap();

                assert_eq!(value["id"].to_string(), id);
                ids.push(id);
            }
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 4);
        }
    }

    #[test]
    fn calls_have_the_size_that_the_table_names() {
        for measure in [Measure::ModernCall, Measure::LegacyCall] {
            assert_eq!(measure.request(1_000_000).1.len(), REQUEST_BYTES);
            assert_eq!(answered(measure, "1000000").body.len(), ANSWER_BYTES);
        }
    }

    #[test]
    fn the_answers_of_the_backend_pass_the_check() {
        for measure in ALL {
            measure.check_whole("\"c1\"", &answered(measure, "\"c1\"")).unwrap();
        }
    }

    #[test]
    fn an_answer_to_another_request_does_not_pass() {
        for measure in ALL {
            assert!(measure.check("1", &answered(measure, "2")).is_err());
            assert!(measure.check("1", &answered(measure, "\"1\"")).is_err());
        }
    }

    #[test]
    fn errors_and_short_answers_do_not_pass() {
        let error = "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"no\"}}";
        let short = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
        for body in [error, short, "", "[]"] {
            assert!(Measure::ModernCall.check("1", &answer(body.to_owned())).is_err(), "{body}");
        }
        let refused = Answer { status: StatusCode::NOT_FOUND, ..answered(Measure::ModernCall, "1") };
        assert!(Measure::ModernCall.check("1", &refused).is_err());
    }
}
