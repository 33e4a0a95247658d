//! A connection below HTTP: it knows when everything is written, and it can write a head byte by byte.
//!
//! In flow the writes of hyper, out flow the same bytes. What HTTP does not tell its handlers is told by a [`Line`], which both sides of
//! a connection have. Only a head of HTTP/1 can be slow: HTTP/2 has none of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The pause behind each byte of a slow head: 20 bytes per second.
const SLOW_PAUSE: Duration = Duration::from_millis(50);
/// What a head ends with.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// What the handler and the connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    slow_head: AtomicBool,
    flushes: AtomicU64,
}

/// A connection.
pub(super) struct Wire<IO> {
    io: IO,
    line: Arc<Line>,
    pause: Option<Pin<Box<Sleep>>>,
    /// The last bytes of a slow head.
    tail: [u8; 4],
}

// === impl Line ===

impl Line {
    /// The next head comes byte by byte.
    pub(super) fn slow_down(&self) {
        self.slow_head.store(true, Ordering::Relaxed);
    }

    /// How often everything that was written has gone to the socket.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

// === impl Wire ===

impl<IO> Wire<IO> {
    /// Wraps a connection.
    pub(super) fn new(io: IO, line: Arc<Line>) -> Self {
        Self { io, line, pause: None, tail: [0; 4] }
    }
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Writes one byte, when it is its time.
    fn poll_slowly(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(byte) = bytes.first() else { return Poll::Ready(Ok(0)) };
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &[*byte]))?;
        if written == 1 {
            self.tail.rotate_left(1);
            self.tail[3] = *byte;
            if self.tail == HEAD_END {
                self.tail = [0; 4];
                self.line.slow_head.store(false, Ordering::Relaxed);
            } else {
                self.pause = Some(Box::pin(sleep(SLOW_PAUSE)));
            }
        }
        Poll::Ready(Ok(written))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.slow_head.load(Ordering::Relaxed) {
            return self.poll_slowly(cx, bytes);
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.line.slow_head.load(Ordering::Relaxed) {
            let first = buffers.iter().find(|buffer| !buffer.is_empty());
            return self.poll_slowly(cx, first.map_or(&[], |buffer| buffer));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.line.flushes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
