//! What users have of an exchange: a half that sends and a half that receives.
//!
//! An exchange is over for who opened it when it has read the end of the answer, and for who took it when it has finished
//! its own. Before that, dropping either half gives up the whole: the other side sees it at once, whether it reads or not.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use quorate_proto::peer::v1::exchange_message::Kind;

use super::EXCHANGE_BYTES_MAX;
use super::error::{Ended, ExchangeError, SendError};
use super::places::{Counters, Place};
use super::stream::{Reader, Writer};
use super::wire::payload_frame;

/// A stream of messages to another node and one back.
#[derive(Debug)]
#[must_use = "dropping it gives it up"]
pub struct Exchange {
    sending: Sending,
    receiving: Receiving,
}

/// The half of an exchange that sends.
#[must_use = "dropping it before `finish` gives the exchange up"]
pub struct Sending {
    stream: Arc<Stream>,
    /// What is left of a message: its frame, and its payload where it is large.
    pieces: [Bytes; 2],
    is_finished: bool,
}

/// The half of an exchange that receives.
#[must_use = "dropping it before the end may give the exchange up"]
pub struct Receiving {
    stream: Arc<Stream>,
    reader: Reader,
    /// How it ended.
    end: Option<Result<(), ExchangeError>>,
}

/// What both halves share.
#[derive(Debug)]
pub(crate) struct Stream {
    writer: Writer,
    /// Whether the other node opened it.
    is_taken: bool,
    /// Whether everything was sent.
    is_finished: AtomicBool,
    counters: Arc<Counters>,
    _place: Place,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(sending: Sending, reader: Reader) -> Self {
        let receiving = Receiving { stream: Arc::clone(&sending.stream), reader, end: None };
        Self { sending, receiving }
    }

    /// As [`Sending::send`].
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub async fn send(&mut self, message: Bytes) -> Result<(), SendError> {
        self.sending.send(message).await
    }

    /// As [`Receiving::receive`].
    ///
    /// # Errors
    /// As [`Receiving::receive`].
    pub async fn receive(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.receiving.receive().await
    }

    /// As [`Sending::finish`]; reading goes on.
    pub fn finish(self) -> Receiving {
        self.sending.finish();
        self.receiving
    }

    /// Gives each half to a task of its own.
    pub fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

// === impl Sending ===

impl Sending {
    pub(crate) fn new(writer: Writer, is_taken: bool, counters: Arc<Counters>, place: Place) -> Self {
        let stream = Stream { writer, is_taken, is_finished: AtomicBool::new(false), counters, _place: place };
        Self { stream: Arc::new(stream), pieces: [Bytes::new(), Bytes::new()], is_finished: false }
    }

    /// Sends a message, of [`EXCHANGE_BYTES_MAX`] bytes at most; waits while the other side does not read. A call that is
    /// given up before it has waited for an earlier one sends nothing; later ones may have sent a part, and the rest goes
    /// before the next message.
    ///
    /// # Errors
    /// [`SendError::TooLarge`], and the exchange goes on; [`SendError::Ended`] when nothing more is taken. That nothing
    /// failed does not say that the message was read.
    pub async fn send(&mut self, message: Bytes) -> Result<(), SendError> {
        let bytes = message.len();
        if bytes > EXCHANGE_BYTES_MAX {
            return Err(SendError::TooLarge { bytes, max: EXCHANGE_BYTES_MAX });
        }
        poll_fn(|context| self.poll_flush(context)).await?;
        self.put(message);
        self.stream.counters.sent(bytes);
        Ok(poll_fn(|context| self.poll_flush(context)).await?)
    }

    /// Waits until the other side takes nothing more, or is gone; for who has nothing to send for long.
    pub async fn ended(&mut self) -> Ended {
        poll_fn(|context| self.stream.writer.poll_ended(context)).await
    }

    /// Ends what is sent, in order: the other side receives everything, and then the end.
    pub fn finish(mut self) {
        self.is_finished = true;
        self.stream.is_finished.store(true, Ordering::Release);
        let trailers = self.stream.is_taken.then(|| HeaderMap::from_iter([ok()]));
        self.stream.writer.finish(std::mem::take(&mut self.pieces), trailers);
    }

    /// Makes a message, or anything else of the stream, what is sent next.
    pub(crate) fn put(&mut self, message: Bytes) {
        let (frame, rest) = payload_frame(message);
        self.pieces = [frame, rest];
    }

    /// Puts something before what is sent next.
    pub(crate) fn put_before(&mut self, bytes: &Bytes) {
        let [frame, _] = &mut self.pieces;
        *frame = [&**bytes, &**frame].concat().into();
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.stream.writer.poll_write(&mut self.pieces, context)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_finished {
            self.stream.writer.reset(Reason::CANCEL);
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

// === impl Receiving ===

impl Receiving {
    /// Returns the next message; `None` when the other side has finished, each time. A call that is given up loses nothing.
    ///
    /// # Errors
    /// [`ExchangeError::Cancelled`] when the exchange was given up, [`ExchangeError::Lost`] when its connection ended; each
    /// time.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        if let Some(end) = &self.end {
            return end.clone().map(|()| None);
        }
        let end = match self.reader.next().await {
            Ok(Some(Kind::Payload(message))) => {
                self.stream.counters.came(message.len());
                return Ok(Some(message));
            }
            Ok(Some(Kind::Opening(_))) => Err(ExchangeError::Lost { reason: "it was opened a second time".to_owned() }),
            Ok(None) if self.stream.is_taken => Ok(()),
            Ok(None) => self.reader.status().await,
            Err(error) => Err(error),
        };
        if end.is_err() {
            self.stream.writer.reset(Reason::CANCEL);
        }
        self.end = Some(end.clone());
        end.map(|()| None)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let is_over = self.end.is_some() || (self.stream.is_taken && self.stream.is_finished.load(Ordering::Acquire));
        if !is_over {
            self.stream.writer.reset(Reason::CANCEL);
        }
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").field("end", &self.end).finish_non_exhaustive()
    }
}

/// The status of an answer that is complete.
fn ok() -> (http::HeaderName, HeaderValue) {
    (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))
}
