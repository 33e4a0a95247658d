//! Whose a data folder is: the file `node`, which a node writes once and counts its starts in.
//!
//! ```text
//! Home::open ─▶ Empty(Vacant) ── begin ──▶ Home ── start ──▶ the incarnation of this life
//!          └──▶ Joined(Home) ──────────────▲
//! ```
//!
//! **Invariants:** a crash leaves the old identity or the new one; an incarnation is given once, also when a disk loses or
//! damages what it kept; an empty folder becomes a node's by [`Vacant::begin`] alone, which somebody must have asked for.
//! Knows nothing of what else lies in the folder, but that a folder with a log has an identity.

mod error;
mod slot;

use std::fmt;
use std::io;
use std::sync::Arc;

use quorate_types::{ClusterId, Incarnation, NodeId, ResourceName, Timestamp, rfc3339};
use quorate_wal::{Disk, File};

pub use self::error::{BeginError, DiskError, ForeignCluster, OpenError, StartError};
use self::slot::{FORMAT, SLOT_BYTES, Slot};

/// The file with the identity.
pub const FILE: &str = "node";
/// The folder of the log, which makes a folder without identity suspect.
pub const LOG_FOLDER: &str = "wal";

/// The file with what a node knows of its cluster before it has the catalog; kept by who opens folders.
pub const CLUSTER_FILE: &str = "cluster";

/// Where the file is made, before it has its name.
const DRAFT: &str = "node.new";
/// What may be there before a node begins: the folder's lock, a draft of a start that crashed, what is kept before (the
/// root key, the certificate, and what is known of the cluster) and drafts of that, what a node that waits has (its audit
/// log and its socket), and what file systems put at their root.
const BEFORE: [&str; 8] =
    ["lock", DRAFT, crate::root::FILE, crate::kept::FILE, CLUSTER_FILE, "audit", "admin.sock", "lost+found"];

/// Whose a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node, from 1.
    pub node: NodeId,
    /// The last life that was given; 0 before the first.
    pub incarnation: Incarnation,
    /// When the folder was begun.
    pub created: Timestamp,
    /// What people call the node.
    pub name: ResourceName,
}

/// What a folder has.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: nobody's folder, until somebody asks for a node in it.
    Empty(Vacant),
    /// A node.
    Joined(Home),
}

/// A folder that is nobody's.
pub struct Vacant {
    disk: Arc<dyn Disk>,
}

/// A node's folder.
pub struct Home {
    file: Arc<dyn File>,
    identity: Identity,
    /// The slot that is written next: it has the older identity, or none.
    next: usize,
    /// Whether the next slot may have had a later incarnation than is known.
    is_in_doubt: bool,
}

// === impl Home ===

impl Home {
    /// Reads whose a folder is.
    ///
    /// # Errors
    /// [`OpenError`] when that cannot be told, or must not be guessed.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Opened, OpenError> {
        let names = disk.names().map_err(failed("list", FILE))?;
        if !names.iter().any(|name| name == FILE) {
            return match names.into_iter().find(|name| name == LOG_FOLDER) {
                Some(name) => Err(OpenError::NoIdentity { name }),
                None => Ok(Opened::Empty(Vacant { disk })),
            };
        }
        let file = disk.open(FILE).map_err(failed("open", FILE))?;
        if file.bytes().map_err(failed("look at", FILE))? != 2 * SLOT_BYTES as u64 {
            return Err(OpenError::Damaged { what: "it has another length" });
        }
        let mut bytes = [0; 2 * SLOT_BYTES];
        read_exact(&*file, &mut bytes).map_err(failed("read", FILE))?;
        let (first, second) = bytes.split_at(SLOT_BYTES);
        Self::of_slots(file, slot::decode(first), slot::decode(second)).map(Opened::Joined)
    }

    fn of_slots(file: Arc<dyn File>, first: Slot, second: Slot) -> Result<Self, OpenError> {
        let (identity, other, next) = match (first, second) {
            (Slot::Newer(found), _) | (_, Slot::Newer(found)) => return Err(OpenError::Newer { found, known: FORMAT }),
            (Slot::Valid(first), Slot::Valid(second)) => {
                if first.with_incarnation(second.incarnation) != second {
                    return Err(OpenError::Damaged { what: "it has two identities" });
                }
                let is_first_newer = first.incarnation > second.incarnation;
                let newer = if is_first_newer { first } else { second };
                return Ok(Self { file, identity: newer, next: usize::from(is_first_newer), is_in_doubt: false });
            }
            (Slot::Valid(identity), other) => (identity, other, 1),
            (other, Slot::Valid(identity)) => (identity, other, 0),
            (Slot::Blank | Slot::Bad, Slot::Blank | Slot::Bad) => {
                return Err(OpenError::Damaged {
                    what: "neither of its two copies has the checksum it was written with",
                });
            }
        };
        // Before the first start nothing else was ever written; later there were always two.
        let is_new = other == Slot::Blank && identity.incarnation == Incarnation(0);
        Ok(Self { file, identity, next, is_in_doubt: !is_new })
    }

    /// Begins the node's next life: durable before it is given, so that no two lives have the same number.
    ///
    /// # Errors
    /// [`StartError`] when it could not be made durable. The folder must be opened again then.
    pub fn start(&mut self) -> Result<Incarnation, StartError> {
        // A damaged copy may have had the next number, and may have given it.
        let step = if self.is_in_doubt { 2 } else { 1 };
        let next = self.identity.incarnation.0.checked_add(step).ok_or(StartError::Exhausted)?;
        let identity = self.identity.with_incarnation(Incarnation(next));
        let bytes = slot::encode(&identity);
        self.write(&bytes)?;
        if self.is_in_doubt {
            // The other copy is two behind: would the new one be damaged in turn, its number were given again.
            self.write(&bytes)?;
        }
        (self.identity, self.is_in_doubt) = (identity, false);
        Ok(self.identity.incarnation)
    }

    /// Writes the next slot and makes it durable.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        write_all(&*self.file, bytes, (self.next * SLOT_BYTES) as u64).map_err(failed("write", FILE))?;
        self.file.sync().map_err(failed("sync", FILE))?;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Refuses a folder of another cluster.
    ///
    /// # Errors
    /// [`ForeignCluster`] names both.
    pub fn expect(&self, cluster: ClusterId) -> Result<(), ForeignCluster> {
        let found = self.identity.cluster;
        if found == cluster { Ok(()) } else { Err(ForeignCluster { found, expected: cluster }) }
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("identity", &self.identity).finish_non_exhaustive()
    }
}

// === impl Vacant ===

impl Vacant {
    /// Makes the folder a node's, as of `created`; durable when this returns. Its first life begins with [`Home::start`].
    ///
    /// # Errors
    /// [`BeginError`] when the folder is not empty, or the disk failed: it is nobody's then, or as it was asked for.
    pub fn begin(
        self,
        cluster: ClusterId,
        node: NodeId,
        name: ResourceName,
        created: Timestamp,
    ) -> Result<Home, BeginError> {
        self.begin_as(Identity { cluster, node, incarnation: Incarnation(0), created, name })
    }

    /// Makes the folder that of a node which had lives elsewhere, up to that of the identity: its next one is later.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_as(self, identity: Identity) -> Result<Home, BeginError> {
        let Self { disk } = self;
        if identity.node.0 == 0 {
            return Err(BeginError::Node);
        }
        let names = disk.names().map_err(failed("list", FILE))?;
        if names.iter().any(|name| name == FILE) {
            return Err(BeginError::Taken);
        }
        let is_draft = |name: &str| {
            let is_kept = ["root.", "node.pem.", "cluster."].iter().any(|of| name.starts_with(of));
            // The folder in which the socket of a process that crashed was made.
            name.ends_with(".new") && is_kept || name.starts_with(".admin.sock-")
        };
        if let Some(name) = names.iter().find(|name| !BEFORE.contains(&name.as_str()) && !is_draft(name)) {
            return Err(BeginError::OtherData { name: name.clone() });
        }
        if names.iter().any(|name| name == DRAFT) {
            disk.remove(DRAFT).map_err(failed("remove", DRAFT))?;
        }
        let file = disk.create(DRAFT, 2 * SLOT_BYTES as u64).map_err(failed("make", DRAFT))?;
        let mut home = Home { file, identity, next: 0, is_in_doubt: false };
        let bytes = slot::encode(&home.identity);
        home.write(&bytes)?;
        disk.rename(DRAFT, FILE).map_err(failed("name", FILE))?;
        disk.sync_names().map_err(failed("sync", FILE))?;
        Ok(home)
    }
}

impl fmt::Debug for Vacant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vacant")
    }
}

// === impl Identity ===

impl Identity {
    fn with_incarnation(&self, incarnation: Incarnation) -> Self {
        Self { incarnation, ..self.clone() }
    }
}

/// One line for people.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, incarnation, created, name } = self;
        let created = rfc3339::format(*created);
        write!(f, "node {node} ({name}) of cluster {cluster}, made {created}, started {incarnation} times")
    }
}

fn failed(action: &'static str, file: &'static str) -> impl Fn(io::Error) -> DiskError {
    move |source| DiskError { action, file, source }
}

fn read_exact(file: &dyn File, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_all(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
