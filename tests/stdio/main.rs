//! Tests of tool servers that are child processes, with the gateway as a process.
//!
//! One file per topic. Each test starts its own `quorate serve` with `mcp-child` or the fixture behind it, speaks plain
//! bytes to it, looks at the machine's processes, and waits for conditions, never for a time to pass.

mod ending;
mod eras;
mod faults;
mod isolation;
mod process;
mod settings;
#[expect(dead_code, reason = "the tests of the gateway use the rest of it")]
#[path = "../gateway/support/mod.rs"]
mod support;
