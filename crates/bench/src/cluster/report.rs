//! The numbers beside etcd's, their goals and their floors.
//!
//! A number is held against goal and floor by itself, or as so many times etcd's of the same run. One that is below its floor
//! fails the run; one without a bound is there to explain the others.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::grid::{self, Cell};

/// Everything that a run found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// In the order in which it was measured.
    pub(crate) rows: Vec<Row>,
    /// What else is to be known.
    pub(crate) notes: Vec<String>,
    /// What more groups and nodes cost.
    pub(crate) cells: Vec<Cell>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    measure: String,
    unit: &'static str,
    ours: Spread,
    etcd: Option<Spread>,
    bound: Option<Bound>,
}

/// Rounds of one measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bound {
    /// Held against etcd's number, else against nothing.
    is_ratio: bool,
    /// More is better.
    is_least: bool,
    goal: f64,
    floor: f64,
}

// === impl Report ===

impl Report {
    /// Whether every number is at its floor at least.
    pub(crate) fn is_passed(&self) -> bool {
        self.rows.iter().all(|row| row.verdict() != Some("**below the floor**"))
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the table.
    pub(crate) fn to_table(&self) -> String {
        let mut text =
            "| Measure | Quorate | etcd | Ratio | Goal | Floor | |\n|---|---|---|---|---|---|---|\n".to_owned();
        for row in &self.rows {
            row.write(&mut text);
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}"));
        }
        if !self.cells.is_empty() {
            text.push_str(&format!("\n\n{}", grid::table(&self.cells)));
        }
        text
    }
}

// === impl Row ===

impl Row {
    /// One that has nothing beside it, and no bound.
    pub(crate) fn plain(measure: impl Into<String>, unit: &'static str, ours: Spread) -> Self {
        Self { measure: measure.into(), unit, ours, etcd: None, bound: None }
    }

    /// One beside etcd's; etcd's is left out when it was not measured.
    pub(crate) fn beside(measure: impl Into<String>, unit: &'static str, ours: Spread, etcd: Spread) -> Self {
        let etcd = etcd.median.is_finite().then_some(etcd);
        Self { etcd, ..Self::plain(measure, unit, ours) }
    }

    /// It shall be so many times etcd's, or more.
    pub(crate) fn at_least_times(self, goal: f64, floor: f64) -> Self {
        self.bounded(true, true, goal, floor)
    }

    /// It shall be so many times etcd's, or less.
    pub(crate) fn at_most_times(self, goal: f64, floor: f64) -> Self {
        self.bounded(true, false, goal, floor)
    }

    /// It shall be this, or less.
    pub(crate) fn at_most(self, goal: f64, floor: f64) -> Self {
        self.bounded(false, false, goal, floor)
    }

    fn bounded(self, is_ratio: bool, is_least: bool, goal: f64, floor: f64) -> Self {
        Self { bound: Some(Bound { is_ratio, is_least, goal, floor }), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.etcd.map(|etcd| self.ours.median / etcd.median)
    }

    fn verdict(&self) -> Option<&'static str> {
        let bound = self.bound?;
        let number = if bound.is_ratio { self.ratio()? } else { self.ours.median };
        let holds = |mark: f64| if bound.is_least { number >= mark } else { number <= mark };
        Some(match () {
            () if holds(bound.goal) => "goal",
            () if holds(bound.floor) => "floor",
            () => "**below the floor**",
        })
    }

    fn write(&self, text: &mut String) {
        let none = || "–".to_owned();
        let spread = |spread: &Spread| spread.to_text(self.unit);
        let mark = |of: fn(&Bound) -> f64| {
            self.bound.as_ref().map_or_else(none, |bound| match bound.is_ratio {
                true => format!("{} ×", of(bound)),
                false => format!("{} {}", of(bound), self.unit),
            })
        };
        let ours = spread(&self.ours);
        let etcd = self.etcd.as_ref().map_or_else(none, spread);
        let ratio = self.ratio().map_or_else(none, |ratio| format!("{ratio:.2} ×"));
        let (goal, floor) = (mark(|bound| bound.goal), mark(|bound| bound.floor));
        let verdict = self.verdict().unwrap_or("–");
        // A string takes everything.
        let _ = writeln!(text, "| {} | {ours} | {etcd} | {ratio} | {goal} | {floor} | {verdict} |", self.measure);
    }
}

// === impl Spread ===

impl Spread {
    /// Of some rounds; not a number when there are none.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = rounds.into_iter().collect();
        let at = |share| share_at(&rounds, share);
        Self { median: at(0.5), lowest: at(0.0), highest: at(1.0) }
    }

    fn to_text(self, unit: &str) -> String {
        let digits = match self.median {
            // A number of things.
            _ if unit.is_empty() => 0,
            median if median < 1.0 => 3,
            median if median < 100.0 => 2,
            _ => 0,
        };
        let Self { median, lowest, highest } = self;
        let (space, unit) = if unit == "/s" { ("", unit) } else { (" ", unit) };
        if (highest - lowest).abs() < f64::EPSILON {
            return format!("{median:.digits$}{space}{unit}");
        }
        format!("{median:.digits$}{space}{unit} ({lowest:.digits$}–{highest:.digits$})")
    }
}

/// The number below which a share of them is; not a number when there are none.
pub(crate) fn share_at(numbers: &[f64], share: f64) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let place = (numbers.len() as f64 * share) as usize;
    numbers.get(place.min(numbers.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_held_against_goal_and_floor_the_right_way() {
        let beside = |ours, etcd| Row::beside("x", "/s", Spread::of([ours]), Spread::of([etcd]));
        for (row, verdict) in [
            (beside(30.0, 10.0).at_least_times(3.0, 1.5), "goal"),
            (beside(29.0, 10.0).at_least_times(3.0, 1.5), "floor"),
            (beside(14.0, 10.0).at_least_times(3.0, 1.5), "**below the floor**"),
            (beside(4.0, 10.0).at_most_times(0.4, 0.8), "goal"),
            (beside(9.0, 10.0).at_most_times(0.4, 0.8), "**below the floor**"),
            (beside(9.0, 10.0).at_most(8.0, 9.0), "floor"),
        ] {
            assert_eq!(row.verdict(), Some(verdict), "{row:?}");
        }
    }

    #[test]
    fn a_number_below_its_floor_fails_the_run_and_one_without_bound_does_not() {
        let row = |number: f64| Row::plain("x", "ms", Spread::of([number]));
        let report = |row| Report { rows: vec![row], ..Report::default() };

        assert!(report(row(5.0)).is_passed());
        assert!(report(row(5.0).at_most(1.0, 5.0)).is_passed());
        assert!(!report(row(5.1).at_most(1.0, 5.0)).is_passed());
    }

    #[test]
    fn a_spread_has_its_median_and_its_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert!(Spread::of([]).median.is_nan());
        assert_eq!(Spread::of([0.5]).to_text("ms"), "0.500 ms");
        assert_eq!(Spread::of([1000.0, 1200.0, 900.0]).to_text("/s"), "1000/s (900–1200)");
    }
}
