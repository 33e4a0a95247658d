//! One JSON-RPC frame from a stranger: what is accepted is valid JSON, its parts are what a parser that is not ours
//! finds, and another id changes nothing but the id.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, text};
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let Ok(frame) = Frame::parse(Bytes::copy_from_slice(input), &Limits::REQUEST) else { return };

    let _: &RawValue = serde_json::from_slice(input).expect("what is accepted is JSON");
    // A key that is no text (a lone surrogate) is JSON all the same, and stops only this comparison.
    if let Ok(members) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(input) {
        compare(&frame, &members);
    }
    if frame.kind() == Kind::Request {
        change_the_id(&frame);
    }
});

fn compare(frame: &Frame, members: &BTreeMap<String, &RawValue>) {
    let raw = |key: &str| members.get(key).map(|value| value.get());
    let bytes = |key: &str| raw(key).map(str::as_bytes);
    assert_eq!(frame.method(), raw("method").and_then(text).as_deref());
    // `params` of an answer is a member like any unknown one: kept in the bytes, no part of the frame.
    let asks = matches!(frame.kind(), Kind::Request | Kind::Notification);
    assert_eq!(frame.params().as_deref(), bytes("params").filter(|_| asks));
    assert!(frame.id().is_none_or(|id| raw("id") == Some(id.as_json())));
    match frame.kind() {
        Kind::Request => assert!(frame.id().is_some() && frame.method().is_some()),
        Kind::Notification => assert!(frame.id().is_none() && frame.method().is_some()),
        Kind::Result => assert_eq!(frame.result().as_deref(), bytes("result")),
        Kind::Error => assert_eq!(frame.error().as_deref(), bytes("error")),
    }
}

fn change_the_id(frame: &Frame) {
    let other = Id::from(u64::MAX);
    let renamed = frame.with_id(&other);
    let again = Frame::parse(renamed.bytes().clone(), &Limits::REQUEST).expect("a frame with another id is a frame");
    assert_eq!(again.id(), Some(&other));
    assert_eq!((again.method(), again.params()), (frame.method(), frame.params()));

    let back = again.with_id(frame.id().expect("a request has an id"));
    assert_eq!(back.bytes(), frame.bytes());
}
