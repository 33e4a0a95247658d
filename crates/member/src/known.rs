//! What a node knows of its cluster before it has the catalog: the file `cluster` of its data folder.
//!
//! Whom it trusts, whom it dials first, and what is still to be done of a cluster that is being made. Written beside its
//! place, synced and renamed, and its owner's alone, so that a crash leaves the old content or the new one.
//!
//! ```text
//! file ::= "QCLU" ‖ crc32(KnownCluster) ‖ KnownCluster in protobuf     (u32 little-endian)
//! ```

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use prost::Message;
use quorate_membership::address::Address;
use quorate_membership::home::CLUSTER_FILE;
use quorate_membership::trust::{AuthorityId, Bundle};
use quorate_proto::membership::v1;
use quorate_types::{ClusterId, NodeId};

const MAGIC: &[u8; 4] = b"QCLU";
const HEADER_BYTES: usize = 8;
const MODE: u32 = 0o600;
/// Bytes of the file: four certificates of 16 KiB, a sealed key of 4 KiB, and addresses.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) cluster: ClusterId,
    /// Whom the cluster trusts; where certificates come from files, whom it did when the node began.
    pub(crate) bundle: Bundle,
    /// Whom it dials until it has the catalog.
    pub(crate) members: BTreeMap<NodeId, Address>,
    pub(crate) beginning: Option<Beginning>,
    /// Whether the node's log was ever written.
    pub(crate) has_log: bool,
    /// Whether certificates come from files.
    pub(crate) from_files: bool,
}

/// A cluster that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) groups: u32,
    pub(crate) replication: u32,
    pub(crate) level: u32,
    /// Who signs certificates; nobody where they come from files.
    pub(crate) authority: Option<Sealed>,
}

/// An authority, sealed under the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) id: AuthorityId,
    pub(crate) sealed: Vec<u8>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged: {what}. Restore the folder whole, or start the node with an empty one and let it replace this node",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        what: &'static str,
    },
}

// === impl Known ===

impl Known {
    /// Reads what is known, if anything is.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, KnownError> {
        let path = folder.join(CLUSTER_FILE);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KnownError::System { action: "open", path, source }),
        };
        let mut bytes = Vec::new();
        if let Err(source) = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes) {
            return Err(KnownError::System { action: "read", path, source });
        }
        decode(&bytes).map(Some).map_err(|what| KnownError::Damaged { path, what })
    }

    /// Keeps it in the place of what was known before; durable when this returns.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), KnownError> {
        let path = folder.join(CLUSTER_FILE);
        write(folder, &path, &self.encode()).map_err(|source| KnownError::System { action: "write", path, source })
    }

    fn encode(&self) -> Vec<u8> {
        let voter = |(node, address): (&NodeId, &Address)| v1::Voter { node: node.0, address: address.to_string() };
        let beginning = |beginning: &Beginning| {
            let authority = beginning.authority.as_ref();
            v1::Beginning {
                groups: beginning.groups,
                replication: beginning.replication,
                level: beginning.level,
                authority: authority.map(|authority| authority.id.0.to_vec().into()).unwrap_or_default(),
                sealed: authority.map(|authority| authority.sealed.clone().into()).unwrap_or_default(),
            }
        };
        let message = v1::KnownCluster {
            cluster: self.cluster.0.to_vec().into(),
            bundle: self.bundle.certificates().map(|certificate| certificate.to_vec().into()).collect(),
            members: self.members.iter().map(voter).collect(),
            beginning: self.beginning.as_ref().map(beginning),
            has_log: self.has_log,
            from_files: self.from_files,
        };
        let payload = message.encode_to_vec();
        [MAGIC.as_slice(), &crc32fast::hash(&payload).to_le_bytes(), &payload].concat()
    }
}

fn decode(bytes: &[u8]) -> Result<Known, &'static str> {
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or("it is cut off")?;
    let (magic, checksum) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it begins otherwise");
    }
    if crc32fast::hash(payload).to_le_bytes() != checksum {
        return Err("it has not the checksum it was written with");
    }
    let message = v1::KnownCluster::decode(payload).map_err(|_| "it cannot be read")?;
    let member = |voter: &v1::Voter| Some((NodeId(voter.node), voter.address.parse().ok()?));
    let certificates = message.bundle.iter().map(|der| der.to_vec().into());
    Ok(Known {
        cluster: ClusterId::from_slice(&message.cluster).map_err(|_| "its cluster has no id")?,
        bundle: Bundle::new(certificates).map_err(|_| "it trusts nobody")?,
        members: message.members.iter().map(member).collect::<Option<_>>().ok_or("a member has no address")?,
        beginning: message.beginning.as_ref().map(decode_beginning).transpose()?,
        has_log: message.has_log,
        from_files: message.from_files,
    })
}

fn decode_beginning(message: &v1::Beginning) -> Result<Beginning, &'static str> {
    let authority = match (message.authority.as_ref(), message.sealed.as_ref()) {
        ([], []) => None,
        (id, sealed) => {
            let id = id.try_into().map(AuthorityId).map_err(|_| "its authority has no id")?;
            Some(Sealed { id, sealed: sealed.to_vec() })
        }
    };
    Ok(Beginning { groups: message.groups, replication: message.replication, level: message.level, authority })
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!("{CLUSTER_FILE}.{}.new", std::process::id()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {} // One of a process that crashed, or none.
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use quorate_membership::authority::Authority;
    use quorate_types::Timestamp;

    use super::*;

    fn known() -> Known {
        let cluster = ClusterId([7; 16]);
        let authority = Authority::mint(cluster, Timestamp::from_millis(1_795_673_237_000)).unwrap();
        let sealed = Sealed { id: authority.id(), sealed: vec![9; 300] };
        let beginning = Beginning { groups: 32, replication: 3, level: 1, authority: Some(sealed) };
        let members = [(NodeId(1), "127.0.0.1:4192".parse().unwrap()), (NodeId(3), "[::1]:9".parse().unwrap())];
        Known {
            cluster,
            bundle: Bundle::new([authority.anchor().clone()]).unwrap(),
            members: members.into(),
            beginning: Some(beginning),
            has_log: false,
            from_files: false,
        }
    }

    #[test]
    fn what_is_known_is_read_as_it_was_kept_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Known::read(folder.path()).unwrap(), None);
        fs::write(folder.path().join(format!("cluster.{}.new", std::process::id())), "of a crash").unwrap();
        let first = known();
        first.keep(folder.path()).unwrap();
        assert_eq!(Known::read(folder.path()).unwrap(), Some(first.clone()));

        let of_files = Known {
            beginning: Some(Beginning { groups: 32, replication: 3, level: 3, authority: None }),
            from_files: true,
            ..first.clone()
        };
        for next in [of_files, Known { beginning: None, has_log: true, ..first }] {
            next.keep(folder.path()).unwrap();
            assert_eq!(Known::read(folder.path()).unwrap(), Some(next));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_with_one_bit_changed_is_refused_with_the_way_out() {
        let whole = known().encode();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CLUSTER_FILE), &whole[..100]).unwrap();
        let refusal = Known::read(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains("is damaged") && refusal.contains("start the node with an empty one"), "{refusal}");
    }
}
