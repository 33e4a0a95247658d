//! Stage 6: is there room.
//!
//! In: a routed request. Out: [`Admitted`], which holds a permit of the listener's concurrency
//! limit until the request's answer has begun. Requests that stay open by design (streams) give
//! it back then: they are bounded by the session's and the connection's own limits.
//! Quotas and reservations come into this stage; it knows nothing of contents.

use tokio::sync::OwnedSemaphorePermit;

use crate::ask::Asked;
use crate::authorize::PermittedAsk;
use crate::route::Routed;

/// A request that there is room for.
pub struct Admitted {
    routed: Routed,
    permit: Option<OwnedSemaphorePermit>,
}

/// There is no room now.
#[derive(Debug, thiserror::Error)]
#[error("the listener serves {max} requests at once, which is its limit (spec.limits.concurrency)")]
pub struct Error {
    /// The limit.
    pub max: u64,
}

/// A server's request to a client that there is room for: sessions bound how many wait, and a node
/// that goes away takes none on.
pub(crate) struct AdmittedAsk<'a> {
    permitted: PermittedAsk<'a>,
}

/// A server's request to a client comes at a time when nobody could answer it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The node is going away.
    #[error("the gateway is shutting down: ask again on the next session")]
    Draining,
}

// === impl AdmittedAsk ===

impl<'a> AdmittedAsk<'a> {
    pub(crate) fn into_inner(self) -> Asked<'a> {
        self.permitted.into_inner()
    }
}

// === impl Admitted ===

impl Admitted {
    /// The request.
    #[must_use]
    pub fn routed(&self) -> &Routed {
        &self.routed
    }

    pub(crate) fn into_parts(self) -> (Routed, Option<OwnedSemaphorePermit>) {
        (self.routed, self.permit)
    }
}

/// Takes a permit for `routed`.
///
/// # Errors
/// [`Error`] when all permits are taken: shed at once, with a hint to come back.
pub fn acquire(routed: Routed) -> Result<Admitted, Error> {
    let request = routed.request();
    let Some(listener) = request.listener() else { return Ok(Admitted { routed, permit: None }) };
    let permit = std::sync::Arc::clone(&listener.concurrency).try_acquire_owned();
    match permit {
        Ok(permit) => Ok(Admitted { routed, permit: Some(permit) }),
        Err(_) => {
            request.snapshot().services.metrics.limit_hit("concurrency");
            Err(Error { max: u64::from(listener.config.limits.concurrency) })
        }
    }
}

/// Takes a server's request to a client on.
///
/// # Errors
/// [`AskError::Draining`].
pub(crate) fn acquire_ask(permitted: PermittedAsk<'_>) -> Result<AdmittedAsk<'_>, AskError> {
    if permitted.asked().services.draining.is_cancelled() {
        return Err(AskError::Draining);
    }
    Ok(AdmittedAsk { permitted })
}
