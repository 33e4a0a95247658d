//! The flags of `quorate sessions`.
//!
//! Kept apart from [`super`] as those of other groups of commands are; parsed and checked in the same way.

use clap::{Args, Subcommand};
use quorate_types::{ResourceName, TenantId};

use super::cluster::{OutputArgs, TargetArgs};

/// What to do with the sessions of a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions, by shard; or those that ended lately.
    List(ListArgs),
    /// Show one session, what it has at tool servers, and what happened to it, also when it has ended lately.
    Get(OneArgs),
    /// Follow sessions: a line for each that is there, is opened, moves, has other calls, or ends.
    Watch(WatchArgs),
    /// End a session: its client gets 404, and opens another one.
    End(EndArgs),
    /// Hand a session, with all others of its shard, to another node.
    Transfer(TransferArgs),
}

/// Which sessions.
#[derive(Debug, Args)]
pub(crate) struct WantedArgs {
    /// Sessions of this tenant alone. Default: all tenants.
    #[arg(long, value_name = "TENANT", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Sessions on this toolset alone. Default: all.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new, conflicts_with = "server")]
    pub(crate) toolset: Option<ResourceName>,
    /// Sessions alone that the gateway has with this tool server for stateless clients. Default: all.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) server: Option<ResourceName>,
    /// Sessions of this agent alone, as policies name it. Default: all.
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Sessions alone in which something waits for an answer. Default: all.
    #[arg(long)]
    pub(crate) busy: bool,
}

/// Flags of `quorate sessions list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    /// Sessions that ended, the latest first, and no others: each shard tells of its latest 256.
    #[arg(long, conflicts_with = "busy")]
    pub(crate) ended: bool,
    /// The most sessions that are listed: 1 to 100,000.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate sessions watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate sessions get`.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The session, as `quorate sessions list` names it.
    #[arg(value_name = "SESSION")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Flags of `quorate sessions end`.
#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The session, as `quorate sessions list` names it.
    #[arg(value_name = "SESSION")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Flags of `quorate sessions transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The session, as `quorate sessions list` names it.
    #[arg(value_name = "SESSION")]
    pub(crate) name: String,
    /// The node that shall own it, by its number or name; it has a replica of the session's shard.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}
