//! A set of resources that becomes what a cluster has: nodes as shipped, told by the command line.
//!
//! The time is that of `quorate apply --wait`, from the start of its process until it says that the set is active on all nodes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use quorate_cluster::{Cluster, Options};

use super::Args;
use super::report::{Report, Row, Spread};
use crate::load::say;

/// Documents of the set, of three kinds.
const DOCUMENTS: usize = 1_000;
/// Of ten documents so many are tool servers, and so many policies; the others are keys.
const SERVERS: usize = 2;
const POLICIES: usize = 2;

/// Applies sets: the first is new, the others change every document of the one before.
///
/// # Errors
/// When the cluster cannot be made, or refuses one.
pub(super) async fn apply(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let program = match &args.quorate {
        Some(program) => program.clone(),
        None => super::beside()?.join("quorate"),
    };
    ensure!(program.is_file(), "there is no {}: build it, or name it with --quorate", program.display());
    let (rounds, place) = (args.rounds, place.to_owned());
    let seconds = tokio::task::spawn_blocking(move || apply_all(program, place, rounds)).await??;
    let name = format!("Apply of {DOCUMENTS} resources until active on all nodes");
    report.rows.push(Row::plain(name, "s", Spread::of(seconds)).at_most(1.0, 3.0));
    Ok(())
}

fn apply_all(program: PathBuf, place: PathBuf, rounds: u32) -> Result<Vec<f64>> {
    let cluster =
        Cluster::start(Options { program: Some(program), place: Some(place), shards: 32, ..Options::default() })?;
    let file = cluster.folder().join("set.yaml");
    let path = file.to_str().context("a path of text")?;
    let mut seconds = Vec::new();
    for round in 0..rounds {
        std::fs::write(&file, documents(round)?)?;
        let began = Instant::now();
        let said = cluster.operate(&["apply", "-f", path, "--wait"])?.success()?;
        let took = began.elapsed();
        let end = said.lines().last().unwrap_or_default();
        ensure!(end.contains(&DOCUMENTS.to_string()), "not all documents are new: {end}");
        say(&format!("apply {}: active on all nodes after {took:.2?}: {end}", round + 1))?;
        seconds.push(took.as_secs_f64());
    }
    Ok(seconds)
}

/// A set in which each document has another content in each round.
fn documents(round: u32) -> Result<String> {
    let mut text = String::new();
    for number in 0..DOCUMENTS {
        match number % 10 {
            kind if kind < SERVERS => {
                let port = 9 + round;
                write!(
                    text,
                    "kind: ToolServer\nname: server-{number}\nspec:\n  urls: [http://127.0.0.1:{port}/mcp]\n"
                )?;
            }
            kind if kind < SERVERS + POLICIES => write!(
                text,
                "kind: Policy\nname: policy-{number}\nspec:\n  cedar: |\n    // Of round {round}.\n    permit (principal \
                 in Agent::\"agent-{}\", action in Action::\"mcp\", resource);\n",
                number + POLICIES
            )?,
            _ => write!(
                text,
                "kind: ApiKey\nname: key-{number}\nspec:\n  agent: agent-{number}\n  keys:\n    - id: {}\n      hmac: \
                 \"{number:032x}{round:032x}\"\n",
                id(number)
            )?,
        }
        text.push_str("---\n");
    }
    Ok(text)
}

/// The visible part of a key: 12 characters of `a-z` and `2-7`.
fn id(number: usize) -> String {
    let digits = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..12).map(|place| char::from(digits[(number >> (5 * place)) % 32])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_set_has_its_documents_and_each_is_another_one_in_the_next_round() {
        let documents =
            |round| -> Vec<String> { documents(round).unwrap().split_terminator("---\n").map(str::to_owned).collect() };
        let (first, second) = (documents(0), documents(1));

        assert_eq!((first.len(), second.len()), (DOCUMENTS, DOCUMENTS));
        assert!(first.iter().zip(&second).all(|(first, second)| first != second));
        assert_eq!((0..DOCUMENTS).map(id).collect::<BTreeSet<_>>().len(), DOCUMENTS);
    }
}
