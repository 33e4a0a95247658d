//! What one session is allowed, how its client reads, and what outlives its node.
//!
//! Plain values that are valid as they are. The caller sets `delivery` and `priming` from the
//! client's transport and protocol version; the rest are limits, each with its default and reason.
//! How much of what is in flight is kept is for its toolset to say ([`Durability`]).

use std::time::Duration;

/// How the client receives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Streamable HTTP (2025-03-26 and later): a POST is answered by JSON or by a stream of its
    /// own, and a GET may read the standalone stream.
    Streams,
    /// HTTP+SSE (2024-11-05): everything goes to the one stream, without event ids. The stream is
    /// the session: when its connection ends, so does the session.
    Single,
    /// A stateless client (2026-07-28), on whose behalf the gateway keeps the session: the gateway
    /// reads each call's stream itself, and may park it while the client answers a backend. There
    /// is no standalone stream; legs are listened to, and what they ask of no call goes to the
    /// call that was dispatched to them last.
    Calls,
}

/// What a cluster keeps of what is in flight in a session. It keeps the session itself either way, so that its client can
/// go on at another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Each event of a stream is committed by a quorum before the client gets it, under an id that can be resumed from, and
    /// each call is written down before it is sent to a backend: one commit per event and two per call, 1 to 3 ms each.
    #[default]
    Strict,
    /// Events have no ids and are not kept, and calls are not written down: nothing is committed for either. What is in
    /// flight when the session's node is lost ends with an error that says that its outcome is not known.
    Ephemeral,
}

/// The configuration of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the client receives messages.
    pub delivery: Delivery,
    /// What of its streams and calls outlives the node that owns it.
    pub durability: Durability,
    /// Whether streams begin with an event that has an id and empty data, so that they can be
    /// resumed before the first message. Only for clients of 2025-11-25 and later: older ones
    /// fail on empty data.
    pub priming: bool,
    /// The `retry` value that a priming event carries: how long a client waits before it
    /// reconnects. The default is what the TypeScript and Python SDKs wait by themselves.
    pub retry: Duration,
    /// The most calls that are open at once, those of the machine's own included. A host runs a
    /// few dozen tools in parallel at most.
    pub calls_max: usize,
    /// The most streams, open or retained. When all are in use, calls are answered by JSON alone.
    pub streams_max: usize,
    /// The most requests of backends that wait for the client's answer.
    pub server_requests_max: usize,
    /// How long a backend's request waits for the client's answer. People answer elicitations,
    /// so it is longer than any timeout between programs.
    pub server_request_timeout: Duration,
    /// The most calls that are parked at once.
    pub parked_max: usize,
    /// How long a call stays parked. It is then cancelled, so that no backend works for nobody. Less
    /// than a backend's call may take by default, so that it is this which ends it.
    pub park_timeout: Duration,
    /// The most resource subscriptions.
    pub subscriptions_max: usize,
    /// The most client notifications that wait for one leg to open.
    pub notifications_queued_max: usize,
    /// The most events that one stream retains before it stops its sources.
    pub ring_events_max: usize,
    /// The most bytes that one stream retains before it stops its sources; a single larger event
    /// is taken, alone.
    pub ring_bytes_max: usize,
    /// How long an event can be resumed from, and how long it waits for a client that is away.
    pub retention: Duration,
    /// The most delivered bytes that all streams together keep for a resumption; beyond it, a new
    /// event drops delivered ones, of the oldest stream first. Eight full rings: sessions are many,
    /// and a client that lost a connection comes back for its latest streams.
    pub delivered_bytes_max: usize,
    /// The most undelivered bytes of all streams at which new calls are still taken. Undelivered
    /// events are never dropped to make room, so this is where growth stops: two of the largest
    /// results that a backend may send.
    pub undelivered_bytes_max: usize,
    /// The most events handed to one connection that it has not yet written. Its channel needs
    /// room for two more: the priming event, and the one that asks to poll.
    pub window_events_max: usize,
    /// How long a session lives without a call, an attached stream or any word from its client.
    pub idle_timeout: Duration,
    /// The first pause before a leg that failed is opened again for its subscriptions or its
    /// listen stream; it doubles with every failure. A call opens its leg at once.
    pub leg_retry_min: Duration,
    /// The longest such pause.
    pub leg_retry_max: Duration,
}

// === impl Config ===

impl Config {
    /// The one set of defaults.
    pub const DEFAULTS: Self = Self {
        delivery: Delivery::Streams,
        durability: Durability::Strict,
        priming: false,
        retry: Duration::from_secs(1),
        calls_max: 256,
        streams_max: 64,
        server_requests_max: 64,
        server_request_timeout: Duration::from_secs(10 * 60),
        parked_max: 256,
        park_timeout: Duration::from_secs(4 * 60),
        subscriptions_max: 1024,
        notifications_queued_max: 16,
        ring_events_max: 64,
        ring_bytes_max: 64 * 1024,
        retention: Duration::from_secs(5 * 60),
        delivered_bytes_max: 512 * 1024,
        undelivered_bytes_max: 32 * 1024 * 1024,
        window_events_max: 32,
        idle_timeout: Duration::from_secs(30 * 60),
        leg_retry_min: Duration::from_secs(1),
        leg_retry_max: Duration::from_secs(60),
    };
}

impl Config {
    /// Returns this configuration for a session that the gateway keeps on behalf of a stateless
    /// client: one for all that the client calls at a server, so that it has room for as many calls
    /// as a server takes at once, each with a stream.
    #[must_use]
    pub const fn for_calls(self) -> Self {
        Self {
            delivery: Delivery::Calls,
            priming: false,
            calls_max: 1024,
            streams_max: 1024,
            server_requests_max: 1024,
            idle_timeout: Duration::from_secs(10 * 60),
            ..self
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

const _: () = {
    let defaults = Config::DEFAULTS;
    // One stream must fit among all, and a connection must be able to fill its ring.
    assert!(defaults.ring_bytes_max <= defaults.delivered_bytes_max);
    assert!(defaults.ring_bytes_max <= defaults.undelivered_bytes_max);
    assert!(defaults.window_events_max >= 1 && defaults.window_events_max <= defaults.ring_events_max);
    assert!(defaults.leg_retry_min.as_millis() <= defaults.leg_retry_max.as_millis());
    assert!(defaults.retention.as_millis() <= defaults.idle_timeout.as_millis());
    // What a parked call's stream holds must outlast the parking, and so must what it waits for.
    assert!(defaults.park_timeout.as_millis() <= defaults.retention.as_millis());
    assert!(defaults.park_timeout.as_millis() <= defaults.server_request_timeout.as_millis());
};
