//! The numbers of one tool server's child processes.
//!
//! Bound to the server's name when it is made; its gauges count down by themselves as children and spares go, so that
//! a server taken out of the configuration leaves nothing behind in dashboards.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundUpDownCounter, Counter, Meter, UpDownCounter};

use super::Active;
use crate::names::{attribute, metric};

/// The numbers of one tool server's child processes; clones share them.
#[derive(Clone)]
pub struct StdioMetrics {
    inner: Arc<Inner>,
}

/// Why a line of a child's standard output reached nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DroppedLine {
    /// It is no text that begins as JSON does.
    Garbage,
    /// It is longer than the limit.
    TooLong,
    /// It is JSON, but no message.
    Malformed,
    /// It is a log message of a shared child that belongs to no single call.
    Unattributed,
}

/// The instruments that all tool servers share.
pub(super) struct Instruments {
    children: UpDownCounter<i64>,
    spares: UpDownCounter<i64>,
    starts: Counter<u64>,
    exits: Counter<u64>,
    lines_dropped: Counter<u64>,
}

struct Inner {
    server: KeyValue,
    children: BoundUpDownCounter<i64>,
    spares: BoundUpDownCounter<i64>,
    starts: BoundCounter<u64>,
    exits: Counter<u64>,
    lines_dropped: [BoundCounter<u64>; 4],
}

// === impl DroppedLine ===

impl DroppedLine {
    const ALL: [Self; 4] = [Self::Garbage, Self::TooLong, Self::Malformed, Self::Unattributed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Unattributed => "unattributed",
        }
    }
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let gauge = |name, description| meter.i64_up_down_counter(name).with_description(description).build();
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            children: gauge(metric::STDIO_CHILDREN, "Child processes of a tool server"),
            spares: gauge(metric::STDIO_SPARES, "Child processes that wait for their first session"),
            starts: counter(metric::STDIO_STARTS, "Child processes that were started"),
            exits: counter(metric::STDIO_EXITS, "Child processes that ended"),
            lines_dropped: counter(metric::STDIO_LINES_DROPPED, "Lines of child processes that reached nobody"),
        }
    }
}

// === impl StdioMetrics ===

impl StdioMetrics {
    pub(super) fn new(server: &str, instruments: &Instruments) -> Self {
        let server = KeyValue::new(attribute::SERVER, server.to_owned());
        let of_server = std::slice::from_ref(&server);
        let inner = Inner {
            children: instruments.children.bind(of_server),
            spares: instruments.spares.bind(of_server),
            starts: instruments.starts.bind(of_server),
            exits: instruments.exits.clone(),
            lines_dropped: DroppedLine::ALL.map(|reason| {
                let reason = KeyValue::new(attribute::REASON, reason.as_str());
                instruments.lines_dropped.bind(&[server.clone(), reason])
            }),
            server,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Counts a start, and a child until the guard is dropped.
    pub fn child_started(&self) -> Active {
        self.inner.starts.add(1);
        Active::new(self.inner.children.clone())
    }

    /// Counts a child that waits for its first session until the guard is dropped.
    pub fn spare_waits(&self) -> Active {
        Active::new(self.inner.spares.clone())
    }

    /// Counts the end of a child, for `reason`, a constant of the code.
    pub fn child_ended(&self, reason: &'static str) {
        self.inner.exits.add(1, &[self.inner.server.clone(), KeyValue::new(attribute::REASON, reason)]);
    }

    /// Counts a line that reached nobody.
    pub fn line_dropped(&self, reason: DroppedLine) {
        self.inner.lines_dropped[reason as usize].add(1);
    }
}

impl std::fmt::Debug for StdioMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StdioMetrics({})", self.inner.server.value)
    }
}
