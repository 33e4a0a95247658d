//! What a tool server asks of a client: sampling, elicitation, roots.
//!
//! In a session it is a request of the server's, or a part of an error that wants URLs visited first (2025-11-25); in the
//! stateless era it is a part of a result, or of what is told of a task. It goes through authorize, admit and inspect like any call, with the server as the one who
//! wants something of the caller, and carries the server's name when it reaches the client. A
//! server that may not ask is answered at once with an error, so that it does not wait for nobody.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, Span, Splice, build, members, pick_exact, text};
use quorate_mcp::Method;
use quorate_mcp::dialect::onto_legacy::{self, Question, labelled};
use quorate_mcp::error::{INVALID_PARAMS, METHOD_NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE};
use quorate_types::{Principal, ResourceName};

use crate::authorize::{self, Action};
use crate::snapshot::{Services, ToolsetTable};
use crate::{admit, inspect};

/// A server's request to a client.
pub(crate) struct Asked<'a> {
    /// What does not change while the process runs.
    pub(crate) services: &'a Services,
    /// The toolset that the client sees the server through.
    pub(crate) toolset: &'a ToolsetTable,
    /// Who is asked.
    pub(crate) principal: &'a Principal,
    /// Who asks.
    pub(crate) server: &'a ResourceName,
    /// What.
    pub(crate) question: Question,
    /// The request.
    pub(crate) frame: Frame,
}

/// A server whose answers may ask a client something.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// What does not change while the process runs.
    pub(crate) services: &'a Services,
    /// The toolset that the client sees the server through.
    pub(crate) toolset: &'a ToolsetTable,
    /// Who is asked.
    pub(crate) principal: &'a Principal,
    /// Who asks.
    pub(crate) server: &'a ResourceName,
}

/// Bounds of messages that were bounded when they were read from a server.
pub(crate) const MESSAGE_LIMITS: Limits = Limits { depth_max: 128, bytes_max: usize::MAX, ..Limits::ANSWER };

/// Why a server may not ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Policy said no.
    #[error(transparent)]
    Denied(#[from] authorize::Denied),
    /// There is no room for it now.
    #[error(transparent)]
    NoRoom(#[from] admit::AskError),
    /// It cannot be labelled.
    #[error("the parameters are not an object")]
    Malformed,
    /// It is none of the questions that are decided.
    #[error("a client is not asked this")]
    Unknown,
    /// The toolset by which the client sees the server is gone: nothing says what is allowed.
    #[error("the toolset is not configured any more")]
    NoToolset,
}

// === impl Asked ===

impl Asked<'_> {
    /// What the server wants to do, as policies name it.
    pub(crate) const fn action(&self) -> Action {
        match self.question {
            Question::Form | Question::Url => Action::Elicit,
            Question::Sampling => Action::Sample,
            Question::Roots => Action::Roots,
        }
    }

    /// Tells whether the client sees several servers, and has to be told which one asks.
    fn is_one_of_many(&self) -> bool {
        self.toolset.listing.servers().len() > 1
    }
}

/// Runs the stages of a server's request; returns it as the client sees it.
///
/// # Errors
/// [`Error`], for [`refusal`].
pub(crate) fn pass(asked: Asked<'_>) -> Result<Frame, Error> {
    let permitted = authorize::decide_ask(asked)?;
    let admitted = admit::acquire_ask(permitted)?;
    let Ok(inspected) = inspect::scan_ask(admitted);
    let asked = inspected.into_inner();
    let listing = &asked.toolset.listing;
    let name = listing.index_of(asked.server).and_then(|index| listing.name(index)).unwrap_or(asked.server);
    labelled(&asked.frame, name.as_str(), asked.is_one_of_many()).map_err(|_| Error::Malformed)
}

// === impl Asker ===

impl Asker<'_> {
    /// Runs the stages for what an answer asks, or a notification of a task's state; returns it as the client sees it.
    /// One that asks nothing passes as it is.
    ///
    /// # Errors
    /// [`Error`] of the first question that may not be asked.
    pub(crate) fn pass(self, frame: Frame) -> Result<Frame, Error> {
        match frame.kind() {
            Kind::Result => self.requests(frame.result_span(), frame),
            Kind::Error => self.visits(frame),
            Kind::Notification => self.told(frame),
            // Nobody hands a request on like this.
            Kind::Request => Err(Error::Unknown),
        }
    }

    /// What a notification asks: a denial leaves it without its questions, because what it tells is true, and the
    /// client learns why when it asks for the task.
    fn told(self, frame: Frame) -> Result<Frame, Error> {
        let params = frame.params_span();
        let error = match self.requests(params, frame.clone()) {
            Err(error @ (Error::Denied(_) | Error::NoRoom(_))) => error,
            passed => return passed,
        };
        refused(self.services, &error);
        let requests = requests_in(params, &frame)?.ok_or(Error::Malformed)?;
        let mut splice = Splice::new(frame.bytes());
        splice.replace(requests, b"{}".to_vec());
        Ok(frame.spliced(&splice))
    }

    /// What a stateless server asks in the `inputRequests` of a result or of parameters.
    fn requests(self, within: Option<Span>, frame: Frame) -> Result<Frame, Error> {
        let Some(requests) = requests_in(within, &frame)? else { return Ok(frame) };
        let mut spans = Vec::new();
        members(frame.text_of(requests), requests.start, |_, span| spans.push(span)).map_err(|_| Error::Malformed)?;
        let mut splice = Splice::new(frame.bytes());
        for span in spans {
            let request = frame.text_of(span);
            let found = pick_exact(request, span.start, ["method", "params"]).map_err(|_| Error::Malformed)?;
            let [Some(method), params] = found else { return Err(Error::Malformed) };
            let method = text(frame.text_of(method)).ok_or(Error::Malformed)?;
            let own = request_of(&method, params.map(|params| frame.text_of(params)))?;
            let question = Question::of(&own).ok_or(Error::Unknown)?;
            let labelled = self.question(question, own)?;
            match params {
                Some(params) => splice.replace(params, labelled.to_vec()),
                None => splice.insert(span.start + 1, [b"\"params\":", &labelled[..], b","].concat()),
            };
        }
        Ok(frame.spliced(&splice))
    }

    /// What an error asks to be visited: each entry is the parameters of a question.
    fn visits(self, frame: Frame) -> Result<Frame, Error> {
        let visits = onto_legacy::visits(&frame).map_err(|_| Error::Malformed)?;
        let mut splice = Splice::new(frame.bytes());
        for visit in &visits {
            let own = request_of(Method::Elicit.as_str(), Some(frame.text_of(*visit)))?;
            splice.replace(*visit, self.question(Question::Url, own)?.to_vec());
        }
        Ok(if visits.is_empty() { frame } else { frame.spliced(&splice) })
    }

    /// Runs the stages of one question; returns its parameters as the client sees them.
    fn question(self, question: Question, frame: Frame) -> Result<Bytes, Error> {
        let Self { services, toolset, principal, server } = self;
        pass(Asked { services, toolset, principal, server, question, frame })?.params().ok_or(Error::Malformed)
    }
}

/// Tells whether an answer asks its client something, or cannot be read as one that does not.
pub(crate) fn is_question(frame: &Frame) -> bool {
    if frame.kind() == Kind::Error {
        return onto_legacy::visits(frame).map_or(true, |visits| !visits.is_empty());
    }
    !matches!(requests_in(frame.result_span(), frame), Ok(None))
}

/// Finds the `inputRequests` of a result or of parameters.
fn requests_in(within: Option<Span>, frame: &Frame) -> Result<Option<Span>, Error> {
    let Some(within) = within.filter(|_| asks(frame.bytes())) else { return Ok(None) };
    let found = pick_exact(frame.text_of(within), within.start, ["inputRequests"]);
    found.map(|[requests]| requests).map_err(|_| Error::Malformed)
}

/// The answer of a server that may not ask; none where its request has no id to answer.
pub(crate) fn refusal(services: &Services, frame: &Frame, error: &Error) -> Option<Bytes> {
    let code = refused(services, error);
    Some(build::error(Some(frame.id()?), code, &error.to_string(), None))
}

/// The answer that a client gets in place of one that asks what its server may not.
pub(crate) fn instead(services: &Services, frame: &Frame, error: &Error) -> Bytes {
    build::error(frame.id(), refused(services, error), &error.to_string(), None)
}

/// Counts that a server may not ask; returns the code that says so.
fn refused(services: &Services, error: &Error) -> i64 {
    let (stage, reason, code) = match error {
        Error::Denied(_) => ("authorize", "ask_denied", PERMISSION_DENIED),
        Error::NoRoom(_) => ("admit", "ask_draining", UNAVAILABLE),
        Error::Malformed => ("inspect", "ask_malformed", INVALID_PARAMS),
        Error::Unknown => ("authorize", "ask_unknown", METHOD_NOT_FOUND),
        Error::NoToolset => ("authorize", "ask_unknown_toolset", UNAVAILABLE),
    };
    services.metrics.rejected(stage, reason);
    code
}

/// A question as the request that a server of sessions would send.
fn request_of(method: &str, params: Option<&str>) -> Result<Frame, Error> {
    let request = build::request(&Id::from(0), method, params);
    Frame::parse(request, &MESSAGE_LIMITS).map_err(|_| Error::Malformed)
}

/// Tells whether a result may ask anything: most do not, and are not read again.
fn asks(bytes: &[u8]) -> bool {
    // A key may be written with escapes.
    [&b"inputRequests"[..], b"\\u00"].iter().any(|part| memchr::memmem::find(bytes, part).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_asks_something_is_told_from_one_that_does_not() {
        for (result, expected) in [
            (r#"{"resultType":"input_required","inputRequests":{"q":{"method":"roots/list"}}}"#, true),
            (r#"{"resultType":"input_required","input\u0052equests":{}}"#, true),
            (r#"{"inputRequests":null,"inputRequests":{}}"#, true),
            (r#"{"contents":[{"uri":"a:b","text":"\u0041"}]}"#, false),
            (r#"{"contents":[{"uri":"a:b","text":"\"inputRequests\":{}"}]}"#, false),
            (r#"{"contents":[],"_meta":{"inputRequests":{}}}"#, false),
        ] {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            let frame = Frame::parse(answer.into(), &MESSAGE_LIMITS).expect("a frame");
            assert_eq!(is_question(&frame), expected, "{result}");
        }
        let error = build::error(Some(&Id::from(1)), INVALID_PARAMS, "inputRequests", None);
        assert!(!is_question(&Frame::parse(error, &MESSAGE_LIMITS).expect("a frame")));
    }
}
