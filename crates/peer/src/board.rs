//! The board: what each node says of itself, as this node knows it.
//!
//! Pure: time is an argument. A node writes its own keys only; a version grows with each change of a key, an incarnation
//! with each start of the node, and of two notices the one with the higher incarnation, then version, stands. Merging is
//! commutative, associative and idempotent, so that every node comes to the same board whatever way notices take. The
//! first notice of a new life removes what the old one said.
//!
//! Each entry has the number of the change that made it here, so that a stream asks for what came after a number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_proto::peer::v1::Notice;
use quorate_types::{Incarnation, NodeId};

/// Longest key in bytes: a few words with dots.
pub const KEY_BYTES_MAX: usize = 128;
/// Largest value: what a person would look at; larger things are asked for by a call.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// Most keys of a node: with full values a node's part has 1 MiB on every other.
pub const KEYS_MAX: usize = 256;

/// A value on the board, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// What the node said.
    pub value: Bytes,
    /// How often it changed the key in this life, from 1.
    pub version: u64,
    /// In which life of the node.
    pub incarnation: Incarnation,
    /// When this node came to know it: its age is at least the time since then.
    pub received: Instant,
}

/// Why a key was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The key is empty or too long.
    #[error("a key has {bytes} bytes; allowed are 1 to {KEY_BYTES_MAX}")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// The value is too large.
    #[error("a value has {bytes} bytes; allowed are at most {VALUE_BYTES_MAX}")]
    Value {
        /// Its length.
        bytes: usize,
    },
    /// The node has all keys that it may have.
    #[error("the node has {KEYS_MAX} keys, which are all that are allowed")]
    Keys,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// It stands now.
    New,
    /// It, or a later one, stood already.
    Known,
    /// It is about a node that is no member, about this node, or outside the limits.
    Dropped,
}

/// The board of one node.
#[derive(Debug)]
pub(crate) struct State {
    own: NodeId,
    incarnation: Incarnation,
    /// The lives of the members, this node's among them.
    nodes: BTreeMap<NodeId, Life>,
    /// Which key changed at each number; of each key the last change only.
    changes: BTreeMap<u64, (NodeId, Arc<str>)>,
    changed: u64,
}

#[derive(Debug, Default)]
struct Life {
    incarnation: Incarnation,
    keys: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    posted: Posted,
    change: u64,
}

/// A part of the board for a peer.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) notices: Vec<Notice>,
    /// The number of the last change in it.
    pub(crate) upto: u64,
    /// Whether there is more.
    pub(crate) more: bool,
}

// === impl State ===

impl State {
    pub(crate) fn new(own: NodeId, incarnation: Incarnation) -> Self {
        let life = Life { incarnation, keys: BTreeMap::new() };
        Self { own, incarnation, nodes: BTreeMap::from([(own, life)]), changes: BTreeMap::new(), changed: 0 }
    }

    /// Returns the number of the last change.
    pub(crate) fn changed(&self) -> u64 {
        self.changed
    }

    /// Knows these nodes and this one from now on, and forgets what others said.
    pub(crate) fn set_members(&mut self, members: impl Iterator<Item = NodeId>) {
        let mut before = std::mem::take(&mut self.nodes);
        for node in members.chain([self.own]) {
            self.nodes.insert(node, before.remove(&node).unwrap_or_default());
        }
        for life in before.into_values() {
            self.forget(&life);
        }
    }

    /// Writes a key of this node.
    pub(crate) fn put(&mut self, key: &str, value: Bytes, now: Instant) -> Result<(), PutError> {
        let known = self.nodes.get(&self.own).and_then(|life| life.keys.get(key));
        let notice = Notice {
            node: self.own.0,
            incarnation: self.incarnation.0,
            key: key.to_owned(),
            version: known.map_or(0, |entry| entry.posted.version) + 1,
            value,
        };
        match self.check(&notice) {
            Some(error) => Err(error),
            None => {
                self.insert(notice, now);
                Ok(())
            }
        }
    }

    /// Takes a notice of another node.
    pub(crate) fn merge(&mut self, notice: Notice, now: Instant) -> Merged {
        let node = NodeId(notice.node);
        let Some(life) = self.nodes.get(&node).filter(|_| node != self.own) else { return Merged::Dropped };
        let known = life.keys.get(notice.key.as_str()).map(|entry| &entry.posted);
        let is_later = match notice.incarnation.cmp(&life.incarnation.0) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            // Of two values of one version, which no honest writer makes, the same one stands everywhere.
            std::cmp::Ordering::Equal => {
                known.is_none_or(|known| (notice.version, &notice.value) > (known.version, &known.value))
            }
        };
        match (is_later, self.check(&notice)) {
            (false, _) => Merged::Known,
            (true, Some(_)) => Merged::Dropped,
            (true, None) => {
                self.insert(notice, now);
                Merged::New
            }
        }
    }

    /// Returns a value.
    pub(crate) fn get(&self, node: NodeId, key: &str) -> Option<Posted> {
        self.nodes.get(&node)?.keys.get(key).map(|entry| entry.posted.clone())
    }

    /// Returns all values of a node.
    pub(crate) fn of(&self, node: NodeId) -> impl Iterator<Item = (&str, &Posted)> {
        let keys = self.nodes.get(&node).into_iter().flat_map(|life| &life.keys);
        keys.map(|(key, entry)| (&**key, &entry.posted))
    }

    /// Returns what changed after a number, without what the reader said itself; about `bytes_max` bytes at most.
    pub(crate) fn part(&self, after: u64, reader: NodeId, bytes_max: usize) -> Part {
        let mut part = Part { notices: Vec::new(), upto: after, more: false };
        let mut bytes = 0;
        for (change, (node, key)) in self.changes.range(after + 1..) {
            if bytes >= bytes_max {
                part.more = true;
                break;
            }
            part.upto = *change;
            if *node == reader {
                continue;
            }
            let posted = &self.nodes[node].keys[key].posted;
            bytes += key.len() + posted.value.len() + 32;
            part.notices.push(Notice {
                node: node.0,
                incarnation: posted.incarnation.0,
                key: key.to_string(),
                version: posted.version,
                value: posted.value.clone(),
            });
        }
        part
    }

    fn check(&self, notice: &Notice) -> Option<PutError> {
        let life = self.nodes.get(&NodeId(notice.node));
        // A new life begins with no key.
        let life = life.filter(|life| life.incarnation.0 == notice.incarnation);
        let is_full = life.is_some_and(|life| life.keys.len() >= KEYS_MAX && !life.keys.contains_key(&*notice.key));
        match (notice.key.len(), notice.value.len()) {
            (bytes, _) if bytes == 0 || bytes > KEY_BYTES_MAX => Some(PutError::Key { bytes }),
            (_, bytes) if bytes > VALUE_BYTES_MAX => Some(PutError::Value { bytes }),
            _ => is_full.then_some(PutError::Keys),
        }
    }

    fn insert(&mut self, notice: Notice, now: Instant) {
        let (node, incarnation) = (NodeId(notice.node), Incarnation(notice.incarnation));
        let life = self.nodes.entry(node).or_default();
        if life.incarnation < incarnation {
            let old = std::mem::replace(life, Life { incarnation, keys: BTreeMap::new() });
            self.forget(&old);
        }
        self.changed += 1;
        let key: Arc<str> = notice.key.into();
        self.changes.insert(self.changed, (node, Arc::clone(&key)));
        let posted = Posted { value: notice.value, version: notice.version, incarnation, received: now };
        let life = self.nodes.get_mut(&node).expect("it was entered above");
        if let Some(old) = life.keys.insert(key, Entry { posted, change: self.changed }) {
            self.changes.remove(&old.change);
        }
    }

    fn forget(&mut self, life: &Life) {
        for entry in life.keys.values() {
            self.changes.remove(&entry.change);
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
