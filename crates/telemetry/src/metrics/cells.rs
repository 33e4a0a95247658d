//! Durations bound to their labels at first use.
//!
//! The labels of an operation are small closed sets, so their product is an array, and a cell of
//! it a histogram that the SDK need not look up again. A cell that nothing used costs 24 bytes.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};

use crate::labels::{Method, Outcome, Revision};
use crate::names::attribute;

/// The durations of one metric by (method, revision, outcome).
pub(super) struct OperationCells {
    histogram: Histogram<f64>,
    cells: Box<[OnceLock<BoundHistogram<f64>>]>,
}

/// The durations of one tool server by (method, outcome).
pub(super) struct BackendCells {
    histogram: Histogram<f64>,
    server: KeyValue,
    cells: Box<[OnceLock<BoundHistogram<f64>>]>,
}

// === impl OperationCells ===

impl OperationCells {
    pub(super) fn new(histogram: Histogram<f64>) -> Self {
        Self { histogram, cells: empty(Method::COUNT * Revision::COUNT * Outcome::COUNT) }
    }

    pub(super) fn record(&self, method: Method, revision: Revision, outcome: Outcome, elapsed: Duration) {
        let index = (method.index() * Revision::COUNT + revision.index()) * Outcome::COUNT + outcome.index();
        let cell = self.cells[index].get_or_init(|| {
            let mut attributes = labels(method, outcome);
            attributes.push(KeyValue::new(attribute::REVISION, revision.as_str()));
            self.histogram.bind(&attributes)
        });
        cell.record(elapsed.as_secs_f64());
    }
}

// === impl BackendCells ===

impl BackendCells {
    pub(super) fn new(histogram: Histogram<f64>, server: KeyValue) -> Self {
        Self { histogram, server, cells: empty(Method::COUNT * Outcome::COUNT) }
    }

    pub(super) fn record(&self, method: Method, outcome: Outcome, elapsed: Duration) {
        let cell = self.cells[method.index() * Outcome::COUNT + outcome.index()].get_or_init(|| {
            let mut attributes = labels(method, outcome);
            attributes.push(self.server.clone());
            self.histogram.bind(&attributes)
        });
        cell.record(elapsed.as_secs_f64());
    }
}

fn empty(length: usize) -> Box<[OnceLock<BoundHistogram<f64>>]> {
    std::iter::repeat_with(OnceLock::new).take(length).collect()
}

fn labels(method: Method, outcome: Outcome) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(attribute::METHOD, method.as_str())];
    attributes.extend(outcome.error_type().map(|error| KeyValue::new(attribute::ERROR_TYPE, error)));
    attributes
}
