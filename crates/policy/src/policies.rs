//! A set of policies, and its decisions.
//!
//! The order of a decision: the wall between tenants; then the forbids that match in scope, of which the first that
//! holds, or cannot be evaluated, denies; then the permits, of which the first that holds and whose scopes the caller
//! has allows; else it is denied. Policies on trial decide nothing. The set is immutable and shared: a change of
//! configuration makes a new one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quorate_types::{Principal, TenantId};

use crate::action::Action;
use crate::compile::{self, Compiled};
use crate::decision::{Decision, Denial, Question, Verdict};
use crate::document::Document;
use crate::entity::Vocabulary;
use crate::evaluate::{Evaluation, Knowledge, Outcome};
use crate::explain::{self, Explanation};
use crate::group::Group;
use crate::limits::COMPILE_STACK_BYTES;
use crate::mention::Mention;
use crate::problem::Problem;
use crate::resource::{Object, Resource};
use crate::rule::{Class, Rule};
use crate::subject::{Prepared, Subject};

/// A compiled set of policies; cheap to clone.
#[derive(Clone)]
pub struct Policies(Arc<Set>);

/// What a set is.
pub(crate) struct Set {
    pub(crate) compiled: Compiled,
    pub(crate) vocabulary: Vocabulary,
    allow_all: bool,
}

/// A policy that matches in scope: its number, and the number of the view that its document has of the caller.
pub(crate) type Candidate = (usize, usize);

/// How permits ended that did not allow.
#[derive(Default)]
struct Refused {
    /// The permit that asks for the fewest scopes that the caller has not.
    scopes: Option<(usize, usize)>,
    unevaluable: Option<(usize, String)>,
}

// === impl Policies ===

impl Policies {
    /// Compiles documents and groups.
    ///
    /// # Errors
    /// Everything that is wrong, at most [`limits::PROBLEMS_MAX`](crate::limits::PROBLEMS_MAX) problems, by place.
    pub fn compile(documents: &[Document], groups: &[Group]) -> Result<Self, Vec<Problem>> {
        // Cedar's parser and validator go as deep as a policy is nested; callers' stacks are made for requests.
        let compiled = stacker::grow(COMPILE_STACK_BYTES, || compile::compile(documents, groups))?;
        Ok(Self::of(compiled, false))
    }

    /// The set that allows everything within the wall between tenants: for development.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::of(Compiled::default(), true)
    }

    /// The set without a policy, which denies everything.
    #[must_use]
    pub fn deny_all() -> Self {
        Self::of(Compiled::default(), false)
    }

    fn of(compiled: Compiled, allow_all: bool) -> Self {
        Self(Arc::new(Set { compiled, vocabulary: Vocabulary::new(), allow_all }))
    }

    /// Returns the number of policies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.compiled.rules.len()
    }

    /// Whether there is no policy at all: a set that denies everything, unless it is [`Policies::allow_all`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.compiled.rules.is_empty()
    }

    /// Whether this is [`Policies::allow_all`].
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.0.allow_all
    }

    /// Returns the rules, in the order of their evaluation.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.0.compiled.rules
    }

    /// Returns what the policies name of the configuration, for whoever knows what that has.
    #[must_use]
    pub fn mentions(&self) -> &[Mention] {
        &self.0.compiled.mentions
    }

    /// Returns the scopes that policies about callers of a tenant demand (`@scope`): those of its own documents, and of
    /// the operator's.
    #[must_use]
    pub fn scopes(&self, tenant: &TenantId) -> BTreeSet<String> {
        let about = |rule: &&Rule| tenant.reaches(&rule.tenant);
        self.0.compiled.rules.iter().filter(about).flat_map(|rule| rule.scopes.iter().cloned()).collect()
    }

    /// Prepares a caller. The principal's groups and scopes are bounded by whoever authenticated it.
    #[must_use]
    pub fn subject(&self, principal: &Principal) -> Subject {
        Subject(Arc::new(Prepared::new(&self.0, principal)))
    }

    /// Decides a question.
    #[must_use]
    pub fn decide(&self, subject: &Subject, question: &Question<'_>) -> Decision {
        self.decide_knowing(subject, question, Knowledge::Given)
    }

    /// Says whether an action may be allowed with some arguments: what lists are filtered by.
    ///
    /// For an action without arguments this is the decision itself. A tool that may be called with some arguments stays;
    /// where arguments are compared with each other it may stay though none fit. [`Denial::MissingScopes`] is for the
    /// caller of this to take for yes or no: who shows such an entry lets clients ask for the scope.
    #[must_use]
    pub fn may(&self, subject: &Subject, action: Action, resource: Resource<'_>) -> Verdict {
        self.decide_knowing(subject, &Question { action, resource, arguments: None, request: None }, Knowledge::None)
            .verdict
    }

    fn decide_knowing(&self, subject: &Subject, question: &Question<'_>, knowledge: Knowledge) -> Decision {
        let prepared = self.prepared(subject);
        if let Some(decision) = self.before_policies(&prepared.principal, question) {
            return decision;
        }
        let object = match self.object(question.resource) {
            Ok(object) => object,
            Err(denial) => return denial,
        };
        let candidates = self.candidates(&prepared, question, &object);
        let evaluation = Evaluation::new(&self.0, question, &object, prepared.seen.len(), knowledge);
        Deciding { rules: &self.0.compiled.rules, prepared: &prepared, evaluation, cacheable: true }.decide(&candidates)
    }

    /// Returns what is asked about, as policies look at it.
    ///
    /// # Errors
    /// The decision about what cannot be looked at within bounds.
    fn object<'q>(&'q self, resource: Resource<'q>) -> Result<Object<'q>, Decision> {
        match self.0.compiled.templates.around(&resource) {
            Ok(templates) => Ok(Object { resource, id: resource.id(), templates }),
            Err((by, what)) => {
                let denial = Denial::Unevaluable { policy: by.clone(), what };
                Err(Decision::deny(denial, vec![by.clone()], true))
            }
        }
    }

    /// Returns what was prepared for this set.
    pub(crate) fn prepared(&self, subject: &Subject) -> Arc<Prepared> {
        if subject.0.is_for(&self.0) { Arc::clone(&subject.0) } else { self.subject(subject.principal()).0 }
    }

    /// Decides what no policy decides: the wall, the set that allows everything, and questions that cannot be asked.
    pub(crate) fn before_policies(&self, principal: &Principal, question: &Question<'_>) -> Option<Decision> {
        let tenant = question.resource.tenant;
        if !principal.tenant.reaches(tenant) {
            return Some(Decision::deny(Denial::OtherTenant, Vec::new(), true));
        }
        if self.0.allow_all {
            return Some(Decision::allow(Vec::new(), true));
        }
        if !question.action.applies_to().contains(&question.resource.kind()) {
            return Some(Decision::deny(Denial::NoPermit, Vec::new(), true));
        }
        None
    }

    /// Returns the policies that match in scope, in the order of their evaluation.
    fn candidates(&self, prepared: &Prepared, question: &Question<'_>, object: &Object<'_>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut found = Vec::new();
        for (view, seen) in prepared.seen.iter().enumerate() {
            if let Some(index) = self.0.compiled.indexes.get(&seen.documents) {
                index.find(&seen.keys, question.action, object, &mut found);
                candidates.extend(found.drain(..).map(|number| (number, view)));
            }
        }
        candidates.sort_unstable();
        candidates
    }

    /// Explains a decision: every policy that concerns the caller, and what became of it.
    ///
    /// Looks at each policy in turn, without the index: for people, not for the path of a request.
    #[must_use]
    pub fn explain(&self, subject: &Subject, question: &Question<'_>) -> Explanation {
        let decision = self.decide(subject, question);
        let prepared = self.prepared(subject);
        let considered = match self.object(question.resource) {
            Ok(object) if self.before_policies(&prepared.principal, question).is_none() => {
                explain::consider(&self.0, &prepared, question, &object, &decision.by)
            }
            Ok(_) | Err(_) => Vec::new(),
        };
        Explanation { decision, considered }
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("policies", &self.len()).field("allow_all", &self.0.allow_all).finish()
    }
}

/// A decision that is being made.
struct Deciding<'a> {
    rules: &'a [Rule],
    prepared: &'a Prepared,
    evaluation: Evaluation<'a>,
    cacheable: bool,
}

// === impl Deciding ===

impl Deciding<'_> {
    fn decide(mut self, candidates: &[Candidate]) -> Decision {
        let rules = self.rules;
        let of = |class| candidates.iter().copied().filter(move |(number, _)| rules[*number].class == class);
        for candidate in of(Class::Forbid) {
            let denial = match self.condition(candidate) {
                Outcome::Fails => continue,
                Outcome::Holds => Denial::Forbidden,
                Outcome::Unevaluable(what) => self.unevaluable(candidate.0, what),
            };
            return self.deny(denial, Some(candidate.0));
        }
        let mut refused = Refused::default();
        for candidate in of(Class::Permit) {
            match self.condition(candidate) {
                Outcome::Fails => {}
                Outcome::Unevaluable(what) => {
                    refused.unevaluable.get_or_insert((candidate.0, what));
                }
                Outcome::Holds => {
                    let missing = self.missing(candidate.0);
                    if missing == 0 {
                        return self.allow(candidate.0, of(Class::DryForbid));
                    }
                    if refused.scopes.is_none_or(|(_, least)| missing < least) {
                        refused.scopes = Some((candidate.0, missing));
                    }
                }
            }
        }
        match refused {
            Refused { scopes: Some((number, _)), .. } => {
                self.deny(Denial::MissingScopes(self.rules[number].scopes.clone()), Some(number))
            }
            Refused { unevaluable: Some((number, what)), .. } => {
                self.deny(self.unevaluable(number, what), Some(number))
            }
            Refused { scopes: None, unevaluable: None } => self.deny(Denial::NoPermit, None),
        }
    }

    fn condition(&mut self, (number, view): Candidate) -> Outcome {
        let rule = &self.rules[number];
        self.cacheable &= rule.reading.is_none();
        self.evaluation.condition(rule, view, &self.prepared.seen[view])
    }

    /// How many of a permit's scopes the caller has not.
    fn missing(&self, number: usize) -> usize {
        missing(&self.rules[number], &self.prepared.principal.scopes)
    }

    fn allow(mut self, number: usize, on_trial: impl Iterator<Item = Candidate>) -> Decision {
        let mut would_deny = Vec::new();
        for candidate in on_trial {
            if self.condition(candidate) != Outcome::Fails {
                would_deny.push(self.rules[candidate.0].name.clone());
            }
        }
        Decision { would_deny, ..Decision::allow(vec![self.rules[number].name.clone()], self.cacheable) }
    }

    fn deny(&self, denial: Denial, by: Option<usize>) -> Decision {
        Decision::deny(denial, by.map(|number| self.rules[number].name.clone()).into_iter().collect(), self.cacheable)
    }

    fn unevaluable(&self, number: usize, what: String) -> Denial {
        Denial::Unevaluable { policy: self.rules[number].name.clone(), what }
    }
}

/// How many of a permit's scopes a caller has not.
pub(crate) fn missing(rule: &Rule, held: &BTreeSet<String>) -> usize {
    rule.scopes.difference(held).count()
}
