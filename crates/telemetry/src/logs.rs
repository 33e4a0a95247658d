//! Log lines, for people or for machines: one event, one line, nothing secret.
//!
//! Every value that a field has is written on one line: control characters are escaped (a log
//! line cannot be forged through a tool's name), long values are cut, and text fields whose name
//! says that they hold a secret are hidden. That is the second line of defence: code does not log
//! tokens, header values or payloads at all.
//!
//! ```text
//! 2026-11-23T19:30:00.123456Z  WARN quorate_runtime::backend: replica ejected server=files failures=3
//! {"timestamp":"…","level":"WARN","target":"quorate_runtime::backend","message":"…","fields":{"server":"files","failures":3}}
//! ```
//!
//! Lines are written to stderr at once and whole: a line that is lost in a buffer is the one that
//! would have explained the crash. Spans are not part of lines; the trace's id is a field.

use std::borrow::Cow;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::setup::LogFormat;

/// What is logged when nobody asks for something else: our own news, and others' complaints.
pub const FILTER_DEFAULT: &str =
    "info,h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,rustls=warn,tonic=warn,tower=warn";

/// The longest text of one field, in bytes; the rest is an ellipsis.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of the fields of most lines: one allocation for all of them.
const REST_BYTES_USUAL: usize = 512;
/// Why writing cannot fail.
const TO_A_STRING: &str = "writing to a string cannot fail";
/// What is written instead of a secret.
const HIDDEN: &str = "(hidden)";
/// A text field whose name contains one of these is hidden.
const SECRET_WORDS: [&str; 8] =
    ["authorization", "cookie", "credential", "password", "private_key", "secret", "token", "api_key"];

/// Makes the layer that writes lines of `format` to `writer`.
pub(crate) fn layer<S, W>(format: LogFormat, writer: W) -> impl Layer<S> + Send + Sync + use<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let colored = format == LogFormat::HumanColored;
    tracing_subscriber::fmt::layer().with_ansi(colored).event_format(Lines { format }).with_writer(writer)
}

/// Writes events as lines.
#[derive(Clone, Copy, Debug)]
struct Lines {
    format: LogFormat,
}

/// The message of an event and its other fields, the latter written already.
struct Fields {
    json: bool,
    message: String,
    rest: String,
    /// Where a value is shown that has no text of its own.
    shown: String,
}

// === impl Lines ===

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let json = self.format == LogFormat::Json;
        let rest = String::with_capacity(REST_BYTES_USUAL);
        let mut fields = Fields { json, message: String::new(), rest, shown: String::new() };
        event.record(&mut fields);
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let (level, target) = (metadata.level(), metadata.target());
        match self.format {
            LogFormat::Json => {
                write!(writer, r#"{{"timestamp":"{time}","level":"{level}","target":"#)?;
                let mut told = String::new();
                quote(target, &mut told);
                told.push_str(r#","message":"#);
                quote(&fields.message, &mut told);
                writer.write_str(&told)?;
                writeln!(writer, r#","fields":{{{}}}}}"#, fields.rest)
            }
            LogFormat::Human => writeln!(writer, "{time} {level:>5} {target}: {}{}", fields.message, fields.rest),
            LogFormat::HumanColored => {
                let color = color(*level);
                let (message, rest) = (&fields.message, &fields.rest);
                writeln!(
                    writer,
                    "\x1b[2m{time}\x1b[0m \x1b[{color}m{level:>5}\x1b[0m \x1b[2m{target}:\x1b[0m {message}{rest}"
                )
            }
        }
    }
}

// === impl Fields ===

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        let name = field.name();
        let text = if is_secret(name) { HIDDEN } else { text };
        let text = &*cut(text);
        if name == "message" {
            match self.json {
                true => self.message.push_str(text),
                false => escape(text, &mut self.message),
            }
            return;
        }
        self.name(name);
        if self.json || needs_quotes(text) {
            quote(text, &mut self.rest);
        } else {
            self.rest.push_str(text);
        }
    }

    /// Adds a field whose value is no text.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field.name());
        write!(self.rest, "{value}").expect(TO_A_STRING);
    }

    /// Writes the name of a field, and what stands between it and its value.
    fn name(&mut self, name: &str) {
        if !self.json {
            self.rest.push(' ');
            self.rest.push_str(name);
            self.rest.push('=');
            return;
        }
        if !self.rest.is_empty() {
            self.rest.push(',');
        }
        quote(name, &mut self.rest);
        self.rest.push(':');
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = std::mem::take(&mut self.shown);
        write!(text, "{value:?}").expect(TO_A_STRING);
        self.text(field, &text);
        text.clear();
        self.shown = text;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            // JSON has no such numbers.
            self.text(field, &value.to_string());
        }
    }

    /// Writes an error with its causes, which `Display` leaves out.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors repeat their source in their own text.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        self.text(field, &text);
    }
}

fn is_secret(name: &str) -> bool {
    let has = |word: &str| name.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    SECRET_WORDS.iter().any(|word| has(word))
}

pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Tells whether a human-readable value would be ambiguous without quotes.
fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\') || is_bidi(c))
}

/// Writes a text with what would break or forge a line escaped.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() || is_bidi(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

/// Writes a text in quotes as JSON does (RFC 8259 §7), with what would turn the line around escaped as well.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_bidi(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect(TO_A_STRING);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Separators and direction marks by which a text can look like another one (Unicode TR 36 §2.5).
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics with it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is written while `log` runs.
    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::registry().with(layer(format, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = memory.0.lock().expect("no test panics with it").clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the outside failed")]
    struct Outer(#[source] io::Error);

    fn noisy() {
        let error = Outer(io::Error::other("the inside failed"));
        tracing::warn!(
            server = "fi\nles",
            tool = %"two\r\nlines \u{202e}",
            count = 3_u64,
            ratio = f64::NAN,
            fine = true,
            error = &error as &dyn std::error::Error,
            level = "a field may be named like a key",
            long = %"x".repeat(TEXT_BYTES_MAX * 2),
            "first\nline of {}", "two"
        );
    }

    #[test]
    fn a_json_line_is_one_object_whatever_its_fields_hold() {
        let text = written(LogFormat::Json, || {
            noisy();
            noisy();
        });

        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        assert_eq!(lines.len(), 2);
        let line = &lines[0];
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "first\nline of two");
        assert_eq!(line["target"], module_path!());
        let fields = &line["fields"];
        assert_eq!(
            (&fields["server"], &fields["count"], &fields["fine"]),
            (&"fi\nles".into(), &3.into(), &true.into())
        );
        assert_eq!(fields["ratio"], "NaN");
        assert_eq!(fields["error"], "the outside failed: the inside failed");
        assert_eq!(fields["tool"], "two\r\nlines \u{202e}");
        assert_eq!(fields["long"].as_str().map(str::len), Some(TEXT_BYTES_MAX + '…'.len_utf8()));
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }

    #[test]
    fn a_line_for_people_is_one_line_without_control_characters() {
        let text = written(LogFormat::Human, noisy);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line = text.trim_end_matches('\n');
        assert!(!line.contains(|c: char| c.is_control() || is_bidi(c)), "{line:?}");
        assert!(
            line.contains(r#" WARN quorate_telemetry::logs::tests: first\nline of two server="fi\nles""#),
            "{line}"
        );
        assert!(line.contains(" count=3 ratio=NaN fine=true "), "{line}");

        let colored = written(LogFormat::HumanColored, noisy);
        assert!(colored.contains("\x1b[33m WARN\x1b[0m"), "{colored}");
        assert_eq!(colored.lines().count(), 1);
    }

    #[test]
    fn what_is_named_like_a_secret_is_hidden_in_every_format() {
        for format in [LogFormat::Human, LogFormat::HumanColored, LogFormat::Json] {
            let text = written(format, || {
                tracing::info!(authorization = "Bearer s3cret", user_password = %"s3cret", "x");
                tracing::info!(access_token = ?Some("s3cret"), set_cookie = "s3cret", api_key = "s3cret", "x");
                tracing::info!(tokens = 12_u64, "x");
            });
            assert!(!text.contains("s3cret"), "{text}");
            assert_eq!(text.matches(HIDDEN).count(), 5, "{text}");
            assert!(text.contains("12"), "numbers are no secrets: {text}");
        }
    }
}
