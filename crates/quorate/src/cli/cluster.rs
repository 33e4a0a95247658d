//! The flags of the commands that talk to a cluster: `cluster …` and `check`.
//!
//! Kept apart from [`super`] for their number; parsed and checked in the same way. Whom a command talks to is decided by
//! [`TargetArgs`] and the global `--context`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use quorate_membership::address::Address;
use quorate_types::ResourceName;

use super::parse_patience;

/// The shards of a cluster that says nothing of them, and the most.
pub(super) const SHARDS: &str = "32";
/// The replicas of each shard where there are nodes enough.
const REPLICAS: &str = "3";

/// What to do with a cluster and its nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a new cluster of a node that waits, and write the context of its first operator.
    Init(InitArgs),
    /// Have a node that waits join a cluster.
    Join(JoinArgs),
    /// Make, list and revoke tokens with which nodes join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the nodes, who leads, and what is wrong. The exit code says nothing of that: see `quorate check`.
    Status(StatusArgs),
    /// Move everything away from a node; it stays a member and takes nothing more.
    Drain(NodeOnlyArgs),
    /// End a drain.
    Undrain(NodeOnlyArgs),
    /// Move everything away from a node and take it out of the cluster, while it runs.
    Leave(NodeOnlyArgs),
    /// Take a node out of the cluster; with `--force` one that is gone for good.
    Remove(RemoveArgs),
    /// Have a node that has joined take what another one holds, which then leaves.
    Replace(ReplaceArgs),
    /// Hand the leadership of groups to a node.
    Transfer(TransferArgs),
    /// Have a node snapshot its groups.
    Snapshot(SnapshotArgs),
    /// Write the catalog of the cluster to a file. Keys in it stay sealed; documents are readable.
    Backup(BackupArgs),
    /// Make the documents what they are in a backup, as a new revision.
    Restore(RestoreArgs),
    /// Make, list and revoke certificates of operators.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Replace the authority that signs the cluster's certificates, step by step. Without a step: where that is, and what
    /// comes next.
    RotateAuthority(RotateAuthorityArgs),
}

/// Whom a command talks to, and how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// Talk to the node with this data directory, through its socket, as its owner. Default: to the cluster of the
    /// context (`--context`).
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long each answer may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How the answer is written.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// In columns, for people.
    Table,
    /// One JSON value.
    Json,
    /// One YAML document.
    Yaml,
}

/// Flags of `quorate cluster init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The data directory of the node that waits, on this machine.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How many shards the cluster has, for good: 1 to 256.
    #[arg(long, value_name = "COUNT", default_value = SHARDS, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) shards: u32,
    /// How many replicas a shard has where there are nodes enough: 1 to 9.
    #[arg(long, value_name = "COUNT", default_value = REPLICAS, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) replicas: u32,
    /// The first resources: a file or a directory (repeatable). Default: none.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// The certificate, and those above it, of an authority that an enterprise's own one signed for this cluster (PEM).
    /// Default: the cluster makes an authority of its own.
    #[arg(long, value_name = "FILE", requires = "authority_key")]
    pub(crate) authority_certificate: Option<PathBuf>,
    /// The key of that authority (PEM, PKCS #8). The cluster keeps it, sealed.
    #[arg(long, value_name = "FILE", requires = "authority_certificate")]
    pub(crate) authority_key: Option<PathBuf>,
    /// Where to write the context of the first operator; its certificate and key go beside it. Nothing is replaced, and nothing
    /// written where certificates come from files (`serve --peer-certificate`).
    /// Default: the context that `--context` names, or ~/.config/quorate/context.yaml.
    #[arg(long, value_name = "FILE")]
    pub(crate) context_out: Option<PathBuf>,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The token, or `-` to read it from standard input, where it is in no list of processes.
    #[arg(value_name = "TOKEN|-")]
    pub(crate) token: String,
    /// The data directory of the node that waits, on this machine.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How long joining may take.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which one node can join, once. It goes to stdout, this once.
    New(TokenNewArgs),
    /// List the tokens that can be used, without their secrets.
    List(TokenListArgs),
    /// Make a token good for nothing.
    Revoke(TokenRevokeArgs),
}

/// Flags of `quorate cluster token new`.
#[derive(Debug, Args)]
pub(crate) struct TokenNewArgs {
    /// How long it can be used: 1 minute to 7 days.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_patience)]
    pub(crate) valid_for: Duration,
    /// The name that the node must have. Default: any.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) node_name: Option<ResourceName>,
    /// The rack that the node must be in. Default: any.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) rack: Option<ResourceName>,
    /// What it is for, for lists of tokens. Default: nothing.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster token list`.
#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster token revoke`.
#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's id, as `token list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show it again with each change, until Ctrl-C. On a terminal it is redrawn in place.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Ask a quorum first, so that what is shown is not older than the question. Default: what the asked node knows.
    #[arg(long)]
    pub(crate) linearizable: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A node, by its number or name.
#[derive(Debug, Args)]
pub(crate) struct NodeOnlyArgs {
    /// The node, by its number or name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The node, by its number or name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The node is gone for good: what it held is taken as lost and made again from other replicas.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The node that leaves, by its number or name.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The node that takes its place, by its number or name; it has joined.
    #[arg(long, value_name = "NODE")]
    pub(crate) by: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The node that shall lead, by its number or name.
    #[arg(value_name = "NODE")]
    pub(crate) to: String,
    /// A group (repeatable): a shard, or 0 for the meta group. Default: all that the asked node leads and the other
    /// one holds.
    #[arg(long = "group", value_name = "NUMBER")]
    pub(crate) groups: Vec<u32>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// A group (repeatable). Default: all of the asked node.
    #[arg(long = "group", value_name = "NUMBER")]
    pub(crate) groups: Vec<u32>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not be there.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file that `backup` wrote.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to do with operators.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make a certificate and key for somebody who operates the cluster, as a context with its files.
    New(OperatorNewArgs),
    /// Make a context of a certificate and key that somebody else made: for a cluster whose certificates come from files.
    Context(OperatorContextArgs),
    /// List the certificates that have not ended, those included that were revoked.
    List(OperatorListArgs),
    /// Have every node refuse certificates, before they end.
    Revoke(OperatorRevokeArgs),
}

/// Flags of `quorate cluster operator new`.
#[derive(Debug, Args)]
pub(crate) struct OperatorNewArgs {
    /// Who it is for.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: ResourceName,
    /// What they may do.
    #[arg(long, value_enum)]
    pub(crate) role: RoleArg,
    /// How long the certificate lives: 1 hour to 366 days.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = parse_patience)]
    pub(crate) valid_for: Duration,
    /// The folder to write `context.yaml` and its files into. Nothing is replaced.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate cluster operator context`.
#[derive(Debug, Args)]
pub(crate) struct OperatorContextArgs {
    /// The operator's certificate (PEM), and those above it. Which cluster, who and what role it is stands in it, as
    /// `quorate://CLUSTER/operator/NAME/ROLE`. The context names the file, and has what is in it whenever it is used.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// The key of that certificate (PEM), which only its owner can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The authorities whose certificates of nodes are taken (PEM): 1 to 4.
    #[arg(long, value_name = "FILE")]
    pub(crate) authorities: PathBuf,
    /// The admin address of a node (repeatable). The context learns the others with the first command.
    #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
    pub(crate) endpoints: Vec<Address>,
    /// The folder to write `context.yaml` into. Nothing is replaced.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Flags of `quorate cluster rotate-authority`.
#[derive(Debug, Args)]
pub(crate) struct RotateAuthorityArgs {
    /// The step to take; one that nodes are not ready for is refused, and names them. Default: none, only look.
    #[arg(long, value_enum)]
    pub(crate) step: Option<StepArg>,
    /// With `--step announce`: the certificate, and those above it, of the next authority, which an enterprise's own one
    /// signed for this cluster (PEM). Default: the cluster makes one of its own.
    #[arg(long, value_name = "FILE", requires_all = ["authority_key", "step"])]
    pub(crate) authority_certificate: Option<PathBuf>,
    /// The key of that authority (PEM, PKCS #8). The cluster keeps it, sealed.
    #[arg(long, value_name = "FILE", requires = "authority_certificate")]
    pub(crate) authority_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A step of replacing the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StepArg {
    /// Have nodes trust another authority beside the one that signs.
    Announce,
    /// Have the other one sign; nodes renew their certificates at once.
    Switch,
    /// Have nobody trust the old one any more, and throw its key away.
    Retire,
    /// Have nobody trust what was announced, after all.
    Cancel,
}

/// Flags of `quorate cluster operator list`.
#[derive(Debug, Args)]
pub(crate) struct OperatorListArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate cluster operator revoke`.
#[derive(Debug, Args)]
pub(crate) struct OperatorRevokeArgs {
    /// Whose certificates: all that are listed for this name.
    #[arg(value_name = "NAME", required_unless_present = "id", conflicts_with = "id", value_parser = ResourceName::new)]
    pub(crate) name: Option<ResourceName>,
    /// One certificate: the first 16 or more digits of its id, as `operator list` shows them. One that is not listed is named by
    /// all 64: the SHA-256 of its public key in DER.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Look.
    Viewer,
    /// Apply resources, and move what nodes have.
    Operator,
    /// Decide who is in the cluster, and who may do what.
    Admin,
}

/// Flags of `quorate check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
