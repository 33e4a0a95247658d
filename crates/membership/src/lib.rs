//! Who a node is and what it shows: the identity of its data folder, the cluster's authority, tokens for joining.
//!
//! | Part | Decides |
//! |---|---|
//! | [`home`], [`kept`] | whose a data folder is, which life of its node begins, and what the node shows |
//! | [`root`] | the key that all nodes of a cluster have, and what is sealed under it |
//! | [`authority`], [`rotation`] | who gets a certificate, and how authorities replace each other |
//! | [`identity`], [`trust`], [`handshake`] | who presents a certificate, and whether it is taken |
//! | [`token`], [`join`] | who may become a node, and what it gets |
//!
//! Times are arguments; randomness is the operating system's. Knows nothing of consensus, and opens no socket.

pub mod address;
pub mod authority;
mod entropy;
pub mod handshake;
pub mod home;
pub mod identity;
pub mod join;
pub mod kept;
pub mod pem;
pub mod root;
pub mod rotation;
pub mod token;
pub mod trust;
