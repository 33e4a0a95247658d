//! The flags with which a node is, or can become, a member of a cluster.
//!
//! Kept apart from [`super`] for their number. None of them means anything without `--peer-listen`; the three of a certificate
//! mean nothing without each other, which is said with the name of the one that is missing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use quorate_membership::address::Address;
use quorate_membership::handshake::Files;
use quorate_raft::Timing;
use quorate_types::ResourceName;
use quorate_types::units::parse_duration;

/// Flags of a node that is, or can become, a member of a cluster.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Where other nodes reach this one, over TLS. The node is a member of the cluster that its data folder is of; with an
    /// empty one it waits for `quorate cluster init` or `quorate cluster join`. Default: the node is alone.
    #[arg(long, value_name = "ADDRESS", requires = "data_dir", requires = "admin")]
    pub(crate) peer_listen: Option<SocketAddr>,
    /// The address under which other nodes reach this one, as HOST:PORT. Default: what it listens on.
    #[arg(long, value_name = "HOST:PORT", requires = "peer_listen")]
    pub(crate) peer_advertise: Option<Address>,
    /// What the node is called, unique in its cluster. Default: the name of the host.
    #[arg(long, value_name = "NAME", requires = "peer_listen", value_parser = ResourceName::new)]
    pub(crate) node_name: Option<ResourceName>,
    /// What fails together with the node: replicas are spread over racks. Default: none.
    #[arg(long, value_name = "NAME", requires = "peer_listen", value_parser = ResourceName::new)]
    pub(crate) rack: Option<ResourceName>,
    /// After how long without a leader at the latest another one is elected: 250ms to 30s, the same on every node of a
    /// cluster. Longer where nodes are far from each other, or on machines that are often busy for longer.
    #[arg(long, value_name = "DURATION", requires = "peer_listen", default_value = "400ms", value_parser = parse_election)]
    pub(crate) election_timeout: Timing,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
}

/// Where a node has its certificate from, in clusters that sign none.
#[derive(Debug, Args)]
pub(crate) struct CertificateArgs {
    /// The certificate of the node (PEM), and those above it, when somebody else than the cluster makes the certificates of nodes
    /// and operators. Which cluster and which node it is stands in it, as `quorate://CLUSTER/node/NUMBER`. All three files are
    /// read anew when they change. Default: the cluster makes the certificates of its nodes.
    #[arg(long, value_name = "FILE", requires = "peer_key", requires = "peer_authorities")]
    pub(crate) peer_certificate: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "peer_certificate", requires = "peer_authorities")]
    pub(crate) peer_key: Option<PathBuf>,
    /// The authorities whose certificates of nodes and operators are taken (PEM): 1 to 4.
    #[arg(long, value_name = "FILE", requires = "peer_certificate", requires = "peer_key")]
    pub(crate) peer_authorities: Option<PathBuf>,
}

// === impl CertificateArgs ===

impl CertificateArgs {
    /// The files, if there are some.
    pub(crate) fn files(&self) -> Option<Files> {
        Some(Files {
            certificate: self.peer_certificate.clone()?,
            key: self.peer_key.clone()?,
            authorities: self.peer_authorities.clone()?,
        })
    }
}

fn parse_election(text: &str) -> Result<Timing, String> {
    let timeout = parse_duration(text).map_err(|error| error.to_string())?;
    Timing::of_election_timeout(timeout).ok_or_else(|| "must be from 250ms to 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(flags: &[&str]) -> Result<PeerArgs, String> {
        let node = ["quorate", "serve", "--data-dir", "d", "--admin", "127.0.0.1:1", "--peer-listen", "127.0.0.1:2"];
        let parsed = Cli::try_parse_from(node.iter().chain(flags)).map_err(|error| error.to_string())?;
        match parsed.command {
            Command::Serve(args) => Ok(args.peers),
            _ => panic!("it serves"),
        }
    }

    #[test]
    fn the_files_of_a_certificate_are_named_all_or_none() {
        let all = [["--peer-certificate", "a"], ["--peer-key", "b"], ["--peer-authorities", "c"]];
        assert_eq!(parsed(&[]).unwrap().certificates.files(), None);
        let files = parsed(&all.concat()).unwrap().certificates.files().unwrap();
        assert_eq!([files.certificate, files.key, files.authorities], ["a", "b", "c"].map(PathBuf::from));
        for missing in 0..3 {
            let others: Vec<_> = (0..3).filter(|place| *place != missing).flat_map(|place| all[place]).collect();
            let refused = parsed(&others).unwrap_err();
            assert!(refused.contains(all[missing][0]), "{refused}");
        }
    }
}
