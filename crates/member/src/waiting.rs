//! A folder that is opened: a member's, or one that waits to become one.
//!
//! An empty folder waits, also over restarts, until an operator says what it is to be. One thing is done at a time; what was
//! begun here and failed halfway goes on with the next attempt, or when the node is started again.

use std::sync::Arc;
use std::time::Duration;

use quorate_control::Machines;
use quorate_membership::home::{self, Home};
use quorate_membership::identity::Role;
use quorate_membership::token::JoinToken;
use quorate_types::ResourceName;
use quorate_wal::Folder;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::bootstrap;
use crate::clock::now;
use crate::error::{BootstrapError, JoinError, OpenError};
use crate::join;
use crate::member::{Member, OperatorCertificate};
use crate::recover;
use crate::settings::{BootstrapSettings, Settings};
use crate::start::{Ground, of_folder};

/// How long the first operator's certificate lives: 90 days, as the node's; it makes others meanwhile.
const OPERATOR_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// What the first operator is called.
const OPERATOR: &str = "admin";

/// What a folder is.
pub enum Opened {
    /// Nobody's: it waits.
    Waiting(Waiting),
    /// A member's.
    Member(Member),
}

/// A folder that is nobody's, and is held so that nobody else takes it.
pub struct Waiting {
    ground: Ground,
    /// Held by what is done now.
    turn: Mutex<()>,
    became: watch::Sender<Option<Member>>,
}

/// Opens a data folder: starts the node that it is of, or waits when it is empty. Files of a certificate have to be good also
/// where it waits: they are what it begins or joins with.
///
/// # Errors
/// [`OpenError`] says why it cannot be used, and the way out.
pub async fn open(settings: Settings, machines: Machines) -> Result<Opened, OpenError> {
    settings.peer_address()?;
    let path = settings.data_dir.clone();
    let disk = Folder::new(&path).map_err(|source| of_folder(path, source))?;
    recover::check(&disk)?;
    let ground = Ground { disk: Arc::new(disk), settings: Arc::new(settings), machines };
    match Home::open(Arc::clone(&ground.disk) as Arc<_>)? {
        home::Opened::Joined(home) => Ok(Opened::Member(ground.start(home).await?)),
        home::Opened::Empty(_) => {
            if let Some(files) = &ground.settings.certificates {
                drop(files.read(now())?);
            }
            Ok(Opened::Waiting(Waiting { ground, turn: Mutex::new(()), became: watch::Sender::new(None) }))
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Whether its certificate comes from files, and nobody in its cluster gets one from it.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.ground.settings.certificates.is_some()
    }

    /// Makes a new cluster of this node alone, which gets the number 1, and the certificate of its first operator, an
    /// admin. Where certificates come from files, the node has the number of its own, and no operator gets one. A cluster
    /// that was begun here and not finished goes on as it was begun.
    ///
    /// # Errors
    /// [`BootstrapError`]; the folder waits further on, or is a node's that goes on when this is asked again, or when it is
    /// started again.
    pub async fn bootstrap(
        &self,
        asked: BootstrapSettings,
    ) -> Result<(Member, Option<OperatorCertificate>), BootstrapError> {
        let _turn = self.turn(BootstrapError::Busy, BootstrapError::Member)?;
        let home = match Home::open(Arc::clone(&self.ground.disk) as Arc<_>).map_err(OpenError::from)? {
            home::Opened::Empty(vacant) => bootstrap::begin(&self.ground, vacant, &asked)?,
            home::Opened::Joined(home) => {
                // Taken into a cluster by an attempt that could not start it: that is what goes on.
                let is_begun = self.ground.read(home.identity())?.known.beginning.is_some();
                if !is_begun {
                    return Err(BootstrapError::Member);
                }
                home
            }
        };
        let member = self.ground.start(home).await?;
        self.became.send_replace(Some(member.clone()));
        if member.0.has_files() {
            return Ok((member, None));
        }
        let name = ResourceName::new(OPERATOR).expect("it is a name");
        let operator = member.issue_operator(name, Role::Admin, OPERATOR_LIFETIME, "bootstrap").await?;
        Ok((member, Some(operator)))
    }

    /// Joins the cluster of a token, and waits until this node is active in it.
    ///
    /// # Errors
    /// [`JoinError`]; the folder waits further on, or is a node's that goes on when it is started again.
    pub async fn join(&self, token: JoinToken) -> Result<Member, JoinError> {
        let _turn = self.turn(JoinError::Busy, JoinError::Member)?;
        let home = match Home::open(Arc::clone(&self.ground.disk) as Arc<_>).map_err(OpenError::from)? {
            home::Opened::Empty(vacant) => join::join(&self.ground, vacant, token).await?,
            // Taken in by an attempt that could not start it.
            home::Opened::Joined(home) => home,
        };
        let member = self.ground.start(home).await?;
        self.became.send_replace(Some(member.clone()));
        join::until_active(&member).await?;
        Ok(member)
    }

    /// Tells when the folder became a member's.
    #[must_use]
    pub fn member(&self) -> watch::Receiver<Option<Member>> {
        self.became.subscribe()
    }

    fn turn<E>(&self, busy: E, member: E) -> Result<MutexGuard<'_, ()>, E> {
        let turn = self.turn.try_lock().map_err(|_| busy)?;
        if self.became.borrow().is_some() { Err(member) } else { Ok(turn) }
    }
}
