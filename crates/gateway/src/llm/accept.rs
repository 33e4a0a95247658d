//! Stage 1: is this request for us at all.
//!
//! In: a connection's facts, an HTTP request, and what its path asks for. Out: [`Accepted`], with the snapshot that the request keeps
//! to its end. Refuses hosts and pages that the listener does not serve, and methods that a path does not have. Knows nothing of
//! callers and reads no body.

use std::sync::Arc;

use http::request;
use quorate_http::RequestBody;
use quorate_telemetry::TraceId;

use super::endpoint::Endpoint;
use crate::listener::{self, Connection, Error};
use crate::protected;
use crate::snapshot::{ListenerTable, Snapshot};

/// A request that this listener serves.
pub(crate) struct Accepted {
    /// The tables that it sees to its end.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The connection it came on.
    pub(crate) connection: Arc<Connection>,
    /// What its path asks for.
    pub(crate) endpoint: Endpoint,
    /// The trace that it belongs to.
    pub(crate) trace: TraceId,
    /// The method, URI and headers.
    pub(crate) head: request::Parts,
    /// None once it was taken.
    body: Option<RequestBody>,
}

// === impl Accepted ===

impl Accepted {
    /// The listener that it came to.
    pub(crate) fn listener(&self) -> Option<&ListenerTable> {
        self.snapshot.listener(&self.connection.listener)
    }

    /// The URL that tokens of its callers have to be for: of all models of the listener.
    pub(super) fn resource(&self) -> Option<String> {
        let base = protected::base(self.listener()?, &self.connection, &self.head.uri, &self.head.headers)?;
        Some(base + "/v1")
    }

    /// Takes the body; the second time there is none.
    pub(super) fn take_body(&mut self) -> Option<RequestBody> {
        self.body.take()
    }
}

/// Accepts `request`, which belongs to a trace.
///
/// # Errors
/// [`Error`] says which part of it is not served here.
pub(super) fn accept(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: http::Request<RequestBody>,
    endpoint: Endpoint,
    trace: TraceId,
) -> Result<Accepted, Error> {
    let (head, body) = request.into_parts();
    listener::visit(&snapshot, &connection, &head)?;
    if !endpoint.allows(&head.method) {
        return Err(Error::Method { method: head.method, allowed: endpoint.allowed() });
    }
    Ok(Accepted { snapshot, connection, endpoint, trace, head, body: Some(body) })
}
