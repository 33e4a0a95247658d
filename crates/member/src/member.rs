//! The handle of a member: what the rest of the node has of its place in the cluster.
//!
//! Cheap to clone. The member ends with [`Member::shutdown`], or at once with its last clone, as when its process is killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_catalog::{Catalog, OperatorId};
use quorate_control::Control;
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::home::{Home, Identity};
use quorate_membership::root::RootKey;
use quorate_membership::token::{JoinToken, TokenId};
use quorate_membership::trust::Bundle;
use quorate_raft::Group;
use quorate_types::{NodeId, ResourceName, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::authorities::Authorities;
use crate::error::AdmitError;
use crate::health::{Beats, FindingKind, Findings, Health, Pulse, Watched};
use crate::known::Known;
use crate::start::{Ground, Log};
use crate::{screen, upkeep};

/// How long a node that ends tries to hand over what it leads: elections take as long.
const HAND_OVER: Duration = Duration::from_secs(2);
/// And so much more for each group, since one is handed over after the other.
const HAND_OVER_EACH: Duration = Duration::from_millis(100);
/// How often it asks again: longer than a hand-over takes, which one more question would begin anew.
const HAND_OVER_LOOK: Duration = Duration::from_millis(200);

/// A member of a cluster.
#[derive(Clone)]
pub struct Member(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// The folder's lock among it.
    pub(crate) ground: Ground,
    pub(crate) control: Arc<Control>,
    pub(crate) trust: Trust,
    pub(crate) credentials: Credentials,
    pub(crate) root: RootKey,
    pub(crate) authorities: Authorities,
    pub(crate) identity: Identity,
    pub(crate) known: Mutex<Known>,
    pub(crate) findings: Findings,
    /// Places to wait for a token that is not known here.
    pub(crate) waiting: Semaphore,
    failed: watch::Sender<Option<Failure>>,
    log: Mutex<Option<Log>>,
    pulse: Mutex<Option<Pulse>>,
    loops: Mutex<Vec<AbortHandle>>,
    /// The file with the identity.
    _home: Home,
}

/// What was made when the node was started.
pub(crate) struct Started {
    pub(crate) trust: Trust,
    pub(crate) credentials: Credentials,
    pub(crate) root: RootKey,
    pub(crate) known: Known,
}

/// Why a node has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What its disk has is not known any more.
    #[error("the log failed: {reason}")]
    Log {
        /// What happened.
        reason: String,
    },
    /// Its threads do not work.
    #[error("work on requests is not scheduled any more")]
    Runtime,
    /// The cluster takes it no more.
    #[error(
        "the cluster does not take this node: {reason}. If its disk is an older copy, start the node with an empty folder, \
         and let it replace this node"
    )]
    Refused {
        /// What the cluster says.
        reason: String,
    },
    /// It was removed from the cluster.
    #[error("this node was removed from the cluster: to have it back, let it join with an empty folder")]
    Removed,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// For how long: 1 minute to 7 days.
    pub valid_for: Duration,
    /// The name that the node must have.
    pub name: Option<ResourceName>,
    /// The rack that it must be in.
    pub rack: Option<String>,
    /// Who asks for it, and why: at most 256 bytes.
    pub created_by: String,
}

/// A token that was issued; it is shown to who asked for it, once.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: JoinToken,
    /// What it is called.
    pub id: TokenId,
    /// From when on it opens nothing.
    pub expires: Timestamp,
}

/// What an operator shows, in PEM.
pub struct OperatorCertificate {
    /// Its certificate, and those above it.
    pub certificate: String,
    /// Its key: for the operator alone.
    pub key: zeroize::Zeroizing<String>,
    /// Whom the cluster trusts: nodes show certificates of these.
    pub bundle: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Which one it is.
    pub id: OperatorId,
}

// === impl Member ===

impl Member {
    /// Takes over a node that was started, and looks after it from now on.
    pub(crate) fn new(
        ground: &Ground,
        home: Home,
        control: Arc<Control>,
        log: Log,
        started: Started,
        failed: watch::Sender<Option<Failure>>,
    ) -> Self {
        let Started { trust, credentials, root, known } = started;
        let findings = Findings::new();
        let beats = Beats::default();
        let watched = Watched {
            wal: log.wal.clone(),
            folder: ground.disk.path().to_owned(),
            beats: beats.clone(),
            findings: findings.clone(),
            failed: failed.clone(),
            ends_process: ground.settings.ends_process,
        };
        let pulse = match Pulse::begin(watched) {
            Ok(pulse) => Some(pulse),
            Err(error) => {
                let message = format!("there is no thread that watches over this node: {error}");
                findings.set(FindingKind::Runtime, Some(message));
                None
            }
        };
        let identity = home.identity().clone();
        tracing::info!(%identity, peers = %control.host().peers().address(), "a member of its cluster");
        let inner = Arc::new(Inner {
            authorities: Authorities::new(identity.cluster, root.clone()),
            ground: ground.clone(),
            control,
            trust,
            credentials,
            root,
            identity,
            known: Mutex::new(known),
            findings,
            waiting: Semaphore::new(screen::WAITING_MAX),
            failed,
            log: Mutex::new(Some(log)),
            pulse: Mutex::new(pulse),
            loops: Mutex::default(),
            _home: home,
        });
        let loops = [tokio::spawn(beats.beat()), tokio::spawn(upkeep::run(Arc::downgrade(&inner)))];
        *inner.loops.lock().unwrap_or_else(PoisonError::into_inner) =
            loops.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        Self(inner)
    }

    /// The catalog, and commands that change it.
    #[must_use]
    pub fn control(&self) -> &Arc<Control> {
        &self.0.control
    }

    /// Whom the cluster trusts, as it changes.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// What the node shows, as it changes.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The key of the cluster.
    #[must_use]
    pub fn root_key(&self) -> &RootKey {
        &self.0.root
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Whether certificates of its cluster come from files.
    #[must_use]
    pub fn has_certificate_files(&self) -> bool {
        self.0.has_files()
    }

    /// How the node does.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.findings.watch()
    }

    /// Tells that the node has to end, and why. Whoever runs it ends it then, with [`Self::shutdown`] or without.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<Failure>> {
        self.0.failed.subscribe()
    }

    /// Hands over what this node leads, as far as others take it in time: before it stops serving, so that what it owns goes
    /// on elsewhere without a pause.
    pub async fn hand_over(&self) {
        hand_over(&self.0.control).await;
    }

    /// Ends the member: hands over what it leads, ends its groups and closes the log. Commands and reads that need the
    /// others fail from now on; the catalog can be read as it was.
    pub async fn shutdown(self) {
        let inner = &self.0;
        if inner.failed.borrow().is_none() {
            hand_over(&inner.control).await;
        }
        // What watches over the node stays until the last batch is written: what ends it may be what is stalled.
        inner.end_tasks();
        inner.control.end();
        for group in inner.control.host().groups() {
            if let Err(error) = inner.control.host().close(group.id()).await {
                tracing::warn!(group = %group.id(), %error, "a group did not end as it should");
            }
        }
        inner.control.host().peers().shut_down().await;
        let log = inner.log.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(log) = log {
            log.close().await;
        }
        inner.end_loops();
    }
}

// === impl Inner ===

impl Inner {
    /// Whether certificates of the cluster come from files.
    pub(crate) fn has_files(&self) -> bool {
        self.ground.settings.certificates.is_some()
    }

    /// Whom the cluster trusts: as a catalog says, or the file of this node.
    pub(crate) fn trusted(&self, catalog: &Catalog) -> Result<Bundle, AdmitError> {
        if self.has_files() { Ok((*self.trust.bundle()).clone()) } else { self.authorities.bundle(catalog) }
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            if is_first {
                tracing::error!("{failure}");
            }
            failed.get_or_insert(failure);
            is_first
        });
    }

    fn end_tasks(&self) {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }

    fn end_loops(&self) {
        self.end_tasks();
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_loops();
        let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = log.take() {
            // Its writer ends by itself.
            log.wal.close();
        }
    }
}

/// Hands over what this node leads, as far as others take it in time.
async fn hand_over(control: &Arc<Control>) {
    let handing = async {
        loop {
            if shed(control).await == 0 {
                return;
            }
            tokio::time::sleep(HAND_OVER_LOOK).await;
        }
    };
    let led = control.host().groups().iter().filter(|group| group.role().borrow().leads()).count();
    let patience = HAND_OVER + HAND_OVER_EACH * u32::try_from(led).unwrap_or(u32::MAX);
    if tokio::time::timeout(patience, handing).await.is_err() {
        tracing::info!("not all groups were taken over in {patience:?}: the others elect their leaders");
    }
}

/// Asks others to lead what this node leads; says how many groups have somebody who could.
pub(crate) async fn shed(control: &Arc<Control>) -> usize {
    let mut led = 0;
    for group in control.host().groups() {
        if !group.role().borrow().leads() {
            continue;
        }
        let Some(heir) = heir(control, &group) else { continue };
        led += 1;
        if let Err(error) = group.hand_over_to(heir).await {
            // It is asked again, or elected.
            tracing::debug!(group = %group.id(), %heir, %error, "a group was not handed over");
        }
    }
    led
}

/// A voter that could lead now; another one for each group, so that what a node led goes to all others.
fn heir(control: &Control, group: &Group) -> Option<NodeId> {
    let own = group.role().borrow().leader();
    let voters = group.members().voters.into_iter();
    let heirs: Vec<NodeId> =
        voters.filter(|node| Some(*node) != own && group.can_follow(*node) && !control.sheds(*node)).collect();
    let turn = usize::try_from(group.id().0).unwrap_or_default().checked_rem(heirs.len())?;
    heirs.get(turn).copied()
}
