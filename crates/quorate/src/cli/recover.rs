//! The flags of `quorate recover`.
//!
//! The one command that may lose what a cluster acknowledged, so that it does nothing without a flag that says so.

use std::path::PathBuf;

use clap::Args;

use super::CertificateArgs;
use super::cluster::OutputArgs;

/// Flags of `quorate recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The data directory of the node that is left; the node does not run.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Make a new cluster of what this node has, although what only the others have is lost. Without it the command says what
    /// it would do, and does nothing.
    #[arg(long = "unsafe")]
    pub(crate) is_unsafe: bool,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
