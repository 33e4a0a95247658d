//! Makes a new cluster, with a new id, of what one node of a lost one has.
//!
//! ```text
//! recover ─┬▶ Survivor: read, nothing changed ── draft in `recovery.new` ── renamed ─┐
//!          └▶ Halfway: an attempt that was renamed and not finished ─────────────────┴▶ its parts take their places
//! ```
//!
//! **Invariants:** until the draft is whole the folder is the old node's; from its renaming on it is refused by everybody
//! ([`check`]) until the new parts have their places, which an attempt after a crash goes on with. What was there before is
//! kept beside it. The new cluster has an authority of its own, so that no certificate of the old one is believed in it; or
//! certificates from files, which name it.

mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use quorate_catalog::{Catalog, Node, NodeState, Recovery, Refusal, outcome, proto};
use quorate_control::{Machines, Survey};
use quorate_membership::address::{Address, Host};
use quorate_membership::authority::{Authority, AuthorityError, MemberKey};
use quorate_membership::handshake::{Files, Loaded};
use quorate_membership::home::{self, Home, Identity, LOG_FOLDER};
use quorate_membership::kept::Kept;
use quorate_membership::root::RootKey;
use quorate_membership::trust::Bundle;
use quorate_raft::Found;
use quorate_types::{ClusterId, NodeId, ResourceName};
use quorate_wal::{Disk as _, Folder, GroupId};
use tokio::sync::watch;

use crate::authorities::{Authorities, PURPOSE, ROTATION, seal_first};
use crate::bootstrap::certificates;
use crate::clock::{draw, now};
use crate::error::{OpenError, RecoverError};
use crate::known::Known;
use crate::start::{Contents, Log, Rest, SNAPSHOTS, of_folder};

/// Where the new folder is made.
const DRAFT: &str = "recovery.new";

/// What a folder can be recovered from.
pub enum Recoverable {
    /// A node of a cluster that lost most of its nodes.
    Survivor(Box<Survivor>),
    /// A recovery that was not finished.
    Halfway(Halfway),
}

/// What a node has of its cluster. The folder is held, and nothing in it was changed.
pub struct Survivor {
    disk: Folder,
    identity: Identity,
    root: RootKey,
    survey: Survey,
    certificates: Certificates,
}

/// Who makes the certificates of the new cluster.
enum Certificates {
    /// The cluster; they live so long.
    Own(Duration),
    /// Somebody else, who made these.
    Files(Box<Loaded>),
    /// Somebody else, and none were named.
    Missing,
}

/// What a new cluster has of certificates.
struct New {
    cluster: ClusterId,
    bundle: Bundle,
    /// What the node shows.
    certificates: Vec<proto::Certificate>,
    /// The same with its key, where the cluster made it.
    kept: Option<Kept>,
    /// The key of the authority, for the catalog.
    put: Option<proto::RotateKey>,
}

/// A folder whose new parts are whole and have not all taken their places.
pub struct Halfway {
    disk: Folder,
    old: ClusterId,
}

/// A new cluster of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The cluster that was lost.
    pub old: ClusterId,
    /// Whose the folder is now.
    pub identity: Identity,
    /// Where everything is that was replaced: of use to nobody but for an inquiry, and as secret as before.
    pub kept: PathBuf,
    /// Whether its certificates come from files.
    pub from_files: bool,
}

/// Looks what can be recovered of the folder of a node that does not run. Where the certificates of its cluster come from
/// files, the new one's are in `files`.
///
/// # Errors
/// [`RecoverError`] when it is no node's, another process has it, or something in it is not what was written.
pub async fn recover(
    path: PathBuf,
    machines: Machines,
    levels: (u32, u32),
    certificate_lifetime: Duration,
    files: Option<&Files>,
) -> Result<Recoverable, RecoverError> {
    // A folder that is not there is not made.
    if !path.is_dir() {
        return Err(RecoverError::NotMember { path });
    }
    let disk = Folder::new(&path).map_err(|source| of_folder(path.clone(), source))?;
    let names = disk.names().map_err(|source| of_folder(path.clone(), source))?;
    if let Some(old) = names.iter().find_map(|name| swap::old_of(name)) {
        return Ok(Recoverable::Halfway(Halfway { disk, old }));
    }
    let home = match Home::open(Arc::new(disk.clone())).map_err(OpenError::from)? {
        home::Opened::Joined(home) => home,
        home::Opened::Empty(_) => return Err(RecoverError::NotMember { path }),
    };
    let identity = home.identity().clone();
    let Rest { root, known } = Rest::read(&path, &identity)?;
    let certificates = match (known.from_files, files) {
        (true, Some(files)) => Certificates::Files(Box::new(read_files(files, &identity)?)),
        (true, None) => Certificates::Missing,
        (false, Some(files)) => return Err(RecoverError::FilesUnused { file: files.certificate.clone() }),
        (false, None) => {
            // Whether it has what it shows.
            drop(Contents::read(&path, &identity, None)?);
            Certificates::Own(certificate_lifetime)
        }
    };
    if known.beginning.is_some() {
        return Err(RecoverError::Unfinished);
    }
    let (failed, _) = watch::channel(None);
    let log = Log::open(path.join(LOG_FOLDER), &identity, known.has_log, failed).await?;
    let survey = Survey::read(&log.wal, &path.join(SNAPSHOTS), &machines, levels.1).await;
    log.close().await;
    let survey = survey?;
    let level = survey.catalog().cluster().map_or(0, |cluster| cluster.level);
    if !(levels.0..=levels.1).contains(&level) {
        return Err(RecoverError::Level { level, known: levels });
    }
    Ok(Recoverable::Survivor(Box::new(Survivor { disk, identity, root, survey, certificates })))
}

/// Reads the files of a node for a new cluster.
fn read_files(files: &Files, identity: &Identity) -> Result<Loaded, RecoverError> {
    let loaded = files.read(now()).map_err(OpenError::from)?;
    if loaded.node == identity.node && loaded.cluster != identity.cluster {
        return Ok(loaded);
    }
    let (file, found) = (files.certificate.clone(), Box::new(loaded.identity()));
    Err(RecoverError::OtherFiles { file, found, node: identity.node, old: identity.cluster })
}

/// Refuses a folder with a recovery that was not finished.
pub(crate) fn check(disk: &Folder) -> Result<(), OpenError> {
    let names = disk.names().map_err(|source| of_folder(disk.path().to_owned(), source))?;
    match names.into_iter().find(|name| swap::old_of(name).is_some()) {
        Some(name) => Err(OpenError::Recovering { name }),
        None => Ok(()),
    }
}

// === impl Survivor ===

impl Survivor {
    /// Whose the folder is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The catalog, as far as the node has it.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.survey.catalog()
    }

    /// How far each replica is: the meta group, then the shards by number.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.survey.found()
    }

    /// The shards that the node has no replica of: they begin empty.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<GroupId> {
        self.survey.missing()
    }

    /// The nodes of the cluster that are not in the new one.
    #[must_use]
    pub fn others(&self) -> Vec<(NodeId, ResourceName)> {
        let catalog = self.catalog();
        let lives = |node: &&Node| node.id != self.identity.node && node.state != NodeState::Removed;
        catalog.nodes().filter(lives).map(|node| (node.id, node.name.clone())).collect()
    }

    /// Makes the folder that of a new cluster of this node alone.
    ///
    /// # Errors
    /// [`RecoverError`]; the folder is the old node's then, or says that it is halfway and goes on with the next attempt.
    pub async fn make(self) -> Result<Recovered, RecoverError> {
        self.draft().await?.finish()
    }

    /// Makes the new parts, all of them, and has them be what the folder is.
    pub(crate) async fn draft(self) -> Result<Halfway, RecoverError> {
        if matches!(self.certificates, Certificates::Missing) {
            return Err(RecoverError::FilesMissing { node: self.identity.node });
        }
        let folder = self.disk.path().to_owned();
        let draft = folder.join(DRAFT);
        remove(&draft)?;
        let made = fs::DirBuilder::new().mode(0o700).create(&draft);
        made.map_err(|source| RecoverError::System { action: "make", path: draft.clone(), source })?;
        let (disk, old) = (self.disk.clone(), self.identity.cluster);
        if let Err(error) = self.write(&draft).await {
            // What it took of a full disk is given back; what matters is why it could not be made.
            let _ = remove(&draft);
            return Err(error);
        }
        swap::commit(&folder, DRAFT, old)?;
        Ok(Halfway { disk, old })
    }

    async fn write(self, draft: &Path) -> Result<(), RecoverError> {
        let Self { identity, root, survey, certificates, disk: _held } = self;
        let (hosts, peer) = addresses(&survey.catalog(), identity.node)?;
        let new = match certificates {
            Certificates::Own(lifetime) => New::minted(identity.node, &hosts, lifetime, &root)?,
            Certificates::Files(loaded) => New::with_files(*loaded),
            Certificates::Missing => return Err(RecoverError::FilesMissing { node: identity.node }),
        };
        let New { cluster, bundle, certificates, kept, put } = new;
        let identity = Identity { cluster, created: now(), ..identity };
        let vacant = match Home::open(Arc::new(folder(draft)?)).map_err(OpenError::from)? {
            home::Opened::Empty(vacant) => vacant,
            home::Opened::Joined(_) => return Err(RecoverError::InTheWay { path: draft.to_owned() }),
        };
        drop(vacant.begin_as(identity.clone())?);
        let from_files = kept.is_none();
        if let Some(kept) = kept {
            kept.keep(draft).map_err(OpenError::from)?;
        }
        let members = BTreeMap::from([(identity.node, peer)]);
        let known = Known { cluster, bundle, members, beginning: None, has_log: true, from_files };
        known.keep(draft).map_err(OpenError::from)?;

        let ended = [PURPOSE, ROTATION].map(|purpose| ResourceName::new(purpose).expect("it is a name")).into();
        let recovery = Recovery { cluster, node: identity.node, certificates, ended, at: now() };
        let (failed, _) = watch::channel(None);
        let log = Log::open(draft.join(LOG_FOLDER), &identity, false, failed).await?;
        let snapshots = draft.join(SNAPSHOTS);
        let finish = |catalog: &mut Catalog| put.map_or(Ok(()), |put| apply(catalog, put));
        let written = survey.write(&recovery, finish, &log.wal, &snapshots).await;
        log.close().await;
        written?;
        swap::sync(&snapshots)?;
        swap::sync(draft)
    }
}

// === impl New ===

impl New {
    /// With an authority of its own.
    fn minted(node: NodeId, hosts: &[Host], lifetime: Duration, root: &RootKey) -> Result<Self, RecoverError> {
        let cluster = ClusterId(draw());
        let authority = Authority::mint(cluster, now())?;
        let key = MemberKey::draw();
        let issued = authority.issue_node_for(lifetime, node, hosts, &key.public(), now());
        let kept = Kept { chain: issued.map_err(AuthorityError::from)?.chain, key };
        Ok(Self {
            cluster,
            bundle: Bundle::new([authority.anchor().clone()]).expect("an authority that was minted is one"),
            certificates: certificates(&kept.chain),
            kept: Some(kept),
            put: Some(Authorities::put(authority.id(), seal_first(&authority, root)?)),
        })
    }

    fn with_files(loaded: Loaded) -> Self {
        let Loaded { cluster, bundle, credentials, .. } = loaded;
        let certificates = certificates(&credentials.chain());
        Self { cluster, bundle, certificates, kept: None, put: None }
    }
}

// === impl Halfway ===

impl Halfway {
    /// The cluster that was lost.
    #[must_use]
    pub fn old(&self) -> ClusterId {
        self.old
    }

    /// Gives the new parts their places.
    ///
    /// # Errors
    /// [`RecoverError`]; the next attempt goes on.
    pub fn finish(self) -> Result<Recovered, RecoverError> {
        let Self { disk, old } = self;
        let kept = swap::finish(disk.path(), old)?;
        match Home::open(Arc::new(disk.clone())).map_err(OpenError::from)? {
            home::Opened::Joined(home) => {
                let known = Known::read(disk.path()).map_err(OpenError::from)?;
                let from_files = known.is_some_and(|known| known.from_files);
                Ok(Recovered { old, identity: home.identity().clone(), kept, from_files })
            }
            home::Opened::Empty(_) => Err(RecoverError::NotMember { path: disk.path().to_owned() }),
        }
    }
}

/// Gives a catalog the authority of its cluster.
fn apply(catalog: &mut Catalog, put: proto::RotateKey) -> Result<(), Refusal> {
    let level = catalog.cluster().map_or(0, |cluster| cluster.level);
    let command = proto::Command { level, kind: Some(proto::command::Kind::RotateKey(put)) };
    let applied = catalog.apply(catalog.time(), &command.encode_to_vec());
    outcome(&applied.outcome).map(drop)
}

/// Where a node is reached, as the catalog says: the hosts of its certificate, and its address for other nodes.
fn addresses(catalog: &Catalog, node: NodeId) -> Result<(Vec<Host>, Address), RecoverError> {
    let known = catalog.node(node).map(|node| node.addresses.clone());
    let known = known.ok_or(RecoverError::Survey(quorate_control::SurveyError::NoCatalog))?;
    let parse = |text: &String| text.parse().map_err(|_| RecoverError::Address { address: text.clone() });
    let peer: Address = parse(&known.peer)?;
    let others = known.admin.iter().chain(&known.data).map(parse).collect::<Result<Vec<Address>, _>>()?;
    let hosts: BTreeSet<Host> = others.iter().chain([&peer]).map(|address| address.host().clone()).collect();
    Ok((hosts.into_iter().collect(), peer))
}

fn folder(path: &Path) -> Result<Folder, RecoverError> {
    Folder::new(path).map_err(|source| of_folder(path.to_owned(), source).into())
}

/// Removes what is left of an attempt that did not come to its end.
fn remove(draft: &Path) -> Result<(), RecoverError> {
    match fs::remove_dir_all(draft) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RecoverError::System { action: "remove", path: draft.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
