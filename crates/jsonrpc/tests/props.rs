//! Laws of frames, over generated JSON.
//!
//! Generators write JSON text with arbitrary white space, key order, escapes and nesting, so that
//! a law about bytes is not only true of compact text. `serde_json` is the second opinion.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, MembersError, Splice, elements, members, pick, quote, text};

/// White space as JSON has it.
fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// JSON text of any value.
fn value() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
    ];
    let string =
        prop_oneof![any::<String>().prop_map(|text| quote(&text)), Just("\"\\u00e9\\/\\ud83d\\ude00\"".to_owned())];
    let leaf = prop_oneof![Just("true".to_owned()), Just("false".to_owned()), Just("null".to_owned()), number, string];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..4), space())
            .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},"))));
        let object = (prop::collection::btree_map(any::<String>(), inner, 0..4), space()).prop_map(|(items, space)| {
            let items: Vec<String> =
                items.iter().map(|(key, value)| format!("{}{space}:{value}", quote(key))).collect();
            format!("{{{space}{}{space}}}", items.join(&format!(",{space}")))
        });
        prop_oneof![array, object]
    })
}

/// An id's JSON text.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![any::<i64>().prop_map(|number| number.to_string()), any::<String>().prop_map(|text| quote(&text))]
}

/// A frame's text, with its kind, id and method.
fn frame() -> impl Strategy<Value = (String, Kind, Option<String>, Option<String>)> {
    let kind = prop_oneof![Just(Kind::Request), Just(Kind::Notification), Just(Kind::Result), Just(Kind::Error)];
    (kind, id(), any::<String>(), value(), value(), space(), any::<prop::sample::Index>()).prop_map(
        |(kind, id, method, payload, extra, space, rotation)| {
            let mut members = vec![("jsonrpc", "\"2.0\"".to_owned()), ("x-extra", extra)];
            let object = format!("{{\"payload\":{payload}}}");
            match kind {
                Kind::Request => members.extend([("id", id.clone()), ("method", quote(&method)), ("params", object)]),
                Kind::Notification => members.extend([("method", quote(&method)), ("params", object)]),
                Kind::Result => members.extend([("id", id.clone()), ("result", payload)]),
                Kind::Error => members.extend([("id", id.clone()), ("error", object)]),
            }
            let by = rotation.index(members.len());
            members.rotate_left(by);
            let members: Vec<String> =
                members.into_iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}")).collect();
            let text = format!("{space}{{{}{space}}}{space}", members.join(","));
            let has_id = kind != Kind::Notification;
            let has_method = matches!(kind, Kind::Request | Kind::Notification);
            (text, kind, has_id.then_some(id), has_method.then_some(method))
        },
    )
}

fn parse(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect("a generated frame parses")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parsing_keeps_every_byte_and_finds_every_part((text, kind, id, method) in frame()) {
        let frame = parse(&text);
        prop_assert_eq!(frame.bytes(), text.as_bytes());
        prop_assert_eq!(frame.kind(), kind);
        prop_assert_eq!(frame.id().map(Id::as_json), id.as_deref());
        prop_assert_eq!(frame.method(), method.as_deref());
        let whole: serde_json::Value = serde_json::from_str(&text).expect("generated JSON");
        let (member, raw) = match kind {
            Kind::Request | Kind::Notification => ("params", frame.params()),
            Kind::Result => ("result", frame.result()),
            Kind::Error => ("error", frame.error()),
        };
        let part: serde_json::Value = serde_json::from_slice(&raw.expect("has a payload")).expect("a span on a value");
        prop_assert_eq!(&part, &whole[member]);
    }

    #[test]
    fn replacing_an_id_and_putting_it_back_is_the_identity((text, kind, ..) in frame(), other in id()) {
        prop_assume!(kind != Kind::Notification);
        let frame = parse(&text);
        let other = Id::from_json(&other).expect("a generated id");
        let replaced = frame.with_id(&other);
        prop_assert_eq!(replaced.id(), Some(&other));
        let anew = parse(replaced.text());
        prop_assert_eq!(anew.id(), Some(&other));
        prop_assert_eq!(replaced.bytes().len() + frame.id().map_or(0, |id| id.as_json().len()), frame.bytes().len() + other.as_json().len());
        let own = frame.id().expect("not a notification").clone();
        let restored = replaced.with_id(&own);
        prop_assert_eq!(restored.bytes(), frame.bytes());
    }

    #[test]
    fn an_edit_of_the_payload_moves_every_span_as_parsing_anew_would((text, ..) in frame(), with in value()) {
        let frame = parse(&text);
        let Some(span) = frame.params_span().or(frame.error_span()) else { return Ok(()) };
        let [payload] = pick(frame.text_of(span), span.start, ["payload"]).expect("an object");
        let mut splice = Splice::new(frame.bytes());
        splice.replace(payload.expect("generated"), with.as_bytes());
        let edited = frame.spliced(&splice);
        let anew = parse(edited.text());
        prop_assert_eq!((edited.kind(), edited.id(), edited.method()), (anew.kind(), anew.id(), anew.method()));
        prop_assert_eq!((edited.id_span(), edited.method_span()), (anew.id_span(), anew.method_span()));
        prop_assert_eq!((edited.params_span(), edited.error_span()), (anew.params_span(), anew.error_span()));
    }

    #[test]
    fn ids_keep_their_json_type(raw in id()) {
        let id = Id::from_json(&raw).expect("a generated id");
        prop_assert_eq!(id.as_json(), &raw);
        prop_assert_eq!(id.as_u64().is_some(), raw.parse::<u64>().is_ok());
    }

    #[test]
    fn members_agree_with_serde_json(raw in value()) {
        let whole: serde_json::Value = serde_json::from_str(&raw).expect("generated JSON");
        let mut found = serde_json::Map::new();
        let outcome = members(&raw, 0, |key, span| {
            found.insert(key.to_owned(), serde_json::from_str(span.of(&raw)).expect("a span on a value"));
        });
        match &whole {
            serde_json::Value::Object(object) => {
                prop_assert_eq!(outcome, Ok(()));
                prop_assert_eq!(&found, object);
            }
            _ => prop_assert_eq!(outcome, Err(MembersError::Type)),
        }
    }

    #[test]
    fn elements_agree_with_serde_json(raw in value()) {
        let whole: serde_json::Value = serde_json::from_str(&raw).expect("generated JSON");
        let mut found: Vec<serde_json::Value> = Vec::new();
        let outcome = elements(&raw, 0, |span| found.push(serde_json::from_str(span.of(&raw)).expect("a value")));
        match &whole {
            serde_json::Value::Array(items) => {
                prop_assert_eq!(outcome, Ok(()));
                prop_assert_eq!(&found, items);
            }
            _ => prop_assert_eq!(outcome, Err(MembersError::Type)),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = Frame::parse(bytes.clone(), &Limits::REQUEST);
        let _ = Frame::parse_batch(&bytes, &Limits::REQUEST);
    }

    #[test]
    fn damaged_frames_never_panic_and_only_whole_ones_parse(
        (whole, ..) in frame(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = whole.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let verdict = Frame::parse(Bytes::from(bytes.clone()), &Limits::ANSWER);
        if verdict.is_ok() {
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
        }
        let _ = Frame::parse(Bytes::from(bytes[..at].to_vec()), &Limits::ANSWER);
    }

    #[test]
    fn arbitrary_text_never_panics_a_view(raw: String) {
        let _ = members(&raw, 0, |_, _| {});
        let _ = elements(&raw, 0, |_| {});
        let _ = pick(&raw, 0, ["a", "b"]);
        let _ = text(&raw);
        let _ = Id::from_json(&raw);
    }
}
