//! Encrypts connections to backends, and decides which backends to trust.
//!
//! Trusted are the roots of the operating system (as `SSL_CERT_FILE` and `SSL_CERT_DIR` have it)
//! and those of one extra file. A machine without any roots is no error here: it may have plain
//! HTTP backends only, and an HTTPS one fails at its handshake with the reason.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::alpn_protocols;
use crate::error::{LoadError, Reason};
use crate::files::read_certificates;

/// Whom a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Trust the roots of the operating system. Default true.
    pub native_roots: bool,
    /// Trust the certificates in this PEM file as well, for backends of a private authority.
    pub extra_roots: Option<PathBuf>,
}

/// A TLS client; cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    roots: usize,
    native_failures: Arc<[String]>,
}

// === impl ClientOptions ===

impl Default for ClientOptions {
    fn default() -> Self {
        Self { native_roots: true, extra_roots: None }
    }
}

// === impl ClientTls ===

impl ClientTls {
    /// Loads the trusted roots.
    ///
    /// # Errors
    /// [`LoadError`] when the extra file cannot be used. Roots of the operating system that
    /// cannot be used are left out, and listed by [`Self::native_failures`].
    pub fn load(options: &ClientOptions) -> Result<Self, LoadError> {
        let mut roots = RootCertStore::empty();
        let mut native_failures = Vec::new();
        if options.native_roots {
            let native = rustls_native_certs::load_native_certs();
            native_failures.extend(native.errors.iter().map(ToString::to_string));
            let (_, ignored) = roots.add_parsable_certificates(native.certs);
            if ignored > 0 {
                native_failures.push(format!("{ignored} certificates cannot be parsed"));
            }
        }
        if let Some(path) = &options.extra_roots {
            for certificate in read_certificates(path)? {
                let refuse = |error| LoadError { path: path.clone(), reason: Reason::Certificate(error) };
                roots.add(certificate).map_err(refuse)?;
            }
        }
        let count = roots.len();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn_protocols();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            roots: count,
            native_failures: native_failures.into(),
        })
    }

    /// Shakes hands with a server that has to prove to be `host` (a name, or an address without
    /// brackets). There is no time limit: the caller has one.
    ///
    /// # Errors
    /// The handshake's, for example that the certificate is not trusted; `InvalidInput` when
    /// `host` is neither a name nor an address.
    pub async fn connect<IO>(&self, host: &str, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, io).await
    }

    /// Returns how many roots are trusted.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.roots
    }

    /// Returns what could not be used of the operating system's roots, for a warning at start.
    #[must_use]
    pub fn native_failures(&self) -> &[String] {
        &self.native_failures
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("roots", &self.roots).finish_non_exhaustive()
    }
}
