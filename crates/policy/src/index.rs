//! Which policies a question can concern at all: by action, by what the caller is in, and by what the resource is in.
//!
//! Each policy stands in one bucket per action that it names, under one key for its principal and one for its resource.
//! A caller's keys are looked up once, when it is prepared ([`Index::keys`]); a question then looks at the buckets of its
//! keys alone. What is found matches in scope, all of it, and nothing else does.

use std::collections::HashMap;

use crate::action::Action;
use crate::resource::{Kind, Object};
use crate::rule::{Membership, Rule, What, Who};
use crate::view::View;

/// The key of policies that are about every caller.
const ANYONE: usize = 0;

/// The policies of the documents of one tenant, by scope. Numbers are those of the rules in the whole set.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// From what a caller is in to its key, from 1.
    callers: [HashMap<String, usize>; 4],
    callers_count: usize,
    actions: HashMap<Action, HashMap<usize, Buckets>>,
}

/// The policies for an action and a caller's key, by resource.
#[derive(Debug, Default)]
struct Buckets {
    anything: Vec<usize>,
    is: HashMap<Kind, Vec<usize>>,
    equal: ById<usize>,
    /// With the kind that a policy asks for besides.
    within: ById<(Option<Kind>, usize)>,
}

/// By the kind of an entity and its id.
type ById<T> = [HashMap<String, Vec<T>>; Kind::ALL.len()];

// === impl Index ===

impl Index {
    pub(crate) fn insert(&mut self, number: usize, rule: &Rule) {
        let key = match &rule.who {
            Who::Anyone => ANYONE,
            Who::In(membership, id) => {
                let next = self.callers_count + 1;
                let key = *self.callers[*membership as usize].entry(id.clone()).or_insert(next);
                self.callers_count = self.callers_count.max(key);
                key
            }
        };
        for action in &rule.actions {
            let buckets = self.actions.entry(*action).or_default().entry(key).or_default();
            match &rule.what {
                What::Anything => buckets.anything.push(number),
                What::Is(kind) => buckets.is.entry(*kind).or_default().push(number),
                What::Equal(kind, id) => buckets.equal[*kind as usize].entry(id.clone()).or_default().push(number),
                What::In(kind, id, is) => {
                    buckets.within[*kind as usize].entry(id.clone()).or_default().push((*is, number));
                }
            }
        }
    }

    /// Returns the keys of a caller: what it is in, as far as a policy speaks of it.
    pub(crate) fn keys(&self, view: &View) -> Vec<usize> {
        let key = |membership: Membership, id: &str| self.callers[membership as usize].get(id).copied();
        let mut keys = vec![ANYONE];
        keys.extend(key(Membership::Tenant, view.tenant.as_str()));
        keys.extend(view.agent.as_deref().and_then(|agent| key(Membership::Agent, agent)));
        keys.extend(view.user.as_deref().and_then(|user| key(Membership::User, user)));
        keys.extend(view.groups.iter().filter_map(|group| key(Membership::Group, group)));
        keys
    }

    /// Adds the numbers of the policies that match in scope to `found`.
    pub(crate) fn find(&self, keys: &[usize], action: Action, object: &Object<'_>, found: &mut Vec<usize>) {
        let Some(by_caller) = self.actions.get(&action) else { return };
        let (kind, id) = (object.resource.kind(), object.id.as_str());
        for buckets in keys.iter().filter_map(|key| by_caller.get(key)) {
            found.extend(&buckets.anything);
            found.extend(buckets.is.get(&kind).into_iter().flatten());
            found.extend(buckets.equal[kind as usize].get(id).into_iter().flatten());
            for (of, id) in std::iter::once((kind, id)).chain(object.parents()) {
                let policies = buckets.within[of as usize].get(id).into_iter().flatten();
                found.extend(policies.filter(|(is, _)| is.is_none_or(|is| is == kind)).map(|(_, number)| number));
            }
        }
    }
}
