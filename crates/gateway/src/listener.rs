//! Stage 1: is this request for us at all.
//!
//! In: a connection's facts and an HTTP request. Out: [`Accepted`]: the snapshot that the
//! request keeps to its end, and the [`Endpoint`] that its path names. Refuses hosts and origins
//! that are not allowed (DNS rebinding: MCP "Security Warning" of the HTTP transport), unknown
//! paths and toolsets, and methods that an endpoint does not have.
//! Knows nothing of callers and reads no body.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode, request};
use quorate_http::RequestBody;
use quorate_telemetry::TraceId;
use quorate_tls::PeerIdentity;
use quorate_types::ResourceName;

use crate::llm;
use crate::protected::{self, Demands, Site, WellKnown};
use crate::snapshot::{ListenerTable, Snapshot};
use crate::toolset::Toolset;

/// The toolset that is served without a name in the path.
pub const DEFAULT_TOOLSET: &str = "default";

/// The facts of a connection that stages look at.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The listener it came to.
    pub listener: ResourceName,
    /// The address of the listener.
    pub local: SocketAddr,
    /// The address of the client.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
    /// What the client's certificate proved, where it showed one.
    pub certificate: Option<Arc<PeerIdentity>>,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/mcp` and `/mcp/NAME`: streamable HTTP.
    Mcp,
    /// `/sse` and `/sse/NAME`: HTTP+SSE of revision 2024-11-05.
    Sse,
}

/// A request that this listener serves.
pub struct Accepted {
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    endpoint: Endpoint,
    toolset: Arc<Toolset>,
    trace: TraceId,
    head: request::Parts,
    body: RequestBody,
}

/// A request that is not for us.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener has gone since the connection was made.
    #[error("listener `{listener}` was removed")]
    ListenerGone {
        /// Its name.
        listener: ResourceName,
    },
    /// The `Host` header names a host that is not served here.
    #[error("host {host:?} is not served here: list it under spec.hosts of listener `{listener}`")]
    Host {
        /// The host as given.
        host: String,
        /// The listener.
        listener: ResourceName,
    },
    /// The `Origin` header names a web page that may not call.
    #[error("origin {origin:?} may not call: list it under spec.origins of listener `{listener}`")]
    Origin {
        /// The origin as given.
        origin: String,
        /// The listener.
        listener: ResourceName,
    },
    /// No endpoint has this path.
    #[error(
        "nothing is served at {path:?}: MCP is at /mcp, /mcp/TOOLSET, /sse and /sse/TOOLSET, models are below /v1/ and /v1beta/"
    )]
    Path {
        /// The path as given, shortened.
        path: String,
    },
    /// The toolset does not exist here.
    #[error("there is no toolset {name:?} here")]
    Toolset {
        /// The name in the path, shortened.
        name: String,
    },
    /// The endpoint does not have this method.
    #[error("{method} is not a method of this endpoint: use {allowed}")]
    Method {
        /// The method as given.
        method: Method,
        /// The `Allow` header.
        allowed: &'static str,
    },
}

// === impl Error ===

impl Error {
    pub(crate) fn nothing_at(path: &str) -> Self {
        Self::Path { path: shortened(path) }
    }

    /// The label of this refusal in metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ListenerGone { .. } => "listener_gone",
            Self::Host { .. } => "host",
            Self::Origin { .. } => "origin",
            Self::Path { .. } => "path",
            Self::Toolset { .. } => "toolset",
            Self::Method { .. } => "method",
        }
    }

    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::ListenerGone { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Host { .. } | Self::Origin { .. } => StatusCode::FORBIDDEN,
            Self::Path { .. } | Self::Toolset { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The methods of this endpoint, as an `Allow` header.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Mcp => "POST, GET, DELETE, OPTIONS",
            Self::Sse => "GET, POST, OPTIONS",
        }
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Mcp => [Method::POST, Method::GET, Method::DELETE].contains(method),
            Self::Sse => [Method::GET, Method::POST].contains(method),
        }
    }
}

// === impl Accepted ===

impl Accepted {
    /// The tables that this request sees to its end.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The connection it came on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What its path names.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The toolset that its path names.
    #[must_use]
    pub fn toolset(&self) -> &Arc<Toolset> {
        &self.toolset
    }

    /// The trace that it belongs to, recorded or not.
    #[must_use]
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The listener that it came to.
    #[must_use]
    pub fn listener(&self) -> Option<&ListenerTable> {
        self.snapshot.listener(&self.connection.listener)
    }

    /// What the toolset demands of its callers.
    #[must_use]
    pub fn demands(&self) -> &Demands {
        self.snapshot.demands(self.toolset.name())
    }

    /// Where the caller stands, if it is challenged.
    pub(crate) fn site(&self) -> Site<'_> {
        let base = self
            .listener()
            .and_then(|listener| protected::base(listener, &self.connection, &self.head.uri, &self.head.headers));
        Site { base, endpoint: self.endpoint, toolset: self.toolset.name().as_str(), demands: self.demands() }
    }

    /// The method, URI and headers.
    #[must_use]
    pub fn head(&self) -> &request::Parts {
        &self.head
    }

    pub(crate) fn into_body(self) -> (AcceptedHead, RequestBody) {
        let Self { snapshot, connection, endpoint, toolset, trace, head, body } = self;
        (AcceptedHead { snapshot, connection, endpoint, toolset, trace, head: Arc::new(head) }, body)
    }
}

/// An accepted request whose body has been taken.
#[derive(Clone)]
pub struct AcceptedHead {
    /// The tables that this request sees to its end.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The connection it came on.
    pub(crate) connection: Arc<Connection>,
    /// What its path names.
    pub(crate) endpoint: Endpoint,
    /// The toolset that its path names.
    pub(crate) toolset: Arc<Toolset>,
    /// The trace that it belongs to: of its headers, or of the message where that says.
    pub(crate) trace: TraceId,
    /// The method, URI and headers. Shared, since a request may have to be asked again.
    pub(crate) head: Arc<request::Parts>,
}

// === impl AcceptedHead ===

impl AcceptedHead {
    /// The listener that it came to.
    pub(crate) fn listener(&self) -> Option<&ListenerTable> {
        self.snapshot.listener(&self.connection.listener)
    }

    /// What the toolset demands of its callers.
    pub(crate) fn demands(&self) -> &Demands {
        self.snapshot.demands(self.toolset.name())
    }

    /// Where the caller stands, if it is challenged.
    pub(crate) fn site(&self) -> Site<'_> {
        let listener = self.snapshot.listener(&self.connection.listener);
        let base = listener
            .and_then(|listener| protected::base(listener, &self.connection, &self.head.uri, &self.head.headers));
        Site { base, endpoint: self.endpoint, toolset: self.toolset.name().as_str(), demands: self.demands() }
    }
}

/// Takes a request that another node of the cluster has accepted, for the endpoint and toolset that it names.
///
/// # Errors
/// [`Error`] when this node's configuration does not serve it.
pub(crate) fn relayed(
    snapshot: Arc<Snapshot>,
    connection: Connection,
    (endpoint, toolset): (Endpoint, &str),
    head: request::Parts,
    trace: TraceId,
) -> Result<AcceptedHead, Error> {
    let table = table(&snapshot, &connection)?;
    let toolset = snapshot.toolset(table, toolset).ok_or_else(|| Error::Toolset { name: shortened(toolset) })?;
    let toolset = Arc::clone(toolset);
    let (connection, head) = (Arc::new(connection), Arc::new(head));
    Ok(AcceptedHead { snapshot, connection, endpoint, toolset, trace, head })
}

/// Accepts `request`, which belongs to a trace, for the endpoint that its path names.
///
/// # Errors
/// [`Error`] says which part of the request is not served here.
pub fn accept(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: http::Request<RequestBody>,
    trace: TraceId,
) -> Result<Accepted, Error> {
    let (head, body) = request.into_parts();
    let table = table(&snapshot, &connection)?;
    check_access(table, &head, &connection.listener)?;
    let (endpoint, name) = endpoint(head.uri.path())?;
    let toolset = snapshot.toolset(table, name).ok_or_else(|| Error::Toolset { name: shortened(name) })?;
    let toolset = Arc::clone(toolset);
    Ok(Accepted { snapshot, connection, endpoint, toolset, trace, head, body })
}

/// Checks the method of a request, once it is known that its toolset exists for its caller: where there is nothing, no
/// method is wrong.
///
/// # Errors
/// [`Error::Method`] for one that the endpoint does not have.
pub fn check_method(accepted: &Accepted) -> Result<(), Error> {
    let (endpoint, method) = (accepted.endpoint, &accepted.head.method);
    if endpoint.allows(method) {
        return Ok(());
    }
    Err(Error::Method { method: method.clone(), allowed: endpoint.allowed() })
}

/// Checks a cross-origin preflight: the origin it may be answered for. Returns the methods that the path has.
///
/// # Errors
/// As [`accept`]: a preflight passes the same checks of host, origin and path.
pub fn preflight(snapshot: &Snapshot, connection: &Connection, head: &request::Parts) -> Result<&'static str, Error> {
    check_access(table(snapshot, connection)?, head, &connection.listener)?;
    if WellKnown::parse(head.uri.path()).is_some() {
        return Ok("GET, OPTIONS");
    }
    if let Some(endpoint) = llm::Endpoint::parse(head.uri.path(), &head.headers) {
        return Ok(endpoint.allowed());
    }
    endpoint(head.uri.path()).map(|(endpoint, _)| endpoint.allowed())
}

/// Checks a request for what is public of a listener, which is answered to the hosts and pages that it serves.
///
/// # Errors
/// As [`accept`]: of the listener, its hosts and origins.
pub(crate) fn visit<'a>(
    snapshot: &'a Snapshot,
    connection: &Connection,
    head: &request::Parts,
) -> Result<&'a ListenerTable, Error> {
    let table = table(snapshot, connection)?;
    check_access(table, head, &connection.listener)?;
    Ok(table)
}

fn table<'a>(snapshot: &'a Snapshot, connection: &Connection) -> Result<&'a ListenerTable, Error> {
    snapshot.listener(&connection.listener).ok_or_else(|| Error::ListenerGone { listener: connection.listener.clone() })
}

fn check_access(table: &ListenerTable, head: &request::Parts, listener: &ResourceName) -> Result<(), Error> {
    // HTTP/2 carries the host in `:authority`, which hyper puts into the URI.
    let host = head.uri.authority().map_or_else(|| header(&head.headers, &HOST), http::uri::Authority::as_str);
    if !table.config.hosts.allows(host) {
        return Err(Error::Host { host: shortened(host), listener: listener.clone() });
    }
    if head.headers.contains_key(ORIGIN) {
        let origin = header(&head.headers, &ORIGIN);
        if !table.config.origins.allows(origin) {
            return Err(Error::Origin { origin: shortened(origin), listener: listener.clone() });
        }
    }
    Ok(())
}

/// Reads which endpoint and toolset a path names.
pub(crate) fn endpoint(path: &str) -> Result<(Endpoint, &str), Error> {
    let unknown = || Error::Path { path: shortened(path) };
    let (endpoint, rest) = match path.strip_prefix("/mcp") {
        Some(rest) => (Endpoint::Mcp, rest),
        None => (Endpoint::Sse, path.strip_prefix("/sse").ok_or_else(unknown)?),
    };
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Ok((endpoint, DEFAULT_TOOLSET)),
        Some("") => Ok((endpoint, DEFAULT_TOOLSET)),
        Some(name) if !name.contains('/') => Ok((endpoint, name)),
        Some(_) | None => Err(unknown()),
    }
}

/// A header's text; one that is no text is treated as a value that nothing allows.
fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or("\u{fffd}"))
}

/// At most 64 characters of a stranger's text, for a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_endpoint_and_a_toolset() {
        let accepted = [
            ("/mcp", Endpoint::Mcp, "default"),
            ("/mcp/", Endpoint::Mcp, "default"),
            ("/mcp/files", Endpoint::Mcp, "files"),
            ("/sse", Endpoint::Sse, "default"),
            ("/sse/files", Endpoint::Sse, "files"),
        ];
        for (path, expected, name) in accepted {
            assert_eq!(endpoint(path).ok(), Some((expected, name)), "{path}");
        }
        for path in ["", "/", "/mcpx", "/mcp/a/b", "/v1/models", "/ssee"] {
            assert!(matches!(endpoint(path), Err(Error::Path { .. })), "{path}");
        }
    }
}
