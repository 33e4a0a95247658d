//! Compares the reports of one requirement set: check by check, and as a table of passed checks per scenario.
//!
//! The first report is the measure (the server asked directly); each other one must agree with it in every verdict.
//! A check is found again by scenario, id, name and its turn among those that share them. Trace records of the
//! suite ([`Status::Info`] in every report) have no verdict and are not compared.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::suite::{Report, Scenario, Status};

/// A verdict that differs from the measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The way that was compared, by its name.
    pub way: String,
    /// The scenario.
    pub scenario: String,
    /// The check: id, name and turn.
    pub check: String,
    /// The verdict of the measure; `None` when it has no such check.
    pub measure: Option<Status>,
    /// The verdict of this way; `None` when it has no such check.
    pub found: Option<Status>,
    /// What the suite said about the failure.
    pub message: String,
}

// === impl Difference ===

impl Difference {
    /// The check's id, which several checks of a scenario may share.
    #[must_use]
    pub fn id(&self) -> &str {
        self.check.split(' ').next().unwrap_or_default()
    }
}

/// Verdict and message of each check of a scenario.
type Verdicts = BTreeMap<String, (Status, String)>;

/// Compares every way with the first one.
#[must_use]
pub fn differences(ways: &[(&str, &Report)]) -> Vec<Difference> {
    let Some((&(_, measure), others)) = ways.split_first() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (way, report) in others {
        for name in names(&[measure, report]) {
            let (expected, actual) = (verdicts(measure.scenario(name)), verdicts(report.scenario(name)));
            found.extend(differing(way, name, &expected, &actual));
        }
    }
    found
}

/// Renders a table in Markdown: scenarios down, ways across, passed checks in the cells.
#[must_use]
pub fn render(title: &str, ways: &[(&str, &Report)]) -> String {
    let reports: Vec<_> = ways.iter().map(|(_, report)| *report).collect();
    let mut rows = vec![["scenario"].into_iter().chain(ways.iter().map(|(way, _)| *way)).map(str::to_owned).collect()];
    for name in names(&reports) {
        let cell = |report: &&Report| report.scenario(name).map_or("-".to_owned(), |s| s.passed().to_string());
        rows.push([name.to_owned()].into_iter().chain(reports.iter().map(cell)).collect());
    }
    rows.push(["total".to_owned()].into_iter().chain(reports.iter().map(|r| r.passed().to_string())).collect());
    format!("{title}\n\n{}", aligned(&rows))
}

/// Renders rows as an aligned Markdown table; the first row is its head.
#[must_use]
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            for width in &widths {
                let _ = write!(text, "|-{:-<width$}-", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Every scenario once, in the order of the first report that has it.
fn names<'a>(reports: &[&'a Report]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for scenario in reports.iter().flat_map(|report| &report.scenarios) {
        if !names.contains(&scenario.name.as_str()) {
            names.push(&scenario.name);
        }
    }
    names
}

fn verdicts(scenario: Option<&Scenario>) -> Verdicts {
    let mut turns: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut verdicts = Verdicts::new();
    for check in scenario.into_iter().flat_map(|scenario| &scenario.checks) {
        let turn = turns.entry((&check.id, &check.name)).or_default();
        *turn += 1;
        let message = check.error_message.clone().unwrap_or_default();
        verdicts.insert(format!("{} {} #{turn}", check.id, check.name), (check.status, message));
    }
    verdicts
}

fn differing(way: &str, scenario: &str, expected: &Verdicts, actual: &Verdicts) -> Vec<Difference> {
    let mut checks: Vec<_> = expected.keys().chain(actual.keys()).collect();
    checks.sort_unstable();
    checks.dedup();
    let difference = |check: &String| {
        let (measure, found) = (expected.get(check), actual.get(check));
        let (before, after) = (measure.map(|(status, _)| *status), found.map(|(status, _)| *status));
        let verdict = |status: Option<Status>| status.filter(|status| *status != Status::Info);
        (verdict(before) != verdict(after)).then(|| Difference {
            way: way.to_owned(),
            scenario: scenario.to_owned(),
            check: check.clone(),
            measure: before,
            found: after,
            message: found.map(|(_, message)| message.clone()).unwrap_or_default(),
        })
    };
    checks.into_iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Check;

    fn report(checks: &[(&str, &str, Status)]) -> Report {
        let mut report = Report::default();
        for (scenario, id, status) in checks {
            let check = Check { id: (*id).to_owned(), name: (*id).to_owned(), status: *status, error_message: None };
            match report.scenarios.iter_mut().find(|known| known.name == *scenario) {
                Some(known) => known.checks.push(check),
                None => report.scenarios.push(Scenario { name: (*scenario).to_owned(), checks: vec![check] }),
            }
        }
        report
    }

    #[test]
    fn equal_verdicts_are_no_difference_and_traces_are_not_compared() {
        let direct = report(&[("ping", "trace", Status::Info), ("ping", "ping", Status::Success)]);
        let through = report(&[("ping", "ping", Status::Success)]);

        assert_eq!(differences(&[("direct", &direct), ("whole", &through)]), []);
    }

    #[test]
    fn a_passed_check_that_became_a_trace_is_a_difference() {
        let direct = report(&[("sse", "resume", Status::Success)]);
        let through = report(&[("sse", "resume", Status::Info)]);

        let found = differences(&[("direct", &direct), ("whole", &through)]);

        assert_eq!(found.len(), 1);
        assert_eq!((found[0].measure, found[0].found), (Some(Status::Success), Some(Status::Info)));
    }

    #[test]
    fn a_missing_scenario_and_a_missing_turn_are_differences() {
        let direct = report(&[("a", "x", Status::Success), ("a", "x", Status::Success), ("b", "y", Status::Success)]);
        let through = report(&[("a", "x", Status::Success)]);

        let found = differences(&[("direct", &direct), ("split", &through)]);

        let checks: Vec<_> = found.iter().map(|d| (d.scenario.as_str(), d.check.as_str(), d.found)).collect();
        assert_eq!(checks, [("a", "x x #2", None), ("b", "y y #1", None)]);
    }

    #[test]
    fn a_table_counts_passed_checks_by_scenario_and_way() {
        let direct = report(&[("a", "x", Status::Success), ("b", "y", Status::Success)]);
        let through = report(&[("a", "x", Status::Failure)]);

        let table = render("Title", &[("direct", &direct), ("whole", &through)]);

        assert!(table.contains("| a        | 1      | 0     |"), "{table}");
        assert!(table.contains("| b        | 1      | -     |"), "{table}");
        assert!(table.contains("| total    | 2      | 0     |"), "{table}");
    }
}
