//! The purity of the crates of layer 1: what may not be in the closure of their normal dependencies.
//!
//! The closure comes from `cargo tree` for one package at a time, because features that another package switches on
//! are not this package's own, and without procedural macros, which run at build time only. What the standard
//! library offers against purity is clippy's part (`pure-clippy.toml`); this is about crates. A crate whose impure part
//! is behind a feature may stand there without that feature.

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

/// Crates that are pure but for some of their features: those features, and the reason why not.
const DENIED_WITH: &[(&str, &[&str], &str)] = &[("chrono", &["clock", "now"], CLOCK)];

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
            .args(["--format", " {p}\t{f}", "--package", &package.name])
            .quiet()
            .output()
            .with_context(|| format!("cannot list what {} depends on", package.name))?;
        findings.extend(check_closure(&package.name, &tree)?);
    }
    Ok(findings)
}

/// Checks one closure, given as the lines of `cargo tree --prefix depth`: `2 NAME vVERSION …\tFEATURE,FEATURE…`.
fn check_closure(package: &str, tree: &str) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package_id, features) = line.split_once('\t').with_context(|| unexpected(line))?;
        let mut words = package_id.split_whitespace();
        let depth: usize = words.next().and_then(|word| word.parse().ok()).with_context(|| unexpected(line))?;
        let name = words.next().with_context(|| unexpected(line))?;
        ensure!(depth <= path.len(), unexpected(line));
        path.truncate(depth);
        path.push(name);
        if let Some(denied) = denied(name, features) {
            findings.push(Finding::new(RULE, package, format!("{} ({}): {}", denied.0, path.join(" → "), denied.1)));
        }
    }
    ensure!(!path.is_empty(), "cargo tree listed nothing for {package}");
    Ok(findings)
}

/// Says what of a crate may not be there, and why; `features` are comma-separated, with cargo's ` (*)` for repetitions.
fn denied(name: &str, features: &str) -> Option<(String, &'static str)> {
    if let Some((_, reason)) = DENIED.iter().find(|(denied, _)| *denied == name) {
        return Some((format!("{name} is in its closure"), reason));
    }
    let (_, impure, reason) = DENIED_WITH.iter().find(|(denied, ..)| *denied == name)?;
    let features = features.trim_end_matches("(*)").trim();
    let feature = features.split(',').find(|feature| impure.contains(feature))?;
    Some((format!("{name} with its feature `{feature}` is in its closure"), reason))
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
        let tree = "0 quorate-mcp v0.1.0 (crates/mcp)\t\n1 bytes v1.11.0\tdefault,std\n1 serde_json v1.0.150\tstd\n2 itoa v1.0.18\t (*)\n";

        assert_eq!(check_closure("quorate-mcp", tree)?, []);
        Ok(())
    }

    #[test]
    fn a_denied_crate_is_found_at_any_depth_with_its_path_and_reason() -> Result<()> {
        let tree = "0 quorate-mcp v0.1.0\t\n1 a v1.0.0\t\n2 b v1.0.0\t\n1 c v1.0.0\t\n2 getrandom v0.4.2\tstd\n";

        let found = messages(&check_closure("quorate-mcp", tree)?);

        let expected =
            "quorate-mcp: purity: getrandom is in its closure (quorate-mcp → c → getrandom): entropy is an argument";
        assert_eq!(found, [expected]);
        Ok(())
    }

    #[test]
    fn a_crate_with_an_impure_feature_is_found_only_with_it() -> Result<()> {
        for features in ["", " (*)", "alloc,std", "alloc,clock-like (*)"] {
            let tree = format!("0 quorate-policy v0.1.0\t\n1 chrono v0.4.45\t{features}\n");
            assert_eq!(check_closure("quorate-policy", &tree)?, [], "{features:?}");
        }
        for (features, feature) in [("alloc,clock", "clock"), ("now", "now"), ("alloc,now (*)", "now")] {
            let tree = format!("0 quorate-policy v0.1.0\t\n1 chrono v0.4.45\t{features}\n");
            let expected = format!(
                "quorate-policy: purity: chrono with its feature `{feature}` is in its closure (quorate-policy → chrono): `now` is an argument"
            );
            assert_eq!(messages(&check_closure("quorate-policy", &tree)?), [expected]);
        }
        Ok(())
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_error_and_not_a_pass() {
        assert!(check_closure("quorate-mcp", "").is_err());
        assert!(check_closure("quorate-mcp", "no depth\t").is_err());
        assert!(check_closure("quorate-mcp", "0 quorate-mcp v0.1.0").is_err());
        assert!(check_closure("quorate-mcp", "3 tokio v1.0.0\t").is_err());
    }
}
