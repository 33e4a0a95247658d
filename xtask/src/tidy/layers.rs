//! The layers: which crate stands where, and which edges there may be.
//!
//! Every package of the workspace has a row in [`PLACES`]; an edge (of any kind, tests too) goes to a lower layer, or
//! is one of the listed edges within a layer. The listed edges are checked for cycles by cargo itself. Rows of crates
//! that do not exist yet are the plan of ARCHITECTURE.md: they bind as soon as the crate appears.

use super::Finding;
use crate::metadata::Package;

const RULE: &str = "layers";

/// A layer; a higher one may use a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// The vocabulary of all others.
    Types,
    /// Protocols and machines: no runtime, clock, randomness, IO.
    Pure,
    /// The outside world, one kind of it per crate.
    World,
    /// Actors around the machines.
    Runtime,
    /// What a user of the product configures and sees.
    Product,
    /// Programs, and what is built around them.
    Programs,
}

/// Where each package stands.
const PLACES: &[(&str, Layer)] = &[
    ("quorate-types", Layer::Types),
    ("quorate-proto", Layer::Types),
    ("quorate-jsonrpc", Layer::Pure),
    ("quorate-mcp", Layer::Pure),
    ("quorate-a2a", Layer::Pure),
    ("quorate-llm", Layer::Pure),
    ("quorate-openapi", Layer::Pure),
    ("quorate-session", Layer::Pure),
    ("quorate-catalog", Layer::Pure),
    ("quorate-placement", Layer::Pure),
    ("quorate-policy", Layer::Pure),
    ("quorate-guard", Layer::Pure),
    ("quorate-quota", Layer::Pure),
    ("quorate-scheduler", Layer::Pure),
    ("quorate-http", Layer::World),
    ("quorate-stdio", Layer::World),
    ("quorate-tls", Layer::World),
    ("quorate-peer", Layer::World),
    ("quorate-wal", Layer::World),
    ("quorate-membership", Layer::World),
    ("quorate-client", Layer::World),
    ("quorate-audit", Layer::World),
    ("quorate-identity", Layer::World),
    ("quorate-raft", Layer::World),
    ("quorate-telemetry", Layer::World),
    ("quorate-runtime", Layer::Runtime),
    ("quorate-control", Layer::Runtime),
    ("quorate-member", Layer::Runtime),
    ("quorate-gateway", Layer::Product),
    ("quorate-admin", Layer::Product),
    ("quorate-config", Layer::Product),
    ("quorate-follow", Layer::Product),
    ("quorate", Layer::Programs),
    ("quorate-cluster", Layer::Programs),
    ("quorate-chaos", Layer::Programs),
    ("quorate-tests", Layer::Programs),
    ("quorate-bench", Layer::Programs),
    ("quorate-fixtures", Layer::Programs),
    ("xtask", Layer::Programs),
];

/// The edges within a layer, `(user, used)`.
const WITHIN: &[(&str, &str)] = &[
    // The envelope under the protocols, and under the one machine that keeps their ids apart.
    ("quorate-mcp", "quorate-jsonrpc"),
    ("quorate-a2a", "quorate-jsonrpc"),
    ("quorate-llm", "quorate-jsonrpc"),
    ("quorate-openapi", "quorate-jsonrpc"),
    ("quorate-session", "quorate-jsonrpc"),
    // The machine that says what is where asks the solver where it shall be.
    ("quorate-catalog", "quorate-placement"),
    // Sockets with TLS.
    ("quorate-http", "quorate-tls"),
    ("quorate-peer", "quorate-tls"),
    // Keys of issuers are fetched.
    ("quorate-identity", "quorate-http"),
    ("quorate-identity", "quorate-tls"),
    // The log and the wire under consensus.
    ("quorate-raft", "quorate-peer"),
    ("quorate-raft", "quorate-wal"),
    // Its tests make nodes with certificates.
    ("quorate-raft", "quorate-tls"),
    // Certificates are read as strictly as those of workloads, and the identity lies on a disk that tests can tear.
    ("quorate-membership", "quorate-tls"),
    ("quorate-membership", "quorate-wal"),
    // A member of a cluster has a control plane.
    ("quorate-member", "quorate-control"),
    // An operator shows a certificate of the cluster.
    ("quorate-client", "quorate-membership"),
    ("quorate-client", "quorate-tls"),
    // Validated resources, and what the admin address shows of the node.
    ("quorate-admin", "quorate-config"),
    ("quorate-admin", "quorate-gateway"),
    // What operators apply is compiled as it is where it runs.
    ("quorate-admin", "quorate-follow"),
    ("quorate-follow", "quorate-config"),
    ("quorate-gateway", "quorate-config"),
    // Nodes in a process for tests of clusters.
    ("quorate-cluster", "quorate"),
    // Clusters under clients that check every event.
    ("quorate-chaos", "quorate-cluster"),
    ("quorate-chaos", "quorate-tests"),
    // The network between nodes, to cut leaders off.
    ("quorate-bench", "quorate-cluster"),
    ("quorate-tests", "quorate-cluster"),
    ("quorate-tests", "quorate-fixtures"),
];

/// The packages that must be pure: those of layer 1, and the vocabulary below them.
pub(super) fn pure(packages: &[Package]) -> impl Iterator<Item = &Package> {
    packages.iter().filter(|package| is_pure(&package.name))
}

/// Whether a package of this name must be pure.
pub(super) fn is_pure(name: &str) -> bool {
    place(name).is_some_and(|layer| layer <= Layer::Pure)
}

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let Some(layer) = place(&package.name) else {
            findings.push(Finding::new(RULE, &package.name, "has no layer: give it a row in xtask/src/tidy/layers.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(below) = place(&dependency.name) else { continue };
            let listed = WITHIN.contains(&(package.name.as_str(), dependency.name.as_str()));
            if below >= layer && !listed {
                let kind = dependency.kind.as_deref().unwrap_or("normal");
                let message =
                    format!("may not use {}: a {kind} edge from {layer:?} to {below:?} is not listed", dependency.name);
                findings.push(Finding::new(RULE, &package.name, message));
            }
        }
    }
    findings
}

fn place(name: &str) -> Option<Layer> {
    PLACES.iter().find(|(package, _)| *package == name).map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{metadata::Dependency, tidy::messages};

    fn package(name: &str, kind: Option<&str>, uses: &[&str]) -> Package {
        let dependency = |name: &&str| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) };
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::from("Cargo.toml"),
            dependencies: uses.iter().map(dependency).collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn edges_down_and_listed_edges_are_allowed() {
        let packages = [
            package("quorate-mcp", None, &["quorate-jsonrpc", "quorate-types", "serde"]),
            package("quorate-runtime", None, &["quorate-mcp", "quorate-http"]),
            package("quorate-gateway", None, &["quorate-config", "quorate-runtime"]),
        ];

        assert_eq!(messages(&check(&packages)), Vec::<String>::new());
    }

    #[test]
    fn edges_up_and_sideways_are_findings() {
        let cases = [
            ("quorate-jsonrpc", "quorate-mcp"),
            ("quorate-session", "quorate-mcp"),
            ("quorate-http", "quorate-gateway"),
        ];
        for (user, used) in cases {
            assert_eq!(check(&[package(user, None, &[used])]).len(), 1, "{user} uses {used}");
        }
    }

    #[test]
    fn an_edge_of_tests_is_an_edge() {
        let found = check(&[package("quorate-session", Some("dev"), &["quorate-runtime"])]);

        assert!(messages(&found)[0].contains("a dev edge from Pure to Runtime"), "{found:?}");
    }

    #[test]
    fn a_package_without_a_layer_is_a_finding() {
        assert_eq!(check(&[package("quorate-misc", None, &[])]).len(), 1);
    }

    #[test]
    fn every_listed_edge_is_within_one_layer() {
        for (user, used) in WITHIN {
            assert_eq!(place(user), place(used), "{user} uses {used}");
        }
    }
}
