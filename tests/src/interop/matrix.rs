//! What came of each feature, and when a red cell is acceptable.
//!
//! A cell is one feature of one client with one server: tried through the gateway, and directly where the two can
//! meet without it. A red cell needs an entry in `known.json` with a reference to the upstream fault; a red cell
//! without one and an entry whose cell is green are both failures of the test, so that the list is never stale.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{Client, FEATURES};

/// Lines of a driver that ended early that are shown.
const LAST_WORDS_LINES: usize = 5;

/// How client and server met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Without the gateway.
    Direct,
    /// Through the gateway.
    Through,
}

/// What a driver printed of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// The feature's key.
    pub feature: String,
    /// Whether it works.
    pub ok: bool,
    /// Why not.
    pub detail: String,
}

/// Where a cell is: server, client, feature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The server's name.
    pub server: &'static str,
    /// The client.
    pub client: Client,
    /// The feature's key.
    pub feature: &'static str,
}

/// An upstream fault that makes a cell red.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The server's name.
    pub server: String,
    /// The client: library and mode, such as `python-v2 legacy`.
    pub client: String,
    /// The feature's key.
    pub feature: String,
    /// Where the fault is reported.
    pub reference: String,
    /// What it is.
    pub note: String,
}

/// What a cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Works, through the gateway and directly as far as that was tried.
    Green,
    /// Fails.
    Red,
    /// Was not tried: the server does not offer it, or the client cannot ask.
    Empty,
}

/// All cells.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    outcomes: BTreeMap<(Cell, Way), Outcome>,
}

// === impl Matrix ===

impl Matrix {
    /// Takes what a driver printed for the features that it was asked for. A feature without a line is red.
    pub fn add(&mut self, server: &'static str, client: Client, way: Way, asked: &[&'static str], lines: &[String]) {
        let parsed = lines.iter().map(|line| serde_json::from_str::<Outcome>(line).map_err(|_| line.as_str()));
        let (outcomes, others): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        // The two output streams of a driver are read side by side: its last words are those that are no outcome.
        let others: Vec<_> = others.into_iter().filter_map(Result::err).collect();
        let last_words = others[others.len().saturating_sub(LAST_WORDS_LINES)..].join(" | ");
        for feature in asked {
            let printed = outcomes.iter().find(|outcome| outcome.feature == *feature).cloned();
            let outcome = printed.unwrap_or_else(|| Outcome {
                feature: (*feature).to_owned(),
                ok: false,
                detail: format!("the driver did not get to it: {last_words}"),
            });
            self.outcomes.insert((Cell { server, client, feature }, way), outcome);
        }
    }

    /// What a cell shows.
    #[must_use]
    pub fn verdict(&self, cell: &Cell) -> Verdict {
        let ways = [Way::Direct, Way::Through].map(|way| self.outcomes.get(&(cell.clone(), way)));
        match ways {
            [_, None] => Verdict::Empty,
            ways if ways.into_iter().flatten().all(|outcome| outcome.ok) => Verdict::Green,
            _ => Verdict::Red,
        }
    }

    /// How many features were tried, counting each way.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.outcomes.len()
    }

    /// Every failure as a line for a reader.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let failed = self.outcomes.iter().filter(|(_, outcome)| !outcome.ok);
        failed.map(|((cell, way), outcome)| format!("{way:?} {}: {}", name(cell), outcome.detail)).collect()
    }

    /// What is wrong with the red cells: those without a reference, and references without a red cell.
    #[must_use]
    pub fn unexplained(&self, known: &[Known]) -> Vec<String> {
        let cells = self.outcomes.keys().map(|(cell, _)| cell);
        let red: Vec<_> = cells.filter(|cell| self.verdict(cell) == Verdict::Red).collect();
        let missing = red.iter().filter(|cell| !known.iter().any(|known| known.explains(cell)));
        let stale = known.iter().filter(|known| !red.iter().any(|cell| known.explains(cell)));
        let mut wrong: Vec<_> = missing.map(|cell| format!("no upstream reference: {}", name(cell))).collect();
        wrong.dedup();
        wrong.extend(
            stale.map(|known| format!("not red any more: {} / {} / {}", known.server, known.client, known.feature)),
        );
        wrong
    }
}

// === impl Known ===

impl Known {
    /// Reads the list of known faults.
    ///
    /// # Errors
    ///
    /// It is not a list of them, or an entry names no feature or has no link.
    pub fn parse(text: &str) -> anyhow::Result<Vec<Self>> {
        let known: Vec<Self> = serde_json::from_str(text).context("known.json is a list of faults")?;
        for entry in &known {
            let feature = FEATURES.iter().any(|feature| feature.key == entry.feature);
            ensure!(feature, "unknown feature {}", entry.feature);
            ensure!(entry.reference.starts_with("https://"), "{} is no link", entry.reference);
        }
        Ok(known)
    }

    /// Whether it is about this cell.
    #[must_use]
    pub fn explains(&self, cell: &Cell) -> bool {
        self.server == cell.server && self.client == client_name(cell.client) && self.feature == cell.feature
    }
}

/// The name of a client in `known.json` and in messages.
fn client_name(client: Client) -> String {
    format!("{} {}", client.library.name(), client.mode.name())
}

fn name(cell: &Cell) -> String {
    format!("{} / {} / {}", cell.server, client_name(cell.client), cell.feature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::{Library, Mode};

    const CLIENT: Client = Client { library: Library::PythonV2, mode: Mode::Legacy };

    fn cell(feature: &'static str) -> Cell {
        Cell { server: "s", client: CLIENT, feature }
    }

    fn line(feature: &str, ok: bool) -> String {
        serde_json::json!({ "feature": feature, "ok": ok, "detail": "why" }).to_string()
    }

    #[test]
    fn a_cell_is_green_when_every_way_that_was_tried_works() {
        let mut matrix = Matrix::default();
        matrix.add("s", CLIENT, Way::Direct, &["call"], &[line("call", true)]);
        assert_eq!(matrix.verdict(&cell("call")), Verdict::Empty, "direct alone proves nothing of the gateway");

        matrix.add("s", CLIENT, Way::Through, &["call"], &[line("call", true)]);
        assert_eq!(matrix.verdict(&cell("call")), Verdict::Green);
        assert_eq!(matrix.verdict(&cell("tools")), Verdict::Empty);

        matrix.add("s", CLIENT, Way::Direct, &["call"], &[line("call", false)]);
        assert_eq!(matrix.verdict(&cell("call")), Verdict::Red);
    }

    #[test]
    fn a_feature_that_the_driver_did_not_get_to_is_red() {
        let mut matrix = Matrix::default();

        matrix.add("s", CLIENT, Way::Through, &["call", "tools"], &[line("call", true), "Traceback".to_owned()]);

        assert_eq!(matrix.verdict(&cell("tools")), Verdict::Red);
        assert!(matrix.failures()[0].contains("Traceback"));
    }

    #[test]
    fn a_red_cell_needs_a_reference_and_a_reference_a_red_cell() {
        let known =
            r#"[{"server":"s","client":"python-v2 legacy","feature":"call","reference":"https://x","note":"n"}]"#;
        let known = Known::parse(known).expect("it is a list");
        let mut matrix = Matrix::default();
        matrix.add("s", CLIENT, Way::Through, &["call"], &[line("call", false)]);

        assert_eq!(matrix.unexplained(&known), [""; 0]);
        assert_eq!(matrix.unexplained(&[]), ["no upstream reference: s / python-v2 legacy / call"]);

        matrix.add("s", CLIENT, Way::Through, &["call"], &[line("call", true)]);
        assert_eq!(matrix.unexplained(&known), ["not red any more: s / python-v2 legacy / call"]);
    }
}
