//! `Last-Event-ID`: strict, so that one event has exactly one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_session::EventId;

fuzz_target!(|input: &str| {
    if let Ok(id) = input.parse::<EventId>() {
        assert_eq!(id.to_string(), input);
    }
});
