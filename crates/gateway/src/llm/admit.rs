//! Stage 6: is there room.
//!
//! In: a routed request. Out: [`Admitted`], which holds a permit of the listener's concurrency limit until the answer is there or
//! begins: streams that are open are bounded by the connection's own limits and by their providers'. Quotas and reservations come into
//! this stage.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::refusal::Refusal;
use super::route::Routed;
use crate::admit::Error;

/// A request that there is room for.
pub(super) struct Admitted {
    routed: Routed,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl Admitted ===

impl Admitted {
    pub(super) fn into_parts(self) -> (Routed, Option<OwnedSemaphorePermit>) {
        (self.routed, self.permit)
    }
}

/// Takes a permit for `routed`.
///
/// # Errors
/// [`Refusal::Admit`] when all permits are taken.
pub(super) fn acquire(routed: Routed) -> Result<Admitted, Refusal> {
    let accepted = routed.permitted().classified().accepted();
    let Some(listener) = accepted.listener() else { return Ok(Admitted { routed, permit: None }) };
    match Arc::clone(&listener.concurrency).try_acquire_owned() {
        Ok(permit) => Ok(Admitted { routed, permit: Some(permit) }),
        Err(_) => {
            accepted.snapshot.services.metrics.limit_hit("concurrency");
            Err(Refusal::Admit(Error { max: u64::from(listener.config.limits.concurrency) }))
        }
    }
}
