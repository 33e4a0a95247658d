//! The flags of `quorate policy`.
//!
//! Kept apart from [`super`] as those of other groups of commands are; parsed and checked in the same way.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_policy::Action;
use quorate_types::ResourceName;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Judge the cases of a file: questions with the decisions that are expected.
    Test(TestArgs),
    /// Say what decides a question, and what became of each policy.
    Explain(ExplainArgs),
}

/// Flags of `quorate policy test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The cases, as YAML or JSON.
    #[arg(value_name = "FILE")]
    pub(crate) cases: PathBuf,
    /// The resource files with policies, tenants and toolsets: a file or a directory (repeatable).
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Flags of `quorate policy explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The resource files with policies, tenants and toolsets: a file or a directory (repeatable).
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Who asks: `tenant=NAME`, `agent=ID`, `user=ISSUER/SUBJECT`, `group=NAME`, `scope=SCOPE` (repeatable).
    /// Default: a caller of the tenant `default` without an identity.
    #[arg(long = "as", value_name = "KEY=VALUE")]
    pub(crate) who: Vec<String>,
    /// What is to be done, for example `mcp:call`.
    #[arg(long = "do", value_name = "ACTION", value_parser = parse_action)]
    pub(crate) action: Action,
    /// To what, as policies write it, for example `Tool::"SERVER/NAME"`.
    #[arg(long = "on", value_name = "TYPE::\"ID\"")]
    pub(crate) target: String,
    /// The toolset through which it is reached.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = ResourceName::new)]
    pub(crate) toolset: ResourceName,
    /// The arguments of a call, as a JSON object. Default: none.
    #[arg(long, value_name = "JSON")]
    pub(crate) arguments: Option<String>,
}

fn parse_action(text: &str) -> Result<Action, String> {
    Action::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
        format!("there is no such action; there are {}", known.join(", "))
    })
}
