//! What decides: the policies of one configuration, and what of their decisions is remembered.
//!
//! In: a caller's [`Rights`], an action, and what it is done to. Out: a decision, from memory where the arguments of a
//! call do not matter to it. Rights are made once per caller and configuration, so that nothing that was decided outlives
//! the policies that decided it. Everything here is bounded: a caller who asks for ever new names is decided anew.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_policy::{
    Action, Decision, Denial, Item, ModelRequest, Named, Policies, Question, Resource, Subject, Verdict,
};
use quorate_types::{Principal, TenantId};

/// Decisions that are remembered of one caller: what a large toolset has. One takes about 300 bytes.
const DECISIONS_MAX: usize = 512;
/// Decisions that are remembered of all callers together: some 30 MB, at most 100 MB. What is beyond is decided anew.
const DECISIONS_TOTAL_MAX: usize = 100_000;
/// Bytes of the names of an item whose decision is remembered: names that anybody lists are shorter.
const NAMES_BYTES_MAX: usize = 512;

/// The policies of one configuration.
pub struct Judge {
    policies: Policies,
    hasher: RandomState,
    /// How many decisions are remembered of all callers.
    remembered: Arc<AtomicUsize>,
}

/// What one caller may do, as far as it was decided.
pub(crate) struct Rights {
    subject: Subject,
    decided: Mutex<HashMap<u64, Vec<Remembered>>>,
    /// How many decisions are remembered of all callers.
    total: Arc<AtomicUsize>,
}

/// A decision, and what it was about.
struct Remembered {
    action: Action,
    tenant: TenantId,
    /// Toolset, server, name, and the name as it is exposed.
    names: [Box<str>; 4],
    kind: quorate_policy::Kind,
    tags: Box<[String]>,
    decision: Arc<Decision>,
}

// === impl Judge ===

impl Judge {
    /// Makes the judge of compiled policies.
    #[must_use]
    pub fn new(policies: Policies) -> Self {
        Self { policies, hasher: RandomState::new(), remembered: Arc::default() }
    }

    /// Whether everything within a tenant's own wall is allowed: the explicit development policy.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.policies.allows_all()
    }

    /// The scopes that policies demand of callers of a tenant.
    pub(crate) fn scopes(&self, tenant: &TenantId) -> BTreeSet<String> {
        self.policies.scopes(tenant)
    }

    /// Prepares what a caller may do.
    pub(crate) fn rights(&self, principal: &Principal) -> Rights {
        let total = Arc::clone(&self.remembered);
        Rights { subject: self.policies.subject(principal), decided: Mutex::default(), total }
    }

    /// Decides whether a caller may do something; `arguments` are those of a call, as JSON text.
    pub(crate) fn decide(
        &self,
        rights: &Rights,
        action: Action,
        resource: Resource<'_>,
        arguments: Option<&str>,
    ) -> Arc<Decision> {
        self.answer(rights, &Question { action, resource, arguments, request: None })
    }

    /// Decides whether a caller may ask a model this.
    pub(crate) fn decide_model(
        &self,
        rights: &Rights,
        model: Resource<'_>,
        request: ModelRequest<'_>,
    ) -> Arc<Decision> {
        let action = Action::Invoke;
        self.answer(rights, &Question { action, resource: model, arguments: None, request: Some(request) })
    }

    fn answer(&self, rights: &Rights, question: &Question<'_>) -> Arc<Decision> {
        let Question { action, resource, .. } = *question;
        let hash = self.hash(action, &resource);
        if let Some(decision) = rights.remembered(hash, action, &resource) {
            return decision;
        }
        let decision = Arc::new(self.policies.decide(&rights.subject, question));
        if decision.cacheable {
            rights.remember(hash, action, &resource, &decision);
        }
        decision
    }

    /// Tells whether a caller may do something with some arguments: what lists are filtered by. What only scopes are
    /// missing for is there too, so that clients can ask for them.
    pub(crate) fn may(&self, rights: &Rights, action: Action, resource: Resource<'_>) -> bool {
        is_shown(&self.possible(rights, action, resource))
    }

    /// Decides whether a caller may do something with some arguments.
    pub(crate) fn possible(&self, rights: &Rights, action: Action, resource: Resource<'_>) -> Verdict {
        match rights.remembered(self.hash(action, &resource), action, &resource) {
            Some(decision) => decision.verdict.clone(),
            None => self.policies.may(&rights.subject, action, resource),
        }
    }

    fn hash(&self, action: Action, resource: &Resource<'_>) -> u64 {
        self.hasher.hash_one((action, resource.kind(), names(resource)))
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policies.fmt(f)
    }
}

// === impl Rights ===

impl Rights {
    fn remembered(&self, hash: u64, action: Action, resource: &Resource<'_>) -> Option<Arc<Decision>> {
        let decided = self.lock();
        let found = decided.get(&hash)?.iter().find(|one| one.is_about(action, resource))?;
        Some(Arc::clone(&found.decision))
    }

    fn remember(&self, hash: u64, action: Action, resource: &Resource<'_>, decision: &Arc<Decision>) {
        let bytes: usize = names(resource).iter().map(|name| name.len()).sum();
        if bytes > NAMES_BYTES_MAX || self.total.load(Ordering::Relaxed) >= DECISIONS_TOTAL_MAX {
            return;
        }
        let one = Remembered {
            action,
            tenant: resource.tenant.clone(),
            names: names(resource).map(Box::from),
            kind: resource.kind(),
            tags: tags(resource).into(),
            decision: Arc::clone(decision),
        };
        let mut decided = self.lock();
        if decided.len() >= DECISIONS_MAX {
            // Whoever asks for that many names walks through them: none of them is likelier than another.
            self.total.fetch_sub(decided.values().map(Vec::len).sum(), Ordering::Relaxed);
            decided.clear();
        }
        let same_hash = decided.entry(hash).or_default();
        if !same_hash.iter().any(|known| known.is_about(action, resource)) {
            same_hash.push(one);
            self.total.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Remembered>>> {
        // A map that somebody panicked over still has only whole decisions.
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let count = self.lock().values().map(Vec::len).sum();
        self.total.fetch_sub(count, Ordering::Relaxed);
    }
}

// === impl Remembered ===

impl Remembered {
    fn is_about(&self, action: Action, resource: &Resource<'_>) -> bool {
        self.action == action
            && self.kind == resource.kind()
            && self.tenant == *resource.tenant
            && self.names.iter().map(AsRef::as_ref).eq(names(resource))
            && *self.tags == *tags(resource)
    }
}

const fn is_shown(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow | Verdict::Deny(Denial::MissingScopes(_)))
}

/// Toolset, server, name, and the name as it is exposed; empty where there is none.
fn names<'a>(resource: &Resource<'a>) -> [&'a str; 4] {
    match resource.item {
        Item::Toolset => [resource.toolset, "", "", ""],
        Item::Server { server } => [resource.toolset, server, "", ""],
        Item::Model { name, asked } => ["", name, asked, ""],
        Item::Tool(Named { server, name, exposed, .. })
        | Item::Prompt(Named { server, name, exposed, .. })
        | Item::Resource(Named { server, name, exposed, .. }) => [resource.toolset, server, name, exposed],
    }
}

fn tags<'a>(resource: &Resource<'a>) -> &'a [String] {
    match resource.item {
        Item::Toolset | Item::Server { .. } | Item::Model { .. } => &[],
        Item::Tool(named) | Item::Prompt(named) | Item::Resource(named) => named.tags,
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::{Principal, TenantId};

    use super::*;

    fn tool<'a>(tenant: &'a TenantId, name: &'a str) -> Resource<'a> {
        let item = Item::Tool(Named { server: "files", name, exposed: name, tags: &[] });
        Resource { tenant, toolset: "default", item }
    }

    fn remembered(rights: &Rights) -> usize {
        rights.lock().values().map(Vec::len).sum()
    }

    #[test]
    fn names_that_nobody_lists_are_decided_and_not_remembered() {
        let (judge, tenant) = (Judge::new(Policies::deny_all()), TenantId::default());
        let rights = judge.rights(&Principal::agent(tenant.clone(), "a"));

        for length in [1 << 20, NAMES_BYTES_MAX] {
            let decision = judge.decide(&rights, Action::Call, tool(&tenant, &"n".repeat(length)), None);
            assert!(!decision.verdict.is_allowed());
        }

        assert_eq!(remembered(&rights), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_per_caller_and_given_back_with_it() {
        let (judge, tenant) = (Judge::new(Policies::deny_all()), TenantId::default());
        let rights = judge.rights(&Principal::agent(tenant.clone(), "a"));

        for number in 0..3 * DECISIONS_MAX {
            judge.decide(&rights, Action::Call, tool(&tenant, &format!("n{number}")), None);
            assert_eq!(judge.remembered.load(Ordering::Relaxed), remembered(&rights));
        }
        assert!(remembered(&rights) <= DECISIONS_MAX);

        drop(rights);
        assert_eq!(judge.remembered.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_remembered_decision_is_about_the_same_thing_in_every_part() {
        let (judge, tenant) = (Judge::new(Policies::allow_all()), TenantId::default());
        let other = TenantId::new("other").expect("a tenant");
        let rights = judge.rights(&Principal::agent(tenant.clone(), "a"));

        let own = judge.decide(&rights, Action::Call, tool(&tenant, "read"), None);
        let foreign = judge.decide(&rights, Action::Call, tool(&other, "read"), None);

        assert!(own.verdict.is_allowed() && !foreign.verdict.is_allowed());
        let again = judge.decide(&rights, Action::Call, tool(&tenant, "read"), None);
        assert!(Arc::ptr_eq(&own, &again), "it is remembered");
    }
}
