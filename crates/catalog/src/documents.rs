//! The documents of now, and the changes that made them so.
//!
//! History is kept as changes that can be undone: the documents at an earlier revision are those of now with the later
//! changes undone. What falls off is the oldest change, so whatever is kept leads back without a gap.
//!
//! Invariants: the latest revision is kept; changes chain (what one made, the next one found); each text that a document or
//! a kept change says is held in [`Contents`], and nothing else is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::content::{Contents, Holder};
use crate::document::{DocumentKey, Version};
use crate::limits::Limits;
use crate::revision::{Change, Revision, Stamp};

/// The documents at one revision.
pub(crate) type Set = BTreeMap<DocumentKey, Version>;

/// The documents, and their history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Documents {
    current: Arc<Set>,
    /// What the documents of now take.
    bytes: u64,
    contents: Contents,
    /// The kept revisions; their numbers have no gaps and end with the latest.
    history: Arc<VecDeque<Revision>>,
    /// What the kept revisions take beside texts.
    history_bytes: u64,
    /// The latest revision.
    revision: u64,
}

// === impl Documents ===

impl Documents {
    pub(crate) fn current(&self) -> &Set {
        &self.current
    }

    pub(crate) const fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(crate) fn history(&self) -> &VecDeque<Revision> {
        &self.history
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// What the documents of now take.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What only history takes.
    pub(crate) const fn history_bytes(&self) -> u64 {
        self.contents.history_bytes() + self.history_bytes
    }

    /// The oldest revision that the documents can be had of.
    pub(crate) fn oldest(&self) -> u64 {
        self.history.front().map_or(self.revision, |first| first.number - 1)
    }

    /// The documents as they were; none where history does not reach.
    pub(crate) fn at(&self, revision: u64) -> Option<Arc<Set>> {
        if revision > self.revision || revision < self.oldest() {
            return None;
        }
        let mut set = Arc::clone(&self.current);
        for later in self.history.iter().rev().take_while(|later| later.number > revision) {
            let set = Arc::make_mut(&mut set);
            for change in later.changes.iter() {
                put(set, &change.key, change.before.clone());
            }
        }
        Some(set)
    }

    /// Makes a revision of changes that were checked: sorted by key, each from what there is.
    pub(crate) fn commit(&mut self, changes: Vec<Change>, stamp: Stamp, limits: &Limits) {
        self.revision += 1;
        let set = Arc::make_mut(&mut self.current);
        for change in &changes {
            // What is held before something is released stays there, with its bytes.
            change.versions().for_each(|version| self.contents.hold(&version.content, Holder::History));
            if let Some(after) = &change.after {
                self.contents.hold(&after.content, Holder::Current);
                self.bytes += after.bytes(&change.key);
            }
            if let Some(before) = &change.before {
                self.contents.release(&before.content, Holder::Current);
                self.bytes -= before.bytes(&change.key);
            }
            put(set, &change.key, change.after.clone());
        }
        let revision = Revision { number: self.revision, stamp: Arc::new(stamp), changes: changes.into() };
        self.history_bytes += revision.bytes();
        Arc::make_mut(&mut self.history).push_back(revision);
        self.trim(limits);
    }

    /// Lets the oldest changes go until the rest is within the limits.
    pub(crate) fn trim(&mut self, limits: &Limits) {
        let over = |documents: &Self| {
            let kept = documents.history.len() as u64;
            kept > limits.revisions_max || documents.history_bytes() > limits.history_bytes_max
        };
        while self.history.len() > 1 && over(self) {
            let Some(oldest) = Arc::make_mut(&mut self.history).pop_front() else { return };
            self.history_bytes -= oldest.bytes();
            let versions = oldest.changes.iter().flat_map(Change::versions);
            versions.for_each(|version| self.contents.release(&version.content, Holder::History));
        }
    }

    /// Puts documents and changes of a snapshot together, for `check` to say whether they fit.
    pub(crate) fn restore(
        mut contents: Contents,
        current: Set,
        history: VecDeque<Revision>,
        revision: u64,
    ) -> Result<Self, &'static str> {
        let mut bytes = 0;
        for (key, version) in &current {
            contents.hold(&version.content, Holder::Current);
            bytes += version.bytes(key);
        }
        let mut history_bytes = 0;
        for kept in &history {
            history_bytes += kept.bytes();
            let versions = kept.changes.iter().flat_map(Change::versions);
            versions.for_each(|version| contents.hold(&version.content, Holder::History));
        }
        if !contents.all_held() {
            return Err("a content that nothing holds");
        }
        let current = Arc::new(current);
        Ok(Self { current, bytes, contents, history: Arc::new(history), history_bytes, revision })
    }

    /// Whether history leads to the documents of now.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.revision > 0 && self.history.back().is_none_or(|last| last.number != self.revision) {
            return Err("the latest revision is not kept");
        }
        if self.revision == 0 && !(self.history.is_empty() && self.current.is_empty()) {
            return Err("documents before the first revision");
        }
        let mut set = (*self.current).clone();
        let mut expected = self.revision;
        for kept in self.history.iter().rev() {
            if kept.number != expected || kept.number == 0 {
                return Err("a gap in the revisions");
            }
            expected -= 1;
            for change in kept.changes.iter() {
                if set.get(&change.key) != change.after.as_ref() {
                    return Err("a change that does not lead to what there is");
                }
                check_change(kept.number, change)?;
                put(&mut set, &change.key, change.before.clone());
            }
            if kept.changes.is_empty() || !kept.changes.is_sorted_by(|one, next| one.key < next.key) {
                return Err("a revision without changes, or with unsorted ones");
            }
        }
        if set.values().any(|version| version.revision > expected || version.revision == 0) {
            return Err("a document of a revision that did not make it");
        }
        if expected == 0 && !set.is_empty() {
            return Err("documents before the first revision");
        }
        Ok(())
    }
}

fn check_change(revision: u64, change: &Change) -> Result<(), &'static str> {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    if after.is_some_and(|after| after.revision != revision) {
        return Err("a change of another revision");
    }
    match (before, after) {
        (None, None) => Err("a change of nothing"),
        (Some(before), Some(after)) if before.says_the_same(after) => Err("a change to what it was"),
        (Some(_) | None, Some(_)) | (Some(_), None) => Ok(()),
    }
}

fn put(set: &mut Set, key: &DocumentKey, version: Option<Version>) {
    match version {
        Some(version) => {
            set.insert(key.clone(), version);
        }
        None => {
            set.remove(key);
        }
    }
}
