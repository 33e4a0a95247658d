//! 2025-11-25: core tasks in both directions, elicitation by URL, polling with priming events.
//!
//! Specification: <https://modelcontextprotocol.io/specification/2025-11-25>.

use super::Dialect;
use crate::method::Method;
use crate::version::Version;

/// The revision's rules.
pub(super) const DIALECT: Dialect = Dialect {
    version: Version::V2025_11_25,
    client_requests: &[
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
        Method::GetTask,
        Method::TaskResult,
        Method::CancelTask,
        Method::ListTasks,
        Method::SetLevel,
        Method::Complete,
    ],
    client_notifications: &[
        Method::Cancelled,
        Method::Initialized,
        Method::Progress,
        Method::TaskStatus,
        Method::RootsListChanged,
    ],
    server_requests: &[
        Method::Ping,
        Method::GetTask,
        Method::TaskResult,
        Method::CancelTask,
        Method::ListTasks,
        Method::CreateMessage,
        Method::ListRoots,
        Method::Elicit,
    ],
    server_notifications: &[
        Method::Cancelled,
        Method::Progress,
        Method::ResourcesListChanged,
        Method::ResourceUpdated,
        Method::PromptsListChanged,
        Method::ToolsListChanged,
        Method::TaskStatus,
        Method::Message,
        Method::ElicitationComplete,
    ],
    batches: false,
    version_header: true,
    primes: true,
    foreign_capabilities: &[],
};
