//! What one change of the documents was: by whom, when, and from what to what.
//!
//! Each change has both versions, so that it can be shown and undone by itself. Texts are shared with the documents; what
//! a revision takes beside them is counted here.

use std::sync::Arc;

use quorate_types::Timestamp;

use crate::check::{self, Checked};
use crate::document::{DocumentKey, Version};
use crate::limits::{AUTHOR_BYTES_MAX, MESSAGE_BYTES_MAX, OVERHEAD_BYTES};
use crate::proto;

/// A change of the documents, all at once. Clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number: one more than the one before.
    pub number: u64,
    /// Who, when and why.
    pub(crate) stamp: Arc<Stamp>,
    /// What was changed, sorted by key.
    pub changes: Arc<[Change]>,
}

/// The change of one document. One of the two versions is there, or both, which then differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The document.
    pub key: DocumentKey,
    /// What it was; none when it was not there.
    pub before: Option<Version>,
    /// What it is; none when it is not there any more.
    pub after: Option<Version>,
}

/// Who, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) at: Timestamp,
    pub(crate) author: String,
    pub(crate) message: String,
    pub(crate) rollback_to: Option<u64>,
}

// === impl Revision ===

impl Revision {
    /// When it was made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.stamp.at
    }

    /// Who made it.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.stamp.author
    }

    /// What was said about it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.stamp.message
    }

    /// The revision that it went back to.
    #[must_use]
    pub fn rollback_to(&self) -> Option<u64> {
        self.stamp.rollback_to
    }

    /// What it changed of one document.
    #[must_use]
    pub fn change(&self, key: &DocumentKey) -> Option<&Change> {
        let found = self.changes.binary_search_by(|change| change.key.cmp(key));
        found.ok().map(|at| &self.changes[at])
    }

    pub(crate) fn to_proto(&self) -> proto::Revision {
        proto::Revision {
            revision: self.number,
            at: self.stamp.at.as_millis(),
            author: self.stamp.author.clone(),
            message: self.stamp.message.clone(),
            rollback_to: self.stamp.rollback_to,
            changes: u32::try_from(self.changes.len()).expect("changes are bounded by the documents of two revisions"),
        }
    }

    /// What it takes beside the texts.
    pub(crate) fn bytes(&self) -> u64 {
        let changes: u64 = self.changes.iter().map(Change::bytes).sum();
        OVERHEAD_BYTES + (self.stamp.author.len() + self.stamp.message.len()) as u64 + changes
    }
}

// === impl Change ===

impl Change {
    /// Its versions, in order.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.before.iter().chain(&self.after)
    }

    pub(crate) fn to_proto(&self) -> proto::Change {
        proto::Change {
            key: Some(self.key.to_proto()),
            before: self.before.as_ref().map(Version::to_proto),
            after: self.after.as_ref().map(Version::to_proto),
        }
    }

    fn bytes(&self) -> u64 {
        OVERHEAD_BYTES + self.key.bytes() + self.versions().map(Version::change_bytes).sum::<u64>()
    }
}

// === impl Stamp ===

impl Stamp {
    pub(crate) fn check(at: Timestamp, author: &str, message: &str, rollback_to: Option<u64>) -> Checked<Self> {
        let author = check::line("author", author, AUTHOR_BYTES_MAX)?;
        let message = check::prose("message", message, MESSAGE_BYTES_MAX)?;
        Ok(Self { at, author, message, rollback_to })
    }
}
