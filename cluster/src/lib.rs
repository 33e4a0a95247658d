//! Clusters of real processes on one machine, for tests, chaos and demonstrations.
//!
//! The network between the nodes is [`Net`]: each way between two nodes can be cut, delayed, healed and dropped.

mod net;
pub mod paths;
pub mod process;
pub mod wait;

pub use net::{Net, Place, Port};
