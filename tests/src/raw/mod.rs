//! What tests of the gateway as a process share: a raw client, scripted backends, and a gateway on files of its own.
//!
//! All of it is synchronous and sees plain bytes, so that a test can send what no library would send and read
//! exactly what came back. Nothing here knows Quorate's code: the binary under test is a process.

#![expect(clippy::missing_errors_doc, reason = "an error here fails a test, and says itself what was expected")]

pub mod backend;
pub mod client;
pub mod gateway;
pub mod mcp;
pub mod session;
pub mod shape;
pub mod sse;

use std::time::Duration;

/// How long a test waits for what has to happen; a debug build on a loaded machine needs some seconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The stateless revision.
pub const MODERN: &str = "2026-07-28";
