//! A backend's event stream: cut into any pieces it has the same events, each within the bound, and an event that we
//! write is the event that is read. Input: the size of the pieces as the first byte, then the stream.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_http::sse::{Decoder, Event, EventTooLarge, encode};

/// Small, so that an input of the fuzzer can reach it.
const EVENT_BYTES_MAX: usize = 256;

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else { return };
    let whole = decode(stream, stream.len().max(1));
    let pieces = decode(stream, usize::from(*piece).max(1));
    assert_eq!(whole, pieces);

    for event in whole.0 {
        assert!(event.data.len() <= EVENT_BYTES_MAX);
        let (again, end) = decode(&encode(&event), usize::MAX);
        // Reading may have joined what writing takes apart, and the bound counts the fields' names.
        if end.is_ok() {
            assert_eq!(again, [event]);
        }
    }
});

/// All events up to the end or the first error.
fn decode(stream: &[u8], piece: usize) -> (Vec<Event>, Result<(), EventTooLarge>) {
    let mut decoder = Decoder::new(EVENT_BYTES_MAX);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Err(error)),
            }
        }
    }
    (events, Ok(()))
}
