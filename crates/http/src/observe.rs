//! What the owner of a server or client learns about limits and connections.
//!
//! The transport does not know telemetry: it calls an [`Observer`] given by its owner. The names
//! of limits are those of the configuration keys, so that a metric's label, a log line and the
//! setting to change read the same.

use std::net::SocketAddr;

use quorate_tls::Refusal;

/// Hears about connections and about limits that were hit.
///
/// Calls come from the tasks that serve connections: an implementation must not block.
pub trait Observer: Send + Sync + 'static {
    /// A limit was hit; `limit` is one of the names in [`limit`].
    fn limit_hit(&self, limit: &'static str);

    /// The certificate of the client at `peer` was refused in its handshake, or it had none and needs one.
    fn client_refused(&self, _peer: SocketAddr, _refusal: &Refusal) {}

    /// A connection was accepted (before its TLS handshake).
    fn connection_opened(&self) {}

    /// A connection that was opened is gone, for whatever reason.
    fn connection_closed(&self) {}
}

/// Hears nothing: for tests and for tools without metrics.
impl Observer for () {
    fn limit_hit(&self, _limit: &'static str) {}
}

/// The names of limits, equal to the configuration keys that set them.
pub mod limit {
    /// Bytes of a request's head.
    pub const HEADER_BYTES_MAX: &str = "header_bytes_max";
    /// Number of header fields of a request.
    pub const HEADERS_MAX: &str = "headers_max";
    /// Bytes of a request's body.
    pub const BODY_BYTES_MAX: &str = "body_bytes_max";
    /// Time in which a body has to arrive.
    pub const BODY_TIMEOUT: &str = "body_timeout";
    /// Time in which a request's head has to arrive.
    pub const HEADER_READ_TIMEOUT: &str = "header_read_timeout";
    /// Time that a connection may stay open without a request.
    pub const IDLE_TIMEOUT: &str = "idle_timeout";
    /// Time in which a TLS handshake has to end.
    pub const HANDSHAKE_TIMEOUT: &str = "handshake_timeout";
    /// Time that a client may take to accept any more bytes.
    pub const WRITE_STALL_TIMEOUT: &str = "write_stall_timeout";
    /// HTTP/2 streams open at once on one connection.
    pub const STREAMS_PER_CONNECTION_MAX: &str = "streams_per_connection_max";
    /// Time that open requests get once draining began.
    pub const DRAIN_TIMEOUT: &str = "drain_timeout";
    /// Bytes of one server-sent event.
    pub const EVENT_BYTES_MAX: &str = "event_bytes_max";
    /// File descriptors of the process: connections wait in the kernel until one is free.
    pub const OPEN_FILES: &str = "open_files";
}
