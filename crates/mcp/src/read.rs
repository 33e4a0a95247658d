//! Reads a client's frame into a [`Call`]: one pass over `params`, one over `_meta`.
//!
//! In: a frame, and the method it names. Out: the operation with its spans, or the fault that the
//! client gets. Only members that decide something are read, and those must be unambiguous; all
//! others, arguments first, are left as they are. Nothing here knows eras: which methods and which
//! keys a revision demands is decided by the callers.

use quorate_jsonrpc::{Frame, Id, Kind, MembersError, Span, elements, pick, text};

use crate::error::{Fault, InvalidRequest};
use crate::message::{Call, Filter, Level, ListKind, Meta, Operation, Reference, TaskVerb};
use crate::method::Method;

/// The longest part of a stranger's text that an error message repeats, in bytes.
const ECHO_BYTES_MAX: usize = 128;

/// The members of `params` that decide something for some method.
#[derive(Default)]
pub(crate) struct Params {
    meta: Option<Span>,
    name: Option<Span>,
    uri: Option<Span>,
    arguments: Option<Span>,
    cursor: Option<Span>,
    task_id: Option<Span>,
    task: Option<Span>,
    reference: Option<Span>,
    level: Option<Span>,
    notifications: Option<Span>,
    request_id: Option<Span>,
    progress_token: Option<Span>,
    protocol_version: Option<Span>,
    capabilities: Option<Span>,
    client_info: Option<Span>,
}

/// Cuts a stranger's text to a length that an error may repeat.
pub(crate) fn echo(text: &str) -> String {
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Finds the members of `params`, and of `_meta`, that decide something.
///
/// A frame outside of the protocol's methods is not looked into.
pub(crate) fn params(frame: &Frame) -> Result<(Params, Meta), Fault> {
    let known = frame.method().is_some_and(|method| Method::parse(method).is_some());
    let Some(span) = frame.params_span().filter(|_| known) else {
        return Ok((Params::default(), Meta::default()));
    };
    let params = Params::read(frame, span)?;
    let meta = params.meta.map(|span| read_meta(frame, span)).transpose()?.unwrap_or_default();
    Ok((params, meta))
}

/// Reads what the frame asks for.
pub(crate) fn call(frame: Frame, params: &Params, meta: Meta) -> Result<Call, Fault> {
    let operation = match frame.kind() {
        Kind::Result | Kind::Error => Operation::Response,
        Kind::Request => request(&frame, params)?,
        Kind::Notification => notification(&frame, params)?,
    };
    let progress_token = match meta.progress_token {
        Some(span) => Some((handle(&frame, span, "_meta.progressToken")?, span)),
        None => None,
    };
    Ok(Call { frame, operation, progress_token, meta })
}

// === impl Params ===

impl Params {
    /// Tells whether the parameters have a `protocolVersion`, as those of `initialize` do.
    pub(crate) const fn has_protocol_version(&self) -> bool {
        self.protocol_version.is_some()
    }

    fn read(frame: &Frame, span: Span) -> Result<Self, Fault> {
        const KEYS: [&str; 15] = [
            "_meta",
            "name",
            "uri",
            "arguments",
            "cursor",
            "taskId",
            "task",
            "ref",
            "level",
            "notifications",
            "requestId",
            "progressToken",
            "protocolVersion",
            "capabilities",
            "clientInfo",
        ];
        let found = object(frame, span, "params", KEYS)?;
        let [meta, name, uri, arguments, cursor, task_id, task, reference, level, notifications, rest @ ..] = found;
        let [request_id, progress_token, protocol_version, capabilities, client_info] = rest;
        Ok(Self {
            meta,
            name,
            uri,
            arguments,
            cursor,
            task_id,
            task,
            reference,
            level,
            notifications,
            request_id,
            progress_token,
            protocol_version,
            capabilities,
            client_info,
        })
    }
}

fn read_meta(frame: &Frame, span: Span) -> Result<Meta, Fault> {
    const KEYS: [&str; 8] = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/clientInfo",
        "io.modelcontextprotocol/logLevel",
        "io.modelcontextprotocol/related-task",
        "traceparent",
        "tracestate",
        "progressToken",
    ];
    let [version, capabilities, client_info, log_level, related_task, traceparent, tracestate, progress_token] =
        object(frame, span, "_meta", KEYS)?;
    Ok(Meta {
        span: Some(span),
        version,
        capabilities,
        client_info,
        log_level,
        related_task,
        traceparent,
        tracestate,
        progress_token,
    })
}

fn request(frame: &Frame, params: &Params) -> Result<Operation, Fault> {
    let name = frame.method().unwrap_or_default();
    let method = Method::parse(name).ok_or_else(|| Fault::MethodNotFound { method: echo(name) })?;
    let list = |kind| Ok(Operation::List { kind, cursor: cursor(frame, params)? });
    match method {
        Method::Initialize => initialize(frame, params),
        Method::Ping => Ok(Operation::Ping),
        Method::Discover => Ok(Operation::Discover),
        Method::ListTools => list(ListKind::Tools),
        Method::ListPrompts => list(ListKind::Prompts),
        Method::ListResources => list(ListKind::Resources),
        Method::ListResourceTemplates => list(ListKind::ResourceTemplates),
        Method::CallTool => {
            let (name, name_span) = required(frame, params.name, "name")?;
            let arguments = optional_object(frame, params.arguments, "arguments")?;
            let task = optional_object(frame, params.task, "task")?;
            Ok(Operation::CallTool { name, name_span, arguments, task })
        }
        Method::GetPrompt => {
            let (name, name_span) = required(frame, params.name, "name")?;
            let arguments = optional_object(frame, params.arguments, "arguments")?;
            Ok(Operation::GetPrompt { name, name_span, arguments })
        }
        Method::ReadResource => {
            let (uri, span) = required(frame, params.uri, "uri")?;
            Ok(Operation::ReadResource { uri, span })
        }
        Method::Subscribe => {
            let (uri, span) = required(frame, params.uri, "uri")?;
            Ok(Operation::Subscribe { uri, span })
        }
        Method::Unsubscribe => {
            let (uri, span) = required(frame, params.uri, "uri")?;
            Ok(Operation::Unsubscribe { uri, span })
        }
        Method::Complete => reference(frame, params).map(|reference| Operation::Complete { reference }),
        Method::SetLevel => {
            let (text, _) = required(frame, params.level, "level")?;
            let level = Level::parse(&text).ok_or(wrong("level", "must be a level of RFC 5424"))?;
            Ok(Operation::SetLevel { level })
        }
        Method::Listen => filter(frame, params).map(|filter| Operation::Listen { filter }),
        Method::GetTask => task(frame, params, TaskVerb::Get),
        Method::TaskResult => task(frame, params, TaskVerb::Result),
        Method::UpdateTask => task(frame, params, TaskVerb::Update),
        Method::CancelTask => task(frame, params, TaskVerb::Cancel),
        Method::ListTasks => Ok(Operation::ListTasks { cursor: cursor(frame, params)? }),
        Method::CreateMessage
        | Method::Elicit
        | Method::ListRoots
        | Method::Initialized
        | Method::Cancelled
        | Method::Progress
        | Method::Message
        | Method::RootsListChanged
        | Method::ToolsListChanged
        | Method::PromptsListChanged
        | Method::ResourcesListChanged
        | Method::ResourceUpdated
        | Method::TaskStatus
        | Method::Tasks
        | Method::ElicitationComplete
        | Method::SubscriptionsAcknowledged => Err(Fault::MethodNotFound { method: echo(name) }),
    }
}

fn notification(frame: &Frame, params: &Params) -> Result<Operation, Fault> {
    let name = frame.method().unwrap_or_default();
    let Some(method) = Method::parse(name) else {
        return Ok(Operation::OtherNotification);
    };
    if !method.is_notification() {
        return Err(Fault::InvalidRequest { reason: InvalidRequest::Frame(quorate_jsonrpc::Reason::Id) });
    }
    if method == Method::Initialized {
        return Ok(Operation::Initialized);
    }
    if method == Method::RootsListChanged {
        return Ok(Operation::RootsListChanged);
    }
    if method == Method::Cancelled {
        let request_id = match params.request_id {
            Some(span) => Some((handle(frame, span, "requestId")?, span)),
            None => None,
        };
        return Ok(Operation::Cancelled { request_id });
    }
    if method == Method::Progress {
        let span = params.progress_token.ok_or(wrong("progressToken", "is required"))?;
        return Ok(Operation::Progress { token: handle(frame, span, "progressToken")?, span });
    }
    Ok(Operation::OtherNotification)
}

fn initialize(frame: &Frame, params: &Params) -> Result<Operation, Fault> {
    let (requested, _) = required(frame, params.protocol_version, "protocolVersion")?;
    let capabilities = optional_object(frame, params.capabilities, "capabilities")?;
    let client_info = optional_object(frame, params.client_info, "clientInfo")?;
    Ok(Operation::Initialize {
        requested,
        capabilities: capabilities.ok_or(wrong("capabilities", "is required"))?,
        client_info: client_info.ok_or(wrong("clientInfo", "is required"))?,
    })
}

fn reference(frame: &Frame, params: &Params) -> Result<Reference, Fault> {
    let span = params.reference.ok_or(wrong("ref", "is required"))?;
    let [kind, name, uri] = object(frame, span, "ref", ["type", "name", "uri"])?;
    let (kind, _) = required(frame, kind, "ref.type")?;
    match kind.as_str() {
        "ref/prompt" => {
            let (name, span) = required(frame, name, "ref.name")?;
            Ok(Reference::Prompt { name, span })
        }
        "ref/resource" => {
            let (uri, span) = required(frame, uri, "ref.uri")?;
            Ok(Reference::Resource { uri, span })
        }
        _ => Err(wrong("ref.type", "must be `ref/prompt` or `ref/resource`")),
    }
}

fn task(frame: &Frame, params: &Params, verb: TaskVerb) -> Result<Operation, Fault> {
    let (id, span) = required(frame, params.task_id, "taskId")?;
    Ok(Operation::Task { verb, id, span })
}

fn filter(frame: &Frame, params: &Params) -> Result<Filter, Fault> {
    const KEYS: [&str; 5] =
        ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds"];
    let span = params.notifications.ok_or(wrong("notifications", "is required"))?;
    let [tools, prompts, resources, uris, tasks] = object(frame, span, "notifications", KEYS)?;
    let flag = |span: Option<Span>, field| match span.map(|span| frame.text_of(span)) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(field, "must be a boolean")),
    };
    Ok(Filter {
        tools: flag(tools, "notifications.toolsListChanged")?,
        prompts: flag(prompts, "notifications.promptsListChanged")?,
        resources: flag(resources, "notifications.resourcesListChanged")?,
        uris: texts(frame, uris, "notifications.resourceSubscriptions")?,
        tasks: texts(frame, tasks, "notifications.taskIds")?,
    })
}

/// Reads an array of strings.
fn texts(frame: &Frame, span: Option<Span>, field: &'static str) -> Result<Vec<String>, Fault> {
    let Some(span) = span else {
        return Ok(Vec::new());
    };
    let mut spans = Vec::new();
    elements(frame.text_of(span), span.start, |item| {
        if spans.len() <= Filter::ITEMS_MAX {
            spans.push(item);
        }
    })
    .map_err(|_| wrong(field, "must be an array of strings"))?;
    if spans.len() > Filter::ITEMS_MAX {
        return Err(wrong(field, "has too many items"));
    }
    let decode = |span: Span| text(frame.text_of(span)).map(std::borrow::Cow::into_owned);
    spans.into_iter().map(|span| decode(span).ok_or(wrong(field, "must be an array of strings"))).collect()
}

fn cursor(frame: &Frame, params: &Params) -> Result<Option<String>, Fault> {
    params.cursor.map(|span| required(frame, Some(span), "cursor").map(|(cursor, _)| cursor)).transpose()
}

/// Reads a token or request id: a string or an integer.
fn handle(frame: &Frame, span: Span, field: &'static str) -> Result<Id, Fault> {
    Id::from_json(frame.text_of(span)).map_err(|_| wrong(field, "must be a string or an integer"))
}

/// Reads a required string.
fn required(frame: &Frame, span: Option<Span>, field: &'static str) -> Result<(String, Span), Fault> {
    let span = span.ok_or(wrong(field, "is required"))?;
    let text = text(frame.text_of(span)).ok_or(wrong(field, "must be a string"))?;
    Ok((text.into_owned(), span))
}

fn optional_object(frame: &Frame, span: Option<Span>, field: &'static str) -> Result<Option<Span>, Fault> {
    match span {
        Some(span) if !frame.text_of(span).starts_with('{') => Err(wrong(field, "must be an object")),
        other => Ok(other),
    }
}

/// Finds members of the object at `span`.
fn object<const N: usize>(
    frame: &Frame,
    span: Span,
    field: &'static str,
    keys: [&str; N],
) -> Result<[Option<Span>; N], Fault> {
    pick(frame.text_of(span), span.start, keys).map_err(|error| match error {
        MembersError::Duplicate { member } => {
            Fault::InvalidRequest { reason: InvalidRequest::Member { member: echo(&member) } }
        }
        MembersError::Type | MembersError::Syntax { .. } => wrong(field, "must be an object"),
    })
}

const fn wrong(field: &'static str, reason: &'static str) -> Fault {
    Fault::InvalidParams { field, reason }
}
