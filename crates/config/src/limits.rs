//! The limits of listeners and tool servers: one row each for key, default, range and reason.
//!
//! A row is the only place of a limit. From it come the field of the validated struct, its value
//! in `DEFAULTS`, its entry in the JSON schema and the check of a document, so none of them can
//! drift from another. Units are [`ByteSize`], [`Duration`] and plain counts.

use std::borrow::Cow;
use std::time::Duration;

use quorate_types::ByteSize;
use quorate_types::units::{format_duration, parse_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use crate::error::{Reason, shown};
use crate::node::Path;
use crate::report::Report;

/// One limit as documents and the schema see it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its key in a document.
    pub key: &'static str,
    /// What it limits and why the default is what it is.
    pub doc: &'static str,
    /// Its default and range.
    pub bounds: Bounds,
}

/// The default of a limit, and the smallest and largest value that a document may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// A number of bytes.
    Size {
        /// Without a value in the document.
        default: ByteSize,
        /// The smallest allowed.
        min: ByteSize,
        /// The largest allowed.
        max: ByteSize,
    },
    /// A span of time.
    Time {
        /// Without a value in the document.
        default: Duration,
        /// The shortest allowed.
        min: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A number of things.
    Count {
        /// Without a value in the document.
        default: u32,
        /// The smallest allowed.
        min: u32,
        /// The largest allowed.
        max: u32,
    },
}

/// A type of limit: how documents write it, and how it is read within its range.
pub(crate) trait Limit: Copy {
    /// The type of its value in a document.
    type Wire;

    /// Reads a value that lies within `min` and `max`, both included.
    fn read(wire: &Self::Wire, min: Self, max: Self) -> Result<Self, Reason>;
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn m(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

const fn h(count: u64) -> Duration {
    Duration::from_secs(3600 * count)
}

const fn kib(count: u64) -> ByteSize {
    ByteSize::kib(count)
}

const fn mib(count: u64) -> ByteSize {
    ByteSize::mib(count)
}

/// Declares a struct of limits with its `DEFAULTS`, its `ROWS`, and its form in documents.
macro_rules! limits {
    (
        $(#[doc = $about:literal])+
        $name:ident, $form:ident {
            $( $(#[doc = $doc:literal])+ $field:ident ($key:literal): $variant:ident($type:ty) = $default:expr, in $min:expr, $max:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        /// The same as a document gives it: what is absent has its default.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $form {
            $( #[serde(rename = $key)] pub(crate) $field: Option<<$type as Limit>::Wire>, )+
        }

        impl $name {
            /// The value of each limit that a document does not give.
            pub const DEFAULTS: Self = Self { $( $field: $default, )+ };

            /// Key, meaning, default and range of each limit.
            pub const ROWS: &'static [Row] = &[
                $( Row {
                    key: $key,
                    doc: concat!($($doc),+),
                    bounds: Bounds::$variant { default: $default, min: $min, max: $max },
                }, )+
            ];

            /// Takes over what a document gives; what is wrong is reported and has its default.
            pub(crate) fn compile(form: &$form, at: &Path, report: &mut Report<'_>) -> Self {
                let mut limits = Self::DEFAULTS;
                $( take(form.$field.as_ref(), &mut limits.$field, ($min, $max), &at.key($key), report); )+
                limits
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::DEFAULTS
            }
        }

        impl JsonSchema for $form {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema_of(concat!($($about),+), $name::ROWS)
            }
        }
    };
}

limits! {
    /// The limits of one listener.
    ListenerLimits, ListenerLimitsForm {
        /// The largest request body. MCP requests are arguments of tools: 4 MiB holds a document in base64.
        body ("body"): Size(ByteSize) = mib(4), in kib(1), mib(64);
        /// All headers of a request together; 32 KiB leaves room for large tokens.
        header ("header"): Size(ByteSize) = kib(32), in kib(8), kib(256);
        /// The deepest nesting of JSON in a request; real arguments stay below 20.
        json_depth ("jsonDepth"): Count(u32) = 64, in 8, 512;
        /// How long a connection may stay open without a request.
        idle ("idle"): Time(Duration) = s(120), in s(1), h(1);
        /// How long headers and body of one request may take to arrive; slow senders hold a connection.
        receive ("receive"): Time(Duration) = s(30), in s(1), m(10);
        /// How long a write to a client may make no progress before its connection is closed.
        stall ("stall"): Time(Duration) = s(30), in s(1), m(10);
        /// How long one request may take until its answer begins or, not being a stream, ends.
        total ("total"): Time(Duration) = m(10), in s(1), h(24);
        /// Concurrent requests and streams of one HTTP/2 connection.
        streams_per_connection ("streamsPerConnection"): Count(u32) = 128, in 1, 10_000;
        /// Open connections; more wait in the system's accept queue.
        connections ("connections"): Count(u32) = 10_000, in 1, 1_000_000;
        /// Requests in progress; more are answered with 503 and `Retry-After`. Open streams do not count.
        concurrency ("concurrency"): Count(u32) = 1024, in 1, 100_000;
    }
}

limits! {
    /// The limits towards one tool server.
    ToolServerLimits, ToolServerLimitsForm {
        /// Unused connections kept open to each replica; those in use are bounded by `concurrency`.
        connections ("connections"): Count(u32) = 256, in 1, 10_000;
        /// The largest answer that is read; results of tools carry images and files.
        answer ("answer"): Size(ByteSize) = mib(16), in kib(64), mib(64);
        /// The largest event that is read from a stream; an answer may be one event.
        event ("event"): Size(ByteSize) = mib(16), in kib(64), mib(64);
        /// How long connecting may take, TLS included.
        connect ("connect"): Time(Duration) = s(5), in ms(100), m(1);
        /// How long a server may take until its answer begins; slow tools answer at once as a stream.
        first_byte ("firstByte"): Time(Duration) = s(60), in ms(100), h(1);
        /// How long one call may take altogether.
        total ("total"): Time(Duration) = m(10), in s(1), h(24);
        /// Calls in progress; more are refused at once.
        concurrency ("concurrency"): Count(u32) = 256, in 1, 100_000;
        /// Tools, prompts, resources or templates of one list; a server with more of them is not listed.
        items ("items"): Count(u32) = 10_000, in 1, 100_000;
    }
}

limits! {
    /// The limits of a tool server's processes.
    StdioLimits, StdioLimitsForm {
        /// Processes at once, those that are ending included; a session needs one each unless they share it. A server on Node.js takes some 60 MB.
        children ("children"): Count(u32) = 64, in 1, 10_000;
        /// Processes that are started ahead, so that a session does not wait for a start; at most `children`.
        spares ("spares"): Count(u32) = 0, in 0, 10_000;
        /// Files that each process may have open.
        files ("files"): Count(u32) = 4096, in 16, 1_000_000;
        /// How long a process may take from its start to its answer to `initialize`; the first start may install a package.
        start ("start"): Time(Duration) = s(60), in s(1), m(10);
        /// Lines of standard error that are logged per second, after the first hundred.
        log_lines ("logLines"): Count(u32) = 10, in 1, 1000;
        /// Failures within `window` that are borne; one more, and no process is started for the time of a window.
        failures ("failures"): Count(u32) = 10, in 1, 1000;
        /// The time in which failures count, and of the rest after too many.
        window ("window"): Time(Duration) = m(1), in s(1), h(1);
        /// How long the first start after a failure waits; doubled with each further failure in the window.
        backoff ("backoff"): Time(Duration) = ms(100), in ms(10), m(1);
        /// The longest that a start waits.
        backoff_max ("backoffMax"): Time(Duration) = s(5), in ms(10), m(10);
    }
}

limits! {
    /// The limits towards one provider of models.
    ProviderLimits, ProviderLimitsForm {
        /// Unused connections that are kept open; those in use are bounded by `concurrency`.
        connections ("connections"): Count(u32) = 256, in 1, 10_000;
        /// The largest answer that is read whole: images and recordings come in Base64.
        answer ("answer"): Size(ByteSize) = mib(32), in kib(64), mib(256);
        /// The largest event that is read from a stream; an image is one.
        event ("event"): Size(ByteSize) = mib(16), in kib(64), mib(64);
        /// How long connecting may take, TLS included.
        connect ("connect"): Time(Duration) = s(5), in ms(100), m(1);
        /// How long a provider may take until the first token of a stream; models that reason take minutes. A whole answer has `total`, unless a stream was asked for.
        first_token ("firstToken"): Time(Duration) = m(2), in ms(100), h(1);
        /// How long a stream may be silent between two tokens.
        between_tokens ("betweenTokens"): Time(Duration) = m(1), in ms(100), h(1);
        /// How long one call may take altogether.
        total ("total"): Time(Duration) = m(10), in s(1), h(24);
        /// Calls in progress; more go to the next target, and are refused when there is none.
        concurrency ("concurrency"): Count(u32) = 1024, in 1, 100_000;
        /// How long a key rests that its provider has refused or limited without saying for how long.
        key_cooldown ("keyCooldown"): Time(Duration) = s(30), in s(1), h(1);
    }
}

limits! {
    /// How a target of a model is judged by its calls.
    BreakerConfig, BreakerForm {
        /// Failures in a row that take a target out.
        failures ("failures"): Count(u32) = 5, in 1, 1000;
        /// How long a target stays out the first time; doubled with each further time.
        eject_base ("ejectBase"): Time(Duration) = s(5), in ms(100), m(10);
        /// The longest that a target stays out.
        eject_max ("ejectMax"): Time(Duration) = m(5), in s(1), h(1);
    }
}

limits! {
    /// The limits of one model.
    ModelLimits, ModelLimitsForm {
        /// The largest request body; prompts carry images and documents in Base64.
        body ("body"): Size(ByteSize) = mib(32), in kib(1), mib(64);
        /// How often a call is tried again, at another target where there is one, before its client is told of a failure.
        retries ("retries"): Count(u32) = 2, in 0, 10;
        /// Retries that there may be for each hundred calls, after the first ten, so that a failure of all targets is not multiplied.
        retry_percent ("retryPercent"): Count(u32) = 20, in 0, 100;
        /// The longest that a call waits before it is tried again; what asks for more with `Retry-After` is told to the client.
        retry_delay_max ("retryDelayMax"): Time(Duration) = s(2), in ms(1), m(1);
    }
}

limits! {
    /// The answers of a model that are kept.
    CacheConfig, CacheForm {
        /// How long an answer is good.
        ttl ("ttl"): Time(Duration) = m(10), in s(1), h(24 * 30);
        /// The largest answer that is kept.
        answer ("answer"): Size(ByteSize) = mib(1), in kib(1), mib(16);
        /// All answers of the model that a node keeps; the one that was used longest ago goes first.
        total ("total"): Size(ByteSize) = mib(64), in mib(1), mib(16 << 10);
    }
}

limits! {
    /// How the health of a tool server's replicas is judged.
    HealthConfig, HealthForm {
        /// The time between two checks of a replica.
        interval ("interval"): Time(Duration) = s(10), in ms(500), m(10);
        /// How long a check may take; at most `interval`.
        timeout ("timeout"): Time(Duration) = s(3), in ms(100), m(1);
        /// Failures in a row, of checks or calls, that take a replica out.
        unhealthy_after ("unhealthyAfter"): Count(u32) = 3, in 1, 100;
        /// Good checks in a row that bring a replica back.
        healthy_after ("healthyAfter"): Count(u32) = 1, in 1, 100;
        /// How long a replica stays out the first time; doubled with each further time.
        eject_base ("ejectBase"): Time(Duration) = s(5), in ms(100), m(10);
        /// The longest that a replica stays out.
        eject_max ("ejectMax"): Time(Duration) = m(5), in s(1), h(1);
    }
}

// Defaults that belong together; documents are checked for the same relations in `compile`.
const _: () = {
    let health = HealthConfig::DEFAULTS;
    assert!(health.timeout.as_millis() <= health.interval.as_millis());
    assert!(health.eject_base.as_millis() <= health.eject_max.as_millis());
    let server = ToolServerLimits::DEFAULTS;
    assert!(server.connect.as_millis() <= server.first_byte.as_millis());
    assert!(server.first_byte.as_millis() <= server.total.as_millis());
    let stdio = StdioLimits::DEFAULTS;
    assert!(stdio.spares <= stdio.children);
    assert!(stdio.backoff.as_millis() <= stdio.backoff_max.as_millis());
    let provider = ProviderLimits::DEFAULTS;
    assert!(provider.connect.as_millis() <= provider.first_token.as_millis());
    assert!(provider.first_token.as_millis() <= provider.total.as_millis());
    assert!(provider.between_tokens.as_millis() <= provider.total.as_millis());
    let breaker = BreakerConfig::DEFAULTS;
    assert!(breaker.eject_base.as_millis() <= breaker.eject_max.as_millis());
    let listener = ListenerLimits::DEFAULTS;
    assert!(listener.receive.as_millis() <= listener.total.as_millis());
};

// === impl Row ===

impl Row {
    /// Returns the default as a document would write it.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.bounds {
            Bounds::Size { default, .. } => default.to_string(),
            Bounds::Time { default, .. } => format_duration(default),
            Bounds::Count { default, .. } => default.to_string(),
        }
    }

    /// Returns the smallest and the largest value as a document would write them.
    #[must_use]
    pub fn range_text(&self) -> (String, String) {
        match self.bounds {
            Bounds::Size { min, max, .. } => (min.to_string(), max.to_string()),
            Bounds::Time { min, max, .. } => (format_duration(min), format_duration(max)),
            Bounds::Count { min, max, .. } => (min.to_string(), max.to_string()),
        }
    }

    fn schema(&self) -> Value {
        let (min, max) = self.range_text();
        let description = format!("{} Default {}; from {min} to {max}.", self.doc.trim(), self.default_text());
        match self.bounds {
            Bounds::Count { default, min, max } => {
                json!({ "description": description, "type": "integer", "default": default, "minimum": min, "maximum": max })
            }
            Bounds::Size { .. } | Bounds::Time { .. } => {
                let (unit, pattern) = match self.bounds {
                    Bounds::Size { .. } => ("bytes", "^[0-9]+ ?(B|kB|MB|GB|KiB|MiB|GiB)$"),
                    Bounds::Time { .. } | Bounds::Count { .. } => ("time", "^[0-9]+ ?(ms|s|m|h|d)$"),
                };
                json!({
                    "description": description, "type": "string", "default": self.default_text(), "pattern": pattern,
                    "x-unit": unit, "x-minimum": min, "x-maximum": max,
                })
            }
        }
    }
}

// === impl Limit ===

impl Limit for ByteSize {
    type Wire = String;

    fn read(wire: &String, min: Self, max: Self) -> Result<Self, Reason> {
        let size = wire.parse().map_err(|error| invalid_unit(wire, &error))?;
        within(size, wire, min, max, Self::to_string)
    }
}

impl Limit for Duration {
    type Wire = String;

    fn read(wire: &String, min: Self, max: Self) -> Result<Self, Reason> {
        let duration = parse_duration(wire).map_err(|error| invalid_unit(wire, &error))?;
        within(duration, wire, min, max, |one| format_duration(*one))
    }
}

impl Limit for u32 {
    type Wire = Number;

    fn read(wire: &Number, min: Self, max: Self) -> Result<Self, Reason> {
        let out_of_range =
            || Reason::OutOfRange { value: wire.to_string(), min: min.to_string(), max: max.to_string() };
        let number = wire.as_u64().and_then(|number| Self::try_from(number).ok()).ok_or_else(out_of_range)?;
        within(number, &wire.to_string(), min, max, Self::to_string)
    }
}

fn within<T: PartialOrd>(value: T, given: &str, min: T, max: T, write: impl Fn(&T) -> String) -> Result<T, Reason> {
    if value < min || value > max {
        return Err(Reason::OutOfRange { value: given.to_owned(), min: write(&min), max: write(&max) });
    }
    Ok(value)
}

fn invalid_unit(text: &str, error: &quorate_types::units::InvalidUnit) -> Reason {
    Reason::Invalid { value: shown(text), message: error.to_string() }
}

fn take<T: Limit>(wire: Option<&T::Wire>, limit: &mut T, (min, max): (T, T), at: &Path, report: &mut Report<'_>) {
    let Some(wire) = wire else { return };
    match T::read(wire, min, max) {
        Ok(value) => *limit = value,
        Err(reason) => report.push(at, reason),
    }
}

/// Reads a limit that has no default.
pub(crate) fn optional<T: Limit>(
    wire: Option<&T::Wire>,
    (min, max): (T, T),
    at: &Path,
    report: &mut Report<'_>,
) -> Option<T> {
    report.accept(at, T::read(wire?, min, max))
}

fn schema_of(about: &str, rows: &[Row]) -> Schema {
    let properties: Map<String, Value> = rows.iter().map(|row| (row.key.to_owned(), row.schema())).collect();
    json_schema!({
        "description": about.trim(),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_in_its_range_and_says_why() {
        let servers = [ListenerLimits::ROWS, ToolServerLimits::ROWS, StdioLimits::ROWS, HealthConfig::ROWS].concat();
        let models = [ProviderLimits::ROWS, BreakerConfig::ROWS, ModelLimits::ROWS, CacheConfig::ROWS].concat();
        for row in [servers, models].concat() {
            let inside = match row.bounds {
                Bounds::Size { default, min, max } => min <= default && default <= max,
                Bounds::Time { default, min, max } => min <= default && default <= max,
                Bounds::Count { default, min, max } => min <= default && default <= max,
            };
            assert!(inside, "{}", row.key);
            assert!(row.doc.trim().ends_with('.'), "{}", row.key);
        }
    }

    #[test]
    fn a_value_outside_of_its_range_is_told_what_is_allowed() {
        let (min, max) = (kib(1), mib(64));
        assert_eq!(ByteSize::read(&"1KiB".to_owned(), min, max), Ok(kib(1)));
        assert_eq!(ByteSize::read(&"64MiB".to_owned(), min, max), Ok(mib(64)));
        let error = ByteSize::read(&"1GiB".to_owned(), min, max).expect_err("it is too large");
        assert_eq!(error.to_string(), "1GiB is out of range: allowed is 1KiB to 64MiB");
        let error = Duration::read(&"5 minutes".to_owned(), s(1), h(1)).expect_err("it is no unit");
        assert_eq!(
            error.to_string(),
            "\"5 minutes\" is not valid: \"5 minutes\" has no known unit: write one of ms, s, m, h, d"
        );
        for wire in ["-1", "0", "1.5", "18446744073709551615"] {
            let number: Number = serde_json::from_str(wire).expect("is a number");
            let error = u32::read(&number, 1, 10).expect_err("it is out of range");
            assert_eq!(error.to_string(), format!("{wire} is out of range: allowed is 1 to 10"));
        }
    }
}
