//! A server with trust domains, and clients that shake hands with it over a pipe in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_tls::{ClientAuth, DomainFiles, HandshakeError, PeerIdentity, Refusal, ServerTls, TrustDomain};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Issued};

/// The versions that a client may speak.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A folder with the files of a server.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    clients: ClientAuth,
    server_root: CertificateDer<'static>,
}

/// What a client presents, whatever the server asks for.
#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

/// A connection that both sides think is open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) client: TlsStream<DuplexStream>,
    pub(crate) server: tokio_rustls::server::TlsStream<DuplexStream>,
    pub(crate) identity: Option<Arc<PeerIdentity>>,
}

impl World {
    /// Makes a server that trusts nobody yet and requires a certificate.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("server.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
        let clients = ClientAuth { domains: BTreeMap::new(), required: true };
        Self { folder, clients, server_root: made.cert.der().clone() }
    }

    /// Trusts an authority for a domain.
    pub(crate) fn trusting(mut self, domain: &str, authorities: &[&Authority]) -> Self {
        let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
        let path = self.write(&format!("{domain}.bundle.pem"), pem);
        self.domain(domain).bundles = vec![path];
        self
    }

    /// Adds a revocation list to a domain.
    pub(crate) fn revoking(mut self, domain: &str, name: &str, list: impl AsRef<[u8]>) -> Self {
        let path = self.write(name, list);
        self.domain(domain).crls.push(path);
        self
    }

    pub(crate) fn requiring_lists(mut self, domain: &str) -> Self {
        self.domain(domain).crl_required = true;
        self
    }

    pub(crate) fn optional(mut self) -> Self {
        self.clients.required = false;
        self
    }

    fn domain(&mut self, name: &str) -> &mut DomainFiles {
        self.clients.domains.entry(TrustDomain::parse(name).unwrap()).or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in one step, so that nobody sees half of it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.path(name), self.path("new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    pub(crate) fn load(&self) -> ServerTls {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        ServerTls::load_mutual(certificate, key, self.clients.clone()).unwrap()
    }

    /// Loads a server that must not be loadable.
    pub(crate) fn load_error(&self) -> quorate_tls::LoadError {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        ServerTls::load_mutual(certificate, key, self.clients.clone()).unwrap_err()
    }

    /// Makes a client that presents a chain, or nothing.
    pub(crate) fn client(&self, issued: Option<&Issued>, version: &'static SupportedProtocolVersion) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.server_root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match issued {
            Some(issued) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(issued.chain.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                // Not held against each other: a thief has the one and not the other.
                builder.with_client_cert_resolver(Arc::new(Presented(Arc::new(CertifiedKey::new(chain.unwrap(), key)))))
            }
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Shakes hands with a chain in both versions, which have to agree, and returns what TLS 1.3 said.
    pub(crate) async fn meet(&self, server: &ServerTls, issued: &Issued) -> Result<Arc<PeerIdentity>, Refusal> {
        let [old, new] = VERSIONS.map(|version| self.client(Some(issued), version));
        let (old, new) = (shake(server, &old).await, shake(server, &new).await);
        let identity = |open: Result<Open, HandshakeError>| match open {
            Ok(open) => Ok(open.identity.expect("a certificate was presented")),
            Err(HandshakeError::Refused(refusal)) => Err(refusal),
            Err(HandshakeError::Failed(error)) => panic!("{error}"),
        };
        let (old, new) = (identity(old), identity(new));
        assert_eq!(old.as_ref().map_err(Refusal::reason), new.as_ref().map_err(Refusal::reason));
        new
    }

    /// As [`Self::meet`], for the class of a refusal.
    pub(crate) async fn refusal(&self, server: &ServerTls, issued: &Issued) -> &'static str {
        self.meet(server, issued).await.expect_err("the certificate is bad").reason()
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shakes hands, and makes sure that the client noticed what the server decided.
pub(crate) async fn shake(server: &ServerTls, client: &TlsConnector) -> Result<Open, HandshakeError> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let connecting = client.connect("localhost".try_into().unwrap(), near);
    let (client, accepted) = tokio::join!(connecting, server.accept(far));
    match accepted {
        Ok(accepted) => {
            let mut open = Open { client: client.unwrap(), server: accepted.stream, identity: accepted.identity };
            open.talk().await;
            Ok(open)
        }
        Err(error) => {
            if let Ok(mut client) = client {
                // TLS 1.3: the client was done before the server looked at its certificate.
                client.read_u8().await.expect_err("the server sent an alert");
            }
            Err(error)
        }
    }
}

impl Open {
    /// Sends a byte each way.
    pub(crate) async fn talk(&mut self) {
        self.client.write_all(b"?").await.unwrap();
        assert_eq!(self.server.read_u8().await.unwrap(), b'?');
        self.server.write_all(b"!").await.unwrap();
        self.server.flush().await.unwrap();
        assert_eq!(self.client.read_u8().await.unwrap(), b'!');
    }

    pub(crate) fn kind(&self) -> HandshakeKind {
        self.client.get_ref().1.handshake_kind().expect("the handshake is over")
    }
}
