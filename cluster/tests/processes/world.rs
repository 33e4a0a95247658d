//! What tests of clusters put into them, and how they look for it.
//!
//! A document is a tool server that nobody listens behind: what counts is that it is there. Where it must be is asked of the
//! node itself, over its own socket.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, iter};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Operator, nodes, wait};
use serde_json::Value;

/// Longer than anything that a cluster does takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The names of the nodes of a status, sorted.
pub(crate) fn names(status: &Value) -> Vec<&str> {
    let mut names: Vec<_> = nodes(status).filter_map(|node| node["name"].as_str()).collect();
    names.sort_unstable();
    names
}

/// Where documents come from.
#[derive(Debug)]
pub(crate) struct Source {
    /// Who applies them.
    pub(crate) operator: Operator,
    folder: PathBuf,
}

impl Source {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self { operator: cluster.operator(), folder: cluster.folder().to_owned() }
    }

    /// Writes documents of these names into a file.
    pub(crate) fn file(&self, names: &[&str]) -> anyhow::Result<String> {
        let text: Vec<_> = names
            .iter()
            .map(|name| format!("kind: ToolServer\nname: {name}\nspec:\n  urls: [http://127.0.0.1:9/mcp]\n"))
            .collect();
        let file = self.folder.join(format!("{}.yaml", names.first().context("there is a name")?));
        fs::write(&file, text.join("---\n"))?;
        file.to_str().map(str::to_owned).context("it is UTF-8")
    }
}

/// Applies a document, through whoever answers.
pub(crate) fn document(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let source = Source::of(cluster);
    source.operator.run(&["apply", "-f", &source.file(&[name])?])?.success()?;
    Ok(())
}

/// Waits until a node has these documents, among others.
pub(crate) fn applied(cluster: &Cluster, place: usize, names: &[&str]) -> anyhow::Result<()> {
    wait::until("documents", PATIENCE, || {
        let there = there(cluster, place)?;
        let missing: Vec<_> = names.iter().filter(|name| !there.contains(**name)).collect();
        ensure!(missing.is_empty(), "{missing:?} are not among the {} of place {place}", there.len());
        Ok(())
    })
}

/// The names of the documents that a node has.
pub(crate) fn there(cluster: &Cluster, place: usize) -> anyhow::Result<BTreeSet<String>> {
    let said = cluster.local(place, &["get", "toolserver", "-o", "json"])?.success()?;
    let said: Value = serde_json::from_str(&said).with_context(|| format!("documents are told as JSON: {said}"))?;
    let all = said.as_array().or_else(|| said["resources"].as_array()).or_else(|| said["items"].as_array());
    let all = all.into_iter().flatten().chain(iter::empty());
    Ok(all
        .filter_map(|document| document["name"].as_str().or_else(|| document["document"]["name"].as_str()))
        .map(str::to_owned)
        .collect())
}
