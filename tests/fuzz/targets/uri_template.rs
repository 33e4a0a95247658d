//! A backend's URI template against a client's URI: an answer within the work that is allowed, and a template of
//! literals alone matches itself and nothing else. Input: the template on the first line, the URI after it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::two_parts;
use quorate_mcp::uri::template::{Template, Work};

/// Steps that a match may take; the router allows one server's templates together as many.
const WORK: usize = 1 << 20;

fuzz_target!(|input: &str| {
    let (text, uri) = two_parts(input);
    let Ok(template) = Template::parse(text) else { return };
    let matches = template.matches(uri, &mut Work::new(WORK));
    assert!(template.matches(uri, &mut Work::new(0)).is_err(), "a match that costs nothing");

    if !text.contains(['{', '}']) {
        assert_eq!(template.literal_prefix(), text);
        if let Ok(matches) = matches {
            assert_eq!(matches, text == uri);
        }
    }
    if matches == Ok(true) {
        assert!(uri.starts_with(template.literal_prefix()));
    }
});
