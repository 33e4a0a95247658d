//! 2025-06-18: no batches any more, the version header, elicitation.
//!
//! Specification: <https://modelcontextprotocol.io/specification/2025-06-18>.

use super::{Dialect, v2024_11_05};
use crate::method::Method;
use crate::version::Version;

/// The revision's rules.
pub(super) const DIALECT: Dialect = Dialect {
    version: Version::V2025_06_18,
    client_requests: &v2024_11_05::CLIENT_REQUESTS,
    client_notifications: &v2024_11_05::CLIENT_NOTIFICATIONS,
    server_requests: &[Method::Ping, Method::CreateMessage, Method::ListRoots, Method::Elicit],
    server_notifications: &v2024_11_05::SERVER_NOTIFICATIONS,
    batches: false,
    version_header: true,
    primes: false,
    foreign_capabilities: &["tasks"],
};
