//! Stage 7: may this content pass.
//!
//! In: an admitted request. Out: [`Inspected`], without which nothing is dispatched. Guardrails
//! come into this stage; until a resource configures one, everything passes, and the types say
//! already that a later stage cannot skip it.

use std::convert::Infallible;

use tokio::sync::OwnedSemaphorePermit;

use crate::admit::Admitted;
use crate::route::Routed;

/// A request whose content may pass.
pub struct Inspected {
    admitted: Admitted,
}

/// Content was refused. Nothing refuses content yet.
pub type Error = Infallible;

// === impl Inspected ===

impl Inspected {
    /// The request.
    #[must_use]
    pub fn routed(&self) -> &Routed {
        self.admitted.routed()
    }

    pub(crate) fn into_parts(self) -> (Routed, Option<OwnedSemaphorePermit>) {
        self.admitted.into_parts()
    }
}

/// Inspects the content of `admitted`.
///
/// # Errors
/// None yet.
pub fn scan(admitted: Admitted) -> Result<Inspected, Error> {
    Ok(Inspected { admitted })
}
