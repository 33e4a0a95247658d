//! What a tool server asks of a client: sampling, elicitation, roots.
//!
//! In a session it is a request of the server's, in the stateless era a part of a result. It goes through authorize, admit and inspect like any call, with the server as the one who
//! wants something of the caller, and carries the server's name when it reaches the client. A
//! server that may not ask is answered at once with an error, so that it does not wait for nobody.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Limits, Splice, build, members, pick_exact, text};
use quorate_mcp::dialect::onto_legacy::{Question, labelled};
use quorate_mcp::error::{INVALID_PARAMS, PERMISSION_DENIED, UNAVAILABLE};
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

/// Runs the stages for what a result of a stateless server asks (`inputRequests`); returns the
/// result as the client sees it. One that asks nothing passes as it is.
///
/// # Errors
/// [`Error`] of the first question that may not be asked.
pub(crate) fn pass_result(
    services: &Services,
    toolset: &ToolsetTable,
    principal: &Principal,
    server: &ResourceName,
    frame: Frame,
) -> Result<Frame, Error> {
    let Some(result) = frame.result_span().filter(|_| asks(frame.bytes())) else { return Ok(frame) };
    let found = pick_exact(frame.text_of(result), result.start, ["inputRequests"]);
    let [requests] = found.map_err(|_| Error::Malformed)?;
    let Some(requests) = requests else { return Ok(frame) };
    let mut spans = Vec::new();
    members(frame.text_of(requests), requests.start, |_, span| spans.push(span)).map_err(|_| Error::Malformed)?;
    let mut splice = Splice::new(frame.bytes());
    for span in spans {
        let request = frame.text_of(span);
        let found = pick_exact(request, span.start, ["method", "params"]).map_err(|_| Error::Malformed)?;
        let [Some(method), params] = found else { return Err(Error::Malformed) };
        let method = text(frame.text_of(method)).ok_or(Error::Malformed)?;
        let own = build::request(&Id::from(0), &method, params.map(|params| frame.text_of(params)));
        let own = Frame::parse(own, &MESSAGE_LIMITS).map_err(|_| Error::Malformed)?;
        let Some(question) = Question::of(&own) else { continue };
        let passed = pass(Asked { services, toolset, principal, server, question, frame: own })?;
        let labelled = passed.params().ok_or(Error::Malformed)?;
        match params {
            Some(params) => splice.replace(params, labelled.to_vec()),
            None => splice.insert(span.start + 1, [b"\"params\":", &labelled[..], b","].concat()),
        };
    }
    Ok(frame.spliced(&splice))
}

/// Tells whether an answer is a result that asks its client something, or cannot be read as one that does not.
pub(crate) fn is_question(frame: &Frame) -> bool {
    let Some(result) = frame.result_span().filter(|_| asks(frame.bytes())) else { return false };
    let found = pick_exact(frame.text_of(result), result.start, ["inputRequests"]);
    !matches!(found, Ok([None]))
}

/// The answer of a server that may not ask; none where its request has no id to answer.
pub(crate) fn refusal(services: &Services, frame: &Frame, error: &Error) -> Option<Bytes> {
    let (stage, reason, code) = match error {
        Error::Denied(_) => ("authorize", "ask_denied", PERMISSION_DENIED),
        Error::NoRoom(_) => ("admit", "ask_draining", UNAVAILABLE),
        Error::Malformed => ("inspect", "ask_malformed", INVALID_PARAMS),
        Error::NoToolset => ("authorize", "ask_unknown_toolset", UNAVAILABLE),
    };
    services.metrics.rejected(stage, reason);
    Some(build::error(Some(frame.id()?), code, &error.to_string(), None))
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
