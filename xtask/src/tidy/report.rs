//! The numbers of the house, as one table, and the longest functions and files by name.
//!
//! Each row says what was measured, its target and its value. A row beyond a target that is no rule is marked and
//! fails nothing: these are numbers to steer by.

use super::{
    sizes::{self, FILE_LINES_MAX, FILE_LINES_MEDIAN_TARGET, FUNCTION_LINES_P99_MAX},
    source::{self, Function, Source},
};
use crate::output::{self, Table};

/// How many of the longest are named.
const LONGEST_SHOWN: usize = 8;

pub(super) fn print(sources: &[Source]) {
    output::heading("the numbers of the house");
    output::table(&numbers(sources));

    let mut functions: Vec<(&Source, &Function)> =
        sources.iter().flat_map(|source| source.functions.iter().map(move |function| (source, function))).collect();
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.lines));
    let mut longest = Table::new(["longest functions", "lines", "of"]);
    for (source, function) in functions.into_iter().take(LONGEST_SHOWN) {
        let kind = if function.is_test { "tests" } else { "production" };
        longest.row([
            format!("{}:{} {}", source.path, function.line, function.name),
            function.lines.to_string(),
            kind.to_owned(),
        ]);
    }
    output::line("");
    output::table(&longest);

    let mut files: Vec<&Source> = sources.iter().collect();
    files.sort_by_key(|source| std::cmp::Reverse(source.lines));
    let mut longest = Table::new(["longest files", "lines"]);
    for source in files.into_iter().take(LONGEST_SHOWN) {
        longest.row([source.path.clone(), source.lines.to_string()]);
    }
    output::line("");
    output::table(&longest);
}

fn numbers(sources: &[Source]) -> Table {
    let production: Vec<&Source> = sources.iter().filter(|source| !source.is_test).collect();
    let mut lines: Vec<usize> = production.iter().map(|source| source.lines).collect();
    lines.sort_unstable();
    let functions = sizes::production_functions(sources);
    let over = functions.iter().filter(|lines| **lines > FUNCTION_LINES_P99_MAX).count();
    let with_header = sources.iter().filter(|source| source.header_lines > 0).count();
    let short_header = sources.iter().filter(|source| source.header_prose_lines <= source::HEADER_LINES_TARGET).count();
    let items: usize = production.iter().map(|source| source.public_items).sum();
    let undocumented: usize = production.iter().map(|source| source.undocumented.len()).sum();

    let mut table = Table::new(["what", "target", "value", ""]);
    let mut row = |what: &str, target: String, value: String, holds: bool| {
        let mark = if holds { "" } else { "over target" };
        table.row([what.to_owned(), target, value, mark.to_owned()]);
    };
    row("Rust files (production)", "-".to_owned(), format!("{} ({})", sources.len(), production.len()), true);
    row("lines (production files)", "-".to_owned(), lines.iter().sum::<usize>().to_string(), true);
    at_most(&mut row, "production file, median lines", FILE_LINES_MEDIAN_TARGET, sizes::percentile(&lines, 50));
    at_most(&mut row, "any file, most lines", FILE_LINES_MAX, sources.iter().map(|source| source.lines).max());
    row("production functions", "-".to_owned(), functions.len().to_string(), true);
    at_most(&mut row, "function, median lines", FUNCTION_LINES_P99_MAX, sizes::percentile(&functions, 50));
    at_most(&mut row, "function, p99 lines", FUNCTION_LINES_P99_MAX, sizes::percentile(&functions, 99));
    row(&format!("functions over {FUNCTION_LINES_P99_MAX} lines"), "few".to_owned(), over.to_string(), true);
    share(&mut row, "public items documented", items - undocumented, items);
    share(&mut row, "files opening with a header", with_header, sources.len());
    let most = format!("headers of at most {} lines of prose", source::HEADER_LINES_TARGET);
    share(&mut row, &most, short_header, sources.len());
    table
}

fn at_most(row: &mut impl FnMut(&str, String, String, bool), what: &str, target: usize, value: Option<usize>) {
    let shown = value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    row(what, format!("≤ {target}"), shown, value.is_none_or(|value| value <= target));
}

fn share(row: &mut impl FnMut(&str, String, String, bool), what: &str, part: usize, whole: usize) {
    row(what, "all".to_owned(), format!("{part} of {whole}"), part == whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_over_its_target_is_marked() {
        let file = Source { path: "a.rs".to_owned(), lines: 700, header_lines: 4, ..Source::default() };

        let text = numbers(&[file]).render();

        let marked: Vec<&str> = text.lines().filter(|line| line.ends_with("over target")).collect();
        assert_eq!(marked.len(), 2, "{text}");
        assert!(marked[0].contains("median") && marked[1].contains("most lines"), "{text}");
    }

    #[test]
    fn an_empty_tree_has_a_report() {
        assert!(numbers(&[]).render().contains("0 of 0"));
    }
}
