//! A door before a tool server: TLS that asks who comes and lets in only whom an authority knows, and plain TCP behind.
//!
//! It keeps the certificate of each connection that it let through, and counts those that it did not.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Context as _;
use rustls::{RootCertStore, ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier};
use tokio::{io::copy_bidirectional, net::TcpStream, sync::oneshot};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;

/// An open door; dropping it closes it, with its connections.
pub(crate) struct Front {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _open: oneshot::Sender<()>,
}

/// Who came.
#[derive(Default)]
struct Seen {
    let_in: Vec<CertificateDer<'static>>,
    refused: usize,
}

// === impl Front ===

impl Front {
    /// Opens one before the server at `to`, which shows a certificate of `authority` and asks for one of it.
    pub(crate) fn open(authority: &Authority, to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let (address, acceptor) = (listener.local_addr()?, acceptor(authority)?);
        let (seen, (open, closed)) = (Arc::<Mutex<Seen>>::default(), oneshot::channel());
        let guests = Arc::clone(&seen);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _dropped = closed => {}
                    () = serve(listener, acceptor, to, guests) => {}
                }
            });
        });
        Ok(Self { address, seen, _open: open })
    }

    /// Where the tool server is.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/mcp", self.address.port())
    }

    /// The certificate that the last guest showed.
    pub(crate) fn last(&self) -> Option<CertificateDer<'static>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).let_in.last().cloned()
    }

    /// How many were let in, and how many were not.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.let_in.len(), seen.refused)
    }
}

fn acceptor(authority: &Authority) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let own = authority.server()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate], own.key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            // Whoever goes away is no matter of the door.
            let _ = attend(socket, &acceptor, to, &seen).await;
        });
    }
}

async fn attend(socket: TcpStream, acceptor: &TlsAcceptor, to: SocketAddr, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let note = |change: &dyn Fn(&mut Seen)| change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut stream = acceptor.accept(socket).await.inspect_err(|_| note(&|seen| seen.refused += 1))?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("a guest shows a certificate")?;
    let shown = shown.clone().into_owned();
    note(&|seen| seen.let_in.push(shown.clone()));
    let mut server = TcpStream::connect(to).await?;
    copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}
