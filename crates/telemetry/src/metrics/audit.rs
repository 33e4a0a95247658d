//! The numbers of the node's audit log.
//!
//! The log counts for itself, on the threads that record; here it is asked when somebody scrapes or an export is due.
//! A node without an audit log has none of these metrics, rather than zeros.

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;

use super::{METER, Metrics};
use crate::names::{attribute, metric};

/// What an audit log has counted since it was opened, and what it takes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditNumbers {
    /// Events with a record.
    pub records: u64,
    /// Events without one, by why: a constant of the code each.
    pub suppressed: [(&'static str, u64); 3],
    /// Writes and syncs that failed.
    pub write_errors: u64,
    /// Bytes of records that were written.
    pub written_bytes: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Files.
    pub segments: u64,
    /// Files that were begun because the one before was full.
    pub segments_begun: u64,
    /// Files that were deleted for space.
    pub segments_deleted: u64,
}

type Read = fn(&AuditNumbers) -> u64;

/// Sums: name, unit, description, and which number it is.
const SUMS: [(&str, &str, &str, Read); 5] = [
    (metric::AUDIT_RECORDS, "", "Events with a record in the audit log", |numbers| numbers.records),
    (metric::AUDIT_WRITE_ERRORS, "", "Writes and syncs of the audit log that failed", |numbers| numbers.write_errors),
    (metric::AUDIT_WRITTEN, "By", "Bytes of records written to the audit log", |numbers| numbers.written_bytes),
    (metric::AUDIT_SEGMENTS_BEGUN, "", "Files of the audit log begun because one was full", |numbers| {
        numbers.segments_begun
    }),
    (metric::AUDIT_SEGMENTS_DELETED, "", "Files of the audit log deleted for space", |numbers| {
        numbers.segments_deleted
    }),
];

/// Present values, in the same form.
const GAUGES: [(&str, &str, &str, Read); 2] = [
    (metric::AUDIT_SIZE, "By", "Bytes of all files of the audit log", |numbers| numbers.size_bytes),
    (metric::AUDIT_SEGMENTS, "", "Files of the audit log", |numbers| numbers.segments),
];

// === impl Metrics ===

impl Metrics {
    /// Shows the numbers of an audit log, which `source` reads; it is called when somebody looks, and must not block.
    /// To be called once.
    pub fn observe_audit(&self, source: impl Fn() -> AuditNumbers + Clone + Send + Sync + 'static) {
        let meter = self.inner.provider.meter(METER);
        for (name, unit, description, read) in SUMS {
            let source = source.clone();
            let sum = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
            sum.with_callback(move |observer| observer.observe(read(&source()), &[])).build();
        }
        for (name, unit, description, read) in GAUGES {
            let source = source.clone();
            let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(description);
            gauge.with_callback(move |observer| observer.observe(read(&source()), &[])).build();
        }
        let suppressed = meter
            .u64_observable_counter(metric::AUDIT_SUPPRESSED)
            .with_description("Events that the audit log counted and did not record");
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (reason, count) in source().suppressed {
                observer.observe(count, &[KeyValue::new(attribute::REASON, reason)]);
            }
        };
        suppressed.with_callback(observe).build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_an_audit_log_are_rendered_under_their_documented_names() {
        let metrics = Metrics::new("0");
        assert!(!metrics.render().contains("quorate_audit"), "a node without an audit log has none");
        let numbers = AuditNumbers {
            records: 1,
            suppressed: [("rate", 2), ("queue", 3), ("failed", 4)],
            write_errors: 5,
            written_bytes: 6,
            size_bytes: 7,
            segments: 8,
            segments_begun: 9,
            segments_deleted: 10,
        };
        metrics.observe_audit(move || numbers);

        let text = metrics.render();
        for line in [
            "quorate_audit_records_total 1",
            "quorate_audit_suppressed_total{quorate_reason=\"rate\"} 2",
            "quorate_audit_suppressed_total{quorate_reason=\"queue\"} 3",
            "quorate_audit_suppressed_total{quorate_reason=\"failed\"} 4",
            "quorate_audit_write_errors_total 5",
            "quorate_audit_written_bytes_total 6",
            "quorate_audit_size_bytes 7",
            "quorate_audit_segments 8",
            "quorate_audit_segments_begun_total 9",
            "quorate_audit_segments_deleted_total 10",
        ] {
            assert!(text.lines().any(|rendered| rendered == line), "{line}\n{text}");
        }
    }
}
