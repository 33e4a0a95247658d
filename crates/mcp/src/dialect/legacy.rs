//! What the legacy revisions share: the handshake's messages.
//!
//! Builders of JSON text, for both sides of a session: the answer to a client's `initialize`, and
//! the parameters of our own towards a backend. Specification: 2025-11-25 `basic/lifecycle`.

use quorate_jsonrpc::{Id, quote};

use crate::capabilities::Capabilities;
use crate::version::Version;

/// A name and version that one side shows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implementation<'a> {
    /// The program's name.
    pub name: &'a str,
    /// The program's version.
    pub version: &'a str,
}

/// Builds the result of `initialize`.
#[must_use]
pub fn initialize_result(
    version: Version,
    capabilities: &Capabilities,
    server: Implementation<'_>,
    instructions: Option<&str>,
) -> String {
    let mut out = format!(
        "{{\"protocolVersion\":\"{version}\",\"capabilities\":{},\"serverInfo\":{}",
        capabilities.to_json(version),
        server.to_json()
    );
    if let Some(instructions) = instructions {
        out.push_str(",\"instructions\":");
        out.push_str(&quote(instructions));
    }
    out.push('}');
    out
}

/// Builds the parameters of `initialize`; `capabilities` and `client_info` are raw objects.
#[must_use]
pub fn initialize_params(version: Version, capabilities: &str, client_info: &str) -> String {
    format!("{{\"protocolVersion\":\"{version}\",\"capabilities\":{capabilities},\"clientInfo\":{client_info}}}")
}

/// Builds the parameters of `notifications/cancelled`.
#[must_use]
pub fn cancelled_params(request: &Id, reason: &str) -> String {
    format!("{{\"requestId\":{request},\"reason\":{}}}", quote(reason))
}

// === impl Implementation ===

impl Implementation<'_> {
    /// Returns the JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{{\"name\":{},\"version\":{}}}", quote(self.name), quote(self.version))
    }
}
