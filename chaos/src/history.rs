//! What happened when: to the nodes, and to each session, for who has to find out why.
//!
//! Times are seconds since the beginning of the run, the same for all histories, so that they can be laid side by side. Each
//! is bounded: of a long run the end is kept, which is where something went wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Lines that are kept: the last calls of a session, and the last minutes of faults.
const LINES_MAX: usize = 200;

/// A bounded account, which its clones share.
#[derive(Clone, Debug)]
pub struct History {
    begun: Instant,
    lines: Arc<Mutex<VecDeque<String>>>,
}

// === impl History ===

impl History {
    /// An empty account of what begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), lines: Arc::default() }
    }

    /// An empty account with the same beginning.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { begun: self.begun, lines: Arc::default() }
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Notes what happens now.
    pub fn note(&self, what: impl AsRef<str>) {
        let line = format!("{:9.3} {}", self.seconds(), what.as_ref());
        let mut lines = self.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// What is kept, one line each.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().iter().map(|line| format!("    {line}\n")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_history_the_end_is_kept() {
        let history = History::begin();
        for number in 0..=LINES_MAX {
            history.note(format!("line {number}."));
        }

        let text = history.text();
        assert!(!text.contains("line 0.") && text.contains("line 1.") && text.contains(&format!("line {LINES_MAX}.")));
        assert!(history.beside().text().is_empty());
    }
}
