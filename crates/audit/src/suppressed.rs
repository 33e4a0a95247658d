//! Counts of events that have no record of their own.
//!
//! What a rate, a full queue or a disk that cannot be written keeps out of the log is counted by class, tenant (or reason)
//! and cause, and written as one record when that is possible again: what was sent is what was recorded and what was
//! counted. The number of counts is bounded; what does not fit is counted under its class alone.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::event::{Class, Lane};

/// Counts that name a tenant or reason: their record must fit a line.
const COUNTS_MAX: usize = 64;

/// Why an event has no record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its class or tenant had too many.
    Rate,
    /// The queue to the writer was full, or the log was closed.
    Queue,
    /// It could not be written.
    Failed,
}

/// Events that were counted and not yet written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suppressed(BTreeMap<(Class, Cause, Lane), u64>);

/// One count as it is written.
#[derive(Serialize)]
struct Count<'a> {
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    cause: Cause,
    count: u64,
}

// === impl Cause ===

impl Cause {
    /// All causes.
    pub const ALL: [Self; 3] = [Self::Rate, Self::Queue, Self::Failed];

    /// Returns the label in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Queue => "queue",
            Self::Failed => "failed",
        }
    }
}

// === impl Suppressed ===

impl Suppressed {
    pub(crate) fn add(&mut self, class: Class, lane: Lane, cause: Cause, count: u64) {
        let key = (class, cause, lane);
        let key =
            if self.0.len() < COUNTS_MAX || self.0.contains_key(&key) { key } else { (class, cause, Lane::Others) };
        let sum = self.0.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Adds what could not be written after all.
    pub(crate) fn merge(&mut self, others: Self) {
        for ((class, cause, lane), count) in others.0 {
            self.add(class, lane, cause, count);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Suppressed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|((class, cause, lane), count)| {
            let (tenant, reason) = match lane {
                Lane::Tenant(tenant) => (Some(tenant.as_str()), None),
                Lane::Reason(reason) => (None, Some(*reason)),
                Lane::Others => (None, None),
            };
            Count { class: class.as_str(), tenant, reason, cause: *cause, count: *count }
        }))
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::TenantId;

    use super::*;
    use crate::record::LINE_BYTES_MAX;

    #[test]
    fn counts_add_up_however_many_there_are() {
        let mut suppressed = Suppressed::default();
        for index in 0..1_000 {
            let tenant = TenantId::new(&format!("{index:063}")).expect("a valid name");
            for class in Class::ALL {
                for cause in Cause::ALL {
                    suppressed.add(class, Lane::Tenant(tenant.clone()), cause, 2);
                }
            }
        }

        let mut twice = Suppressed::default();
        twice.merge(suppressed.clone());
        twice.merge(suppressed);

        assert_eq!(twice.0.values().sum::<u64>(), 2 * 2 * 1_000 * 15);
        assert!(twice.0.len() <= COUNTS_MAX + 15);
        let bytes = serde_json::to_vec(&twice).expect("counts").len();
        assert!(bytes < LINE_BYTES_MAX - 1_024, "{bytes}");
    }

    #[test]
    fn counts_are_written_with_what_they_are_about() {
        let mut suppressed = Suppressed::default();
        suppressed.add(Class::AuthenticationFailed, Lane::Reason("expired"), Cause::Rate, 3);
        suppressed.add(Class::Denied, Lane::Tenant(TenantId::default()), Cause::Queue, 1);

        let expected = r#"[{"class":"denied","tenant":"default","cause":"queue","count":1},{"class":"authentication_failed","reason":"expired","cause":"rate","count":3}]"#;
        assert_eq!(serde_json::to_string(&suppressed).expect("counts"), expected);
    }
}
