//! A connection of exchanges as both sides have it, and exchanges that are opened on it.
//!
//! Its first stream ([`Attending`]) carries a Hello each way, in frames as those of consensus, and lasts as long as the
//! connection: its end is the end of all. [`Line`] is what the side that dialed opens exchanges on.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream, client, server};
use http::{Method, Request, Version};
use prost::Message as _;
use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::exchange_message::Kind;
use tonic::Status;

use super::error::{Declined, ExchangeError};
use super::halves::{Exchange, Sending};
use super::places::{Counters, Full, Place, Places};
use super::stream::{Reader, Room, Writer};
use super::wire::{Decoder, frame};
use super::{
    CONNECTION_WINDOW_BYTES, EXCHANGES_MAX, HEADERS_BYTES_MAX, SEND_BUFFER_BYTES, SMALL_FRAMES_BYTES,
    STREAM_WINDOW_BYTES,
};
use crate::Protocol;
use crate::calls::one;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::DialError;
use crate::refusal::Refusal;

/// Where the first stream of a connection goes.
pub(super) const ATTEND: &str = "/quorate.peer.v1.Exchanges/Attend";
/// Where an exchange goes.
pub(super) const EXCHANGE: &str = "/quorate.peer.v1.Exchanges/Exchange";
/// What a request is for; nodes are known by their certificates.
const ORIGIN: &str = "https://node.invalid";
/// The type of gRPC's bodies.
pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// A connection to a peer on which exchanges are opened.
pub(crate) struct Line {
    sender: SendRequest<Bytes>,
    places: Arc<Places>,
    max: usize,
    room: Room,
    counters: Arc<Counters>,
}

/// The stream that lasts as long as its connection.
pub(crate) struct Attending {
    send: SendStream<Bytes>,
    body: RecvStream,
    decoder: Decoder,
}

// === impl Line ===

impl Line {
    /// Makes the one of a connection; no more exchanges are open on it than both sides allow.
    pub(super) fn new(sender: SendRequest<Bytes>, max: usize, counters: Arc<Counters>) -> Self {
        // One stream is the connection's own.
        let max = max.min(sender.current_max_send_streams().saturating_sub(1));
        Self { sender, places: Arc::default(), max, room: Room::new(), counters }
    }

    /// Takes a place for one more exchange; none when the connection ends.
    pub(super) fn enter(&self) -> Result<Option<Place>, ExchangeError> {
        match self.places.enter(self.max, &self.counters.outward) {
            Ok(place) => Ok(Some(place)),
            Err(Full::Closed) => Ok(None),
            Err(Full::TooMany) => {
                self.counters.outward.refused.count(Declined::TooMany.label());
                Err(ExchangeError::TooMany { max: self.max })
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    /// Lets nobody in any more if nobody used it since it was asked last.
    pub(super) fn close_unused(&self) -> bool {
        self.places.close_unused()
    }

    /// Lets nobody in any more, and nobody wait.
    pub(super) fn close(&self) {
        self.places.close();
        self.room.close();
    }

    /// Opens an exchange, sends its first message, and waits until it is taken. Given up, it is given up at the other side
    /// as well.
    pub(super) async fn open(&self, place: Place, protocol: Protocol, head: Bytes) -> Result<Exchange, Failure> {
        let mut sender = self.sender.clone().ready().await.map_err(Failure::before)?;
        let (mut response, stream) = sender.send_request(request(EXCHANGE), false).map_err(Failure::before)?;
        let mut sending = Sending::new(Writer::new(stream), false, Arc::clone(&self.counters), place);
        let opening = proto::Opening { protocol: protocol.0 };
        let bytes = head.len();
        sending.put(head);
        sending.put_before(&frame(&proto::ExchangeMessage { kind: Some(Kind::Opening(opening)) }));
        let mut is_sent = false;
        let answer = poll_fn(|context| {
            // Why it is not taken, the answer tells.
            is_sent = is_sent || sending.poll_flush(context).is_ready();
            Pin::new(&mut response).poll(context)
        });
        let response = answer.await.map_err(|error| Failure::of_answer(&error))?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(Failure::Refused(Declined::from_status(&status)));
        }
        if response.status() != http::StatusCode::OK {
            return Err(Failure::Broken(ExchangeError::Lost { reason: format!("HTTP status {}", response.status()) }));
        }
        self.counters.sent(bytes);
        self.counters.outward.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Exchange::new(sending, Reader::new(response.into_body(), self.room.clone())))
    }

    pub(super) fn count_refused(&self, declined: &Declined) {
        self.counters.outward.refused.count(declined.label());
    }
}

/// Why an exchange was not opened on a connection.
pub(super) enum Failure {
    /// The connection ended before anything was sent.
    Before(DialError),
    Refused(Declined),
    Broken(ExchangeError),
}

// === impl Failure ===

impl Failure {
    fn before(error: h2::Error) -> Self {
        Self::Before(DialError::Stream(error.to_string()))
    }

    fn of_answer(error: &h2::Error) -> Self {
        // RFC 9113 §8.7: nothing of such a stream was processed.
        if error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Self::Refused(Declined::TooMany)
        } else {
            Self::Broken(ExchangeError::from_h2(error))
        }
    }
}

// === impl Attending ===

impl Attending {
    pub(super) fn new(send: SendStream<Bytes>, body: RecvStream) -> Self {
        Self { send, body, decoder: Decoder::new(MESSAGE_BYTES_MAX) }
    }

    /// Begins it as the side that dialed: says hello, and waits for the headers of the answer.
    pub(super) async fn open(sender: &SendRequest<Bytes>, hello: proto::Hello) -> Result<Self, h2::Error> {
        let mut sender = sender.clone().ready().await?;
        let (response, mut send): (ResponseFuture, _) = sender.send_request(request(ATTEND), false)?;
        send.send_data(frame(&one(proto::frame::Kind::Hello(hello))), false)?;
        let response = response.await?;
        Ok(Self::new(send, response.into_body()))
    }

    /// Says something small.
    pub(super) fn say(&mut self, kind: proto::frame::Kind) {
        // Who is gone does not hear it.
        let _ = self.send.send_data(frame(&one(kind)), false);
    }

    /// Says why the other side is refused, as the last word; the rest is the other side's to close.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.say(proto::frame::Kind::Refused(refusal.to_proto()));
    }

    /// Returns what the other side says next, or why it says nothing more.
    pub(super) async fn hear(&mut self) -> Result<proto::Batch, String> {
        loop {
            if let Some(message) = self.decoder.next().map_err(|error| error.to_string())? {
                return proto::Batch::decode(message).map_err(|error| error.to_string());
            }
            match poll_fn(|context| self.body.poll_data(context)).await {
                Some(Ok(piece)) => {
                    let _ = self.body.flow_control().release_capacity(piece.len());
                    self.decoder.push(piece);
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the peer closed it".to_owned()),
            }
        }
    }

    /// Waits for the end, and returns why it came; frames of newer versions work without an answer.
    pub(super) async fn attend(&mut self) -> String {
        loop {
            match self.hear().await {
                Ok(batch) => {
                    for frame in batch.frames {
                        if let Some(proto::frame::Kind::Refused(refused)) = frame.kind {
                            return format!("the peer refuses this node: {}", Refusal::from_proto(&refused));
                        }
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// Waits until the other side hangs up.
    pub(super) async fn hung_up(&mut self) {
        while self.hear().await.is_ok() {}
        let _ = poll_fn(|context| self.send.poll_reset(context)).await;
    }
}

/// Makes a request.
fn request(path: &'static str) -> Request<()> {
    let request = Request::builder().method(Method::POST).version(Version::HTTP_2).uri(format!("{ORIGIN}{path}"));
    let request = request.header(http::header::CONTENT_TYPE, CONTENT_TYPE).header(http::header::TE, "trailers");
    request.body(()).expect("its parts are constants")
}

/// What the side that dials agrees to.
pub(super) fn dialing() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_reset_streams(EXCHANGES_MAX)
        // Counts over the life of a connection, and every exchange that is given up may count.
        .max_local_error_reset_streams(None)
        .data_frame_budget(SMALL_FRAMES_BYTES);
    builder
}

/// What the side that is dialed agrees to.
pub(super) fn accepting(exchanges: usize) -> server::Builder {
    let streams = u32::try_from(exchanges + 1).expect("limits are smaller");
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(streams)
        .max_concurrent_reset_streams(EXCHANGES_MAX)
        .max_local_error_reset_streams(None)
        // A peer may give up all that it has just opened.
        .max_pending_accept_reset_streams(EXCHANGES_MAX)
        .data_frame_budget(SMALL_FRAMES_BYTES);
    builder
}
