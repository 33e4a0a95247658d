//! A data folder that is a member of a cluster, or can become one.
//!
//! ```text
//! open ─┬▶ Waiting ── bootstrap | join ──▶ Member     (an empty folder becomes nothing by itself)
//!       └▶ Member: log, groups, control plane; admits others, renews its certificate or follows its files, watches its health
//! ```
//!
//! **Invariants:** a folder becomes a node's only because an operator said so; a crash on the way leaves a folder that
//! waits, or one that goes on. What is of another cluster, or older than the cluster remembers, is refused with the way
//! out. Knows nothing of resources and of how operators ask.

mod admit;
mod authorities;
mod bootstrap;
mod clock;
mod error;
mod files;
mod health;
mod join;
mod known;
mod member;
mod nothing;
mod recover;
mod rotate;
mod screen;
mod sender;
mod settings;
mod shunned;
mod start;
mod upkeep;
mod waiting;

pub use error::{AdmitError, BootstrapError, JoinError, OpenError, RecoverError};
pub use health::{FindingKind, Health};
pub use known::KnownError;
pub use member::{Failure, IssuedToken, Member, OperatorCertificate, TokenTerms};
pub use nothing::nothing;
pub use quorate_control::Machines;
pub use quorate_raft::Found;
pub use recover::{Halfway, Recoverable, Recovered, Survivor, recover};
pub use rotate::{RotationStatus, RotationStep, TrustedAuthority};
pub use settings::{BootstrapSettings, InvalidSettings, Settings};
pub use waiting::{Opened, Waiting, open};
