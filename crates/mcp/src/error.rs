//! What Quorate answers when it refuses or fails a call itself.
//!
//! One enum of faults; each knows its JSON-RPC code and HTTP status per era, its message and its
//! data. Errors that a backend answers are not here: they pass unchanged.
//!
//! Statuses: what the transport or a revision's text fixes (400, 404, 413, 415, …) is used; every
//! other fault of a well-formed request is HTTP 200 with a JSON-RPC error, because client SDKs
//! drop the body of other statuses and would hide the message from the model.
//!
//! Codes: the standard ones, the three of 2026-07-28 (−32020…−32022), −32002 towards legacy
//! clients only, and our own from −31000 up, outside of all ranges that MCP reserves.

use bytes::Bytes;
use http::StatusCode;
use quorate_jsonrpc::{Id, Malformed, build, quote};
use quorate_types::Code;

use crate::curate::Refused;
use crate::method::Method;
use crate::version::{Era, Version};

/// The header disagrees with the body (2026-07-28 `basic/transports/streamable-http`).
pub const HEADER_MISMATCH: i64 = -32020;
/// The client did not declare a capability that the call needs (2026-07-28 `basic`).
pub const MISSING_CAPABILITY: i64 = -32021;
/// The version is not supported (2026-07-28 `basic/versioning`).
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// The bytes are no JSON (JSON-RPC 2.0 §5.1).
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no request (JSON-RPC 2.0 §5.1).
pub const INVALID_REQUEST: i64 = -32600;
/// The method does not exist here (JSON-RPC 2.0 §5.1).
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are wrong (JSON-RPC 2.0 §5.1).
pub const INVALID_PARAMS: i64 = -32602;
/// An invariant of ours is broken (JSON-RPC 2.0 §5.1).
pub const INTERNAL_ERROR: i64 = -32603;
/// The resource does not exist; towards legacy clients only (2025-11-25 `server/resources`).
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// Ours: a backend could not be reached or answered rubbish.
pub const BACKEND_FAILED: i64 = -31001;
/// Ours: a call was lost after it was sent, and may have run.
pub const OUTCOME_UNKNOWN: i64 = -31002;
/// Ours: a limit is exhausted.
pub const LIMIT_EXCEEDED: i64 = -31003;
/// Ours: nobody is identified, and somebody has to be.
pub const UNAUTHENTICATED: i64 = -31004;
/// Ours: the caller may not do this.
pub const PERMISSION_DENIED: i64 = -31005;
/// Ours: the backend took too long.
pub const DEADLINE_EXCEEDED: i64 = -31006;
/// Ours: the node is going away; another one takes the call.
pub const UNAVAILABLE: i64 = -31007;
/// Ours: a server asked the client for input, and the client did not give it.
pub const INPUT_FAILED: i64 = -31008;

/// Returns the HTTP status under which an error that a backend answered goes to a client of `era`.
///
/// The modern transport fixes the statuses of its own codes, so they hold for whoever answers.
#[must_use]
pub const fn status_of(code: i64, era: Era) -> StatusCode {
    match (era, code) {
        (Era::Modern, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION | PARSE_ERROR | INVALID_REQUEST) => {
            StatusCode::BAD_REQUEST
        }
        (Era::Modern, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        (Era::Modern | Era::Legacy, _) => StatusCode::OK,
    }
}

/// A request was refused before it was dispatched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Rejected {
    /// The era whose rules the answer follows.
    pub era: Era,
    /// The request's id, when it could be read.
    pub id: Option<Id>,
    /// Why.
    pub fault: Fault,
}

/// Why a call is refused or fails here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The body is no JSON.
    #[error("{reason}")]
    ParseError {
        /// What is wrong with the bytes.
        reason: quorate_jsonrpc::Reason,
    },
    /// The body is JSON, but no frame that may stand here.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with the frame.
        reason: InvalidRequest,
    },
    /// The revision does not know the method, or we do not offer it.
    #[error("method not found: {method}")]
    MethodNotFound {
        /// The method as it came in, cut to a bounded length.
        method: String,
    },
    /// A parameter is missing or wrong.
    #[error("invalid params: `{field}` {reason}")]
    InvalidParams {
        /// The parameter's path.
        field: &'static str,
        /// What it should be.
        reason: &'static str,
    },
    /// What a client answers under a key of `inputResponses` is no answer to what it was asked
    /// (modern).
    #[error("invalid params: `inputResponses[{key:?}]` must be {expected}")]
    InputResponse {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A required key of `_meta` is missing or wrong (modern).
    #[error("invalid params: `_meta` must have `{key}` as {expected}")]
    InvalidMeta {
        /// The key.
        key: &'static str,
        /// The JSON type it should have.
        expected: &'static str,
    },
    /// A header is missing, malformed or says something else than the body (modern).
    #[error("header mismatch: {mismatch}")]
    HeaderMismatch {
        /// What disagrees.
        mismatch: Mismatch,
    },
    /// The request asks for a revision that we do not speak, or not in this way.
    #[error("unsupported protocol version: {requested}")]
    UnsupportedVersion {
        /// What it asks for, cut to a bounded length.
        requested: String,
    },
    /// The client did not declare a capability that the call needs.
    #[error("the client did not declare a capability that {method} needs")]
    MissingCapability {
        /// The method that needs it.
        method: Method,
        /// The missing part of `ClientCapabilities`, as JSON.
        required: &'static str,
    },
    /// The `Content-Type` is not `application/json`.
    #[error("the content type must be application/json")]
    UnsupportedMediaType,
    /// The `Accept` header excludes every form of answer that we have.
    #[error("the client must accept application/json and text/event-stream")]
    NotAcceptable,
    /// A legacy request other than `initialize` has no session id.
    #[error("a session id is required: send `initialize` first, or a request of 2026-07-28")]
    SessionRequired,
    /// The session does not exist (any more), or belongs to somebody else.
    #[error("session not found")]
    SessionUnknown,
    /// The resource belongs to nobody.
    #[error("resource not found")]
    ResourceNotFound {
        /// The URI as the client knows it.
        uri: String,
    },
    /// There is no such tool in this toolset.
    #[error("unknown tool: {name}")]
    UnknownTool {
        /// The name as the client sent it.
        name: String,
    },
    /// There is no such prompt in this toolset.
    #[error("unknown prompt: {name}")]
    UnknownPrompt {
        /// The name as the client sent it.
        name: String,
    },
    /// The task does not exist, or belongs to somebody else.
    #[error("unknown task")]
    UnknownTask,
    /// A bare name that several servers offer.
    #[error("ambiguous name {name}: use one of {}", alternatives.join(", "))]
    AmbiguousName {
        /// The name as the client sent it.
        name: String,
        /// The names that are not ambiguous.
        alternatives: Vec<String>,
    },
    /// A backend could not be reached, or answered rubbish. The call did not run, or its failure
    /// is certain.
    #[error("backend {server} failed: {reason}")]
    BackendFailed {
        /// The backend's configured name.
        server: String,
        /// What happened, without addresses or secrets.
        reason: String,
    },
    /// A backend took longer than it may.
    #[error("backend {server} did not answer in time")]
    BackendTimeout {
        /// The backend's configured name.
        server: String,
    },
    /// The call was sent and its answer lost: it may have run.
    #[error("the outcome of the call is unknown: backend {server} was lost after the call was sent")]
    OutcomeUnknown {
        /// The backend's configured name.
        server: String,
    },
    /// A server asked the client for something, and the client answered with an error or not at all.
    #[error("the client did not give what {method} asked for: {message}")]
    InputFailed {
        /// What the client was asked for.
        method: Method,
        /// The code of its error.
        code: i64,
        /// The message of its error, cut to a bounded length.
        message: String,
    },
    /// A limit is exhausted.
    #[error("limit exceeded: {limit} is at most {max}")]
    LimitExceeded {
        /// The limit's name, as metrics have it.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// A call did not end within the time that its toolset gives the tool.
    #[error("tool {tool} did not answer within {after}, which is its time in this toolset")]
    ToolTimeout {
        /// The tool as the client knows it.
        tool: String,
        /// The time, with its unit.
        after: String,
    },
    /// As many calls of a tool are in progress as its toolset allows.
    #[error("tool {tool} is busy: {max} calls are in progress, which is its limit in this toolset")]
    ToolBusy {
        /// The tool as the client knows it.
        tool: String,
        /// The limit.
        max: u32,
    },
    /// A call has an argument that its toolset keeps from clients.
    #[error("invalid params: {refused}")]
    Withheld {
        /// Which.
        refused: Refused,
    },
    /// The body is larger than allowed.
    #[error("the body has more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// Nobody is identified.
    #[error("authentication required")]
    Unauthenticated,
    /// The caller may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The node is going away.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// A broken invariant of ours. What it is goes to the log, not to the client.
    #[error("internal error")]
    Internal,
}

/// Why a well-formed JSON value is no request that may stand here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It is no JSON-RPC frame.
    #[error("invalid request: {0}")]
    Frame(quorate_jsonrpc::Reason),
    /// A member that decides is ambiguous, or the parameters are no object.
    #[error("invalid request: member `{member}` is ambiguous or of the wrong type")]
    Member {
        /// The member.
        member: String,
    },
    /// A response was posted where none is expected (modern: always).
    #[error("invalid request: responses are not accepted here")]
    UnexpectedResponse,
    /// A batch in a revision that has none.
    #[error("invalid request: batches exist only in sessions of 2025-03-26")]
    Batch,
    /// A request in a session that has not been opened completely.
    #[error("invalid request: the session is not initialized")]
    NotInitialized,
    /// A request id that is in use in this session.
    #[error("invalid request: the request id is in use")]
    DuplicateId,
    /// The session id has characters outside of visible ASCII, or there are several.
    #[error("invalid request: malformed session id")]
    SessionId,
    /// A `Last-Event-ID` that was not made here.
    #[error("invalid request: malformed event id")]
    EventId,
}

/// How a header and the body disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A required header is missing.
    #[error("{header} is required")]
    Missing {
        /// The header's name.
        header: String,
    },
    /// The header is there more than once.
    #[error("{header} must not be repeated")]
    Repeated {
        /// The header's name.
        header: String,
    },
    /// The value has characters that it must not have, or its Base64 form does not decode.
    #[error("{header} has a malformed value")]
    Malformed {
        /// The header's name.
        header: String,
    },
    /// The header and the body say different things. Values stay out of the message: parameters
    /// may be confidential.
    #[error("{header} differs from the body's {field}")]
    Differs {
        /// The header's name.
        header: String,
        /// Where the body has the value.
        field: String,
    },
    /// The header stands for a parameter that the body does not have.
    #[error("{header} stands for {field}, which the body does not have")]
    Unexpected {
        /// The header's name.
        header: String,
        /// Where the body would have the value.
        field: String,
    },
}

// === impl Rejected ===

impl Rejected {
    /// Makes the rejection of a body that is no frame.
    #[must_use]
    pub fn malformed(era: Era, malformed: Malformed) -> Self {
        let Malformed { reason, id } = malformed;
        Self { era, id, fault: Fault::from(reason) }
    }

    /// Returns the HTTP status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.fault.http_status(self.era)
    }

    /// Builds the body of the answer.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.fault.to_frame(self.era, self.id.as_ref())
    }
}

// === impl Fault ===

impl Fault {
    /// Returns the JSON-RPC code towards a client of `era`.
    #[must_use]
    pub const fn code(&self, era: Era) -> i64 {
        match self {
            Self::ParseError { .. } => PARSE_ERROR,
            Self::MethodNotFound { .. } => METHOD_NOT_FOUND,
            Self::InvalidParams { .. }
            | Self::InvalidMeta { .. }
            | Self::InputResponse { .. }
            | Self::UnknownTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownTask
            | Self::AmbiguousName { .. }
            | Self::Withheld { .. } => INVALID_PARAMS,
            Self::HeaderMismatch { .. } => HEADER_MISMATCH,
            Self::UnsupportedVersion { .. } => match era {
                Era::Modern => UNSUPPORTED_VERSION,
                Era::Legacy => INVALID_REQUEST,
            },
            Self::MissingCapability { .. } => MISSING_CAPABILITY,
            Self::ResourceNotFound { .. } => match era {
                Era::Modern => INVALID_PARAMS,
                Era::Legacy => RESOURCE_NOT_FOUND,
            },
            Self::InvalidRequest { .. }
            | Self::UnsupportedMediaType
            | Self::NotAcceptable
            | Self::SessionRequired
            | Self::SessionUnknown
            | Self::TooLarge { .. } => INVALID_REQUEST,
            Self::BackendFailed { .. } => BACKEND_FAILED,
            Self::BackendTimeout { .. } | Self::ToolTimeout { .. } => DEADLINE_EXCEEDED,
            Self::OutcomeUnknown { .. } => OUTCOME_UNKNOWN,
            Self::InputFailed { .. } => INPUT_FAILED,
            Self::LimitExceeded { .. } | Self::ToolBusy { .. } => LIMIT_EXCEEDED,
            Self::Unauthenticated => UNAUTHENTICATED,
            Self::PermissionDenied => PERMISSION_DENIED,
            Self::ShuttingDown => UNAVAILABLE,
            Self::Internal => INTERNAL_ERROR,
        }
    }

    /// Returns the HTTP status towards a client of `era`.
    #[must_use]
    pub const fn http_status(&self, era: Era) -> StatusCode {
        match self {
            Self::ParseError { .. }
            | Self::InvalidRequest { .. }
            | Self::InvalidMeta { .. }
            | Self::InputResponse { .. }
            | Self::HeaderMismatch { .. }
            | Self::UnsupportedVersion { .. }
            | Self::MissingCapability { .. }
            | Self::SessionRequired => StatusCode::BAD_REQUEST,
            Self::SessionUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotFound { .. } => match era {
                Era::Modern => StatusCode::NOT_FOUND,
                Era::Legacy => StatusCode::OK,
            },
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LimitExceeded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::InvalidParams { .. }
            | Self::ResourceNotFound { .. }
            | Self::UnknownTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownTask
            | Self::AmbiguousName { .. }
            | Self::BackendFailed { .. }
            | Self::BackendTimeout { .. }
            | Self::ToolTimeout { .. }
            | Self::ToolBusy { .. }
            | Self::Withheld { .. }
            | Self::OutcomeUnknown { .. }
            | Self::InputFailed { .. } => StatusCode::OK,
        }
    }

    /// Returns the class of the fault, for metrics and other protocols.
    #[must_use]
    pub const fn class(&self) -> Code {
        match self {
            Self::ParseError { .. }
            | Self::InvalidRequest { .. }
            | Self::InvalidParams { .. }
            | Self::InvalidMeta { .. }
            | Self::InputResponse { .. }
            | Self::HeaderMismatch { .. }
            | Self::UnsupportedMediaType
            | Self::NotAcceptable
            | Self::AmbiguousName { .. }
            | Self::Withheld { .. }
            | Self::TooLarge { .. } => Code::InvalidArgument,
            Self::MethodNotFound { .. } | Self::UnsupportedVersion { .. } => Code::Unimplemented,
            Self::MissingCapability { .. } | Self::SessionRequired | Self::InputFailed { .. } => {
                Code::FailedPrecondition
            }
            Self::SessionUnknown
            | Self::ResourceNotFound { .. }
            | Self::UnknownTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownTask => Code::NotFound,
            Self::BackendFailed { .. } | Self::ShuttingDown => Code::Unavailable,
            Self::BackendTimeout { .. } | Self::ToolTimeout { .. } => Code::DeadlineExceeded,
            Self::OutcomeUnknown { .. } => Code::Aborted,
            Self::LimitExceeded { .. } | Self::ToolBusy { .. } => Code::ResourceExhausted,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Internal => Code::Internal,
        }
    }

    /// Returns the text of the error's `message`.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// Returns the error's `data` as JSON text.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        match self {
            Self::UnsupportedVersion { requested } => {
                Some(format!("{{\"supported\":{},\"requested\":{}}}", Version::supported_json(), quote(requested)))
            }
            Self::MissingCapability { required, .. } => Some(format!("{{\"requiredCapabilities\":{required}}}")),
            Self::ResourceNotFound { uri } => Some(format!("{{\"uri\":{}}}", quote(uri))),
            Self::AmbiguousName { alternatives, .. } => {
                let names: Vec<String> = alternatives.iter().map(|name| quote(name)).collect();
                Some(format!("{{\"alternatives\":[{}]}}", names.join(",")))
            }
            Self::BackendFailed { server, .. } | Self::BackendTimeout { server } => {
                Some(format!("{{\"backend\":{}}}", quote(server)))
            }
            Self::OutcomeUnknown { server } => Some(format!("{{\"backend\":{},\"mayHaveRun\":true}}", quote(server))),
            Self::InputFailed { method, code, .. } => {
                Some(format!("{{\"method\":{},\"code\":{code}}}", quote(method.as_str())))
            }
            Self::LimitExceeded { limit, max } => Some(format!("{{\"limit\":{},\"max\":{max}}}", quote(limit))),
            Self::ToolBusy { max, .. } => Some(format!("{{\"limit\":\"tool_concurrency\",\"max\":{max}}}")),
            Self::ParseError { .. }
            | Self::InvalidRequest { .. }
            | Self::MethodNotFound { .. }
            | Self::InvalidParams { .. }
            | Self::InvalidMeta { .. }
            | Self::InputResponse { .. }
            | Self::HeaderMismatch { .. }
            | Self::UnsupportedMediaType
            | Self::NotAcceptable
            | Self::SessionRequired
            | Self::SessionUnknown
            | Self::UnknownTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownTask
            | Self::ToolTimeout { .. }
            | Self::Withheld { .. }
            | Self::TooLarge { .. }
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::ShuttingDown
            | Self::Internal => None,
        }
    }

    /// Builds the error answer to the request `id`.
    ///
    /// Without an id, a modern answer has none, as its schema wants; a legacy answer has `null`,
    /// as JSON-RPC wants and no legacy schema allows otherwise.
    #[must_use]
    pub fn to_frame(&self, era: Era, id: Option<&Id>) -> Bytes {
        let data = self.data();
        let (code, message) = (self.code(era), self.message());
        match (era, id) {
            (Era::Modern, None) => build::error_without_id(code, &message, data.as_deref()),
            (Era::Modern | Era::Legacy, _) => build::error(id, code, &message, data.as_deref()),
        }
    }
}

impl From<quorate_jsonrpc::Reason> for Fault {
    fn from(reason: quorate_jsonrpc::Reason) -> Self {
        use quorate_jsonrpc::Reason;
        match reason {
            Reason::Utf8 | Reason::Syntax { .. } => Self::ParseError { reason },
            Reason::TooLarge { max } => Self::TooLarge { max: max as u64 },
            Reason::TooDeep { .. }
            | Reason::TooMany { .. }
            | Reason::EmptyBatch
            | Reason::Batch
            | Reason::NotAnObject
            | Reason::Version
            | Reason::Duplicate { .. }
            | Reason::Id
            | Reason::IdTooLong
            | Reason::Method
            | Reason::Params
            | Reason::Error
            | Reason::Shape => Self::InvalidRequest { reason: InvalidRequest::Frame(reason) },
        }
    }
}

#[cfg(test)]
mod tests;
