//! A caller, prepared for a set of policies.
//!
//! Its groups are found, its entities made and its keys in the index looked up once; then it is shared, and every
//! question of this caller uses it. It belongs to the set that prepared it; another set notices and prepares it anew.

use std::fmt;
use std::sync::{Arc, Weak};

use cedar_policy::Entities;
use quorate_types::{Principal, TenantId};

use crate::policies::Set;
use crate::view::View;

/// A caller that policies are decided for; cheap to clone.
#[derive(Clone)]
pub struct Subject(pub(crate) Arc<Prepared>);

/// What was prepared.
pub(crate) struct Prepared {
    /// The set it was prepared for. Weak, so that a subject that is kept does not keep an old set.
    set: Weak<Set>,
    pub(crate) principal: Principal,
    /// How the documents that concern the caller see it, by their tenant: the operator's, and its own tenant's.
    pub(crate) seen: Vec<Seen>,
}

/// A caller as the documents of one tenant see it.
pub(crate) struct Seen {
    pub(crate) documents: TenantId,
    pub(crate) view: View,
    pub(crate) keys: Vec<usize>,
    entities: Entities,
}

// === impl Subject ===

impl Subject {
    /// Returns who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("principal", &self.0.principal).finish_non_exhaustive()
    }
}

// === impl Prepared ===

impl Prepared {
    pub(crate) fn new(set: &Arc<Set>, principal: &Principal) -> Self {
        let mut tenants = vec![TenantId::default()];
        if principal.tenant != tenants[0] {
            tenants.push(principal.tenant.clone());
        }
        // A tenant without documents has no say, and needs no view.
        let seen = tenants.into_iter().filter_map(|documents| {
            let index = set.compiled.indexes.get(&documents)?;
            let view = View::new(principal, &set.compiled.groups, &documents)?;
            let (keys, entities) = (index.keys(&view), set.vocabulary.caller(principal, &view));
            Some(Seen { documents, view, keys, entities })
        });
        let seen = seen.collect();
        Self { set: Arc::downgrade(set), principal: principal.clone(), seen }
    }

    pub(crate) fn is_for(&self, set: &Arc<Set>) -> bool {
        // The weak reference keeps the address from being used again.
        Weak::as_ptr(&self.set) == Arc::as_ptr(set)
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn entities(&self) -> &Entities {
        &self.entities
    }
}
