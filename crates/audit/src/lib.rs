//! The audit log of a node: structured records in a hash chain, bounded in rate and size.
//!
//! Events come in from every part of the node and never block or fail it; records go out to files in which any later
//! change, removal or reordering shows.
