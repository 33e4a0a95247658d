//! A client's certificate: whose it claims to be, against what rustls-webpki reads of the same bytes. Input: the DER.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_tls::claimed_id;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

fuzz_target!(|input: &[u8]| {
    let claimed = claimed_id(input);
    if let Err(refusal) = &claimed {
        // An operator reads it: nothing of the stranger's gets through unescaped.
        let shown = refusal.to_string();
        assert!(shown.len() < 4096 && !shown.contains(char::is_control), "{shown:?}");
    }
    let der = CertificateDer::from(input);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return };
    let uris: Vec<_> = certificate.valid_uri_names().collect();
    match claimed {
        Ok(id) => assert_eq!(uris, [id.as_str()], "another reader sees other names"),
        Err(refusal) if refusal.reason() == "no_spiffe_id" => assert!(uris.is_empty(), "{uris:?} were overlooked"),
        Err(_) => {}
    }
});
