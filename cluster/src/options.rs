//! What a cluster of a test is made of: how many nodes and shards, and the flags of each.
//!
//! The default is what most tests want, so that a test names only what it is about.

use std::path::PathBuf;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes, from 1.
    pub nodes: usize,
    /// Shard groups.
    pub shards: u32,
    /// Whether nodes reach each other through a [`Net`](crate::net::Net), which can be cut. Without it they do directly,
    /// so that they see a killed process as they do in life.
    pub net: bool,
    /// The first resources.
    pub files: Vec<PathBuf>,
    /// More flags of each node.
    pub flags: Vec<String>,
    /// More flags of one node alone, by its place.
    pub own_flags: Vec<Vec<String>>,
    /// The nodes' election timeout, as the flag has it: where a test is not about how fast one is, machines may be slow.
    pub election_timeout: &'static str,
    /// More flags of `cluster init`.
    pub init: Vec<String>,
    /// The program of the nodes. By default the one under test ([`binary`](crate::paths::binary)).
    pub program: Option<PathBuf>,
    /// The folder in which that of the cluster is made. By default that for temporary files.
    pub place: Option<PathBuf>,
    /// Whether nodes are in process groups of their own: what a terminal tells the program that has the cluster (Ctrl-C), they
    /// do not hear. For a program that ends its cluster itself then.
    pub is_apart: bool,
}

// === impl Options ===

impl Default for Options {
    /// Three nodes that reach each other directly, with eight shards and no resources.
    fn default() -> Self {
        Self {
            nodes: 3,
            shards: 8,
            net: false,
            files: Vec::new(),
            flags: Vec::new(),
            own_flags: Vec::new(),
            init: Vec::new(),
            election_timeout: "1500ms",
            program: None,
            place: None,
            is_apart: false,
        }
    }
}
