//! What documents say: each text once, by its SHA-256, for as long as something of now or of history says it.
//!
//! Documents and changes hold the text itself (they share it); the table here is so that equal texts are one, and so that
//! the bytes which only history holds are known without counting.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::check::Hex;

/// SHA-256 of what a document says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What a document says: canonical JSON. Clones are cheap.
#[derive(Clone)]
pub struct Content(Arc<Said>);

struct Said {
    digest: Digest,
    data: Bytes,
}

/// All texts that something holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    all: Arc<BTreeMap<Digest, Held>>,
    /// The bytes of texts that only history holds.
    history_bytes: u64,
}

/// A text, and how many documents and versions in history say it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    content: Content,
    current: u64,
    history: u64,
}

/// What holds a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A document.
    Current,
    /// A version in a change of history.
    History,
}

// === impl Digest ===

impl Digest {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

// === impl Content ===

impl Content {
    pub(crate) fn new(data: Bytes) -> Self {
        Self(Arc::new(Said { digest: Digest::of(&data), data }))
    }

    /// The text.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.0.data
    }

    /// Its SHA-256.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.data.len() as u64
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    /// Documents may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes, {})", self.len(), self.digest())
    }
}

// === impl Contents ===

impl Contents {
    /// The bytes of texts that only history holds.
    pub(crate) const fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// Every text, by its digest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Content> {
        self.all.values().map(|held| &held.content)
    }

    /// The text that is held with this digest.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Content> {
        self.all.get(digest).map(|held| held.content.clone())
    }

    /// The greatest digest.
    pub(crate) fn last(&self) -> Option<Digest> {
        self.all.last_key_value().map(|(digest, _)| *digest)
    }

    /// Whether something holds each text.
    pub(crate) fn all_held(&self) -> bool {
        self.all.values().all(|held| held.current > 0 || held.history > 0)
    }

    /// Puts a text there that something will hold.
    pub(crate) fn put(&mut self, content: Content) {
        let held = Held { content, current: 0, history: 0 };
        Arc::make_mut(&mut self.all).entry(held.content.digest()).or_insert(held);
    }

    pub(crate) fn hold(&mut self, content: &Content, holder: Holder) {
        let all = Arc::make_mut(&mut self.all);
        let fresh = || Held { content: content.clone(), current: 0, history: 0 };
        let held = all.entry(content.digest()).or_insert_with(fresh);
        let before = held.only_history();
        *held.count(holder) += 1;
        self.history_bytes = self.history_bytes - before + held.only_history();
    }

    pub(crate) fn release(&mut self, content: &Content, holder: Holder) {
        let all = Arc::make_mut(&mut self.all);
        let held = all.get_mut(&content.digest()).expect("what is released was held");
        let before = held.only_history();
        *held.count(holder) -= 1;
        self.history_bytes = self.history_bytes - before + held.only_history();
        if held.current == 0 && held.history == 0 {
            all.remove(&content.digest());
        }
    }
}

// === impl Held ===

impl Held {
    fn only_history(&self) -> u64 {
        if self.current == 0 && self.history > 0 { self.content.len() } else { 0 }
    }

    const fn count(&mut self, holder: Holder) -> &mut u64 {
        match holder {
            Holder::Current => &mut self.current,
            Holder::History => &mut self.history,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_there_as_long_as_something_holds_it() {
        let mut contents = Contents::default();
        let (one, again) = (Content::new(Bytes::from_static(b"{}")), Content::new(Bytes::from_static(b"{}")));

        contents.hold(&one, Holder::Current);
        contents.hold(&again, Holder::History);
        assert_eq!((contents.iter().count(), contents.history_bytes()), (1, 0));

        contents.release(&one, Holder::Current);
        assert_eq!((contents.get(&again.digest()), contents.history_bytes()), (Some(one), 2));

        contents.release(&again, Holder::History);
        assert_eq!((contents.iter().count(), contents.history_bytes()), (0, 0));
    }
}
