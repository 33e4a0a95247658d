//! A client of etcd's call over bare HTTP/2: what a put costs here is next to nothing, so that it is the nodes that are measured.
//!
//! gRPC is a POST whose body is a message behind a byte and its length, and whose end is told by the trailer `grpc-status`
//! (gRPC over HTTP/2, "Requests" and "Responses").

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Uri, Version};
use prost::Message as _;
use tokio::net::TcpStream;

use super::service::proto::PutRequest;

/// How long the connection, and one put, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// One connection, for many puts at once; cheap to clone.
#[derive(Clone)]
pub(super) struct Putter {
    sender: SendRequest<Bytes>,
    uri: Uri,
}

// === impl Putter ===

impl Putter {
    /// Connects to `http://HOST:PORT`.
    ///
    /// # Errors
    /// When nobody is there.
    pub(super) async fn connect(target: &str) -> Result<Self> {
        let address = target.strip_prefix("http://").with_context(|| format!("{target} is not http://HOST:PORT"))?;
        let uri = format!("{target}/etcdserverpb.KV/Put").parse()?;
        let connecting = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let (sender, connection) = h2::client::handshake(socket).await?;
            tokio::spawn(async move {
                // Whoever puts is told by its own error.
                drop(connection.await);
            });
            anyhow::Ok(sender)
        };
        let sender = tokio::time::timeout(PATIENCE, connecting).await.context("nobody answers")?;
        Ok(Self { sender: sender.with_context(|| target.to_owned())?, uri })
    }

    /// Puts a value, and waits until it is committed.
    ///
    /// # Errors
    /// When it is not, or nobody says so in time.
    pub(super) async fn put(&self, key: u64, value: &[u8]) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.call(key, value)).await.context("no answer in 10 s")?
    }

    async fn call(&self, key: u64, value: &[u8]) -> Result<()> {
        let message = PutRequest { key: key.to_be_bytes().into(), value: value.into() };
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.encoded_len())?);
        message.encode(&mut body)?;
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut sending) = sender.send_request(request, false)?;
        sending.send_data(body.freeze(), true)?;
        let response = response.await?;
        if response.headers().contains_key("grpc-status") {
            return check(response.headers());
        }
        let mut answer = response.into_body();
        while let Some(data) = answer.data().await {
            answer.flow_control().release_capacity(data?.len())?;
        }
        check(&answer.trailers().await?.context("an answer without trailers")?)
    }
}

fn check(trailers: &HeaderMap) -> Result<()> {
    let text = |name: &str| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let status = text("grpc-status").context("an answer without a status")?;
    ensure!(status == "0", "status {status}: {}", text("grpc-message").unwrap_or_default());
    Ok(())
}
