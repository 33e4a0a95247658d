//! The audit log of a node: structured records in a hash chain, bounded in rate and size.
//!
//! Events come in from every part of the node and never block or fail it; records go out to files in which any later
//! change, removal or reordering shows.
//!
//! ```text
//! record(event) ─▶ rate of its class and tenant ─▶ queue ─▶ writer thread ─▶ audit-N.jsonl, audit-M.jsonl, …
//!                        └─ over: counted ─────────────────────┘ (a record of counts)
//! ```
//!
//! A chain proves order and completeness between two records to whoever knows the hash of the later one. Whoever can
//! write the files can also make a whole new chain, or cut the end off: so the [`Head`] is to be noted elsewhere.

mod audit;
mod clock;
mod config;
mod event;
mod folder;
mod limiter;
mod log;
mod note;
mod open;
mod read;
mod record;
mod scan;
mod suppressed;
#[cfg(test)]
mod testing;
mod text;
mod verify;
mod writer;

pub use audit::{Audit, Error, Head};
pub use config::{Config, DEFAULTS, Defaults, RETRY_MAX, SEGMENT_BYTES_MIN};
pub use event::{Change, Class, Decision, Event, Failure, NAMES_MAX, Names, Origin, Who};
pub use limiter::{Rate, Rates};
pub use log::Volume;
pub use open::Opened;
pub use read::records;
pub use record::{Hash, InvalidHash};
pub use scan::Fault;
pub use suppressed::Cause;
pub use text::{TEXT_BYTES_MAX, Text};
pub use verify::{Beginning, Broken, Point, Report, Unverified, last_lines, verify};
pub use writer::Counters;
