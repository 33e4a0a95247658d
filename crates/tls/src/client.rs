//! Encrypts connections to backends, and decides which backends to trust.
//!
//! Trusted are the roots of the operating system (as `SSL_CERT_FILE` and `SSL_CERT_DIR` have it)
//! and those of one extra file. A machine without any roots is no error here: it may have plain
//! HTTP backends only, and an HTTPS one fails at its handshake with the reason.
//!
//! A backend may ask who comes: then the client presents a certificate, when it has one. Both its files
//! and the extra roots may be replaced: new connections use the new ones, or nothing changes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::alpn_protocols;
use crate::error::{LoadError, Reason};
use crate::files::{self, Pair, Seen};
use crate::watch::{Reload, Watch, WatchConfig};

/// Whom a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Trust the roots of the operating system. Default true.
    pub native_roots: bool,
    /// Trust the certificates in this PEM file as well, for backends of a private authority.
    pub extra_roots: Option<PathBuf>,
}

/// What a client proves itself with, where a backend asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file with the chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the leaf's key.
    pub key: PathBuf,
}

/// A TLS client; cheap to clone, and all clones see a reload.
#[derive(Clone)]
pub struct ClientTls {
    shared: Arc<Shared>,
    /// Ends with the last clone that has it.
    watch: Option<Arc<Watch>>,
}

struct Shared {
    sources: Sources,
    provider: Arc<CryptoProvider>,
    native: RootCertStore,
    native_failures: Vec<String>,
    current: ArcSwap<Current>,
    seen: Mutex<Seen>,
}

/// What new connections use.
struct Current {
    connector: TlsConnector,
    roots: usize,
}

/// Where everything comes from that may be replaced.
struct Sources {
    extra_roots: Option<PathBuf>,
    certificate: Option<ClientCertificate>,
}

/// The bytes of the files.
#[derive(Hash)]
struct Content {
    extra_roots: Option<Vec<u8>>,
    pair: Option<Pair>,
}

// === impl ClientOptions ===

impl Default for ClientOptions {
    fn default() -> Self {
        Self { native_roots: true, extra_roots: None }
    }
}

// === impl ClientTls ===

impl ClientTls {
    /// Loads the trusted roots. Presents no certificate.
    ///
    /// # Errors
    /// [`LoadError`] when the extra file cannot be used. Roots of the operating system that
    /// cannot be used are left out, and listed by [`Self::native_failures`].
    pub fn load(options: &ClientOptions) -> Result<Self, LoadError> {
        Self::load_with(options, None)
    }

    /// As [`Self::load`], with a certificate for backends that ask for one.
    ///
    /// # Errors
    /// [`LoadError`] when a file cannot be used.
    pub fn load_mutual(options: &ClientOptions, certificate: ClientCertificate) -> Result<Self, LoadError> {
        Self::load_with(options, Some(certificate))
    }

    fn load_with(options: &ClientOptions, certificate: Option<ClientCertificate>) -> Result<Self, LoadError> {
        let (native, native_failures) =
            if options.native_roots { native_roots() } else { (RootCertStore::empty(), Vec::new()) };
        let sources = Sources { extra_roots: options.extra_roots.clone(), certificate };
        let provider = Arc::new(ring::default_provider());
        let content = sources.read()?;
        let current = sources.parse(&content, native.clone(), &provider)?;
        let seen = Mutex::new(Seen::new(files::fingerprint(&content)));
        let current = ArcSwap::from_pointee(current);
        let shared = Arc::new(Shared { sources, provider, native, native_failures, current, seen });
        Ok(Self { shared, watch: None })
    }

    /// As [`Self::watch`], for as long as there is a clone of what is returned.
    #[must_use]
    pub fn watched(self, config: WatchConfig, report: impl Fn(Reload) + Send + 'static) -> Self {
        // The watch has a clone without itself, which else would keep it for ever.
        let bare = Self { shared: self.shared, watch: None };
        let watch = Some(Arc::new(bare.watch(config, report)));
        Self { watch, ..bare }
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
        let connector = self.shared.current.load().connector.clone();
        connector.connect(name, io).await
    }

    /// Reads the extra roots and the certificate again, and uses them for new connections when they changed.
    /// Blocks on file reads. Returns what is new; each state of the files is told once, also a bad one, and what
    /// it would have replaced stays in use.
    #[must_use = "refused files are told once"]
    pub fn reload(&self) -> Vec<Reload> {
        let shared = &*self.shared;
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = seen.changed(shared.sources.read()).and_then(|content| {
            let Some(content) = content else { return Ok(None) };
            Ok(Some(shared.sources.parse(&content, shared.native.clone(), &shared.provider)?))
        });
        match replaced {
            Ok(None) | Err(None) => Vec::new(),
            Ok(Some(current)) => {
                shared.current.store(Arc::new(current));
                vec![Reload::Replaced]
            }
            Err(Some(error)) => vec![Reload::Refused(error)],
        }
    }

    /// Returns how many roots are trusted.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.shared.current.load().roots
    }

    /// Returns what could not be used of the operating system's roots, for a warning at start.
    #[must_use]
    pub fn native_failures(&self) -> &[String] {
        &self.shared.native_failures
    }

    /// Returns all files that a reload reads.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let Sources { extra_roots, certificate } = &self.shared.sources;
        let pair = certificate.iter().flat_map(|files| [&files.certificate, &files.key]);
        extra_roots.iter().chain(pair).map(PathBuf::as_path)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("roots", &self.roots())
            .field("certificate", &self.shared.sources.certificate)
            .field("watched", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}

// === impl Sources ===

impl Sources {
    fn read(&self) -> Result<Content, LoadError> {
        let extra_roots = self.extra_roots.as_deref().map(files::read_file).transpose()?;
        let pair = self.certificate.as_ref().map(|files| Pair::read(&files.certificate, &files.key)).transpose()?;
        Ok(Content { extra_roots, pair })
    }

    fn parse(
        &self,
        content: &Content,
        mut roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Current, LoadError> {
        if let (Some(path), Some(bytes)) = (&self.extra_roots, &content.extra_roots) {
            for certificate in files::parse_certificates(path, bytes)? {
                let refuse = |error| LoadError { path: path.clone(), reason: Reason::Certificate(error) };
                roots.add(certificate).map_err(refuse)?;
            }
        }
        let count = roots.len();
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let mut config = match (&self.certificate, &content.pair) {
            (Some(files), Some(pair)) => {
                let certified = pair.parse(&files.certificate, &files.key, provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn_protocols();
        Ok(Current { connector: TlsConnector::from(Arc::new(config)), roots: count })
    }
}

/// Loads the roots of the operating system, and what cannot be used of them.
fn native_roots() -> (RootCertStore, Vec<String>) {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let mut failures: Vec<_> = native.errors.iter().map(ToString::to_string).collect();
    let (_, ignored) = roots.add_parsable_certificates(native.certs);
    if ignored > 0 {
        failures.push(format!("{ignored} certificates cannot be parsed"));
    }
    (roots, failures)
}
