//! How messages lie in the bytes of a stream: the frames of gRPC, written and read without a copy of what is large.
//!
//! Pure. In flow pieces of a stream as they come, out flow whole messages; a message that is larger than allowed, or
//! compressed, is an error at its first bytes. Follows gRPC's "Length-Prefixed-Message".

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::exchange_message::Kind;

/// Flag and length.
const PREFIX_BYTES: usize = 5;
/// What a message of the largest payload has beside it: a tag and a length.
const FRAMING_BYTES: usize = 16;
/// Payloads up to so many bytes go in one piece with their frame: a copy of them costs less than a frame of HTTP/2.
const COPIED_BYTES: usize = 8 << 10;
/// The field of a payload, length-delimited (protobuf's "Message Structure").
const PAYLOAD_TAG: u8 = 2 << 3 | 2;

/// Why bytes are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a message is compressed")]
    Compressed,
    #[error("a message has {bytes} bytes; allowed are at most {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("the stream ended within a message")]
    Cut,
    #[error("a message cannot be read")]
    Unreadable,
}

/// Takes messages out of pieces.
#[derive(Debug)]
pub(crate) struct Decoder {
    max: usize,
    /// What of the last piece is left.
    piece: Bytes,
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    /// What has come of a message that is not whole.
    partial: BytesMut,
}

// === impl Decoder ===

impl Decoder {
    /// Makes one for messages of so many bytes at most, with what belongs to their payload.
    pub(crate) fn new(max: usize) -> Self {
        let (piece, partial) = (Bytes::new(), BytesMut::new());
        Self { max: max + FRAMING_BYTES, piece, prefix: [0; PREFIX_BYTES], prefix_len: 0, partial }
    }

    /// Adds a piece. The one before is used up when [`Decoder::next`] gave nothing.
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "pieces come one by one");
        self.piece = piece;
    }

    /// Returns the next message that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let missing = (PREFIX_BYTES - self.prefix_len).min(self.piece.len());
        self.piece.copy_to_slice(&mut self.prefix[self.prefix_len..self.prefix_len + missing]);
        self.prefix_len += missing;
        let Some(len) = self.begun()? else { return Ok(None) };
        let missing = len - self.partial.len();
        let message = if self.partial.is_empty() && self.piece.len() >= len {
            self.piece.split_to(len)
        } else {
            // Grows with what comes: who says a large number and nothing more costs nothing.
            self.partial.put(self.piece.split_to(missing.min(self.piece.len())));
            if self.partial.len() < len {
                return Ok(None);
            }
            std::mem::take(&mut self.partial).freeze()
        };
        self.prefix_len = 0;
        Ok(Some(message))
    }

    /// Returns the bytes of the message that has begun.
    pub(crate) fn begun(&self) -> Result<Option<usize>, Malformed> {
        if self.prefix_len < PREFIX_BYTES {
            return Ok(None);
        }
        let [flag, len @ ..] = self.prefix;
        let bytes = u32::from_be_bytes(len) as usize;
        match flag {
            0 if bytes <= self.max => Ok(Some(bytes)),
            0 => Err(Malformed::TooLarge { bytes, max: self.max }),
            _ => Err(Malformed::Compressed),
        }
    }

    /// Checks that the stream may end here.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.prefix_len == 0 && self.piece.is_empty() { Ok(()) } else { Err(Malformed::Cut) }
    }
}

/// Reads what an exchange says.
pub(crate) fn kind(message: Bytes) -> Result<Kind, Malformed> {
    let message = proto::ExchangeMessage::decode(message).map_err(|_| Malformed::Unreadable)?;
    match message.kind.ok_or(Malformed::Unreadable)? {
        // What is small does not hold a buffer of the socket for as long as it lives.
        Kind::Payload(payload) if payload.len() <= COPIED_BYTES => Ok(Kind::Payload(Bytes::copy_from_slice(&payload))),
        kind => Ok(kind),
    }
}

/// Writes a message.
pub(crate) fn frame(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + len);
    put_prefix(&mut frame, len);
    message.encode(&mut frame).expect("there is room for all of it");
    frame.freeze()
}

/// Writes a payload: its frame, and what is too large to be copied into it. It has at most
/// [`EXCHANGE_BYTES_MAX`](super::EXCHANGE_BYTES_MAX).
pub(crate) fn payload_frame(payload: Bytes) -> (Bytes, Bytes) {
    let mut inner = BytesMut::with_capacity(FRAMING_BYTES);
    inner.put_u8(PAYLOAD_TAG);
    prost::encoding::encode_varint(payload.len() as u64, &mut inner);
    let copied = if payload.len() <= COPIED_BYTES { payload.len() } else { 0 };
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + inner.len() + copied);
    put_prefix(&mut frame, inner.len() + payload.len());
    frame.put(inner);
    if copied == payload.len() {
        frame.put(payload);
        return (frame.freeze(), Bytes::new());
    }
    (frame.freeze(), payload)
}

fn put_prefix(frame: &mut BytesMut, len: usize) {
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).expect("messages are smaller"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 100_000;

    fn read(decoder: &mut Decoder, stream: &[u8], cut: usize) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        for piece in stream.chunks(cut) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(message) = decoder.next().unwrap() {
                let Kind::Payload(payload) = kind(message).unwrap() else { panic!("it is a payload") };
                payloads.push(payload);
            }
        }
        payloads
    }

    proptest! {
        #[test]
        fn payloads_are_read_as_they_were_written_however_the_stream_is_cut(
            sizes in proptest::collection::vec(prop_oneof![0_usize..600, 7_000_usize..9_000, Just(MAX)], 0..8),
            cut in prop_oneof![1_usize..9, 16_000_usize..17_000],
        ) {
            let payloads: Vec<_> = sizes.iter().zip(1..).map(|(size, n)| Bytes::from(vec![n; *size])).collect();
            let mut stream = Vec::new();
            for payload in &payloads {
                let (frame, rest) = payload_frame(payload.clone());
                stream.extend_from_slice(&frame);
                stream.extend_from_slice(&rest);
            }
            let mut decoder = Decoder::new(MAX);
            prop_assert_eq!(read(&mut decoder, &stream, cut), payloads);
            prop_assert_eq!(decoder.end(), Ok(()));
        }
    }

    #[test]
    fn a_payload_is_written_as_the_message_that_the_file_describes() {
        for size in [0, 1, 127, 128, COPIED_BYTES, COPIED_BYTES + 1] {
            let payload = Bytes::from(vec![7; size]);
            let (mut written, rest) = payload_frame(payload.clone());
            written = [written, rest].concat().into();
            assert_eq!(written, frame(&proto::ExchangeMessage { kind: Some(Kind::Payload(payload)) }), "{size}");
        }
    }

    #[test]
    fn what_is_no_message_is_known_by_its_first_bytes() {
        let begin = |bytes: &[u8]| {
            let mut decoder = Decoder::new(MAX);
            decoder.push(Bytes::copy_from_slice(bytes));
            decoder.next()
        };
        let max = MAX + FRAMING_BYTES;
        assert_eq!(begin(&[0, 0, 1, 0x86, 0xb1]), Err(Malformed::TooLarge { bytes: max + 1, max }));
        assert_eq!(begin(&[1, 0, 0, 0, 0]), Err(Malformed::Compressed));
        assert_eq!(begin(&[0, 0, 1, 0x86, 0xb0]), Ok(None));
        assert_eq!(kind(Bytes::from_static(&[0xff])), Err(Malformed::Unreadable));
        assert_eq!(kind(Bytes::new()), Err(Malformed::Unreadable));
    }

    #[test]
    fn a_stream_that_ends_within_a_message_is_cut() {
        let mut decoder = Decoder::new(MAX);
        for bytes in [&[0][..], &[0, 0, 0, 3], &[1, 2]] {
            decoder.push(Bytes::copy_from_slice(bytes));
            assert_eq!(decoder.next(), Ok(None));
            assert_eq!(decoder.end(), Err(Malformed::Cut));
        }
    }
}
