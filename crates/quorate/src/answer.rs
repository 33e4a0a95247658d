//! How answers of a cluster are written: in columns, as JSON or as YAML.
//!
//! JSON and YAML are the same tree (`quorate_client::json`), whose names are stable; columns are for people and may change.
//! Also the small texts that all tables share: ages, durations, and how a node is called.

use std::time::Duration;

use quorate_client::{Method, json};
use quorate_types::{Timestamp, rfc3339};
use serde_json::Value;

use crate::cli::cluster::Output;
use crate::exit::{Exit, Failure};
use crate::output;

/// Prints an answer; `table` writes it for people.
///
/// # Errors
/// [`Failure`] when stdout cannot be written.
pub(crate) fn print<M: Method>(
    output: Output,
    answer: &M::Answer,
    table: impl FnOnce(&M::Answer) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table => output::print(&table(answer)),
        Output::Json | Output::Yaml => print_value(output, &json::of(M::ANSWER, answer)),
    }
}

/// Prints a tree as JSON, or as YAML.
///
/// # Errors
/// [`Failure`] when stdout cannot be written.
pub(crate) fn print_value(output: Output, value: &Value) -> Result<(), Failure> {
    match output {
        Output::Yaml => output::print(&yaml(value)?),
        Output::Json | Output::Table => {
            output::print(&serde_json::to_string_pretty(value).expect("a tree of JSON is JSON"))
        }
    }
}

/// Writes a tree as a YAML document that is read as the same tree.
///
/// # Errors
/// [`Failure`] when the writer refuses it.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    // Only line breaks make blocks: long texts are not folded, so that no reader's rules of folding matter.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot write it as YAML: {error}")))
}

/// A time of an answer; none when there is none.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.map(|time| json::timestamp(time.seconds, time.nanos))
}

/// A time for a table.
pub(crate) fn shown_time(time: Option<&prost_types::Timestamp>) -> String {
    self::time(time).map_or_else(
        || "-".to_owned(),
        |time| rfc3339::format(Timestamp::from_millis(time.as_millis() / 1_000 * 1_000)),
    )
}

/// A span for people: its largest unit, one decimal below ten seconds.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", span.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How a node is called: `2 (ber-2)`.
pub(crate) fn node(number: u64, name: &str) -> String {
    if name.is_empty() { number.to_string() } else { format!("{number} ({name})") }
}

/// `1 node`, `2 nodes`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A span as the API has it.
pub(crate) fn to_proto(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).expect("it is below a billion"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_read_as_the_tree_that_it_was() {
        let trees = [
            json!({"kind": "Policy", "name": "a", "spec": {"rules": "permit (\n  principal,\n  action\n);\n", "n": 1}}),
            json!({"spec": {"text": "inline:a.yaml\nopenapi: 3.1.0\n\n\n", "empty": [], "none": {}, "nothing": null}}),
            json!({"yes": "yes", "no": "null", "number": "1.0", "date": "2027-01-31", "colon": "a: b", "hash": "a #b"}),
            json!({"long": "word ".repeat(60), "trailing": "x \n y ", "tab": "a\tb", "quote": "'\"", "dash": "- a"}),
            json!([{"a": [[1, 2], []]}, true, 1.5, -3, "", " ", "ä\u{1}"]),
        ];
        for tree in trees {
            let text = yaml(&tree).unwrap();
            let read: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(read, tree, "{text}");
        }
    }

    #[test]
    fn a_long_text_stays_on_its_line_and_a_text_of_lines_is_a_block() {
        let text = yaml(&json!({"a": "x ".repeat(100).trim(), "b": "one\ntwo\n"})).unwrap();

        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("b: |\n  one\n  two\n"), "{text}");
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let cases =
            [(400, "0.4 s"), (15_000, "15 s"), (600_000, "10 min"), (7_200_000, "2 h"), (259_200_000, "3 days")];
        for (ms, expected) in cases {
            assert_eq!(span(Duration::from_millis(ms)), expected);
        }
    }
}
