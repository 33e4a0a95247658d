//! The resources of a local cluster: what the flags of `up` say, as documents, and those of its files.
//!
//! Every node gets all of them, so that paths are absolute: all nodes are on this machine. Listeners are no part of it: each
//! node has one of its own, at an address that no other node of the machine may have.

use std::path::Path;

use quorate_config::document::of_sources;
use quorate_config::{Kind, Source};
use quorate_proto::admin::v1 as proto;
use serde_json::{Value, json};

use crate::cli::{NamingArg, UpArgs};
use crate::demo_server::DemoServer;
use crate::exit::{Exit, Failure};
use crate::run::of_config;
use crate::up::models;
use crate::{documents, up};

/// Makes the documents; `demo` is the embedded tool server and model, if there are any.
pub(crate) fn documents(args: &UpArgs, demo: Option<&DemoServer>) -> Result<Vec<proto::Document>, Failure> {
    let folder = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Failure, format!("there is no current folder: {error}")))?;
    let sources: Vec<Source> = of_flags(args, demo, &folder)
        .into_iter()
        .enumerate()
        .map(|(number, value)| Source { file: folder.join(format!("flag-{number}.json")), text: value.to_string() })
        .collect();
    let of_flags = of_sources(&sources).map_err(|errors| of_config(&errors))?;
    let mut all: Vec<proto::Document> = of_flags.into_iter().map(documents::to_proto).collect();
    all.extend(documents::read(&args.files)?);
    match all.iter().find(|document| document.kind == Kind::Listener.as_str()) {
        Some(listener) => Err(Failure::new(
            Exit::Usage,
            format!(
                "{}: all nodes of the cluster would open the listener {} on this machine",
                listener.origin, listener.name
            ),
        )
        .advise("leave listeners out: each node has one of its own, the first one at `--listen`")),
        None => Ok(all),
    }
}

fn of_flags(args: &UpArgs, demo: Option<&DemoServer>, folder: &Path) -> Vec<Value> {
    let mut all = servers(args, demo.map(DemoServer::url), folder);
    all.extend(models::documents(&args.llm, demo.map(DemoServer::model_url).as_deref()));
    all
}

fn servers(args: &UpArgs, demo: Option<String>, folder: &Path) -> Vec<Value> {
    let server = |name: &str, spec: Value| json!({"kind": "ToolServer", "name": name, "spec": spec});
    let mut servers: Vec<Value> = Vec::new();
    servers.extend(demo.map(|url| server(up::DEMO, json!({"urls": [url]}))));
    servers.extend(args.mcp.iter().map(|(name, url)| server(name.as_str(), json!({"urls": [url.as_str()]}))));
    servers.extend(
        args.openapi
            .iter()
            .map(|(name, file)| server(name.as_str(), json!({"openapi": {"document": folder.join(file)}}))),
    );
    servers.extend(
        args.stdio
            .iter()
            .map(|named| server(named.name.as_str(), json!({"stdio": {"command": named.command, "folder": folder}}))),
    );
    if servers.is_empty() {
        return servers;
    }
    let names: Vec<Value> = servers.iter().map(|server| server["name"].clone()).collect();
    let mut spec = json!({"servers": names});
    if let Some(naming) = args.naming {
        spec["naming"] = Value::from(match naming {
            NamingArg::Bare => "bare",
            NamingArg::Prefix => "prefix",
            NamingArg::OnCollision => "on-collision",
        });
    }
    servers.push(json!({"kind": "Toolset", "name": quorate_config::Toolset::DEFAULT_NAME, "spec": spec}));
    servers
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(flags: &[&str]) -> UpArgs {
        let line = ["quorate", "up", "--nodes", "3"].iter().chain(flags);
        let Command::Up(args) = Cli::parse_from(line).command else { panic!("it is `up`") };
        args
    }

    #[test]
    fn flags_become_documents_that_a_cluster_takes() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("pets.yaml");
        std::fs::write(&document, "openapi: 3.1.0\n").unwrap();
        let openapi = format!("pets={}", document.display());
        let args = parsed(&[
            "--mcp",
            "a=http://127.0.0.1:9001/mcp",
            "--openapi",
            &openapi,
            "--stdio",
            "b=cat",
            "--naming",
            "prefix",
            "--llm",
            "m=http://127.0.0.1:9002/v1",
        ]);

        let all = documents(&args, None).unwrap();

        let names: Vec<(&str, &str)> = all.iter().map(|one| (one.kind.as_str(), one.name.as_str())).collect();
        let expected = [
            ("ToolServer", "a"),
            ("ToolServer", "pets"),
            ("ToolServer", "b"),
            ("Toolset", "default"),
            ("Provider", "m"),
            ("Model", "m"),
        ];
        assert_eq!(names, expected);
        let toolset: Value = serde_json::from_slice(&all[3].json).unwrap();
        assert_eq!(toolset["spec"]["naming"], "prefix");
    }

    #[tokio::test]
    async fn without_flags_there_is_the_demo_and_nothing_else() {
        let demo = DemoServer::start(tokio_util::sync::CancellationToken::new()).unwrap();
        let all = documents(&parsed(&[]), Some(&demo)).unwrap();

        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["demo", "default", "demo", "demo"]);
        assert!(documents(&parsed(&[]), None).unwrap().is_empty());
    }

    #[test]
    fn a_listener_that_all_nodes_would_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("listener.yaml");
        std::fs::write(&file, "kind: Listener\nname: data\nspec:\n  address: 127.0.0.1:4000\n").unwrap();

        let refused = documents(&parsed(&["-f", file.to_str().unwrap()]), None).unwrap_err();

        assert!(refused.message.contains("listener data"), "{}", refused.message);
        assert_eq!(refused.exit, Exit::Usage);
    }
}
