//! What the log says about itself: records of its own beside those of events.
//!
//! They are part of the chain like all others. `verify` relies on one of them: that segments were deleted for space, with
//! the hash of the last record that went with them.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::record::Hash;
use crate::suppressed::Suppressed;
use crate::text::Text;

/// What a record says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    Event(Box<Event>),
    Note(Note),
}

/// A record about the log.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Note {
    /// A chain begins: there was none, or it could not be continued.
    Begun {
        /// `new` or `broken`.
        reason: &'static str,
        /// Where the chain before does not fit: file and line.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Text>,
        /// In what way.
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<Text>,
    },
    /// A node goes on with the chain, after it cut a line that a crash had left unfinished.
    Resumed { cut_bytes: u64 },
    /// Segments were deleted, because all together were too large.
    Deleted {
        /// The file.
        file: String,
        /// The sequence of its last record.
        last: u64,
        /// The hash of that record; none when it could not be told.
        #[serde(skip_serializing_if = "Option::is_none")]
        hash: Option<Hash>,
    },
    /// Events have no records of their own.
    Suppressed {
        /// How many of what, and why.
        counts: Suppressed,
    },
}

/// What readers of a log look at in an event.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) kind: &'a str,
    /// Of `deleted` alone.
    #[serde(borrow)]
    pub(crate) hash: Option<&'a str>,
}
