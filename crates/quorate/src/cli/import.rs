//! The flags of `quorate import`.
//!
//! Kept apart from [`super`] as those of other commands are; parsed and checked in the same way.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Whose configuration is read.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Make resource files of the `config.yaml` of a LiteLLM proxy: its models, where they are and what stands in for them.
    Litellm(ImportArgs),
    /// Make resource files of a configuration of agentgateway: its binds, MCP targets and AI backends.
    Agentgateway(ImportArgs),
}

/// Flags of `quorate import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The configuration, YAML or JSON; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the resources are written: a new file. Default: to stdout.
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// Write keys that the configuration has in clear as they are. Default: a variable's name is written instead, and listed.
    #[arg(long)]
    pub(crate) with_secrets: bool,
    /// End with exit code 1 when anything is listed. Default: what is listed is for whoever reads it.
    #[arg(long)]
    pub(crate) strict: bool,
}
