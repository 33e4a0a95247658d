//! What many records have in common, in memory once.
//!
//! Thousands of sessions are of one principal and one kind of client, and use the same tool servers: what they were opened with
//! and what they have at a server differ in a time and an id. A record has these itself, and the rest is shared. That changes
//! nothing of what a record says.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::proto;

/// Values at which those that no record has any more are looked for first.
const SWEPT_MIN: usize = 64;

/// The values that the records of a shard have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    charters: Values<proto::Charter>,
    legs: Values<proto::Leg>,
}

/// Values by a digest of what they are encoded to.
#[derive(Clone, Debug)]
struct Values<T> {
    known: HashMap<u64, Arc<T>>,
    /// How many there may be before those that nobody has any more go.
    sweep_at: usize,
}

// === impl Common ===

impl Common {
    /// Returns the one charter that equals this one.
    pub(crate) fn charter(&mut self, mut charter: proto::Charter) -> Arc<proto::Charter> {
        charter.principal = detached(&charter.principal);
        self.charters.share(charter)
    }

    /// Returns the one leg that equals this one.
    pub(crate) fn leg(&mut self, mut leg: proto::Leg) -> Arc<proto::Leg> {
        if let Some(upstream) = &mut leg.upstream {
            upstream.capabilities = detached(&upstream.capabilities);
        }
        self.legs.share(leg)
    }
}

/// The same bytes without the rest of the command that they came with, which would stay in memory with them.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

// === impl Values ===

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), sweep_at: SWEPT_MIN }
    }
}

impl<T: Message + PartialEq> Values<T> {
    fn share(&mut self, value: T) -> Arc<T> {
        let mut hasher = DefaultHasher::new();
        hasher.write(&value.encode_to_vec());
        let digest = hasher.finish();
        match self.known.get(&digest) {
            Some(known) if **known == value => Arc::clone(known),
            // Another one with its digest: it stays alone.
            Some(_) => Arc::new(value),
            None => {
                self.sweep();
                let value = Arc::new(value);
                self.known.insert(digest, Arc::clone(&value));
                value
            }
        }
    }

    /// Forgets what no record has any more, when there is twice as much as was needed last.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, value| Arc::strong_count(value) > 1);
            self.sweep_at = SWEPT_MIN.max(2 * self.known.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_those_that_nobody_has_go() {
        let mut values = Values::default();
        let leg = |number| proto::Leg { leg: number, server: "files".to_owned(), ..proto::Leg::default() };
        let first = values.share(leg(0));
        assert!(Arc::ptr_eq(&first, &values.share(leg(0))));
        let others: Vec<_> = (1..1_000).map(|number| values.share(leg(number))).collect();
        assert_eq!(others.iter().map(|other| other.leg).collect::<Vec<_>>(), (1..1_000).collect::<Vec<_>>());
        drop(others);
        for number in 0..10_000 {
            drop(values.share(leg(number)));
        }
        assert!(values.known.len() <= 2_048, "{}", values.known.len());
        assert!(Arc::ptr_eq(&first, &values.share(leg(0))), "who has it keeps it");
    }

    #[test]
    fn what_is_kept_of_a_command_does_not_keep_the_command() {
        let command = Bytes::from(vec![7; 4_096]);
        let charter =
            Common::default().charter(proto::Charter { principal: command.slice(..16), ..Default::default() });
        assert_eq!(charter.principal, command.slice(..16));
        assert!(command.is_unique(), "nobody else has a part of it");
    }
}
