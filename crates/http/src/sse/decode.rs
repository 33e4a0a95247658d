//! Turns the bytes of an event stream into events, a piece at a time.
//!
//! In flow chunks of any size, out flow complete events; what is cut anywhere gives the same
//! events as the whole. A line that lies within one chunk is not copied, so the usual event (one
//! line of JSON) is a slice of the bytes that the socket delivered. Bounded: the lines of one
//! event together hold at most `event_bytes_max` bytes; comments are dropped as they arrive.
//!
//! HTML standard, section 9.2.6 "Interpreting an event stream". An event whose only content is
//! `id` or `retry` is not dispatched, but moves [`Decoder::last_event_id`] and
//! [`Decoder::retry`]. A block that the end of the stream cuts is discarded.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{Event, Line};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An incremental decoder of one event stream.
#[derive(Debug)]
pub struct Decoder {
    event_bytes_max: usize,
    /// Input that is not read yet.
    chunk: Bytes,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    /// The line being read is a comment: thrown away as it comes.
    in_comment: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand in front.
    first_line: bool,
    /// An event was too large: nothing after it can be told apart.
    failed: bool,
    block: Block,
    last_event_id: Option<Line>,
    retry: Option<Duration>,
}

/// One event of the stream is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {max} bytes")]
pub struct EventTooLarge {
    /// The limit in bytes.
    pub max: usize,
}

/// The fields of the event being read.
#[derive(Debug, Default)]
struct Block {
    /// Bytes of all lines so far, their ends included.
    bytes: usize,
    id: Option<Line>,
    name: Option<Line>,
    retry: Option<Duration>,
    data: Data,
}

#[derive(Debug, Default)]
enum Data {
    /// No `data` field yet: such a block is not an event.
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

// === impl Decoder ===

impl Decoder {
    /// Makes a decoder that refuses events over `event_bytes_max` bytes (line ends and field
    /// names included).
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            in_comment: false,
            after_cr: false,
            first_line: true,
            failed: false,
            block: Block::default(),
            last_event_id: None,
            retry: None,
        }
    }

    /// Gives the decoder more input; call [`Self::next_event`] until it returns `None` first, or
    /// what is left is joined by copying.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Returns the next complete event, or `None` when more input is needed.
    ///
    /// # Errors
    /// [`EventTooLarge`], now and at every later call: the rest of the stream cannot be trusted.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        if self.failed {
            return Err(EventTooLarge { max: self.event_bytes_max });
        }
        while let Some(line) = self.next_line()? {
            if let Some(event) = self.read_line(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Returns the id that a reconnecting client would present: that of the last complete block
    /// which set one. An empty id counts as none.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&Line> {
        self.last_event_id.as_ref().filter(|id| !id.as_str().is_empty())
    }

    /// Returns the reconnection time that the stream asked for last.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Returns the next complete line that is not a comment, without its end.
    fn next_line(&mut self) -> Result<Option<Bytes>, EventTooLarge> {
        loop {
            if self.after_cr && self.chunk.has_remaining() {
                self.after_cr = false;
                if self.chunk[0] == b'\n' {
                    self.chunk.advance(1);
                }
            }
            if self.chunk.is_empty() {
                // Also an empty slice keeps what it was cut from: the buffer of the connection.
                self.chunk = Bytes::new();
                return Ok(None);
            }
            // A comment may be endless: it is recognised by its first byte and never kept.
            let starts_line = self.partial.is_empty();
            self.in_comment |= starts_line && self.chunk[0] == b':';

            let end = memchr::memchr2(b'\r', b'\n', &self.chunk);
            let piece = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
            if !self.in_comment {
                self.charge(piece.len())?;
            }
            if end.is_none() {
                if !self.in_comment {
                    self.partial.extend_from_slice(&piece);
                }
                return Ok(None);
            }
            self.after_cr = self.chunk[0] == b'\r';
            self.chunk.advance(1);
            if std::mem::take(&mut self.in_comment) {
                self.first_line = false;
                continue;
            }
            self.block.bytes += 1;
            return Ok(Some(self.complete(piece)));
        }
    }

    /// Counts bytes of the current block against the limit.
    fn charge(&mut self, bytes: usize) -> Result<(), EventTooLarge> {
        self.block.bytes += bytes;
        if self.block.bytes > self.event_bytes_max {
            self.failed = true;
            self.chunk = Bytes::new();
            self.partial = BytesMut::new();
            self.block = Block::default();
            return Err(EventTooLarge { max: self.event_bytes_max });
        }
        Ok(())
    }

    /// Joins the last piece of a line with what came before it.
    fn complete(&mut self, piece: Bytes) -> Bytes {
        let mut line = if self.partial.is_empty() {
            piece
        } else {
            self.partial.extend_from_slice(&piece);
            self.partial.split().freeze()
        };
        if std::mem::take(&mut self.first_line) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        line
    }

    /// Applies one line: a field, or the empty line that ends a block.
    fn read_line(&mut self, line: &Bytes) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = match memchr::memchr(b':', line) {
            None => (&line[..], Bytes::new()),
            Some(colon) => {
                let space = usize::from(line.get(colon + 1) == Some(&b' '));
                (&line[..colon], line.slice(colon + 1 + space..))
            }
        };
        match name {
            b"data" => self.block.data.push(value),
            b"event" => self.block.name = Some(lossy(&value)),
            // An id with NUL is ignored, so that it cannot be cut short on its way back.
            b"id" if !value.contains(&0) => self.block.id = Some(lossy(&value)),
            b"retry" => {
                if let Some(retry) = parse_retry(&value) {
                    self.block.retry = Some(retry);
                    self.retry = Some(retry);
                }
            }
            _ => {}
        }
        None
    }

    /// Ends the block: it is an event when it has data.
    fn dispatch(&mut self) -> Option<Event> {
        let block = std::mem::take(&mut self.block);
        if block.id.is_some() {
            self.last_event_id.clone_from(&block.id);
        }
        let data = block.data.into_bytes()?;
        let name = block.name.filter(|name| !name.as_str().is_empty());
        Some(Event { id: block.id, name, data, retry: block.retry })
    }
}

// === impl Data ===

impl Data {
    fn push(&mut self, line: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(line),
            Self::One(first) => {
                let mut joined = BytesMut::with_capacity(first.len() + 1 + line.len());
                joined.extend_from_slice(&first);
                Self::Many(join(joined, &line))
            }
            Self::Many(joined) => Self::Many(join(joined, &line)),
        };
    }

    fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::One(bytes) => Some(bytes),
            Self::Many(joined) => Some(joined.freeze()),
        }
    }
}

fn join(mut joined: BytesMut, line: &[u8]) -> BytesMut {
    joined.extend_from_slice(b"\n");
    joined.extend_from_slice(line);
    joined
}

/// Decodes a field as the standard decodes the stream: what is not UTF-8 becomes U+FFFD.
///
/// A name with NUL is legal in the standard; here NUL becomes U+FFFD as well, since a [`Line`]
/// has none.
fn lossy(value: &[u8]) -> Line {
    let text = String::from_utf8_lossy(value).replace('\0', "\u{FFFD}");
    Line::new(text).expect("a field's value has no line break, and NUL was replaced")
}

/// Reads a number of milliseconds: ASCII digits only. One that does not fit means "very long".
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sse::encode;

    const MAX: usize = 1 << 20;

    fn decode_all(chunks: &[&[u8]], max: usize) -> Result<(Vec<Event>, Decoder), EventTooLarge> {
        let mut decoder = Decoder::new(max);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.feed(Bytes::copy_from_slice(chunk));
            while let Some(event) = decoder.next_event()? {
                events.push(event);
            }
        }
        Ok((events, decoder))
    }

    fn line(text: &str) -> Line {
        Line::new(text).unwrap()
    }

    #[test]
    fn the_examples_of_the_standard_give_its_events() {
        let check = |input: &str, expected: &[Event]| {
            let (events, _) = decode_all(&[input.as_bytes()], MAX).unwrap();
            assert_eq!(events, expected, "{input:?}");
        };

        check("data: YHOO\ndata: +2\ndata: 10\n\n", &[Event::new("YHOO\n+2\n10")]);
        check(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &[
                Event::new("first event").with_id(line("1")),
                Event::new("second event").with_id(line("")),
                Event::new(" third event"),
            ],
        );
        check("data\n\ndata\ndata\n\ndata:", &[Event::new(""), Event::new("\n")]);
        check("data:test\n\ndata: test\n\n", &[Event::new("test"), Event::new("test")]);
        check("event: add\ndata: 73857293\n\n", &[Event::new("73857293").with_name(line("add"))]);
    }

    #[test]
    fn all_three_line_ends_and_a_byte_order_mark_are_understood() {
        let expected = [Event::new("a\nb").with_id(line("7")), Event::new("c")];
        for text in [
            "id: 7\ndata: a\ndata: b\n\ndata: c\n\n",
            "id: 7\rdata: a\rdata: b\r\rdata: c\r\r",
            "id: 7\r\ndata: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n",
            "\u{FEFF}id: 7\ndata: a\rdata: b\r\n\ndata: c\n\r\n",
            "\u{FEFF}:\nid: 7\ndata: a\rdata: b\r\n\ndata: c\n\r\n",
        ] {
            assert_eq!(decode_all(&[text.as_bytes()], MAX).unwrap().0, expected, "{text:?}");
        }
        // Only one mark, and only at the beginning.
        let twice = "\u{FEFF}\u{FEFF}data: a\n\n\u{FEFF}data: b\n\n";
        assert_eq!(decode_all(&[twice.as_bytes()], MAX).unwrap().0, []);
    }

    #[test]
    fn blocks_without_data_move_the_resume_point_and_the_retry_time_only() {
        let (events, decoder) = decode_all(&[b"id: 4\n\nretry: 250\n\nevent: x\n\n"], MAX).unwrap();
        assert_eq!(events, []);
        assert_eq!(decoder.last_event_id().map(Line::as_str), Some("4"));
        assert_eq!(decoder.retry(), Some(Duration::from_millis(250)));

        // A priming event: an id and empty data is an event.
        let (events, decoder) = decode_all(&[b"id: 4\ndata: \n\n"], MAX).unwrap();
        assert_eq!(events, [Event::new("").with_id(line("4"))]);
        assert_eq!(decoder.last_event_id().map(Line::as_str), Some("4"));

        // The id of a block that was cut is not a resume point; an empty id clears it.
        let (_, decoder) = decode_all(&[b"id: 4\ndata: x\n\nid: 5\ndata: y\n"], MAX).unwrap();
        assert_eq!(decoder.last_event_id().map(Line::as_str), Some("4"));
        let (_, decoder) = decode_all(&[b"id: 4\ndata: x\n\nid:\ndata: y\n\n"], MAX).unwrap();
        assert_eq!(decoder.last_event_id(), None);
    }

    #[test]
    fn odd_fields_are_ignored_or_read_as_the_standard_says() {
        let input = b"id: a\0b\nretry: 1s\nretry: -1\nretry:\nDATA: no\n data: no\nfoo: bar\ndata: yes\nevent:\n\n";
        let (events, decoder) = decode_all(&[input], MAX).unwrap();
        assert_eq!(events, [Event::new("yes")]);
        assert_eq!(decoder.retry(), None);

        let (events, _) = decode_all(&[b"event: \xFF\0\nretry: 99999999999999999999999\ndata: \xFF\n\n"], MAX).unwrap();
        assert_eq!(events[0].name.as_ref().unwrap().as_str(), "\u{FFFD}\u{FFFD}");
        assert_eq!(events[0].retry, Some(Duration::from_millis(u64::MAX)));
        assert_eq!(events[0].data, &b"\xFF"[..]);
    }

    #[test]
    fn an_event_over_the_limit_fails_for_good_and_one_at_the_limit_passes() {
        let event = b"data: 456\n"; // 10 bytes, and the empty line costs one more
        assert_eq!(decode_all(&[event, b"\n"], 10).unwrap().0, [Event::new("456")]);
        assert_eq!(decode_all(&[event, b"\n"], 8).unwrap_err(), EventTooLarge { max: 8 });

        let mut decoder = Decoder::new(100);
        decoder.feed(Bytes::from(vec![b'x'; 101]));
        assert!(decoder.next_event().is_err());
        decoder.feed(Bytes::from_static(b"\n\ndata: x\n\n"));
        assert!(decoder.next_event().is_err());

        let many = "data: 0123\n".repeat(100);
        assert!(decode_all(&[many.as_bytes()], 1000).is_err());
        // The limit is per event, not per stream.
        let stream = "data: 0123\n\n".repeat(1000);
        assert_eq!(decode_all(&[stream.as_bytes()], 20).unwrap().0.len(), 1000);
    }

    #[test]
    fn an_endless_comment_costs_no_memory() {
        let mut decoder = Decoder::new(16);
        decoder.feed(Bytes::from_static(b"retry: 1\n\n:"));
        assert_eq!(decoder.next_event(), Ok(None));
        for _ in 0..100 {
            decoder.feed(Bytes::from(vec![b'.'; 1000]));
            assert_eq!(decoder.next_event(), Ok(None));
            assert_eq!(decoder.partial.len(), 0);
        }
        decoder.feed(Bytes::from_static(b"\ndata: x\n\n"));
        assert_eq!(decoder.next_event(), Ok(Some(Event::new("x"))));
    }

    #[test]
    fn a_line_within_one_chunk_is_not_copied() {
        let chunk = Bytes::from(b"data: 0123456789\n\n".to_vec());
        let mut decoder = Decoder::new(MAX);
        decoder.feed(chunk.clone());
        let event = decoder.next_event().unwrap().unwrap();
        assert_eq!(event.data.as_ptr(), chunk[6..].as_ptr());
    }

    fn arb_line() -> impl Strategy<Value = Line> {
        "[^\r\n\0]{0,12}".prop_map(|text| Line::new(text).unwrap())
    }

    fn arb_event() -> impl Strategy<Value = Event> {
        let data = prop::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..40)
            .prop_map(|bytes| bytes.into_iter().filter(|byte| *byte != b'\r').collect::<Vec<u8>>());
        let name = arb_line().prop_map(|name| Some(name).filter(|name| !name.as_str().is_empty()));
        (prop::option::of(arb_line()), name, data, prop::option::of(any::<u64>())).prop_map(
            |(id, name, data, retry)| Event {
                id,
                name,
                data: Bytes::from(data),
                retry: retry.map(Duration::from_millis),
            },
        )
    }

    /// Bytes that look like an event stream often enough to reach every branch.
    fn arb_stream() -> impl Strategy<Value = Vec<u8>> {
        let tokens: [&[u8]; 13] = [
            b"data:",
            b"data",
            b"id: ",
            b"event:",
            b"retry: 5",
            b":",
            b" ",
            b"\r",
            b"\n",
            b"\r\n",
            b"\n\n",
            BYTE_ORDER_MARK,
            b"\xFF\0x",
        ];
        let token = prop::sample::select(tokens.to_vec());
        prop_oneof![
            prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat()),
            prop::collection::vec(any::<u8>(), 0..200),
        ]
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(events in prop::collection::vec(arb_event(), 0..6)) {
            let bytes: Vec<u8> = events.iter().flat_map(encode).collect();
            let (decoded, _) = decode_all(&[&bytes], MAX).unwrap();
            prop_assert_eq!(decoded, events);
        }

        #[test]
        fn chunking_does_not_matter(bytes in arb_stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12), max in prop_oneof![Just(MAX), 1_usize..40]) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            chunks.push(&bytes[from..]);

            let whole = decode_all(&[&bytes], max).map(|(events, decoder)| (events, decoder.last_event_id, decoder.retry));
            let pieces = decode_all(&chunks, max).map(|(events, decoder)| (events, decoder.last_event_id, decoder.retry));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn what_is_held_stays_within_the_limit(bytes in arb_stream(), max in 1_usize..40) {
            let mut decoder = Decoder::new(max);
            for byte in bytes {
                decoder.feed(Bytes::copy_from_slice(&[byte]));
                match decoder.next_event() {
                    Ok(event) => prop_assert!(event.is_none_or(|event| event.data.len() <= max)),
                    Err(error) => prop_assert_eq!(error, EventTooLarge { max }),
                }
                prop_assert!(decoder.partial.len() <= max && decoder.block.bytes <= max + 1);
            }
        }
    }
}
