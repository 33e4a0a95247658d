//! The steps of a run: each is announced, timed and recorded, and a table of all of them ends the run.
//!
//! A failed step does not stop the ones after it, so that one run shows everything that is wrong; a step whose ground
//! is missing is recorded as not run, with the reason. The run fails when any step did not pass.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

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
        let row = Row::of(name, step);
        let passed = row.outcome == Outcome::Passed;
        self.rows.push(row);
        passed
    }

    /// Runs a step of an area for each name, so many at the same time, and records them in the order of the names.
    pub(crate) fn run_together(
        &mut self,
        area: &str,
        names: &[String],
        at_once: usize,
        step: impl Fn(&str) -> Result<()> + Sync,
    ) {
        let (left, done) = (Mutex::new(names.iter().enumerate()), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
                    while let Some((number, name)) = next() {
                        let row = Row::of(&format!("{area}: {name}"), || step(name));
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((number, row));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        self.rows.extend(done.into_iter().map(|(_, row)| row));
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

// === impl Row ===

impl Row {
    /// Runs a step, and says how it ended.
    fn of(name: &str, step: impl FnOnce() -> Result<()>) -> Self {
        output::heading(name);
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        match &outcome {
            // The rest of the reason is said again at the end of the run.
            Outcome::Failed(reason) => {
                let reason = reason.lines().next().unwrap_or_default();
                output::line(&format!("-- {name}: FAILED after {}: {reason}", output::seconds(took)));
            }
            Outcome::Passed | Outcome::NotRun(_) => output::line(&format!("-- {name}: ok, {}", output::seconds(took))),
        }
        Self { name: name.to_owned(), outcome, took }
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
    fn steps_that_run_together_all_run_and_stand_in_their_order() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let mut steps = Steps::new();
        // Nothing goes on before two are under way.
        let two = std::sync::Barrier::new(2);
        steps.run_together("area", &names, 2, |name| {
            two.wait();
            if name == "7" { Err(anyhow!("broken")) } else { Ok(()) }
        });

        let recorded: Vec<&str> = steps.rows.iter().filter_map(|row| row.name.strip_prefix("area: ")).collect();
        assert_eq!(recorded, names);
        let error = steps.finish("test").unwrap_err().to_string();
        assert_eq!(error, "test: 1 of 20 steps did not pass: area: 7");
    }

    #[test]
    fn a_step_that_could_not_run_fails_the_run() {
        let mut steps = Steps::new();
        steps.not_run("one", "no ground");

        assert!(steps.finish("test").is_err());
    }
}
