//! What the tests of the gateway share: a raw client, scripted backends, and a gateway on files of its own.
//!
//! All of it is synchronous and sees plain bytes, so that a test can send what no library would send and read
//! exactly what came back. Nothing here knows Quorate's code: the binary under test is a process.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod mcp;
pub(crate) mod session;

use std::time::Duration;

/// How long a test waits for what has to happen; a debug build on a loaded machine needs some seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The stateless revision.
pub(crate) const MODERN: &str = "2026-07-28";
