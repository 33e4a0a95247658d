//! Decides what one HTTP request of a client is: its era, its revision, and what it asks for.
//!
//! In: headers, body, limits. Out: a [`Classified`], or a [`Rejected`] that knows the HTTP status
//! and the JSON-RPC body of the answer. Modern requests come out completely checked: headers
//! against body, version, `_meta`, method, parameters. Legacy ones still need their session's
//! revision: [`Classified::in_session`].
//!
//! | method | `_meta` version | version header | era |
//! |---|---|---|---|
//! | `initialize` with `protocolVersion` | none, or a legacy one | any | legacy |
//! | `server/discover` | any | any | modern |
//! | any | modern or unknown | any | modern |
//! | any | legacy | legacy, with a session id | legacy |
//! | any | legacy | otherwise | modern: an unsupported version |
//! | any | none | modern | modern |
//! | any | none | legacy or none | legacy |
//! | any | none | unknown | refused: HTTP 400 |
//!
//! It deliberately does not know sessions, toolsets or backends. Specification: 2026-07-28
//! `basic/versioning` and `basic/transports/streamable-http`; 2025-11-25 `basic/transports`.

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Kind, Limits, Malformed, text};

use crate::dialect::{Dialect, v2026_07_28};
use crate::error::{Fault, InvalidRequest, Mismatch, Rejected};
use crate::header::{self, Accepts};
use crate::message::{Call, Meta, Operation};
use crate::method::Method;
use crate::read;
use crate::version::{Era, Version};

/// A client's message, and the rules it is under.
#[derive(Clone, Debug)]
pub struct Classified {
    /// The era.
    pub era: Era,
    /// The revision: of a modern request, what it declares; of `initialize`, what it gets; of any
    /// other legacy message, what its header says, or 2025-03-26 without one.
    pub version: Version,
    /// Which forms of answer the client takes.
    pub accepts: Accepts,
    /// What it asks for.
    pub call: Call,
}

/// Classifies one message posted to the MCP endpoint.
///
/// # Errors
/// [`Rejected`] with the request's id when it could be read.
pub fn classify(head: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Classified, Rejected> {
    let header = Stated::header(head);
    let guess = if matches!(header, Stated::Modern(_)) { Era::Modern } else { Era::Legacy };
    let frame = Frame::parse(body, limits).map_err(|malformed| refuse(guess, malformed))?;
    let id = frame.id().cloned().filter(|_| frame.kind() == Kind::Request);
    let reject = |era| {
        let id = id.clone();
        move |fault| Rejected { era, id, fault }
    };
    let accepts = check_forms(head).map_err(reject(guess))?;
    let (params, meta) = read::params(&frame).map_err(reject(guess))?;
    let stated = Stated::meta(&frame, &meta);
    let has_session = head.contains_key(&header::SESSION_ID);
    match era(&frame, &params, &stated, &header, has_session) {
        Era::Modern => {
            let version = v2026_07_28::check_head(head, &frame, &meta).map_err(reject(Era::Modern))?;
            let call = read::call(frame, &params, meta).map_err(reject(Era::Modern))?;
            v2026_07_28::check_call(head, &call).map_err(reject(Era::Modern))?;
            Ok(Classified { era: Era::Modern, version, accepts, call })
        }
        Era::Legacy => {
            let answer_era = if has_session { Era::Legacy } else { Era::Modern };
            let initialize = frame.method() == Some(Method::Initialize.as_str());
            let version = header.legacy(initialize).map_err(reject(answer_era))?;
            let call = read::call(frame, &params, meta).map_err(reject(Era::Legacy))?;
            let version = if let Operation::Initialize { requested, .. } = &call.operation {
                Version::negotiate(requested)
            } else {
                version
            };
            Ok(Classified { era: Era::Legacy, version, accepts, call })
        }
    }
}

/// Classifies a message of a session whose revision is known, without the transport's rules on
/// media types: of the HTTP+SSE transport, or one element of a batch.
///
/// # Errors
/// [`Rejected`] with the request's id.
pub fn classify_legacy(head: &HeaderMap, frame: Frame, session: Version) -> Result<Call, Rejected> {
    let id = frame.id().cloned().filter(|_| frame.kind() == Kind::Request);
    let reject = |fault| Rejected { era: Era::Legacy, id: id.clone(), fault };
    Stated::header(head).legacy(false).map_err(&reject)?;
    let (params, meta) = read::params(&frame).map_err(&reject)?;
    let call = read::call(frame, &params, meta).map_err(&reject)?;
    check_method(&call, session).map_err(&reject)?;
    Ok(call)
}

/// Classifies a batch posted in a session.
///
/// # Errors
/// [`Rejected`] when the session's revision has no batches, or the body is no batch; what is wrong
/// with one message is that element's error, to be answered within the batch.
pub fn classify_batch(
    head: &HeaderMap,
    body: &Bytes,
    limits: &Limits,
    session: Version,
) -> Result<Vec<Result<Call, Rejected>>, Rejected> {
    let reject = |fault| Rejected { era: Era::Legacy, id: None, fault };
    if !Dialect::of(session).batches {
        return Err(reject(Fault::InvalidRequest { reason: InvalidRequest::Batch }));
    }
    check_forms(head).map_err(reject)?;
    let frames = Frame::parse_batch(body, limits).map_err(|malformed| refuse(Era::Legacy, malformed))?;
    let classified = frames.into_iter().map(|frame| match frame {
        Ok(frame) if frame.method() == Some(Method::Initialize.as_str()) => {
            let id = frame.id().cloned();
            Err(Rejected { era: Era::Legacy, id, fault: Fault::InvalidRequest { reason: InvalidRequest::Batch } })
        }
        Ok(frame) => classify_legacy(head, frame, session),
        Err(malformed) => Err(Rejected::malformed(Era::Legacy, malformed)),
    });
    Ok(classified.collect())
}

// === impl Classified ===

impl Classified {
    /// Holds a legacy message against the revision of its session.
    ///
    /// # Errors
    /// [`Rejected`] when that revision does not know the method.
    pub fn in_session(self, session: Version) -> Result<Call, Rejected> {
        match check_method(&self.call, session) {
            Ok(()) => Ok(self.call),
            Err(fault) => {
                let id = self.call.id().cloned().filter(|_| self.call.frame.kind() == Kind::Request);
                Err(Rejected { era: Era::Legacy, id, fault })
            }
        }
    }
}

/// Which revision a header or `_meta` states.
enum Stated {
    /// None.
    Nothing,
    /// A legacy one of ours.
    Legacy(Version),
    /// A modern one of ours.
    Modern(Version),
    /// None that we know, cut to a bounded length.
    Unknown(String),
    /// Several headers, or no text.
    Broken(Mismatch),
}

// === impl Stated ===

impl Stated {
    fn header(head: &HeaderMap) -> Self {
        match header::single(head, &header::PROTOCOL_VERSION) {
            Ok(None) => Self::Nothing,
            Ok(Some(text)) => Self::of(text),
            Err(mismatch) => Self::Broken(mismatch),
        }
    }

    fn meta(frame: &Frame, meta: &Meta) -> Self {
        match meta.version.map(|span| text(frame.text_of(span))) {
            None => Self::Nothing,
            Some(Some(text)) => Self::of(&text),
            Some(None) => Self::Unknown(String::new()),
        }
    }

    fn of(text: &str) -> Self {
        match Version::parse(text) {
            Some(version) if version.era() == Era::Modern => Self::Modern(version),
            Some(version) => Self::Legacy(version),
            None => Self::Unknown(read::echo(text)),
        }
    }

    /// Returns the revision that a header states for a legacy message.
    ///
    /// `initialize` comes before the header means anything, so whatever it says there is ignored.
    fn legacy(self, initialize: bool) -> Result<Version, Fault> {
        match self {
            Self::Legacy(version) => Ok(version),
            Self::Nothing => Ok(Version::ASSUMED),
            Self::Modern(_) | Self::Unknown(_) | Self::Broken(_) if initialize => Ok(Version::ASSUMED),
            Self::Modern(version) => Err(Fault::UnsupportedVersion { requested: version.as_str().to_owned() }),
            Self::Unknown(requested) => Err(Fault::UnsupportedVersion { requested }),
            Self::Broken(mismatch) => Err(Fault::HeaderMismatch { mismatch }),
        }
    }
}

/// Decides the era by the table above.
fn era(frame: &Frame, params: &read::Params, meta: &Stated, header: &Stated, has_session: bool) -> Era {
    let method = frame.method().and_then(Method::parse);
    match (method, meta, header) {
        (Some(Method::Discover), _, _) | (_, Stated::Modern(_) | Stated::Unknown(_) | Stated::Broken(_), _) => {
            Era::Modern
        }
        (Some(Method::Initialize), _, _) if params.has_protocol_version() => Era::Legacy,
        (_, Stated::Legacy(_), Stated::Legacy(_)) if has_session => Era::Legacy,
        (_, Stated::Legacy(_), _) | (_, Stated::Nothing, Stated::Modern(_)) => Era::Modern,
        (_, Stated::Nothing, Stated::Nothing | Stated::Legacy(_) | Stated::Unknown(_) | Stated::Broken(_)) => {
            Era::Legacy
        }
    }
}

/// Checks the media types of the body and of the answer.
fn check_forms(head: &HeaderMap) -> Result<Accepts, Fault> {
    if !header::is_json(head) {
        return Err(Fault::UnsupportedMediaType);
    }
    let accepts = header::accepts(head);
    if accepts.json || accepts.events { Ok(accepts) } else { Err(Fault::NotAcceptable) }
}

/// Checks that the session's revision knows the message.
fn check_method(call: &Call, session: Version) -> Result<(), Fault> {
    let dialect = Dialect::of(session);
    let known = match (call.frame.kind(), call.method()) {
        (Kind::Request, Some(method)) => dialect.client_requests.contains(&method),
        (Kind::Request, None) => false,
        // An unknown notification is nothing that a client could be told about.
        (Kind::Notification | Kind::Result | Kind::Error, _) => true,
    };
    if known {
        return Ok(());
    }
    Err(Fault::MethodNotFound { method: read::echo(call.frame.method().unwrap_or_default()) })
}

fn refuse(era: Era, malformed: Malformed) -> Rejected {
    Rejected::malformed(era, malformed)
}
