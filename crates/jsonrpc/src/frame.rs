//! One JSON-RPC frame: its bytes, and where its members are.
//!
//! [`Frame::parse`] steps once over the bytes: UTF-8, grammar, depth, the six members of the
//! envelope, and the rules of JSON-RPC 2.0 §4 and §5 that every MCP revision keeps. What comes out
//! is immutable; a frame with other bytes is made by [`Frame::with_id`] or [`Frame::spliced`],
//! which move the spans instead of parsing again.
//!
//! Invariant: `bytes` is valid UTF-8 and valid JSON, and every span lies within it on the value
//! that it names.

use bytes::Bytes;

use crate::envelope::{Envelope, Method, reason_of};
use crate::id::Id;
use crate::limits::Limits;
use crate::malformed::{Malformed, Reason};
use crate::scan::{ScanError, Scanner};
use crate::span::Span;
use crate::splice::Splice;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A method call that expects an answer.
    Request,
    /// A method call that expects none.
    Notification,
    /// A successful answer.
    Result,
    /// A failed answer. Its id is absent when the asked side could not read one.
    Error,
}

/// One frame. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    kind: Kind,
    id: Option<Id>,
    /// The `id` member's value, also when that is `null`.
    id_span: Option<Span>,
    method: Option<Method>,
    /// `params`, `result` or `error`, as `kind` says.
    payload: Option<Span>,
}

/// Tells whether `bytes` hold an array rather than one frame, without checking the rest.
#[must_use]
pub fn is_batch(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

// === impl Frame ===

impl Frame {
    /// Parses one frame.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong, and holds the id when it could be read.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        let text = checked(&bytes, limits)?;
        let envelope = Envelope::read(text, limits.depth_max)?;
        let parts = envelope.judge(text)?;
        let id_span = envelope.id_span();
        Ok(Self { bytes, kind: parts.kind, id: parts.id, id_span, method: parts.method, payload: parts.payload })
    }

    /// Parses a batch: an array of frames, each judged by itself, sharing the batch's buffer.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no array of up to `batch_max` values; what is wrong with
    /// one frame is that element's error.
    pub fn parse_batch(bytes: &Bytes, limits: &Limits) -> Result<Vec<Result<Self, Malformed>>, Malformed> {
        let text = checked(bytes, limits)?;
        // The array itself is one level.
        let mut scanner = Scanner::new(text, limits.depth_max.saturating_add(1));
        let broken = |error: ScanError| Malformed::new(reason_of(error, limits.depth_max));
        if scanner.peek() != Some(b'[') {
            return Err(Malformed::new(Reason::NotAnObject));
        }
        scanner.enter(b'[').map_err(broken)?;
        if scanner.eat(b']') {
            return Err(Malformed::new(Reason::EmptyBatch));
        }
        let mut spans = Vec::new();
        loop {
            spans.push(scanner.value().map_err(broken)?);
            if spans.len() > limits.batch_max {
                return Err(Malformed::new(Reason::TooMany { max: limits.batch_max }));
            }
            if scanner.eat(b']') {
                break;
            }
            scanner.expect(b',').map_err(broken)?;
        }
        scanner.finish().map_err(broken)?;
        Ok(spans.into_iter().map(|span| Self::parse(bytes.slice(span.range()), limits)).collect())
    }

    /// Returns what the frame is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the id: always of a request and a result, never of a notification.
    #[must_use]
    pub const fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// Returns the method of a request or notification.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        let method = self.method.as_ref()?;
        match &method.decoded {
            Some(decoded) => Some(decoded),
            None => Some(self.text_of(Span::new(method.span.start + 1, method.span.end - 1))),
        }
    }

    /// Returns the raw parameters of a request or notification.
    #[must_use]
    pub fn params(&self) -> Option<Bytes> {
        self.params_span().map(|span| self.bytes.slice(span.range()))
    }

    /// Returns the raw result of a successful answer.
    #[must_use]
    pub fn result(&self) -> Option<Bytes> {
        self.result_span().map(|span| self.bytes.slice(span.range()))
    }

    /// Returns the raw error object of a failed answer.
    #[must_use]
    pub fn error(&self) -> Option<Bytes> {
        self.error_span().map(|span| self.bytes.slice(span.range()))
    }

    /// Returns where the id's value stands, which may be `null` in a failed answer.
    #[must_use]
    pub const fn id_span(&self) -> Option<Span> {
        self.id_span
    }

    /// Returns where the method's value stands, quotes included.
    #[must_use]
    pub fn method_span(&self) -> Option<Span> {
        self.method.as_ref().map(|method| method.span)
    }

    /// Returns where the parameters of a request or notification stand.
    #[must_use]
    pub const fn params_span(&self) -> Option<Span> {
        match self.kind {
            Kind::Request | Kind::Notification => self.payload,
            Kind::Result | Kind::Error => None,
        }
    }

    /// Returns where the result of a successful answer stands.
    #[must_use]
    pub const fn result_span(&self) -> Option<Span> {
        match self.kind {
            Kind::Result => self.payload,
            Kind::Request | Kind::Notification | Kind::Error => None,
        }
    }

    /// Returns where the error object of a failed answer stands.
    #[must_use]
    pub const fn error_span(&self) -> Option<Span> {
        match self.kind {
            Kind::Error => self.payload,
            Kind::Request | Kind::Notification | Kind::Result => None,
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the bytes, giving up the frame.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the whole frame as text.
    ///
    /// # Panics
    /// Never: the bytes were checked to be UTF-8 when they were parsed.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("the bytes were checked when they were parsed")
    }

    /// Returns the text under a span of this frame.
    ///
    /// # Panics
    /// When the span is of another frame.
    #[must_use]
    pub fn text_of(&self, span: Span) -> &str {
        std::str::from_utf8(&self.bytes[span.range()]).expect("spans fall on character boundaries")
    }

    /// Returns the same frame with another id: the id's bytes change, all others stay.
    ///
    /// For a failed answer that has no id, this gives it one.
    ///
    /// # Panics
    /// On a notification, which has no id to change.
    #[must_use]
    pub fn with_id(&self, id: &Id) -> Self {
        assert!(self.kind != Kind::Notification, "a notification has no id");
        let mut splice = Splice::new(&self.bytes);
        let id_span = if let Some(span) = self.id_span {
            splice.replace(span, id.as_json().as_bytes());
            Span::new(span.start, span.start + id.as_json().len())
        } else {
            let start = self.body_start();
            splice.insert(start, format!("\"id\":{},", id.as_json()).into_bytes());
            Span::new(start + 5, start + 5 + id.as_json().len())
        };
        Self {
            bytes: splice.finish(),
            kind: self.kind,
            id: Some(id.clone()),
            id_span: Some(id_span),
            method: self.method.as_ref().map(|method| method.moved(&splice)),
            payload: self.payload.map(|span| splice.moved(span)),
        }
    }

    /// Applies edits made over [`Self::bytes`] within the payload.
    ///
    /// The caller keeps the JSON valid: it replaces a value by a value.
    ///
    /// # Panics
    /// When edits overlap; in debug builds also when they touch the id or the method.
    #[must_use]
    pub fn spliced(&self, splice: &Splice<'_>) -> Self {
        if splice.is_empty() {
            return self.clone();
        }
        debug_assert!(!self.id_span.is_some_and(|span| splice.touches(span)), "the id changes by `with_id`");
        debug_assert!(!self.method_span().is_some_and(|span| splice.touches(span)), "the method never changes");
        Self {
            bytes: splice.finish(),
            kind: self.kind,
            id: self.id.clone(),
            id_span: self.id_span.map(|span| splice.moved(span)),
            method: self.method.as_ref().map(|method| method.moved(splice)),
            payload: self.payload.map(|span| splice.moved(span)),
        }
    }

    /// Returns the offset behind the opening brace.
    fn body_start(&self) -> usize {
        1 + self.bytes.iter().position(|byte| *byte == b'{').expect("a frame is an object")
    }
}

/// Checks size and encoding.
fn checked<'a>(bytes: &'a Bytes, limits: &Limits) -> Result<&'a str, Malformed> {
    if bytes.len() > limits.bytes_max {
        return Err(Malformed::new(Reason::TooLarge { max: limits.bytes_max }));
    }
    std::str::from_utf8(bytes).map_err(|_| Malformed::new(Reason::Utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { depth_max: 4, bytes_max: 200, batch_max: 3 };

    fn parse(text: &str) -> Result<Frame, Malformed> {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
    }

    fn frame(text: &str) -> Frame {
        parse(text).expect("well-formed")
    }

    #[test]
    fn each_kind_is_told_by_its_members() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#, Kind::Request, Some("1"), Some("m"), None),
            (
                r#"{"method":"m","params":{"a":1},"jsonrpc":"2.0","id":"x"}"#,
                Kind::Request,
                Some("\"x\""),
                Some("m"),
                Some("{\"a\":1}"),
            ),
            (r#"{"jsonrpc":"2.0","method":"m","params":[1]}"#, Kind::Notification, None, Some("m"), Some("[1]")),
            (r#"{"jsonrpc":"2.0","id":-1,"result":null}"#, Kind::Result, Some("-1"), None, Some("null")),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Kind::Error, None, None, Some("{}")),
            (r#"{"jsonrpc":"2.0","error":{}}"#, Kind::Error, None, None, Some("{}")),
            (r#" { "x" : {} , "jsonrpc" : "2.0" , "method" : "m" } "#, Kind::Notification, None, Some("m"), None),
            (
                r#"{"\u006asonrpc":"2\u002e0","method":"tools\/call"}"#,
                Kind::Notification,
                None,
                Some("tools/call"),
                None,
            ),
        ];
        for (text, kind, id, method, payload) in cases {
            let frame = frame(text);
            assert_eq!(frame.kind(), kind, "{text}");
            assert_eq!(frame.id().map(Id::as_json), id, "{text}");
            assert_eq!(frame.method(), method, "{text}");
            let found = frame.params().or(frame.result()).or(frame.error());
            assert_eq!(found.as_deref(), payload.map(str::as_bytes), "{text}");
            assert_eq!(frame.bytes(), text, "{text}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_reason_and_its_id() {
        let deep = r#"{"jsonrpc":"2.0","method":"m","params":[[[["]}"]]]],"id":5}"#;
        let cases = [
            ("", Reason::Syntax { at: 0 }, None),
            ("{", Reason::Syntax { at: 1 }, None),
            (r#"{"id":1,"method":}"#, Reason::Syntax { at: 17 }, Some("1")),
            (r#"{"id":1} x"#, Reason::Syntax { at: 9 }, Some("1")),
            ("1", Reason::NotAnObject, None),
            ("[]", Reason::Batch, None),
            ("{}", Reason::Version, None),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, Reason::Version, Some("1")),
            (r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#, Reason::Version, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1}"#, Reason::Shape, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#, Reason::Shape, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1,"error":{},"result":1}"#, Reason::Shape, Some("1")),
            (r#"{"jsonrpc":"2.0","result":1}"#, Reason::Id, None),
            (r#"{"jsonrpc":"2.0","id":null,"result":1}"#, Reason::Id, None),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, Reason::Id, None),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, Reason::Id, None),
            (r#"{"jsonrpc":"2.0","id":true,"error":{}}"#, Reason::Id, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, Reason::Method, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1,"method":"\udead"}"#, Reason::Method, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":null}"#, Reason::Params, Some("1")),
            (r#"{"jsonrpc":"2.0","id":1,"error":"e"}"#, Reason::Error, Some("1")),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
                Reason::Duplicate { member: "method" },
                Some("1"),
            ),
            (
                r#"{"jsonrpc":"2.0","Method":"m","method":"n","id":1}"#,
                Reason::Duplicate { member: "method" },
                Some("1"),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"m"}"#, Reason::Duplicate { member: "id" }, None),
            (deep, Reason::TooDeep { max: 4 }, Some("5")),
        ];
        for (text, reason, id) in cases {
            let malformed = parse(text).expect_err(text);
            assert_eq!(malformed.reason, reason, "{text}");
            assert_eq!(malformed.id.as_ref().map(Id::as_json), id, "{text}");
            assert_eq!(malformed.code() == -32700, matches!(reason, Reason::Syntax { .. }), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_and_bodies_over_the_limit_are_refused() {
        let malformed = Frame::parse(Bytes::from_static(b"{\"a\":\"\xff\"}"), &LIMITS).expect_err("not UTF-8");
        assert_eq!((malformed.code(), malformed.reason), (-32700, Reason::Utf8));
        let malformed = parse(&" ".repeat(201)).expect_err("too large");
        assert_eq!((malformed.code(), malformed.reason), (-32600, Reason::TooLarge { max: 200 }));
        let id = "1".repeat(crate::ID_BYTES_MAX + 1);
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\"}}");
        let malformed = Frame::parse(Bytes::from(text), &Limits::REQUEST).expect_err("the id is too long");
        assert_eq!(malformed.reason, Reason::IdTooLong);
    }

    #[test]
    fn depth_counts_the_frame_itself() {
        assert!(parse(r#"{"jsonrpc":"2.0","method":"m","params":[[[1]]]}"#).is_ok());
        assert!(parse(r#"{"jsonrpc":"2.0","method":"m","params":[[[[1]]]]}"#).is_err());
    }

    #[test]
    fn a_batch_judges_each_message_by_itself() {
        let text = r#" [{"jsonrpc":"2.0","id":1,"method":"a"}, 1 ,{"jsonrpc":"2.0","id":2}] "#;
        let batch = Frame::parse_batch(&Bytes::from_static(text.as_bytes()), &LIMITS).expect("a batch");

        let methods: Vec<_> = batch.iter().map(|frame| frame.as_ref().ok().and_then(Frame::method)).collect();
        assert_eq!(methods, [Some("a"), None, None]);
        assert_eq!(batch[1].as_ref().expect_err("no object").reason, Reason::NotAnObject);
        assert_eq!(batch[2].as_ref().expect_err("no shape").id, Some(Id::from(2)));
        assert!(is_batch(text.as_bytes()) && !is_batch(b" {}") && !is_batch(b""));
    }

    #[test]
    fn a_batch_is_an_array_within_its_limit() {
        let cases = [
            ("[]", Reason::EmptyBatch),
            ("{}", Reason::NotAnObject),
            ("[1,2,3,4]", Reason::TooMany { max: 3 }),
            ("[1,", Reason::Syntax { at: 3 }),
            ("[1] 2", Reason::Syntax { at: 4 }),
            ("[[[[[[1]]]]]]", Reason::TooDeep { max: 4 }),
        ];
        for (text, reason) in cases {
            let malformed = Frame::parse_batch(&Bytes::from_static(text.as_bytes()), &LIMITS).expect_err(text);
            assert_eq!(malformed.reason, reason, "{text}");
        }
    }

    #[test]
    fn with_id_changes_the_id_alone() {
        let long = Id::from_text("a longer id").expect("short enough");
        let cases = [
            (
                r#"{"jsonrpc":"2.0", "id" : 7 ,"method":"m","params":{"id":7}}"#,
                r#"{"jsonrpc":"2.0", "id" : "a longer id" ,"method":"m","params":{"id":7}}"#,
            ),
            (
                r#"{"result":{"id":7},"jsonrpc":"2.0","id":7}"#,
                r#"{"result":{"id":7},"jsonrpc":"2.0","id":"a longer id"}"#,
            ),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, r#"{"jsonrpc":"2.0","id":"a longer id","error":{}}"#),
            (r#" {"jsonrpc":"2.0","error":{}}"#, r#" {"id":"a longer id","jsonrpc":"2.0","error":{}}"#),
        ];
        for (text, expected) in cases {
            let before = frame(text);
            let after = before.with_id(&long);
            assert_eq!(after.bytes(), expected);
            assert_same(&after, &frame(expected));
        }
    }

    #[test]
    fn spliced_moves_what_stands_behind_the_edit() {
        let before = frame(r#"{"jsonrpc":"2.0","params":{"name":"a","x":1},"method":"m","id":9}"#);
        let name = Span::new(34, 37);
        assert_eq!(before.text_of(name), "\"a\"");

        let mut splice = Splice::new(before.bytes());
        splice.replace(name, &b"\"longer\""[..]);
        let after = before.spliced(&splice);

        let expected = r#"{"jsonrpc":"2.0","params":{"name":"longer","x":1},"method":"m","id":9}"#;
        assert_eq!(after.bytes(), expected);
        assert_same(&after, &frame(expected));
    }

    fn assert_same(left: &Frame, right: &Frame) {
        assert_eq!((left.kind(), left.id(), left.method()), (right.kind(), right.id(), right.method()));
        assert_eq!(
            (left.id_span(), left.method_span(), left.payload),
            (right.id_span(), right.method_span(), right.payload)
        );
        assert_eq!(left.bytes(), right.bytes());
    }
}
