//! Headers and body of a client's POST: whatever they are, there is a call or a protocol error, and the error is a
//! JSON-RPC frame with the request's id.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::head_and_body;
use quorate_jsonrpc::{Frame, Kind, Limits};
use quorate_mcp::{Era, Rejected, Version, classify, classify_batch};

fuzz_target!(|input: &[u8]| {
    let (head, body) = head_and_body(input);
    let limits = Limits::REQUEST;
    for version in Version::ALL {
        if let Ok(calls) = classify_batch(&head, &body, &limits, version) {
            calls
                .iter()
                .filter_map(|call| call.as_ref().err())
                .for_each(|rejected| check_rejected(rejected, &Bytes::new()));
        }
    }
    match classify(&head, body.clone(), &limits) {
        Ok(classified) if classified.era == Era::Legacy => {
            for version in Version::ALL.into_iter().filter(|version| version.era() == Era::Legacy) {
                if let Err(rejected) = classified.clone().in_session(version) {
                    check_rejected(&rejected, &body);
                }
            }
        }
        Ok(classified) => assert_eq!(classified.version.era(), Era::Modern),
        Err(rejected) => check_rejected(&rejected, &body),
    }
});

/// The answer to a rejected request is a frame of its own, with the id of the request when that has one.
fn check_rejected(rejected: &Rejected, body: &Bytes) {
    let answer = Frame::parse(rejected.body(), &Limits::ANSWER).expect("an error is a frame");
    assert_eq!(answer.kind(), Kind::Error);
    if let Ok(frame) = Frame::parse(body.clone(), &Limits::REQUEST)
        && frame.kind() == Kind::Request
    {
        assert_eq!(rejected.id.as_ref(), frame.id(), "the error does not echo the request's id");
    }
}
