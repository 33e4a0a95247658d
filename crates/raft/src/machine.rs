//! What a group replicates: a machine of commands, whatever it is a machine of.
//!
//! A machine is the same on every replica that applied the same commands, so that nothing but its commands and the time
//! of the log may go into it: no clock, no randomness, no order of a hash map. Knows nothing of consensus but the place
//! of a command.

use std::io;

use bytes::Bytes;
use quorate_types::Timestamp;

/// A state machine that a group replicates.
///
/// It is `Sync` because openraft shares what it is in between threads; nothing is called at the same time.
pub trait Machine: Send + Sync + 'static {
    /// Applies a command and returns what its proposer is answered.
    ///
    /// Total and deterministic: a command that cannot be carried out is answered with the reason. A panic stops the
    /// group on this replica.
    fn apply(&mut self, context: &Applied, command: &[u8]) -> Bytes;

    /// Returns a view of the state as it is now, which is read on another thread while commands are applied. Called
    /// between two commands: it must be cheap, as by sharing what is immutable.
    fn freeze(&self) -> Box<dyn Frozen>;

    /// Replaces the state by one that was written by [`Frozen::write`], also of the version before.
    ///
    /// # Errors
    /// [`RestoreError`]; the state is unknown then, and the machine is not used again.
    fn restore(&mut self, from: &mut dyn io::Read) -> Result<(), RestoreError>;
}

/// A machine's state as it was once.
pub trait Frozen: Send + Sync + 'static {
    /// Returns a hash of the state: equal on all replicas that applied the same commands, whatever they are and however
    /// they came to it. It says whether replicas differ.
    fn hash(&self) -> u64;

    /// Writes the state.
    ///
    /// # Errors
    /// What `to` says.
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()>;
}

/// Where in the log a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its index.
    pub index: u64,
    /// The term of the leader that proposed it: the epoch of what it decides.
    pub term: u64,
    /// The time of the log: the latest of the times at which leaders proposed this command and those before it. It
    /// never steps back.
    pub time: Timestamp,
}

/// A state cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read.
    #[error("the state cannot be read")]
    Read(#[from] io::Error),
    /// It is not what a machine of this version or the one before writes.
    #[error("the state is not one of this machine: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
}
