//! `traceparent` and `tracestate`, from headers and from `_meta`: what is accepted is passed on as the same context.
//! Input: the parent on the first line, the state after it.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use quorate_fuzz::{head_and_body, two_parts};
use quorate_telemetry::TraceContext;

fuzz_target!(|input: &[u8]| {
    let (head, _) = head_and_body(input);
    if let Some(context) = TraceContext::extract(&head) {
        check(&context);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (parent, state) = two_parts(text);
    for state in [None, Some(state)] {
        if let Some(context) = TraceContext::parse(parent, state) {
            check(&context);
        }
    }
});

fn check(context: &TraceContext) {
    let mut head = HeaderMap::new();
    context.inject(&mut head);
    assert_eq!(TraceContext::extract(&head).as_ref(), Some(context));
}
