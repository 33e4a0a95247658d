//! The durable log of a node: all consensus groups in one stream of checksummed blocks, one sync per batch.
//!
//! Each group has a log of numbered entries and a few named slots (its vote, what it committed). What one caller submits
//! at once becomes durable together and in order, votes and entries alike; its [`Done`] is called after the sync, never
//! before. Entries can be read as soon as they are submitted.
//!
//! ```text
//! Wal::submit ─▶ state (what the log says, in memory) ─▶ queue ─▶ Writer: block ─▶ write ─▶ sync ─▶ Done
//!                  ▲ places of what was written ◀────────────────────┘ │
//!                  └─ what still lives in the oldest segment ──────────┴─▶ written again, and the segment removed
//! ```
//!
//! A log that cannot be trusted is refused ([`OpenError::Corrupt`]) and never repaired: its replica has to be replaced by
//! the others. Only a last batch that was never synced may be incomplete, and is dropped. After a failed sync nobody
//! knows what is on the disk (fsyncgate, 2018): the log fails for good and says so once, and its owner ends the process.
//!
//! A full disk is no failure: new entries are refused before they are taken ([`SubmitError::DiskFull`]) while votes,
//! truncations, purges and compaction go on in segments that were made before, and entries are taken again once there is
//! room ([`Space`]).
//!
//! Knows nothing of consensus: terms, votes and commands are bytes here.

mod block;
mod compact;
mod config;
mod disk;
mod durable;
mod error;
mod inspect;
mod logical;
pub mod precedence;
mod queue;
mod recover;
mod segment;
mod space;
mod spare;
pub mod testing;
mod wal;
mod watchdog;
mod writer;

pub use block::{GroupId, Op, Slot};
pub use config::{Config, DEFAULTS, InvalidConfig};
pub use disk::{Disk, File, Folder, read_exact_at, write_all_at};
pub use error::{Failed, OpenError, ReadError, SubmitError};
pub use inspect::{EntryReport, Inspected, SegmentReport, inspect};
pub use recover::{Opened, open};
pub use space::Space;
pub use wal::{Done, GroupState, Observation, Wal};
pub use watchdog::{Verdict, WATCHDOG_DEFAULTS, Watchdog, WatchdogConfig};
pub use writer::{Running, Writer};
