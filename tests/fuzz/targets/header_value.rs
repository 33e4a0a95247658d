//! The sentinel form of header values: decoding answers for every value, and what we encode decodes to itself and
//! agrees with the body.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use quorate_mcp::header;

fuzz_target!(|input: &str| {
    if let Some(decoded) = header::decode(input) {
        let again = header::encode(&decoded);
        let again = again.to_str().expect("what we encode is visible ASCII");
        assert_eq!(header::decode(again).as_deref(), Some(&*decoded));
    }

    let mut head = HeaderMap::new();
    head.insert(header::NAME, header::encode(input));
    assert!(header::agree(&head, &header::NAME, "params.name", input).is_ok());
    assert!(header::agree(&head, &header::NAME, "params.name", &format!("{input}x")).is_err());
});
