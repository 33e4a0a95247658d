//! Stage 4: may this principal do this.
//!
//! In: a classified request. Out: [`Permitted`], without which nothing is routed. Policy is
//! deny-by-default: a node without a policy refuses everything, and the one policy so far,
//! allow-all, has to be installed explicitly (`quorate up` does, and says so).
//! The vocabulary of actions is final: policies of later versions are written against it.
//! Spec: the architecture's "Identity, policy, content".

use quorate_mcp::Rejected;
use quorate_mcp::message::Operation;

use crate::ask::Asked;
use crate::classify::{Classified, Work};
use crate::resolve::{self, Resolved};

/// What decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing is allowed: there is no policy.
    #[default]
    DenyAll,
    /// Everything is allowed: the explicit development policy.
    AllowAll,
}

/// What a principal wants to do, as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open, listen on, or end a session; discover what is served.
    Connect,
    /// List tools, prompts, resources or templates.
    List,
    /// Call a tool, or follow the task that a call became.
    Call,
    /// Read a resource.
    Read,
    /// Get a prompt.
    Get,
    /// Complete an argument.
    Complete,
    /// Subscribe to changes.
    Subscribe,
    /// Ask the client's model for a completion; a server's wish, as the next two.
    Sample,
    /// Ask the person behind the client.
    Elicit,
    /// Learn the client's folders.
    Roots,
}

/// A server's request to a client that policy allows.
pub(crate) struct PermittedAsk<'a> {
    asked: Asked<'a>,
}

/// A request that policy allows.
pub struct Permitted {
    classified: Classified,
    resolved: Resolved,
}

/// A request may not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Policy said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What it names leads nowhere.
    #[error("{0}")]
    Nowhere(Rejected),
}

/// Policy said no.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is denied: no policy allows it{}", action.as_str(), hint(*policy))]
pub struct Denied {
    /// What was to be done.
    pub action: Action,
    policy: Policy,
}

// === impl Action ===

impl Action {
    /// Returns the action's name in policies, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "mcp:connect",
            Self::List => "mcp:list",
            Self::Call => "mcp:call",
            Self::Read => "mcp:read",
            Self::Get => "mcp:get",
            Self::Complete => "mcp:complete",
            Self::Subscribe => "mcp:subscribe",
            Self::Sample => "mcp:sample",
            Self::Elicit => "mcp:elicit",
            Self::Roots => "mcp:roots",
        }
    }

    /// Returns the action that `operation` is, as a principal would be allowed it.
    #[must_use]
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::List { .. } => Self::List,
            Operation::CallTool { .. } | Operation::Task { .. } | Operation::ListTasks { .. } => Self::Call,
            Operation::ReadResource { .. } => Self::Read,
            Operation::GetPrompt { .. } => Self::Get,
            Operation::Complete { .. } => Self::Complete,
            Operation::Subscribe { .. } | Operation::Unsubscribe { .. } | Operation::Listen { .. } => Self::Subscribe,
            Operation::Initialize { .. }
            | Operation::Ping
            | Operation::Discover
            | Operation::SetLevel { .. }
            | Operation::Initialized
            | Operation::Cancelled { .. }
            | Operation::RootsListChanged
            | Operation::Progress { .. }
            | Operation::Response
            | Operation::OtherNotification => Self::Connect,
        }
    }
}

// === impl Permitted ===

impl Permitted {
    /// The request that may go on.
    #[must_use]
    pub fn classified(&self) -> &Classified {
        &self.classified
    }

    pub(crate) fn into_parts(self) -> (Classified, Resolved) {
        (self.classified, self.resolved)
    }
}

// === impl PermittedAsk ===

impl<'a> PermittedAsk<'a> {
    pub(crate) fn asked(&self) -> &Asked<'a> {
        &self.asked
    }

    pub(crate) fn into_inner(self) -> Asked<'a> {
        self.asked
    }
}

/// Decides whether the caller of `classified` may do it.
///
/// # Errors
/// [`Error`] names the denied action, or the name that leads nowhere.
pub async fn decide(classified: Classified) -> Result<Permitted, Error> {
    let policy = classified.request().toolset().policy;
    match policy {
        Policy::AllowAll => {
            let resolved = resolve::find(classified.request(), classified.work()).await.map_err(Error::Nowhere)?;
            Ok(Permitted { classified, resolved })
        }
        Policy::DenyAll => {
            let action = match classified.work() {
                Work::Modern(call) | Work::Open { call, .. } | Work::InSession { call, .. } => {
                    Action::of(&call.operation)
                }
                Work::Listen { .. } | Work::End { .. } | Work::OpenSse => Action::Connect,
            };
            Err(Denied { action, policy }.into())
        }
    }
}

/// Decides whether a server may ask a client this.
///
/// # Errors
/// [`Denied`] names the denied action.
pub(crate) fn decide_ask(asked: Asked<'_>) -> Result<PermittedAsk<'_>, Denied> {
    let policy = asked.toolset.policy;
    match policy {
        Policy::AllowAll => Ok(PermittedAsk { asked }),
        Policy::DenyAll => Err(Denied { action: asked.action(), policy }),
    }
}

const fn hint(policy: Policy) -> &'static str {
    match policy {
        Policy::DenyAll => {
            " (there is none: `quorate up`, or `quorate serve --allow-all`, installs one that allows everything)"
        }
        Policy::AllowAll => "",
    }
}
