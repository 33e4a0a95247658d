//! The numbers of one tool server's bearer token.
//!
//! Bound to the server's name when it is made. Results are constants of the code, so that the series are as many as the
//! classes of failures, times the servers that are configured.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Meter};

use crate::names::{attribute, metric};

/// The numbers of one tool server's bearer token; clones share them.
#[derive(Clone)]
pub struct TokenMetrics {
    inner: Arc<Inner>,
}

/// The instruments that all tool servers share.
pub(super) struct Instruments {
    refreshes: Counter<u64>,
    refusals: Counter<u64>,
}

struct Inner {
    server: KeyValue,
    refreshes: Counter<u64>,
    refusals: BoundCounter<u64>,
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            refreshes: counter(metric::UPSTREAM_TOKEN_REFRESHES, "Attempts to get a token for a tool server"),
            refusals: counter(metric::UPSTREAM_TOKEN_REFUSALS, "Tokens given up because the tool server refused them"),
        }
    }
}

// === impl TokenMetrics ===

impl TokenMetrics {
    pub(super) fn new(server: &str, instruments: &Instruments) -> Self {
        let server = KeyValue::new(attribute::SERVER, server.to_owned());
        let inner = Inner {
            refreshes: instruments.refreshes.clone(),
            refusals: instruments.refusals.bind(std::slice::from_ref(&server)),
            server,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Counts an attempt to get a token, by `result`, a constant of the code.
    pub fn refreshed(&self, result: &'static str) {
        self.inner.refreshes.add(1, &[self.inner.server.clone(), KeyValue::new(attribute::RESULT, result)]);
    }

    /// Counts a token that was given up because the tool server refused it.
    pub fn refused(&self) {
        self.inner.refusals.add(1);
    }
}

impl std::fmt::Debug for TokenMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenMetrics({})", self.inner.server.value)
    }
}
