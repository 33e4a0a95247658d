//! Our MCP client: how a call travels to a tool server, in both eras of the protocol.
//!
//! Frames go in as bytes and come out as bounded, parsed frames; a failure is a typed [`Error`]
//! that says whether the call may have run. [`modern`] is stateless (2026-07-28), [`legacy`] is
//! one session per [`legacy::Leg`] over streamable HTTP or HTTP+SSE, [`mod@probe`] finds out which of
//! them a server speaks, and [`Client`] puts them together for the command line and for tests. What
//! a server is shown of us is its [`Credential`].
//!
//! Invariant: whatever a server sends, time and memory spent on it are bounded by [`Limits`].
//! It knows no sessions of ours, no names, no routing: who calls what is decided above.

pub mod answer;
pub mod client;
pub mod credential;
pub mod endpoint;
pub mod error;
mod events;
pub mod legacy;
pub mod modern;
mod openapi;
pub mod probe;
mod shared;
pub mod stdio;
mod wire;

use quorate_mcp::dialect::legacy::Implementation;

pub(crate) use answer::Awaits;
pub use answer::{Answer, FrameStream, StreamItem};
pub use client::{About, Client, ToolCall};
pub use credential::Credential;
pub use endpoint::{Endpoint, HttpEndpoint, Limits};
pub use error::Error;
pub use openapi::ApiEndpoint;
pub use probe::{EraSetting, LegacySupport, ModernInfo, Probe, TransportSetting, probe};

/// Who we say that we are, to servers and to clients.
pub const SELF: Implementation<'static> = Implementation { name: "quorate", version: env!("CARGO_PKG_VERSION") };
