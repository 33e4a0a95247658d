//! The socket as the connection sees it: it notes progress and lingers before it closes.
//!
//! Sits directly on the socket, below TLS, so that "the client took bytes" means the kernel took
//! them and not a TLS buffer. Replays the bytes that were read to tell HTTP/1.1 from HTTP/2.
//! Passes vectored writes through.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// The bytes with which HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
pub(super) const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes thrown away per read while lingering.
const DISCARD_BYTES: usize = 4096;
/// Reads per poll while lingering: 64 KiB. A client that sends faster than that is read holds up neither the other tasks
/// of the thread nor the deadline of its own lingering, whose timer has a part in what tokio lets a task do at once
/// (128 operations).
const DISCARD_READS_MAX: usize = 16;

/// A socket that reports to an [`Activity`].
#[derive(Debug)]
pub(super) struct Socket<IO> {
    io: IO,
    activity: Arc<Activity>,
    replay: Replay,
    /// Our side is shut: the rest is thrown away.
    shut: bool,
}

/// Bytes that were read ahead.
#[derive(Debug, Default)]
pub(super) struct Replay {
    bytes: [u8; H2_PREFACE.len()],
    filled: usize,
    read: usize,
}

// === impl Socket ===

impl<IO> Socket<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>, replay: Replay) -> Self {
        Self { io, activity, replay, shut: false }
    }

    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Pending => self.activity.write_stalled(),
            Poll::Ready(Ok(count)) if *count > 0 => self.activity.write_progressed(),
            Poll::Ready(_) => {}
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let replayed = self.replay.take(buf);
        // In one go with what follows: hyper doubles its buffer when a read fills it a little.
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if !replayed => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending | Poll::Ready(Ok(())) => {}
        }
        let count = buf.filled().len() - before;
        if count > 0 {
            self.activity.bytes_read(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_write(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes our side, then throws away what the client still sends until it closes too: see
    /// [`Activity::lingering`]. The deadline of that ends it if the client does not.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
        }
        if !self.activity.may_linger() {
            return Poll::Ready(Ok(()));
        }
        self.activity.lingering();
        let mut space = [0; DISCARD_BYTES];
        for _ in 0..DISCARD_READS_MAX {
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // The client closed its side, or is gone: there is nobody to wait for.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// === impl Replay ===

impl Replay {
    /// Reads until the bytes either are the whole preface or differ from it. Returns whether they
    /// are the preface. A closed socket counts as different.
    pub(super) async fn sniff<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<(Self, bool)> {
        use tokio::io::AsyncReadExt;
        let mut this = Self::default();
        loop {
            let count = io.read(&mut this.bytes[this.filled..]).await?;
            this.filled += count;
            let seen = &this.bytes[..this.filled];
            if count == 0 || !H2_PREFACE.starts_with(seen) {
                return Ok((this, false));
            }
            if this.filled == H2_PREFACE.len() {
                return Ok((this, true));
            }
        }
    }

    /// Moves read-ahead bytes to `buf`. Returns false when there are none.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[self.read..self.filled];
        if rest.is_empty() {
            return false;
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.read += count;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn sniffing_tells_the_protocols_apart_and_loses_no_byte() {
        for (pieces, is_h2) in [
            (&[&b"GET / HTTP/1.1\r\n\r\n"[..]][..], false),
            (&[&b"P"[..], b"RI * HTTP/2.0\r\n\r\n", b"SM\r\n\r\nrest"][..], true),
            (&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..], b"x"][..], false),
            (&[&b"PUT /"[..]][..], false),
            (&[][..], false),
        ] {
            let mut mock = tokio_test_io(pieces);
            let (replay, found) = Replay::sniff(&mut mock).await.unwrap();
            assert_eq!(found, is_h2, "{pieces:?}");

            let activity = Arc::new(Activity::new(Instant::now()));
            let mut socket = Socket::new(mock, activity, replay);
            let mut all = Vec::new();
            socket.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, pieces.concat());
        }
    }

    #[tokio::test]
    async fn a_closing_socket_waits_for_the_client_and_discards_what_it_sends() {
        let (mut client, server) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut socket = Socket::new(server, activity, Replay::default());
        let closing = tokio::spawn(async move { socket.shutdown().await });

        client.write_all(&[0; 1000]).await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(!closing.is_finished());
        drop(client);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_sends_without_end_does_not_hold_up_the_end_of_lingering() {
        let mut reads = 0;
        // Always has something to read.
        let endless = Reads(|buf: &mut ReadBuf<'_>| {
            reads += 1;
            assert!(reads <= 1_000, "there is an end to what one poll reads");
            buf.put_slice(&vec![0; buf.remaining()]);
        });
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut socket = Socket::new(endless, Arc::clone(&activity), Replay::default());
        let mut polls = 0;

        let closed = std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 4 {
                activity.end_linger();
            }
            // Polled again without a word of the client, or this test does not end.
            Pin::new(&mut socket).poll_shutdown(cx)
        });
        closed.await.unwrap();

        drop(socket);
        assert_eq!(reads, 3 * DISCARD_READS_MAX);
    }

    /// A socket that reads what a function puts into the buffer, and takes everything that is written.
    struct Reads<F>(F);

    impl<F: FnMut(&mut ReadBuf<'_>) + Unpin> AsyncRead for Reads<F> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            (self.0)(buf);
            Poll::Ready(Ok(()))
        }
    }

    impl<F: Unpin> AsyncWrite for Reads<F> {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A socket that yields the pieces one read at a time, then its end.
    fn tokio_test_io(pieces: &[&'static [u8]]) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let mut pieces: std::collections::VecDeque<&'static [u8]> = pieces.iter().copied().collect();
        Reads(move |buf: &mut ReadBuf<'_>| {
            if let Some(piece) = pieces.pop_front() {
                let count = piece.len().min(buf.remaining());
                buf.put_slice(&piece[..count]);
                if count < piece.len() {
                    pieces.push_front(&piece[count..]);
                }
            }
        })
    }
}
