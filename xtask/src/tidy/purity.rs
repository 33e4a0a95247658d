//! The purity of the crates of layer 1: what may not be in the closure of their normal dependencies.
//!
//! The closure comes from `cargo tree` for one package at a time, because features that another package switches on
//! are not this package's own, and without procedural macros, which run at build time only. What the standard
//! library offers against purity is clippy's part (`pure-clippy.toml`); this is about crates.

use anyhow::{Context as _, Result, ensure};

use super::{Finding, layers};
use crate::repo::Repo;

const RULE: &str = "purity";

/// Crates that bring a runtime, a clock, randomness or IO, with the reason why not.
const DENIED: &[(&str, &str)] = &[
    ("tokio", RUNTIME),
    ("tokio-util", RUNTIME),
    ("tokio-stream", RUNTIME),
    ("async-std", RUNTIME),
    ("smol", RUNTIME),
    ("async-io", RUNTIME),
    ("futures-executor", RUNTIME),
    ("ractor", "actors are the shells around the machines, in quorate-runtime"),
    ("rayon", THREADS),
    ("crossbeam-channel", THREADS),
    ("parking_lot", THREADS),
    ("num_cpus", "what the machine has is the shell's to know"),
    ("mio", NETWORK),
    ("socket2", NETWORK),
    ("hyper", NETWORK),
    ("hyper-util", NETWORK),
    ("h2", NETWORK),
    ("reqwest", NETWORK),
    ("tonic", NETWORK),
    ("rustls", "encryption of connections is quorate-tls's work"),
    ("rmcp", "an SDK drops unknown fields and reorders keys"),
    ("getrandom", RANDOM),
    ("rand", RANDOM),
    ("rand_chacha", RANDOM),
    ("fastrand", RANDOM),
    ("oorandom", RANDOM),
    ("uuid", RANDOM),
    ("ulid", RANDOM),
    ("ahash", "its hashes differ from run to run; state that nodes compare may not"),
    ("time", CLOCK),
    ("chrono", CLOCK),
    ("jiff", CLOCK),
    ("quanta", CLOCK),
    ("minstant", CLOCK),
    ("web-time", CLOCK),
    ("tempfile", FILES),
    ("walkdir", FILES),
    ("notify", FILES),
    ("memmap2", FILES),
    ("rustix", FILES),
    ("nix", FILES),
    ("dirs", FILES),
    ("arc-swap", "shared mutable state is the shell's; a machine owns its state"),
    ("tracing", "spans belong to the stages and actors around a machine; it returns effects"),
    ("log", "a machine returns effects; who applies them logs"),
    ("opentelemetry", "metrics belong to the stages and actors around a machine"),
];

const RUNTIME: &str = "futures are driven by the shells; a machine is called and returns";
const THREADS: &str = "a machine runs on the thread of its caller";
const NETWORK: &str = "bytes come in and go out as arguments and effects";
const RANDOM: &str = "entropy is an argument";
const CLOCK: &str = "`now` is an argument";
const FILES: &str = "files are the shell's to read";

/// Checks each pure crate of the workspace.
pub(super) fn check(repo: &Repo) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in layers::pure(&repo.metadata().packages) {
        let tree = repo
            .cargo("tree")
            .args(["--locked", "--edges", "normal,no-proc-macro", "--target", "all", "--prefix", "depth"])
            .args(["--format", " {p}", "--package", &package.name])
            .quiet()
            .output()
            .with_context(|| format!("cannot list what {} depends on", package.name))?;
        findings.extend(check_closure(&package.name, &tree)?);
    }
    Ok(findings)
}

/// Checks one closure, given as the lines of `cargo tree --prefix depth`: `2 NAME vVERSION …`.
fn check_closure(package: &str, tree: &str) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let depth: usize = words.next().and_then(|word| word.parse().ok()).with_context(|| unexpected(line))?;
        let name = words.next().with_context(|| unexpected(line))?;
        ensure!(depth <= path.len(), unexpected(line));
        path.truncate(depth);
        path.push(name);
        if let Some((_, reason)) = DENIED.iter().find(|(denied, _)| *denied == name) {
            let message = format!("{name} is in its closure ({}): {reason}", path.join(" → "));
            findings.push(Finding::new(RULE, package, message));
        }
    }
    ensure!(!path.is_empty(), "cargo tree listed nothing for {package}");
    Ok(findings)
}

fn unexpected(line: &str) -> String {
    format!("cargo tree answered something unexpected: `{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    #[test]
    fn a_pure_closure_has_no_findings() -> Result<()> {
        let tree = "0 quorate-mcp v0.1.0 (crates/mcp)\n1 bytes v1.11.0\n1 serde_json v1.0.150\n2 itoa v1.0.18 (*)\n";

        assert_eq!(check_closure("quorate-mcp", tree)?, []);
        Ok(())
    }

    #[test]
    fn a_denied_crate_is_found_at_any_depth_with_its_path_and_reason() -> Result<()> {
        let tree = "0 quorate-mcp v0.1.0\n1 a v1.0.0\n2 b v1.0.0\n1 c v1.0.0\n2 getrandom v0.4.2\n";

        let found = messages(&check_closure("quorate-mcp", tree)?);

        let expected =
            "quorate-mcp: purity: getrandom is in its closure (quorate-mcp → c → getrandom): entropy is an argument";
        assert_eq!(found, [expected]);
        Ok(())
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_error_and_not_a_pass() {
        assert!(check_closure("quorate-mcp", "").is_err());
        assert!(check_closure("quorate-mcp", "no depth").is_err());
        assert!(check_closure("quorate-mcp", "3 tokio v1.0.0").is_err());
    }
}
