//! Whom a joiner talks to: exactly nodes that an authority vouches for whose key is pinned in the token.
//!
//! A joiner trusts nobody yet. The server sends its authority's certificate along; where the hash of that one's key is in
//! the token, it is the anchor, and the path from the server's certificate to it is verified as always. No root of the
//! operating system, no name of a host and no clock-less exception counts beside it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::JoinToken;
use crate::handshake::{client_builder, finish_client, no_tls12};
use crate::identity::peer_identity;
use crate::trust::{
    AuthorityId, Refusal, Side, algorithms, chain_of, check_authority, check_chain, timestamp, verify_path,
};

/// Takes nodes below a pinned authority.
#[derive(Debug)]
struct Pinned {
    pins: Vec<AuthorityId>,
}

impl JoinToken {
    /// Makes the configuration of a client that shows no certificate and takes only members that the token pins.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        let verifier = Arc::new(Pinned { pins: self.pins.clone() });
        finish_client(client_builder(verifier).with_no_client_auth())
    }
}

// === impl Pinned ===

impl Pinned {
    fn verify(&self, leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Refusal> {
        check_chain(&chain_of(leaf, above))?;
        let identity = peer_identity(leaf)?;
        let is_pinned = |certificate: &&CertificateDer<'_>| {
            check_authority(certificate).is_ok_and(|authority| self.pins.contains(&authority))
        };
        let anchors = above.iter().filter(is_pinned);
        if let Err(reason) = verify_path(anchors, leaf, above, Side::Server, timestamp(now)) {
            return Err(Refusal::Untrusted { identity: Box::new(identity), reason });
        }
        if identity.node().is_none() {
            return Err(Refusal::NoNode { identity: Box::new(identity) });
        }
        Ok(())
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, above, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
