//! The streams of a session and the connections that read them.
//!
//! A stream lasts longer than its connections: while its calls are open, and then until its
//! events are no longer retained. The standalone stream, once somebody read it, lasts as long as
//! the session, so that its sequences never start over. Plain data; the session's handlers say
//! what becomes of it.

use std::time::Duration;

use quorate_types::Timestamp;

use crate::config::Config;
use crate::effect::Source;
use crate::ids::{Attachment, RequestKey, StreamId};
use crate::ring::{Bounds, Ring};
use crate::table::Table;

/// When a client that has not read an answer in full is not expected to come for it any more: a node looks for another owner for
/// 10 s.
const FORSAKEN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Streams {
    /// The last stream minted; 0 is the standalone one.
    minted: u32,
    /// The last attachment minted.
    attachments: u64,
    pub(crate) all: Table<StreamId, Stream>,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) ring: Ring,
    pub(crate) reader: Option<Reader>,
    /// When the last connection ended.
    pub(crate) detached_at: Timestamp,
    /// Nothing more will be added.
    pub(crate) closed: bool,
    /// Sources that are held until there is room.
    pub(crate) held: Vec<Source>,
    /// Its call waits for the client's answer to a backend.
    pub(crate) parked: Option<Parked>,
    /// The request that it answers.
    pub(crate) key: Option<RequestKey>,
    /// It was complete when the session got this owner, nobody has come for it since, and what the owner before wrote of it
    /// last may not be on record.
    pub(crate) inherited: bool,
}

/// A call that waits for its client to come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    /// What the client's answer has to name.
    pub(crate) token: u64,
    /// The sequence after which it is read again.
    pub(crate) sequence: u64,
    /// When it is cancelled.
    pub(crate) until: Timestamp,
}

/// A connection that reads a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) attachment: Attachment,
    /// It was told to end: it gets nothing more.
    pub(crate) closing: bool,
}

// === impl Streams ===

impl Streams {
    pub(crate) const fn new() -> Self {
        Self { minted: 0, attachments: 0, all: Table::new() }
    }

    /// Goes on behind numbers that were given before.
    pub(crate) const fn skip(&mut self, minted: u32) {
        self.minted = minted;
    }

    pub(crate) const fn mint(&mut self) -> StreamId {
        self.minted += 1;
        StreamId(self.minted)
    }

    pub(crate) const fn mint_attachment(&mut self) -> Attachment {
        self.attachments += 1;
        Attachment(self.attachments)
    }

    pub(crate) fn standalone(&self) -> Option<&Stream> {
        self.all.get(StreamId::STANDALONE)
    }

    /// Whether the client reads the standalone stream, or did recently.
    pub(crate) fn standalone_is_live(&self, now: Timestamp, config: &Config) -> bool {
        self.standalone().is_some_and(|stream| {
            !stream.closed && (stream.reader.is_some() || now.since(stream.detached_at) < config.retention)
        })
    }

    pub(crate) fn parked(&self) -> usize {
        self.all.iter().filter(|(_, stream)| stream.parked.is_some()).count()
    }

    pub(crate) fn attached(&self) -> usize {
        self.all.iter().filter(|(_, stream)| stream.reader.is_some()).count()
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.all.iter().map(|(_, stream)| stream.ring.bytes()).sum()
    }

    pub(crate) fn undelivered_bytes(&self) -> usize {
        self.all.iter().map(|(_, stream)| stream.ring.undelivered_bytes()).sum()
    }

    /// What waits for the clients of parked calls.
    pub(crate) fn parked_bytes(&self) -> usize {
        let parked = self.all.iter().filter(|(_, stream)| stream.parked.is_some());
        parked.map(|(_, stream)| stream.ring.undelivered_bytes()).sum()
    }

    /// Makes room for one more stream, at the cost of the oldest that is complete and was written
    /// in full, or else of the oldest complete one that may have been written in full by an owner
    /// that is gone. Returns whether there is room.
    ///
    /// Of the latter, each loss of a node leaves some.
    pub(crate) fn make_room(&mut self, streams_max: usize, now: Timestamp) -> bool {
        if self.all.len() < streams_max {
            return true;
        }
        let oldest =
            |is_spare: &dyn Fn(&Stream) -> bool| self.all.iter().find(|(_, stream)| is_spare(stream)).map(|(id, _)| id);
        let spare = oldest(&Stream::is_spent).or_else(|| oldest(&|stream| stream.is_forsaken(now)));
        spare.is_some_and(|id| self.all.remove(id).is_some())
    }

    /// Drops delivered events, of the oldest stream first, until no more than `bytes_max` of them
    /// are left.
    pub(crate) fn trim(&mut self, bytes_max: usize) {
        let mut delivered = self.retained_bytes() - self.undelivered_bytes();
        for (_, stream) in self.all.iter_mut() {
            if delivered <= bytes_max {
                return;
            }
            delivered -= stream.ring.bytes() - stream.ring.undelivered_bytes();
            stream.ring.drop_delivered();
        }
    }

    pub(crate) fn is_held(&self, source: Source) -> bool {
        self.all.iter().any(|(_, stream)| stream.held.contains(&source))
    }

    /// Forgets that a source is held: it is gone.
    pub(crate) fn forget_source(&mut self, source: Source) {
        for (_, stream) in self.all.iter_mut() {
            stream.held.retain(|held| *held != source);
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(now: Timestamp) -> Self {
        let ring = Ring::default();
        Self {
            ring,
            reader: None,
            detached_at: now,
            closed: false,
            held: Vec::new(),
            parked: None,
            key: None,
            inherited: false,
        }
    }

    pub(crate) fn attachment(&self) -> Option<Attachment> {
        self.reader.map(|reader| reader.attachment)
    }

    /// Whether somebody reads it, or will for certain be heard of again: what it holds is kept.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.reader.is_some() || self.parked.is_some()
    }

    /// Whether it is complete and without a connection.
    const fn is_left(&self) -> bool {
        self.closed && !self.is_awaited()
    }

    /// Whether it may have been read in full at an owner that is gone, and nobody has come for it for long.
    fn is_forsaken(&self, now: Timestamp) -> bool {
        self.inherited
            && self.is_left()
            && self.ring.newest_at().is_some_and(|answered| now.since(answered) >= FORSAKEN_AFTER)
    }

    /// Whether it is complete, without a connection, and everything was written.
    fn is_spent(&self) -> bool {
        self.is_left() && self.ring.is_delivered()
    }
}

// === impl Bounds ===

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        Self { events_max: config.ring_events_max, bytes_max: config.ring_bytes_max }
    }
}
