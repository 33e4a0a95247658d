//! W3C trace context: where a request stands in a trace that began elsewhere.
//!
//! Reads and writes `traceparent` and `tracestate`, as HTTP headers and as the texts that MCP
//! carries in `_meta` (SEP-414). Parsing is strict (W3C Trace Context level 1 §3.2): a context
//! that is not valid is as good as none. The hot path of an unsampled request is here, so it is
//! parsed and written by hand, without allocation but for a `tracestate`.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{self as otel, SpanContext, SpanId, TraceFlags, TraceState};

/// The header and `_meta` key of the trace parent.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header and `_meta` key of the vendors' state.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a version 00 `traceparent`.
pub const TRACEPARENT_BYTES: usize = 55;
/// The longest `tracestate` that is passed on: the least that §3.3.1.5 asks for; a longer one is
/// dropped, as it allows.
pub const TRACESTATE_BYTES_MAX: usize = 512;

const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

/// The id of a trace; displayed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A `traceparent` as text, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; TRACEPARENT_BYTES]);

// === impl TraceContext ===

impl TraceContext {
    pub(crate) fn new(trace: u128, span: u64, sampled: bool) -> Self {
        Self { trace, span, flags: u8::from(sampled) * SAMPLED, state: None }
    }

    /// Parses the two texts; `None` when `traceparent` is not valid. A `tracestate` that is too
    /// long or has characters that no header may have is dropped.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let (trace, span, flags) = parse_traceparent(traceparent.as_bytes())?;
        let state = tracestate.map(str::trim).filter(|text| is_tracestate(text)).map(Arc::from);
        Some(Self { trace, span, flags, state })
    }

    /// Reads the context of a request's headers; `None` without a valid one.
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let state = joined_state(headers);
        Self::parse(parent.to_str().ok()?, state.as_deref())
    }

    /// Writes this context into the headers of an outgoing request, over what is there.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent().header());
        match self.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            Some(state) => headers.insert(TRACESTATE, state),
            None => headers.remove(TRACESTATE),
        };
    }

    /// Returns the `traceparent` of this context.
    #[must_use]
    pub fn traceparent(&self) -> Traceparent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace);
        write_hex(&mut text[36..52], u128::from(self.span));
        write_hex(&mut text[53..55], u128::from(self.flags));
        Traceparent(text)
    }

    /// Returns the `tracestate` of this context.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Tells whether whoever made this context records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the trace's id, which log lines have as their field `trace`.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }

    pub(crate) fn to_otel(&self) -> SpanContext {
        let state = self.state.as_deref().and_then(|text| text.parse::<TraceState>().ok()).unwrap_or_default();
        let (trace, span) = (otel::TraceId::from(self.trace), SpanId::from(self.span));
        SpanContext::new(trace, span, TraceFlags::new(self.flags), true, state)
    }

    pub(crate) fn of_otel(context: &SpanContext, state: Option<Arc<str>>) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            flags: context.trace_flags().to_u8(),
            state,
        }
    }

    pub(crate) fn shared_state(&self) -> Option<Arc<str>> {
        self.state.clone()
    }
}

// === impl TraceId ===

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

// === impl Traceparent ===

impl Traceparent {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a traceparent is hexadecimal digits and dashes")
    }

    fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("a traceparent is visible ASCII")
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns trace id, span id and flags (§3.2.2), `None` when the text is not valid.
fn parse_traceparent(text: &[u8]) -> Option<(u128, u64, u8)> {
    let version = hex(text.get(0..2)?)?;
    let complete = match version {
        0 => text.len() == TRACEPARENT_BYTES,
        0xff => false,
        // A later version may append fields after a dash (§3.2.4).
        _ => text.len() == TRACEPARENT_BYTES || text.get(TRACEPARENT_BYTES) == Some(&b'-'),
    };
    if !complete || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return None;
    }
    let trace = hex(&text[3..35])?;
    let span = u64::try_from(hex(&text[36..52])?).ok()?;
    let flags = u8::try_from(hex(&text[53..55])?).ok()?;
    // Flags that this version does not define are not passed on (§3.2.2.5).
    (trace != 0 && span != 0).then_some((trace, span, flags & SAMPLED))
}

/// Reads lower-case hexadecimal digits; upper case is not valid (§3.2.2).
fn hex(digits: &[u8]) -> Option<u128> {
    let mut value = 0_u128;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(nibble);
    }
    Some(value)
}

fn write_hex(digits: &mut [u8], mut value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// Several `tracestate` headers are one list (§3.3.1.1).
fn joined_state(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let mut joined = values.next()?.to_str().ok()?.to_owned();
    for value in values {
        joined.push(',');
        joined.push_str(value.to_str().ok()?);
    }
    Some(joined)
}

fn is_tracestate(text: &str) -> bool {
    !text.is_empty() && text.len() <= TRACESTATE_BYTES_MAX && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_context_goes_through_unchanged() {
        let context = TraceContext::parse(PARENT, Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")).expect("is valid");
        assert!(context.is_sampled());
        assert_eq!(context.traceparent().as_str(), PARENT);
        assert_eq!(context.tracestate(), Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");

        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("somebody=else"));
        context.inject(&mut headers);
        assert_eq!(TraceContext::extract(&headers), Some(context));

        let bare = TraceContext::parse(PARENT, None).expect("is valid");
        bare.inject(&mut headers);
        assert!(!headers.contains_key(TRACESTATE), "a state belongs to its parent");
    }

    #[test]
    fn what_is_not_a_valid_parent_is_none() {
        let check = |text: &str, valid: bool| assert_eq!(TraceContext::parse(text, None).is_some(), valid, "{text}");

        check(PARENT, true);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", true);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false);
        check("00", false);
        check("", false);
    }

    #[test]
    fn flags_that_are_not_defined_are_not_passed_on() {
        let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", None);
        assert_eq!(context.expect("is valid").traceparent().as_str(), PARENT);
    }

    #[test]
    fn a_state_that_no_header_may_carry_is_dropped() {
        let long = "x".repeat(TRACESTATE_BYTES_MAX + 1);
        for state in ["", "  ", "a=1\nb=2", "ä=1", long.as_str()] {
            let context = TraceContext::parse(PARENT, Some(state)).expect("the parent is valid");
            assert_eq!(context.tracestate(), None, "{state:?}");
        }
    }

    #[test]
    fn several_state_headers_are_one_list_and_several_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(TraceContext::extract(&headers).expect("is valid").tracestate(), Some("a=1,b=2"));

        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(TraceContext::extract(&headers), None);
    }

    proptest! {
        #[test]
        fn writing_and_reading_a_context_is_the_identity(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext::new(trace, span, sampled);
            prop_assert_eq!(TraceContext::parse(context.traceparent().as_str(), None), Some(context));
        }

        #[test]
        fn arbitrary_text_never_panics(parent: String, state: String) {
            let _ = TraceContext::parse(&parent, Some(&state));
        }

        #[test]
        fn what_is_accepted_can_be_sent(version in "[0-9a-f]{2}", rest in ".{0,20}", state in ".{0,40}") {
            let parent = format!("{version}{}{rest}", &PARENT[2..]);
            if let Some(context) = TraceContext::parse(&parent, Some(&state)) {
                let mut headers = HeaderMap::new();
                context.inject(&mut headers);
                prop_assert_eq!(TraceContext::extract(&headers), Some(context));
            }
        }
    }
}
