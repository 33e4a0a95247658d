//! How a node does, in plain words: what is wrong with its disk, its log, its clock, its threads, its groups.
//!
//! A finding has a kind, which is the name of its alarm in the catalog, and a sentence for operators.

use std::collections::BTreeMap;

/// How a node does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong; nothing on a node that is healthy.
    pub findings: BTreeMap<FindingKind, Finding>,
    /// Whether the node has room for what is new: sessions, keys, documents. What there is goes on.
    pub is_full: bool,
}

/// What can be wrong with a node; its name is that of the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The disk under the log is slow or does not answer.
    Log,
    /// The disk is nearly full.
    Disk,
    /// The wall clock jumped, or differs from the others'.
    Clock,
    /// Work on requests is not scheduled in time.
    Runtime,
    /// A group stopped on this node.
    Group,
    /// The node's certificate was not renewed in time.
    Certificate,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, and what can be done: one sentence or two.
    pub message: String,
}

// === impl FindingKind ===

impl FindingKind {
    /// Its name, as alarms have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Runtime => "runtime",
            Self::Group => "group",
            Self::Certificate => "certificate",
        }
    }
}
