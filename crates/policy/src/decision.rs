//! Questions and decisions.
//!
//! A question is what somebody wants to do, to what, and with which arguments. A decision says whether they may, which
//! policies decided it, what policies on trial would have denied, and whether the same question without its arguments
//! would have been decided alike, so that a caller may keep it.

use std::collections::BTreeSet;

use quorate_types::Timestamp;

use crate::action::Action;
use crate::document::PolicyRef;
use crate::resource::Resource;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is to be done.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
    /// The arguments of a `tools/call`: the raw JSON text of the object; `None` when it has none.
    pub arguments: Option<&'a str>,
    /// What a model is asked; `None` for everything but `llm:invoke`.
    pub request: Option<ModelRequest<'a>>,
}

/// What a model is asked, as far as policies decide by it.
#[derive(Clone, Copy, Debug)]
pub struct ModelRequest<'a> {
    /// The API, by its word in documents.
    pub api: &'a str,
    /// The bytes of its body.
    pub bytes: u64,
    /// The most tokens of the answer, where the client says so.
    pub output_tokens_max: Option<u64>,
    /// Whether the answer is to come as it is made.
    pub streamed: bool,
    /// Whether it has tools that may be called.
    pub tools: bool,
    /// Whether there are images in it.
    pub images: bool,
    /// Whether there are recordings in it.
    pub audio: bool,
    /// Whether there are documents in it.
    pub documents: bool,
    /// The time.
    pub now: Timestamp,
}

/// Whether it may be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub verdict: Verdict,
    /// The policies that decided: the permit that allows, or the policy that the denial is due to.
    pub by: Vec<PolicyRef>,
    /// Policies of documents in [`Mode::DryRun`](crate::Mode::DryRun) that would have denied what is allowed.
    pub would_deny: Vec<PolicyRef>,
    /// Whether it holds for the same caller, action and resource whatever the arguments, or what the model is asked.
    pub cacheable: bool,
}

/// Whether something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Deny(Denial),
}

/// Why something may not be done. All but the label is for the operator, and for `MissingScopes` the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No policy permits it.
    NoPermit,
    /// A policy forbids it.
    Forbidden,
    /// A policy permits it to callers who have all of these scopes.
    MissingScopes(BTreeSet<String>),
    /// A policy cannot be evaluated: a `forbid`, or the `permit` that might have allowed it.
    Unevaluable {
        /// The policy.
        policy: PolicyRef,
        /// What cannot be evaluated; names arguments, never values.
        what: String,
    },
    /// The resource belongs to another tenant than the caller and the operator.
    OtherTenant,
    /// The resource has a URI that nobody lists, and that servers may take for anything. Policies alone never deny so.
    Spelling,
}

// === impl Verdict ===

impl Verdict {
    /// Whether it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow)
    }

    /// Returns `allowed`, or the denial's label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Allow => "allowed",
            Self::Deny(denial) => denial.reason(),
        }
    }
}

// === impl Denial ===

impl Denial {
    /// The labels of all denials.
    pub const REASONS: [&'static str; 6] =
        ["no_permit", "forbidden", "missing_scopes", "unevaluable", "other_tenant", "spelling"];

    /// Returns the label for metrics and audit records, one of [`Denial::REASONS`].
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoPermit => Self::REASONS[0],
            Self::Forbidden => Self::REASONS[1],
            Self::MissingScopes(_) => Self::REASONS[2],
            Self::Unevaluable { .. } => Self::REASONS[3],
            Self::OtherTenant => Self::REASONS[4],
            Self::Spelling => Self::REASONS[5],
        }
    }
}

// === impl Decision ===

impl Decision {
    pub(crate) fn allow(by: Vec<PolicyRef>, cacheable: bool) -> Self {
        Self { verdict: Verdict::Allow, by, would_deny: Vec::new(), cacheable }
    }

    /// The denial of a resource whose URI servers may take for anything.
    #[must_use]
    pub fn misspelled() -> Self {
        Self::deny(Denial::Spelling, Vec::new(), true)
    }

    pub(crate) fn deny(denial: Denial, by: Vec<PolicyRef>, cacheable: bool) -> Self {
        Self { verdict: Verdict::Deny(denial), by, would_deny: Vec::new(), cacheable }
    }
}
