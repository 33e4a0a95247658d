//! Names that the machine mints or is given, each its own type.
//!
//! Streams, calls, leg epochs and attachments are counted by the machine, so that a replay of the
//! same events mints the same names. Only [`EventId`] has a text form, since a client echoes it in
//! `Last-Event-ID`; it is parsed strictly, so that one event has exactly one spelling.

use std::fmt;
use std::str::FromStr;

use quorate_jsonrpc::Id;

/// One stream of a session: what a client reads from one POST, or from its GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// One event of one stream, as the SSE `id` field carries it: `<stream>.<sequence>`.
///
/// Sequences start at 1 and have no gaps. Sequence 0 is the position before the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place in the stream.
    pub sequence: u64,
}

/// A text is not an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id is <stream>.<sequence> in decimal digits without leading zeros")]
pub struct InvalidEventId;

/// Names one request of a client wherever it is sent again: given by the node that the client talks to, and by no other, so that
/// another owner of the session knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 16]);

/// One call through the session, also the JSON-RPC id that its backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// One backend of the session's toolset, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegKey(pub u16);

/// Which of the upstream sessions that a leg had one after another is meant.
///
/// Reports about an older one are recognised by it and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegEpoch(pub u32);

/// Which of the connections that read one stream one after another is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment(pub u64);

// === impl StreamId ===

impl StreamId {
    /// The stream of the client's GET, or the only one of an HTTP+SSE client.
    pub const STANDALONE: Self = Self(0);
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl EventId ===

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stream, self.sequence)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (stream, sequence) = text.split_once('.').ok_or(InvalidEventId)?;
        Ok(Self { stream: StreamId(decimal(stream)?), sequence: decimal(sequence)? })
    }
}

/// Parses digits without sign or leading zeros: `FromStr` of integers takes `+1` and `01` too.
fn decimal<N: FromStr>(digits: &str) -> Result<N, InvalidEventId> {
    let canonical = digits == "0" || !digits.starts_with('0');
    if !canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidEventId);
    }
    digits.parse().map_err(|_| InvalidEventId)
}

// === impl CallKey ===

impl CallKey {
    /// Returns the JSON-RPC id by which the backend knows the call.
    #[must_use]
    pub fn upstream_id(self) -> Id {
        Id::from(self.0)
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl LegKey ===

impl fmt::Display for LegKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_event_id() {
        let refused = [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "01.2",
            "1.02",
            "00.1",
            "+1.2",
            "1.+2",
            "-1.2",
            " 1.2",
            "1.2 ",
            "1. 2",
            "a.b",
            "1.2a",
            "4294967296.1",
            "1.18446744073709551616",
            "١.٢",
            "1,2",
        ];
        for text in refused {
            assert_eq!(text.parse::<EventId>(), Err(InvalidEventId), "{text:?}");
        }

        let widest = EventId { stream: StreamId(u32::MAX), sequence: u64::MAX };
        assert_eq!("4294967295.18446744073709551615".parse(), Ok(widest));
        assert_eq!("0.0".parse(), Ok(EventId { stream: StreamId::STANDALONE, sequence: 0 }));
    }

    proptest! {
        #[test]
        fn an_event_id_parses_back_from_its_text(stream: u32, sequence: u64) {
            let id = EventId { stream: StreamId(stream), sequence };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn what_parses_is_spelled_as_it_was(text in "[0-9+.]{0,12}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
