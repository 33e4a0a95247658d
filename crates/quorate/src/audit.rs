//! `quorate audit verify` and `quorate audit show`: the audit log of a node, from its files.
//!
//! Both only read, and may run beside the node. What stands in a record came from strangers: controls in it are shown and
//! not sent to the terminal.

use std::fmt::Write as _;

use quorate_audit::{Beginning, Point, Report, Unverified};
use serde_json::{Map, Value};

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
    let counted = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("intact: {} in {}\n", counted(report.records, "record"), counted(report.segments, "file"));
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
    let kind_of = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["event"]["kind"].as_str()?.to_owned());
    let is_wanted = |line: &str| args.kinds.is_empty() || kind_of(line).is_some_and(|kind| args.kinds.contains(&kind));
    let lines = quorate_audit::last_lines(&args.folder, count, is_wanted)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot read {}: {error}", shown(&args.folder))))?;
    let mut text = String::new();
    for line in lines {
        let line = if args.json { line } else { for_people(&line) };
        text.push_str(&output::visible(&line).replace('\n', " "));
        text.push('\n');
    }
    output::print(&text)
}

/// Writes sequence, time, kind, and what else a record has as `key=value`.
fn for_people(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return format!("(no record) {line}") };
    let event = &record["event"];
    let head = [&record["sequence"], &record["time"], &event["kind"]].map(plain);
    let mut shown = format!("{:>8}  {}  {:<21}", head[0], head[1], head[2]);
    for (key, value) in event.as_object().into_iter().flatten().filter(|(key, _)| *key != "kind") {
        let value = match value {
            Value::Object(names) => named(names),
            Value::Array(counts) => counts.iter().map(counted).collect::<Vec<_>>().join(", "),
            other => plain(other),
        };
        let quote = if value.contains([' ', '"']) { "'" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(shown, " {key}={quote}{value}{quote}");
    }
    shown
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How many resources a change is about, and their names.
fn named(names: &Map<String, Value>) -> String {
    let listed: Vec<String> = names.get("names").and_then(Value::as_array).into_iter().flatten().map(plain).collect();
    let total = names.get("total").and_then(Value::as_u64).unwrap_or_default();
    let more = if total > listed.len() as u64 { ", …" } else { "" };
    format!("{total} ({}{more})", listed.join(", "))
}

/// How many events of what were not recorded, and why.
fn counted(count: &Value) -> String {
    let of = ["tenant", "reason"].into_iter().find_map(|key| count[key].as_str());
    let of = of.map(|of| format!(" {of}")).unwrap_or_default();
    format!("{} {}{of} ({})", plain(&count["count"]), plain(&count["class"]), plain(&count["cause"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(event: &str) -> String {
        for_people(&format!(r#"{{"sequence":7,"time":"T","node":"n","event":{event},"previous":"0","hash":"0"}}"#))
    }

    #[test]
    fn a_record_is_a_line_for_people() {
        let denied = r#"{"kind":"denied","tenant":"acme","resource":"Tool::\"a/b\"","reason":"no_permit"}"#;
        let expected = r#"       7  T  denied                tenant=acme resource='Tool::"a/b"' reason=no_permit"#;
        assert_eq!(shown(denied), expected);
        assert_eq!(for_people("nothing"), "(no record) nothing");
    }

    #[test]
    fn counts_and_names_are_words_and_no_json() {
        let counts = r#"{"kind":"suppressed","counts":[
            {"class":"denied","tenant":"acme","cause":"rate","count":3},{"class":"admin_change","cause":"queue","count":1}]}"#;
        let expected = "       7  T  suppressed            counts='3 denied acme (rate), 1 admin_change (queue)'";
        assert_eq!(shown(counts), expected);

        let change =
            r#"{"kind":"admin_change","by":"resource files","added":{"total":3,"names":["Toolset/a","Toolset/b"]}}"#;
        let expected = "       7  T  admin_change          by='resource files' added='3 (Toolset/a, Toolset/b, …)'";
        assert_eq!(shown(change), expected);
    }
}
