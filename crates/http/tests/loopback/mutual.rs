//! Requests of workloads: whose they are, over HTTP/1.1 and HTTP/2, and what becomes of clients that are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use quorate_http::client::{Client, Config};
use quorate_http::server::{ConnectionError, Limits, Peer};
use quorate_http::{RequestBody, ResponseBody, collect};
use quorate_tls::{
    Cause, ClientAuth, ClientCertificate, ClientOptions, ClientTls, DomainFiles, Reload, ServerTls, TrustDomain,
};
use quorate_types::Timestamp;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestServer, WIDE, text, within};
use crate::tls::write_certificate;

type Authority = CertifiedIssuer<'static, KeyPair>;

const ID: &str = "spiffe://one.test/agent";

/// The files of a server, and of its clients.
struct Files {
    folder: TempDir,
    authority: Authority,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: TempDir::new().unwrap(), authority: authority() };
        write_certificate(files.folder.path());
        std::fs::write(files.path("bundle.pem"), files.authority.pem()).unwrap();
        files.revoke(&[]);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn revoke(&self, serials: &[u64]) {
        let entry = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(entry).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        std::fs::write(self.path("crl.pem"), list.signed_by(&self.authority).unwrap().pem().unwrap()).unwrap();
    }

    fn server(&self, required: bool) -> ServerTls {
        let files = DomainFiles {
            bundles: vec![self.path("bundle.pem")],
            crls: vec![self.path("crl.pem")],
            crl_required: true,
        };
        let domains = BTreeMap::from([(TrustDomain::parse("one.test").unwrap(), files)]);
        let clients = ClientAuth { domains, required };
        ServerTls::load_mutual(self.path("cert.pem"), self.path("key.pem"), clients).unwrap()
    }

    /// Makes a TLS client with a certificate that an authority issued.
    fn client_of(&self, authority: &Authority, serial: u64) -> ClientTls {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, authority).unwrap();
        let certificate = ClientCertificate {
            certificate: self.path(&format!("{serial}.pem")),
            key: self.path(&format!("{serial}.key")),
        };
        std::fs::write(&certificate.certificate, issued.pem()).unwrap();
        std::fs::write(&certificate.key, key.serialize_pem()).unwrap();
        ClientTls::load_mutual(&self.options(), certificate).unwrap()
    }

    fn client(&self, serial: u64) -> ClientTls {
        self.client_of(&self.authority, serial)
    }

    fn bare(&self) -> ClientTls {
        ClientTls::load(&self.options()).unwrap()
    }

    fn options(&self) -> ClientOptions {
        ClientOptions { native_roots: false, extra_roots: Some(self.path("cert.pem")) }
    }
}

/// Answers with whose request it is, and what is wrong with it now.
async fn whose(_request: http::Request<RequestBody>, peer: Peer) -> http::Response<ResponseBody> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    let now = Timestamp::from_millis(u64::try_from(now.as_millis()).expect("it is this century"));
    assert!(peer.encrypted);
    match &peer.identity {
        None => text("nobody"),
        Some(identity) => match identity.still_trusted(now) {
            Ok(()) => text(identity.id().to_string()),
            Err(refusal) => text(refusal.reason()),
        },
    }
}

fn patient(tls: ClientTls) -> Client {
    Client::new(&Config { idle_timeout: PATIENCE, ..Config::default() }, tls)
}

async fn ask(client: &Client, server: &TestServer) -> String {
    let uri = format!("https://localhost:{}/", server.address.port());
    let request = http::Request::get(uri).body(Full::<Bytes>::default()).unwrap();
    let answer = within("the answer", client.send(request)).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    String::from_utf8(collect(answer.into_body(), 100, PATIENCE).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn each_request_of_a_connection_knows_whose_it_is() {
    let files = Files::new();
    let server = TestServer::start(WIDE, Some(files.server(false)), whose);
    let workload = patient(files.client(7));
    for _ in 0..3 {
        assert_eq!(ask(&workload, &server).await, ID);
    }
    assert_eq!(server.heard.heard().opened, 1);
    assert_eq!(ask(&patient(files.bare()), &server).await, "nobody");
    assert!(server.heard.heard().refusals.is_empty());
}

#[tokio::test]
async fn http1_knows_whose_requests_are_as_well() {
    let files = Files::new();
    let server = TestServer::start(WIDE, Some(files.server(true)), whose);
    let pem = |name| std::fs::read(files.path(name)).unwrap();
    files.client(7);
    let chain = vec![CertificateDer::from_pem_slice(&pem("7.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&pem("7.key")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem("cert.pem")).unwrap()).unwrap();
    // Without ALPN, which means HTTP/1.1.
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within("the answers", stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    assert_eq!(answer.matches(ID).count(), 2, "{answer}");
}

#[tokio::test]
async fn a_refused_client_reaches_no_handler_and_is_counted_by_its_class() {
    let files = Files::new();
    files.revoke(&[66]);
    let server =
        TestServer::start(WIDE, Some(files.server(true)), |_request, _peer| async { panic!("no request is handled") });
    let stranger = files.client_of(&authority(), 8);
    let cases = [(files.client(66), "revoked"), (stranger, "unknown_issuer"), (files.bare(), "no_certificate")];
    for (client, reason) in cases {
        let uri = format!("https://localhost:{}/", server.address.port());
        let request = http::Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        within("the failure", patient(client).send(request)).await.unwrap_err();
        let end = server.next_end().await;
        let Err(ConnectionError::Certificate(refusal)) = end else { panic!("{end:?}") };
        assert_eq!(refusal.reason(), reason);
        assert_eq!(server.heard.heard().refusals.last(), Some(&reason));
        assert_eq!(refusal.cause == Cause::Missing, refusal.claimed.is_none());
    }
    assert!(server.heard.heard().hits.is_empty());
}

#[tokio::test]
async fn a_revocation_keeps_connections_open_and_their_requests_know() {
    let files = Files::new();
    let tls = files.server(true);
    let server = TestServer::start(WIDE, Some(tls.clone()), whose);
    let (revoked, stays) = (patient(files.client(66)), patient(files.client(67)));
    assert_eq!(ask(&revoked, &server).await, ID);
    assert_eq!(ask(&stays, &server).await, ID);

    files.revoke(&[66]);
    assert!(matches!(*tls.reload(), [Reload::TrustReplaced(_)]));
    assert_eq!(ask(&revoked, &server).await, "revoked");
    assert_eq!(ask(&stays, &server).await, ID);
    assert_eq!(server.heard.heard().opened, 2, "both connections stayed");
}

#[tokio::test]
async fn a_thousand_refused_handshakes_leave_nothing_behind() {
    const ROUNDS: usize = 1000;

    let files = Files::new();
    let limits = Limits { handshake_timeout: Duration::from_secs(10), ..WIDE };
    let server = TestServer::start(limits, Some(files.server(true)), whose);
    let stranger = files.client_of(&authority(), 8);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    let before = descriptors();
    for _ in 0..ROUNDS {
        let socket = TcpStream::connect(server.address).await.unwrap();
        if let Ok(mut stream) = within("the handshake", stranger.connect("localhost", socket)).await {
            within("the alert", stream.read_u8()).await.unwrap_err();
        }
        let end = server.next_end().await;
        assert!(matches!(end, Err(ConnectionError::Certificate(_))), "{end:?}");
    }
    let heard = server.heard.wait_for("all ends", |heard| heard.closed == ROUNDS).await;
    assert_eq!((heard.opened, heard.refusals.len()), (ROUNDS, ROUNDS));
    // Other tests of this process may open some.
    assert!(descriptors() < before + ROUNDS / 2, "{before} descriptors became {}", descriptors());
    assert_eq!(ask(&patient(files.client(7)), &server).await, ID);
}
