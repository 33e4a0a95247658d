//! What a node is told about itself: where its data is, how it is called, and where it is reached.
//!
//! Plain values, checked once when the folder is opened; everything else a member knows is in its folder or in the catalog.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quorate_membership::address::{Address, Host};
use quorate_membership::authority::AuthorityPem;
use quorate_membership::handshake::Files;
use quorate_raft::Timing;
use quorate_types::{ClusterId, ResourceName};

/// What a node is told about itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is that must survive a restart.
    pub data_dir: PathBuf,
    /// What people call it; unique in its cluster.
    pub name: ResourceName,
    /// What fails together with it, where that is known.
    pub rack: Option<ResourceName>,
    /// Where it listens for other nodes.
    pub peer_listen: SocketAddr,
    /// Where other nodes reach it; the address it listens on when there is none, which must be one that others can use.
    pub peer_advertise: Option<Address>,
    /// Where operators and nodes that want to join reach it.
    pub admin_address: Address,
    /// Where clients reach it, if it says so.
    pub data_address: Option<Address>,
    /// The feature levels that this program can work at, lowest and highest.
    pub levels: (u32, u32),
    /// How long consensus waits.
    pub timing: Timing,
    /// How long a certificate of the node lives: 90 days by default, and tests have less.
    pub certificate_lifetime: Duration,
    /// Where the node has its certificate from, when nobody of the cluster signs any: in all nodes of a cluster, or in none.
    pub certificates: Option<Files>,
    /// The cluster that the folder must be of, when that is said.
    pub cluster: Option<ClusterId>,
    /// Whether a node that has to end and cannot is ended with its process. Not where a process has several.
    pub ends_process: bool,
}

/// What a new cluster is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapSettings {
    /// What the first node is called, when it is not what its own settings say.
    pub name: Option<ResourceName>,
    /// Shard groups, for good: 1 to 256.
    pub shards: u32,
    /// Replicas of a shard, where there are nodes enough: 1 to 9.
    pub replicas: u32,
    /// What signs its certificates, when an enterprise's authority signed it for the cluster; one of its own otherwise. None where
    /// certificates come from files.
    pub authority: Option<AuthorityPem>,
}

/// A value is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; allowed is {allowed}")]
pub struct InvalidSettings {
    /// Which one.
    pub field: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

// === impl Settings ===

impl Settings {
    /// Where other nodes reach this one.
    ///
    /// # Errors
    /// [`InvalidSettings`] when nothing is advertised and what is listened on is no address for others.
    pub fn peer_address(&self) -> Result<Address, InvalidSettings> {
        if let Some(address) = &self.peer_advertise {
            return Ok(address.clone());
        }
        let listen = self.peer_listen;
        let invalid = || InvalidSettings {
            field: "peer_advertise",
            value: format!("nothing, and {listen} is listened on"),
            allowed: "HOST:PORT under which other nodes reach this one",
        };
        if listen.ip().is_unspecified() || listen.port() == 0 {
            return Err(invalid());
        }
        listen.to_string().parse().map_err(|_| invalid())
    }

    /// The hosts under which the node is reached, each once: its certificate is for them.
    pub(crate) fn hosts(&self) -> Result<Vec<Host>, InvalidSettings> {
        let peer = self.peer_address()?;
        let mut hosts = vec![peer.host().clone(), self.admin_address.host().clone()];
        hosts.extend(self.data_address.as_ref().map(|address| address.host().clone()));
        hosts.sort();
        hosts.dedup();
        Ok(hosts)
    }
}
