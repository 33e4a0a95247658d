//! Starts the node of a data folder: everything in the folder fits together, the log is whole, a new life begins.
//!
//! ```text
//! certificate (or its files), root key, cluster file ─▶ log ─▶ next incarnation ─▶ TLS, peers, groups ─▶ control plane ─▶ upkeep
//! ```
//!
//! **Invariants:** a folder whose log was ever written and is gone is refused. What was started of a node that cannot be
//! started is ended before the error is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_control::{Control, Machines};
use quorate_membership::handshake::{Accept, Credentials, Files, Trust, client, server};
use quorate_membership::home::{CLUSTER_FILE, Home, Identity, LOG_FOLDER};
use quorate_membership::identity::{PeerIdentity, peer_identity};
use quorate_membership::kept::{self, Kept};
use quorate_membership::root::{self, RootKey};
use quorate_membership::trust::Bundle;
use quorate_peer::Address as PeerAddress;
use quorate_raft::{Host, SNAPSHOT_MARKS};
use quorate_tls::NodeTls;
use quorate_types::NodeId;
use quorate_wal::{Folder, Running, Wal};
use tokio::sync::watch;

use crate::bootstrap;
use crate::clock::{draw, now};
use crate::error::OpenError;
use crate::known::Known;
use crate::member::{Failure, Member, Started};
use crate::settings::Settings;

/// Bytes of proposals that may be under way: about a second of what a disk takes.
const PROPOSAL_BYTES_MAX: usize = 64 << 20;
/// The folder with the snapshots of the groups.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// What a folder is opened with.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The folder, which is locked as long as this is there.
    pub(crate) disk: Arc<Folder>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) machines: Machines,
}

/// What a folder has beside its identity, with what its node shows.
pub(crate) struct Contents {
    pub(crate) credentials: Credentials,
    /// Whom the node trusts.
    pub(crate) bundle: Bundle,
    pub(crate) root: RootKey,
    pub(crate) known: Known,
}

/// What a folder has beside its identity and its certificate.
pub(crate) struct Rest {
    pub(crate) root: RootKey,
    pub(crate) known: Known,
}

/// The log of a node, and its writer.
pub(crate) struct Log {
    pub(crate) wal: Wal,
    writer: Running,
}

// === impl Ground ===

impl Ground {
    /// Starts the node that the folder is of.
    pub(crate) async fn start(&self, mut home: Home) -> Result<Member, OpenError> {
        if let Some(cluster) = self.settings.cluster {
            home.expect(cluster)?;
        }
        let contents = self.read(home.identity())?;
        let (failed, _) = watch::channel(None);
        let path = self.disk.path().join(LOG_FOLDER);
        let log = Log::open(path, home.identity(), contents.known.has_log, failed.clone()).await?;
        match self.run(&mut home, contents, &log.wal).await {
            Ok((control, started)) => Ok(Member::new(self, home, control, log, started, failed)),
            Err(error) => {
                log.close().await;
                Err(error)
            }
        }
    }

    /// Reads what the folder has, and whether it is all of one node.
    pub(crate) fn read(&self, identity: &Identity) -> Result<Contents, OpenError> {
        Contents::read(self.disk.path(), identity, self.settings.certificates.as_ref())
    }

    /// Begins the next life: peers, groups, control plane.
    async fn run(&self, home: &mut Home, contents: Contents, wal: &Wal) -> Result<(Arc<Control>, Started), OpenError> {
        let Contents { credentials, bundle, root, mut known } = contents;
        let incarnation = home.start()?;
        let Identity { cluster, node, .. } = *home.identity();
        let trust = Trust::new(cluster, bundle);
        let name = PeerIdentity::Node { cluster, node }.to_string();
        let (accepting, dialing) = (server(&credentials, &trust, Accept::Nodes), client(&credentials, &trust, None));
        let (level_min, level_max) = self.settings.levels;
        let peers = quorate_peer::Config {
            cluster,
            node,
            incarnation,
            levels: level_min..=level_max,
            listen: self.settings.peer_listen,
            tls: NodeTls::of_configs(accepting, dialing, vec![name]),
            limits: quorate_peer::DEFAULTS,
        };
        let config = quorate_raft::Config {
            timing: self.settings.timing,
            snapshots: SNAPSHOT_MARKS,
            folder: self.disk.path().join(SNAPSHOTS),
            proposal_bytes_max: PROPOSAL_BYTES_MAX,
            level_max,
            wal: wal.clone(),
        };
        let host = Host::start(config, peers).map_err(|error| of_host("the groups cannot be run", error))?;
        let config = quorate_control::Config {
            node,
            incarnation,
            start: draw(),
            levels: self.settings.levels,
            seeds: seeds(&known),
        };
        let machines = Arc::clone(&self.machines);
        let control = Control::start(config, Arc::new(host), machines).await;
        let control = control.map_err(|error| of_host("the meta group cannot be opened", error))?;
        if known.beginning.is_some() {
            bootstrap::finish(self, home.identity(), &control, &credentials.chain(), &mut known).await?;
        }
        Ok((control, Started { trust, credentials, root, known }))
    }
}

// === impl Contents ===

impl Contents {
    /// Reads what the folder has, and the files of its node's certificate where there are some; and whether it is all of one
    /// node.
    pub(crate) fn read(folder: &Path, identity: &Identity, files: Option<&Files>) -> Result<Self, OpenError> {
        let Rest { root, known } = Rest::read(folder, identity)?;
        let expected = PeerIdentity::Node { cluster: identity.cluster, node: identity.node };
        let (credentials, bundle) = match (files, known.from_files) {
            (None, false) => (Self::kept(folder, &expected)?, known.bundle.clone()),
            (Some(files), true) => {
                let loaded = files.read(now())?;
                if loaded.identity() != expected {
                    let (found, file) = (Box::new(loaded.identity()), files.certificate.clone());
                    return Err(OpenError::OthersFiles { file, found, expected: Box::new(expected) });
                }
                (loaded.credentials, loaded.bundle)
            }
            (None, true) => return Err(OpenError::FilesMissing),
            (Some(files), false) => return Err(OpenError::FilesUnused { file: files.certificate.clone() }),
        };
        Ok(Self { credentials, bundle, root, known })
    }

    /// What the folder itself has for its node to show.
    fn kept(folder: &Path, expected: &PeerIdentity) -> Result<Credentials, OpenError> {
        let kept = Kept::read(folder)?.ok_or(OpenError::Incomplete { name: kept::FILE })?;
        let shown = kept.chain.first().map(|leaf| peer_identity(leaf)).transpose()?;
        if let Some(shown) = shown.filter(|shown| shown != expected) {
            let (found, expected) = (shown.to_string(), expected.to_string());
            return Err(OpenError::Mixed { name: kept::FILE, found, expected });
        }
        Ok(Credentials::new(kept.chain, &kept.key)?)
    }
}

// === impl Rest ===

impl Rest {
    /// Reads it, and whether it is all of one cluster.
    pub(crate) fn read(folder: &Path, identity: &Identity) -> Result<Self, OpenError> {
        let known = Known::read(folder)?.ok_or(OpenError::Incomplete { name: CLUSTER_FILE })?;
        if known.cluster != identity.cluster {
            let (found, expected) = (known.cluster.to_string(), identity.cluster.to_string());
            return Err(OpenError::Mixed { name: CLUSTER_FILE, found, expected });
        }
        let path = folder.join(root::FILE);
        if !path.exists() {
            return Err(OpenError::Incomplete { name: root::FILE });
        }
        Ok(Self { root: RootKey::of_file(&path)?, known })
    }
}

// === impl Log ===

impl Log {
    /// Opens the log of a node, and begins to write it.
    pub(crate) async fn open(
        path: PathBuf,
        identity: &Identity,
        must_exist: bool,
        failed: watch::Sender<Option<Failure>>,
    ) -> Result<Self, OpenError> {
        // The id of the log: a log of another node of the cluster is refused as one of another cluster is.
        let id = u128::from_be_bytes(identity.cluster.0) ^ u128::from(identity.node.0);
        let open = move || {
            let disk = Folder::new(&path).map_err(|source| of_folder(path, source))?;
            let opened = quorate_wal::open(Arc::new(disk), quorate_wal::DEFAULTS, id, must_exist);
            let opened = opened.map_err(|error| match error {
                quorate_wal::OpenError::Missing => OpenError::LogMissing,
                error => OpenError::Log(error),
            })?;
            let on_failed = move |log: &quorate_wal::Failed| {
                failed.send_if_modified(|failure| {
                    let is_first = failure.is_none();
                    failure.get_or_insert_with(|| Failure::Log { reason: log.reason.clone() });
                    is_first
                });
            };
            let spawned = opened.writer.spawn(on_failed).map_err(|error| of_host("the writer of the log", error))?;
            Ok(Self { wal: opened.wal, writer: spawned })
        };
        tokio::task::spawn_blocking(open).await.map_err(|error| of_host("opening the log", error))?
    }

    /// Closes the log, and waits until its last batch is written.
    pub(crate) async fn close(self) {
        self.wal.close();
        let joined = tokio::task::spawn_blocking(|| self.writer.join()).await;
        match joined {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => tracing::error!(reason = %failed.reason, "the log did not end as it should"),
            Err(error) => tracing::error!(%error, "the log did not end as it should"),
        }
    }
}

/// Whom a node dials until it has the catalog.
fn seeds(known: &Known) -> BTreeMap<NodeId, PeerAddress> {
    let seed = |(node, address): (&NodeId, &quorate_membership::address::Address)| {
        // Both are addresses, of which those of certificates are the stricter ones.
        Some((*node, address.to_string().parse().ok()?))
    };
    known.members.iter().filter_map(seed).collect()
}

pub(crate) fn of_folder(path: PathBuf, source: io::Error) -> OpenError {
    if source.kind() == io::ErrorKind::WouldBlock {
        OpenError::Locked { path }
    } else {
        OpenError::Folder { path, source }
    }
}

/// Keeps an error with its causes in one line.
fn of_host(what: &'static str, error: impl std::error::Error + 'static) -> OpenError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    OpenError::Host { what, source: text.into() }
}
