//! A join token and what a joiner sends: a text that is taken is written back as it is, and nothing that is not signed or
//! checked by its sum is taken. Input: a text, or the content of one, to which its sum is added here; also read as a
//! certificate and as a request for one.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use quorate_membership::authority::ProvenKey;
use quorate_membership::identity::peer_identity;
use quorate_membership::token::{ADDRESSES_MAX, JoinToken, TOKEN_BYTES_MAX};
use quorate_membership::trust::ANCHORS_MAX;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        check(text);
        check(&format!("qj1_{text}"));
    }
    let sum = crc32fast::hash(input).to_be_bytes();
    check(&format!("qj1_{}", URL_SAFE_NO_PAD.encode([input, &sum].concat())));
    if let Ok(identity) = peer_identity(input) {
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }
    let _ = ProvenKey::of_request(input);
});

fn check(text: &str) {
    // What is refused tells of its part alone: the error has no room for a text.
    let Ok(token) = JoinToken::parse(text) else { return };
    assert_eq!(token.reveal().as_str(), text, "a token has two texts");
    assert!(text.len() <= TOKEN_BYTES_MAX);
    assert!((1..=ANCHORS_MAX).contains(&token.pins().len()));
    assert!((1..=ADDRESSES_MAX).contains(&token.addresses().len()));
}
