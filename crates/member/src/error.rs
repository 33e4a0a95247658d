//! Why a folder cannot be opened, begun, or taken into a cluster, with the way out.
//!
//! One enum per operation. Readers are operators: each message says what was found and what can be done. Nothing here has
//! anything of a key or a token.

use crate::settings::InvalidSettings;

/// A data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is not allowed.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

/// A folder that waits was not made a new cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It is a member by now.
    #[error("this node is a member of a cluster already")]
    Member,
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A folder that waits was not taken into a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is a member by now.
    #[error("this node is a member of a cluster already")]
    Member,
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A node that asks to join is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The request cannot be read.
    #[error("the request to join cannot be read")]
    Malformed,
}
