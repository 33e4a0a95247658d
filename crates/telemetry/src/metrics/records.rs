//! The numbers of records that are pushed to a collector, and do not get there.
//!
//! They are counted where records are sent ([`crate::records`]); here they are read when somebody scrapes or an export is due. A node
//! without a collector has none of these metrics.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;

use super::{METER, Metrics};
use crate::names::{attribute, metric};
use crate::records::Queue;

// === impl Metrics ===

impl Metrics {
    /// Shows what is counted of records. To be called once.
    pub(crate) fn observe_records(&self, queue: Arc<Queue>) {
        let meter = self.inner.provider.meter(METER);
        let dropped = meter.u64_observable_counter(metric::RECORDS_DROPPED);
        let dropped = dropped.with_description("Records of calls that were not sent to the collector");
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (reason, count) in queue.dropped() {
                observer.observe(count, &[KeyValue::new(attribute::REASON, reason)]);
            }
        };
        dropped.with_callback(observe).build();
    }
}
