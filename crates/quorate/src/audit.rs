//! `quorate audit verify` and `quorate audit show`: the audit log of a node, from its files.
//!
//! Both only read, and may run beside the node. What stands in a record came from strangers: controls in it are shown and
//! not sent to the terminal.

use std::fmt::Write as _;

use quorate_audit::{Beginning, Point, Report, Unverified};
use serde_json::Value;

use crate::cli::audit::{AuditCommand, ShowArgs, VerifyArgs};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::run::shown;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when the log cannot be read, or does not verify.
pub(crate) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Show(args) => show(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let report = quorate_audit::verify(&args.folder, args.from).map_err(|error| match error {
        Unverified::Broken(broken) => Failure::new(Exit::Broken, format!("the audit log is broken at {broken}"))
            .advise(
                "keep the files as evidence; what is before this place is unchanged, what is after may be anything",
            ),
        Unverified::NotThere { .. } => Failure::new(Exit::Broken, error.to_string()),
        Unverified::Io { path, source } => {
            Failure::new(Exit::Failure, format!("cannot read {}: {source}", shown(&path)))
        }
    })?;
    let (Some(first), Some(last)) = (&report.first, &report.last) else {
        // The first thing that a node does with a log is to write a record.
        return Err(Failure::new(Exit::Failure, format!("there is no audit log in {}", shown(&args.folder))));
    };
    output::print(&summary(&report, first, last))
}

fn summary(report: &Report, first: &Point, last: &Point) -> String {
    let mut text = format!("intact: {} records in {} files\n", report.records, report.segments);
    let beginning = match report.beginning {
        Some(Beginning::Deleted) => ", after others that were deleted for space",
        Some(Beginning::Chain) | None => "",
    };
    for (name, point, more) in [("first", first, beginning), ("last", last, "")] {
        let line = format!("  {name:<6} {:>8}  {}  {}{more}\n", point.sequence, point.time, point.hash);
        text.push_str(&line);
    }
    for (kind, count) in &report.kinds {
        text.push_str(&format!("  {count:>15}  {kind}\n"));
    }
    if report.unfinished_bytes > 0 {
        let bytes = report.unfinished_bytes;
        text.push_str(&format!("  {bytes} bytes after the last record are being written, or were cut by a crash\n"));
    }
    output::visible(&text).into_owned()
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let count = usize::try_from(args.last).unwrap_or(usize::MAX);
    let lines = quorate_audit::last_lines(&args.folder, count)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot read {}: {error}", shown(&args.folder))))?;
    let mut text = String::new();
    for line in lines {
        let line = if args.json { line } else { for_people(&line) };
        text.push_str(&output::visible(&line).replace('\n', " "));
        text.push('\n');
    }
    output::print(&text)
}

/// Writes the time, the kind, and what else a record has as `key=value`.
fn for_people(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return format!("(no record) {line}") };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let event = &record["event"];
    let mut shown = format!("{}  {:<21}", text(&record["time"]), text(&event["kind"]));
    for (key, value) in event.as_object().into_iter().flatten().filter(|(key, _)| *key != "kind") {
        let value = text(value);
        let quote = if value.contains([' ', '"']) && !value.starts_with(['{', '[']) { "'" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(shown, " {key}={quote}{value}{quote}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_for_people() {
        let line = r#"{"sequence":7,"time":"T","node":"n","event":{"kind":"denied","tenant":"acme","resource":"tool a","counts":[{"count":1}]},"previous":"0","hash":"0"}"#;
        assert_eq!(for_people(line), r#"T  denied                tenant=acme resource='tool a' counts=[{"count":1}]"#);
        assert_eq!(for_people("nothing"), "(no record) nothing");
    }
}
