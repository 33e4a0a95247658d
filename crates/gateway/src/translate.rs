//! What a session's actor asks of the gateway: rewriting backends' frames, and dropping lists.
//!
//! Looks its toolset up by name each time, so that a session follows the configuration. When the
//! toolset is gone, the session ends with it, and what still arrives passes as it is.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Limits, build};
use quorate_mcp::dialect::onto_legacy::Question;
use quorate_mcp::{Era, ListKind, Method};
use quorate_runtime::listing::{Audience, Listing, View};
use quorate_runtime::session::{self, Memory, Translate};
use quorate_session::Event;
use quorate_types::{PrincipalDigest, ResourceName};

use crate::ask::{self, Asked};
use crate::handle::Outbound;
use crate::snapshot::{Services, ToolsetTable};

/// Rewrites frames of a toolset's servers for one session.
pub(crate) struct Translator {
    services: Arc<Services>,
    toolset: ResourceName,
    caller: PrincipalDigest,
    memory: Arc<Memory>,
    view: OnceLock<View>,
}

// === impl Translator ===

impl Translator {
    /// Makes the translator of a session of `caller` on `toolset`, whose lists are those of
    /// `view`: not yet known for HTTP+SSE.
    #[must_use]
    pub(crate) fn new(
        services: Arc<Services>,
        toolset: ResourceName,
        caller: PrincipalDigest,
        memory: Arc<Memory>,
        view: Option<u64>,
    ) -> Self {
        let view = view.map(|view| View { principal: caller, audience: Audience::Legacy(view) });
        Self { services, toolset, caller, memory, view: view.map_or_else(OnceLock::new, OnceLock::from) }
    }

    /// The toolset with the session's versions of its servers.
    fn toolset(&self) -> Option<Arc<ToolsetTable>> {
        let toolset = self.services.toolset(&self.toolset)?;
        Some(Arc::clone(toolset.of_session(self.caller, &self.memory)))
    }

    /// The session's view; for HTTP+SSE one of the same caller, as soon as that listed resources.
    fn view(&self, listing: &Listing) -> Option<View> {
        match self.view.get() {
            Some(view) => Some(*view),
            None => listing.any_view_of(self.caller).map(|view| *self.view.get_or_init(|| view)),
        }
    }
}

impl Translate for Translator {
    fn inbound(&self, server: &ResourceName, method: Option<Method>, frame: Frame) -> Frame {
        let Some(toolset) = self.toolset() else { return frame };
        let router = self.view(&toolset.listing).and_then(|view| toolset.listing.last_router(view));
        let outbound = Outbound {
            sealer: &self.services.sealer,
            caller: self.caller,
            toolset: &toolset,
            router: router.as_deref(),
            era: Era::Legacy,
        };
        outbound.rewrite(server, method, frame)
    }

    fn ask(&self, server: &ResourceName, frame: Frame) -> Result<Frame, Bytes> {
        let (Some(toolset), Some(question)) = (self.toolset(), Question::of(&frame)) else {
            return Ok(frame); // A ping, or something that the client has to judge.
        };
        let asked = Asked { services: &self.services, toolset: &toolset, server, question, frame: frame.clone() };
        ask::pass(asked).or_else(|error| match ask::refusal(&self.services, &frame, &error) {
            Some(answer) => Err(answer),
            None => Ok(frame),
        })
    }

    fn list_changed(&self, server: &ResourceName, kind: ListKind) {
        if let Some(toolset) = self.services.toolset(&self.toolset) {
            toolset.invalidate(server, kind);
        }
    }
}

/// Tells the client of a session that one of its lists has changed; `method` is the notification's.
pub(crate) fn list_changed(session: &session::Handle, method: Method) {
    let notification = build::notification(method.as_str(), None);
    if let Ok(frame) = Frame::parse(notification, &Limits::ANSWER) {
        session.tell(Event::GatewayNotify { frame });
    }
}
