//! Why a request of a model is not answered, as every stage says it, and what its client is told.
//!
//! Texts are for the people who operate the client: they say what is allowed. Credentials are told nothing of, as everywhere.

use std::collections::BTreeSet;

use quorate_http::BodyError;
use quorate_llm::Fault;
use quorate_llm::error::Kind;
use quorate_types::Code;

use super::authenticate::Unknown;
use crate::authorize::needed;
use crate::{admit, listener};

/// A request that some stage refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Stage 1.
    #[error(transparent)]
    Listener(#[from] listener::Error),
    /// Stage 1: nothing is served at the path.
    #[error("nothing is served at {path:?}")]
    Nothing {
        /// The path, shortened.
        path: String,
    },
    /// Stage 2.
    #[error("{}", .0.error.told())]
    Authenticate(Box<Unknown>),
    /// Stage 3: the body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Stage 3: it asks nothing.
    #[error(transparent)]
    Classify(Fault),
    /// Stage 4: the model does not exist for the caller.
    #[error("the model {model:?} does not exist, or may not be used here")]
    Unknown {
        /// As it was asked for.
        model: String,
    },
    /// Stage 4.
    #[error(transparent)]
    Denied(Denied),
    /// Stage 4: the model does not take so much.
    #[error("the body has more than {max} bytes, which is the most that this model takes (spec.limits.body)")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// Stage 5.
    #[error(transparent)]
    Route(Fault),
    /// Stage 6.
    #[error(transparent)]
    Admit(admit::Error),
    /// Dispatch.
    #[error(transparent)]
    Dispatch(Fault),
    /// It took longer than the listener allows.
    #[error("no answer within the listener's time for a request (spec.limits.total)")]
    Timeout,
}

/// Policy said no. The text is for the caller, and names no policy.
#[derive(Debug, thiserror::Error)]
#[error("`llm:invoke` of the model {model:?} is denied{}", needed(scopes))]
pub(crate) struct Denied {
    /// As it was asked for.
    pub(super) model: String,
    /// The scopes that the caller has to have in all, where those are all that is missing.
    pub(super) scopes: BTreeSet<String>,
}

// === impl Refusal ===

impl Refusal {
    /// The stage and the reason, as metrics have them.
    pub(super) fn label(&self) -> (&'static str, &'static str) {
        match self {
            Self::Listener(error) => ("listener", error.reason()),
            Self::Nothing { .. } => ("listener", "path"),
            Self::Authenticate(unknown) => ("authenticate", unknown.error.reason()),
            Self::Body(BodyError::TooLarge { .. }) | Self::TooLarge { .. } => ("classify", "body_too_large"),
            Self::Body(BodyError::Timeout { .. }) => ("classify", "body_timeout"),
            Self::Body(BodyError::Broken(_)) => ("classify", "body_broken"),
            Self::Classify(fault) => ("classify", fault.kind.label()),
            Self::Unknown { .. } => ("authorize", "unknown_model"),
            Self::Denied(_) => ("authorize", "denied"),
            Self::Route(fault) => ("route", fault.kind.label()),
            Self::Admit(_) => ("admit", "concurrency"),
            Self::Dispatch(fault) => ("dispatch", fault.kind.label()),
            Self::Timeout => ("dispatch", "timeout"),
        }
    }

    /// What the client is told.
    pub(super) fn fault(&self) -> Fault {
        let kind = match self {
            Self::Classify(fault) | Self::Route(fault) | Self::Dispatch(fault) => return fault.clone(),
            Self::Unknown { .. } => return Fault { field: Some("model".to_owned()), ..self.of(Kind::NotFound) },
            Self::Listener(listener::Error::ListenerGone { .. }) => Kind::Unavailable,
            Self::Listener(listener::Error::Host { .. } | listener::Error::Origin { .. }) | Self::Denied(_) => {
                Kind::Denied
            }
            Self::Listener(listener::Error::Method { .. }) => Kind::Invalid,
            Self::Listener(listener::Error::Path { .. } | listener::Error::Toolset { .. }) | Self::Nothing { .. } => {
                Kind::NotFound
            }
            Self::Authenticate(unknown) => match unknown.error.code() {
                Code::InvalidArgument => Kind::Invalid,
                Code::Unavailable => Kind::Unavailable,
                _ => Kind::Unauthenticated,
            },
            Self::Body(BodyError::TooLarge { .. }) | Self::TooLarge { .. } => Kind::TooLarge,
            Self::Body(BodyError::Timeout { .. }) | Self::Timeout => Kind::Timeout,
            Self::Body(BodyError::Broken(_)) => Kind::Invalid,
            Self::Admit(_) => Kind::Overloaded,
        };
        self.of(kind)
    }

    fn of(&self, kind: Kind) -> Fault {
        Fault::new(kind, self.to_string())
    }
}
