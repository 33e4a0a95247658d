//! Stage 2: who calls.
//!
//! In: an accepted request. Out: [`Authenticated`], the evidence that a principal is known. The proofs and their rules are those of all
//! requests ([`crate::authenticate`]); API keys may be in the headers of any vendor, since that is where clients put them.

use super::accept::Accepted;
use crate::authenticate::{Caller, Error, Met};
use crate::credentials::{MODEL_KEY_HEADERS, Shown};

/// A request whose caller is known.
pub(super) struct Authenticated {
    accepted: Accepted,
    caller: Caller,
}

/// A request whose caller is not known.
pub(super) struct Unknown {
    /// The request.
    pub(super) accepted: Accepted,
    /// Why.
    pub(super) error: Error,
}

// === impl Authenticated ===

impl Authenticated {
    /// The request as the listener accepted it.
    pub(super) const fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Who calls.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn into_parts(self) -> (Accepted, Caller) {
        (self.accepted, self.caller)
    }
}

impl std::fmt::Debug for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

/// Identifies the caller of `accepted`.
///
/// # Errors
/// [`Unknown`] says why the caller stays unknown, and has the request.
pub(super) async fn verify(accepted: Accepted) -> Result<Authenticated, Box<Unknown>> {
    let met = Met { snapshot: &accepted.snapshot, connection: &accepted.connection, toolset: None };
    let shown = || Ok(Shown::read_with(&accepted.head, &MODEL_KEY_HEADERS)?);
    // A request without a host cannot be for a resource, and no token is for nothing.
    match met.caller(shown, || accepted.resource().unwrap_or_default()).await {
        Ok(caller) => {
            caller.requests.request();
            Ok(Authenticated { accepted, caller })
        }
        Err(error) => Err(Box::new(Unknown { accepted, error })),
    }
}
