//! `Host` and `Origin` of a request: the loopback defaults accept no other machine, whatever the spelling. Input: the
//! host on the first line, the origin on the second.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_config::{Hosts, Origins};
use quorate_fuzz::two_parts;

fuzz_target!(|input: &str| {
    let (host, origin) = two_parts(input);
    if Hosts::default_for(true).allows(host) {
        assert!(is_loopback(host), "{host:?} is taken for this machine");
    }
    if Origins::default_for(true).allows(origin) {
        let (scheme, rest) = origin.split_once("://").expect("an origin has a scheme");
        assert!(["http", "https"].contains(&scheme) && is_loopback(rest), "{origin:?} is taken for this machine");
    }
    assert!(!Origins::default_for(false).allows(origin));
});

/// Written another way than the code under test: by comparison with every spelling up to the port.
fn is_loopback(authority: &str) -> bool {
    let lower = authority.to_ascii_lowercase();
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let Some(rest) = lower.strip_prefix(name) else { return false };
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    })
}
