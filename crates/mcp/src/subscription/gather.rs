//! Waits for the acknowledgements of all backends that one client's listen request concerns.
//!
//! A client's `subscriptions/listen` joins the hub of each backend in its toolset, and its stream
//! starts with one acknowledgement for all of them. In: each backend's honoured part, in the
//! client's terms. Out, once: what to acknowledge to the client. Each hub answers within its
//! deadline, so the gathering needs none of its own.

use std::collections::BTreeSet;

use super::Interest;
use crate::listing::ServerIndex;

/// One client's pending acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    missing: BTreeSet<ServerIndex>,
    honoured: Interest,
    done: bool,
}

// === impl Gather ===

impl Gather {
    /// Starts to wait for `servers`; `base` is honoured whatever they say: what the gateway itself
    /// notices and announces.
    #[must_use]
    pub fn new(servers: impl IntoIterator<Item = ServerIndex>, base: Interest) -> Self {
        Self { missing: servers.into_iter().collect(), honoured: base, done: false }
    }

    /// Takes what `server` honours. Returns what the client is to be told, when this was the last.
    ///
    /// A server that is not waited for, or a second word of one, changes nothing.
    pub fn honoured(&mut self, server: ServerIndex, part: Interest) -> Option<Interest> {
        if !self.missing.remove(&server) {
            return None;
        }
        self.honoured.extend(part);
        self.complete()
    }

    /// Returns what the client is to be told if nothing is waited for and it has not been told.
    pub fn complete(&mut self) -> Option<Interest> {
        if self.done || !self.missing.is_empty() {
            return None;
        }
        self.done = true;
        Some(std::mem::take(&mut self.honoured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_once_after_the_last_server() {
        let tools = Interest { tools: true, ..Interest::default() };
        let prompts = Interest { prompts: true, ..Interest::default() };
        let mut gather = Gather::new([ServerIndex(0), ServerIndex(1)], Interest::default());

        assert_eq!(gather.complete(), None);
        assert_eq!(gather.honoured(ServerIndex(0), tools.clone()), None);
        assert_eq!(gather.honoured(ServerIndex(0), prompts.clone()), None);
        assert_eq!(gather.honoured(ServerIndex(7), prompts), None);
        assert_eq!(gather.honoured(ServerIndex(1), Interest::default()), Some(tools.clone()));
        assert_eq!(gather.honoured(ServerIndex(1), tools), None);
        assert_eq!(gather.complete(), None);
    }

    #[test]
    fn a_toolset_without_servers_is_told_at_once() {
        let mut gather = Gather::new([], Interest { resources: true, ..Interest::default() });

        assert_eq!(gather.complete(), Some(Interest { resources: true, ..Interest::default() }));
        assert_eq!(gather.complete(), None);
    }
}
