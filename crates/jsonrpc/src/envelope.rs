//! The envelope of a frame: which of its members decide, and what they mean together.
//!
//! In: the text of one frame. Out: the spans of the six members of JSON-RPC 2.0 §4 and §5 and, by
//! [`Envelope::judge`], the frame's kind, id, method and payload. A member that stands there twice,
//! or beside one that differs only by case, is refused. All other members are stepped over.
//!
//! After the first error of nesting or duplication the reading goes on to look for the id, since
//! the answer should carry it and some clients write it last.

use std::borrow::Cow;
use std::sync::Arc;

use crate::frame::Kind;
use crate::id::{Id, NotAnId};
use crate::malformed::{Malformed, Reason};
use crate::members::{eq_folded, key_text, text};
use crate::scan::{ScanError, Scanner};
use crate::span::Span;
use crate::splice::Splice;

/// The members that decide what a frame is, in the order of [`Envelope::members`].
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// The envelope's members as they were found.
#[derive(Default)]
pub(crate) struct Envelope {
    members: [Option<Span>; MEMBERS.len()],
}

/// What an envelope means.
pub(crate) struct Parts {
    /// What the frame is.
    pub(crate) kind: Kind,
    /// Its id.
    pub(crate) id: Option<Id>,
    /// Its method.
    pub(crate) method: Option<Method>,
    /// Its `params`, `result` or `error`, as `kind` says.
    pub(crate) payload: Option<Span>,
}

/// A method name: in place, or decoded when it has escapes.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// Where it stands, quotes included.
    pub(crate) span: Span,
    /// Its text, when that is not what stands between the quotes.
    pub(crate) decoded: Option<Arc<str>>,
}

// === impl Envelope ===

impl Envelope {
    /// Reads the members of the frame `text`.
    pub(crate) fn read(text: &str, depth_max: u32) -> Result<Self, Malformed> {
        let mut envelope = Self::default();
        let mut scanner = Scanner::new(text, depth_max);
        let mut refusal = None;
        let outcome = envelope.scan(text, &mut scanner, depth_max, &mut refusal);
        let reason = match (refusal, outcome) {
            (None, Ok(())) => return Ok(envelope),
            (Some(reason), _) | (None, Err(reason)) => reason,
        };
        let ambiguous = reason == Reason::Duplicate { member: "id" };
        let id = envelope.id_span().filter(|_| !ambiguous).and_then(|span| Id::from_json(span.of(text)).ok());
        Err(Malformed { reason, id })
    }

    fn scan(
        &mut self,
        text: &str,
        scanner: &mut Scanner<'_>,
        depth_max: u32,
        refusal: &mut Option<Reason>,
    ) -> Result<(), Reason> {
        let broken = |error| reason_of(error, depth_max);
        match scanner.peek() {
            Some(b'{') => scanner.enter(b'{').map_err(broken)?,
            Some(b'[') => return Err(Reason::Batch),
            Some(_) => {
                scanner.value().map_err(broken)?;
                scanner.finish().map_err(broken)?;
                return Err(Reason::NotAnObject);
            }
            None => return Err(broken(scanner.unexpected())),
        }
        if scanner.eat(b'}') {
            return scanner.finish().map_err(broken);
        }
        loop {
            let key = scanner.key().map_err(broken)?;
            scanner.peek();
            let start = scanner.offset();
            let value = match scanner.value() {
                Err(ScanError::TooDeep) => {
                    refusal.get_or_insert(broken(ScanError::TooDeep));
                    scanner.skip_balanced(start).map_err(broken)?;
                    Span::new(start, scanner.offset())
                }
                other => other.map_err(broken)?,
            };
            let name = key_text(text, key).ok_or(Reason::Syntax { at: key.span.start })?;
            if let Err(duplicate) = self.put(&name, value) {
                refusal.get_or_insert(duplicate);
            }
            if scanner.eat(b'}') {
                break;
            }
            scanner.expect(b',').map_err(broken)?;
        }
        scanner.finish().map_err(broken)
    }

    /// Notes the member `name`, when it is one that decides.
    fn put(&mut self, name: &str, value: Span) -> Result<(), Reason> {
        let Some(index) = MEMBERS.iter().position(|member| eq_folded(member, name)) else {
            return Ok(());
        };
        let member = MEMBERS[index];
        if name != member || self.members[index].replace(value).is_some() {
            return Err(Reason::Duplicate { member });
        }
        Ok(())
    }

    /// Returns where the id's value stands, whatever it is.
    pub(crate) const fn id_span(&self) -> Option<Span> {
        let [_, id, ..] = self.members;
        id
    }

    /// Applies the rules of JSON-RPC to the members.
    pub(crate) fn judge(&self, text: &str) -> Result<Parts, Malformed> {
        let [version, id, method, ..] = self.members;
        let raw_id = id.map(|span| span.of(text));
        let id = raw_id.map(Id::from_json).transpose();
        let known = id.as_ref().ok().cloned().flatten();
        let refuse = |reason| Malformed { reason, id: known.clone() };
        if version.map(|span| span.of(text)).and_then(crate::text).as_deref() != Some("2.0") {
            return Err(refuse(Reason::Version));
        }
        let (kind, payload) = self.shape().map_err(refuse)?;
        let id = match id {
            Ok(id) => id,
            // JSON-RPC 2.0 §5: an error to a request whose id could not be read has the id null.
            Err(_) if kind == Kind::Error && raw_id == Some("null") => None,
            Err(NotAnId::Type) => return Err(refuse(Reason::Id)),
            Err(NotAnId::TooLong) => return Err(refuse(Reason::IdTooLong)),
        };
        let opens = payload.and_then(|span| text.as_bytes().get(span.start));
        match (kind, opens) {
            (Kind::Request | Kind::Notification, Some(byte)) if !matches!(byte, b'{' | b'[') => {
                return Err(refuse(Reason::Params));
            }
            (Kind::Error, Some(byte)) if *byte != b'{' => return Err(refuse(Reason::Error)),
            (Kind::Request | Kind::Notification | Kind::Result | Kind::Error, _) => {}
        }
        let method = method.map(|span| method_of(text, span)).transpose().map_err(refuse)?;
        Ok(Parts { kind, id, method, payload })
    }

    /// Tells what the frame is by which members it has, and where its payload is.
    fn shape(&self) -> Result<(Kind, Option<Span>), Reason> {
        let [_, id, method, params, result, error] = self.members;
        match (method, result, error, id) {
            (Some(_), None, None, Some(_)) => Ok((Kind::Request, params)),
            (Some(_), None, None, None) => Ok((Kind::Notification, params)),
            (None, Some(_), None, Some(_)) => Ok((Kind::Result, result)),
            (None, Some(_), None, None) => Err(Reason::Id),
            (None, None, Some(_), _) => Ok((Kind::Error, error)),
            (None, None, None, _) | (Some(_), Some(_), _, _) | (Some(_), _, Some(_), _) | (_, Some(_), Some(_), _) => {
                Err(Reason::Shape)
            }
        }
    }
}

// === impl Method ===

impl Method {
    /// Returns the method where it is after edits elsewhere.
    pub(crate) fn moved(&self, splice: &Splice<'_>) -> Self {
        Self { span: splice.moved(self.span), decoded: self.decoded.clone() }
    }
}

fn method_of(whole: &str, span: Span) -> Result<Method, Reason> {
    match text(span.of(whole)) {
        Some(Cow::Borrowed(_)) => Ok(Method { span, decoded: None }),
        Some(Cow::Owned(decoded)) => Ok(Method { span, decoded: Some(Arc::from(decoded)) }),
        None => Err(Reason::Method),
    }
}

/// Says in the caller's terms why the scanner stopped.
pub(crate) const fn reason_of(error: ScanError, depth_max: u32) -> Reason {
    match error {
        ScanError::Syntax { at } => Reason::Syntax { at },
        ScanError::TooDeep => Reason::TooDeep { max: depth_max },
    }
}
