//! Answers as JSON, by the descriptors of `admin.proto`: whatever the API gains is there without a line of code.
//!
//! Names are camelCase, numbers are numbers, choices are words in lower case without their prefix (`NODE_STATE_ACTIVE` is
//! `active`, what is unspecified is null), times are RFC 3339, durations seconds. Everything is present: an empty list is a
//! list, and an absent message or optional field is null. Bytes that hold JSON (fields called `json`) are that JSON; others
//! are base64 to nobody's use and are told by their length.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, ReflectMessage};
use quorate_types::{Timestamp, rfc3339};
use serde_json::{Map, Value};

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin"));
const TIMESTAMP: &str = "google.protobuf.Timestamp";
const DURATION: &str = "google.protobuf.Duration";
/// The field whose bytes are a document.
const JSON_FIELD: &str = "json";

/// Returns a message as JSON; `name` is its full name, as [`crate::Method::ANSWER`] has it.
///
/// # Panics
/// When there is no message of that name in `admin.proto`, or `message` is another one.
#[must_use]
pub fn of(name: &str, message: &impl Message) -> Value {
    let descriptor = descriptors().get_message_by_name(name).expect("the name is one of admin.proto");
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor, bytes.as_slice()).expect("it was encoded by the same file");
    object(&message)
}

/// The descriptors of `admin.proto` and what it imports.
pub(crate) fn descriptors() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).expect("the build script compiled it"))
}

fn object(message: &DynamicMessage) -> Value {
    let fields = message.descriptor();
    let entry = |field: FieldDescriptor| (field.json_name().to_owned(), field_value(message, &field));
    Value::Object(fields.fields().map(entry).collect::<Map<_, _>>())
}

fn field_value(message: &DynamicMessage, field: &FieldDescriptor) -> Value {
    if field.supports_presence() && !message.has_field(field) {
        return Value::Null;
    }
    value(&message.get_field(field), field)
}

fn value(value: &prost_reflect::Value, field: &FieldDescriptor) -> Value {
    use prost_reflect::Value as V;

    match value {
        V::Bool(flag) => Value::from(*flag),
        V::I32(number) => Value::from(*number),
        V::I64(number) => Value::from(*number),
        V::U32(number) => Value::from(*number),
        V::U64(number) => Value::from(*number),
        V::F32(number) => Value::from(*number),
        V::F64(number) => Value::from(*number),
        V::String(text) => Value::from(text.as_str()),
        V::Bytes(bytes) if field.name() == JSON_FIELD => {
            serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
        }
        V::Bytes(bytes) => Value::from(bytes.len()),
        V::EnumNumber(number) => match field.kind() {
            Kind::Enum(descriptor) => word(&descriptor, *number),
            _ => Value::from(*number),
        },
        V::Message(message) => well_known(message).unwrap_or_else(|| object(message)),
        V::List(list) => list.iter().map(|one| self::value(one, field)).collect(),
        V::Map(map) => {
            let key = |key: &prost_reflect::MapKey| match key {
                prost_reflect::MapKey::String(text) => text.clone(),
                other => format!("{other:?}"),
            };
            Value::Object(map.iter().map(|(name, one)| (key(name), self::value(one, field))).collect())
        }
    }
}

/// A choice as a word: its name without that of the enumeration, in lower case.
fn word(descriptor: &EnumDescriptor, number: i32) -> Value {
    let Some(value) = descriptor.get_value(number) else { return Value::from(number) };
    let prefix = screaming(descriptor.name());
    let name = value.name();
    let name = name.strip_prefix(&format!("{prefix}_")).unwrap_or(name);
    if name == "UNSPECIFIED" { Value::Null } else { Value::from(name.to_ascii_lowercase()) }
}

/// `NodeState` as `NODE_STATE`.
fn screaming(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn well_known(message: &DynamicMessage) -> Option<Value> {
    let number = |name| message.get_field_by_name(name).and_then(|value| value.as_i64());
    let nanos = || message.get_field_by_name("nanos").and_then(|value| value.as_i32());
    match message.descriptor().full_name() {
        TIMESTAMP => Some(Value::from(rfc3339::format(timestamp(number("seconds")?, nanos()?)))),
        DURATION => {
            #[expect(clippy::cast_precision_loss, reason = "durations here are far below 2^53 seconds")]
            let seconds = number("seconds")? as f64 + f64::from(nanos()?) / 1e9;
            Some(Value::from(seconds))
        }
        _ => None,
    }
}

/// A time of the API; what lies before 1970 is its beginning.
#[must_use]
pub fn timestamp(seconds: i64, nanos: i32) -> Timestamp {
    let millis = u64::try_from(nanos / 1_000_000).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000).saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use quorate_proto::admin::v1 as proto;
    use serde_json::json;

    use super::*;
    use crate::Method;

    #[test]
    fn a_status_has_camel_case_words_and_empty_lists() {
        let node = proto::Node {
            id: 7,
            name: "ber-1".into(),
            state: proto::NodeState::Active.into(),
            health: proto::NodeHealth::Degraded.into(),
            findings: vec!["slow".into()],
            last_heard: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 5_000_000 }),
            ..proto::Node::default()
        };
        let status = proto::GetStatusResponse {
            cluster_id: "ab".into(),
            node: 7,
            mode: proto::NodeMode::Member.into(),
            nodes: vec![node],
            staleness: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..proto::GetStatusResponse::default()
        };

        let json = of(proto::GetStatusRequest::ANSWER, &status);

        assert_eq!(json["clusterId"], json!("ab"));
        assert_eq!(json["mode"], json!("member"));
        assert_eq!(json["alarms"], json!([]));
        assert_eq!(json["meta"], Value::Null);
        assert_eq!(json["staleness"], json!(1.5));
        let node = &json["nodes"][0];
        assert_eq!((&node["id"], &node["state"], &node["health"]), (&json!(7), &json!("active"), &json!("degraded")));
        assert_eq!(node["lastHeard"], json!("2027-01-15T08:00:00.005Z"));
        assert_eq!(node["certificateExpires"], Value::Null);
        assert_eq!(node["groupsLed"], json!(0));
    }

    #[test]
    fn a_document_is_itself_and_what_is_unspecified_is_null() {
        let document = proto::Document {
            kind: "Tenant".into(),
            json: bytes::Bytes::from_static(br#"{"kind":"Tenant","name":"acme"}"#),
            ..proto::Document::default()
        };
        let change = proto::Change { fields: vec![proto::FieldChange::default()], ..proto::Change::default() };

        let json = of(proto::GetRequest::ANSWER, &proto::Resource { document: Some(document), ..Default::default() });
        let diff = of(proto::DiffRequest::ANSWER, &proto::DiffResponse { revision: 3, changes: vec![change] });

        assert_eq!(json["document"]["json"], json!({"kind": "Tenant", "name": "acme"}));
        assert_eq!(diff["changes"][0]["action"], Value::Null);
        assert_eq!(diff["changes"][0]["fields"][0], json!({"path": "", "before": null, "after": null}));
    }

    #[test]
    fn a_choice_inside_a_message_is_a_word_too() {
        let change = proto::Change { action: proto::change::Action::Delete.into(), ..proto::Change::default() };
        let diff = of(proto::DiffRequest::ANSWER, &proto::DiffResponse { revision: 3, changes: vec![change] });

        assert_eq!(diff["changes"][0]["action"], json!("delete"));
    }
}
