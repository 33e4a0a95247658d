//! Who calls: tokens of issuers and API keys, checked.
//!
//! Credentials come in as a request carries them, a checked identity or a refusal with its class comes out. Nothing here
//! knows MCP, listeners or policy, and no credential is ever in an error, a log line or a `Debug` text.

pub mod api_key;
