//! The flags of `quorate wal`.
//!
//! Kept apart from [`super`] as those of other groups of commands are; parsed and checked in the same way.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What to do with the log of a node.
#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Show what is in the log of a stopped node, and whether the node would start from it. Changes nothing.
    Inspect(InspectArgs),
}

/// Flags of `quorate wal inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The data folder of a node, or the `wal` folder in it.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// List entries of this group instead: 0 is the cluster itself, others are shards. Default: none.
    #[arg(long, value_name = "GROUP")]
    pub(crate) entries: Option<u32>,
    /// The first entry to list. Default: the first there is.
    #[arg(long, value_name = "INDEX", requires = "entries", default_value_t = 0, hide_default_value = true)]
    pub(crate) from: u64,
    /// How many entries to list.
    #[arg(long, value_name = "COUNT", requires = "entries", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
    /// Also print the first 256 bytes of each entry, as hexadecimal digits. They may hold secrets and personal data: mind
    /// where the output goes. Default: sizes and checksums only.
    #[arg(long, requires = "entries")]
    pub(crate) payload: bool,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    Table,
    /// One JSON object.
    Json,
}
