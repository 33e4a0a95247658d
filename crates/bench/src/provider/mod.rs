//! A provider of models that has none: it answers as OpenAI, Anthropic, Gemini and Azure do, and misbehaves as they do.
//!
//! The name of the model in a request says how ([`plan`]), so that it is steered through any gateway; what came is told at `/ledger`.
//! A request travels [`route`] → [`service`] → [`asked`] and [`plan`] → [`said`] → a shape ([`chat`], [`responses`], [`messages`],
//! [`generate`]) → [`script`] → [`body`], below which is the [`wire`]. Everything up to the body is pure; nothing is kept but counters.
//! On loopback only, and bounded: connections, requests, answers and time.

mod asked;
mod body;
mod chat;
mod embed;
mod event;
mod generate;
mod ledger;
mod messages;
mod option;
mod plan;
mod refusal;
mod responses;
mod route;
mod said;
mod schema;
mod script;
mod service;
#[cfg(test)]
mod tests;
mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use quorate_tls::ServerTls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use service::Provider;
use wire::{Line, Wire};

/// Connections at the same time: as many as streams are held open through a gateway, and more than its pool.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port on 127.0.0.1; 0 takes a free one. The URL is the first line on the standard output.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The keys that are taken, with commas between them; without any, everybody is answered.
    #[arg(long, value_delimiter = ',')]
    keys: Vec<String>,
    /// The certificate to encrypt with, as PEM.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, as PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Seconds after which it ends in any case.
    #[arg(long, default_value_t = 3600)]
    seconds_max: u64,
}

/// Runs the process.
///
/// # Errors
/// When the port is taken, a key is empty, or the certificate cannot be used.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    ensure!(args.keys.iter().all(|key| !key.is_empty()), "--keys: a key is empty");
    let tls =
        args.tls_cert.zip(args.tls_key).map(|(certificate, key)| ServerTls::load(certificate, key)).transpose()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.context("listen")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    crate::load::say(&format!("{scheme}://{}", listener.local_addr()?))?;
    tokio::select! {
        served = serve(listener, tls, Arc::new(Provider::new(args.keys))) => served?,
        ended = stdin_ended() => ended?,
        () = tokio::time::sleep(Duration::from_secs(args.seconds_max)) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, tls: Option<ServerTls>, provider: Arc<Provider>) -> Result<()> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tls = tls.map(Arc::new);
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await?;
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        let (provider, tls) = (Arc::clone(&provider), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(stream, provider).await,
                Some(tls) => {
                    // A handshake that fails is the client's to report.
                    if let Ok(Ok(accepted)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                        converse(accepted.stream, provider).await;
                    }
                }
            }
            drop(permit);
        });
    }
}

async fn converse<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: IO, provider: Arc<Provider>) {
    let line = Arc::new(Line::default());
    let wire = Wire::new(io, Arc::clone(&line));
    let service = service_fn(move |request| {
        let (provider, line) = (Arc::clone(&provider), Arc::clone(&line));
        async move { provider.answer(request, &line).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    // A connection that breaks is the client's to report, and one that is cut was to break.
    let _broken = builder.serve_connection(TokioIo::new(wire), service).await;
}

/// Waits until whoever started this process is gone.
async fn stdin_ended() -> Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while stdin.read(&mut bytes).await? > 0 {}
    Ok(())
}
