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

/// What all tests of real processes share.
use quorate_tests::raw as support;
