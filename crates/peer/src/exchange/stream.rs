//! The stream of HTTP/2 under an exchange: pieces out as the window allows, messages in as they are whole.
//!
//! [`Writer`] and [`Reader`] know bytes and messages, and nothing of who opened what; [`super::halves`] does.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use quorate_proto::peer::v1::exchange_message::Kind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::error::{Ended, ExchangeError};
use super::places::lock;
use super::wire::{Decoder, Malformed, kind};
use super::{ASSEMBLED_BYTES_MAX, EXCHANGE_BYTES_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES};

/// Room is counted in KiB: a semaphore takes no more than `u32` at once.
const ROOM_UNIT: usize = 1 << 10;

/// The room in which large messages of one connection are put together.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// The sending side.
#[derive(Debug)]
pub(crate) struct Writer(Mutex<SendStream<Bytes>>);

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Reader {
    body: RecvStream,
    decoder: Decoder,
    room: Room,
    /// Held while a large message is put together.
    held: Option<OwnedSemaphorePermit>,
}

// === impl Room ===

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ASSEMBLED_BYTES_MAX / ROOM_UNIT)))
    }

    /// Lets nobody wait any more, since nothing more comes.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Waits for room; there is none, and none is needed, when the connection has ended.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT)).expect("messages are smaller");
        Arc::clone(&self.0).acquire_many_owned(units).await.ok()
    }
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self(Mutex::new(stream))
    }

    /// Writes of pieces what the window and the buffer allow; ready when they are all written. What is not written stays.
    pub(crate) fn poll_write(&self, pieces: &mut [Bytes], context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut stream = lock(&self.0);
        for piece in pieces {
            while !piece.is_empty() {
                stream.reserve_capacity(piece.len().min(SEND_BUFFER_BYTES));
                let mut allowed = stream.capacity();
                while allowed == 0 {
                    match ready!(stream.poll_capacity(context)) {
                        Some(Ok(capacity)) => allowed = capacity,
                        Some(Err(_)) | None => return Poll::Ready(Err(why(&mut stream, context))),
                    }
                }
                let part = piece.split_to(allowed.min(piece.len()));
                if stream.send_data(part, false).is_err() {
                    return Poll::Ready(Err(why(&mut stream, context)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until nothing more is taken.
    pub(crate) fn poll_ended(&self, context: &mut Context<'_>) -> Poll<Ended> {
        let polled = ready!(lock(&self.0).poll_reset(context));
        Poll::Ready(polled.map_or_else(|error| Ended::from_h2(&error), Ended::from_reset))
    }

    /// Ends the stream in order, behind pieces that are left, however much the window allows: who writes them has gone.
    pub(crate) fn finish(&self, pieces: [Bytes; 2], trailers: Option<HeaderMap>) {
        let mut stream = lock(&self.0);
        for piece in pieces {
            if !piece.is_empty() {
                // A stream that has ended otherwise has nobody who would miss it.
                let _ = stream.send_data(piece, false);
            }
        }
        let _ = match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
    }

    /// Ends the stream both ways at once, with what has not been sent of it.
    pub(crate) fn reset(&self, reason: Reason) {
        lock(&self.0).send_reset(reason);
    }
}

/// Tells why a stream takes nothing more.
fn why(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Ended {
    match stream.poll_reset(context) {
        Poll::Ready(Ok(reason)) => Ended::from_reset(reason),
        Poll::Ready(Err(error)) => Ended::from_h2(&error),
        Poll::Pending => Ended::Lost { reason: "its stream is closed".to_owned() },
    }
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(body: RecvStream, room: Room) -> Self {
        Self { body, decoder: Decoder::new(EXCHANGE_BYTES_MAX), room, held: None }
    }

    /// Returns the next message; `None` when the stream ended between two. A call that is given up loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Kind>, ExchangeError> {
        loop {
            if let Some(message) = self.decoder.next().map_err(malformed)? {
                self.held = None;
                return kind(message).map(Some).map_err(malformed);
            }
            let begun = self.decoder.begun().map_err(malformed)?;
            if let Some(bytes) = begun
                && bytes > STREAM_WINDOW_BYTES as usize
                && self.held.is_none()
            {
                self.held = self.room.take(bytes).await;
            }
            match poll_fn(|context| self.body.poll_data(context)).await {
                Some(Ok(piece)) => {
                    // Fails when the stream has ended, of which the next piece tells.
                    let _ = self.body.flow_control().release_capacity(piece.len());
                    self.decoder.push(piece);
                }
                Some(Err(error)) => return Err(ExchangeError::from_h2(&error)),
                None => return self.decoder.end().map(|()| None).map_err(malformed),
            }
        }
    }

    /// Reads how the stream of an answer ended, after its last message.
    pub(crate) async fn status(&mut self) -> Result<(), ExchangeError> {
        let trailers = poll_fn(|context| self.body.poll_trailers(context)).await;
        let trailers = trailers.map_err(|error| ExchangeError::from_h2(&error))?;
        match trailers.as_ref().and_then(Status::from_header_map) {
            Some(status) if status.code() == tonic::Code::Ok => Ok(()),
            _ => Err(ExchangeError::Cancelled),
        }
    }
}

fn malformed(error: Malformed) -> ExchangeError {
    ExchangeError::Lost { reason: error.to_string() }
}
