//! What a backend answers: no frame breaks a view or a rewrite, a rewritten frame is a frame, and one call never has
//! two answers. Input: one frame per line.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_jsonrpc::{Frame, Id, Limits};
use quorate_mcp::codec::{self, ErrorView, ResultView};
use quorate_mcp::exchange::{Exchange, Outcome};
use quorate_mcp::{Era, Method, Version};

/// More frames teach the fuzzer nothing.
const FRAMES_MAX: usize = 8;

fuzz_target!(|input: &[u8]| {
    let lines = input.split(|byte| *byte == b'\n').take(FRAMES_MAX);
    let frames: Vec<Frame> =
        lines.filter_map(|line| Frame::parse(Bytes::copy_from_slice(line), &Limits::ANSWER).ok()).collect();
    for frame in &frames {
        look(frame);
        frames_with_handles(frame);
        if let Ok(marked) = codec::with_subscription_id(frame, &Id::from(7)) {
            assert_is_frame(&marked);
        }
    }
    for version in Version::ALL {
        call(version, &frames);
    }
});

/// The views have no more to promise than that they answer.
fn look(frame: &Frame) {
    let _ = (ResultView::read(frame), ErrorView::read(frame), codec::message_level(frame));
    let _ = codec::cancelled_request(frame);
    if let Ok((token, span)) = codec::progress_token(frame) {
        let other = codec::retoken(frame, span, &Id::from(1));
        assert_is_frame(&other);
        assert_eq!(
            codec::retoken(&other, codec::progress_token(&other).expect("it has a token").1, &token).bytes(),
            frame.bytes()
        );
    }
}

/// Whatever is found to be replaced can be replaced, and is found again with the new text.
fn frames_with_handles(frame: &Frame) {
    for method in Method::ALL {
        let of_tasks = |frame: &Frame| codec::task_ids(frame, *method, Era::Modern);
        let of_resources = |frame: &Frame| codec::resource_uris(frame, *method);
        let finders: [&dyn Fn(&Frame) -> Result<Vec<codec::Handle>, codec::ViewError>; 2] = [&of_tasks, &of_resources];
        for find in finders {
            let Ok(found) = find(frame) else { continue };
            let renamed = codec::rewrite(frame, found.iter().map(|handle| (handle.span, "\"quoted\" \u{e9}")));
            assert_is_frame(&renamed);
            let again = find(&renamed).expect("a rewritten frame reads like the one before");
            assert_eq!(again.len(), found.len());
            assert!(again.iter().all(|handle| handle.text == "\"quoted\" \u{e9}"));
        }
    }
}

/// Plays all frames into one call.
fn call(version: Version, frames: &[Frame]) {
    let client = Id::from_text("client").expect("a short text is an id");
    let mut exchange = Exchange::new(client.clone(), Id::from(1), version);
    for frame in frames {
        let was_done = exchange.is_done();
        match exchange.step(frame.clone()) {
            Ok(Outcome::Final(answer)) => {
                assert!(!was_done && exchange.is_done());
                assert_eq!(answer.id(), Some(&client));
                assert_is_frame(&answer);
            }
            Ok(Outcome::Forward(_) | Outcome::Request(_)) => assert!(!was_done && !exchange.is_done()),
            Err(_) => assert_eq!(exchange.is_done(), was_done),
        }
    }
}

fn assert_is_frame(frame: &Frame) {
    Frame::parse(frame.bytes().clone(), &Limits::ANSWER).expect("what we rewrote is a frame");
}
