//! Changes of documents for people: one line for each document, and its fields where they are asked for.
//!
//! ```text
//! + ToolServer/files added
//! ~ Toolset/default changed
//!     /spec/naming: "bare" → "prefix"
//! - Policy/acme/old deleted
//! = Listener/data unchanged
//! ```
//!
//! Colours are for terminals and change no character of the text. Secrets come masked from the cluster.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;

use quorate_proto::admin::v1::{Change, Document, FieldChange, change::Action};
use quorate_types::TenantId;

use crate::answer::counted;
use crate::output;

/// A value of a field is cut to this many characters.
const VALUE_CHARS: usize = 120;
/// Fields of a document that are shown.
const FIELDS_MAX: usize = 100;

/// How changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// With what changed within each document.
    pub(super) has_fields: bool,
    pub(super) is_coloured: bool,
}

/// How many documents became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) added: usize,
    pub(super) changed: usize,
    pub(super) deleted: usize,
}

// === impl Style ===

impl Style {
    /// Colours where stdout is a terminal and nobody asked for none (<https://no-color.org>).
    pub(super) fn of_stdout(has_fields: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_fields, is_coloured: std::io::stdout().is_terminal() && !refused }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.is_coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn of(changes: &[Change]) -> Self {
        let count = |action: Action| changes.iter().filter(|change| change.action() == action).count();
        Self { added: count(Action::Add), changed: count(Action::Change), deleted: count(Action::Delete) }
    }

    /// `1 added, 2 changed`, or `nothing changed`.
    pub(super) fn words(self) -> String {
        let parts = [(self.added, "added"), (self.changed, "changed"), (self.deleted, "deleted")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") }
    }
}

/// Writes a line for each change, then one for each document of the set that is as it was.
pub(super) fn lines(changes: &[Change], set: &[Document], style: Style) -> String {
    let mut text = String::new();
    for change in changes {
        let name = called(&change.kind, &change.tenant, &change.name);
        let line = match change.action() {
            Action::Add => style.paint("32", &format!("+ {name} added")),
            Action::Change => style.paint("33", &format!("~ {name} changed")),
            Action::Delete => style.paint("31", &format!("- {name} deleted")),
            Action::Unspecified => format!("? {name}"),
        };
        text.push_str(&line);
        text.push('\n');
        if style.has_fields && change.action() == Action::Change {
            fields(&change.fields, style, &mut text);
        }
    }
    let changed: BTreeSet<(&str, &str, &str)> =
        changes.iter().map(|change| (&*change.kind, tenant(&change.tenant), &*change.name)).collect();
    let is_same = |document: &&Document| {
        !changed.contains(&(document.kind.as_str(), tenant(&document.tenant), document.name.as_str()))
    };
    for document in set.iter().filter(is_same) {
        let name = called(&document.kind, &document.tenant, &document.name);
        text.push_str(&format!("= {name} unchanged\n"));
    }
    text
}

fn fields(fields: &[FieldChange], style: Style, text: &mut String) {
    let value = |value: &Option<String>| value.as_ref().map(|value| shown(value));
    for field in fields.iter().take(FIELDS_MAX) {
        let path = output::visible(&field.path);
        let line = match (value(&field.before), value(&field.after)) {
            (None, Some(after)) => style.paint("32", &format!("    {path}: + {after}")),
            (Some(before), None) => style.paint("31", &format!("    {path}: - {before}")),
            (Some(before), Some(after)) => format!("    {path}: {before} → {after}"),
            (None, None) => format!("    {path}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if let Some(more) = fields.len().checked_sub(FIELDS_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("    and {}\n", counted(more, "further field")));
    }
}

fn shown(json: &str) -> String {
    output::first_line(&output::visible(json), VALUE_CHARS)
}

/// How a document is called: `KIND/NAME`, and `KIND/TENANT/NAME` for another tenant than the operator's own.
pub(super) fn called(kind: &str, of: &str, name: &str) -> String {
    let text = match tenant(of) {
        TenantId::DEFAULT => format!("{kind}/{name}"),
        tenant => format!("{kind}/{tenant}/{name}"),
    };
    output::visible(&text).into_owned()
}

fn tenant(tenant: &str) -> &str {
    if tenant.is_empty() { TenantId::DEFAULT } else { tenant }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action, kind: &str, tenant: &str, name: &str, fields: Vec<FieldChange>) -> Change {
        Change { action: action.into(), kind: kind.into(), tenant: tenant.into(), name: name.into(), fields }
    }

    fn field(path: &str, before: Option<&str>, after: Option<&str>) -> FieldChange {
        FieldChange { path: path.into(), before: before.map(str::to_owned), after: after.map(str::to_owned) }
    }

    #[test]
    fn each_document_has_a_line_and_each_changed_field_one_below() {
        let changes = [
            change(Action::Add, "ToolServer", "", "files", vec![]),
            change(
                Action::Change,
                "Toolset",
                "default",
                "default",
                vec![
                    field("/spec/naming", Some("\"bare\""), Some("\"prefix\"")),
                    field("/spec/a", None, Some("1")),
                    field("/spec/b", Some("2"), None),
                ],
            ),
            change(Action::Delete, "Policy", "acme", "old", vec![]),
        ];
        let document =
            |kind: &str, name: &str| Document { kind: kind.into(), name: name.into(), ..Document::default() };
        let set = [document("ToolServer", "files"), document("Toolset", "default"), document("Listener", "data")];

        let plain = lines(&changes, &set, Style { has_fields: true, is_coloured: false });

        let expected = "\
+ ToolServer/files added
~ Toolset/default changed
    /spec/naming: \"bare\" → \"prefix\"
    /spec/a: + 1
    /spec/b: - 2
- Policy/acme/old deleted
= Listener/data unchanged
";
        assert_eq!(plain, expected);
        assert_eq!(Counts::of(&changes).words(), "1 added, 1 changed, 1 deleted");
        assert_eq!(Counts::default().words(), "nothing changed");
    }

    #[test]
    fn colours_are_around_lines_and_change_no_text() {
        let changes = [change(Action::Add, "Policy", "", "a", vec![])];

        let coloured = lines(&changes, &[], Style { has_fields: false, is_coloured: true });

        assert_eq!(coloured, "\u{1b}[32m+ Policy/a added\u{1b}[0m\n");
    }

    #[test]
    fn values_are_cut_and_steer_nothing() {
        let long = format!("\"{}\u{1b}\"", "x".repeat(500));
        let changes = [change(Action::Change, "Policy", "", "a", vec![field("/spec", Some(&long), Some("1"))])];

        let text = lines(&changes, &[], Style { has_fields: true, is_coloured: false });

        assert!(text.lines().all(|line| line.chars().count() < 160), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
