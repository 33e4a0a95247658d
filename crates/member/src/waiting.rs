//! A folder that is opened: a member's, or one that waits to become one.
//!
//! An empty folder waits, also over restarts, until an operator says what it is to be.

use quorate_control::Machines;
use quorate_membership::token::JoinToken;
use tokio::sync::watch;

use crate::error::{BootstrapError, JoinError, OpenError};
use crate::member::{Member, OperatorCertificate};
use crate::settings::{BootstrapSettings, Settings};

/// What a folder is.
pub enum Opened {
    /// Nobody's: it waits.
    Waiting(Waiting),
    /// A member's.
    Member(Member),
}

/// A folder that is nobody's, and is held so that nobody else takes it.
pub struct Waiting {
    became: watch::Sender<Option<Member>>,
}

/// Opens a data folder.
///
/// # Errors
/// [`OpenError`] says why it cannot be used, and the way out.
pub async fn open(settings: Settings, machines: Machines) -> Result<Opened, OpenError> {
    settings.peer_address()?;
    drop(machines);
    Ok(Opened::Waiting(Waiting { became: watch::Sender::new(None) }))
}

// === impl Waiting ===

impl Waiting {
    /// Makes a new cluster of this node alone, which gets the number 1. One that was begun and not finished goes on.
    ///
    /// # Errors
    /// [`BootstrapError`]; the folder waits further on, or is a node's that goes on when it is started again.
    pub async fn bootstrap(
        &self,
        _settings: BootstrapSettings,
    ) -> Result<(Member, OperatorCertificate), BootstrapError> {
        Err(BootstrapError::Member)
    }

    /// Joins the cluster of a token, and waits until this node is active in it.
    ///
    /// # Errors
    /// [`JoinError`]; the folder waits further on, or is a node's that goes on when it is started again.
    pub async fn join(&self, _token: JoinToken) -> Result<Member, JoinError> {
        Err(JoinError::Member)
    }

    /// Tells when the folder became a member's.
    #[must_use]
    pub fn member(&self) -> watch::Receiver<Option<Member>> {
        self.became.subscribe()
    }
}
