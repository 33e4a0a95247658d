//! Rewrites of frames that pass through, and the views that find what to rewrite.
//!
//! In: a frame as one side sent it. Out: the same frame with some values replaced, all other bytes
//! as they were. Names, URIs, task ids, tokens and request ids mean something only between the two
//! ends of one hop, so the gateway replaces them; contents it never touches.
//!
//! Where a value stands depends on the method that a result answers and on the era, because
//! results may carry members of any name that are none of our business.

use quorate_jsonrpc::{Frame, Id, Limits, MembersError, Span, Splice, elements, pick_exact, quote, text};

use crate::dialect::v2026_07_28::META_SUBSCRIPTION_ID;
use crate::message::Level;
use crate::method::Method;
use crate::version::Era;

/// The `_meta` key of the task that a message belongs to (2025-11-25).
pub const META_RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// A peer's message does not have the shape that its method gives it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A value is of another type.
    #[error("`{field}` is not of the expected type")]
    Type {
        /// The value's path.
        field: &'static str,
    },
    /// A member stands there twice.
    #[error("member {member:?} is ambiguous")]
    Ambiguous {
        /// The member's name.
        member: String,
    },
}

/// A value to replace: its text, and where it stands, quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The decoded text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What a result says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultView {
    /// How it is to be read (modern; `Complete` when it does not say).
    pub result_type: ResultType,
    /// Whether it is a tool's error.
    pub is_error: bool,
}

/// How a modern result is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// The final content.
    Complete,
    /// The client is asked for input and retries.
    InputRequired,
    /// The call goes on as a task (tasks extension).
    Task,
    /// A value of an extension that we do not know.
    Other(String),
}

/// What an error answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorView {
    /// The JSON-RPC code.
    pub code: i64,
    /// The message.
    pub message: String,
    /// Where `data` stands.
    pub data: Option<Span>,
}

/// Returns the frame with another id.
#[must_use]
pub fn with_id(frame: &Frame, id: &Id) -> Frame {
    frame.with_id(id)
}

/// Returns the frame with the string at `span` replaced.
#[must_use]
pub fn rename(frame: &Frame, span: Span, text: &str) -> Frame {
    rewrite(frame, [(span, text)])
}

/// Returns the frame with several strings replaced.
#[must_use]
pub fn rewrite<'a>(frame: &Frame, edits: impl IntoIterator<Item = (Span, &'a str)>) -> Frame {
    let mut splice = Splice::new(frame.bytes());
    for (span, text) in edits {
        splice.replace(span, quote(text).into_bytes());
    }
    frame.spliced(&splice)
}

/// Returns the frame with the token or id at `span` replaced.
#[must_use]
pub fn retoken(frame: &Frame, span: Span, token: &Id) -> Frame {
    let mut splice = Splice::new(frame.bytes());
    splice.replace(span, token.as_json().as_bytes());
    frame.spliced(&splice)
}

/// Returns the frame with members of `_meta` set to raw values: in the parameters of a request or
/// notification, in the result of an answer. `_meta` and `params` are made when they are missing.
///
/// # Errors
/// [`ViewError`] when parameters, result or `_meta` are no object, and on a failed answer.
pub fn with_meta(frame: &Frame, members: &[(&str, &str)]) -> Result<Frame, ViewError> {
    if members.is_empty() {
        return Ok(frame.clone());
    }
    let fresh: Vec<String> = members.iter().map(|(key, raw)| format!("{}:{raw}", quote(key))).collect();
    let Some(container) = frame.params_span().or(frame.result_span()) else {
        return with_params(frame, &format!("{{\"_meta\":{{{}}}}}", fresh.join(",")));
    };
    let [meta] = object(frame, container, "params", ["_meta"])?;
    let mut splice = Splice::new(frame.bytes());
    match meta {
        None => {
            let member = format!("\"_meta\":{{{}}}", fresh.join(","));
            prepend(&mut splice, frame, container, member);
        }
        Some(meta) => {
            let mut added = Vec::new();
            for ((key, raw), whole) in members.iter().zip(fresh) {
                match object(frame, meta, "_meta", [key])? {
                    [Some(span)] => {
                        splice.replace(span, raw.as_bytes().to_vec());
                    }
                    [None] => added.push(whole),
                }
            }
            if !added.is_empty() {
                prepend(&mut splice, frame, meta, added.join(","));
            }
        }
    }
    Ok(frame.spliced(&splice))
}

/// Returns a notification of a listen stream as that of the listen request `id`.
///
/// # Errors
/// As [`with_meta`].
pub fn with_subscription_id(frame: &Frame, id: &Id) -> Result<Frame, ViewError> {
    with_meta(frame, &[(META_SUBSCRIPTION_ID, id.as_json())])
}

/// Finds the task ids in a frame from a backend.
///
/// `method` is that of the request which a result answers, and the frame's own for a notification
/// or request.
///
/// # Errors
/// [`ViewError`] when something on the way to an id has another type.
pub fn task_ids(frame: &Frame, method: Method, era: Era) -> Result<Vec<Handle>, ViewError> {
    let mut found = Vec::new();
    if let Some(result) = frame.result_span() {
        task_ids_of_result(frame, result, method, era, &mut found)?;
    } else if let Some(params) = frame.params_span() {
        let keys = ["taskId", "_meta"];
        let [id, meta] = object(frame, params, "params", keys)?;
        if matches!(method, Method::TaskStatus | Method::Tasks) {
            push(frame, id, "params.taskId", &mut found)?;
        }
        related_task(frame, meta, &mut found)?;
    }
    Ok(found)
}

/// Finds the resource URIs in a frame from a backend, other than in lists.
///
/// `method` is as in [`task_ids`].
///
/// # Errors
/// [`ViewError`] when something on the way to a URI has another type.
pub fn resource_uris(frame: &Frame, method: Method) -> Result<Vec<Handle>, ViewError> {
    let mut found = Vec::new();
    match (frame.result_span(), frame.params_span()) {
        (Some(result), _) => uris_of_result(frame, result, method, &mut found)?,
        (None, Some(params)) if method == Method::ResourceUpdated => {
            let [uri] = object(frame, params, "params", ["uri"])?;
            push(frame, uri, "params.uri", &mut found)?;
        }
        (None, Some(_) | None) => {}
    }
    Ok(found)
}

/// Finds the token of a progress notification from a backend.
///
/// # Errors
/// [`ViewError`] when there is none, or it is neither a string nor an integer.
pub fn progress_token(frame: &Frame) -> Result<(Id, Span), ViewError> {
    let field = "params.progressToken";
    let [token] = params_of(frame, ["progressToken"])?;
    let span = token.ok_or(ViewError::Type { field })?;
    Ok((handle(frame, span, field)?, span))
}

/// Finds the request that a backend's `notifications/cancelled` gives up; 2025-11-25 allows it to
/// name none.
///
/// # Errors
/// [`ViewError`] when the id is neither a string nor an integer.
pub fn cancelled_request(frame: &Frame) -> Result<Option<(Id, Span)>, ViewError> {
    let [id] = params_of(frame, ["requestId"])?;
    id.map(|span| Ok((handle(frame, span, "params.requestId")?, span))).transpose()
}

/// Reads the level of a log message from a backend.
///
/// # Errors
/// [`ViewError`] when it has none of RFC 5424.
pub fn message_level(frame: &Frame) -> Result<Level, ViewError> {
    let [level] = params_of(frame, ["level"])?;
    let level = level.and_then(|span| text(frame.text_of(span))).and_then(|level| Level::parse(&level));
    level.ok_or(ViewError::Type { field: "params.level" })
}

// === impl ResultView ===

impl ResultView {
    /// Reads the result of `frame`.
    ///
    /// # Errors
    /// [`ViewError`] when the frame has no result, or it is no object.
    pub fn read(frame: &Frame) -> Result<Self, ViewError> {
        let span = frame.result_span().ok_or(ViewError::Type { field: "result" })?;
        let [kind, is_error] = object(frame, span, "result", ["resultType", "isError"])?;
        let result_type = match kind {
            None => ResultType::Complete,
            Some(span) => {
                let kind = text(frame.text_of(span)).ok_or(ViewError::Type { field: "result.resultType" })?;
                ResultType::parse(&kind)
            }
        };
        Ok(Self { result_type, is_error: is_error.is_some_and(|span| frame.text_of(span) == "true") })
    }
}

// === impl ResultType ===

impl ResultType {
    fn parse(text: &str) -> Self {
        match text {
            "complete" => Self::Complete,
            "input_required" => Self::InputRequired,
            "task" => Self::Task,
            other => Self::Other(other.to_owned()),
        }
    }
}

// === impl ErrorView ===

impl ErrorView {
    /// Reads the error of `frame`.
    ///
    /// # Errors
    /// [`ViewError`] when the frame has no error, or it has no integer `code`.
    pub fn read(frame: &Frame) -> Result<Self, ViewError> {
        let span = frame.error_span().ok_or(ViewError::Type { field: "error" })?;
        let [code, message, data] = object(frame, span, "error", ["code", "message", "data"])?;
        let code = code.and_then(|span| frame.text_of(span).parse().ok());
        let message = message.and_then(|span| text(frame.text_of(span)));
        Ok(Self {
            code: code.ok_or(ViewError::Type { field: "error.code" })?,
            message: message.unwrap_or_default().into_owned(),
            data,
        })
    }
}

fn task_ids_of_result(
    frame: &Frame,
    result: Span,
    method: Method,
    era: Era,
    found: &mut Vec<Handle>,
) -> Result<(), ViewError> {
    let [kind, id, task, tasks, meta] =
        object(frame, result, "result", ["resultType", "taskId", "task", "tasks", "_meta"])?;
    let is_task = kind.is_some_and(|span| frame.text_of(span) == "\"task\"");
    match (method, era) {
        (Method::GetTask | Method::CancelTask | Method::UpdateTask, _) => push(frame, id, "result.taskId", found)?,
        (_, Era::Modern) if is_task => push(frame, id, "result.taskId", found)?,
        (Method::CallTool, Era::Legacy) => {
            if let Some(task) = task {
                let [id] = object(frame, task, "result.task", ["taskId"])?;
                push(frame, id, "result.task.taskId", found)?;
            }
        }
        (Method::ListTasks, Era::Legacy) => {
            for task in array(frame, tasks, "result.tasks")? {
                let [id] = object(frame, task, "result.tasks[]", ["taskId"])?;
                push(frame, id, "result.tasks[].taskId", found)?;
            }
        }
        _ => {}
    }
    match era {
        Era::Legacy => related_task(frame, meta, found),
        Era::Modern => Ok(()),
    }
}

fn related_task(frame: &Frame, meta: Option<Span>, found: &mut Vec<Handle>) -> Result<(), ViewError> {
    let Some(meta) = meta else {
        return Ok(());
    };
    let [related] = object(frame, meta, "_meta", [META_RELATED_TASK])?;
    if let Some(related) = related {
        let [id] = object(frame, related, META_RELATED_TASK, ["taskId"])?;
        push(frame, id, "related-task.taskId", found)?;
    }
    Ok(())
}

fn uris_of_result(frame: &Frame, result: Span, method: Method, found: &mut Vec<Handle>) -> Result<(), ViewError> {
    if method == Method::ReadResource {
        let [contents] = object(frame, result, "result", ["contents"])?;
        for content in array(frame, contents, "result.contents")? {
            let [uri] = object(frame, content, "result.contents[]", ["uri"])?;
            push(frame, uri, "result.contents[].uri", found)?;
        }
    } else if method == Method::GetPrompt {
        let [messages] = object(frame, result, "result", ["messages"])?;
        for message in array(frame, messages, "result.messages")? {
            let [content] = object(frame, message, "result.messages[]", ["content"])?;
            if let Some(block) = content {
                uri_of_block(frame, block, found)?;
            }
        }
    } else if method == Method::GetTask {
        // The tasks extension inlines the result of the call that the task stands for.
        let [inline] = object(frame, result, "result", ["result"])?;
        if let Some(inline) = inline {
            return uris_of_result(frame, inline, Method::CallTool, found);
        }
    } else if matches!(method, Method::CallTool | Method::TaskResult) {
        let [content] = object(frame, result, "result", ["content"])?;
        for block in array(frame, content, "result.content")? {
            uri_of_block(frame, block, found)?;
        }
    }
    Ok(())
}

/// Finds the URI of a content block that links or embeds a resource.
fn uri_of_block(frame: &Frame, block: Span, found: &mut Vec<Handle>) -> Result<(), ViewError> {
    let [kind, uri, resource] = object(frame, block, "content[]", ["type", "uri", "resource"])?;
    match kind.map(|span| frame.text_of(span)) {
        Some("\"resource_link\"") => push(frame, uri, "content[].uri", found),
        Some("\"resource\"") => match resource {
            Some(resource) => {
                let [uri] = object(frame, resource, "content[].resource", ["uri"])?;
                push(frame, uri, "content[].resource.uri", found)
            }
            None => Ok(()),
        },
        Some(_) | None => Ok(()),
    }
}

/// Finds members of the parameters; without parameters there are none.
fn params_of<const N: usize>(frame: &Frame, keys: [&str; N]) -> Result<[Option<Span>; N], ViewError> {
    frame.params_span().map_or(Ok([None; N]), |span| object(frame, span, "params", keys))
}

fn handle(frame: &Frame, span: Span, field: &'static str) -> Result<Id, ViewError> {
    Id::from_json(frame.text_of(span)).map_err(|_| ViewError::Type { field })
}

fn push(frame: &Frame, span: Option<Span>, field: &'static str, found: &mut Vec<Handle>) -> Result<(), ViewError> {
    if let Some(span) = span {
        let text = text(frame.text_of(span)).ok_or(ViewError::Type { field })?.into_owned();
        found.push(Handle { text, span });
    }
    Ok(())
}

fn array(frame: &Frame, span: Option<Span>, field: &'static str) -> Result<Vec<Span>, ViewError> {
    let mut items = Vec::new();
    if let Some(span) = span {
        elements(frame.text_of(span), span.start, |item| items.push(item)).map_err(|_| ViewError::Type { field })?;
    }
    Ok(items)
}

fn object<const N: usize>(
    frame: &Frame,
    span: Span,
    field: &'static str,
    keys: [&str; N],
) -> Result<[Option<Span>; N], ViewError> {
    pick_exact(frame.text_of(span), span.start, keys).map_err(|error| match error {
        MembersError::Duplicate { member } => ViewError::Ambiguous { member },
        MembersError::Type | MembersError::Syntax { .. } => ViewError::Type { field },
    })
}

/// Inserts members at the start of the object at `span`.
fn prepend(splice: &mut Splice<'_>, frame: &Frame, span: Span, mut members: String) {
    let inner = frame.text_of(Span::new(span.start + 1, span.end - 1));
    if !inner.trim_ascii().is_empty() {
        members.push(',');
    }
    splice.insert(span.start + 1, members.into_bytes());
}

/// Returns the request or notification, which has no parameters, with the raw object `params`.
fn with_params(frame: &Frame, params: &str) -> Result<Frame, ViewError> {
    let end = frame.bytes().iter().rposition(|byte| *byte == b'}');
    let (Some(end), Some(_)) = (end, frame.method()) else {
        return Err(ViewError::Type { field: "result" });
    };
    let mut splice = Splice::new(frame.bytes());
    splice.insert(end, format!(",\"params\":{params}").into_bytes());
    // The frame has a method, so a member follows the comma's left side; and it was within limits
    // before a few bytes were added.
    let limits = Limits { bytes_max: usize::MAX, depth_max: u32::MAX, batch_max: 0 };
    Frame::parse(splice.finish(), &limits).map_err(|_| ViewError::Type { field: "params" })
}
