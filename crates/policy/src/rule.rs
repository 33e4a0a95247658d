//! One policy, compiled: its scope as plain data, its condition for Cedar.
//!
//! The scope (who, what, to what) is taken out of Cedar's hands, so that the index can find a policy by it; the
//! condition is evaluated by Cedar alone and says nothing of the scope any more. That both together decide as Cedar
//! decides the whole policy is a property test (`tests/laws.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Expression, Policy, PrincipalConstraint, ResourceConstraint};

use quorate_types::TenantId;

use crate::action::{Action, Group as Actions};
use crate::arguments::{Declared, Reads};
use crate::bounds::{self, Bounds};
use crate::document::{Document, Mode, PolicyRef};
use crate::limits::EASY_DEPTH_MAX;
use crate::resource::{Kind, Object};
use crate::schema::{AGENT, GROUP, TENANT, USER};
use crate::templates;
use crate::view::View;

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: PolicyRef,
    /// The tenant of its document.
    pub(crate) tenant: TenantId,
    pub(crate) class: Class,
    pub(crate) who: Who,
    pub(crate) actions: Vec<Action>,
    pub(crate) what: What,
    /// `when` and `unless`; `None` where there are none.
    pub(crate) condition: Option<Expression>,
    /// Whether the condition looks at the resource, whose entity is made only then.
    pub(crate) about_resource: bool,
    /// Whether the condition is nested so deep that it needs a stack of its own.
    pub(crate) deep: bool,
    /// Set when the condition reads arguments.
    pub(crate) reading: Option<Reading>,
    /// What a caller's token must have for a permit to apply to it.
    pub(crate) scopes: BTreeSet<String>,
    /// The templates of URIs that it names, as ids.
    pub(crate) templates: Vec<String>,
}

/// What a policy reads of a call's arguments.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) reads: Reads,
    /// What its document declares, and the number of that declaration in the set.
    pub(crate) declared: Arc<Declared>,
    pub(crate) declaration: usize,
    /// The condition where arguments are unknown: what it may be at most, and at least.
    pub(crate) most: Expression,
    pub(crate) least: Expression,
}

/// What a policy does; in the order in which policies are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Forbid,
    Permit,
    DryForbid,
    DryPermit,
}

/// The principal's part of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Anyone,
    In(Membership, String),
}

/// What a caller may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Membership {
    Agent,
    Group,
    Tenant,
    User,
}

/// The resource's part of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Anything,
    Is(Kind),
    /// This alone.
    Equal(Kind, String),
    /// This and what is in it, of the given kind if there is one.
    In(Kind, String, Option<Kind>),
}

// === impl Rule ===

impl Rule {
    /// Compiles a policy that passed all checks; `json` is its JSON form.
    ///
    /// # Errors
    /// What of it has no compiled form; Cedar's validator lets nothing of the kind pass.
    pub(crate) fn new(
        name: PolicyRef,
        document: &Document,
        policy: &Policy,
        json: serde_json::Value,
        scopes: BTreeSet<String>,
        declared: (&Arc<Declared>, usize),
    ) -> Result<Self, String> {
        let class = match (policy.effect(), document.mode) {
            (cedar_policy::Effect::Forbid, Mode::Enforce) => Class::Forbid,
            (cedar_policy::Effect::Permit, Mode::Enforce) => Class::Permit,
            (cedar_policy::Effect::Forbid, Mode::DryRun) => Class::DryForbid,
            (cedar_policy::Effect::Permit, Mode::DryRun) => Class::DryPermit,
        };
        let condition = |json| -> Result<Option<Expression>, String> {
            // Made from the JSON form, an expression does not carry the document's text with each of its parts.
            let policy = Policy::from_json(None, json).map_err(|error| error.to_string())?;
            Ok(policy.as_ref().non_scope_constraints().cloned().map(Expression::from))
        };
        let reading = match bounds::bounds(&json) {
            None => None,
            Some(Bounds { reads, most, least }) => {
                let lost = || "a bound of its condition is no condition".to_owned();
                let (most, least) = (condition(most)?.ok_or_else(lost)?, condition(least)?.ok_or_else(lost)?);
                Some(Reading { reads, declared: Arc::clone(declared.0), declaration: declared.1, most, least })
            }
        };
        Ok(Self {
            name,
            tenant: document.tenant.clone(),
            class,
            who: Who::of(&policy.principal_constraint())?,
            actions: actions(&policy.action_constraint())?,
            what: What::of(&policy.resource_constraint())?,
            about_resource: json.get("conditions").is_some_and(names_resource),
            deep: depth(&json) > EASY_DEPTH_MAX,
            condition: condition(json)?,
            reading,
            scopes,
            templates: templates::named(policy),
        })
    }

    /// How dear it is to evaluate: of two policies that do the same, the cheaper goes first.
    pub(crate) fn cost(&self) -> u8 {
        match (&self.condition, &self.reading) {
            (None, _) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => 2,
        }
    }
}

// === impl Who ===

impl Who {
    fn of(constraint: &PrincipalConstraint) -> Result<Self, String> {
        match constraint {
            // A principal is always a caller.
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => Ok(Self::Anyone),
            PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                let membership = Membership::of(uid).ok_or_else(|| format!("no caller is in {uid}"))?;
                Ok(Self::In(membership, uid.id().unescaped().to_owned()))
            }
            PrincipalConstraint::Eq(uid) => Err(format!("no caller is {uid}")),
        }
    }
}

impl Who {
    /// Whether a caller is meant.
    pub(crate) fn matches(&self, view: &View) -> bool {
        match self {
            Self::Anyone => true,
            Self::In(Membership::Agent, id) => view.agent.as_deref() == Some(id),
            Self::In(Membership::User, id) => view.user.as_deref() == Some(id),
            Self::In(Membership::Tenant, id) => view.tenant.as_str() == id,
            Self::In(Membership::Group, id) => view.groups.contains(id),
        }
    }
}

// === impl Membership ===

impl Membership {
    fn of(uid: &EntityUid) -> Option<Self> {
        match uid.type_name().to_string().as_str() {
            AGENT => Some(Self::Agent),
            GROUP => Some(Self::Group),
            TENANT => Some(Self::Tenant),
            USER => Some(Self::User),
            _ => None,
        }
    }
}

// === impl What ===

impl What {
    fn of(constraint: &ResourceConstraint) -> Result<Self, String> {
        let kind = |name: &cedar_policy::EntityTypeName| {
            Kind::parse(&name.to_string()).ok_or_else(|| format!("{name} is no type of resources"))
        };
        let entity = |uid: &EntityUid| Ok::<_, String>((kind(uid.type_name())?, uid.id().unescaped().to_owned()));
        Ok(match constraint {
            ResourceConstraint::Any => Self::Anything,
            ResourceConstraint::Is(name) => Self::Is(kind(name)?),
            ResourceConstraint::Eq(uid) => {
                let (kind, id) = entity(uid)?;
                Self::Equal(kind, id)
            }
            ResourceConstraint::In(uid) => {
                let (kind, id) = entity(uid)?;
                Self::In(kind, id, None)
            }
            ResourceConstraint::IsIn(name, uid) => {
                let (of, id) = entity(uid)?;
                Self::In(of, id, Some(kind(name)?))
            }
        })
    }
}

impl What {
    /// Whether a resource is meant.
    pub(crate) fn matches(&self, object: &Object<'_>) -> bool {
        let (kind, id) = (object.resource.kind(), object.id.as_str());
        match self {
            Self::Anything => true,
            Self::Is(is) => *is == kind,
            Self::Equal(of, equal) => *of == kind && equal == id,
            Self::In(of, within, is) => {
                let around = std::iter::once((kind, id)).chain(object.parents());
                is.is_none_or(|is| is == kind) && around.into_iter().any(|(kind, id)| kind == *of && id == within)
            }
        }
    }
}

/// The JSON form of a policy.
///
/// # Errors
/// Why it has none; Cedar's validator lets nothing of the kind pass.
pub(crate) fn json(policy: &Policy) -> Result<serde_json::Value, String> {
    // From what was parsed: a policy that still has its text would parse that again.
    Policy::from(policy.as_ref().clone()).to_json().map_err(|error| error.to_string())
}

/// Whether conditions in JSON form have the variable `resource`; a literal that looks like it is taken for it, which costs time alone.
fn names_resource(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Object(object) => {
            let is_it = |(key, value): (&String, &serde_json::Value)| key == "Var" && value == "resource";
            object.iter().any(|member| is_it(member) || names_resource(member.1))
        }
        serde_json::Value::Array(array) => array.iter().any(names_resource),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => false,
    }
}

fn depth(json: &serde_json::Value) -> usize {
    let inner = match json {
        serde_json::Value::Object(object) => object.values().map(depth).max(),
        serde_json::Value::Array(array) => array.iter().map(depth).max(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => return 0,
    };
    inner.map_or(0, |inner| inner + 1)
}

fn actions(constraint: &ActionConstraint) -> Result<Vec<Action>, String> {
    let uids = match constraint {
        ActionConstraint::Any => return Ok(Action::ALL.to_vec()),
        ActionConstraint::Eq(uid) => {
            // Only `in` reaches into a group.
            return match Action::parse(uid.id().unescaped()) {
                Some(action) => Ok(vec![action]),
                None => Err(format!("{uid} is no action; a group of actions is meant by `action in`")),
            };
        }
        ActionConstraint::In(uids) => uids,
    };
    let mut actions = BTreeSet::new();
    for uid in uids {
        match uid.id().unescaped() {
            name if let Some(group) = Actions::parse(name) => actions.extend(group.actions()),
            name => {
                actions.insert(Action::parse(name).ok_or_else(|| format!("{uid} is no action"))?);
            }
        }
    }
    Ok(actions.into_iter().collect())
}
