//! What tests of clusters put into them, and how they look for it.
//!
//! A document is a tool server that nobody listens behind: what counts is that it is there. Where it must be is asked of the
//! node itself, over its own socket.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, iter};

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

/// Runs a test again, alone and in a namespace of mounts that ends with it. True in there; false once it has passed there.
pub(crate) fn apart(test: &str) -> anyhow::Result<bool> {
    const INSIDE: &str = "QUORATE_TEST_APART";
    if env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let can = |flags: &[&str]| {
        let tried = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    // Root can; others can where the system lets them be root of a namespace.
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let flags = ways.into_iter().find(|flags| can(flags));
    let flags = flags.context("this test mounts a file system: run it as root, or allow user namespaces")?;
    let mut inner = Command::new("unshare");
    inner.args(flags).arg(env::current_exe()?).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = inner.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains("1 passed"), "{test} is not the name of a test: {said}");
    Ok(false)
}
