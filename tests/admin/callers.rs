//! Who calls: with a certificate of some cluster, or with none, over TLS 1.3 and HTTP/2.
//!
//! These callers take any server, since it is the server that is tested; what they send is a call with an empty message, and
//! what they read is the status that ends it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;

/// An empty message: not compressed, of no bytes.
const EMPTY: [u8; 5] = [0; 5];

/// What is shown in handshakes.
pub(crate) struct Caller(Arc<ClientConfig>);

/// A connection of a caller.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

/// Takes every server.
#[derive(Debug)]
struct Any;

// === impl Caller ===

impl Caller {
    /// Shows no certificate.
    pub(crate) fn nobody() -> anyhow::Result<Self> {
        let config = builder()?.with_no_client_auth();
        Ok(Self::speaks_http2(config))
    }

    /// Shows the certificate of a context's folder.
    pub(crate) fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(folder.join("operator.pem"))?.collect();
        let key = PrivateKeyDer::from_pem_file(folder.join("operator-key.pem"))?;
        Ok(Self::speaks_http2(builder()?.with_client_auth_cert(chain?, key)?))
    }

    /// Shows a certificate that was just made.
    pub(crate) fn of_pem(chain: &str, key: &str) -> anyhow::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        Ok(Self::speaks_http2(builder()?.with_client_auth_cert(chain?, key)?))
    }

    fn speaks_http2(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// Connects. With TLS 1.3 a client is done before the server has looked at its certificate: who is refused may learn
    /// that from its first call.
    pub(crate) async fn connect(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::clone(&self.0)).connect(ServerName::try_from("node.invalid")?, stream);
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream.await?)).await.context("it speaks HTTP/2")?;
        tokio::spawn(connection);
        Ok(Connection(sender))
    }
}

fn builder() -> anyhow::Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Any)))
}

// === impl Connection ===

impl Connection {
    /// Makes a call with an empty message, and returns what it began or ended with: a status that refuses it stands in the
    /// headers already, and what is answered otherwise is read to its end, if it `ends`.
    pub(crate) async fn call(&mut self, path: &str, ends: bool) -> anyhow::Result<Status> {
        self.0.ready().await.context("the connection was ended")?;
        let request = hyper::Request::post(format!("https://node.invalid{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(&EMPTY)))?;
        let answer = self.0.send_request(request).await.context("the call was not answered")?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return Ok(status);
        }
        if !ends {
            return Ok(Status::ok("it goes on"));
        }
        let end = answer.into_body().collect().await?;
        let trailers = end.trailers().with_context(|| format!("{path} has no status"))?;
        Status::from_header_map(trailers).with_context(|| format!("{path} ends with {trailers:?}"))
    }
}

// === impl Any ===

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
