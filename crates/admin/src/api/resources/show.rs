//! How documents, changes and problems are shown: bounded, and without secrets.
//!
//! gRPC puts errors into headers, of which clients take 16 KiB; answers have 4 MiB. What is more is counted.

use std::collections::BTreeMap;

use quorate_catalog::{Catalog, Diff, DocumentKey, Labels, Revision, Version};
use quorate_config::{Errors, document, is_secret};
use quorate_proto::admin::v1 as wire;
use serde_json::{Map, Value};
use tonic::{Code, Status};

use crate::api::{errors, timestamp};

/// Bytes of an error's message.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Bytes of an error's details; in base64 a third more.
const DETAILS_BYTES_MAX: usize = 5 << 10;
/// Changes of an answer.
pub(crate) const CHANGES_MAX: usize = 10_000;
/// Bytes of changed fields, or of documents, in an answer: it has 4 MiB, with names and what is around.
pub(crate) const ANSWER_BYTES_MAX: usize = 3 << 20;

/// Tells what is wrong with documents: each problem with document, key path, value and what is allowed.
pub(crate) fn problems(found: &Errors) -> Status {
    let (mut message, mut bytes, mut shown) = (String::new(), 0, 0);
    let mut details = errors::details("INVALID", []);
    for problem in found.problems() {
        let field = match problem.path.as_str() {
            "" => problem.place.to_string(),
            path => format!("{}: {path}", problem.place),
        };
        let description = problem.reason.to_string();
        bytes += field.len() + description.len() + 8;
        if bytes > DETAILS_BYTES_MAX && shown > 0 {
            break;
        }
        let line = cut(&format!("{problem}"), MESSAGE_BYTES_MAX);
        if message.len() + line.len() < MESSAGE_BYTES_MAX || message.is_empty() {
            message.push_str(if message.is_empty() { "" } else { "\n" });
            message.push_str(&line);
        }
        details.add_bad_request_violation(cut(&field, DETAILS_BYTES_MAX / 2), cut(&description, DETAILS_BYTES_MAX / 2));
        shown += 1;
    }
    let count = found.problems().len();
    if message.lines().count() < count {
        message.push_str(&format!("\nof {count} problems"));
    }
    errors::with(Code::InvalidArgument, message, details)
}

/// The changes from one catalog to another, with what differs within documents.
pub(crate) fn changes(before: &Catalog, after: &Catalog) -> Vec<wire::Change> {
    let secret = |kind: &str, pointer: &str| is_secret(kind, pointer);
    let diff = Diff::between(before.documents(), after.documents(), &secret);
    let mut room = ANSWER_BYTES_MAX;
    let mut all = Vec::new();
    for (key, value) in &diff.added {
        let fields = vec![field("", None, Some(value))];
        all.push(change(wire::change::Action::Add, key, kept(fields, &mut room)));
    }
    for changed in &diff.changed {
        let mut fields: Vec<_> =
            changed.edits.iter().map(|edit| field(&edit.pointer, edit.old.as_ref(), edit.new.as_ref())).collect();
        if changed.labels {
            let labels = |catalog: &Catalog| catalog.document(&changed.key).map(|one| labels(&one.labels));
            fields.push(field("labels", labels(before).as_ref(), labels(after).as_ref()));
        }
        all.push(change(wire::change::Action::Change, &changed.key, kept(fields, &mut room)));
    }
    let gone = diff.deleted.iter().map(|key| change(wire::change::Action::Delete, key, Vec::new()));
    all.extend(gone);
    all
}

/// The changes of a revision, without what differs within documents.
pub(crate) fn changes_of(revision: &Revision) -> Vec<wire::Change> {
    let action = |one: &quorate_catalog::Change| match (&one.before, &one.after) {
        (None, _) => wire::change::Action::Add,
        (Some(_), Some(_)) => wire::change::Action::Change,
        (Some(_), None) => wire::change::Action::Delete,
    };
    revision.changes.iter().take(CHANGES_MAX).map(|one| change(action(one), &one.key, Vec::new())).collect()
}

/// The changes that led from one catalog to the next one.
pub(crate) fn changed(before: &Catalog, after: &Catalog) -> Vec<wire::Change> {
    let last = after.revisions(None, 1).next().filter(|last| last.number > before.revision());
    last.map(changes_of).unwrap_or_default()
}

fn change(action: wire::change::Action, key: &DocumentKey, fields: Vec<wire::FieldChange>) -> wire::Change {
    let proto = key.to_proto();
    wire::Change { action: action.into(), kind: proto.kind, tenant: proto.tenant, name: proto.name, fields }
}

fn field(path: &str, before: Option<&Value>, after: Option<&Value>) -> wire::FieldChange {
    let text = |value: Option<&Value>| value.map(Value::to_string);
    wire::FieldChange { path: path.to_owned(), before: text(before), after: text(after) }
}

/// Fields as far as there is room for all of a document's.
fn kept(fields: Vec<wire::FieldChange>, room: &mut usize) -> Vec<wire::FieldChange> {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes: usize = fields.iter().map(|one| one.path.len() + length(&one.before) + length(&one.after) + 16).sum();
    match room.checked_sub(bytes) {
        Some(rest) => {
            *room = rest;
            fields
        }
        None => Vec::new(),
    }
}

fn labels(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
}

/// A document, with its secrets for whom may change it.
pub(crate) fn resource(catalog: &Catalog, key: &DocumentKey, version: &Version, open: bool) -> wire::Resource {
    let by = catalog.revisions(Some(version.revision + 1), 1).next().filter(|found| found.number == version.revision);
    let proto = key.to_proto();
    let json = if open { version.content.data().clone() } else { masked(key, version).into() };
    wire::Resource {
        document: Some(wire::Document {
            kind: proto.kind,
            tenant: proto.tenant,
            name: proto.name,
            json,
            origin: version.labels.get("source").unwrap_or_default().to_owned(),
        }),
        revision: version.revision,
        changed_at: by.map(|by| timestamp(by.at())),
        changed_by: by.map(|by| by.author().to_owned()).unwrap_or_default(),
    }
}

fn masked(key: &DocumentKey, version: &Version) -> Vec<u8> {
    let one = BTreeMap::from([(key.clone(), version.clone())]);
    let secret = |kind: &str, pointer: &str| is_secret(kind, pointer);
    let mut shown = Diff::between(&BTreeMap::new(), &one, &secret).added;
    shown.pop().map(|(_, value)| value.to_string().into_bytes()).unwrap_or_default()
}

/// A revision, with what it changed.
pub(crate) fn revision(one: &Revision) -> wire::Revision {
    wire::Revision {
        number: one.number,
        time: Some(timestamp(one.at())),
        author: one.author().to_owned(),
        message: one.message().to_owned(),
        changes: changes_of(one),
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

/// The key of a document that a request names.
///
/// # Errors
/// INVALID_ARGUMENT names the part that is not valid.
pub(crate) fn key(kind: &str, tenant: &str, name: &str) -> Result<DocumentKey, Status> {
    let tenant = if tenant.is_empty() { document::TENANT_DEFAULT } else { tenant };
    DocumentKey::new(kind, tenant, name).map_err(|refusal| errors::refusal(&refusal))
}
