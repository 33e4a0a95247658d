//! What a routed call is held to by its toolset: a time, a number of calls at once, and whether it
//! may be sent twice.
//!
//! In: the terms of the tool that a call names. Out: the session's [`Terms`] for the call, with a
//! place among the tool's calls, or the fault that there is none. Places are counted per node, tool
//! server and tool, whatever version or name a client knows the tool by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_mcp::{Fault, curate};
use quorate_runtime::places::{Place, Places};
use quorate_runtime::session::{self, Terms, Timeout};
use quorate_telemetry::Metrics;
use quorate_types::ResourceName;
use quorate_types::units::format_duration;

/// Tools in the table at which those that nobody calls are dropped from it.
const SWEEP_AT: usize = 1024;

/// The terms of the tool that a call names.
#[derive(Clone, Debug)]
pub struct Held {
    /// The terms.
    pub terms: Arc<curate::Terms>,
    /// The tool as the client knows it.
    pub exposed: Arc<str>,
    /// The tool as its server knows it.
    pub upstream: Arc<str>,
}

/// The calls of tools whose number is bounded.
#[derive(Debug, Default)]
pub struct Gates {
    gates: Mutex<HashMap<(ResourceName, Arc<str>), Gate>>,
}

#[derive(Clone, Debug)]
struct Gate {
    max: u32,
    places: Arc<Places>,
}

// === impl Held ===

impl Held {
    /// Takes a place for a call at `server`, and says what else it is held to.
    ///
    /// # Errors
    /// [`Fault::ToolBusy`] when as many calls are in progress as may be.
    pub(crate) fn begin(
        held: Option<&Self>,
        gates: &Gates,
        server: &ResourceName,
        metrics: &Metrics,
    ) -> Result<Terms, Fault> {
        let Some(held) = held else { return Ok(Terms::default()) };
        let place = match held.terms.concurrency {
            None => None,
            Some(max) => Some(gates.enter(server, &held.upstream, max).ok_or_else(|| {
                metrics.limit_hit("tool_concurrency");
                Fault::ToolBusy { tool: held.exposed.to_string(), max }
            })?),
        };
        let timeout =
            held.late().map(|(after, fault)| Timeout { after, fault: session::fault(fault), metrics: metrics.clone() });
        Ok(Terms { timeout, place, tool: None, replayable: held.terms.replayable })
    }

    /// How long the call may take, and the fault that says that it took longer.
    pub(crate) fn late(&self) -> Option<(Duration, Fault)> {
        let after = self.terms.timeout?;
        Some((after, Fault::ToolTimeout { tool: self.exposed.to_string(), after: format_duration(after) }))
    }
}

// === impl Gates ===

impl Gates {
    /// Takes a place among at most `max` calls of a tool; none when all are taken. A limit that has
    /// changed counts from then on.
    fn enter(&self, server: &ResourceName, tool: &Arc<str>, max: u32) -> Option<Place> {
        let mut gates = self.lock();
        if gates.len() >= SWEEP_AT {
            // Also those whose calls all wait for their clients stay: they come back.
            gates.retain(|_, gate| gate.places.are_used());
        }
        let fresh = || Gate { max, places: Places::new(max as usize) };
        let gate = gates.entry((server.clone(), Arc::clone(tool))).or_insert_with(fresh);
        if gate.max != max {
            *gate = fresh();
        }
        gate.places.enter()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ResourceName, Arc<str>), Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_tool_are_as_many_as_its_limit_and_come_back() {
        let (gates, server) = (Gates::default(), ResourceName::new("files").expect("a valid name"));
        let enter = |tool: &str, max| gates.enter(&server, &Arc::from(tool), max);

        let (first, second) = (enter("read", 2), enter("read", 2));
        assert!(first.is_some() && second.is_some() && enter("read", 2).is_none());
        assert!(enter("write", 2).is_some(), "each tool has its own");
        drop(first);
        assert!(enter("read", 2).is_some());
        assert!(enter("read", 3).is_some(), "a changed limit counts anew");
    }

    #[test]
    fn a_call_may_be_sent_twice_where_a_rule_of_the_toolset_says_so_alone() {
        let (gates, server) = (Gates::default(), ResourceName::new("files").expect("a valid name"));
        let (metrics, name) = (Metrics::new("0"), Arc::from("read"));
        let held = |timeout, replayable| {
            let mut terms = curate::Terms::default();
            (terms.timeout, terms.replayable) = (timeout, replayable);
            Some(Held { terms: Arc::new(terms), exposed: Arc::clone(&name), upstream: Arc::clone(&name) })
        };
        let second = Some(Duration::from_secs(1));
        let cases = [(None, false), (held(second, false), false), (held(second, true), true), (held(None, true), true)];
        for (held, is_replayable) in cases {
            let terms = Held::begin(held.as_ref(), &gates, &server, &metrics).expect("there is no limit");
            assert_eq!(terms.replayable, is_replayable, "{held:?}");
        }
    }

    #[test]
    fn tools_that_nobody_calls_are_forgotten() {
        let (gates, server) = (Gates::default(), ResourceName::new("files").expect("a valid name"));
        let kept = gates.enter(&server, &Arc::from("kept"), 1);
        for number in 0..SWEEP_AT * 2 {
            drop(gates.enter(&server, &Arc::from(number.to_string()), 1));
        }
        assert!(gates.lock().len() <= SWEEP_AT + 1);
        assert!(kept.is_some() && gates.enter(&server, &Arc::from("kept"), 1).is_none());
    }
}
