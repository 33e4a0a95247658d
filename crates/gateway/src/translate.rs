//! What a session's actor asks of the gateway: rewriting backends' frames, and dropping lists.
//!
//! Holds its toolset weakly: a session that outlives its configuration gets frames as they are,
//! and ends with its toolset anyway.

use std::sync::Weak;

use quorate_jsonrpc::Frame;
use quorate_mcp::{Era, ListKind, Method};
use quorate_runtime::session::Translate;
use quorate_types::{PrincipalDigest, ResourceName, Sealer};

use crate::handle::Outbound;
use crate::snapshot::ToolsetTable;

/// Rewrites frames of a toolset's servers for one session.
pub(crate) struct Translator {
    toolset: Weak<ToolsetTable>,
    sealer: Sealer,
    caller: PrincipalDigest,
}

// === impl Translator ===

impl Translator {
    /// Makes the translator of a session of `caller` on `toolset`.
    #[must_use]
    pub(crate) fn new(toolset: Weak<ToolsetTable>, sealer: Sealer, caller: PrincipalDigest) -> Self {
        Self { toolset, sealer, caller }
    }
}

impl Translate for Translator {
    fn inbound(&self, server: &ResourceName, method: Option<Method>, frame: Frame) -> Frame {
        let Some(toolset) = self.toolset.upgrade() else { return frame };
        let router = toolset.listing.any_router_of(self.caller);
        let outbound = Outbound {
            sealer: &self.sealer,
            caller: self.caller,
            toolset: &toolset,
            router: router.as_deref(),
            era: Era::Legacy,
        };
        outbound.rewrite(server, method, frame)
    }

    fn list_changed(&self, server: &ResourceName, kind: ListKind) {
        if let Some(toolset) = self.toolset.upgrade() {
            toolset.listing.invalidate(server, kind);
        }
    }
}
