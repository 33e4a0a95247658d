//! What a session remembers of its toolset beside the machine: which versions of servers it was
//! opened on, and which tools it has found.
//!
//! Versions never change while the session lives; the gateway reads them with every message, so
//! they stand here and not in the actor. Found tools are bounded: the longest found makes room, and
//! stays callable.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_types::ResourceName;

/// The most tools that one session lists because it found them: more than a model can use.
pub const FOUND_MAX: usize = 128;

/// What a session remembers.
#[derive(Debug, Default)]
pub struct Memory {
    versions: Versions,
    /// Exposed names, longest found first.
    found: Mutex<VecDeque<Box<str>>>,
}

/// Which tool server stands for each member of a toolset: (member, server).
pub type Versions = Box<[(ResourceName, ResourceName)]>;

// === impl Memory ===

impl Memory {
    /// Makes the memory of a session that has these versions and has found nothing.
    #[must_use]
    pub fn new(versions: Versions) -> Self {
        Self { versions, found: Mutex::default() }
    }

    /// The versions that the session was opened on.
    #[must_use]
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Notes found tools by their exposed names; true when some are new.
    pub fn find<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut found = self.lock();
        let mut is_new = false;
        for name in names {
            match found.iter().position(|known| **known == *name) {
                Some(place) => drop(found.remove(place)),
                None => is_new = true,
            }
            if found.len() == FOUND_MAX {
                found.pop_front();
            }
            found.push_back(name.into());
        }
        is_new
    }

    /// Returns the exposed names of what was found.
    #[must_use]
    pub fn found(&self) -> Vec<Box<str>> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<str>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_found_makes_room() {
        let memory = Memory::default();
        assert!(memory.find(["a", "b"]));
        assert!(!memory.find(["a"]), "found again is found later");
        let many: Vec<String> = (0..FOUND_MAX - 1).map(|number| number.to_string()).collect();
        assert!(memory.find(many.iter().map(String::as_str)));
        let found = memory.found();
        assert_eq!((found.len(), &*found[0]), (FOUND_MAX, "a"));
        assert!(!found.iter().any(|name| &**name == "b"));
    }
}
