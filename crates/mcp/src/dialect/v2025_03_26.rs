//! 2025-03-26: streamable HTTP with sessions, and the only revision with batches.
//!
//! Methods as before. Specification: <https://modelcontextprotocol.io/specification/2025-03-26>.

use super::{Dialect, v2024_11_05};
use crate::version::Version;

/// The revision's rules.
pub(super) const DIALECT: Dialect = Dialect {
    version: Version::V2025_03_26,
    client_requests: &v2024_11_05::CLIENT_REQUESTS,
    client_notifications: &v2024_11_05::CLIENT_NOTIFICATIONS,
    server_requests: &v2024_11_05::SERVER_REQUESTS,
    server_notifications: &v2024_11_05::SERVER_NOTIFICATIONS,
    batches: true,
    version_header: false,
    primes: false,
    foreign_capabilities: &["tasks"],
};
