//! A modern server that talks to a client of sessions: whatever it answers and whatever the client responds, what goes
//! on is a frame, a call ends once, and no id is used twice. Input: the method's first letter, then one frame per line.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Id, Kind, Limits};
use quorate_mcp::dialect::onto_modern::{self, Asked, Caller, DEFAULTS, Rounds, Step, server_capabilities};

/// More frames teach the fuzzer nothing.
const FRAMES_MAX: usize = 16;

const CLIENT: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}},"clientInfo":{"name":"c","version":"1"}}"#;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n').take(FRAMES_MAX);
    let method = match lines.next().and_then(<[u8]>::first) {
        Some(b'r') => "resources/read",
        Some(b'p') => "prompts/get",
        Some(b'l') => "tools/list",
        _ => "tools/call",
    };
    let request = format!(r#"{{"jsonrpc":"2.0","id":"client","method":"{method}","params":{{"name":"t","uri":"u"}}}}"#);
    let request = Frame::parse(Bytes::from(request), &Limits::REQUEST).expect("a frame");
    let Ok(Asked::Upstream(call)) = onto_modern::read(request) else { panic!("every server answers {method}") };
    let caller = Arc::new(Caller::of_initialize(CLIENT).expect("the parameters of initialize"));
    let mut minted = 0;
    let mut mint = || {
        minted += 1;
        minted
    };
    let (mut rounds, mut sent) = Rounds::new(caller, &call, None, DEFAULTS, &mut mint).expect("a valid request");
    let mut ids = HashSet::from([sent.id().cloned()]);
    let mut is_over = false;
    for line in lines {
        // Capabilities are foreign bytes as well.
        let text = String::from_utf8_lossy(line);
        serde_json::from_str::<serde_json::Value>(&server_capabilities(&text)).expect("JSON");
        let Ok(frame) = Frame::parse(Bytes::copy_from_slice(line), &Limits::ANSWER) else { continue };
        if let Ok(told) = onto_modern::notification(&frame) {
            assert_is_frame(&told);
        }
        let waiting = rounds.asks().next();
        let step = match waiting {
            Some((id, _)) => rounds.responded(&addressed(&frame, &Id::from(id)), &mut mint),
            None => rounds.answered(addressed(&frame, sent.id().expect("a request")), &mut mint),
        };
        match step {
            Ok(Step::Wait) => {}
            Ok(Step::Pass(frame)) => assert_is_frame(&frame),
            Ok(Step::Ask(frames)) => {
                assert!(frames.len() <= DEFAULTS.requests_max);
                for frame in &frames {
                    assert_is_frame(frame);
                    assert!(ids.insert(frame.id().cloned()));
                }
            }
            Ok(Step::Send { frame, .. } | Step::Refresh { frame }) => {
                assert_is_frame(&frame);
                assert!(ids.insert(frame.id().cloned()));
                sent = frame;
            }
            Ok(Step::Done { before, answer, .. }) => {
                assert!(!is_over);
                is_over = true;
                before.iter().for_each(assert_is_frame);
                assert_is_frame(&answer);
                assert_eq!(answer.id().map(Id::as_json), Some("\"client\""));
            }
            Err(error) => {
                is_over = true;
                rounds.retractions("over").iter().for_each(assert_is_frame);
                assert!(error.to_fault("server").message().len() < 1024);
            }
        }
        assert!(!is_over || rounds.asks().next().is_none());
    }
});

/// Gives an answer the id that it is waited for with.
fn addressed(frame: &Frame, id: &Id) -> Frame {
    match frame.kind() {
        Kind::Result | Kind::Error => frame.with_id(id),
        Kind::Request | Kind::Notification => frame.clone(),
    }
}

fn assert_is_frame(frame: &Frame) {
    let limits = Limits { bytes_max: usize::MAX, ..Limits::ANSWER };
    let again = Frame::parse(frame.bytes().clone(), &Limits { depth_max: u32::MAX, ..limits });
    let again = again.expect("what goes on is a frame");
    assert_eq!((again.kind(), again.id(), again.method()), (frame.kind(), frame.id(), frame.method()));
}
