//! Who a node is and what it shows: the identity of its data folder, the cluster's authority, tokens for joining.
//!
//! | Part | Decides |
//! |---|---|
//! | [`root`] | the key that all nodes of a cluster have, and what is sealed under it |
//!
//! Times are arguments; randomness is the operating system's. Knows nothing of consensus, and opens no socket.

mod entropy;
pub mod root;
