//! What the nodes of a local cluster are called and where they are: chosen once, kept in the data directory.
//!
//! ```text
//! DIR/nodes.json     this plan
//! DIR/node-1 …       the data directory of each node
//! DIR/context.yaml   the first operator's context, with its files
//! ```
//!
//! Nodes know each other by address, so that a cluster is started again as it was. Between choosing a free port
//! and using it somebody else could take it, which the node's log says then.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use quorate_runtime::entropy;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::run::shown;

const FILE: &str = "nodes.json";
/// Bytes of the file; one of five nodes has 1 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The ports that nodes get: below those that systems give to connections, so that none of those has the port of a node that
/// is down and comes back.
const PORT_MIN: u16 = 12_000;
const PORTS: u16 = 20_000;

/// Finds free ports, and holds all that it found until it is dropped, so that none is given twice.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
    held: Vec<TcpListener>,
}

/// The nodes of a local cluster, the first one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Planned>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    pub(crate) name: String,
    /// Where it serves MCP.
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) peer: SocketAddr,
}

// === impl Plan ===

impl Plan {
    /// The plan of a directory: the one that is there, which must fit, or a new one that is kept there.
    pub(crate) fn of_dir(dir: &Path, count: u8, listen: SocketAddr, admin: SocketAddr) -> Result<Self, Failure> {
        let file = dir.join(FILE);
        match fs::metadata(&file) {
            Ok(_) => {
                let plan = Self::read(&file)?;
                plan.expect(dir, count, listen, admin)?;
                Ok(plan)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
                    let message = format!("{} has files, and none of a local cluster", shown(dir));
                    return Err(Failure::new(Exit::Usage, message).advise("name an empty or a new directory"));
                }
                let plan = Self::choose(count, listen, admin)
                    .map_err(|error| Failure::new(Exit::Failure, format!("there are no free ports: {error}")))?;
                plan.write(&file)
                    .map_err(|error| Failure::new(Exit::Failure, format!("cannot write {}: {error}", shown(&file))))?;
                Ok(plan)
            }
            Err(error) => Err(Failure::new(Exit::Failure, format!("cannot read {}: {error}", shown(&file)))),
        }
    }

    fn choose(count: u8, listen: SocketAddr, admin: SocketAddr) -> io::Result<Self> {
        let mut ports = Ports::new();
        let mut nodes = Vec::new();
        for number in 1..=count {
            let is_first = number == 1;
            nodes.push(Planned {
                name: format!("node-{number}"),
                listen: if is_first && listen.port() != 0 { listen } else { ports.free()? },
                admin: if is_first && admin.port() != 0 { admin } else { ports.free()? },
                peer: ports.free()?,
            });
        }
        Ok(Self { nodes })
    }

    fn read(file: &Path) -> Result<Self, Failure> {
        let invalid = |what: String| Failure::new(Exit::Config, format!("{}: {what}", shown(file)));
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        if bytes > FILE_BYTES_MAX {
            return Err(invalid(format!("has {bytes} bytes, and may have {FILE_BYTES_MAX}")));
        }
        let text = fs::read_to_string(file).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("texts and addresses are JSON");
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    }

    /// Refuses to start a cluster otherwise than it was.
    fn expect(&self, dir: &Path, count: u8, listen: SocketAddr, admin: SocketAddr) -> Result<(), Failure> {
        let Some(first) = self.nodes.first() else {
            return Err(Failure::new(Exit::Config, format!("{} has no nodes", shown(&dir.join(FILE)))));
        };
        let fits = |asked: SocketAddr, is: SocketAddr| asked == is || (asked.port() == 0 && asked.ip() == is.ip());
        if self.nodes.len() == usize::from(count) && fits(listen, first.listen) && fits(admin, first.admin) {
            return Ok(());
        }
        let message = format!(
            "{} has a cluster of {} nodes, whose first one listens on {} with its admin address on {}",
            shown(dir),
            self.nodes.len(),
            first.listen,
            first.admin
        );
        Err(Failure::new(Exit::Usage, message).advise(format!(
            "start it as it was: quorate up --nodes {} --data-dir {} --listen {} --admin {}",
            self.nodes.len(),
            shown(dir),
            first.listen,
            first.admin
        )))
    }
}

// === impl Ports ===

impl Ports {
    pub(crate) fn new() -> Self {
        // From somewhere else in each process, so that clusters that start at once do not try the same ones.
        Self { next: u16::from_le_bytes(entropy::secret()) % PORTS, held: Vec::new() }
    }

    /// Finds an address of loopback that nobody listens on.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn free(&mut self) -> io::Result<SocketAddr> {
        for _ in 0..PORTS {
            let port = PORT_MIN + self.next % PORTS;
            self.next = (self.next + 1) % PORTS;
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                let address = listener.local_addr()?;
                self.held.push(listener);
                return Ok(address);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

// === impl Planned ===

impl Planned {
    /// Its data directory.
    pub(crate) fn data_dir(&self, dir: &Path) -> PathBuf {
        dir.join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4290);
    const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4291);

    #[test]
    fn a_plan_is_made_once_and_no_port_twice() {
        let dir = tempfile::tempdir().unwrap();

        let plan = Plan::of_dir(dir.path(), 3, LISTEN, ADMIN).unwrap();

        assert_eq!(Plan::of_dir(dir.path(), 3, LISTEN, ADMIN).unwrap(), plan);
        assert_eq!((plan.nodes[0].listen, plan.nodes[0].admin), (LISTEN, ADMIN));
        let ports: std::collections::BTreeSet<u16> =
            plan.nodes.iter().flat_map(|node| [node.listen, node.admin, node.peer]).map(|one| one.port()).collect();
        assert_eq!(ports.len(), 9);
    }

    #[test]
    fn no_connection_gets_the_port_of_a_node_by_itself() {
        let mut ports = Ports::new();
        let found: std::collections::BTreeSet<u16> = (0..20).map(|_| ports.free().unwrap().port()).collect();

        assert_eq!(found.len(), 20);
        assert!(found.iter().all(|port| (PORT_MIN..PORT_MIN + PORTS).contains(port)), "{found:?}");
    }

    #[test]
    fn another_number_of_nodes_is_refused_with_how_it_was() {
        let dir = tempfile::tempdir().unwrap();
        Plan::of_dir(dir.path(), 3, LISTEN, ADMIN).unwrap();

        let refused = Plan::of_dir(dir.path(), 5, LISTEN, ADMIN).unwrap_err();

        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.advice.unwrap().contains("--nodes 3"));
        let elsewhere = SocketAddr::new(LISTEN.ip(), 1);
        assert!(Plan::of_dir(dir.path(), 3, elsewhere, ADMIN).is_err());
    }

    #[test]
    fn a_directory_with_files_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();

        let refused = Plan::of_dir(dir.path(), 3, LISTEN, ADMIN).unwrap_err();

        assert!(refused.message.contains("none of a local cluster"), "{}", refused.message);
    }
}
