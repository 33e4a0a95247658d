//! 2026-07-28: stateless. Every request says who speaks which revision with which capabilities.
//!
//! Checks of a request, in the order in which a client is told of faults: version header against
//! `_meta`, version, `Mcp-Method` against the method, method, required keys of `_meta`, `Mcp-Name`
//! against the parameters, declared extensions. Builders of what a server of this revision
//! answers itself. Specification: <https://modelcontextprotocol.io/specification/2026-07-28>,
//! `basic/index`, `basic/transports/streamable-http`, `basic/patterns/subscriptions`; the tasks
//! extension is SEP-2663.

use quorate_jsonrpc::{Frame, Id, Kind, pick, quote, text};

use super::Dialect;
use super::legacy::Implementation;
use crate::capabilities::Capabilities;
use crate::error::{Fault, InvalidRequest, Mismatch};
use crate::header;
use crate::message::{Call, Filter, Meta, Operation};
use crate::method::Method;
use crate::read::echo;
use crate::version::{Era, Version};

/// The `_meta` key of the revision.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The `_meta` key of the client's capabilities.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The `_meta` key of the client's name and version.
pub const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The `_meta` key of the server's name and version.
pub const META_SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The `_meta` key of the log level.
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The `_meta` key of the listen request that a notification belongs to.
pub const META_SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The identifier of the tasks extension (SEP-2663).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Who may keep a copy of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheScope {
    /// Anybody.
    Public,
    /// Only the authorization context that asked.
    Private,
}

/// The revision's rules.
pub(super) const DIALECT: Dialect = Dialect {
    version: Version::V2026_07_28,
    client_requests: &[
        Method::Discover,
        Method::ListResources,
        Method::ListResourceTemplates,
        Method::ReadResource,
        Method::Listen,
        Method::ListPrompts,
        Method::GetPrompt,
        Method::ListTools,
        Method::CallTool,
        Method::Complete,
        // The tasks extension.
        Method::GetTask,
        Method::UpdateTask,
        Method::CancelTask,
    ],
    client_notifications: &[Method::Cancelled],
    server_requests: &[],
    server_notifications: &[
        Method::Cancelled,
        Method::Progress,
        Method::ResourcesListChanged,
        Method::SubscriptionsAcknowledged,
        Method::ResourceUpdated,
        Method::PromptsListChanged,
        Method::ToolsListChanged,
        Method::Message,
        // The tasks extension.
        Method::Tasks,
    ],
    batches: false,
    version_header: true,
    primes: false,
    foreign_capabilities: &["tasks"],
};

/// Checks everything that does not need the parameters, and returns the revision.
pub(crate) fn check_head(head: &http::HeaderMap, frame: &Frame, meta: &Meta) -> Result<Version, Fault> {
    let version = check_version(head, frame, meta)?;
    match frame.kind() {
        Kind::Result | Kind::Error => {
            return Err(Fault::InvalidRequest { reason: InvalidRequest::UnexpectedResponse });
        }
        // The revision defines neither headers nor `_meta` of notifications over HTTP.
        Kind::Notification => return Ok(version),
        Kind::Request => {}
    }
    let name = frame.method().unwrap_or_default();
    header::agree(head, &header::METHOD, "method", name).map_err(mismatch)?;
    if !Method::parse(name).is_some_and(|method| DIALECT.client_requests.contains(&method)) {
        return Err(Fault::MethodNotFound { method: echo(name) });
    }
    if meta.version.is_none() {
        return Err(Fault::InvalidMeta { key: META_VERSION, expected: "a string" });
    }
    match meta.capabilities {
        Some(span) if frame.text_of(span).starts_with('{') => Ok(version),
        Some(_) | None => Err(Fault::InvalidMeta { key: META_CAPABILITIES, expected: "an object" }),
    }
}

/// Checks the header that mirrors a parameter, and the extensions that the call needs.
pub(crate) fn check_call(head: &http::HeaderMap, call: &Call) -> Result<(), Fault> {
    if let Some((field, value)) = mirrored(&call.operation) {
        header::agree(head, &header::NAME, field, value).map_err(mismatch)?;
    }
    if let Operation::Task { verb, .. } = &call.operation
        && !declares_extension(call.client_capabilities().unwrap_or("{}"), TASKS_EXTENSION)
    {
        return Err(Fault::MissingCapability {
            method: verb.method(),
            required: r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        });
    }
    Ok(())
}

/// Returns the parameter that `Mcp-Name` mirrors, and its path.
#[must_use]
pub fn mirrored(operation: &Operation) -> Option<(&'static str, &str)> {
    match operation {
        Operation::CallTool { name, .. } | Operation::GetPrompt { name, .. } => Some(("params.name", name)),
        Operation::ReadResource { uri, .. } => Some(("params.uri", uri)),
        Operation::Task { id, .. } => Some(("params.taskId", id)),
        Operation::Initialize { .. }
        | Operation::Ping
        | Operation::Discover
        | Operation::List { .. }
        | Operation::Complete { .. }
        | Operation::Subscribe { .. }
        | Operation::Unsubscribe { .. }
        | Operation::SetLevel { .. }
        | Operation::Listen { .. }
        | Operation::ListTasks { .. }
        | Operation::Initialized
        | Operation::Cancelled { .. }
        | Operation::RootsListChanged
        | Operation::Progress { .. }
        | Operation::Response
        | Operation::OtherNotification => None,
    }
}

/// Tells whether raw client capabilities declare an extension.
#[must_use]
pub fn declares_extension(capabilities: &str, extension: &str) -> bool {
    let Ok([Some(extensions)]) = pick(capabilities, 0, ["extensions"]) else {
        return false;
    };
    matches!(pick(extensions.of(capabilities), 0, [extension]), Ok([Some(_)]))
}

/// Builds the result of `server/discover`.
#[must_use]
pub fn discover_result(
    capabilities: &Capabilities,
    server: Implementation<'_>,
    instructions: Option<&str>,
    ttl_ms: u64,
    scope: CacheScope,
) -> String {
    let mut out = format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":{},\"capabilities\":{}",
        Version::supported_json(),
        capabilities.to_json(Version::V2026_07_28),
    );
    if let Some(instructions) = instructions {
        out.push_str(",\"instructions\":");
        out.push_str(&quote(instructions));
    }
    let info = server.to_json();
    let scope = scope.as_str();
    out.push_str(&format!(
        ",\"ttlMs\":{ttl_ms},\"cacheScope\":\"{scope}\",\"_meta\":{{\"{META_SERVER_INFO}\":{info}}}}}"
    ));
    out
}

/// Builds the parameters of `notifications/subscriptions/acknowledged` for the listen request `id`.
#[must_use]
pub fn acknowledged_params(id: &Id, honoured: &Filter) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(",");
    let mut members = Vec::new();
    let flags = [
        ("toolsListChanged", honoured.tools),
        ("promptsListChanged", honoured.prompts),
        ("resourcesListChanged", honoured.resources),
    ];
    members.extend(flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("\"{name}\":true")));
    if !honoured.uris.is_empty() {
        members.push(format!("\"resourceSubscriptions\":[{}]", list(&honoured.uris)));
    }
    if !honoured.tasks.is_empty() {
        members.push(format!("\"taskIds\":[{}]", list(&honoured.tasks)));
    }
    format!("{{\"_meta\":{{\"{META_SUBSCRIPTION_ID}\":{id}}},\"notifications\":{{{}}}}}", members.join(","))
}

/// Builds the result that ends the listen request `id` gracefully.
#[must_use]
pub fn listen_result(id: &Id) -> String {
    format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{META_SUBSCRIPTION_ID}\":{id}}}}}")
}

/// Builds the `_meta` of a request of ours; `capabilities` is a raw object.
#[must_use]
pub fn request_meta(version: Version, capabilities: &str, client: Implementation<'_>) -> String {
    format!(
        "{{\"{META_VERSION}\":\"{version}\",\"{META_CAPABILITIES}\":{capabilities},\"{META_CLIENT_INFO}\":{}}}",
        client.to_json()
    )
}

// === impl CacheScope ===

impl CacheScope {
    /// Returns the scope's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// Holds the version header against `_meta`, and both against what we speak.
///
/// A request whose `_meta` has no version at all is told so later, so that it gets −32602 and not
/// a mismatch.
fn check_version(head: &http::HeaderMap, frame: &Frame, meta: &Meta) -> Result<Version, Fault> {
    let stated = header::single(head, &header::PROTOCOL_VERSION).map_err(mismatch)?;
    let declared = match meta.version.map(|span| text(frame.text_of(span))) {
        Some(None) => return Err(Fault::InvalidMeta { key: META_VERSION, expected: "a string" }),
        Some(Some(declared)) => Some(declared),
        None => None,
    };
    let Some(stated) = stated else {
        let header = header::display(&header::PROTOCOL_VERSION);
        return Err(mismatch(Mismatch::Missing { header }));
    };
    if declared.is_some_and(|declared| declared != stated) {
        let header = header::display(&header::PROTOCOL_VERSION);
        let field = format!("params._meta.{META_VERSION}");
        return Err(mismatch(Mismatch::Differs { header, field }));
    }
    Version::parse(stated)
        .filter(|version| version.era() == Era::Modern)
        .ok_or_else(|| Fault::UnsupportedVersion { requested: echo(stated) })
}

const fn mismatch(mismatch: Mismatch) -> Fault {
    Fault::HeaderMismatch { mismatch }
}
