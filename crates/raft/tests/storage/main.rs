//! The storage that openraft is given: what it promises with every disk, over restarts and crashes.
//!
//! `suite` runs openraft's own checks, `histories` random ones of the log with crashes, `snapshots` tears and damages
//! files, `state` applies commands and runs a group of one node through restarts, `survivors` makes new groups of replicas.

mod histories;
mod snapshots;
mod state;
mod suite;
mod survivors;
mod tally;
