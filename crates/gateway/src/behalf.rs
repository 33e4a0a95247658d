//! On whose behalf the gateway keeps sessions at servers that know no stateless requests.
//!
//! A [`Behalf`] is what of a stateless request decides which upstream session it uses: its caller
//! and what the caller can be asked. It outlives the request where a list is being fetched.

use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_mcp::dialect::onto_legacy::Declared;
use quorate_mcp::{Call, ListKind, Method};
use quorate_runtime::bridge::Wanted;
use quorate_runtime::listing::Audience;
use quorate_runtime::session::{self, Tool, Translate};
use quorate_runtime::{backend, shard};
use quorate_types::{Principal, PrincipalDigest, ResourceName, TenantId};

use crate::authenticate::Caller;
use crate::classify::Request;
use crate::snapshot::{Services, ToolsetTable};

/// The agent name of a caller of our own.
const SURVEYOR: &str = "survey";

/// On whose behalf an upstream session is kept.
#[derive(Clone)]
pub(crate) struct Behalf {
    services: Arc<Services>,
    caller: Caller,
    declared: Declared,
}

/// What such a session's actor asks of the gateway: nothing that depends on a toolset, because the
/// session serves the caller through all of them. The request that reads its frames rewrites them.
struct Passing {
    services: Arc<Services>,
}

// === impl Behalf ===

impl Behalf {
    /// Reads it off a stateless request.
    pub(crate) fn of(request: &Request, call: &Call) -> Self {
        Self {
            services: Arc::clone(&request.snapshot().services),
            caller: request.caller().clone(),
            declared: declared(call),
        }
    }

    /// Makes that of a caller of our own, who looks and cannot be asked anything.
    pub(crate) fn of_nobody(services: &Arc<Services>) -> Self {
        let principal = Principal::agent(TenantId::default(), SURVEYOR);
        let caller = Caller::new(principal, &services.judge.load(), &services.metrics);
        Self { services: Arc::clone(services), caller, declared: Declared::default() }
    }

    /// Whose lists it sees.
    pub(crate) const fn principal(&self) -> PrincipalDigest {
        self.caller.digest
    }

    /// What the caller can be asked.
    pub(crate) const fn declared(&self) -> Declared {
        self.declared
    }

    /// Returns the session at `server`, opening it when there is none.
    ///
    /// # Errors
    /// As [`shard::Sessions::open`].
    pub(crate) async fn session(&self, server: &backend::Handle) -> Result<session::Handle, shard::Error> {
        let wanted = Wanted {
            principal: self.caller.digest,
            tenant: &self.caller.principal.tenant,
            owner: &self.caller.principal,
            server,
            declared: self.declared,
        };
        self.services.bridge.session(wanted, || passing(&self.services)).await
    }
}

/// What rewrites nothing, for a session that is kept on behalf of stateless clients.
pub(crate) fn passing(services: &Arc<Services>) -> Arc<dyn Translate> {
    Arc::new(Passing { services: Arc::clone(services) })
}

// === impl Passing ===

impl Translate for Passing {
    fn inbound(
        &self,
        _server: &ResourceName,
        _method: Option<Method>,
        _tool: Option<&Arc<Tool>>,
        frame: Frame,
    ) -> Frame {
        frame
    }

    /// The request that the call belongs to decides.
    fn ask(&self, _server: &ResourceName, frame: Frame) -> Result<Frame, Bytes> {
        Ok(frame)
    }

    fn list_changed(&self, server: &ResourceName, kind: ListKind) {
        for table in self.services.toolsets.load().values().flat_map(|toolset| toolset.tables()) {
            table.listing.invalidate(server, kind);
        }
    }
}

/// The audience of a stateless request: what a server of sessions lists may depend on what the
/// client declares, so that such toolsets have a list for each set of it.
pub(crate) fn audience(toolset: &ToolsetTable, call: &Call) -> Audience {
    let needs_session = toolset.listing.servers().iter().any(backend::Handle::needs_session);
    Audience::Modern(if needs_session { declared(call).bits() } else { 0 })
}

fn declared(call: &Call) -> Declared {
    call.client_capabilities().map(Declared::read).unwrap_or_default()
}
