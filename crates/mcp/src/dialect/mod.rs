//! What differs between revisions, as data: one file per revision.
//!
//! A [`Dialect`] says which methods a revision knows in which direction, and which rules of the
//! transport it has. The tables are held against the official wire schemas by the golden tests.
//! What legacy revisions share (the results of `initialize`) is in [`legacy`]; everything of
//! 2026-07-28 that is more than a table (headers, `_meta`, `server/discover`) in [`v2026_07_28`].
//! What becomes of a message that crosses from one era to the other is in [`onto_legacy`] and
//! [`onto_modern`], after the era that it goes to.

pub mod legacy;
pub mod onto_legacy;
pub mod onto_modern;
mod v2024_11_05;
mod v2025_03_26;
mod v2025_06_18;
mod v2025_11_25;
pub mod v2026_07_28;

use crate::method::Method;
use crate::version::Version;

/// The rules of one revision.
#[derive(Debug)]
pub struct Dialect {
    /// The revision.
    pub version: Version,
    /// Requests that a client may send.
    pub client_requests: &'static [Method],
    /// Notifications that a client may send.
    pub client_notifications: &'static [Method],
    /// Requests that a server may send; empty in the modern era.
    pub server_requests: &'static [Method],
    /// Notifications that a server may send.
    pub server_notifications: &'static [Method],
    /// Whether a POST may carry an array of messages.
    pub batches: bool,
    /// Whether requests carry `MCP-Protocol-Version`.
    pub version_header: bool,
    /// Whether a client copes with a priming event (an SSE event with an id and empty data), which
    /// lets it resume a stream that broke before its first message. SDKs of older revisions fail
    /// on empty data.
    pub primes: bool,
    /// Capabilities of servers that belong to other revisions and must not be announced.
    pub foreign_capabilities: &'static [&'static str],
}

// === impl Dialect ===

impl Dialect {
    /// Returns the rules of `version`.
    #[must_use]
    pub const fn of(version: Version) -> &'static Self {
        match version {
            Version::V2024_11_05 => &v2024_11_05::DIALECT,
            Version::V2025_03_26 => &v2025_03_26::DIALECT,
            Version::V2025_06_18 => &v2025_06_18::DIALECT,
            Version::V2025_11_25 => &v2025_11_25::DIALECT,
            Version::V2026_07_28 => &v2026_07_28::DIALECT,
        }
    }
}
