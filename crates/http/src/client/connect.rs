//! Opens connections for the pool: name lookup, TCP, and TLS for `https`.
//!
//! All of it together has one time limit. Several addresses are tried as RFC 8305 has it (by
//! hyper-util's connector). Sockets have `TCP_NODELAY`, and keep-alive probes that find a dead
//! backend behind a long silence.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use quorate_tls::ClientTls;
use quorate_types::units::format_duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// Silence after which TCP probes the other side: a backend that died without a word is noticed
/// in about two minutes, whatever the stream's own keep-alive is.
const TCP_PROBE_AFTER: Duration = Duration::from_secs(60);
const TCP_PROBE_INTERVAL: Duration = Duration::from_secs(15);
const TCP_PROBES: u32 = 4;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: ClientTls,
    timeout: Duration,
}

/// No connection was made within this time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {}", format_duration(self.0))]
pub(super) struct ConnectTimeout(pub(super) Duration);

/// A connection of the pool.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(TokioIo<Box<TlsStream<TcpStream>>>),
}

type Source = Box<dyn std::error::Error + Send + Sync>;

// === impl Connector ===

impl Connector {
    pub(super) fn new(tls: ClientTls, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses of a name, so that a dead first one leaves time for others.
        tcp.set_connect_timeout(Some(timeout));
        tcp.set_keepalive(Some(TCP_PROBE_AFTER));
        tcp.set_keepalive_interval(Some(TCP_PROBE_INTERVAL));
        tcp.set_keepalive_retries(Some(TCP_PROBES));
        Self { tcp, tls, timeout }
    }

    async fn open(mut tcp: HttpConnector, tls: ClientTls, uri: Uri) -> Result<Stream, Source> {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = tcp.call(uri).await?;
        if !is_tls {
            return Ok(Stream::Plain(stream));
        }
        let stream = tls.connect(&host, stream.into_inner()).await?;
        Ok(Stream::Tls(TokioIo::new(Box::new(stream))))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Source;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Source>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Source>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tcp, tls, timeout) = (self.tcp.clone(), self.tls.clone(), self.timeout);
        Box::pin(async move {
            match uri.scheme_str() {
                Some("http" | "https") => {}
                _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the scheme is not http or https").into()),
            }
            match tokio::time::timeout(timeout, Self::open(tcp, tls, uri)).await {
                Ok(result) => result,
                Err(_elapsed) => Err(ConnectTimeout(timeout).into()),
            }
        })
    }
}

// === impl Stream ===

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(quorate_tls::ALPN_H2) => {
                Connected::new().negotiated_h2()
            }
            Self::Tls(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
