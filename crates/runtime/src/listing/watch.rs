//! Which patterns of a toolset match nothing, for whoever wrote them.
//!
//! In: what each merge of lists marked, and which servers' lists were the servers' own and not
//! stand-ins. Out: one line in the log and a number among the metrics for each pattern that the
//! lists which it is for were searched for in vain. It is said once; a pattern that matches later,
//! because a list changed, is taken out of the number. A pattern that has matched in some
//! combination of versions is never one that matches nothing.

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
    /// By the patterns' numbers; grows to the number of patterns with the first merge.
    states: Mutex<Vec<State>>,
}

/// What is known of one pattern.
#[derive(Default)]
enum State {
    /// Not every list that it is for has been seen.
    #[default]
    Open,
    /// Of resources and resource templates, it is in vain among these.
    Half(ListKind),
    /// It matched.
    Matched,
    /// It matches nothing.
    Unmatched { _counted: Active },
}

// === impl Watch ===

impl Watch {
    /// Starts knowing nothing.
    #[must_use]
    pub fn new(toolset: ResourceName, metrics: Metrics) -> Self {
        Self { toolset, metrics, states: Mutex::default() }
    }

    /// Returns the patterns of `curation` that match nothing.
    #[must_use]
    pub fn unmatched(&self, curation: &Curation) -> Vec<Watched> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let unmatched = |(_, state): &(&Watched, &State)| matches!(state, State::Unmatched { .. });
        curation.watched().iter().zip(states.iter()).filter(unmatched).map(|(watched, _)| watched.clone()).collect()
    }

    /// Takes what the merge of a list marked; `decided` says of each server whether its list is its
    /// own.
    pub(super) fn note(&self, kind: ListKind, curation: &Curation, marks: &Marks, decided: &[bool]) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = curation.watched();
        if states.len() < watched.len() {
            states.resize_with(watched.len(), State::default);
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
            } else if is_decided && !watched.is_idle {
                self.missed(kind, watched, state);
            }
        }
    }

    fn missed(&self, kind: ListKind, watched: &Watched, state: &mut State) {
        let is_resource = matches!(kind, ListKind::Resources | ListKind::ResourceTemplates);
        match state {
            State::Open if is_resource => *state = State::Half(kind),
            State::Half(seen) if *seen == kind => {}
            State::Open | State::Half(_) => {
                tracing::warn!(
                    toolset = %self.toolset, path = watched.path, pattern = watched.text,
                    "a pattern matches nothing that is listed"
                );
                *state = State::Unmatched { _counted: self.metrics.pattern_unmatched(self.toolset.as_str()) };
            }
            State::Matched | State::Unmatched { .. } => {}
        }
    }
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
