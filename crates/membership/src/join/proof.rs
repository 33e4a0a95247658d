//! The proof of a joiner that comes with a certificate: that it has the key of it, too.
//!
//! ```text
//! message   = 64 × 0x20 ‖ "quorate join, key of a node v1" ‖ 0x00 ‖ token id ‖ application
//! signature = by the key of the chain's first certificate, over message
//! ```
//!
//! A certificate is no secret: every peer of a node has seen it, and who has a token could come with that of another node. The
//! message is made as that of a handshake is (RFC 8446 §4.4.3), with a text of its own, so that no signature of a handshake is
//! one of a request to join, and the other way round. The application has a nonce that is new for each exchange.

use quorate_proto::membership::v1;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureScheme};
use webpki::EndEntityCert;

use super::JoinRefusal;
use crate::token::TokenId;
use crate::trust::algorithms;

const CONTEXT: &[u8] = b"quorate join, key of a node v1";
/// The schemes of TLS 1.3 for keys of certificates: each has one algorithm.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];
/// Bytes of a signature: one of an RSA key of 8192 bits has as many.
const SIGNATURE_BYTES_MAX: usize = 1_024;

/// Signs an application with the key of the certificate that it has.
pub(super) fn sign(own: &CertifiedKey, token: TokenId, application: &[u8]) -> Result<v1::KeyProof, Error> {
    let none = || Error::General("the key is of no kind that TLS 1.3 has".to_owned());
    let signer = own.key.choose_scheme(&SCHEMES).ok_or_else(none)?;
    let signature = signer.sign(&message(token, application))?;
    Ok(v1::KeyProof { scheme: u16::from(signer.scheme()).into(), signature: signature.into() })
}

/// Checks that who sent an application has the key of a certificate. The certificate itself is not verified.
pub(super) fn verify(
    leaf: &CertificateDer<'_>,
    token: TokenId,
    application: &[u8],
    proof: Option<&v1::KeyProof>,
) -> Result<(), JoinRefusal> {
    let refuse = |what| JoinRefusal::NotItsKey { what };
    let proof = proof.ok_or_else(|| refuse("there is no signature"))?;
    let known = |scheme: &&SignatureScheme| u32::from(u16::from(**scheme)) == proof.scheme;
    let scheme = SCHEMES.iter().find(known).ok_or_else(|| refuse("its scheme is none of TLS 1.3"))?;
    if proof.signature.len() > SIGNATURE_BYTES_MAX {
        return Err(refuse("the signature is too large"));
    }
    let supported = algorithms();
    let algorithm = supported.mapping.iter().find(|(known, _)| known == scheme).and_then(|(_, all)| all.first());
    let algorithm = algorithm.ok_or_else(|| refuse("its scheme is not understood"))?;
    let entity = EndEntityCert::try_from(leaf).map_err(|_| refuse("the certificate cannot be read"))?;
    let verified = entity.verify_signature(*algorithm, &message(token, application), &proof.signature);
    verified.map_err(|_| refuse("the signature was not made with it, or not for this request"))
}

fn message(token: TokenId, application: &[u8]) -> Vec<u8> {
    [&[0x20; 64][..], CONTEXT, &[0], &token.0, application].concat()
}
