//! API keys among documents: who may change them, and which changes leave them as they are.
//!
//! A key that was revoked is a document that is gone, so whoever can put a document back could undo it. A change that adds,
//! changes or deletes documents of keys takes `admin:keys`, by whatever call it comes; a set that has them as they are is
//! anybody's to apply who may apply. What goes back in time (a rollback, a backup) has no say about keys at all: they stay
//! as they are now, and the answer says how many differ.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_catalog::{Catalog, DocumentKey, Version, proto};
use tonic::Status;

use super::change::{Preview, Wanted};

/// The kind of documents that keys have.
pub(crate) const KIND: &str = "ApiKey";

/// Documents by their keys.
type Set = BTreeMap<DocumentKey, Version>;

/// Whether a document is one of API keys.
pub(crate) fn is_key(key: &DocumentKey) -> bool {
    key.kind() == KIND
}

/// How many documents of keys a change adds, changes or deletes.
pub(super) fn touched(preview: &Preview) -> usize {
    let last = preview.after.revisions(None, 1).next().filter(|last| last.number > preview.before.revision());
    last.map_or(0, |last| last.changes.iter().filter(|change| is_key(&change.key)).count())
}

/// How many documents of keys are in one of two sets alone, or differ.
pub(crate) fn differing(now: &Set, then: &Set) -> usize {
    let differs = |(key, version): &(&DocumentKey, &Version)| {
        is_key(key) && now.get(*key).is_none_or(|there| !there.says_the_same(version))
    };
    let gone = now.keys().filter(|key| is_key(key) && !then.contains_key(*key)).count();
    then.iter().filter(differs).count() + gone
}

/// Says that keys were left as they are, if some differ from what they were.
pub(crate) fn warning(differing: usize, then: &str) -> Option<String> {
    (differing > 0).then(|| {
        format!(
            "documents of API keys are left as they are: {differing} differ from {then}. Keys are made by `keys new` and \
             taken back by `keys revoke`"
        )
    })
}

/// Says with a refusal what it may be because of, if keys were left as they are: policies name agents, and agents are those of
/// keys.
pub(crate) fn explained(refused: Status, differing: usize, then: &str) -> Status {
    let Some(warning) = warning(differing, then) else { return refused };
    let message =
        format!("{}\n{warning}. Where a policy names the agent of a key, make one for it first", refused.message());
    Status::with_details(refused.code(), message, Bytes::copy_from_slice(refused.details()))
}

/// What makes documents those of `then`, but for those of keys.
pub(crate) fn back(now: &Set, then: &Set) -> (Vec<proto::Upsert>, Vec<proto::DocumentKey>) {
    let label = |(name, value): (&str, &str)| proto::Label { name: name.to_owned(), value: value.to_owned() };
    let upsert = |(key, version): (&DocumentKey, &Version)| proto::Upsert {
        key: Some(key.to_proto()),
        labels: version.labels.iter().map(label).collect(),
        content: version.content.data().clone(),
    };
    let differs = |(key, version): &(&DocumentKey, &Version)| {
        !is_key(key) && now.get(*key).is_none_or(|there| !there.says_the_same(version))
    };
    let gone = now.keys().filter(|key| !is_key(key) && !then.contains_key(*key));
    (then.iter().filter(differs).map(upsert).collect(), gone.map(DocumentKey::to_proto).collect())
}

/// A rollback as it is made of the documents that there are: as it was asked for where keys are what they were, else what
/// changes everything but them.
pub(super) fn rollback(now: &Catalog, asked: &proto::Rollback) -> Wanted {
    let then = now.at_revision(asked.to_revision).filter(|then| differing(now.documents(), then) > 0);
    // A revision that is forgotten is the catalog's to refuse.
    let Some(then) = then else { return Wanted::Rollback(asked.clone()) };
    let (upserts, deletes) = back(now.documents(), &then);
    let message = match asked.message.as_str() {
        "" => format!("as revision {} was, but for API keys", asked.to_revision),
        message => message.to_owned(),
    };
    Wanted::Apply(proto::Apply {
        expected_revision: asked.expected_revision,
        upserts,
        deletes,
        prune_source: None,
        author: asked.author.clone(),
        message,
    })
}
