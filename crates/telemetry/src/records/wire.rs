//! Records as a collector reads them: fields of `opentelemetry.proto.logs.v1`, written without a message between.
//!
//! A record is made once per call, on the thread of the call, so it is written straight into the bytes that are sent later. The types of
//! `opentelemetry-proto` make two texts per attribute of it, are kept until the batch is full, and are written all at once then, which
//! took a third of the CPU time of a short call and held up the calls that came meanwhile.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// Fields of `LogRecord`.
mod record {
    pub(super) const TIME: u32 = 1;
    pub(super) const SEVERITY_NUMBER: u32 = 2;
    pub(super) const SEVERITY_TEXT: u32 = 3;
    pub(super) const BODY: u32 = 5;
    pub(super) const ATTRIBUTES: u32 = 6;
    pub(super) const TRACE: u32 = 9;
    pub(super) const OBSERVED: u32 = 11;
    pub(super) const EVENT: u32 = 12;
}

/// Fields of `AnyValue`.
mod value {
    pub(super) const STRING: u32 = 1;
    pub(super) const BOOL: u32 = 2;
    pub(super) const INT: u32 = 3;
    pub(super) const DOUBLE: u32 = 4;
}

/// Fields of `KeyValue`.
mod attribute {
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// The first field of `ExportLogsServiceRequest`, `ResourceLogs` and `ScopeLogs`, and the second of the latter two.
const OUTER: u32 = 1;
const INNER: u32 = 2;

/// `SeverityNumber::SEVERITY_NUMBER_INFO`.
const INFO: u64 = 9;

/// Wire types (Protocol Buffers, encoding).
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

/// A value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
}

/// One record that is being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

/// What all requests begin with.
#[derive(Debug)]
pub(super) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

// === impl Value ===

impl Value<'_> {
    /// Bytes of it as `AnyValue`.
    fn len(self) -> usize {
        match self {
            Self::Text(text) => delimited_len(text.len()),
            Self::Bool(_) => 2,
            // A negative number takes ten bytes, as 64 bits.
            Self::Int(number) => 1 + varint_len(number.cast_unsigned()),
            Self::Double(_) => 9,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => delimited(value::STRING, text.as_bytes(), out),
            Self::Bool(is) => number(value::BOOL, is.into(), out),
            Self::Int(count) => number(value::INT, count.cast_unsigned(), out),
            Self::Double(measure) => fixed(value::DOUBLE, measure.to_bits(), out),
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Begins a record of an event at a time, in nanoseconds since 1970, in the memory that most take.
    pub(super) fn new(event: &str, nanos: u64, bytes_usual: usize) -> Self {
        let mut out = Vec::with_capacity(bytes_usual);
        fixed(record::TIME, nanos, &mut out);
        fixed(record::OBSERVED, nanos, &mut out);
        number(record::SEVERITY_NUMBER, INFO, &mut out);
        delimited(record::SEVERITY_TEXT, b"INFO", &mut out);
        delimited(record::EVENT, event.as_bytes(), &mut out);
        Self(out)
    }

    /// Says what it is about.
    pub(super) fn body(&mut self, text: &str) {
        let body = Value::Text(text);
        begin(record::BODY, body.len(), &mut self.0);
        body.write(&mut self.0);
    }

    /// Says which trace it is of.
    pub(super) fn trace(&mut self, id: [u8; 16]) {
        delimited(record::TRACE, &id, &mut self.0);
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, key: &str, value: Value<'_>) {
        let len = delimited_len(key.len()) + delimited_len(value.len());
        begin(record::ATTRIBUTES, len, &mut self.0);
        delimited(attribute::KEY, key.as_bytes(), &mut self.0);
        begin(attribute::VALUE, value.len(), &mut self.0);
        value.write(&mut self.0);
    }

    /// Adds it to those of a batch.
    pub(super) fn add_to(&self, batch: &mut Vec<u8>) {
        delimited(INNER, &self.0, batch);
    }
}

// === impl Envelope ===

impl Envelope {
    /// Notes who sends, and what records are of.
    pub(super) fn new(resource: &Resource, scope: &InstrumentationScope) -> Self {
        let outer = |message: Vec<u8>| {
            let mut out = Vec::new();
            delimited(OUTER, &message, &mut out);
            out
        };
        Self { resource: outer(resource.encode_to_vec()), scope: outer(scope.encode_to_vec()) }
    }

    /// Makes a request of the records of a batch.
    pub(super) fn seal(&self, batch: &[u8]) -> Vec<u8> {
        let scope_logs = self.scope.len() + batch.len();
        let resource_logs = self.resource.len() + delimited_len(scope_logs);
        let mut out = Vec::with_capacity(delimited_len(resource_logs));
        begin(OUTER, resource_logs, &mut out);
        out.extend_from_slice(&self.resource);
        begin(INNER, scope_logs, &mut out);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(batch);
        out
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

const fn varint_len(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Bytes of a field below 16 that has so many bytes itself.
const fn delimited_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Begins a field of so many bytes.
fn begin(field: u32, len: usize, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | LENGTH), out);
    varint(len as u64, out);
}

fn delimited(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    begin(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn number(field: u32, number: u64, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | VARINT), out);
    varint(number, out);
}

fn fixed(field: u32, bits: u64, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | FIXED64), out);
    out.extend_from_slice(&bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Owned {
        Text(String),
        Bool(bool),
        Int(i64),
        Double(f64),
    }

    impl Owned {
        fn borrowed(&self) -> Value<'_> {
            match self {
                Self::Text(text) => Value::Text(text),
                Self::Bool(is) => Value::Bool(*is),
                Self::Int(count) => Value::Int(*count),
                Self::Double(measure) => Value::Double(*measure),
            }
        }

        fn message(&self) -> AnyValue {
            AnyValue {
                value: Some(match self {
                    Self::Text(text) => any_value::Value::StringValue(text.clone()),
                    Self::Bool(is) => any_value::Value::BoolValue(*is),
                    Self::Int(count) => any_value::Value::IntValue(*count),
                    Self::Double(measure) => any_value::Value::DoubleValue(*measure),
                }),
            }
        }
    }

    fn values() -> impl Strategy<Value = Owned> {
        prop_oneof![
            ".{0,300}".prop_map(Owned::Text),
            any::<bool>().prop_map(Owned::Bool),
            any::<i64>().prop_map(Owned::Int),
            proptest::num::f64::NORMAL.prop_map(Owned::Double),
        ]
    }

    fn records() -> impl Strategy<Value = (u64, String, [u8; 16], Vec<(String, Owned)>)> {
        (any::<u64>(), ".{0,200}", any::<[u8; 16]>(), prop::collection::vec((".{0,200}", values()), 0..20))
    }

    fn attribute(key: &str, value: AnyValue) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    }

    proptest! {
        /// What a collector reads of our bytes is what the types of the protocol would have said.
        #[test]
        fn a_request_is_read_as_what_was_written(batch in prop::collection::vec(records(), 0..8), node in ".{0,200}") {
            let named = Owned::Text(node).message();
            let resource = Resource { attributes: vec![attribute("service.name", named)], ..Resource::default() };
            let scope = InstrumentationScope { name: "records".to_owned(), ..InstrumentationScope::default() };
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (nanos, body, trace, attributes) in &batch {
                let mut writer = Writer::new("an.event", *nanos, 16);
                writer.body(body);
                writer.trace(*trace);
                for (key, value) in attributes {
                    writer.attribute(key, value.borrowed());
                }
                writer.add_to(&mut bytes);
                expected.push(LogRecord {
                    time_unix_nano: *nanos,
                    observed_time_unix_nano: *nanos,
                    severity_number: 9,
                    severity_text: "INFO".to_owned(),
                    event_name: "an.event".to_owned(),
                    body: Some(Owned::Text(body.clone()).message()),
                    trace_id: trace.to_vec(),
                    attributes: attributes.iter().map(|(key, value)| attribute(key, value.message())).collect(),
                    ..LogRecord::default()
                });
            }

            let request = Envelope::new(&resource, &scope).seal(&bytes);

            let scope_logs = ScopeLogs { scope: Some(scope), log_records: expected, ..ScopeLogs::default() };
            let resource_logs =
                ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
            let expected = ExportLogsServiceRequest { resource_logs: vec![resource_logs] };
            prop_assert_eq!(ExportLogsServiceRequest::decode(&request[..]).expect("it is protobuf"), expected);
            prop_assert_eq!(request.capacity(), request.len(), "its length is known before it is written");
        }
    }

    #[test]
    fn a_number_has_the_length_that_is_said_of_it() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            varint(number, &mut out);
            assert_eq!(out.len(), varint_len(number), "{number}");
        }
    }
}
