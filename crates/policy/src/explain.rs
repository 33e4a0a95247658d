//! Why a question is decided as it is: each policy that concerns the caller, and what became of it.
//!
//! For people who ask `quorate policy explain`. Scopes are compared one by one here and not looked up in the index, and
//! every condition is evaluated, also of policies that a decision does not get to. Policies of other tenants are not
//! considered: they do not concern the caller, and are not its to see.

use std::collections::BTreeSet;
use std::fmt;

use crate::decision::{Decision, Question};
use crate::document::PolicyRef;
use crate::evaluate::{Evaluation, Knowledge, Outcome};
use crate::policies::{Set, missing};
use crate::resource::Object;
use crate::rule::{Class, Rule};
use crate::subject::{Prepared, Seen};

/// A decision and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The policies, in the order of their evaluation; none where none was asked (another tenant, allow-all).
    pub considered: Vec<Considered>,
}

/// A policy and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The policy.
    pub policy: PolicyRef,
    /// Whether it forbids; else it permits.
    pub forbids: bool,
    /// Whether its document is on trial, so that it decides nothing.
    pub on_trial: bool,
    /// What became of it.
    pub finding: Finding,
    /// Whether the decision is due to it.
    pub decisive: bool,
}

/// What became of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is about other callers.
    OtherPrincipal,
    /// It is about other actions.
    OtherAction,
    /// It is about other resources.
    OtherResource,
    /// Its scope matches, its condition is false.
    ConditionFalse,
    /// It applies.
    Applies,
    /// It would permit, but the caller has not these scopes.
    MissingScopes(BTreeSet<String>),
    /// Its scope matches, its condition cannot be evaluated.
    Unevaluable(String),
}

// === impl Explanation ===

impl Explanation {
    /// Returns the policies whose scope matches.
    pub fn candidates(&self) -> impl Iterator<Item = &Considered> {
        self.considered.iter().filter(|considered| considered.finding.in_scope())
    }
}

// === impl Considered ===

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.forbids { "forbid" } else { "permit" };
        let trial = if self.on_trial { " (dry run)" } else { "" };
        let decisive = if self.decisive { "  <- decides" } else { "" };
        write!(f, "{effect}{trial} {}: {}{decisive}", self.policy, self.finding)
    }
}

// === impl Finding ===

impl Finding {
    /// Whether the scope of the policy matches.
    #[must_use]
    pub const fn in_scope(&self) -> bool {
        !matches!(self, Self::OtherPrincipal | Self::OtherAction | Self::OtherResource)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPrincipal => f.write_str("is about other callers"),
            Self::OtherAction => f.write_str("is about other actions"),
            Self::OtherResource => f.write_str("is about other resources"),
            Self::ConditionFalse => f.write_str("its condition is false"),
            Self::Applies => f.write_str("applies"),
            Self::MissingScopes(scopes) => {
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                write!(f, "applies to callers with the scopes that are missing: {}", scopes.join(" "))
            }
            Self::Unevaluable(what) => write!(f, "cannot be evaluated: {what}"),
        }
    }
}

/// Considers every policy that concerns the caller.
pub(crate) fn consider(
    set: &Set,
    prepared: &Prepared,
    question: &Question<'_>,
    object: &Object<'_>,
    by: &[PolicyRef],
) -> Vec<Considered> {
    let mut evaluation = Evaluation::new(set, question, object, prepared.seen.len(), Knowledge::Given);
    let mut considered = Vec::new();
    for rule in &set.compiled.rules {
        let Some(view) = prepared.seen.iter().position(|seen| seen.documents == rule.tenant) else { continue };
        let seen = &prepared.seen[view];
        let finding =
            mismatch(rule, seen, question, object).unwrap_or_else(|| match evaluation.condition(rule, view, seen) {
                Outcome::Fails => Finding::ConditionFalse,
                Outcome::Unevaluable(what) => Finding::Unevaluable(what),
                Outcome::Holds if missing(rule, &prepared.principal.scopes) > 0 => {
                    Finding::MissingScopes(rule.scopes.difference(&prepared.principal.scopes).cloned().collect())
                }
                Outcome::Holds => Finding::Applies,
            });
        considered.push(Considered {
            forbids: matches!(rule.class, Class::Forbid | Class::DryForbid),
            on_trial: matches!(rule.class, Class::DryForbid | Class::DryPermit),
            decisive: by.contains(&rule.name),
            policy: rule.name.clone(),
            finding,
        });
    }
    considered
}

/// Says which part of a rule's scope does not match.
fn mismatch(rule: &Rule, seen: &Seen, question: &Question<'_>, object: &Object<'_>) -> Option<Finding> {
    if !rule.actions.contains(&question.action) {
        Some(Finding::OtherAction)
    } else if !rule.what.matches(object) {
        Some(Finding::OtherResource)
    } else if !rule.who.matches(&seen.view) {
        Some(Finding::OtherPrincipal)
    } else {
        None
    }
}
