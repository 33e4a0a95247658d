//! Which patterns of a toolset match nothing, for whoever wrote them.
//!
//! In: what each merge of lists marked, and which servers' lists were the servers' own and not
//! stand-ins. Out: one line in the log and a number among the metrics for each pattern that the
//! lists which it is for were searched for in vain. It is said once; a pattern that matches later,
//! because a list changed, is taken out of the number. A pattern matches nothing when it does so in
//! every combination of versions: each has lists of its own, and what is in one may be for another.

use std::sync::{Mutex, PoisonError};

use quorate_mcp::ListKind;
use quorate_mcp::curate::{Curation, Marks, Watched};
use quorate_telemetry::Metrics;
use quorate_telemetry::metrics::Active;
use quorate_types::ResourceName;

/// What is known of the patterns of one toolset.
pub struct Watch {
    toolset: ResourceName,
    metrics: Metrics,
    /// The bits of [`State::Open`] of a pattern that was in vain everywhere.
    everywhere: u64,
    /// By the patterns' numbers; grows to the number of patterns with the first merge.
    states: Mutex<Vec<State>>,
}

/// What is known of one pattern.
enum State {
    /// Not every list that it is for has been seen: two bits for each combination of versions, one of
    /// them for resource templates, tell where it was in vain.
    Open { missed: u64 },
    /// It matched.
    Matched,
    /// It matches nothing.
    Unmatched { _counted: Active },
}

// === impl Watch ===

impl Watch {
    /// Starts knowing nothing.
    #[must_use]
    pub fn new(toolset: ResourceName, combinations: usize, metrics: Metrics) -> Self {
        let bits = u32::try_from(2 * combinations.max(1)).unwrap_or(u32::MAX);
        let everywhere = 1_u64.checked_shl(bits).map_or(u64::MAX, |above| above - 1);
        Self { toolset, metrics, everywhere, states: Mutex::default() }
    }

    /// Returns the patterns of `curation` that match nothing.
    #[must_use]
    pub fn unmatched(&self, curation: &Curation) -> Vec<Watched> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let unmatched = |(_, state): &(&Watched, &State)| matches!(state, State::Unmatched { .. });
        curation.watched().iter().zip(states.iter()).filter(unmatched).map(|(watched, _)| watched.clone()).collect()
    }

    /// Takes what the merge of a list of a combination of versions marked; `decided` says of each
    /// server whether its list is its own.
    pub(super) fn note(
        &self,
        (combination, kind): (usize, ListKind),
        curation: &Curation,
        marks: &Marks,
        decided: &[bool],
    ) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = curation.watched();
        if states.len() < watched.len() {
            states.resize_with(watched.len(), || State::Open { missed: 0 });
        }
        for (number, (watched, state)) in watched.iter().zip(states.iter_mut()).enumerate() {
            if !concerns(watched.kind, kind) || matches!(state, State::Matched) {
                continue;
            }
            let is_decided = match watched.server {
                Some(server) => decided.get(usize::from(server.0)).copied().unwrap_or(false),
                None => decided.iter().all(|decided| *decided),
            };
            if marks.has(number) {
                *state = State::Matched;
            } else if (is_decided || watched.is_elsewhere) && !watched.is_idle {
                self.missed(missed_bits(combination, kind), watched, state);
            }
        }
    }

    fn missed(&self, bits: u64, watched: &Watched, state: &mut State) {
        let State::Open { missed } = state else { return };
        *missed |= bits;
        if *missed & self.everywhere == self.everywhere {
            tracing::warn!(
                toolset = %self.toolset, path = watched.path, pattern = watched.text,
                "a pattern matches nothing that is listed"
            );
            *state = State::Unmatched { _counted: self.metrics.pattern_unmatched(self.toolset.as_str()) };
        }
    }
}

/// The bits of [`State::Open`] for a list of a combination.
fn missed_bits(combination: usize, kind: ListKind) -> u64 {
    let bits: u64 = match kind {
        ListKind::Tools | ListKind::Prompts => 0b11,
        ListKind::Resources => 0b01,
        ListKind::ResourceTemplates => 0b10,
    };
    // A toolset has far fewer combinations than there are bits for.
    u32::try_from(2 * combination).ok().and_then(|place| bits.checked_shl(place)).unwrap_or(0)
}

/// Whether a list of `kind` says something of a pattern for `of`.
const fn concerns(of: ListKind, kind: ListKind) -> bool {
    matches!(
        (of, kind),
        (ListKind::Tools, ListKind::Tools)
            | (ListKind::Prompts, ListKind::Prompts)
            | (ListKind::Resources, ListKind::Resources | ListKind::ResourceTemplates)
    )
}
