//! What the demo server answers to each method.
//!
//! In: a classified call. Out: a [`Reply`], or the fault that refuses it. Results are written once
//! in the legacy form; [`complete`] adds what the modern era wants on top.

use bytes::Bytes;
use quorate_jsonrpc::build;
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::dialect::legacy::{Implementation, initialize_result};
use quorate_mcp::dialect::v2026_07_28::{CacheScope, acknowledged_params, discover_result};
use quorate_mcp::{Call, Era, Fault, Filter, ListKind, Operation, Version};

use super::{content, tools};

/// What is sent back.
#[derive(Debug)]
pub(super) enum Reply {
    /// A result, as JSON.
    Result(String),
    /// Progress, then a result.
    Count(tools::Count),
    /// One message on a stream that stays open.
    Hold(Bytes),
    /// Nothing: it was no request.
    Nothing,
}

const SELF: Implementation<'static> = Implementation { name: "quorate-demo", version: env!("CARGO_PKG_VERSION") };
const INSTRUCTIONS: &str = "A demo server: try `echo`, `add`, `clock` and `count`.";
/// How long lists may be cached: an hour. They change with the program only.
const TTL_MS: u64 = 3_600_000;

/// Answers a call.
///
/// # Errors
/// [`Fault`] when the method is not offered, or what it names does not exist.
pub(super) fn answer(version: Version, call: &Call) -> Result<Reply, Fault> {
    let unoffered = || Fault::MethodNotFound { method: call.frame.method().unwrap_or_default().to_owned() };
    let result = match &call.operation {
        Operation::Initialize { .. } => initialize_result(version, &capabilities(), SELF, Some(INSTRUCTIONS)),
        Operation::Discover => {
            let result = discover_result(&capabilities(), SELF, Some(INSTRUCTIONS), TTL_MS, CacheScope::Public);
            return Ok(Reply::Result(result));
        }
        Operation::Ping => "{}".to_owned(),
        Operation::List { kind, cursor: None } => return Ok(Reply::Result(cacheable(version, list(*kind)))),
        Operation::List { cursor: Some(_), .. } => {
            return Err(Fault::InvalidParams {
                field: "cursor",
                reason: "is not one of this server: lists have one page",
            });
        }
        Operation::CallTool { name, arguments, .. } => {
            let arguments = arguments.map_or("{}", |span| call.raw(span));
            match tools::call(name, arguments)? {
                tools::Outcome::Done(outcome) => tool_result(version, &outcome),
                tools::Outcome::Count(count) => return Ok(Reply::Count(count)),
            }
        }
        Operation::GetPrompt { name, .. } => complete(version, content::prompt(name, &call.frame)?),
        Operation::ReadResource { uri, .. } => return Ok(Reply::Result(cacheable(version, content::read(uri)?))),
        // Nothing ever changes here, so that promising to tell about changes costs nothing.
        Operation::Subscribe { uri, .. } | Operation::Unsubscribe { uri, .. } => {
            content::read(uri)?;
            "{}".to_owned()
        }
        Operation::Listen { filter } => {
            let id = call.id().ok_or_else(unoffered)?;
            let params = acknowledged_params(id, &honoured(filter));
            return Ok(Reply::Hold(build::notification("notifications/subscriptions/acknowledged", Some(&params))));
        }
        Operation::Complete { .. }
        | Operation::SetLevel { .. }
        | Operation::Task { .. }
        | Operation::ListTasks { .. } => return Err(unoffered()),
        Operation::Initialized
        | Operation::Cancelled { .. }
        | Operation::RootsListChanged
        | Operation::Progress { .. }
        | Operation::Response
        | Operation::OtherNotification => return Ok(Reply::Nothing),
    };
    Ok(Reply::Result(result))
}

/// Writes the result of a tool for a revision.
pub(super) fn tool_result(version: Version, outcome: &tools::Result) -> String {
    complete(version, outcome.to_json(version))
}

fn list(kind: ListKind) -> String {
    let items = match kind {
        ListKind::Tools => tools::definitions(),
        ListKind::Prompts => content::prompts(),
        ListKind::Resources => content::resources(),
        ListKind::ResourceTemplates => "[]".to_owned(),
    };
    format!("{{\"{}\":{items}}}", kind.result_key())
}

/// What of a filter is honoured: all but resources and tasks that do not exist.
fn honoured(filter: &Filter) -> Filter {
    let uris = filter.uris.iter().filter(|uri| content::read(uri).is_ok()).cloned().collect();
    Filter { uris, tasks: Vec::new(), ..filter.clone() }
}

fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::new();
    capabilities.add(r#"{"tools":{},"prompts":{},"resources":{}}"#).expect("the text is an object");
    capabilities
}

/// Adds `resultType` in the modern era.
fn complete(version: Version, result: String) -> String {
    extend(version, result, "\"resultType\":\"complete\"")
}

/// Adds what makes a result cacheable in the modern era.
fn cacheable(version: Version, result: String) -> String {
    let scope = CacheScope::Public.as_str();
    extend(version, result, &format!("\"resultType\":\"complete\",\"ttlMs\":{TTL_MS},\"cacheScope\":\"{scope}\""))
}

/// Puts members in front of those of an object that has some.
fn extend(version: Version, result: String, members: &str) -> String {
    match (version.era(), result.strip_prefix('{')) {
        (Era::Modern, Some(rest)) => format!("{{{members},{rest}"),
        _ => result,
    }
}
