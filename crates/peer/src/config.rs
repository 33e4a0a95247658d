//! What a node needs to talk to its peers, and the limits of it.
//!
//! [`Config`] is plain; [`Limits`] has a default for each value ([`DEFAULTS`]) and is checked once, at start. Limits that
//! both sides must agree on are constants here and not configurable: a node of the next version has the same.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use quorate_tls::NodeTls;
use quorate_types::{ClusterId, Incarnation, NodeId};

use crate::exchange::{EXCHANGES_MAX, IDLE};

/// Largest message of gRPC on a stream: the common default of its libraries.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What a frame has beside its payload: five numbers and the lengths of three layers, or of 1 KiB a reason.
const FRAMING_BYTES: usize = 4 << 10;
/// Largest payload of a request or an answer.
pub const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - FRAMING_BYTES;
/// Longest host of an address (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Who this node is, and how it talks.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// How often it was started on its disk: kept there, and raised before each start.
    pub incarnation: Incarnation,
    /// The feature levels that it can work at.
    pub levels: RangeInclusive<u32>,
    /// Where peers reach it.
    pub listen: SocketAddr,
    /// Its certificate and the roots of others; whoever has a clone may replace them.
    pub tls: NodeTls,
    /// Bounds and times.
    pub limits: Limits,
}

/// Bounds and times of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait to be sent to one peer; bulk has half of them. Answers to one peer have as many: beyond them
    /// nothing more is read of it.
    pub queue_bytes: usize,
    /// Answers of one peer that may be awaited; bulk has an eighth of them. As many requests of one peer may be open.
    pub calls: usize,
    /// Accepted sockets that have not said who they are; beyond them the oldest is closed.
    pub handshakes: usize,
    /// Time for an accepted socket to say who it is.
    pub handshake_timeout: Duration,
    /// Time for a dial: the connection, TLS and the first frame.
    pub dial_timeout: Duration,
    /// How often a silent connection is asked whether it is there (HTTP/2 PING).
    pub keepalive_interval: Duration,
    /// How long its answer may take.
    pub keepalive_timeout: Duration,
    /// Shortest wait between dials; the first ones after a stream come at once.
    pub backoff_min: Duration,
    /// Longest wait between dials.
    pub backoff_max: Duration,
    /// Exchanges that this node opens at one peer, and that one peer opens here.
    pub exchanges: usize,
    /// How long a connection of exchanges stays when there are none; at most twice as long.
    pub exchange_idle: Duration,
}

/// The limits of a node that says nothing else.
pub const DEFAULTS: Limits = Limits {
    // A second of a loaded stream at 256 Mbit/s: what is behind it is late anyway.
    queue_bytes: 32 << 20,
    // 33 groups with some appends each in flight, and forwarded commands.
    calls: 8192,
    // A whole cluster that starts at once, several times.
    handshakes: 64,
    handshake_timeout: Duration::from_secs(5),
    // Longer than a lost SYN's second try (RFC 6298 §2: one second).
    dial_timeout: Duration::from_secs(2),
    // Measured and chosen in the cluster's design: a black hole is seen in 3 s, elections take over sooner.
    keepalive_interval: Duration::from_secs(1),
    keepalive_timeout: Duration::from_secs(2),
    backoff_min: Duration::from_millis(50),
    backoff_max: Duration::from_secs(1),
    exchanges: EXCHANGES_MAX,
    exchange_idle: IDLE,
};

/// A value of a configuration that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; allowed is {allowed}")]
pub struct InvalidConfig {
    /// The field.
    pub field: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

/// Where a node is reached: `host:port`, the host a name or an address; resolved at each dial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Box<str>);

/// What is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a node: it is `host:port`, an IPv6 address in brackets, the port 1 to 65535")]
pub struct InvalidAddress(pub String);

// === impl Config ===

impl Config {
    /// Checks every value.
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let invalid = |field, value: String, allowed| Err(InvalidConfig { field, value, allowed });
        if self.node.0 == 0 {
            return invalid("node", self.node.to_string(), "a number from 1");
        }
        if self.levels.is_empty() {
            return invalid("levels", format!("{:?}", self.levels), "a range with a level in it");
        }
        self.limits.check()
    }
}

// === impl Limits ===

impl Limits {
    fn check(&self) -> Result<(), InvalidConfig> {
        let invalid = |field, value: String, allowed| Err(InvalidConfig { field, value, allowed });
        let bytes = 2 * MESSAGE_BYTES_MAX..=1 << 30;
        if !bytes.contains(&self.queue_bytes) {
            return invalid("queue_bytes", self.queue_bytes.to_string(), "8 MiB (two largest frames) to 1 GiB");
        }
        if !(8..=1 << 20).contains(&self.calls) {
            return invalid("calls", self.calls.to_string(), "8 to 1048576");
        }
        if !(1..=65536).contains(&self.handshakes) {
            return invalid("handshakes", self.handshakes.to_string(), "1 to 65536");
        }
        if !(1..=EXCHANGES_MAX).contains(&self.exchanges) {
            return invalid("exchanges", self.exchanges.to_string(), "1 to 16384");
        }
        let times = [
            ("handshake_timeout", self.handshake_timeout),
            ("dial_timeout", self.dial_timeout),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
            ("backoff_min", self.backoff_min),
            ("backoff_max", self.backoff_max),
            ("exchange_idle", self.exchange_idle),
        ];
        for (field, time) in times {
            if !(Duration::from_millis(1)..=Duration::from_secs(600)).contains(&time) {
                return invalid(field, format!("{time:?}"), "1 ms to 10 min");
            }
        }
        if self.backoff_max < self.backoff_min {
            return invalid("backoff_max", format!("{:?}", self.backoff_max), "backoff_min or more");
        }
        Ok(())
    }
}

// === impl Address ===

impl Address {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
            let port: Option<u16> = port.parse().ok().filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()));
            let is_host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
                Some(address) => address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
                None => {
                    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_in_name)
                }
            };
            is_host && port.is_some_and(|port| port != 0)
        });
        if is_address { Ok(Self(text.into())) } else { Err(InvalidAddress(text.chars().take(300).collect())) }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for text in ["a:1", "node-1.example.com:65535", "127.0.0.1:7000", "[::1]:7000", "under_score:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("{}:1", "h".repeat(HOST_BYTES_MAX + 1));
        for text in ["", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "::1:7000", "[::1]", "[a]:1", "a b:1", &long] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_allowed_and_other_values_are_named() {
        assert_eq!(DEFAULTS.check(), Ok(()));
        let cases = [
            (Limits { queue_bytes: 1 << 20, ..DEFAULTS }, "queue_bytes"),
            (Limits { calls: 7, ..DEFAULTS }, "calls"),
            (Limits { handshakes: 0, ..DEFAULTS }, "handshakes"),
            (Limits { dial_timeout: Duration::ZERO, ..DEFAULTS }, "dial_timeout"),
            (Limits { exchanges: EXCHANGES_MAX + 1, ..DEFAULTS }, "exchanges"),
            (Limits { exchange_idle: Duration::ZERO, ..DEFAULTS }, "exchange_idle"),
            (Limits { backoff_max: Duration::from_millis(1), ..DEFAULTS }, "backoff_max"),
        ];
        for (limits, field) in cases {
            assert_eq!(limits.check().unwrap_err().field, field);
        }
    }
}
