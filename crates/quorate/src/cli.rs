//! The command line: every subcommand and flag, with its help and default.
//!
//! Parsed by clap into plain structs; each command's module takes its struct and does the work.
//! Values are checked here as far as they can be without IO, so that a wrong flag ends with exit
//! code 2 before anything starts.

pub(crate) mod audit;
pub(crate) mod chat;
pub(crate) mod cluster;
pub(crate) mod import;
pub(crate) mod keys;
mod peers;
pub(crate) mod policy;
pub(crate) mod recover;
pub(crate) mod resources;
pub(crate) mod sessions;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod wal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue};
use quorate_mcp::Level;
use quorate_runtime::upstream::{EraSetting, TransportSetting};
use quorate_types::units::parse_duration;

pub(crate) use self::peers::{CertificateArgs, PeerArgs};
pub(crate) use self::up::{NamedCommand, NamedModel, UpArgs};
use crate::exit::Exit;

/// Where `quorate up` serves MCP, and so where the client commands look.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:4290/mcp";

/// An agent mesh: one gateway for the traffic that agents make.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = Exit::table(), propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The context: which cluster is talked to, and as whom. Default: ~/.config/quorate/context.yaml.
    #[arg(long, global = true, value_name = "FILE", env = "QUORATE_CONTEXT")]
    pub(crate) context: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a cluster of three lose its nodes under a running call, one after the other; exit code 1 when anything is lost.
    Demo(DemoArgs),
    /// The tool server of `demo`, which starts it.
    #[command(hide = true)]
    DemoBackend(DemoBackendArgs),
    /// Start a node with development defaults on loopback (without arguments: with a demo tool server and a demo model).
    Up(UpArgs),
    /// Start a node that serves exactly what its resource files say.
    Serve(ServeArgs),
    /// Check resource files without serving anything.
    Validate(ValidateArgs),
    /// Print the JSON schema of the resource files.
    Schema(SchemaArgs),
    /// List what an MCP endpoint serves: tools, prompts, resources, resource templates.
    Tools(ToolsArgs),
    /// Call a tool of an MCP endpoint.
    Call(CallArgs),
    /// Talk with a model, on the terminal or through a pipe.
    Chat(chat::ChatArgs),
    /// Make resource files of the configuration of another gateway.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Make, rotate and list API keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Test and explain policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Verify and show the audit log of a node.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Look into the log of a stopped node of a cluster.
    #[command(subcommand)]
    Wal(wal::WalCommand),
    /// Make, grow, show and mend a cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Make a new cluster of what one node has, when a majority of its cluster is gone for good. May lose data.
    Recover(recover::RecoverArgs),
    /// Make the resources of a cluster what files say.
    Apply(resources::ApplyArgs),
    /// Show what applying files would change; exit code 1 when something would.
    Diff(resources::DiffArgs),
    /// Show resources of a cluster; as YAML they can be applied again.
    Get(resources::GetArgs),
    /// Delete a resource of a cluster.
    Delete(resources::DeleteArgs),
    /// Show what was changed in a cluster, when and by whom.
    History(resources::HistoryArgs),
    /// Make all resources of a cluster what they were at a revision.
    Rollback(resources::RollbackArgs),
    /// List, show, follow, move and end the sessions of a cluster's clients.
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Show what goes on in a cluster, again and again: nodes, shards, sessions, requests, events, takeovers.
    Top(top::TopArgs),
    /// Ask every node of a cluster, and say what is wrong and what to do; exit code 1 when something is wrong.
    Check(cluster::CheckArgs),
    /// Print the script that completes this command line in a shell.
    Completion(CompletionArgs),
}

/// Flags of `quorate demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where the nodes' data, their logs and the tool server's journal are kept: an empty or a new directory. Default: one
    /// for temporary files, which is removed when nothing went wrong.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of the tool server of `quorate demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoBackendArgs {
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where it writes what it did: a new file.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
}

/// Flags of `quorate completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// A shell that command lines can be completed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// source <(quorate completion bash)
    Bash,
    /// source <(quorate completion zsh)
    Zsh,
    /// quorate completion fish | source
    Fish,
}

/// Flags of `quorate serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Resource files: a file or a directory (repeatable). They are watched; a bad change leaves
    /// the running set in place.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required_unless_present = "peer_listen")]
    pub(crate) files: Vec<PathBuf>,
    /// Serve MCP here as well, in plain text on loopback, besides the listeners of the resources. Default: only those.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where health, readiness and metrics are served, and the API of a member of a cluster. Default: nowhere.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
    /// Give callers on loopback a fixed development identity, at listeners on loopback only.
    /// Default: off; nobody is identified, so every request is refused.
    #[arg(long)]
    pub(crate) development_identity: bool,
    /// Install the policy that allows everything. Default: off; everything is denied.
    #[arg(long)]
    pub(crate) allow_all: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// Flags of every node.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Where the node keeps what must survive a restart. Default: nowhere; sessions, cursors and
    /// ids that were handed out end with the process.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long open requests may take to end at shutdown.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_patience)]
    pub(crate) drain_timeout: Duration,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

/// Flags of logs, traces, metrics and records.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    /// What is logged, in the syntax of tracing's EnvFilter. The default leaves out what consensus says of each vote.
    #[arg(long, value_name = "FILTER", env = "QUORATE_LOG", default_value = "info,openraft=error")]
    pub(crate) log: String,
    /// How it is logged, on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
    /// Where traces, metrics and records of calls are sent by OTLP over gRPC. Default: nowhere.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// The share of requests that are traced when the caller did not decide, from 0 to 1.
    #[arg(long, value_name = "RATIO", default_value_t = 0.01, value_parser = parse_ratio)]
    pub(crate) trace_ratio: f64,
}

/// Flags of `quorate validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Resource files: a file or a directory (repeatable).
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Also ask the tool servers what they list, and show what each toolset makes of it. Programs
    /// are started for it. Default: nothing is connected to or started.
    #[arg(long)]
    pub(crate) probe: bool,
}

/// Flags of `quorate schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {}

/// Flags of `quorate tools`.
#[derive(Debug, Args)]
pub(crate) struct ToolsArgs {
    /// The MCP endpoint.
    #[arg(value_name = "URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// Print one JSON object with the items as the server sent them. Default: a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Flags of `quorate call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The tool's name, as `quorate tools` shows it.
    #[arg(value_name = "TOOL")]
    pub(crate) tool: String,
    /// The MCP endpoint.
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// An argument (repeatable): KEY=VALUE takes the type that the tool's schema names, and a
    /// string where it names none; KEY:=JSON is taken as JSON. Default: none.
    #[arg(long = "arg", short = 'a', value_name = "KEY=VALUE|KEY:=JSON", value_parser = parse_argument)]
    pub(crate) arguments: Vec<Argument>,
    /// All arguments as one JSON object; `--arg` adds to them and wins. Default: {}.
    #[arg(long = "args", value_name = "JSON")]
    pub(crate) object: Option<String>,
    /// Print the result as the server sent it. Default: its content, readable.
    #[arg(long)]
    pub(crate) json: bool,
    /// From which level on the server's log messages are asked for.
    #[arg(long, value_enum, default_value_t = LevelArg::Info)]
    pub(crate) log_level: LevelArg,
    /// Print no progress and no log messages. Default: both go to stderr.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Flags of every command that talks to an MCP server.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Which era of MCP is spoken: sessions (legacy) or stateless calls (modern).
    #[arg(long, value_enum, default_value_t = EraArg::Auto)]
    pub(crate) era: EraArg,
    /// How a legacy session travels.
    #[arg(long, value_enum, default_value_t = TransportArg::Auto)]
    pub(crate) transport: TransportArg,
    /// A header to send with every request, as 'NAME: VALUE' (repeatable). Default: none.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// A file with certificates (PEM) to trust besides the system's. Default: none.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long a connection may take to be made.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_patience)]
    pub(crate) connect_timeout: Duration,
    /// How long an answer may take to begin, and how long it may be silent.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,
    /// How long one request may take in all.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_patience)]
    pub(crate) total_timeout: Duration,
}

/// One `--arg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// The value of one `--arg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text, to be read as the tool's schema says.
    Text(String),
    /// JSON, taken as it is.
    Json(String),
}

/// How tools are named at a toolset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NamingArg {
    /// As the server names them.
    Bare,
    /// With the server's name in front.
    Prefix,
    /// As the server names them; with its name in front where two servers use the same.
    OnCollision,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// How severe a log message is (RFC 5424).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// Which era of MCP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EraArg {
    /// Modern, or legacy when the server does not speak it.
    Auto,
    /// Sessions (up to 2025-11-25).
    Legacy,
    /// Stateless calls (2026-07-28).
    Modern,
}

/// How a legacy session travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    /// Streamable HTTP, or HTTP+SSE when the server refuses it.
    Auto,
    /// One address (2025-03-26 and later).
    StreamableHttp,
    /// A permanent event stream (2024-11-05).
    Sse,
}

// === impl EraArg ===

impl From<EraArg> for EraSetting {
    fn from(era: EraArg) -> Self {
        match era {
            EraArg::Auto => Self::Auto,
            EraArg::Legacy => Self::Legacy,
            EraArg::Modern => Self::Modern,
        }
    }
}

// === impl LevelArg ===

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Debug => Self::Debug,
            LevelArg::Info => Self::Info,
            LevelArg::Notice => Self::Notice,
            LevelArg::Warning => Self::Warning,
            LevelArg::Error => Self::Error,
            LevelArg::Critical => Self::Critical,
            LevelArg::Alert => Self::Alert,
            LevelArg::Emergency => Self::Emergency,
        }
    }
}

// === impl TransportArg ===

impl From<TransportArg> for TransportSetting {
    fn from(transport: TransportArg) -> Self {
        match transport {
            TransportArg::Auto => Self::Auto,
            TransportArg::StreamableHttp => Self::StreamableHttp,
            TransportArg::Sse => Self::Sse,
        }
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write 'NAME: VALUE'")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
    // The value may be a credential: it is not repeated in the message.
    let mut value =
        HeaderValue::from_str(value.trim()).map_err(|_| format!("the value of {name} has forbidden characters"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(60);
    if allowed.contains(&interval) { Ok(interval) } else { Err("must be from 1s to 60s".to_owned()) }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "write a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("must be from 0 to 1".to_owned()) }
}

/// Splits at the first `=`; `:=` there means JSON. A key may not be empty.
fn parse_argument(text: &str) -> Result<Argument, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE or KEY:=JSON")?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => {
            serde_json::from_str::<serde_json::Value>(value)
                .map_err(|error| format!("{value:?} is not JSON: {error}"))?;
            (key, Value::Json(value.to_owned()))
        }
        None => (key, Value::Text(value.to_owned())),
    };
    if key.is_empty() {
        return Err("the key in front of `=` is empty".to_owned());
    }
    Ok(Argument { key: key.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        let mut pending = vec![Cli::command()];
        while let Some(command) = pending.pop() {
            assert!(
                command.get_about().is_some() || command.get_name() == "quorate",
                "{} has no help",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            pending.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn arguments_split_at_the_first_equals_sign() {
        let cases = [
            ("a=b", "a", Value::Text("b".into())),
            ("a=b=c", "a", Value::Text("b=c".into())),
            ("a=", "a", Value::Text(String::new())),
            ("a:=1.0", "a", Value::Json("1.0".into())),
            ("a:b=c", "a:b", Value::Text("c".into())),
            ("a:={\"x\":[1]}", "a", Value::Json("{\"x\":[1]}".into())),
        ];
        for (text, key, value) in cases {
            assert_eq!(parse_argument(text), Ok(Argument { key: key.into(), value }), "{text}");
        }
        for text in ["a", "=b", ":=1", "a:=b", "a:="] {
            assert!(parse_argument(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_durations_and_ratios_are_checked() {
        let (name, value) = parse_header("Authorization: Bearer x").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer x"));
        for text in ["Authorization", "a b: c", "a: \u{1}"] {
            assert!(parse_header(text).is_err(), "{text:?}");
        }
        assert!(parse_patience("0s").is_err());
        assert!(parse_ratio("1.5").is_err());
    }
}
