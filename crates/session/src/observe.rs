//! A snapshot of a session for the admin API, logs and tests.
//!
//! Counts only: neither ids that a client chose nor contents leave the machine this way.

use serde::Serialize;

/// What a session holds at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Whether it has ended.
    pub ended: bool,
    /// Calls that are open, the machine's own included.
    pub calls: usize,
    /// Requests of backends that wait for the client.
    pub server_requests: usize,
    /// Streams that can still get events.
    pub streams_open: usize,
    /// Streams that have ended and can be resumed to their end.
    pub streams_retained: usize,
    /// Connections that read streams.
    pub attached: usize,
    /// Events in rings.
    pub retained_events: usize,
    /// Bytes in rings.
    pub retained_bytes: usize,
    /// Sources that are held back.
    pub held: usize,
    /// Legs that are open.
    pub legs_open: usize,
    /// Resource subscriptions.
    pub subscriptions: usize,
    /// Calls that wait for their client's answer to a backend.
    pub parked: usize,
}
