//! Encrypts accepted sockets with a certificate that can be replaced while they are open.
//!
//! The certificate and its key sit behind an `ArcSwap` that rustls asks at each handshake: a
//! reload changes new handshakes only, and a reload that fails leaves the old certificate in
//! place and says why.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

use crate::alpn_protocols;
use crate::error::LoadError;
use crate::files::Pair;

/// A TLS server; cheap to clone, and all clones see a reload.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files hold what was tried last.
    Unchanged,
    /// New handshakes use the new certificate.
    Replaced,
}

/// The certificate in use, and where it came from.
struct Current {
    certificate_path: PathBuf,
    key_path: PathBuf,
    provider: Arc<CryptoProvider>,
    certified: ArcSwap<CertifiedKey>,
    /// Fingerprint of the files that were tried last, also in vain, so that a bad pair is
    /// reported once and not at every look.
    tried: AtomicU64,
}

// === impl ServerTls ===

impl ServerTls {
    /// Loads a certificate chain (leaf first) and its key from PEM files.
    ///
    /// # Errors
    /// [`LoadError`] names the file that cannot be used, and why.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let (certificate_path, key_path) = (certificate.into(), key.into());
        let provider = Arc::new(ring::default_provider());
        let pair = Pair::read(&certificate_path, &key_path)?;
        let certified = pair.parse(&certificate_path, &key_path, &provider)?;
        let current = Arc::new(Current {
            certificate_path,
            key_path,
            provider: Arc::clone(&provider),
            certified: ArcSwap::from_pointee(certified),
            tried: AtomicU64::new(pair.fingerprint()),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn_protocols();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Shakes hands on an accepted socket. There is no time limit: the caller has one.
    pub fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Accept<IO> {
        self.acceptor.accept(io)
    }

    /// Reads the files again, and uses them for new handshakes when they changed. Blocks on file
    /// reads.
    ///
    /// # Errors
    /// [`LoadError`] when the changed files cannot be used; the certificate before stays in use.
    pub fn reload(&self) -> Result<Reloaded, LoadError> {
        let current = &*self.current;
        let pair = Pair::read(&current.certificate_path, &current.key_path)?;
        let fingerprint = pair.fingerprint();
        if current.tried.swap(fingerprint, Ordering::Relaxed) == fingerprint {
            return Ok(Reloaded::Unchanged);
        }
        let certified = pair.parse(&current.certificate_path, &current.key_path, &current.provider)?;
        current.certified.store(Arc::new(certified));
        Ok(Reloaded::Replaced)
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
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.fmt(f)
    }
}

// === impl Current ===

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificate", &self.certificate_path)
            .field("key", &self.key_path)
            .field("chain_length", &self.certified.load().cert.len())
            .finish_non_exhaustive()
    }
}
