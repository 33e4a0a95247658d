//! The limits of a server connection, with the reason for each default.
//!
//! Plain data: [`Limits::check`] says which value cannot work, and [`super::Server::new`] refuses
//! such limits. The total time of a request and the number of connections are not here: the
//! handler and the accept loop own them.

use std::time::Duration;

use crate::observe::limit;

/// Limits of every connection of a [`super::Server`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head, request line and names included (HTTP/2: after decompression).
    /// Beyond it 431. Default 32 KiB: four times what common servers take, because MCP mirrors
    /// tool arguments in headers; range 8 KiB to 1 MiB.
    pub header_bytes_max: usize,
    /// Header fields of a request. Beyond it 431. Default 100: hyper's own bound, which parses
    /// without an allocation; range 1 to 1000.
    pub headers_max: usize,
    /// Bytes of a request's body, for the handler to give to [`crate::collect`]. Default 4 MiB:
    /// a tool call with a small file in it.
    pub body_bytes_max: usize,
    /// Time in which a body has to arrive, for the handler to give to [`crate::collect`].
    /// Default 30 s: 4 MiB at 1.2 Mbit/s.
    pub body_timeout: Duration,
    /// Time from the first byte of a head (or the beginning of the connection) to its last.
    /// Default 10 s: a head is a few packets; longer serves only those who hold sockets open.
    pub header_read_timeout: Duration,
    /// Time that a connection is kept without a request. Default 120 s: above the 60 s after which
    /// load balancers usually drop idle upstream connections, so that they close first and never
    /// send into a closing socket.
    pub idle_timeout: Duration,
    /// Time for a TLS handshake. Default 10 s: three round trips of the slowest links.
    pub handshake_timeout: Duration,
    /// Time in which a client has to accept some more bytes. Default 30 s: TCP retransmits
    /// several times in it, so that only a client that does not read runs into it.
    pub write_stall_timeout: Duration,
    /// Time that open requests get when draining begins. Default 30 s: what orchestrators grant
    /// between the stop signal and the kill.
    pub drain_timeout: Duration,
    /// HTTP/2 streams open at once. Default 128: RFC 9113 recommends at least 100.
    pub streams_per_connection_max: u32,
    /// How often an HTTP/2 connection is probed by a ping. Default 30 s: finds dead peers well
    /// before [`Self::idle_timeout`].
    pub ping_interval: Duration,
    /// Time for the answer to a ping. Default 20 s: gRPC's default.
    pub ping_timeout: Duration,
}

/// A limit has a value that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} is {value}, allowed is {minimum} to {maximum}")]
pub struct InvalidLimit {
    /// The name of the limit.
    pub limit: &'static str,
    /// Its value, in bytes, milliseconds or a count.
    pub value: u128,
    /// The smallest value that works.
    pub minimum: u128,
    /// The largest value that works.
    pub maximum: u128,
}

/// The defaults; reasons are at the fields.
pub const DEFAULTS: Limits = Limits {
    header_bytes_max: 32 << 10,
    headers_max: 100,
    body_bytes_max: 4 << 20,
    body_timeout: Duration::from_secs(30),
    header_read_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(120),
    handshake_timeout: Duration::from_secs(10),
    write_stall_timeout: Duration::from_secs(30),
    drain_timeout: Duration::from_secs(30),
    streams_per_connection_max: 128,
    ping_interval: Duration::from_secs(30),
    ping_timeout: Duration::from_secs(20),
};

const _: () = assert!(
    DEFAULTS.ping_interval.as_secs() + DEFAULTS.ping_timeout.as_secs() < DEFAULTS.idle_timeout.as_secs(),
    "a dead peer is found before its connection counts as idle"
);
const _: () = assert!(
    DEFAULTS.header_read_timeout.as_secs() < DEFAULTS.idle_timeout.as_secs(),
    "a slow head is cut before an idle connection"
);

/// A duration that a timer takes without overflow, and that nobody waits for.
const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);

// === impl Limits ===

impl Limits {
    /// Checks that every value can work.
    ///
    /// # Errors
    /// [`InvalidLimit`] names the first one that cannot.
    pub fn check(&self) -> Result<(), InvalidLimit> {
        let count = |limit, value: usize, minimum: u128, maximum: u128| {
            let value = value as u128;
            match (minimum..=maximum).contains(&value) {
                true => Ok(()),
                false => Err(InvalidLimit { limit, value, minimum, maximum }),
            }
        };
        let time = |limit, value: Duration| {
            let maximum = DURATION_MAX.as_millis();
            match (1..=maximum).contains(&value.as_millis()) {
                true => Ok(()),
                false => Err(InvalidLimit { limit, value: value.as_millis(), minimum: 1, maximum }),
            }
        };
        count(limit::HEADER_BYTES_MAX, self.header_bytes_max, 8 << 10, 1 << 20)?;
        count(limit::HEADERS_MAX, self.headers_max, 1, 1000)?;
        count(limit::BODY_BYTES_MAX, self.body_bytes_max, 1, 1 << 30)?;
        count(limit::STREAMS_PER_CONNECTION_MAX, self.streams_per_connection_max as usize, 1, 10_000)?;
        time(limit::BODY_TIMEOUT, self.body_timeout)?;
        time(limit::HEADER_READ_TIMEOUT, self.header_read_timeout)?;
        time(limit::IDLE_TIMEOUT, self.idle_timeout)?;
        time(limit::HANDSHAKE_TIMEOUT, self.handshake_timeout)?;
        time(limit::WRITE_STALL_TIMEOUT, self.write_stall_timeout)?;
        time(limit::DRAIN_TIMEOUT, self.drain_timeout)?;
        time("ping_interval", self.ping_interval)?;
        time("ping_timeout", self.ping_timeout)
    }
}

impl Default for Limits {
    fn default() -> Self {
        DEFAULTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_impossible_value_is_named() {
        assert_eq!(Limits::default().check(), Ok(()));

        let small = Limits { header_bytes_max: 100, ..DEFAULTS };
        assert_eq!(small.check().unwrap_err().to_string(), "header_bytes_max is 100, allowed is 8192 to 1048576");
        let zero = Limits { idle_timeout: Duration::ZERO, ..DEFAULTS };
        assert_eq!(zero.check().unwrap_err().limit, "idle_timeout");
        let endless = Limits { drain_timeout: Duration::MAX, ..DEFAULTS };
        assert_eq!(endless.check().unwrap_err().limit, "drain_timeout");
        let none = Limits { streams_per_connection_max: 0, ..DEFAULTS };
        assert_eq!(none.check().unwrap_err().limit, "streams_per_connection_max");
    }
}
