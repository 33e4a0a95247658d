//! The flags of `quorate up`: what to put behind an endpoint on loopback, without a file.
//!
//! In: the words of the command line. Out: names with addresses, files, programs and keys, checked as far as they can be without IO.
//! What becomes of them is a matter of `up` and `local`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use quorate_types::ResourceName;
use url::Url;

use super::cluster::SHARDS;
use super::{NamingArg, NodeArgs};
use crate::words;

/// Flags of `quorate up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// A tool server to put behind the endpoint, as NAME=URL (repeatable). Without any, and without
    /// `--openapi`, `--stdio`, `--llm` and `-f`, an embedded demo tool server is used.
    #[arg(long = "mcp", value_name = "NAME=URL", value_parser = parse_named_url)]
    pub(crate) mcp: Vec<(ResourceName, Url)>,
    /// An API to put behind the endpoint, as NAME=FILE with its OpenAPI document (repeatable). Default: none.
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_named_file)]
    pub(crate) openapi: Vec<(ResourceName, PathBuf)>,
    /// A tool server to start as a program that works in this folder, as NAME="PROGRAM ARGUMENT…"
    /// (repeatable). Words are split at spaces and may be quoted; there is no shell. Default: none.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = parse_named_command)]
    pub(crate) stdio: Vec<NamedCommand>,
    /// A model to serve, as MODEL=URL[,key-env=NAME]: what clients ask for, the address of its provider up to the version (such as
    /// `http://127.0.0.1:8000/v1`), and the environment variable with the provider's key (repeatable). Given more than once for a
    /// model, the later ones are asked when those before cannot answer; `*` stands for any characters. Without any flag, an embedded
    /// demo model is used.
    #[arg(long, value_name = "MODEL=URL", value_parser = parse_named_model)]
    pub(crate) llm: Vec<NamedModel>,
    /// How tools are named. Default: bare with one server, else on-collision.
    #[arg(long, value_enum)]
    pub(crate) naming: Option<NamingArg>,
    /// Where MCP and models are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4290")]
    pub(crate) listen: SocketAddr,
    /// Where health, readiness and metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4291")]
    pub(crate) admin: SocketAddr,
    /// Resource files to serve as well: a file or a directory (repeatable). Default: none.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Start a cluster of so many nodes on this machine instead, each a process of its own: 1, 3 or 5. The first one has
    /// the addresses above, the others free ports. Default: one node without a cluster.
    #[arg(long, value_name = "COUNT", value_parser = parse_nodes)]
    pub(crate) nodes: Option<u8>,
    /// How many shards a new cluster of `--nodes` has, for good: 1 to 256. Fewer cost less on a small machine.
    #[arg(long, value_name = "COUNT", requires = "nodes", default_value = SHARDS,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) shards: u32,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

// === impl UpArgs ===

impl UpArgs {
    /// Whether nothing is put behind the endpoint, so that the embedded demo is.
    pub(crate) const fn is_plain(&self) -> bool {
        let has_servers = !(self.mcp.is_empty() && self.openapi.is_empty() && self.stdio.is_empty());
        !has_servers && self.llm.is_empty() && self.files.is_empty()
    }
}

/// One `--stdio`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedCommand {
    pub(crate) name: ResourceName,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
}

/// One `--llm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedModel {
    /// What clients ask for.
    pub(crate) model: String,
    /// The address of its provider.
    pub(crate) url: Url,
    /// The environment variable with its key.
    pub(crate) key_env: Option<String>,
}

fn parse_named_url(text: &str) -> Result<(ResourceName, Url), String> {
    let (name, url) = text.split_once('=').ok_or("write NAME=URL, for example files=http://127.0.0.1:9001/mcp")?;
    let name = ResourceName::new(name).map_err(|error| error.to_string())?;
    let parsed = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{url:?} must begin with http:// or https://"));
    }
    Ok((name, parsed))
}

fn parse_named_file(text: &str) -> Result<(ResourceName, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("write NAME=FILE, for example pets=petstore.yaml")?;
    let name = ResourceName::new(name).map_err(|error| error.to_string())?;
    if file.is_empty() { Err("the file name is empty".to_owned()) } else { Ok((name, PathBuf::from(file))) }
}

fn parse_named_command(text: &str) -> Result<NamedCommand, String> {
    let (name, command) =
        text.split_once('=').ok_or("write NAME=COMMAND, for example files='npx -y some-server /srv'")?;
    let name = ResourceName::new(name).map_err(|error| error.to_string())?;
    let command = words::split(command)?;
    if command.first().is_none_or(String::is_empty) {
        return Err("the command is empty".to_owned());
    }
    Ok(NamedCommand { name, command })
}

fn parse_named_model(text: &str) -> Result<NamedModel, String> {
    let example = "write MODEL=URL or MODEL=URL,key-env=NAME, for example llama=http://127.0.0.1:8000/v1";
    let (model, rest) = text.split_once('=').filter(|(model, _)| !model.is_empty()).ok_or(example)?;
    let (url, key_env) = match rest.split_once(',') {
        None => (rest, None),
        Some((url, option)) => {
            let name = option.strip_prefix("key-env=").filter(|name| !name.is_empty());
            (url, Some(name.ok_or_else(|| format!("{option:?} is not known: {example}"))?.to_owned()))
        }
    };
    let parsed = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{url:?} must begin with http:// or https://"));
    }
    Ok(NamedModel { model: model.to_owned(), url: parsed, key_env })
}

fn parse_nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        Ok(_) | Err(_) => Err("must be 1, 3 or 5: with 3 one node may fail, with 5 two".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_behind_the_endpoint_is_checked() {
        assert!(parse_named_url("files=http://127.0.0.1:9001/mcp").is_ok());
        for text in ["files", "Files=http://h/", "files=ftp://h/", "files=h", "=http://h/"] {
            assert!(parse_named_url(text).is_err(), "{text}");
        }
        assert!(parse_named_file("pets=a=b.yaml").is_ok_and(|(_, file)| file.as_os_str() == "a=b.yaml"));
        for text in ["pets", "Pets=a.yaml", "pets=", "=a.yaml"] {
            assert!(parse_named_file(text).is_err(), "{text}");
        }
        let parsed = parse_named_command("files=npx -y 'a server' /srv=1").unwrap();
        assert_eq!((parsed.name.as_str(), parsed.command.len()), ("files", 4));
        for text in ["files", "files=", "files=''", "Files=npx", "files=npx | tee log"] {
            assert!(parse_named_command(text).is_err(), "{text}");
        }
        assert_eq!(["1", "3", "5"].map(parse_nodes), [Ok(1), Ok(3), Ok(5)]);
        assert!(["0", "2", "4", "x"].iter().all(|text| parse_nodes(text).is_err()));
    }

    #[test]
    fn a_model_has_an_address_and_may_have_a_key_in_the_environment() {
        let parsed = parse_named_model("acme/llama3:8b=http://127.0.0.1:8000/v1,key-env=KEY").unwrap();
        assert_eq!((parsed.model.as_str(), parsed.key_env.as_deref()), ("acme/llama3:8b", Some("KEY")));
        assert_eq!(parse_named_model("*=https://api.openai.com/v1").unwrap().key_env, None);
        for text in ["m", "=http://h/v1", "m=ftp://h/", "m=h", "m=http://h/v1,key=K", "m=http://h/v1,key-env="] {
            assert!(parse_named_model(text).is_err(), "{text}");
        }
    }
}
