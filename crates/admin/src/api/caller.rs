//! Who calls: nobody, somebody on the node itself, an operator or a node of the cluster, by a certificate.
//!
//! A service finds it among the extensions of a request, where it was put before the service heard of the call, beside a
//! [`Note`] in which the service says what the call is about. Names are for records and authors; no key is in them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_audit::Names;
use quorate_membership::identity::{PeerIdentity, Role};
use quorate_policy::AdminAction;
use quorate_proto::admin::v1;
use quorate_types::{NodeId, ResourceName};
use tonic::{Request, Status};

use super::{errors, roles};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Who shows no certificate.
    Nobody,
    /// Who opened the Unix socket in the data folder.
    Local {
        /// The user of the operating system, where it says.
        uid: Option<u32>,
    },
    /// An operator of the cluster.
    Operator {
        /// Its name.
        name: ResourceName,
        /// What it may do.
        role: Role,
    },
    /// A node of the cluster.
    Node(NodeId),
}

/// What a call is about, as its record says: `node 3`, `token 00ff…`. The last word is the service's.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<Mutex<Noted>>);

/// What a service said of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) about: String,
    /// Documents that are new, by their names, as the record has them.
    pub(crate) added: Names,
    /// Those that are others.
    pub(crate) changed: Names,
    /// Those that are gone.
    pub(crate) removed: Names,
    only_reads: bool,
}

// === impl Caller ===

impl Caller {
    /// Who calls, from a request that came through the gate.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or(Self::Nobody)
    }

    /// Asks whether it may do more than the row of its call says.
    ///
    /// # Errors
    /// As [`roles::decide`].
    pub fn may(&self, action: AdminAction, cluster: &str) -> Result<(), Status> {
        roles::decide(self, action, cluster)
    }

    pub(crate) fn of_identity(identity: &PeerIdentity) -> Self {
        match identity {
            PeerIdentity::Node { node, .. } => Self::Node(*node),
            PeerIdentity::Operator { name, role, .. } => Self::Operator { name: name.clone(), role: *role },
        }
    }
}

/// As records and authors have it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Local { uid: Some(uid) } => write!(f, "local user {uid}"),
            Self::Local { uid: None } => f.write_str("local user"),
            Self::Operator { name, role } => write!(f, "operator {} ({role})", name.as_str()),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}

// === impl Note ===

impl Note {
    /// The note of a request.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Says what the call is about.
    pub fn about(&self, about: impl fmt::Display) {
        self.lock().about = about.to_string();
    }

    /// Says which documents the call changed.
    pub(crate) fn documents(&self, changes: &[v1::Change]) {
        let named = |action: v1::change::Action| -> Names {
            let of_it = changes.iter().filter(|change| change.action() == action);
            of_it.map(|change| format!("{}/{}/{}", change.kind, change.tenant, change.name)).collect()
        };
        let mut noted = self.lock();
        noted.added = named(v1::change::Action::Add);
        noted.changed = named(v1::change::Action::Change);
        noted.removed = named(v1::change::Action::Delete);
    }

    /// Says that the call changes nothing after all, so that it is not recorded.
    pub fn only_reads(&self) {
        self.lock().only_reads = true;
    }

    /// What was said; none when nothing is to be recorded.
    pub(crate) fn read(&self) -> Option<Noted> {
        let noted = self.lock();
        (!noted.only_reads).then(|| noted.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a name of a request.
///
/// # Errors
/// INVALID_ARGUMENT, with the form of names.
pub(crate) fn name(field: &str, value: &str) -> Result<ResourceName, Status> {
    ResourceName::new(value)
        .map_err(|_| errors::invalid(field, format_args!("{value:?}"), "`[a-z0-9][a-z0-9_-]{0,62}`"))
}
