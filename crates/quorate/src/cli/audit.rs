//! The flags of `quorate audit`.
//!
//! Kept apart from [`super`] as those of other groups of commands are; parsed and checked in the same way.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_audit::Hash;

/// What records are about.
const KINDS: [&str; 9] = [
    "denied",
    "would_deny",
    "authentication_failed",
    "admin_change",
    "quarantined",
    "suppressed",
    "begun",
    "resumed",
    "deleted",
];

/// What to do with an audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no record was changed, removed or put in.
    Verify(VerifyArgs),
    /// Print the last records, without checking them.
    Show(ShowArgs),
}

/// Flags of `quorate audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The folder of the log.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The hash of a record that was noted elsewhere: the log must have it, or continue it. Default: none; then a log
    /// that was cut at its end, or made anew, goes unnoticed.
    #[arg(long, value_name = "HASH")]
    pub(crate) from: Option<Hash>,
}

/// Flags of `quorate audit show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The folder of the log.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// How many records.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) last: u32,
    /// Only records of this kind, such as `denied` (repeatable). Default: all.
    #[arg(long = "kind", value_name = "KIND", value_parser = KINDS)]
    pub(crate) kinds: Vec<String>,
    /// Print the lines as they are in the log. Default: a line for people.
    #[arg(long)]
    pub(crate) json: bool,
}
