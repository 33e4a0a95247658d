//! The numbers of models beside those of others and their goals: tables, and the same as JSON.
//!
//! In: loads and crowds of all sides. Out: medians of the rounds, side by side, and a verdict on ours: at its goal, at its floor, or below
//! the floor, which fails the run. A difference is the median of the rounds' differences.

use std::fmt::Write as _;

use serde::Serialize;

use super::ground::{Crowded, Loaded, Side};
use crate::prompt::Prompt;
use crate::run::report::Verdict;
use crate::run::speed::median;

const SIDES: [Side; 6] = [Side::Direct, Side::Haproxy, Side::Envoy, Side::Smg, Side::Litellm, Side::Quorate];

/// Everything that a run found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Numbers {
    /// Loads in a closed loop.
    pub(crate) cpu: Vec<Loaded>,
    /// Loads of whole answers at a fixed rate.
    pub(crate) latency: Vec<Loaded>,
    /// Loads of streams at a fixed rate, measured until they begin.
    pub(crate) first: Vec<Loaded>,
    /// Streams that stay open.
    pub(crate) streams: Vec<Crowded>,
    /// Spans that our gateway exported.
    pub(crate) spans: u64,
}

/// One line of a table.
struct Row {
    measure: String,
    /// One for each side, where it was measured.
    sides: [Option<f64>; SIDES.len()],
    /// What is judged.
    judged: f64,
    unit: &'static str,
    goal: f64,
    floor: f64,
}

/// What a prompt is called in the table, and its goal and floor in milliseconds of CPU time: those of the project's issue "Agent to LLM".
fn bounds(prompt: Prompt) -> (&'static str, f64, f64) {
    match prompt {
        Prompt::Chat => ("chat, passed through", 0.06, 0.10),
        Prompt::ChatStream => ("chat, streamed in 16 chunks, passed through", 0.08, 0.14),
        Prompt::ChatLong => ("chat, a prompt of 130 KB (judged: over HAProxy)", 0.15, 0.3),
        Prompt::ChatOfClaude => ("OpenAI's shape to Anthropic's", 0.12, 0.20),
        Prompt::ChatStreamOfClaude => ("OpenAI's shape to Anthropic's, streamed", 0.18, 0.30),
        Prompt::MessageOfGpt => ("Anthropic's shape to OpenAI's", 0.12, 0.20),
        Prompt::MessageStreamOfGpt => ("Anthropic's shape to OpenAI's, streamed", 0.18, 0.30),
    }
}

// === impl Numbers ===

impl Numbers {
    /// Tells whether every number of ours is at least at its floor.
    pub(crate) fn is_passed(&self) -> bool {
        self.rows().iter().all(|row| row.verdict() != Verdict::BelowFloor)
    }

    /// All tables as Markdown.
    pub(crate) fn to_tables(&self) -> String {
        let names: Vec<&str> = SIDES.iter().map(|side| side.name()).collect();
        let mut text =
            format!("| Measure | {} | of HAProxy's | Judged | Goal | Floor | Verdict |\n", names.join(" | "));
        text.push_str(&format!("|---{}|\n", "|---".repeat(SIDES.len() + 5)));
        for row in self.rows() {
            let Row { measure, sides, judged, unit, goal, floor } = &row;
            let cells: Vec<String> =
                sides.iter().map(|side| side.map_or_else(|| "–".to_owned(), |value| shown(value, unit))).collect();
            let (judged, verdict) = (shown(*judged, unit), row.verdict().text());
            let times = row.times_haproxy().map_or_else(|| "–".to_owned(), |times| format!("{times:.1} ×"));
            writeln!(
                text,
                "| {measure}, {unit} | {} | {times} | {judged} | {goal} | {floor} | {verdict} |",
                cells.join(" | ")
            )
            .expect("a string can be written to");
        }
        text
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Prompt::ALL.into_iter().filter_map(|prompt| self.cpu_row(prompt)).collect();
        rows.extend(latency_row("Whole answer at 20% load, p50 (judged: added)", &self.latency, p50, 0.15, 0.3));
        rows.extend(latency_row("Whole answer at 20% load, p99 (judged: added)", &self.latency, p99, 1.0, 2.0));
        rows.extend(latency_row("First chunk at 20% load, p50 (judged: added)", &self.first, p50, 0.2, 0.4));
        rows.extend(self.stream_rows());
        rows
    }

    fn cpu_row(&self, prompt: Prompt) -> Option<Row> {
        let of = |side: Side| {
            let rounds = self.cpu.iter().filter(|one| one.side == side && one.prompt == prompt.name());
            known(median(rounds.map(|one| one.cpu.total_ms())))
        };
        let (measure, goal, floor) = bounds(prompt);
        let sides = SIDES.map(of);
        let ours = of(Side::Quorate)?;
        let judged = if prompt == Prompt::ChatLong { ours - of(Side::Haproxy)? } else { ours };
        Some(Row { measure: format!("CPU time, {measure}"), sides, judged, unit: "ms", goal, floor })
    }

    fn stream_rows(&self) -> Vec<Row> {
        let of = |value: fn(&Crowded) -> f64| {
            SIDES.map(|side| self.streams.iter().find(|crowded| crowded.side == side).map(value))
        };
        let count = self.streams.first().map_or(0, |crowded| crowded.streams);
        let (memory, delay) = (of(|crowded| crowded.stream_kb), of(|crowded| crowded.watched.p99_ms));
        let [direct, .., ours] = delay;
        let (Some(direct), Some(ours), Some(held)) = (direct, ours, memory[SIDES.len() - 1]) else { return Vec::new() };
        vec![
            Row {
                measure: format!("Memory of each of {count} open streams (direct: the provider's)"),
                sides: memory,
                judged: held,
                unit: "KB",
                goal: 30.0,
                floor: 50.0,
            },
            Row {
                measure: format!("Delay of a chunk of {count} open streams, p99 (judged: added)"),
                sides: delay,
                judged: ours - direct,
                unit: "ms",
                goal: 10.0,
                floor: 20.0,
            },
        ]
    }
}

// === impl Row ===

impl Row {
    /// How many times what HAProxy takes ours does: what can be compared between machines.
    fn times_haproxy(&self) -> Option<f64> {
        let [_, haproxy, .., ours] = self.sides;
        Some(ours? / haproxy?)
    }

    fn verdict(&self) -> Verdict {
        Verdict::of(self.judged, self.goal, self.floor)
    }
}

fn latency_row(measure: &str, all: &[Loaded], value: fn(&Loaded) -> f64, goal: f64, floor: f64) -> Option<Row> {
    let of = |side: Side| all.iter().filter(move |one| one.side == side).map(value);
    let added = known(median(of(Side::Quorate).zip(of(Side::Direct)).map(|(ours, direct)| ours - direct)))?;
    let sides = SIDES.map(|side| known(median(of(side))));
    Some(Row { measure: measure.to_owned(), sides, judged: added, unit: "ms", goal, floor })
}

fn p50(loaded: &Loaded) -> f64 {
    loaded.load.p50_ms
}

fn p99(loaded: &Loaded) -> f64 {
    loaded.load.p99_ms
}

/// A median of nothing is none.
fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

fn shown(value: f64, unit: &str) -> String {
    if unit == "ms" { format!("{value:.3}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Report;
    use crate::run::process::Cpu;

    fn loaded(side: Side, prompt: Prompt, cpu_ms: f64, p50_ms: f64) -> Loaded {
        let cpu = Cpu { user_ms: cpu_ms, system_ms: 0.0 };
        let load = Report { requests: 1, seconds: 1.0, rate: 1.0, p50_ms, p99_ms: p50_ms, max_ms: p50_ms };
        Loaded { side, prompt: prompt.name(), cpu, load }
    }

    #[test]
    fn what_is_judged_is_ours_what_we_add_or_what_we_take_beyond_haproxy() {
        let numbers = Numbers {
            cpu: vec![
                loaded(Side::Haproxy, Prompt::Chat, 0.02, 0.0),
                loaded(Side::Quorate, Prompt::Chat, 0.05, 0.0),
                loaded(Side::Haproxy, Prompt::ChatLong, 0.3, 0.0),
                loaded(Side::Quorate, Prompt::ChatLong, 0.5, 0.0),
            ],
            first: vec![
                loaded(Side::Direct, Prompt::ChatStream, 0.0, 1.0),
                loaded(Side::Quorate, Prompt::ChatStream, 0.0, 1.5),
            ],
            ..Numbers::default()
        };

        let rows = numbers.rows();
        let judged: Vec<(f64, Verdict)> =
            rows.iter().map(|row| ((row.judged * 1000.0).round() / 1000.0, row.verdict())).collect();
        assert_eq!(judged, [(0.05, Verdict::Goal), (0.2, Verdict::Floor), (0.5, Verdict::BelowFloor)]);
        assert!(!numbers.is_passed());
        let times: Vec<Option<f64>> = rows.iter().map(Row::times_haproxy).collect();
        assert_eq!(times[2], None);
        assert!(times[0].is_some_and(|times| (times - 2.5).abs() < 1e-9), "{times:?}");
        assert!(numbers.to_tables().contains("| 0.020 | – | – | – | 0.050 | 2.5 × | 0.050 | 0.06 | 0.1 | goal |"));
    }

    #[test]
    fn without_a_number_there_is_no_row() {
        assert!(Numbers::default().rows().is_empty());
    }
}
