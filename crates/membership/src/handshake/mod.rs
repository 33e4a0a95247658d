//! TLS between members: configurations of rustls that show a member's certificate and take those of its cluster.
//!
//! Both what is shown ([`Credentials`]) and whom is trusted ([`Trust`]) may be replaced while connections are open; new
//! handshakes use the new ones. Nothing is resumed: a resumed session verifies nothing and would outlive the trust in it.
//! Who stays connected is asked again by its owner, with [`Trust::verify`].
//!
//! TLS 1.3 alone (RFC 8446): both sides are ours. HTTP/2 by ALPN. Names of hosts are not compared: who a node is stands in
//! its certificate's URI, and that is compared with the number that was meant.

mod files;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quorate_types::{ClusterId, NodeId, Timestamp};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig};
use rustls::{ConfigBuilder, PeerIncompatible, SignatureScheme, WantsVerifier, WantsVersions};

pub use self::files::{Content, Files, FilesError, Loaded};
use crate::authority::MemberKey;
use crate::identity::PeerIdentity;
use crate::trust::{Bundle, Refusal, Side, algorithms, chain_of, timestamp};

/// Whom a member trusts now; clones share it.
#[derive(Clone)]
pub struct Trust {
    cluster: ClusterId,
    bundle: Arc<ArcSwap<Bundle>>,
}

/// What a member shows now; clones share it.
#[derive(Clone)]
pub struct Credentials(Arc<Shown>);

struct Shown(ArcSwap<CertifiedKey>);

/// Whom a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Nodes of the cluster.
    Nodes,
    /// Nodes and operators of the cluster.
    Members,
    /// Also who shows no certificate, such as a node that wants to join; one that is shown must be a member's.
    Anyone,
}

/// A chain and a key cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// There is no certificate, or it cannot be read.
    #[error("the certificate cannot be read")]
    Certificate,
}

/// Verifies members, on either side.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    accept: Accept,
    /// The one node that may answer.
    expected: Option<NodeId>,
}

/// Makes the configuration of a server, which shows itself as a node and takes whom `accept` says.
#[must_use]
pub fn server(credentials: &Credentials, trust: &Trust, accept: Accept) -> Arc<ServerConfig> {
    let verifier = Verifier { trust: trust.clone(), accept, expected: None };
    let resolver = Arc::clone(&credentials.0) as Arc<dyn ResolvesServerCert>;
    let builder = only_tls13(ServerConfig::builder_with_provider(provider()));
    let mut config = builder.with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(resolver);
    config.alpn_protocols = alpn();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// Makes the configuration of a client, which shows itself as a member and takes the node that is `expected`, or any node
/// of the cluster.
#[must_use]
pub fn client(credentials: &Credentials, trust: &Trust, expected: Option<NodeId>) -> Arc<ClientConfig> {
    let verifier = Verifier { trust: trust.clone(), accept: Accept::Nodes, expected };
    let resolver = Arc::clone(&credentials.0) as Arc<dyn ResolvesClientCert>;
    let builder = client_builder(Arc::new(verifier));
    finish_client(builder.with_client_cert_resolver(resolver))
}

/// Makes the configuration of a client that shows no certificate and takes any node of the cluster: of a node that has
/// files of its own and is not a member yet.
#[must_use]
pub fn stranger(trust: &Trust) -> Arc<ClientConfig> {
    let verifier = Verifier { trust: trust.clone(), accept: Accept::Nodes, expected: None };
    finish_client(client_builder(Arc::new(verifier)).with_no_client_auth())
}

/// Begins the configuration of a client with a verifier of ours.
pub(crate) fn client_builder(
    verifier: Arc<dyn ServerCertVerifier>,
) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let builder = only_tls13(ClientConfig::builder_with_provider(provider()));
    builder.dangerous().with_custom_certificate_verifier(verifier)
}

pub(crate) fn finish_client(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Arc::new(config)
}

fn only_tls13<S: rustls::ConfigSide>(builder: ConfigBuilder<S, WantsVersions>) -> ConfigBuilder<S, WantsVerifier> {
    builder.with_protocol_versions(&[&TLS13]).expect("ring has the cipher suites of TLS 1.3")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn alpn() -> Vec<Vec<u8>> {
    vec![quorate_tls::ALPN_H2.to_vec()]
}

// === impl Trust ===

impl Trust {
    /// Trusts what is in a bundle, in a cluster.
    #[must_use]
    pub fn new(cluster: ClusterId, bundle: Bundle) -> Self {
        Self { cluster, bundle: Arc::new(ArcSwap::from_pointee(bundle)) }
    }

    /// Trusts another bundle from now on.
    pub fn replace(&self, bundle: Bundle) {
        self.bundle.store(Arc::new(bundle));
    }

    /// Returns what is trusted now.
    #[must_use]
    pub fn bundle(&self) -> Arc<Bundle> {
        self.bundle.load_full()
    }

    /// The cluster whose members are taken.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Verifies a chain as it was shown in a handshake, which may be long ago.
    ///
    /// # Errors
    /// [`Refusal`] says why it is not taken, or not any more.
    pub fn verify(&self, chain: &[CertificateDer<'_>], side: Side, now: Timestamp) -> Result<PeerIdentity, Refusal> {
        self.bundle.load().verify(self.cluster, chain, side, now)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("cluster", &self.cluster).field("bundle", &self.bundle()).finish()
    }
}

// === impl Credentials ===

impl Credentials {
    /// Shows a chain, leaf first, whose key is `key`.
    ///
    /// # Errors
    /// [`InvalidCredentials`] when they do not belong together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &MemberKey) -> Result<Self, InvalidCredentials> {
        Ok(Self(Arc::new(Shown(ArcSwap::from_pointee(certify(chain, key.for_rustls())?)))))
    }

    /// Shows others from now on.
    ///
    /// # Errors
    /// As [`Self::new`]; what was shown is shown further on.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: &MemberKey) -> Result<(), InvalidCredentials> {
        self.0.0.store(Arc::new(certify(chain, key.for_rustls())?));
        Ok(())
    }

    /// Returns the chain that is shown now, leaf first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.now().cert.clone()
    }

    /// What is shown now, with its key.
    pub(crate) fn now(&self) -> Arc<CertifiedKey> {
        self.0.0.load_full()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, InvalidCredentials> {
    if chain.is_empty() {
        return Err(InvalidCredentials::Certificate);
    }
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => InvalidCredentials::Mismatch,
        _ => InvalidCredentials::Certificate,
    })
}

// === impl Shown ===

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

// === impl Refusal ===

impl Refusal {
    /// Finds the reason in the error of a handshake that we refused.
    #[must_use]
    pub fn find(error: &io::Error) -> Option<&Self> {
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

// === impl Verifier ===

impl Verifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let identity = self.trust.verify(&chain_of(leaf, above), side, timestamp(now))?;
        match (identity.node(), self.expected) {
            (None, _) if self.accept == Accept::Nodes => Err(Refusal::NoNode { identity: Box::new(identity) }),
            (Some(node), Some(expected)) if node != expected => {
                Err(Refusal::OtherNode { identity: Box::new(identity), expected })
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, above, Side::Server, now)?;
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

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.accept != Accept::Anyone
    }

    /// None, so that the client sends what it has: authorities change while the configuration does not.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, above, Side::Client, now)?;
        Ok(ClientCertVerified::assertion())
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

/// Only TLS 1.3 is offered, so that nobody asks.
pub(crate) fn no_tls12() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)
}
