//! A SPIFFE id: what is taken is a URI of these parts for everybody, in one spelling, and safe to print. Input: the id.
#![no_main]

use http::Uri;
use libfuzzer_sys::fuzz_target;
use quorate_tls::{SpiffeId, TrustDomain};

fuzz_target!(|input: &str| {
    let Ok(id) = SpiffeId::parse(input) else { return };
    assert_eq!(id.as_str(), input);
    assert!(input.bytes().all(|byte| byte.is_ascii_graphic()), "{input:?} is not safe to print");
    assert!(TrustDomain::parse(id.trust_domain()).is_ok_and(|domain| domain.as_str() == id.trust_domain()));

    let uri: Uri = input.parse().expect("an id is a uri");
    let authority = uri.authority().expect("an id has an authority");
    assert_eq!(uri.scheme_str(), Some("spiffe"));
    assert_eq!((authority.as_str(), authority.host()), (id.trust_domain(), id.trust_domain()));
    assert_eq!(uri.path().trim_start_matches('/'), id.path().trim_start_matches('/'));
    assert_eq!(uri.query(), None);
    assert!(id.path().split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")));
});
