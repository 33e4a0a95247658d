//! Answers in columns that fit a terminal.
//!
//! Rows of texts come in, lines of at most [`WIDTH`] characters go out: where columns are too wide together, the widest
//! ones are cut, and say so with `…`. Texts of nodes cannot steer the terminal.

use crate::output;

/// The widest line: what fits beside another window, and into a ticket.
pub(crate) const WIDTH: usize = 100;
/// No column is cut below this.
const COLUMN_MIN: usize = 8;
const GAP: &str = "  ";

/// A table that is being filled.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    /// Begins a table with its titles.
    pub(crate) fn new<const N: usize>(titles: [&str; N]) -> Self {
        Self { rows: vec![titles.map(str::to_owned).into()] }
    }

    /// Adds a row; it has as many cells as there are titles.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a cell per title");
        self.rows.push(cells.map(|cell| output::visible(&cell).replace(['\n', '\t'], " ")).into());
    }

    /// Tells whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Writes the lines.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{:<width$}", output::first_line(cell, width)))
                .collect();
            text.push_str(cells.join(GAP).trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows[0].len();
        let natural = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
        let mut widths: Vec<usize> = (0..columns).map(natural).collect();
        let gaps = GAP.len() * columns.saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(WIDTH);
        while excess > 0 {
            let Some(widest) = widths.iter_mut().max().filter(|width| **width > COLUMN_MIN) else { break };
            *widest -= 1;
            excess -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "LONG"]);
        table.row(["one".into(), "x".into()]);
        table.row(["two two".into(), String::new()]);

        assert_eq!(table.render(), "A        LONG\none      x\ntwo two\n");
    }

    #[test]
    fn what_is_too_wide_is_cut_where_it_is_widest() {
        let mut table = Table::new(["ID", "MESSAGE", "WHY"]);
        table.row(["1".into(), "m".repeat(90), "y".repeat(40)]);

        let text = table.render();

        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(&"y".repeat(30)), "the narrower one keeps more: {text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn a_cell_is_one_line_and_steers_nothing() {
        let mut table = Table::new(["A"]);
        table.row(["x\ny\u{1b}[2J".into()]);

        assert_eq!(table.render(), "A\nx y\\u{1b}[2J\n");
    }
}
