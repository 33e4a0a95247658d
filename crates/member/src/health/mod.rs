//! How a node does, in plain words: what is wrong with its disk, its log, its clock, its threads, its groups.
//!
//! | Part | Judges |
//! |---|---|
//! | [`canary`] | whether work on requests is scheduled in time |
//! | [`disk`] | how much room there is |
//! | [`wall`] | whether the wall clock jumped |
//! | [`pulse`] | asks them and the log's watchdog, on a thread of its own |
//!
//! A finding has a kind, which is the name of its alarm in the catalog, and a sentence for operators that does not change
//! while what is wrong is the same. Judges are pure: only [`pulse`] has clocks.

mod canary;
mod disk;
mod pulse;
mod wall;

use std::collections::BTreeMap;

use tokio::sync::watch;

pub(crate) use pulse::{Beats, Pulse, Watched};

/// How a node does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong, for operators; nothing on a node that is healthy.
    pub findings: BTreeMap<FindingKind, String>,
    /// Whether the node has no room for what is new: sessions, keys, documents. What there is goes on, and is never deleted.
    pub is_full: bool,
    /// Whether the node should lead nothing now: its disk or its threads are slow, or its log takes nothing new.
    pub sheds: bool,
}

/// What can be wrong with a node; its name is that of the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The disk under the log is slow or does not answer.
    Log,
    /// The disk is nearly full, and no new sessions are opened.
    Disk,
    /// The disk has little room left; nothing is refused for it.
    DiskLow,
    /// The wall clock jumped.
    Clock,
    /// Work on requests is not scheduled in time.
    Runtime,
    /// A group stopped on this node.
    Group,
    /// The node's certificate is not renewed in time.
    Certificate,
}

/// Where findings are written and cleared.
#[derive(Clone)]
pub(crate) struct Findings(watch::Sender<Health>);

// === impl FindingKind ===

impl FindingKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Log, Self::Disk, Self::DiskLow, Self::Clock, Self::Runtime, Self::Group, Self::Certificate];

    /// Whether a node with it does all of its work: it is said so that it does not become worse.
    #[must_use]
    pub const fn lets_serve(self) -> bool {
        matches!(self, Self::DiskLow)
    }

    /// Its name, as alarms have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Disk => "disk",
            Self::DiskLow => "disk-low",
            Self::Clock => "clock",
            Self::Runtime => "runtime",
            Self::Group => "group",
            Self::Certificate => "certificate",
        }
    }
}

// === impl Findings ===

impl Findings {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Health::default()))
    }

    /// Writes what is wrong, or that it is over. Told in the log when it changes.
    pub(crate) fn set(&self, kind: FindingKind, message: Option<String>) {
        self.0.send_if_modified(|health| {
            if health.findings.get(&kind) == message.as_ref() {
                return false;
            }
            match message {
                Some(message) => {
                    tracing::warn!(finding = kind.as_str(), "{message}");
                    health.findings.insert(kind, message);
                }
                None => {
                    tracing::info!(finding = kind.as_str(), "what was wrong is over");
                    health.findings.remove(&kind);
                }
            }
            true
        });
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.send_if_modified(|health| std::mem::replace(&mut health.is_full, is_full) != is_full);
    }

    pub(crate) fn set_sheds(&self, sheds: bool) {
        self.0.send_if_modified(|health| std::mem::replace(&mut health.sheds, sheds) != sheds);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_when_it_changes_and_not_each_time_it_is_found() {
        let findings = Findings::new();
        let mut told = findings.watch();
        let found = || Some("the disk is slow".to_owned());

        findings.set(FindingKind::Log, None);
        assert!(!told.has_changed().unwrap(), "nothing was wrong");
        findings.set(FindingKind::Log, found());
        assert_eq!(told.borrow_and_update().findings.get(&FindingKind::Log), found().as_ref());
        findings.set(FindingKind::Log, found());
        findings.set_full(false);
        assert!(!told.has_changed().unwrap());
        findings.set(FindingKind::Log, None);
        assert_eq!(*told.borrow_and_update(), Health::default());
    }

    #[test]
    fn kinds_are_names_that_alarms_can_have() {
        for kind in FindingKind::ALL {
            assert!(quorate_types::ResourceName::new(kind.as_str()).is_ok());
        }
    }
}
