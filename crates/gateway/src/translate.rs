//! What a session's actor asks of the gateway: rewriting backends' frames, and dropping lists.
//!
//! Looks its toolset up by name each time, so that a session follows the configuration. When the
//! toolset is gone, the session ends with it, and what still arrives passes as it is.

use std::sync::Arc;

use quorate_jsonrpc::Frame;
use quorate_mcp::{Era, ListKind, Method};
use quorate_runtime::session::Translate;
use quorate_types::{PrincipalDigest, ResourceName};

use crate::handle::Outbound;
use crate::snapshot::Services;

/// Rewrites frames of a toolset's servers for one session.
pub(crate) struct Translator {
    services: Arc<Services>,
    toolset: ResourceName,
    caller: PrincipalDigest,
}

// === impl Translator ===

impl Translator {
    /// Makes the translator of a session of `caller` on `toolset`.
    #[must_use]
    pub(crate) fn new(services: Arc<Services>, toolset: ResourceName, caller: PrincipalDigest) -> Self {
        Self { services, toolset, caller }
    }
}

impl Translate for Translator {
    fn inbound(&self, server: &ResourceName, method: Option<Method>, frame: Frame) -> Frame {
        let Some(toolset) = self.services.toolset(&self.toolset) else { return frame };
        let router = toolset.listing.any_router_of(self.caller);
        let outbound = Outbound {
            sealer: &self.services.sealer,
            caller: self.caller,
            toolset: &toolset,
            router: router.as_deref(),
            era: Era::Legacy,
        };
        outbound.rewrite(server, method, frame)
    }

    fn list_changed(&self, server: &ResourceName, kind: ListKind) {
        if let Some(toolset) = self.services.toolset(&self.toolset) {
            toolset.listing.invalidate(server, kind);
        }
    }
}
