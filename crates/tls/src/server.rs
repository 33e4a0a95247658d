//! Encrypts accepted sockets with a certificate that can be replaced while they are open.
//!
//! The certificate and its key sit behind an `ArcSwap` that rustls asks at each handshake: a
//! reload changes new handshakes only, and a reload that fails leaves the old certificate in
//! place and says why. The same holds for the trust in client certificates (the module `clients`).
//!
//! With client certificates no session is resumed: a resumed one has the identity of the handshake
//! before and verifies nothing, so that it would outlive the trust in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use quorate_types::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::alpn_protocols;
use crate::clients::{ClientAuth, PeerIdentity, Refusal, Trust};
use crate::error::LoadError;
use crate::files::{self, Pair, Seen};
use crate::watch::Reload;

/// A TLS server; cheap to clone, and all clones see a reload.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    trust: Option<Arc<Trust>>,
}

/// An encrypted connection, and whose it is.
pub struct Accepted<IO> {
    /// The stream of what was encrypted.
    pub stream: TlsStream<IO>,
    /// The workload that proved itself; `None` without client certificates, or when it has none and need not.
    pub identity: Option<Arc<PeerIdentity>>,
}

/// No connection came of a handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client's certificate is refused.
    #[error(transparent)]
    Refused(Refusal),
    /// There was no common TLS version, the client does not trust us, it does not speak TLS, or it left.
    #[error(transparent)]
    Failed(io::Error),
}

/// The certificate in use, and where it came from.
struct Current {
    certificate_path: PathBuf,
    key_path: PathBuf,
    provider: Arc<CryptoProvider>,
    certified: ArcSwap<CertifiedKey>,
    seen: Mutex<Seen>,
}

// === impl ServerTls ===

impl ServerTls {
    /// Loads a certificate chain (leaf first) and its key from PEM files. Clients need no certificate.
    ///
    /// # Errors
    /// [`LoadError`] names the file that cannot be used, and why.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, LoadError> {
        Self::load_with(certificate.into(), key.into(), None)
    }

    /// As [`Self::load`], with client certificates.
    ///
    /// # Errors
    /// [`LoadError`] names the file that cannot be used, and why.
    pub fn load_mutual(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        clients: ClientAuth,
    ) -> Result<Self, LoadError> {
        Self::load_with(certificate.into(), key.into(), Some(clients))
    }

    fn load_with(certificate_path: PathBuf, key_path: PathBuf, clients: Option<ClientAuth>) -> Result<Self, LoadError> {
        let provider = Arc::new(ring::default_provider());
        let pair = Pair::read(&certificate_path, &key_path)?;
        let certified = pair.parse(&certificate_path, &key_path, &provider)?;
        let trust = clients.map(|clients| Trust::load(clients, &provider)).transpose()?.map(Arc::new);
        let current = Arc::new(Current {
            certificate_path,
            key_path,
            provider: Arc::clone(&provider),
            certified: ArcSwap::from_pointee(certified),
            seen: Mutex::new(Seen::new(files::fingerprint(&pair))),
        });
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3");
        let builder = match &trust {
            Some(trust) => builder.with_client_cert_verifier(Arc::clone(trust) as Arc<dyn ClientCertVerifier>),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn_protocols();
        if trust.is_some() {
            // Neither tickets (TLS 1.3, which would carry early data as well) nor session ids (TLS 1.2).
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config.max_early_data_size = 0;
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current, trust })
    }

    /// Shakes hands on an accepted socket. There is no time limit: the caller has one.
    ///
    /// # Errors
    /// [`HandshakeError`] tells refused certificates from other failures. The client got an alert.
    pub async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // Of before the handshake: what is replaced meanwhile is verified again with the first request.
        let generation = self.trust.as_ref().map_or(0, |trust| trust.generation());
        let stream = self.acceptor.accept(io).await.map_err(HandshakeError::from_io)?;
        let chain = stream.get_ref().1.peer_certificates();
        let identity = match (&self.trust, chain) {
            (Some(trust), Some(chain)) => {
                let identity = PeerIdentity::new(Arc::clone(trust), generation, chain, clock());
                Some(Arc::new(identity.map_err(HandshakeError::Refused)?))
            }
            _ => None,
        };
        Ok(Accepted { stream, identity })
    }

    /// Reads the files again, and uses them for new handshakes when they changed. Blocks on file
    /// reads. Returns what is new; each state of the files is told once, also a bad one, and what it
    /// would have replaced stays in use.
    #[must_use = "refused files are told once"]
    pub fn reload(&self) -> Vec<Reload> {
        let mut news = Vec::new();
        match self.current.reload() {
            Ok(true) => news.push(Reload::Replaced),
            Ok(false) | Err(None) => {}
            Err(Some(error)) => news.push(Reload::Refused(error)),
        }
        if let Some(trust) = &self.trust {
            news.extend(trust.reload(clock()));
        }
        news
    }

    /// Returns the path of the certificate file.
    #[must_use]
    pub fn certificate_path(&self) -> &Path {
        &self.current.certificate_path
    }

    /// Returns the path of the key file.
    #[must_use]
    pub fn key_path(&self) -> &Path {
        &self.current.key_path
    }

    /// Returns all files that a reload reads.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let trust = self.trust.iter().flat_map(|trust| trust.paths());
        [self.certificate_path(), self.key_path()].into_iter().chain(trust)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificate", &self.current.certificate_path)
            .field("key", &self.current.key_path)
            .field("chain_length", &self.current.certified.load().cert.len())
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

// === impl Accepted ===

impl<IO> fmt::Debug for Accepted<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("identity", &self.identity).finish_non_exhaustive()
    }
}

// === impl HandshakeError ===

impl HandshakeError {
    fn from_io(error: io::Error) -> Self {
        let refusal = error.get_ref().and_then(|error| error.downcast_ref()).and_then(Refusal::find);
        refusal.map_or(Self::Failed(error), Self::Refused)
    }
}

// === impl Current ===

impl Current {
    /// Tells whether the files changed, and an error once.
    fn reload(&self) -> Result<bool, Option<LoadError>> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = seen.changed(Pair::read(&self.certificate_path, &self.key_path))? else {
            return Ok(false);
        };
        let certified = pair.parse(&self.certificate_path, &self.key_path, &self.provider)?;
        self.certified.store(Arc::new(certified));
        Ok(true)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("certificate", &self.certificate_path).finish_non_exhaustive()
    }
}

/// Returns the time by the system's clock, which certificates are measured by.
fn clock() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
