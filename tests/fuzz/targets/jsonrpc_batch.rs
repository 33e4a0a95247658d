//! A batch from a stranger: bounded in number, and each element is judged exactly as it would be alone.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Limits, elements};

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    let limits = Limits::REQUEST;
    let Ok(frames) = Frame::parse_batch(&bytes, &limits) else { return };

    assert!(!frames.is_empty() && frames.len() <= limits.batch_max);
    let text = std::str::from_utf8(input).expect("what is accepted is UTF-8");
    let mut alone = Vec::new();
    elements(text, 0, |span| alone.push(Frame::parse(bytes.slice(span.range()), &limits)))
        .expect("a batch is an array");
    assert_eq!(alone.len(), frames.len());
    for (frame, alone) in frames.iter().zip(&alone) {
        match (frame, alone) {
            (Ok(frame), Ok(alone)) => assert_eq!((frame.kind(), frame.bytes()), (alone.kind(), alone.bytes())),
            (Err(frame), Err(alone)) => assert_eq!(frame.id, alone.id),
            (frame, alone) => panic!("a batch says {frame:?}, alone it is {alone:?}"),
        }
    }
});
