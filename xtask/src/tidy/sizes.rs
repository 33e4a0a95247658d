//! The sizes of files and functions: what one reads in one go.
//!
//! Two limits fail: lines of a file, and the 99th percentile of the lines of production functions. The median of the
//! files is a target that the report shows. Where clarity needs a longer file, it gets a row in [`LONG_FILES`] with
//! the reason and its own limit; a row that is no longer needed is a finding too, so that the list only holds what is true.

use super::{Finding, source::Source};

/// Most lines of a file, inline tests included.
pub(super) const FILE_LINES_MAX: usize = 600;

/// The median of production files that we steer by.
pub(super) const FILE_LINES_MEDIAN_TARGET: usize = 150;

/// Most lines of the function at the 99th percentile.
pub(super) const FUNCTION_LINES_P99_MAX: usize = 70;

/// Files that are clearer in one piece: path, most lines, reason.
const LONG_FILES: &[(&str, usize, &str)] = &[];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = check_files(sources, LONG_FILES);
    let lengths = production_functions(sources);
    if let Some(p99) = percentile(&lengths, 99)
        && p99 > FUNCTION_LINES_P99_MAX
    {
        let message = format!("the 99th percentile of functions is {p99} lines, at most {FUNCTION_LINES_P99_MAX}");
        findings.push(Finding::new("function size", "workspace", message));
    }
    findings
}

/// The lengths of all functions that are not test code, ascending.
pub(super) fn production_functions(sources: &[Source]) -> Vec<usize> {
    let functions = sources.iter().flat_map(|source| &source.functions);
    let mut lengths: Vec<usize> =
        functions.filter(|function| !function.is_test).map(|function| function.lines).collect();
    lengths.sort_unstable();
    lengths
}

/// The value below or at which `percent` of the ascending values lie (nearest rank); `None` for no values.
pub(super) fn percentile(ascending: &[usize], percent: usize) -> Option<usize> {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).copied()
}

fn check_files(sources: &[Source], exceptions: &[(&str, usize, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let exception = exceptions.iter().find(|(path, _, _)| *path == source.path);
        let limit = exception.map_or(FILE_LINES_MAX, |(_, limit, _)| *limit);
        if source.lines > limit {
            let message = format!("has {} lines, at most {limit}", source.lines);
            findings.push(Finding::new("file size", &source.path, message));
        }
    }
    for (path, _, _) in exceptions {
        let lines = sources.iter().find(|source| source.path == *path).map(|source| source.lines);
        if lines.is_none_or(|lines| lines <= FILE_LINES_MAX) {
            findings.push(Finding::new("file size", *path, "needs no exception any more: remove its row in sizes.rs"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Function;

    fn file(path: &str, lines: usize) -> Source {
        Source { path: path.to_owned(), lines, ..Source::default() }
    }

    fn functions(lengths: &[usize]) -> Source {
        let function = |lines: &usize| Function { name: "f".to_owned(), line: 1, lines: *lines, is_test: false };
        Source { functions: lengths.iter().map(function).collect(), ..Source::default() }
    }

    #[test]
    fn a_file_over_the_limit_is_a_finding() {
        assert_eq!(check(&[file("a.rs", FILE_LINES_MAX)]), []);
        assert_eq!(check(&[file("a.rs", FILE_LINES_MAX + 1)]).len(), 1);
    }

    #[test]
    fn an_exception_has_its_own_limit_and_must_be_needed() {
        let exceptions = [("a.rs", 700, "a table")];

        assert_eq!(check_files(&[file("a.rs", 650)], &exceptions), []);
        assert_eq!(check_files(&[file("a.rs", 701)], &exceptions).len(), 1);
        assert_eq!(check_files(&[file("a.rs", 600)], &exceptions).len(), 1);
        assert_eq!(check_files(&[], &exceptions).len(), 1);
    }

    #[test]
    fn one_long_function_in_a_hundred_is_allowed_and_two_are_not() {
        let mut lengths = vec![10; 99];
        lengths.push(200);
        assert_eq!(check(&[functions(&lengths)]), []);

        lengths[0] = 200;
        assert_eq!(check(&[functions(&lengths)]).len(), 1);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<usize> = (1..=100).collect();

        assert_eq!(percentile(&values, 50), Some(50));
        assert_eq!(percentile(&values, 99), Some(99));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
