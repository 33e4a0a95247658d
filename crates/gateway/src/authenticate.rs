//! Stage 2: who calls.
//!
//! In: an accepted request. Out: [`Authenticated`], the evidence that a principal is known.
//! The one identity source so far is the development identity: a fixed principal that the
//! operator has to switch on, and that only a caller on loopback gets from a loopback listener.
//! Everybody else is refused; there is no anonymous principal.
//! Knows nothing of the protocol: it looks at the connection, never at the body.

use std::sync::Arc;

use quorate_types::{Principal, PrincipalDigest, TenantId};

use crate::listener::Accepted;

/// The agent name of the development identity.
pub const DEVELOPMENT_AGENT: &str = "development";

/// Where a listener may take identities from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody can be identified: every request is refused.
    None,
    /// Callers on loopback are the development principal.
    Development(Caller),
}

/// A principal with its digest, computed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The digest that owns its sessions and handles.
    pub digest: PrincipalDigest,
}

/// A request whose caller is known.
pub struct Authenticated {
    accepted: Accepted,
    caller: Caller,
}

/// Nobody could be identified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node has no identity source.
    #[error(
        "no identity source is configured, so nobody can be identified: `quorate up`, or `quorate serve --development-identity` with a loopback listener, gives a development identity"
    )]
    NoSource,
    /// The development identity is for loopback only.
    #[error(
        "the development identity is given on loopback only: listener `{listener}` or the caller is not on loopback"
    )]
    NotLoopback {
        /// The listener that the request came to.
        listener: String,
    },
    /// The listener requires a part of the principal that is not known.
    #[error("listener `{listener}` requires {missing} (spec.requires), and the caller has none")]
    Required {
        /// The listener that the request came to.
        listener: String,
        /// What is missing.
        missing: &'static str,
    },
}

// === impl Error ===

impl Error {
    /// The label of this refusal in metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSource => "no_source",
            Self::NotLoopback { .. } => "not_loopback",
            Self::Required { .. } => "required",
        }
    }
}

// === impl Identity ===

impl Identity {
    /// Makes the development identity source.
    #[must_use]
    pub fn development() -> Self {
        let principal = Principal::agent(TenantId::default(), DEVELOPMENT_AGENT);
        let digest = principal.digest();
        Self::Development(Caller { principal: Arc::new(principal), digest })
    }
}

// === impl Authenticated ===

impl Authenticated {
    /// The request as the listener accepted it.
    #[must_use]
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn into_parts(self) -> (Accepted, Caller) {
        (self.accepted, self.caller)
    }
}

/// Identifies the caller of `accepted`.
///
/// # Errors
/// [`Error::NoSource`] and [`Error::NotLoopback`]: the caller stays unknown.
pub fn verify(accepted: Accepted) -> Result<Authenticated, Error> {
    match &accepted.snapshot().identity {
        Identity::None => Err(Error::NoSource),
        Identity::Development(caller) => {
            let connection = accepted.connection();
            if !connection.local.ip().is_loopback() || !connection.peer.ip().is_loopback() {
                return Err(Error::NotLoopback { listener: connection.listener.to_string() });
            }
            let caller = caller.clone();
            if let Some(missing) = missing(&accepted, &caller.principal) {
                return Err(Error::Required { listener: connection.listener.to_string(), missing });
            }
            Ok(Authenticated { accepted, caller })
        }
    }
}

/// The part of a principal that the listener requires and this one does not have.
fn missing(accepted: &Accepted, principal: &Principal) -> Option<&'static str> {
    let listener = accepted.snapshot().listener(&accepted.connection().listener)?;
    let requires = listener.config.requires;
    match principal {
        Principal { agent: None, .. } if requires.agent => Some("an agent"),
        Principal { user: None, .. } if requires.user => Some("a user"),
        _ => None,
    }
}
