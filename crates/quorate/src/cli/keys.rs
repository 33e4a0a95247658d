//! The flags of `quorate keys`.
//!
//! Kept apart from [`super`] for their number; parsed and checked in the same way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_identity::api_key;
use quorate_types::{ResourceName, TenantId};

use super::parse_patience;

/// What to do about API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key: its document goes to stdout, and the key, this once, to stderr. With a context, and without
    /// `--data-dir` and `--key-file`, the cluster makes it and applies its document.
    New(NewArgs),
    /// Give a document another key, and its present keys an end.
    Rotate(RotateArgs),
    /// List the API keys of a cluster, or of a running node, and when each was used last.
    List(ListArgs),
    /// Make a key of a cluster good for nothing, on all nodes.
    Revoke(RevokeArgs),
}

/// Flags of `quorate keys list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The admin address of one node, on this machine. Default: the cluster of the context, or 127.0.0.1:4291 where there
    /// is no context.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// Print one JSON object. Default: a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `quorate keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The name of the document.
    #[arg(value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: ResourceName,
    /// The tenant of the agent.
    #[arg(long, value_name = "TENANT", default_value = TenantId::DEFAULT, value_parser = TenantId::new)]
    pub(crate) tenant: TenantId,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
}

/// Flags of `quorate keys new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The name of the document.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: ResourceName,
    /// The tenant of the agent.
    #[arg(long, value_name = "TENANT", default_value = TenantId::DEFAULT, value_parser = TenantId::new)]
    pub(crate) tenant: TenantId,
    /// The agent that the key is for, as policies name it. Default: the name of the document.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) agent: Option<ResourceName>,
    /// A scope that the agent is given (repeatable). Default: none.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = parse_scope)]
    pub(crate) scopes: Vec<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

/// Flags of `quorate keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The file with the document.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Which document of kind `ApiKey`. Default: the only one in the file.
    #[arg(long, value_name = "NAME", value_parser = ResourceName::new)]
    pub(crate) name: Option<ResourceName>,
    /// How long the present keys are still good; those that end before keep their end.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = parse_patience)]
    pub(crate) overlap: Duration,
    /// Write the document into the file. Only a file as `quorate keys` writes it is replaced, so that no comment is
    /// lost. Default: the document goes to stdout.
    #[arg(long)]
    pub(crate) write: bool,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

/// Flags of every command that makes a key.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// How long the key is good. Default: until it is removed from its document.
    #[arg(long, value_name = "DURATION", value_parser = parse_patience)]
    pub(crate) expires: Option<Duration>,
    /// Where to put the key: a file that is not there yet, readable by its owner alone. Default: stderr.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) root: RootArgs,
}

/// Where the root key of the nodes is that will take the key; `keys rotate` needs one of both.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct RootArgs {
    /// The data directory of a node, where its root key is. `keys new` makes both if they are not there, and says so.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The file with the root key, `root.key` of a data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

fn parse_scope(text: &str) -> Result<String, String> {
    if api_key::is_scope(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a scope has 1 to {} visible ASCII characters, without `\"` and `\\` (RFC 6749 §3.3)",
        api_key::SCOPE_BYTES_MAX
    ))
}
