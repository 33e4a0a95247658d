//! The numbers of one tool server.
//!
//! A tool server's actor holds one [`BackendMetrics`]; what it counts is bound to the server's
//! name when it is made. When it is dropped, its gauges go to zero, so that a server taken out of
//! the configuration does not stay in dashboards as healthy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    BoundCounter, BoundGauge, BoundUpDownCounter, Counter, Gauge, Histogram, Meter, UpDownCounter,
};

use super::Active;
use super::cells::BackendCells;
use crate::labels::{Method, Outcome};
use crate::names::{attribute, metric};

/// The numbers of one tool server; clones share them.
#[derive(Clone)]
pub struct BackendMetrics {
    inner: Arc<Inner>,
}

/// The states in which a tool server's replicas are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Takes calls.
    Healthy,
    /// Taken out after failures.
    Ejected,
}

/// The instruments that all tool servers share.
pub(super) struct Instruments {
    active: UpDownCounter<i64>,
    replicas: Gauge<u64>,
    ejections: Counter<u64>,
    retries: Counter<u64>,
    sessions_opened: Counter<u64>,
    probes: Counter<u64>,
    bridged_calls: Counter<u64>,
    bridged_inputs: Counter<u64>,
}

struct Inner {
    server: KeyValue,
    durations: BackendCells,
    active: BoundUpDownCounter<i64>,
    replicas: [BoundGauge<u64>; 2],
    ejections: BoundCounter<u64>,
    retries: Counter<u64>,
    sessions_opened: Counter<u64>,
    probes: Counter<u64>,
    bridged_calls: Counter<u64>,
    bridged_inputs: Counter<u64>,
    /// Ejections counted here, for snapshots of this node.
    ejected: AtomicU64,
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            active: meter
                .i64_up_down_counter(metric::BACKEND_ACTIVE)
                .with_description("Requests in progress towards a tool server")
                .build(),
            replicas: meter
                .u64_gauge(metric::BACKEND_REPLICAS)
                .with_description("Replicas of a tool server by state")
                .build(),
            ejections: counter(metric::BACKEND_EJECTIONS, "Ejections of replicas"),
            retries: counter(metric::BACKEND_RETRIES, "Calls sent again to another replica"),
            sessions_opened: counter(metric::BACKEND_SESSIONS_OPENED, "Sessions initialised towards a tool server"),
            probes: counter(metric::BACKEND_PROBES, "Probes of a tool server's era"),
            bridged_calls: counter(metric::BRIDGED_CALLS, "Calls of sessions that a stateless tool server answered"),
            bridged_inputs: counter(
                metric::BRIDGED_INPUTS,
                "Requests for input that a stateless tool server made of sessions",
            ),
        }
    }
}

// === impl BackendMetrics ===

impl BackendMetrics {
    pub(super) fn new(server: &str, durations: &Histogram<f64>, instruments: &Instruments) -> Self {
        let server = KeyValue::new(attribute::SERVER, server.to_owned());
        let replicas =
            |state: &'static str| instruments.replicas.bind(&[server.clone(), KeyValue::new(attribute::STATE, state)]);
        let inner = Inner {
            durations: BackendCells::new(durations.clone(), server.clone()),
            active: instruments.active.bind(std::slice::from_ref(&server)),
            replicas: [replicas("healthy"), replicas("ejected")],
            ejections: instruments.ejections.bind(std::slice::from_ref(&server)),
            retries: instruments.retries.clone(),
            sessions_opened: instruments.sessions_opened.clone(),
            probes: instruments.probes.clone(),
            bridged_calls: instruments.bridged_calls.clone(),
            bridged_inputs: instruments.bridged_inputs.clone(),
            ejected: AtomicU64::new(0),
            server,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Records that a request to this server ended.
    pub fn operation(&self, method: Method, outcome: Outcome, elapsed: Duration) {
        self.inner.durations.record(method, outcome, elapsed);
    }

    /// Counts a request in progress until the guard is dropped.
    pub fn request_active(&self) -> Active {
        Active::new(self.inner.active.clone())
    }

    /// Sets how many replicas are in a state.
    pub fn replicas(&self, state: ReplicaState, count: usize) {
        self.inner.replicas[state as usize].record(count as u64);
    }

    /// Counts an ejection of a replica.
    pub fn ejected(&self) {
        self.inner.ejections.add(1);
        self.inner.ejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many ejections this handle and its clones counted.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.inner.ejected.load(Ordering::Relaxed)
    }

    /// Counts a call that is sent again to another replica, for `reason`, a constant of the code.
    pub fn retried(&self, reason: &'static str) {
        self.inner.retries.add(1, &self.with(attribute::REASON, reason));
    }

    /// Counts a session initialised towards this server, for `reason`, a constant of the code.
    pub fn session_opened(&self, reason: &'static str) {
        self.inner.sessions_opened.add(1, &self.with(attribute::REASON, reason));
    }

    /// Counts a probe of this server's era, by `result`, a constant of the code.
    pub fn probed(&self, result: &'static str) {
        self.inner.probes.add(1, &self.with(attribute::RESULT, result));
    }

    /// Counts a call of a session that this server answered without one, by `result`, a constant of
    /// the code.
    pub fn bridged(&self, result: &'static str) {
        self.inner.bridged_calls.add(1, &self.with(attribute::RESULT, result));
    }

    /// Counts a request for input that this server made of a session's client, across the eras.
    pub fn bridged_input(&self, method: Method) {
        self.inner.bridged_inputs.add(1, &self.with(attribute::METHOD, method.as_str()));
    }

    fn with(&self, key: &'static str, value: &'static str) -> [KeyValue; 2] {
        [self.inner.server.clone(), KeyValue::new(key, value)]
    }
}

impl std::fmt::Debug for BackendMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendMetrics({})", self.inner.server.value)
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        for gauge in &self.replicas {
            gauge.record(0);
        }
    }
}
