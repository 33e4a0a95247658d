//! The steps of a run: each is announced, timed and recorded, and a table of all of them ends the run.
//!
//! A failed step does not stop the ones after it, so that one run shows everything that is wrong; a step whose ground
//! is missing is recorded as not run, with the reason. The run fails when any step did not pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::output::{self, Table};

/// Characters of a reason in the table: its whole stands where the step ran.
const REASON_CHARS_MAX: usize = 80;

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Steps {
    rows: Vec<Row>,
    started: Instant,
}

#[derive(Debug)]
struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

// === impl Steps ===

impl Steps {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), started: Instant::now() }
    }

    /// Runs a step; says whether it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        output::heading(name);
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        match &outcome {
            // The rest of the reason stands above, and again at the end of the run.
            Outcome::Failed(reason) => {
                let reason = reason.lines().next().unwrap_or_default();
                output::line(&format!("-- {name}: FAILED after {}: {reason}", output::seconds(took)));
            }
            Outcome::Passed | Outcome::NotRun(_) => output::line(&format!("-- {name}: ok, {}", output::seconds(took))),
        }
        let passed = outcome == Outcome::Passed;
        self.rows.push(Row { name: name.to_owned(), outcome, took });
        passed
    }

    /// Records a step that could not run, which is a failure of the run.
    pub(crate) fn not_run(&mut self, name: &str, reason: &str) {
        output::heading(name);
        output::line(&format!("-- {name}: NOT RUN: {reason}"));
        let outcome = Outcome::NotRun(reason.to_owned());
        self.rows.push(Row { name: name.to_owned(), outcome, took: Duration::ZERO });
    }

    /// Prints what failed steps said and the table; an error when not everything passed.
    pub(crate) fn finish(self, title: &str) -> Result<()> {
        for Row { name, outcome, .. } in &self.rows {
            if let Outcome::Failed(reason) = outcome {
                output::heading(&format!("{title}: {name} failed: {reason}"));
            }
        }
        let mut table = Table::new(["step", "result", "time"]);
        for Row { name, outcome, took } in &self.rows {
            table.row([name.clone(), outcome.label(), output::seconds(*took)]);
        }
        output::heading(&format!("{title}: summary"));
        output::table(&table);
        output::line(&format!("  total {}", output::seconds(self.started.elapsed())));
        let wrong: Vec<&str> =
            self.rows.iter().filter(|row| row.outcome != Outcome::Passed).map(|row| row.name.as_str()).collect();
        if !wrong.is_empty() {
            bail!("{title}: {} of {} steps did not pass: {}", wrong.len(), self.rows.len(), wrong.join(", "));
        }
        Ok(())
    }
}

// === impl Outcome ===

impl Outcome {
    fn label(&self) -> String {
        match self {
            Self::Passed => "ok".to_owned(),
            Self::Failed(reason) => format!("FAILED: {}", first_line(reason)),
            Self::NotRun(reason) => format!("NOT RUN: {}", first_line(reason)),
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(REASON_CHARS_MAX).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_run_passes_when_every_step_does() {
        let mut steps = Steps::new();
        assert!(steps.run("one", || Ok(())));

        assert!(steps.finish("test").is_ok());
    }

    #[test]
    fn a_failed_step_does_not_stop_the_next_and_fails_the_run() {
        let mut steps = Steps::new();
        assert!(!steps.run("one", || Err(anyhow!("broken"))));
        assert!(steps.run("two", || Ok(())));

        let error = steps.finish("test").unwrap_err().to_string();
        assert_eq!(error, "test: 1 of 2 steps did not pass: one");
    }

    #[test]
    fn a_step_that_could_not_run_fails_the_run() {
        let mut steps = Steps::new();
        steps.not_run("one", "no ground");

        assert!(steps.finish("test").is_err());
    }
}
