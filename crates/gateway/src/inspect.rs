//! Stage 7: may this content pass.
//!
//! In: an admitted request. Out: [`Inspected`], without which nothing is dispatched. Guardrails
//! come into this stage; until a resource configures one, everything passes, and the types say
//! already that a later stage cannot skip it.

use std::convert::Infallible;

use tokio::sync::OwnedSemaphorePermit;

use crate::admit::{Admitted, AdmittedAsk};
use crate::ask::Asked;
use crate::route::Routed;

/// A request whose content may pass.
pub struct Inspected {
    admitted: Admitted,
}

/// Content was refused. Nothing refuses content yet.
pub type Error = Infallible;

/// A server's request to a client whose content may pass.
pub(crate) struct InspectedAsk<'a> {
    admitted: AdmittedAsk<'a>,
}

// === impl InspectedAsk ===

impl<'a> InspectedAsk<'a> {
    pub(crate) fn into_inner(self) -> Asked<'a> {
        self.admitted.into_inner()
    }
}

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

/// Inspects the content of what a server asks of a client.
///
/// # Errors
/// None yet.
pub(crate) fn scan_ask(admitted: AdmittedAsk<'_>) -> Result<InspectedAsk<'_>, Error> {
    Ok(InspectedAsk { admitted })
}
