//! The harness of tests that run real processes: it starts them, waits for them by condition, ends them by id, and
//! shows what they said when a test fails.
//!
//! One folder of this package per area of tests ([`conformance`](../conformance), [`interop`](../interop)); what
//! they share is here. The harness is synchronous: each test is one thread that drives processes, and nothing in
//! it competes with them for a runtime. It knows binaries by path and servers by URL, and nothing of what is
//! inside them.

pub mod baseline;
pub mod http;
pub mod interop;
pub mod page;
pub mod raw;
pub mod servers;
pub mod suite;
pub mod table;

pub use quorate_cluster::{paths, process, wait};
