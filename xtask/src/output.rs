//! The only place of xtask that prints.
//!
//! Standard output carries the story of a run (commands, results, tables) and is flushed line by line, so that it
//! stays in order with what the commands themselves print. Errors go to standard error. No colours and no cursor
//! movement: a log file reads like a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::Duration,
};

/// Rows of cells under a header, with columns as wide as their widest cell.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the header's number would not line up and are a mistake of the caller.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.header.len(), "a row has as many cells as the header");
        self.rows.push(cells.to_vec());
    }

    pub(crate) fn render(&self) -> String {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| all().map(|row| row[column].chars().count()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for (index, row) in all().enumerate() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
            if index == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                let _ = writeln!(text, "  {}", rules.join("  "));
            }
        }
        text
    }
}

/// Prints one line.
#[expect(clippy::print_stdout, reason = "xtask is a command-line program and this is where it speaks")]
pub(crate) fn line(text: &str) {
    println!("{text}");
    // A lost flush would be a lost terminal: there is nobody to tell.
    let _ = io::stdout().flush();
}

/// Prints a heading with a line of space before it.
pub(crate) fn heading(text: &str) {
    line(&format!("\n== {text}"));
}

/// Prints a table.
pub(crate) fn table(table: &Table) {
    line(table.render().trim_end());
}

/// Prints an error with its causes to standard error.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("\nerror: {error:#}");
}

/// A duration as people read it: `0.4 s`, `12.0 s`, `3 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["a", "name"]);
        table.row(["long".to_owned(), "b".to_owned()]);

        assert_eq!(table.render(), "  a     name\n  ----  ----\n  long  b\n");
    }

    #[test]
    fn durations_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(440)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }
}
