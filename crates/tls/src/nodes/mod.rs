//! TLS between the nodes of one cluster: each proves itself to the other, and nobody is known by a host name.
//!
//! [`NodeTls`] shakes hands both ways with one certificate and one set of roots, which a reload replaces as a whole: new
//! handshakes use the new ones, open streams go on. Out flow encrypted streams with the URI names of a leaf that was
//! verified; which URI means which node is the caller's to know.
//!
//! **Invariant:** a stream has a peer that holds the key of a valid certificate of one of the roots. TLS 1.3 only, and
//! no session is resumed: a resumed one verifies nothing. Private keys are never shown. Revocation lists are not read:
//! members are known by number, and a node that left is refused by its number.

mod credentials;
mod error;
mod verify;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use self::credentials::NodeCredentials;
pub use self::error::{CredentialsError, CredentialsPart, NodeHandshakeError};
use self::verify::{Anyone, uri_names};
use crate::{ALPN_EXCHANGES, ALPN_H2};

/// How long a refused side may take to hang up: it does so as soon as it read the alert.
const LINGER: Duration = Duration::from_millis(500);
/// What it may send meanwhile: what it sent before it read the alert.
const LINGER_BYTES: u64 = 64 << 10;

/// TLS of a node towards the others; cheap to clone, and all clones see a replacement.
#[derive(Clone)]
pub struct NodeTls(Arc<ArcSwap<Current>>);

/// An encrypted stream, and what its peer's certificate calls it.
pub struct Proven<S> {
    /// The stream of what was encrypted.
    pub stream: S,
    /// The URI names of the peer's leaf, in its order.
    pub uris: Vec<String>,
    /// Whether it is a connection of exchanges ([`ALPN_EXCHANGES`]) and not one of consensus.
    pub is_exchanges: bool,
}

/// What new handshakes use.
struct Current {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// The URI names of the own leaf.
    uris: Vec<String>,
}

// === impl NodeTls ===

impl NodeTls {
    /// Starts with these credentials.
    #[must_use]
    pub fn new(credentials: NodeCredentials) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Current::new(credentials))))
    }

    /// Shakes hands as these configurations say, which are of who has the URI names `uris`. They prove both sides, speak
    /// [`ALPN_H2`] (and, as every node, [`ALPN_EXCHANGES`]), and may change by themselves what they show and whom they take.
    #[must_use]
    pub fn of_configs(server: Arc<ServerConfig>, client: Arc<ClientConfig>, uris: Vec<String>) -> Self {
        let mut accepting = ServerConfig::clone(&server);
        accepting.alpn_protocols = accepted_protocols();
        let current = Current { acceptor: Arc::new(accepting).into(), connector: client.into(), uris };
        Self(Arc::new(ArcSwap::from_pointee(current)))
    }

    /// Uses other credentials for all handshakes from now on.
    pub fn replace(&self, credentials: NodeCredentials) {
        self.0.store(Arc::new(Current::new(credentials)));
    }

    /// Returns the URI names of the own leaf: who this node can prove to be.
    #[must_use]
    pub fn uris(&self) -> Vec<String> {
        self.0.load().uris.clone()
    }

    /// Shakes hands on an accepted socket. There is no time limit: the caller has one.
    ///
    /// # Errors
    /// [`NodeHandshakeError`]; the other side got an alert at most.
    pub async fn accept<IO>(&self, io: IO) -> Result<Proven<server::TlsStream<IO>>, NodeHandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.0.load().acceptor.clone();
        let stream = match acceptor.accept(io).into_fallible().await {
            Ok(stream) => stream,
            Err((error, io)) => {
                linger(io).await;
                return Err(NodeHandshakeError::from_io(error));
            }
        };
        let uris = names(stream.get_ref().1.peer_certificates())?;
        let is_exchanges = stream.get_ref().1.alpn_protocol() == Some(ALPN_EXCHANGES);
        Ok(Proven { stream, uris, is_exchanges })
    }

    /// Shakes hands on a socket that was dialed for consensus. There is no time limit: the caller has one. Whether the
    /// other side takes our certificate is known after [`Proven::confirmed`].
    ///
    /// # Errors
    /// [`NodeHandshakeError`].
    pub async fn connect<IO>(&self, io: IO) -> Result<Proven<client::TlsStream<IO>>, NodeHandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_as(io, ALPN_H2).await
    }

    /// As [`NodeTls::connect`], on a socket that was dialed for exchanges.
    ///
    /// # Errors
    /// [`NodeHandshakeError`]; an alert, too, of a node of a version that knows no exchanges.
    pub async fn connect_exchanges<IO>(&self, io: IO) -> Result<Proven<client::TlsStream<IO>>, NodeHandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_as(io, ALPN_EXCHANGES).await
    }

    async fn connect_as<IO>(&self, io: IO, alpn: &[u8]) -> Result<Proven<client::TlsStream<IO>>, NodeHandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = self.0.load().connector.clone();
        // Only sent as SNI when it is a DNS name, which nothing asks for.
        let name = ServerName::try_from("node.invalid").expect("it is a name");
        let connecting = connector.with_alpn(vec![alpn.to_vec()]).connect(name, io);
        let stream = connecting.await.map_err(NodeHandshakeError::from_io)?;
        let uris = names(stream.get_ref().1.peer_certificates())?;
        let is_exchanges = stream.get_ref().1.alpn_protocol() == Some(ALPN_EXCHANGES);
        Ok(Proven { stream, uris, is_exchanges })
    }
}

impl fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTls").field("uris", &self.0.load().uris).finish_non_exhaustive()
    }
}

// === impl Proven ===

impl<IO> Proven<client::TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Waits for the first byte of the other side, which has to speak first (HTTP/2 does, RFC 9113 §3.4), and does so when
    /// it took our certificate: with TLS 1.3 its alert comes after our side of the handshake.
    ///
    /// # Errors
    /// [`NodeHandshakeError::Alert`] when our certificate is refused; `Failed` when the other side left without a word.
    pub async fn confirmed(&mut self) -> Result<(), NodeHandshakeError> {
        match self.stream.fill_buf().await {
            Ok([]) => Err(NodeHandshakeError::Failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(NodeHandshakeError::from_io(error)),
        }
    }
}

impl<S> fmt::Debug for Proven<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").field("uris", &self.uris).finish_non_exhaustive()
    }
}

// === impl Current ===

impl Current {
    fn new(credentials: NodeCredentials) -> Self {
        let NodeCredentials { anchors, certified } = credentials;
        let uris = certified.cert.first().and_then(uri_names).unwrap_or_default();
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Anyone::new(anchors, provider.signature_verification_algorithms));
        let certified = Arc::new(SingleCertAndKey::from(certified));

        let mut accepting = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has the cipher suites of TLS 1.3")
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<_>)
            .with_cert_resolver(Arc::clone(&certified) as Arc<_>);
        accepting.alpn_protocols = accepted_protocols();
        accepting.session_storage = Arc::new(NoServerSessionStorage {});
        accepting.send_tls13_tickets = 0;
        accepting.max_early_data_size = 0;

        let mut dialing = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has the cipher suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(certified);
        dialing.alpn_protocols = vec![ALPN_H2.to_vec()];
        dialing.resumption = Resumption::disabled();
        dialing.enable_sni = false;

        Self { acceptor: Arc::new(accepting).into(), connector: Arc::new(dialing).into(), uris }
    }
}

fn accepted_protocols() -> Vec<Vec<u8>> {
    vec![ALPN_H2.to_vec(), ALPN_EXCHANGES.to_vec()]
}

/// Lets the other side read its alert: closing a socket with unread bytes resets it, and what was sent may be lost.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the socket is closed next.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

fn names(chain: Option<&[CertificateDer<'_>]>) -> Result<Vec<String>, NodeHandshakeError> {
    let leaf = chain.and_then(<[_]>::first).ok_or(NodeHandshakeError::NoCertificate)?;
    uri_names(leaf).ok_or_else(|| NodeHandshakeError::Failed(io::Error::other("the names of the certificate")))
}
