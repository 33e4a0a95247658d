//! What a failed command said of its failure, kept while its output passes through.
//!
//! A run goes on after a failed step, and its log may be cut by whoever keeps it: the reason has to stand at the end
//! again. Kept are the blocks in which the test harness tells its failures, and the last lines; both are bounded.

use std::collections::VecDeque;

/// Lines of failures that are kept.
const FAILURE_LINES_MAX: usize = 120;

/// Lines from the end that are kept.
const LAST_LINES_MAX: usize = 25;

/// Characters of a kept line.
const LINE_CHARS_MAX: usize = 400;

/// How the test harness begins to tell its failures, and how it ends.
const FAILURES: &str = "failures:";
const VERDICT: &str = "test result: ";

/// The telling lines of an output.
#[derive(Debug, Default)]
pub(crate) struct Said {
    failures: Vec<String>,
    inside: bool,
    last: VecDeque<String>,
}

// === impl Said ===

impl Said {
    /// Takes the next line, without its end.
    pub(crate) fn hear(&mut self, line: &str) {
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        self.inside |= line == FAILURES;
        if self.inside {
            self.inside = !line.starts_with(VERDICT);
            if self.failures.len() < FAILURE_LINES_MAX {
                self.failures.push(line);
            }
            return;
        }
        if self.last.len() == LAST_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The kept lines: the failures, then the last ones.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.failures.iter().chain(&self.last).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Vec<String> {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.hear(line));
        said.lines()
    }

    #[test]
    fn failures_are_kept_however_much_follows() {
        let told = ["failures:", "", "---- one stdout ----", "left: 1", "test result: FAILED. 1 failed"];
        let later: Vec<String> = (0..1000).map(|n| format!("test t{n} ... ok")).collect();
        let lines: Vec<&str> = told.into_iter().chain(later.iter().map(String::as_str)).collect();

        let kept = said(&lines);

        assert_eq!(kept[..told.len()], told);
        assert_eq!(kept[told.len()..], later[1000 - LAST_LINES_MAX..]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(10_000);
        let mut lines = vec![FAILURES];
        lines.extend(std::iter::repeat_n(long.as_str(), 10_000));

        let kept = said(&lines);

        assert_eq!(kept.len(), FAILURE_LINES_MAX);
        assert!(kept.iter().all(|line| line.len() <= LINE_CHARS_MAX));
    }
}
