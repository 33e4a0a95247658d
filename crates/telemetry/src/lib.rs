//! The one vocabulary of spans and metrics, and their export.
//!
//! [`init`] turns a [`Config`] into logs on stderr, optional OTLP export, and a [`Guard`] that
//! hands out [`Metrics`] and a [`Tracer`]; both are cheap clones that a node passes down. Names
//! are constants in [`names`], labels are closed sets in [`labels`], so that no request can make
//! a new time series.
//!
//! Invariants: a request that is not sampled creates no span; recording a metric takes no
//! allocation and no lookup of attributes; payloads and header values are never recorded.
//! Follows the OpenTelemetry semantic conventions for MCP and W3C Trace Context level 1.

pub mod context;
pub mod export;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod names;
mod records;
pub mod setup;
pub mod throttle;
pub mod trace;

pub use context::{TraceContext, TraceId};
pub use labels::{Method, Outcome, Revision};
pub use metrics::{
    AuditNumbers, BackendMetrics, Metrics, ModelCall, ModelMetrics, ModelOperation, StdioMetrics, TenantMetrics,
    TokenMetrics,
};
pub use setup::{Config, Error, Guard, LogFormat, Otlp, init};
pub use throttle::Throttle;
pub use trace::{Trace, Tracer};

#[cfg(test)]
mod tests;
