//! The numbers beside their goals: the table, and the same as JSON.
//!
//! A number at or under its goal is `goal`, at or under its floor `floor`, and above it `below the
//! floor`, which fails the run.

use std::fmt::Write as _;

use serde::Serialize;

use super::guarded::Guarded;
use super::memory::{Memory, Parked};
use super::programs::Idle;
use super::speed::{CpuRound, LatencyRound, median};
use super::strangers::Strangers;

/// What is said when latency cannot be judged.
const BUSY: &str = "\nThis machine is busy: the direct connection's p99 alone is over the floor of what the gateway may \
                    add. Measure latency again on one that is not.\n";

/// The unit of ratios: how many times as long. What is divided are milliseconds.
const RATIO: &str = "times";

/// One line of the table. Everything is better the smaller it is.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) measure: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The same without the gateway, where there is such a thing.
    pub(crate) direct: Option<f64>,
    /// With the gateway, where the number is a difference of the two, or their ratio.
    pub(crate) through: Option<f64>,
    /// The number that is held against goal and floor.
    pub(crate) gateway: f64,
    /// What it should be at most.
    pub(crate) goal: f64,
    /// What it must be at most.
    pub(crate) floor: f64,
    /// The judgement.
    pub(crate) verdict: Verdict,
}

/// One line of the second table: a node that is not busy. Medians of the rounds; nothing is judged.
#[derive(Debug, Serialize)]
pub(crate) struct Light {
    /// What is sent.
    pub(crate) measure: &'static str,
    /// How much of it, per second.
    pub(crate) rate: f64,
    /// CPU time of the backend per request, asked directly, in milliseconds.
    pub(crate) direct_cpu_ms: f64,
    /// CPU time of the gateway per request, in milliseconds.
    pub(crate) gateway_cpu_ms: f64,
    /// Median latencies without and with the gateway, in milliseconds.
    pub(crate) p50_ms: [f64; 2],
    /// 99th percentiles without and with the gateway, in milliseconds.
    pub(crate) p99_ms: [f64; 2],
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// At the goal or better.
    Goal,
    /// Between goal and floor.
    Floor,
    /// Worse than the floor.
    BelowFloor,
}

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers {
    /// What was measured on: cores that the processes share.
    pub(crate) cores: usize,
    /// The table.
    pub(crate) table: Vec<Row>,
    /// The second table.
    pub(crate) light: Vec<Light>,
    /// Spans that the gateway exported during the run.
    pub(crate) spans: u64,
    /// Rounds of the modern call.
    pub(crate) modern_call: Vec<CpuRound>,
    /// Rounds of the legacy call.
    pub(crate) legacy_call: Vec<CpuRound>,
    /// Rounds of the list.
    pub(crate) tools_list: Vec<CpuRound>,
    /// Rounds of the modern call in an open loop.
    pub(crate) modern_latency: Vec<LatencyRound>,
    /// Rounds of the legacy call in an open loop.
    pub(crate) legacy_latency: Vec<LatencyRound>,
    /// Rounds of the modern call on a server of sessions.
    pub(crate) bridged_call: Vec<CpuRound>,
    /// Memory.
    pub(crate) memory: Memory,
    /// Memory of calls that wait for their client.
    pub(crate) parked: Parked,
    /// Gateways that resource files describe.
    pub(crate) shaped: Shaped,
    /// Tool servers that are programs.
    pub(crate) programs: Programs,
}

/// Calls that a resource file shapes.
#[derive(Debug, Serialize)]
pub(crate) struct Shaped {
    /// Rounds of the modern call of an API's operation.
    pub(crate) api_call: Vec<CpuRound>,
    /// Rounds of the modern call of a tool that a toolset changes.
    pub(crate) curated_call: Vec<CpuRound>,
    /// Calls under identity and policy.
    pub(crate) guarded: Guarded,
    /// Good callers beside strangers.
    pub(crate) strangers: Strangers,
}

/// What tool servers cost that are programs.
#[derive(Debug, Serialize)]
pub(crate) struct Programs {
    /// Rounds of the modern call on one that everybody shares.
    pub(crate) modern_call: Vec<CpuRound>,
    /// Rounds of the legacy call, each session on its own.
    pub(crate) legacy_call: Vec<CpuRound>,
    /// Those that do nothing.
    pub(crate) idle: Idle,
}

// === impl Row ===

impl Row {
    fn new(measure: &'static str, unit: &'static str, gateway: f64, goal: f64, floor: f64) -> Self {
        Self {
            measure,
            unit,
            direct: None,
            through: None,
            gateway,
            goal,
            floor,
            verdict: Verdict::of(gateway, goal, floor),
        }
    }

    /// CPU time per request: medians of the rounds.
    pub(crate) fn of_cpu(measure: &'static str, rounds: &[CpuRound], goal: f64, floor: f64) -> Self {
        let gateway = median(rounds.iter().map(|round| round.gateway.total_ms()));
        let direct = median(rounds.iter().map(|round| round.direct.total_ms()));
        Self { direct: Some(direct), ..Self::new(measure, "ms", gateway, goal, floor) }
    }

    /// Added latency: the median of the rounds' differences.
    pub(crate) fn of_latency(measure: &'static str, rounds: &[LatencyRound], goal: f64, floor: f64) -> Self {
        let added = median(rounds.iter().map(LatencyRound::added_p99_ms));
        Self {
            direct: Some(median(rounds.iter().map(|round| round.direct.p99_ms))),
            through: Some(median(rounds.iter().map(|round| round.gateway.p99_ms))),
            ..Self::new(measure, "ms", added, goal, floor)
        }
    }

    /// A ratio of latencies in milliseconds, of which each pair has the one without first: the median of the pairs' ratios.
    pub(crate) fn of_ratio(measure: &'static str, pairs: &[[f64; 2]], goal: f64, floor: f64) -> Self {
        let ratio = median(pairs.iter().map(|[without, with]| with / without));
        Self {
            direct: Some(median(pairs.iter().map(|[without, _]| *without))),
            through: Some(median(pairs.iter().map(|[_, with]| *with))),
            ..Self::new(measure, RATIO, ratio, goal, floor)
        }
    }

    /// A number of the gateway alone.
    pub(crate) fn of_gateway(measure: &'static str, unit: &'static str, gateway: f64, goal: f64, floor: f64) -> Self {
        Self::new(measure, unit, gateway, goal, floor)
    }
}

// === impl Light ===

impl Light {
    /// Takes the medians of some rounds.
    pub(crate) fn of(measure: &'static str, rate: f64, rounds: &[LatencyRound]) -> Self {
        let of = |value: fn(&LatencyRound) -> f64| median(rounds.iter().map(value));
        Self {
            measure,
            rate,
            direct_cpu_ms: of(|round| round.direct_cpu.total_ms()),
            gateway_cpu_ms: of(|round| round.gateway_cpu.total_ms()),
            p50_ms: [of(|round| round.direct.p50_ms), of(|round| round.gateway.p50_ms)],
            p99_ms: [of(|round| round.direct.p99_ms), of(|round| round.gateway.p99_ms)],
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Holds a number against its goal and its floor.
    pub(crate) fn of(number: f64, goal: f64, floor: f64) -> Self {
        if number <= goal {
            Self::Goal
        } else if number <= floor {
            Self::Floor
        } else {
            Self::BelowFloor // A number that is none is here, too.
        }
    }

    /// As a table says it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Goal => "goal",
            Self::Floor => "floor",
            Self::BelowFloor => "BELOW THE FLOOR",
        }
    }
}

// === impl Numbers ===

impl Numbers {
    /// Tells whether every number is at least at its floor.
    pub(crate) fn is_passed(&self) -> bool {
        self.table.iter().all(|row| row.verdict != Verdict::BelowFloor)
    }

    /// Both tables as Markdown, which is what docs/src/numbers.md shows.
    pub(crate) fn to_tables(&self) -> String {
        let busy = if self.is_busy() { BUSY } else { "" };
        format!("{}{busy}\n{}", self.table(), self.light())
    }

    /// Tells whether a difference of latencies says nothing here: the direct connection alone is
    /// slower than what the gateway may add. The verdict stays what it is.
    fn is_busy(&self) -> bool {
        let is_difference = |row: &&Row| row.unit != RATIO && row.through.is_some();
        self.table.iter().filter(is_difference).any(|row| row.direct.is_some_and(|direct| direct > row.floor))
    }

    fn light(&self) -> String {
        let mut text = String::from(
            "| At 20% of the maximum rate | Rate | CPU direct | CPU gateway | p50 direct, gateway | p99 direct, gateway |\n\
             |---|---|---|---|---|---|\n",
        );
        for light in &self.light {
            let Light {
                measure,
                rate,
                direct_cpu_ms,
                gateway_cpu_ms,
                p50_ms: [p50, p50_with],
                p99_ms: [p99, p99_with],
            } = light;
            writeln!(
                text,
                "| {measure} | {rate:.0}/s | {direct_cpu_ms:.3} ms | {gateway_cpu_ms:.3} ms | {p50:.2} ms, {p50_with:.2} ms \
                 | {p99:.2} ms, {p99_with:.2} ms |"
            )
            .expect("a string can be written to");
        }
        text
    }

    fn table(&self) -> String {
        let mut text =
            String::from("| Measure | Direct | Gateway | Goal | Floor | Verdict |\n|---|---|---|---|---|---|\n");
        for row in &self.table {
            let unit = row.unit;
            let of = if unit == RATIO { "ms" } else { unit };
            let direct = row.direct.map_or_else(|| "–".to_owned(), |direct| shown(direct, of));
            let gateway = match row.through {
                Some(through) if unit == RATIO => format!("{} ({})", shown(through, of), shown(row.gateway, unit)),
                Some(through) => format!("{} (+{})", shown(through, unit), shown(row.gateway, unit)),
                None => shown(row.gateway, unit),
            };
            let (measure, verdict) = (row.measure, row.verdict.text());
            let (goal, floor) = (row.goal, row.floor);
            writeln!(text, "| {measure} | {direct} | {gateway} | {goal} {unit} | {floor} {unit} | {verdict} |")
                .expect("a string can be written to");
        }
        text
    }
}

fn shown(number: f64, unit: &str) -> String {
    match unit {
        "ms" => format!("{number:.3} ms"),
        RATIO => format!("{number:.2} {RATIO}"),
        unit => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_each_round_and_shown_beside_what_was_divided() {
        let row = Row::of_ratio("p99", &[[1.0, 1.5], [2.0, 8.0], [1.0, 2.0]], 1.5, 3.0);

        assert_eq!((row.direct, row.through, row.gateway, row.verdict), (Some(1.0), Some(2.0), 2.0, Verdict::Floor));
        assert_eq!(shown(row.gateway, row.unit), "2.00 times");
        let never = Row::of_ratio("p99", &[[0.0, 0.0]], 1.5, 3.0);
        assert_eq!(never.verdict, Verdict::BelowFloor, "nothing was measured");
    }

    #[test]
    fn a_number_is_judged_against_goal_and_floor() {
        for (number, expected) in [
            (0.08, Verdict::Goal),
            (0.081, Verdict::Floor),
            (0.12, Verdict::Floor),
            (0.1201, Verdict::BelowFloor),
            (f64::NAN, Verdict::BelowFloor),
            (-0.5, Verdict::Goal),
        ] {
            assert_eq!(Verdict::of(number, 0.08, 0.12), expected, "{number}");
        }
    }
}
