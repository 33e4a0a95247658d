//! The key of a certificate, and what asks for one: PKCS #10 (RFC 2986).
//!
//! A member makes its key itself and never gives it away; the authority takes from a request the public key and the proof
//! that the sender has the other half. All names that a request has are passed over: the cluster gives them.
//!
//! One kind of key: ECDSA on P-256 (FIPS 186-4), which every TLS library and every HSM has.

use std::fmt;

use quorate_tls::x509::{BIT_STRING, INTEGER, Malformed, Reader, SEQUENCE};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// The longest request that is looked at, in bytes: ours have 200.
pub const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Algorithm and header of a public key on P-256 (RFC 5480 §2.1.1): all before the point.
const P256_HEADER: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const POINT_BYTES: usize = 65;
/// The content of the algorithm `ecdsa-with-SHA256` (RFC 5758 §3.2).
const ECDSA_SHA256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// The attributes of a request: `[0]`, constructed.
const ATTRIBUTES: u8 = 0xa0;

/// The private key of a member's certificate.
pub struct MemberKey(KeyPair);

/// A public key whose holder proved that it has the other half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProvenKey([u8; POINT_BYTES]);

/// Bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// They cannot be read.
    #[error("the certificate request cannot be read, or has more than {REQUEST_BYTES_MAX} bytes")]
    Malformed,
    /// The key or its signature is of another kind.
    #[error("the certificate request must be for an ecdsa key on p-256, signed with sha-256")]
    Algorithm,
    /// The sender did not prove that it has the private key.
    #[error("the certificate request is not signed by its own key")]
    Unproven,
}

/// Bytes are no private key of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key is not ecdsa on p-256 in pkcs #8")]
pub struct InvalidKey;

// === impl MemberKey ===

impl MemberKey {
    /// Makes a key.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[must_use]
    pub fn draw() -> Self {
        Self(generate())
    }

    /// Reads a key in PKCS #8.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is none, or of another kind.
    pub fn of_pkcs8(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(bytes), &PKCS_ECDSA_P256_SHA256);
        pair.map(Self).map_err(|_| InvalidKey)
    }

    /// Returns it in PKCS #8, for the file that keeps it.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_der())
    }

    /// Returns it in PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        crate::pem::of_key(&self.to_pkcs8())
    }

    /// Returns the public half, which needs no proof to who has both.
    #[must_use]
    pub fn public(&self) -> ProvenKey {
        ProvenKey(self.0.public_key_raw().try_into().expect("a point on P-256 has 65 bytes"))
    }

    /// Asks for a certificate: a request in DER without any name.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(&self.0).expect("a key that was made can sign").der().to_vec()
    }

    pub(crate) fn for_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.serialize_der().into())
    }
}

impl fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberKey(…)")
    }
}

// === impl ProvenKey ===

impl ProvenKey {
    /// Takes the key of a request in DER.
    ///
    /// # Errors
    /// [`InvalidRequest`] when it is none, of another kind of key, or not signed by it.
    pub fn of_request(request: &[u8]) -> Result<Self, InvalidRequest> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(InvalidRequest::Malformed);
        }
        let request = Request::read(request).map_err(|Malformed| InvalidRequest::Malformed)?;
        let point = request.public_key.strip_prefix(&P256_HEADER[..26]).filter(|_| request.algorithm == ECDSA_SHA256);
        let key: [u8; POINT_BYTES] = point.and_then(|point| point.try_into().ok()).ok_or(InvalidRequest::Algorithm)?;
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
        verifier.verify(request.signed, request.signature).map_err(|_| InvalidRequest::Unproven)?;
        Ok(Self(key))
    }

    /// Returns the public key with its algorithm, as it stands in certificates.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [&P256_HEADER[..26], &self.0].concat()
    }
}

impl rcgen::PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl fmt::Debug for ProvenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvenKey(P-256)")
    }
}

/// Makes a key of the one kind.
pub(super) fn generate() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the operating system provides randomness")
}

/// The parts of a request that count.
struct Request<'a> {
    signed: &'a [u8],
    public_key: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut whole = Reader::new(bytes);
        let mut parts = Reader::new(whole.expect(SEQUENCE)?);
        let signed = parts.whole()?;
        let algorithm = parts.expect(SEQUENCE)?;
        // Whole bytes: no bit of the last one is unused.
        let [0, signature @ ..] = parts.expect(BIT_STRING)? else { return Err(Malformed) };
        let mut fields = Reader::new(Reader::new(signed).expect(SEQUENCE)?);
        let version = fields.expect(INTEGER)?;
        fields.expect(SEQUENCE)?; // The subject.
        let public_key = fields.whole()?;
        fields.optional(ATTRIBUTES)?;
        let is_at_end = whole.is_empty() && parts.is_empty() && fields.is_empty();
        if version == [0] && is_at_end { Ok(Self { signed, public_key, algorithm, signature }) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_taken_for_its_key_alone() {
        let key = MemberKey::draw();
        assert_eq!(ProvenKey::of_request(&key.request()), Ok(key.public()));

        let again = MemberKey::of_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(format!("{key:?} {:?}", key.public()), "MemberKey(…) ProvenKey(P-256)");

        let named = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let named = named.serialize_request(&key.0).unwrap();
        assert_eq!(ProvenKey::of_request(named.der()), Ok(key.public()));
        assert_eq!(key.public().to_spki(), rcgen::PublicKeyData::subject_public_key_info(&key.0));
    }

    #[test]
    fn requests_of_other_keys_and_forged_ones_are_refused() {
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let other = CertificateParams::default().serialize_request(&other).unwrap();
        assert_eq!(ProvenKey::of_request(other.der()), Err(InvalidRequest::Algorithm));

        // Somebody else's key, signed by one's own.
        let (victim, mut forged) = (MemberKey::draw().public(), MemberKey::draw().request());
        let at = forged.windows(26).position(|window| window == &P256_HEADER[..26]).unwrap();
        forged[at + 26..][..POINT_BYTES].copy_from_slice(&victim.0);
        assert_eq!(ProvenKey::of_request(&forged), Err(InvalidRequest::Unproven));

        assert_eq!(ProvenKey::of_request(&[0x30; REQUEST_BYTES_MAX + 1]), Err(InvalidRequest::Malformed));
        assert_eq!(MemberKey::of_pkcs8(b"no key").map(drop), Err(InvalidKey));
    }

    proptest! {
        #[test]
        fn a_request_with_one_bit_changed_is_refused(bit: prop::sample::Index) {
            let mut request = MemberKey::draw().request();
            let bit = bit.index(request.len() * 8);
            request[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ProvenKey::of_request(&request).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_request(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ProvenKey::of_request(&bytes).is_err());
        }
    }
}
