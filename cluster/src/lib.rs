//! Clusters of real processes on one machine, for tests, chaos and demonstrations.
//!
//! A [`Cluster`] is nodes of the binary under test, which are started, stopped, killed, held still and asked as an operator
//! does. The network between them is [`Net`]: each way between two nodes can be cut, delayed, healed and dropped.

mod cluster;
mod net;
mod options;
pub mod paths;
mod ports;
pub mod process;
mod shards;
pub mod wait;

pub use cluster::{Cluster, Operator, Said, leader, nodes};
pub use net::{Net, Place, Port};
pub use options::Options;
pub use ports::free_address;
pub use shards::{is_well, nothing_is_wrong, shard_leader};
