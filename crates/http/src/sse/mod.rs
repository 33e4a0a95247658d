//! Server-sent events: read from backends, written to clients.
//!
//! [`Decoder`] turns bytes into [`Event`]s, [`EventStream`] does so for a body, [`fn@encode`] writes
//! one event and [`Events`] is the body of an answer that sends them. Follows the HTML standard,
//! section 9.2 "Server-sent events", with two bounds it does not know: the bytes of one event,
//! and values that could forge another field are impossible ([`Line`]).
//!
//! The data of an event is kept as bytes and not decoded from UTF-8: whoever parses it decides
//! what invalid text means.

mod decode;
mod encode;
mod events;
mod stream;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

pub use self::decode::{Decoder, EventTooLarge};
pub use self::encode::encode;
pub use self::events::{Events, KEEP_ALIVE};
pub use self::stream::{EventStream, StreamError};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The id that a client presents to resume after this event; absent when the event sets none.
    pub id: Option<Line>,
    /// The type of the event; absent means `message`. An empty name is the same as none.
    pub name: Option<Line>,
    /// The payload; lines are separated by LF.
    pub data: Bytes,
    /// How long the client should wait before it reconnects, in whole milliseconds.
    pub retry: Option<Duration>,
}

/// A text that fits one field of an event: without CR, LF and NUL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line(Box<str>);

/// A text holds CR, LF or NUL, and would end its field early or be ignored by clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id or name may not contain line breaks or NUL")]
pub struct NotOneLine;

// === impl Event ===

impl Event {
    /// Makes an event of `data` alone.
    #[must_use]
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(self, id: Line) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(self, name: Line) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Sets the reconnection time.
    #[must_use]
    pub fn with_retry(self, retry: Duration) -> Self {
        Self { retry: Some(retry), ..self }
    }
}

// === impl Line ===

impl Line {
    /// Checks a text.
    ///
    /// # Errors
    /// [`NotOneLine`] when it holds CR, LF or NUL.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, NotOneLine> {
        let text = text.into();
        match text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            true => Err(NotOneLine),
            false => Ok(Self(text)),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another_field() {
        for text in ["1\ndata: forged", "1\r", "\0"] {
            assert_eq!(Line::new(text), Err(NotOneLine), "{text:?}");
        }
        assert_eq!(Line::new("3.17").unwrap().as_str(), "3.17");
        assert_eq!(Line::new("").unwrap().as_str(), "");
    }
}
