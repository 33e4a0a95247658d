//! The flags of `quorate top`.
//!
//! Kept apart from [`super`] as those of other commands of a cluster are; parsed and checked in the same way.

use std::time::Duration;

use clap::Args;

use super::cluster::TargetArgs;
use super::parse_interval;

/// Flags of `quorate top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print one frame, without a terminal: its rates are those of one interval.
    #[arg(long)]
    pub(crate) once: bool,
    /// How often the cluster is asked: 1s to 60s. Nodes tell what they do once a second.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}
