//! The socket under a connection of exchanges: what of it HTTP/2 has to know, and whether its peer is there.
//!
//! Small frames of many streams go out in one write; whatever comes in counts as a sign of life, so that a peer that is
//! busy, whose answer to a ping waits behind megabytes, is not taken for one that is gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::time::Instant;

/// What is gathered before it is written: two largest frames of HTTP/2, so that a frame and its head go as one.
const WRITTEN_BYTES: usize = 32 << 10;
/// How often in an interval of the keepalive is looked for signs of life.
const LOOKS: u32 = 4;

/// A socket that counts what is read of it.
#[derive(Debug)]
pub(crate) struct Socket<IO> {
    io: BufWriter<IO>,
    heard: Heard,
}

/// Grows with each read that brought something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

// === impl Socket ===

impl<IO: AsyncWrite> Socket<IO> {
    pub(crate) fn new(io: IO) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { io: BufWriter::with_capacity(WRITTEN_BYTES, io), heard: heard.clone() }, heard)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.heard.0.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }

    // HTTP/2 writes each frame by itself to who takes several buffers at once, and gathers small ones for who does not.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

/// Asks a silent peer whether it is there, every `interval`; returns when nothing came of it for that and `timeout`.
pub(crate) async fn keep_alive(mut pings: PingPong, heard: Heard, interval: Duration, timeout: Duration) {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(interval / LOOKS).await;
        let now = heard.0.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        let silent = since.elapsed();
        if silent >= interval + timeout {
            return;
        }
        if silent >= interval {
            std::future::poll_fn(|context| {
                // An answer counts as what was read; the next ping needs that it was taken.
                let _ = pings.poll_pong(context);
                Poll::Ready(())
            })
            .await;
            // Fails while one is under way, which does as well.
            let _ = pings.send_ping(Ping::opaque());
        }
    }
}
