//! The flags of the commands that work with a cluster's resources: `apply`, `diff`, `get`, `delete`, `history`, `rollback`.
//!
//! Kept apart from [`super`] for their number; parsed and checked in the same way.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_types::{ResourceName, TenantId};

use super::cluster::{OutputArgs, TargetArgs};
use super::parse_patience;

/// The set to apply or to compare.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Resource files: a file or a directory, or `-` for standard input as YAML (repeatable). Files that documents name
    /// by relative paths are taken along.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Whose the set is, such as the name of a repository: what `--prune` deletes was applied under this name before.
    /// Default: nobody's.
    #[arg(long, value_name = "NAME", requires = "prune", value_parser = ResourceName::new)]
    pub(crate) source: Option<ResourceName>,
    /// Delete documents of `--source` that are not in the set any more. Default: nothing is deleted.
    #[arg(long, requires = "source")]
    pub(crate) prune: bool,
    /// Take a set without any document for what it is: with `--prune` it deletes all of the source. Default: it is
    /// refused, because an empty directory is usually a mistake.
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

/// Flags of `quorate apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Show what would change, and change nothing.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// Refuse when the cluster's revision is another than this one. Default: whatever it is.
    #[arg(long, value_name = "REVISION", conflicts_with = "watch")]
    pub(crate) expected_revision: Option<u64>,
    /// What it is for, for the history. Default: nothing.
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    /// Wait until all reachable nodes have the revision active, for so long. Default: it is active on a quorum's disks,
    /// and soon on all nodes.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "30s", value_parser = parse_patience)]
    pub(crate) wait: Option<Duration>,
    /// Stay, and apply again with each change of the files, until Ctrl-C or SIGTERM.
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) set: SetArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The kind, such as `ToolServer`, or `all`. Capitals do not matter.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// The name. Default: all of the kind.
    #[arg(value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: Option<ResourceName>,
    /// The tenant. Default: all tenants, or the operator's own (`default`) with a name.
    #[arg(long, value_name = "TENANT", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// As it was at this revision. Default: as it is.
    #[arg(long, value_name = "REVISION", requires = "name")]
    pub(crate) revision: Option<u64>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// One document.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The kind, such as `ToolServer`. Capitals do not matter.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// The name.
    #[arg(value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: ResourceName,
    /// The tenant.
    #[arg(long, value_name = "TENANT", default_value = TenantId::DEFAULT, value_parser = TenantId::new)]
    pub(crate) tenant: TenantId,
    /// Refuse when the cluster's revision is another than this one. Default: whatever it is.
    #[arg(long, value_name = "REVISION")]
    pub(crate) expected_revision: Option<u64>,
    /// What it is for, for the history. Default: nothing.
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only of this kind, with NAME. Default: the whole history.
    #[arg(value_name = "KIND", requires = "name")]
    pub(crate) kind: Option<String>,
    /// Only of this document.
    #[arg(value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: Option<ResourceName>,
    /// The tenant of the document.
    #[arg(long, value_name = "TENANT", default_value = TenantId::DEFAULT, value_parser = TenantId::new)]
    pub(crate) tenant: TenantId,
    /// The most revisions that are shown, newest first.
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The revision as which everything shall be again. It becomes a new revision.
    #[arg(value_name = "REVISION")]
    pub(crate) to: u64,
    /// Refuse when the cluster's revision is another than this one. Default: whatever it is.
    #[arg(long, value_name = "REVISION")]
    pub(crate) expected_revision: Option<u64>,
    /// What it is for, for the history. Default: nothing.
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
