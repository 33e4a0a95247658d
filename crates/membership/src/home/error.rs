//! Why a data folder cannot be used, with the way out.
//!
//! One enum per operation; each message says what was found and what an operator can do. Nothing is ever repaired or
//! replaced on the way: a folder that is refused is as it was.

use std::io;

use quorate_types::ClusterId;

/// The disk failed: what the folder has is unknown, and may be good.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{file}` of the data folder: {source}")]
pub struct DiskError {
    /// What was tried.
    pub action: &'static str,
    /// The name of the file in the folder.
    pub file: &'static str,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// A folder's identity could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not what was written.
    #[error(
        "the identity of the data folder (`node`) is damaged: {what}. Keep the folder for an inquiry, start the node \
         with an empty one, and let it replace this node"
    )]
    Damaged {
        /// What does not hold.
        what: &'static str,
    },
    /// The folder was somebody's, and does not say whose.
    #[error(
        "the data folder has `{name}` but no identity (`node`): a file was lost, or it is a part of another folder. \
         Restore the folder whole, or start the node with an empty one and let it join"
    )]
    NoIdentity {
        /// What it has.
        name: String,
    },
    /// A newer program wrote it.
    #[error(
        "the identity of the data folder has format {found}, and this program knows {known}: start the newer program \
         that wrote it"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// The newest one known.
        known: u32,
    },
}

/// A folder could not be given an identity.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is one by now.
    #[error("the data folder has an identity already: start the node on it, or name an empty folder")]
    Taken,
    /// The folder has something that no node puts there before it begins.
    #[error("the data folder has `{name}`, which is not the node's: name an empty folder")]
    OtherData {
        /// What it has.
        name: String,
    },
    /// Node numbers are from 1.
    #[error("a node's number is 0, and must be 1 or more")]
    Node,
}

/// A node could not begin another life.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The disk failed: the incarnation may be used up, and was given to nobody.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no next number.
    #[error("the node was started {} times and cannot be again: let a new node replace it", u64::MAX)]
    Exhausted,
}

/// A folder belongs to another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data folder belongs to cluster {found}, and the node is to be in {expected}: name that cluster's folder, or an \
     empty one and let the node join"
)]
pub struct ForeignCluster {
    /// Whose it is.
    pub found: ClusterId,
    /// Whose it was to be.
    pub expected: ClusterId,
}
