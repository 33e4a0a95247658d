//! 2024-11-05: the first revision, over the HTTP+SSE transport.
//!
//! Two endpoints (a GET stream that names the POST endpoint), no session header, no version
//! header, no batches. Specification: <https://modelcontextprotocol.io/specification/2024-11-05>.

use super::Dialect;
use crate::method::Method;
use crate::version::Version;

/// The requests that clients send in all legacy revisions.
pub(super) const CLIENT_REQUESTS: [Method; 13] = [
    Method::Initialize,
    Method::Ping,
    Method::ListResources,
    Method::ListResourceTemplates,
    Method::ReadResource,
    Method::Subscribe,
    Method::Unsubscribe,
    Method::ListPrompts,
    Method::GetPrompt,
    Method::ListTools,
    Method::CallTool,
    Method::SetLevel,
    Method::Complete,
];
/// The notifications that clients send in all legacy revisions.
pub(super) const CLIENT_NOTIFICATIONS: [Method; 4] =
    [Method::Cancelled, Method::Initialized, Method::Progress, Method::RootsListChanged];
/// The notifications that servers send in all legacy revisions.
pub(super) const SERVER_NOTIFICATIONS: [Method; 7] = [
    Method::Cancelled,
    Method::Progress,
    Method::ResourcesListChanged,
    Method::ResourceUpdated,
    Method::PromptsListChanged,
    Method::ToolsListChanged,
    Method::Message,
];
/// The requests that servers send before elicitation.
pub(super) const SERVER_REQUESTS: [Method; 3] = [Method::Ping, Method::CreateMessage, Method::ListRoots];

/// The revision's rules.
pub(super) const DIALECT: Dialect = Dialect {
    version: Version::V2024_11_05,
    client_requests: &CLIENT_REQUESTS,
    client_notifications: &CLIENT_NOTIFICATIONS,
    server_requests: &SERVER_REQUESTS,
    server_notifications: &SERVER_NOTIFICATIONS,
    batches: false,
    version_header: false,
    primes: false,
    foreign_capabilities: &["tasks", "completions"],
};
