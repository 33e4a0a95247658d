//! The numbers of sessions that outlive their nodes: takeovers, calls without their node, streams that stall.
//!
//! Labels are constants of the code and names of tool servers of the configuration. What one node shows another of its
//! traffic is read from here, too ([`Tally`]): the same events, counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Histogram, Meter};

use super::{Metrics, duration};
use crate::names::{attribute, metric};

/// The instruments of sessions in a cluster.
pub(super) struct Instruments {
    takeovers: Counter<u64>,
    takeover_durations: Histogram<f64>,
    replays: Counter<u64>,
    unknown: Counter<u64>,
    stalls: BoundCounter<u64>,
    pub(super) counted: Arc<Counted>,
}

/// What is shown of a node's traffic, as it is counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) requests: AtomicU64,
    events: AtomicU64,
    takeovers: AtomicU64,
}

/// How much a node has done since it was started. Rates are differences of two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests of clients.
    pub requests: u64,
    /// Events that were written to streams of sessions.
    pub events: u64,
    /// Sessions that were taken over from other nodes.
    pub takeovers: u64,
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let counted = Arc::new(Counted::default());
        let observed = Arc::clone(&counted);
        let events =
            meter.u64_observable_counter(metric::EVENTS).with_description("Events written to streams of sessions");
        events.with_callback(move |observer| observer.observe(observed.events.load(Ordering::Relaxed), &[])).build();
        Self {
            takeovers: counter(
                metric::TAKEOVERS,
                "Sessions that another node owned last and that were made of their records here, each counted once",
            ),
            takeover_durations: duration(
                meter,
                metric::TAKEOVER_DURATION,
                "Time from owning a shard until all of its sessions with something under way stand again, per shard",
            ),
            replays: counter(
                metric::REPLAYS,
                "Calls that were sent again because the node was lost that had sent them",
            ),
            unknown: counter(metric::UNKNOWN, "Calls whose client was told that nobody knows whether they ran"),
            stalls: counter(metric::STALLS, "How often a tool server was read no further because a stream was full")
                .bind(&[]),
            counted,
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Counts a session that another node owned last and that was made of its record here, or could not be.
    pub fn session_taken_over(&self, succeeded: bool) {
        let result = if succeeded { "taken" } else { "failed" };
        self.inner.session.takeovers.add(1, &[KeyValue::new(attribute::RESULT, result)]);
        if succeeded {
            self.inner.session.counted.takeovers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records how long it took from owning a shard until its sessions with something under way stood again.
    pub fn shard_taken_over(&self, elapsed: Duration) {
        self.inner.session.takeover_durations.record(elapsed.as_secs_f64(), &[]);
    }

    /// Counts a call that was sent again because the node was lost that had sent it. The server's name comes from the
    /// configuration, which bounds the label.
    pub fn call_replayed(&self, server: &str) {
        self.inner.session.replays.add(1, &[KeyValue::new(attribute::SERVER, server.to_owned())]);
    }

    /// Counts a call whose client was told that its outcome is not known. The server's name comes from the configuration,
    /// which bounds the label; it is empty when nothing of the call was kept.
    pub fn outcome_unknown(&self, server: &str) {
        self.inner.session.unknown.add(1, &[KeyValue::new(attribute::SERVER, server.to_owned())]);
    }

    /// Counts that a tool server is read no further until a client has read what waits for it.
    pub fn stream_stalled(&self) {
        self.inner.session.stalls.add(1);
    }

    /// Counts an event that was written to a stream of a session.
    pub fn event_written(&self) {
        self.inner.session.counted.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how much the node has done since it was started.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let Counted { requests, events, takeovers } = &*self.inner.session.counted;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally { requests: read(requests), events: read(events), takeovers: read(takeovers) }
    }
}
