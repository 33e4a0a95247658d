//! Identifiers, units, timestamps, principals and error codes that every layer shares.
//!
//! The vocabulary of the workspace (layer L0): plain data with checking constructors, and the
//! sealing of identifiers that leave the node. Nothing here reads a clock, draws randomness or
//! does IO: times and entropy are arguments everywhere below layer L2.
//!
//! Deliberately small: a type belongs here only when crates of different layers exchange it.

pub mod cluster;
pub mod code;
pub mod name;
pub mod principal;
pub mod rfc3339;
pub mod seal;
pub mod secret;
pub mod timestamp;
pub mod units;
pub mod uri_template;

pub use cluster::{ClusterId, Incarnation, NodeId};
pub use code::Code;
pub use name::{ResourceName, TenantId};
pub use principal::{Actor, Principal, PrincipalDigest, User};
pub use seal::Sealer;
pub use secret::Secret;
pub use timestamp::Timestamp;
pub use units::ByteSize;
