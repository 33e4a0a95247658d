//! What differs between two sets of documents, place by place, without showing secrets.
//!
//! A place is a JSON pointer (RFC 6901). Lists are compared item by item at their indexes. Which places are secret is the
//! caller's to say: what is at one or below it is shown as [`HIDDEN`], also where it differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::catalog::Catalog;
use crate::document::{DocumentKey, SOURCE, Version};

/// What is shown instead of a secret.
pub const HIDDEN: &str = "(hidden)";

/// What differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Documents that are only in the new set, with what they say.
    pub added: Vec<(DocumentKey, Value)>,
    /// Documents that are in both and differ.
    pub changed: Vec<Changed>,
    /// Documents that are only in the old set.
    pub deleted: Vec<DocumentKey>,
    /// How many are the same.
    pub unchanged: usize,
}

/// A document that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The document.
    pub key: DocumentKey,
    /// The places that differ, in the order of the document.
    pub edits: Vec<Edit>,
    /// Whether its labels differ.
    pub labels: bool,
}

/// A place that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where: a JSON pointer.
    pub pointer: String,
    /// What was there; none when nothing was.
    pub old: Option<Value>,
    /// What is there; none when nothing is.
    pub new: Option<Value>,
}

/// Whether what is at a place (kind of document, JSON pointer) is secret.
type Secret<'a> = &'a dyn Fn(&str, &str) -> bool;

// === impl Catalog ===

impl Catalog {
    /// What a set would change of the documents of now. Documents that are not in the set are deleted when they carry the
    /// label `source` with the value `prune`; without one nothing is.
    #[must_use]
    pub fn diff(&self, set: &BTreeMap<DocumentKey, Version>, prune: Option<&str>, secret: Secret<'_>) -> Diff {
        let mut diff = Diff::default();
        for (key, after) in set {
            diff.compare(key, self.document(key), Some(after), secret);
        }
        let pruned = |version: &Version| prune.is_some() && version.labels.get(SOURCE) == prune;
        let gone = self.documents().iter().filter(|(key, version)| pruned(version) && !set.contains_key(*key));
        diff.deleted.extend(gone.map(|(key, _)| key.clone()));
        diff
    }
}

// === impl Diff ===

impl Diff {
    /// What differs between two whole sets, such as two revisions.
    #[must_use]
    pub fn between(
        old: &BTreeMap<DocumentKey, Version>,
        new: &BTreeMap<DocumentKey, Version>,
        secret: Secret<'_>,
    ) -> Self {
        let mut diff = Self::default();
        for (key, after) in new {
            diff.compare(key, old.get(key), Some(after), secret);
        }
        diff.deleted.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
        diff
    }

    fn compare(&mut self, key: &DocumentKey, old: Option<&Version>, new: Option<&Version>, secret: Secret<'_>) {
        let secret = |pointer: &str| secret(key.kind(), pointer);
        match (old, new) {
            (Some(old), Some(new)) if old.says_the_same(new) => self.unchanged += 1,
            (Some(old), Some(new)) => {
                let mut edits = Vec::new();
                if old.content != new.content {
                    compare(&read(old), &read(new), &mut String::new(), &secret, &mut edits);
                }
                self.changed.push(Changed { key: key.clone(), edits, labels: old.labels != new.labels });
            }
            (None, Some(new)) => self.added.push((key.clone(), masked(read(new), &mut String::new(), &secret))),
            (Some(_), None) => self.deleted.push(key.clone()),
            (None, None) => {}
        }
    }
}

/// What is canonical JSON and `serde_json` cannot hold (numbers beyond its range) differs as a whole, and is not shown.
fn read(version: &Version) -> Value {
    serde_json::from_slice(version.content.data()).unwrap_or_else(|_| Value::String(HIDDEN.to_owned()))
}

fn compare(old: &Value, new: &Value, at: &mut String, secret: &dyn Fn(&str) -> bool, edits: &mut Vec<Edit>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if !secret(at) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let step = escaped(key);
                descend(at, &step, |at| compare_members(before.get(key), after.get(key), at, secret, edits));
            }
        }
        (Value::Array(before), Value::Array(after)) if !secret(at) => {
            for index in 0..before.len().max(after.len()) {
                let step = index.to_string();
                descend(at, &step, |at| compare_members(before.get(index), after.get(index), at, secret, edits));
            }
        }
        _ => {
            let (old, new) = (masked(old.clone(), at, secret), masked(new.clone(), at, secret));
            edits.push(Edit { pointer: at.clone(), old: Some(old), new: Some(new) });
        }
    }
}

fn compare_members(
    old: Option<&Value>,
    new: Option<&Value>,
    at: &mut String,
    secret: &dyn Fn(&str) -> bool,
    edits: &mut Vec<Edit>,
) {
    if let (Some(old), Some(new)) = (old, new) {
        return compare(old, new, at, secret, edits);
    }
    let mut shown = |value: Option<&Value>| value.map(|value| masked(value.clone(), at, secret));
    let (old, new) = (shown(old), shown(new));
    edits.push(Edit { pointer: at.clone(), old, new });
}

/// A value with what is secret in it hidden.
fn masked(value: Value, at: &mut String, secret: &dyn Fn(&str) -> bool) -> Value {
    if secret(at) {
        return Value::String(HIDDEN.to_owned());
    }
    match value {
        Value::Object(mut members) => {
            for (key, value) in &mut members {
                descend(at, &escaped(key), |at| *value = masked(value.take(), at, secret));
            }
            Value::Object(members)
        }
        Value::Array(mut items) => {
            for (index, value) in items.iter_mut().enumerate() {
                descend(at, &index.to_string(), |at| *value = masked(value.take(), at, secret));
            }
            Value::Array(items)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn descend(at: &mut String, step: &str, work: impl FnOnce(&mut String)) {
    let length = at.len();
    write!(at, "/{step}").expect("writing to a string does not fail");
    work(at);
    at.truncate(length);
}

/// RFC 6901 §3.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::Content;
    use crate::document::Labels;
    use crate::json::canonical;

    fn version(document: &Value) -> Version {
        let content = Content::new(canonical(document).expect("it is an object"));
        Version { revision: 1, labels: Labels::default(), content }
    }

    fn set(documents: &[(&str, Value)]) -> BTreeMap<DocumentKey, Version> {
        let row = |(name, document): &(&str, Value)| {
            (DocumentKey::new("ToolServer", "default", name).expect("a key"), version(document))
        };
        documents.iter().map(row).collect()
    }

    fn edits(old: Value, new: Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let secret = |kind: &str, pointer: &str| kind == "ToolServer" && pointer.starts_with("/spec/headers/");
        let diff = Diff::between(&set(&[("a", old)]), &set(&[("a", new)]), &secret);
        let changed = diff.changed.into_iter().next().expect("it differs");
        changed.edits.into_iter().map(|edit| (edit.pointer, edit.old, edit.new)).collect()
    }

    #[test]
    fn each_place_that_differs_is_told_and_no_other() {
        let old = json!({ "spec": { "a": 1, "b": [1, 2, 3], "c": { "x/y~z": true } }, "same": {} });
        let new = json!({ "spec": { "b": [1, 5], "c": { "x/y~z": false }, "d": null }, "same": {} });

        let told = edits(old, new);

        let expected = [
            ("/spec/a", Some(json!(1)), None),
            ("/spec/b/1", Some(json!(2)), Some(json!(5))),
            ("/spec/b/2", Some(json!(3)), None),
            ("/spec/c/x~1y~0z", Some(json!(true)), Some(json!(false))),
            ("/spec/d", None, Some(Value::Null)),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(at, old, new)| (at.to_owned(), old, new)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_secret_is_shown_nowhere_also_when_it_is_new_changed_or_gone() {
        let with = |headers: Value| json!({ "spec": { "headers": headers } });
        let told =
            edits(with(json!({ "a": "s3cret", "b": "s3cret" })), with(json!({ "a": "s3cret2", "c": ["s3cret"] })));
        assert_eq!(told.len(), 3);
        let told = format!("{told:?}{:?}", edits(json!({ "spec": 1 }), with(json!({ "a": "s3cret" }))));
        assert!(told.contains(HIDDEN) && !told.contains("s3cret"), "{told}");

        let secret = |_: &str, pointer: &str| pointer == "/spec/headers";
        let added = Diff::between(&BTreeMap::new(), &set(&[("a", with(json!({ "a": "s3cret" })))]), &secret);
        assert_eq!(added.added[0].1, with(json!(HIDDEN)));
    }
}
