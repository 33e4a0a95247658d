//! Cases: questions with the decisions that are expected, for tests of policies.
//!
//! `quorate policy test` reads them from a file and judges each against the policies of a folder; one that fails says
//! what was decided and what became of each policy whose scope matches. What a question is about is given as policies
//! write it, `Tool::"SERVER/NAME"`, by [`Target::parse`].

use std::fmt;

use quorate_types::{Principal, ResourceName, TenantId};

use crate::action::Action;
use crate::decision::{Denial, Question};
use crate::explain::Explanation;
use crate::policies::Policies;
use crate::resource::{Item, Kind, Named, Resource};

/// A question and what is expected.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the case is called.
    pub name: String,
    /// Who asks.
    pub principal: Principal,
    /// What is to be done.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// The JSON text of the arguments, for calls.
    pub arguments: Option<String>,
    /// What is expected.
    pub expected: Expected,
}

/// The decision that a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is allowed.
    Allow,
    /// It is denied, with this label of [`Denial::REASONS`] if one is given.
    Deny(Option<&'static str>),
}

/// What a question is about, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    tenant: TenantId,
    toolset: String,
    kind: Kind,
    server: String,
    name: String,
    exposed: String,
    tags: Vec<String>,
}

/// A text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is nothing that can be asked about: write {allowed}")]
pub struct InvalidTarget {
    text: String,
    allowed: &'static str,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// The case.
    pub case: &'a Case,
    /// The decision, with what led to it.
    pub explanation: Explanation,
}

/// Judges cases, in their order.
#[must_use]
pub fn judge<'a>(policies: &Policies, cases: &'a [Case]) -> Vec<Judgement<'a>> {
    let judged = cases.iter().map(|case| {
        let question = Question {
            action: case.action,
            resource: case.target.resource(),
            arguments: case.arguments.as_deref(),
            request: None,
        };
        Judgement { case, explanation: policies.explain(&policies.subject(&case.principal), &question) }
    });
    judged.collect()
}

// === impl Judgement ===

impl Judgement<'_> {
    /// Whether the decision is the expected one.
    #[must_use]
    pub fn passed(&self) -> bool {
        let verdict = &self.explanation.decision.verdict;
        match &self.case.expected {
            Expected::Allow => verdict.is_allowed(),
            Expected::Deny(None) => !verdict.is_allowed(),
            Expected::Deny(Some(reason)) => verdict.reason() == *reason,
        }
    }
}

impl fmt::Display for Judgement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = &self.explanation.decision;
        if self.passed() {
            return write!(f, "ok    {}", self.case.name);
        }
        let reason = decision.verdict.reason();
        write!(f, "FAIL  {}: expected {}, decided {reason}", self.case.name, self.case.expected)?;
        for policy in &decision.by {
            write!(f, " by {policy}")?;
        }
        let mut considered = self.explanation.candidates().peekable();
        if considered.peek().is_none() {
            write!(f, "\n        no policy has a scope that matches")?;
        }
        considered.try_for_each(|policy| write!(f, "\n        {policy}"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Deny(reason) => f.write_str(reason.unwrap_or("denied")),
        }
    }
}

impl Expected {
    /// Reads `allow`, `deny`, or a label of [`Denial::REASONS`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "allow" => Some(Self::Allow),
            "deny" => Some(Self::Deny(None)),
            _ => Denial::REASONS.into_iter().find(|reason| *reason == text).map(|reason| Self::Deny(Some(reason))),
        }
    }
}

// === impl Target ===

impl Target {
    /// Reads a target as policies write it, `TYPE::"ID"`, in a toolset of a tenant.
    ///
    /// For a toolset itself, `toolset` is not looked at. What the toolset exposes has the name that the server gives it,
    /// and no tags, until [`Target::exposed`] and [`Target::tagged`] say otherwise.
    ///
    /// # Errors
    /// [`InvalidTarget`] says what may be written.
    pub fn parse(text: &str, tenant: TenantId, toolset: &ResourceName) -> Result<Self, InvalidTarget> {
        const TYPES: &str = "TYPE::\"ID\" with Toolset, ToolServer, Tool, Prompt, Resource or Model for TYPE";
        let invalid = |allowed| InvalidTarget { text: text.to_owned(), allowed };
        let (kind, id) = text.split_once("::").ok_or_else(|| invalid(TYPES))?;
        let kind = Kind::parse(kind).ok_or_else(|| invalid(TYPES))?;
        let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).ok_or_else(|| invalid(TYPES))?;
        let (server, name) = match kind {
            Kind::Toolset => ("", ""),
            Kind::ToolServer | Kind::Model => (id, ""),
            Kind::Tool | Kind::Prompt | Kind::Resource => id
                .split_once('/')
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| invalid("SERVER/NAME for the id, or SERVER/URI"))?,
        };
        let named = if kind == Kind::Toolset { id } else { server };
        if ResourceName::new(named).is_err() {
            return Err(invalid("the name of a toolset, tool server or model"));
        }
        let toolset = if kind == Kind::Toolset { id } else { toolset.as_str() };
        Ok(Self {
            tenant,
            toolset: toolset.to_owned(),
            kind,
            server: server.to_owned(),
            name: name.to_owned(),
            exposed: name.to_owned(),
            tags: Vec::new(),
        })
    }

    /// Sets the name that the toolset exposes.
    #[must_use]
    pub fn exposed(self, exposed: impl Into<String>) -> Self {
        Self { exposed: exposed.into(), ..self }
    }

    /// Sets the tags that the toolset gives.
    #[must_use]
    pub fn tagged(self, tags: Vec<String>) -> Self {
        Self { tags, ..self }
    }

    /// Returns the resource that it is.
    #[must_use]
    pub fn resource(&self) -> Resource<'_> {
        let named = Named { server: &self.server, name: &self.name, exposed: &self.exposed, tags: &self.tags };
        let item = match self.kind {
            Kind::Toolset => Item::Toolset,
            Kind::ToolServer => Item::Server { server: &self.server },
            Kind::Tool => Item::Tool(named),
            Kind::Prompt => Item::Prompt(named),
            Kind::Resource => Item::Resource(named),
            Kind::Model => Item::Model { name: &self.server, asked: &self.exposed },
        };
        Resource { tenant: &self.tenant, toolset: &self.toolset, item }
    }
}
