//! What sessions of a cluster promise, held against what happens when its nodes are lost.
//!
//! ```text
//!  agents (strict clients) ──▶ three nodes (real processes) ──▶ counters (tool servers with ledgers)
//!        │ every event checked      ▲ killed, held, drained           │ every execution written down
//!        └──────────────▶ verdict: what was told ◀── compared ──▶ what was done
//! ```
//!
//! | File | What is in it |
//! |---|---|
//! | `ground.rs` | the cluster, its resources, and the counters behind it |
//! | `seen.rs` | what a client has seen of one call, and what it must never see |
//! | `follow.rs` | a call from its POST to its answer, at whatever node, over connections that break |
//! | `agent.rs` | one session and its calls |
//! | `faults.rs` | what is done to nodes, and when they are whole again |
//! | `ledger.rs`, `verdict.rs` | what was executed, held against what was told |
//! | `run.rs`, `report.rs` | a run, and its table |
//!
//! Everything is drawn from one seed, which is printed. The same seed gives the same calls and the same faults in the same
//! order; when each meets the other is the machine's affair. Nothing here knows Quorate's code.

pub mod agent;
pub mod dice;
pub mod faults;
pub mod follow;
pub mod ground;
pub mod history;
pub mod ledger;
pub mod report;
pub mod run;
pub mod seen;
pub mod verdict;
