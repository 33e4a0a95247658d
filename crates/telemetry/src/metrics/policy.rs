//! The numbers of policy, and of tenants.
//!
//! Labels are actions and reasons of the code, and names of policies and tenants of the configuration, so that nobody
//! who calls can add a series.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Meter};

use super::Metrics;
use crate::names::{attribute, metric};

/// The instruments of policy and tenants.
pub(super) struct Instruments {
    denials: Counter<u64>,
    would_deny: Counter<u64>,
    tenant_requests: Counter<u64>,
}

/// The numbers of one tenant; bound to its name when it is made, because every request is counted.
#[derive(Clone)]
pub struct TenantMetrics {
    requests: BoundCounter<u64>,
}

// === impl Instruments ===

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            denials: counter(metric::POLICY_DENIALS, "What policy denied"),
            would_deny: counter(metric::POLICY_WOULD_DENY, "What policies on trial would have denied"),
            tenant_requests: counter(metric::TENANT_REQUESTS, "Requests of known callers, by their tenant"),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Counts that policy denied `action` to a caller of `tenant`.
    pub fn denied(&self, action: &'static str, reason: &'static str, tenant: &str) {
        let attributes = [
            KeyValue::new(attribute::ACTION, action),
            KeyValue::new(attribute::REASON, reason),
            KeyValue::new(attribute::TENANT, tenant.to_owned()),
        ];
        self.inner.policy.denials.add(1, &attributes);
    }

    /// Counts that the document `policy`, which is on trial, would have denied `action`.
    pub fn would_deny(&self, action: &'static str, policy: &str) {
        let attributes =
            [KeyValue::new(attribute::ACTION, action), KeyValue::new(attribute::POLICY, policy.to_owned())];
        self.inner.policy.would_deny.add(1, &attributes);
    }

    /// Returns the numbers of one tenant.
    #[must_use]
    pub fn tenant(&self, tenant: &str) -> TenantMetrics {
        let attributes = [KeyValue::new(attribute::TENANT, tenant.to_owned())];
        TenantMetrics { requests: self.inner.policy.tenant_requests.bind(&attributes) }
    }
}

// === impl TenantMetrics ===

impl TenantMetrics {
    /// Counts a request of one of its callers.
    pub fn request(&self) {
        self.requests.add(1);
    }
}
