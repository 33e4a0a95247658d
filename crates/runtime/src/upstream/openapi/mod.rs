//! An API that is described by an OpenAPI document, as a tool server of the modern era.
//!
//! An [`ApiEndpoint`] answers in this process what a stateless MCP server (2026-07-28) would: `server/discover` and
//! `tools/list` of the compiled document, `tools/call` by one HTTP request to the API, and -32601 to everything else.
//! Frames come in and go out as with any other endpoint, so that nothing above knows the difference.
//!
//! Requests go where the document and the configuration say and nowhere else; redirects are told to the model, not
//! followed. What an API answers, 4xx and 5xx included, is a result; only a connection that cannot be made, breaks or
//! takes too long is an [`Error`].

mod exchange;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_http::client;
use quorate_jsonrpc::{Frame, Id, Span, build, pick, quote, text};
use quorate_mcp::dialect::v2026_07_28::META_SERVER_INFO;
use quorate_mcp::error::{INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND};
use quorate_mcp::{Method, Version};
use quorate_openapi::{Api, Tool};

use super::answer::Answer;
use super::endpoint::Limits;
use super::error::Error;
use super::wire::{self, Patience};

/// How long lists may be kept: a minute. They change with the configuration only, which makes a new endpoint.
const TTL_MS: u64 = 60_000;
/// A page of tools ends after this many bytes: a tenth of what one answer may have by default.
const PAGE_BYTES: usize = 1 << 20;

/// An API behind its document. Clones are cheap.
#[derive(Clone)]
pub struct ApiEndpoint {
    shared: Arc<Shared>,
}

struct Shared {
    /// What operators know it by: the document's file.
    label: String,
    api: Api,
    client: client::Client,
    limits: Limits,
    /// The result of `server/discover`.
    about: String,
}

/// A refusal as JSON-RPC has it.
struct Refused {
    status: StatusCode,
    code: i64,
    message: String,
}

// === impl ApiEndpoint ===

impl ApiEndpoint {
    /// Makes an endpoint of a compiled document; `label` is what operators know it by.
    #[must_use]
    pub fn new(label: &str, api: Api, client: client::Client, limits: Limits) -> Self {
        let about = about(&api);
        Self { shared: Arc::new(Shared { label: label.to_owned(), api, client, limits, about }) }
    }

    /// Returns the compiled document.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.shared.api
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Answers a request as a server would.
    ///
    /// # Errors
    /// [`Error`] of the request to the API, when a tool is called.
    pub(super) async fn answer(&self, headers: &HeaderMap, body: Bytes, patience: Patience) -> Result<Answer, Error> {
        let request = of_request(body)?;
        let Some(id) = request.id().cloned() else {
            let message = "only requests are answered".to_owned();
            return self.refuse(None, Refused { status: StatusCode::BAD_REQUEST, code: INVALID_REQUEST, message });
        };
        let method = request.method().unwrap_or_default();
        let result = if method == Method::CallTool.as_str() {
            match self.tool(&request) {
                Ok((tool, arguments)) => Ok(self.call(tool, request.text_of(arguments), headers, patience).await?),
                Err(refused) => Err(refused),
            }
        } else if method == Method::ListTools.as_str() {
            self.page(&request)
        } else if method == Method::Discover.as_str() {
            Ok(self.shared.about.clone())
        } else {
            Err(not_found(method))
        };
        match result {
            Ok(result) => {
                let frame = wire::parse(build::result(&id, &result), usize::MAX)?;
                Ok(Answer::Json { status: StatusCode::OK, frame })
            }
            Err(refused) => self.refuse(Some(&id), refused),
        }
    }

    /// Refuses what only a server of sessions would take, as a server that has none does.
    ///
    /// # Errors
    /// Always [`Error::Fault`], but for a frame that is none.
    pub(super) fn refuse_session<T>(&self, body: Bytes) -> Result<T, Error> {
        let request = of_request(body)?;
        match self.refuse(request.id(), not_found(request.method().unwrap_or_default()))? {
            Answer::Json { status, frame } => Err(Error::fault(status, frame)),
            Answer::Stream(_) => Err(Error::Broken { reason: "a refusal is one message".to_owned() }),
        }
    }

    fn refuse(&self, id: Option<&Id>, refused: Refused) -> Result<Answer, Error> {
        let body = build::error(id, refused.code, &refused.message, None);
        Ok(Answer::Json { status: refused.status, frame: wire::parse(body, self.shared.limits.answer_bytes_max)? })
    }

    /// Reads which tool is called, and where its arguments stand in the frame.
    fn tool(&self, request: &Frame) -> Result<(&Tool, Span), Refused> {
        let [name, arguments] = members(request, ["name", "arguments"])?;
        let name = name.and_then(|name| text(request.text_of(name))).ok_or_else(|| invalid("name is not a text"))?;
        let tool = self.shared.api.tool(&name).ok_or_else(|| invalid(&format!("unknown tool: {}", quote(&name))))?;
        // Without arguments an empty span stands for an empty object.
        Ok((tool, arguments.unwrap_or(Span::at(0))))
    }

    fn page(&self, request: &Frame) -> Result<String, Refused> {
        let tools = self.shared.api.tools();
        let [cursor] = members(request, ["cursor"])?;
        let start = match cursor.map(|cursor| text(request.text_of(cursor))) {
            None => 0,
            Some(cursor) => cursor
                .and_then(|cursor| cursor.parse().ok())
                .filter(|start| *start < tools.len())
                .ok_or_else(|| invalid("the cursor is not one of this list"))?,
        };
        let mut result = String::from("{\"resultType\":\"complete\",\"tools\":[");
        let mut next = start;
        for tool in &tools[start..] {
            result.push_str(if next > start { "," } else { "" });
            result.push_str(tool.definition());
            next += 1;
            if result.len() > PAGE_BYTES {
                break;
            }
        }
        result.push(']');
        if next < tools.len() {
            result.push_str(&format!(",\"nextCursor\":\"{next}\""));
        }
        result.push_str(&format!(",\"ttlMs\":{TTL_MS},\"cacheScope\":\"public\"}}"));
        Ok(result)
    }
}

impl fmt::Display for ApiEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.label)
    }
}

impl fmt::Debug for ApiEndpoint {
    /// Writes the document's name only: tools are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiEndpoint").field("document", &self.shared.label).finish_non_exhaustive()
    }
}

/// Reads a request, whose size the listener has bounded: the limit of answers says nothing about it.
fn of_request(body: Bytes) -> Result<Frame, Error> {
    wire::parse(body, usize::MAX)
}

/// Finds members of the parameters.
fn members<const N: usize>(request: &Frame, keys: [&str; N]) -> Result<[Option<Span>; N], Refused> {
    let Some(params) = request.params_span() else { return Ok([None; N]) };
    pick(request.text_of(params), params.start, keys).map_err(|error| invalid(&error.to_string()))
}

fn invalid(message: &str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, code: INVALID_PARAMS, message: message.to_owned() }
}

fn not_found(method: &str) -> Refused {
    let message = format!("method not found: {}", quote(method));
    Refused { status: StatusCode::NOT_FOUND, code: METHOD_NOT_FOUND, message }
}

/// Writes the result of `server/discover`.
fn about(api: &Api) -> String {
    let or = |text: &str, other: &str| quote(if text.is_empty() { other } else { text });
    let info = format!("{{\"name\":{},\"version\":{}}}", or(api.title(), "openapi"), or(api.version(), "0"));
    let instructions = match api.description() {
        "" => String::new(),
        text => format!(",\"instructions\":{}", quote(text)),
    };
    format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{}\"],\"capabilities\":{{\"tools\":{{}}}}{instructions},\
         \"ttlMs\":{TTL_MS},\"cacheScope\":\"public\",\"_meta\":{{\"{META_SERVER_INFO}\":{info}}}}}",
        Version::LATEST.as_str(),
    )
}
