//! Typed views of what a client sends: only what a later stage needs, with spans.
//!
//! In: a frame. Out: a [`Call`], whose operation names the tool, prompt, URI, cursor or task, each
//! with its span so that it can be replaced, and whose [`Meta`] says where the reserved keys of
//! `_meta` are. Arguments, schemas and contents stay bytes.
//!
//! Views are the same for all revisions; whether a revision knows the method is decided by
//! [`crate::classify()`]. Specification: `schema` of each revision.

use std::borrow::Cow;

use quorate_jsonrpc::{Frame, Id, Span, text};

use crate::method::Method;

/// One message of a client, read as far as the gateway needs.
#[derive(Clone, Debug)]
pub struct Call {
    /// The message itself.
    pub frame: Frame,
    /// What it asks for.
    pub operation: Operation,
    /// The token under which the client wants progress, and where it stands.
    pub progress_token: Option<(Id, Span)>,
    /// Where the reserved keys of `_meta` are.
    pub meta: Meta,
}

/// Where the keys of `params._meta` that we read are. Spans are of raw values in the frame.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// `_meta` itself, an object.
    pub span: Option<Span>,
    /// `io.modelcontextprotocol/protocolVersion`.
    pub version: Option<Span>,
    /// `io.modelcontextprotocol/clientCapabilities`.
    pub capabilities: Option<Span>,
    /// `io.modelcontextprotocol/clientInfo`.
    pub client_info: Option<Span>,
    /// `io.modelcontextprotocol/logLevel`.
    pub log_level: Option<Span>,
    /// `io.modelcontextprotocol/related-task`.
    pub related_task: Option<Span>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<Span>,
    /// `tracestate` (W3C Trace Context).
    pub tracestate: Option<Span>,
    /// `progressToken`.
    pub progress_token: Option<Span>,
}

/// What a client's message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Open a legacy session.
    Initialize {
        /// The revision that the client asks for.
        requested: String,
        /// Its capabilities, a raw object.
        capabilities: Span,
        /// Its name and version, a raw object.
        client_info: Span,
    },
    /// Answer with nothing.
    Ping,
    /// Say what is offered.
    Discover,
    /// List.
    List {
        /// What.
        kind: ListKind,
        /// Where to go on; `""` is a cursor too.
        cursor: Option<String>,
    },
    /// Call a tool.
    CallTool {
        /// The tool, as exposed to the client.
        name: String,
        /// Where the name stands, quotes included.
        name_span: Span,
        /// The arguments, a raw object.
        arguments: Option<Span>,
        /// The request to run it as a task (2025-11-25), a raw object.
        task: Option<Span>,
    },
    /// Render a prompt.
    GetPrompt {
        /// The prompt, as exposed to the client.
        name: String,
        /// Where the name stands, quotes included.
        name_span: Span,
        /// The arguments, a raw object.
        arguments: Option<Span>,
    },
    /// Read a resource.
    ReadResource {
        /// The URI, as exposed to the client.
        uri: String,
        /// Where it stands, quotes included.
        span: Span,
    },
    /// Complete an argument.
    Complete {
        /// Of what.
        reference: Reference,
    },
    /// Subscribe to a resource (legacy).
    Subscribe {
        /// The URI, as exposed to the client.
        uri: String,
        /// Where it stands, quotes included.
        span: Span,
    },
    /// End a subscription (legacy).
    Unsubscribe {
        /// The URI, as exposed to the client.
        uri: String,
        /// Where it stands, quotes included.
        span: Span,
    },
    /// Set the session's log level (legacy).
    SetLevel {
        /// The level.
        level: Level,
    },
    /// Open a stream of change notifications (modern).
    Listen {
        /// What to notify of.
        filter: Filter,
    },
    /// Do something to one task.
    Task {
        /// What.
        verb: TaskVerb,
        /// The task, as exposed to the client.
        id: String,
        /// Where the id stands, quotes included.
        span: Span,
    },
    /// List tasks (2025-11-25).
    ListTasks {
        /// Where to go on.
        cursor: Option<String>,
    },
    /// The session's opening is complete.
    Initialized,
    /// Give up a request.
    Cancelled {
        /// Which; absent where 2025-11-25 cancels a task by other means.
        request_id: Option<(Id, Span)>,
    },
    /// The client's roots changed.
    RootsListChanged,
    /// Progress of a request that the server sent.
    Progress {
        /// The token that the server gave.
        token: Id,
        /// Where it stands.
        span: Span,
    },
    /// An answer to a request that the server sent.
    Response,
    /// A notification that we do not read.
    OtherNotification,
}

/// The lists that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
}

/// What a completion is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An argument of a prompt (`ref/prompt`).
    Prompt {
        /// The prompt, as exposed to the client.
        name: String,
        /// Where the name stands, quotes included.
        span: Span,
    },
    /// A variable of a resource template (`ref/resource`).
    Resource {
        /// The URI or template, as exposed to the client.
        uri: String,
        /// Where it stands, quotes included.
        span: Span,
    },
}

/// What is done to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskVerb {
    /// Read its status.
    Get,
    /// Wait for its result (2025-11-25).
    Result,
    /// Answer its input requests (tasks extension).
    Update,
    /// Cancel it.
    Cancel,
}

/// The severities of RFC 5424 that `logging` uses, least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// `debug`.
    Debug,
    /// `info`.
    Info,
    /// `notice`.
    Notice,
    /// `warning`.
    Warning,
    /// `error`.
    Error,
    /// `critical`.
    Critical,
    /// `alert`.
    Alert,
    /// `emergency`.
    Emergency,
}

/// What a `subscriptions/listen` stream notifies of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Changes of these resources, as exposed to the client; at most [`Filter::ITEMS_MAX`].
    pub uris: Vec<String>,
    /// Changes of these tasks (tasks extension); at most [`Filter::ITEMS_MAX`].
    pub tasks: Vec<String>,
}

// === impl Call ===

impl Call {
    /// Returns the method, `None` for a response and for a notification outside of the protocol.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.frame.method().and_then(Method::parse)
    }

    /// Returns the request's id; notifications have none.
    #[must_use]
    pub const fn id(&self) -> Option<&Id> {
        self.frame.id()
    }

    /// Returns the raw text under a span of this call's frame.
    ///
    /// # Panics
    /// When the span is of another frame.
    #[must_use]
    pub fn raw(&self, span: Span) -> &str {
        self.frame.text_of(span)
    }

    /// Returns the W3C `traceparent` of `_meta`, when it is a text.
    #[must_use]
    pub fn traceparent(&self) -> Option<Cow<'_, str>> {
        self.meta.traceparent.and_then(|span| text(self.raw(span)))
    }

    /// Returns the W3C `tracestate` of `_meta`, when it is a text.
    #[must_use]
    pub fn tracestate(&self) -> Option<Cow<'_, str>> {
        self.meta.tracestate.and_then(|span| text(self.raw(span)))
    }

    /// Returns the client's capabilities as this request declares them (modern), raw.
    #[must_use]
    pub fn client_capabilities(&self) -> Option<&str> {
        self.meta.capabilities.map(|span| self.raw(span))
    }

    /// Returns the log level that this request asks for (modern).
    #[must_use]
    pub fn log_level(&self) -> Option<Level> {
        let raw = text(self.raw(self.meta.log_level?))?;
        Level::parse(&raw)
    }
}

// === impl ListKind ===

impl ListKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    /// Returns the method that lists this kind.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Tools => Method::ListTools,
            Self::Prompts => Method::ListPrompts,
            Self::Resources => Method::ListResources,
            Self::ResourceTemplates => Method::ListResourceTemplates,
        }
    }

    /// Returns the member of the result that holds the items.
    #[must_use]
    pub const fn result_key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
        }
    }

    /// Returns the member of an item that identifies it.
    #[must_use]
    pub const fn item_key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }

    /// Returns the capability that a server with this list declares.
    #[must_use]
    pub const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::ResourceTemplates => "resources",
        }
    }
}

// === impl TaskVerb ===

impl TaskVerb {
    /// Returns the method of this verb.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Get => Method::GetTask,
            Self::Result => Method::TaskResult,
            Self::Update => Method::UpdateTask,
            Self::Cancel => Method::CancelTask,
        }
    }
}

// === impl Level ===

impl Level {
    /// All levels, least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// Returns the level that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    /// Returns the level's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

// === impl Filter ===

impl Filter {
    /// The most URIs, and the most tasks, of one filter: a filter is kept as long as its stream
    /// is open, and each URI may cost a subscription upstream.
    pub const ITEMS_MAX: usize = 1024;

    /// Tells whether nothing is asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.tools && !self.prompts && !self.resources && self.uris.is_empty() && self.tasks.is_empty()
    }
}
