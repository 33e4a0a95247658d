//! The table of a run: what was done, what was told, and what was not as promised.
//!
//! In Markdown, as `docs/src/chaos.md` shows it. A pause is what a client noticed of a fault: a silence longer than its call's own.

use std::fmt::Write as _;
use std::time::Duration;

use crate::agent::Made;
use crate::follow::Outcome as Told;
use crate::ground::{KINDS, Kind};
use crate::run::{Outcome, Plan};

/// A silence that is longer than the call's own pauses by this much is one that its client notices.
const NOTICED: Duration = Duration::from_millis(200);

/// Renders the summary of a run, in Markdown.
#[must_use]
pub fn render(plan: &Plan, outcome: &Outcome) -> String {
    let counts = outcome.counts;
    let calls: Vec<&Made> = outcome.accounts.iter().flat_map(|account| &account.calls).collect();
    let told = |kind: Option<Kind>, told: Told| {
        let of_kind = |made: &&&Made| kind.is_none_or(|kind| made.call.kind == kind);
        calls.iter().filter(of_kind).filter(|made| made.done.outcome == told).count()
    };
    let sum = |of: fn(&Made) -> u64| calls.iter().map(|made| of(made)).sum::<u64>();
    let opened: u64 = outcome.accounts.iter().map(|account| account.opened).sum();
    let mut text = format!(
        "seed {}, {} sessions at a time, {} shards, {:.0} s\n\n",
        plan.seed,
        plan.sessions,
        plan.shards,
        outcome.took.as_secs_f64()
    );
    let mut row = |what: &str, value: String| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "| {what} | {value} |");
    };
    row("What", "Count".to_owned());
    row("---", "---:".to_owned());
    row("nodes killed (SIGKILL)", counts.all_kills().to_string());
    row("of those, the node that led most shards", counts.kills_of_owners.to_string());
    row("nodes held for 0.5 to 4 s (SIGSTOP)", counts.holds.to_string());
    row("nodes drained", counts.drains.to_string());
    row("sessions opened", opened.to_string());
    row("calls", calls.len().to_string());
    row("answered", told(None, Told::Answered).to_string());
    for kind in KINDS {
        row(&format!("outcome unknown, of `{}`", kind.server()), told(Some(kind), Told::Unknown).to_string());
    }
    row("answered that nothing was executed", told(None, Told::NotRun).to_string());
    row("refused (503)", told(None, Told::Refused).to_string());
    row("POST broke before anything was told", told(None, Told::Cut).to_string());
    row("events", sum(|made| made.done.events).to_string());
    row("streams gone on with at another connection", sum(|made| made.done.resumptions.into()).to_string());
    row("pauses that a client noticed", noticed(&calls).len().to_string());
    row("p50 / p99 / longest of those", spread(&noticed(&calls)));
    row("executed again, of `replayable`", outcome.verdict.replayed.to_string());
    row("executed twice, of the others", outcome.verdict.twice.to_string());
    row("answered, and not executed", outcome.verdict.unexecuted.to_string());
    row("events lost, doubled or out of order; sessions lost", outcome.violations.len().to_string());
    text
}

/// The silences that were longer than their calls asked for, ascending.
fn noticed(calls: &[&Made]) -> Vec<Duration> {
    let beyond = |made: &&Made| made.done.silence.saturating_sub(Duration::from_millis(made.call.pause_ms));
    let mut all: Vec<Duration> = calls.iter().map(beyond).filter(|silence| *silence > NOTICED).collect();
    all.sort_unstable();
    all
}

fn spread(ascending: &[Duration]) -> String {
    let at = |percent: usize| {
        let rank = (ascending.len() * percent).div_ceil(100).saturating_sub(1);
        ascending.get(rank).map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    format!("{} / {} / {}", at(50), at(99), at(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_nearest_ranks() {
        let all: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();

        assert_eq!(spread(&all), "50.00 s / 99.00 s / 100.00 s");
        assert_eq!(spread(&[]), "- / - / -");
    }
}
