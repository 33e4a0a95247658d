//! Every name that spans, metrics and their attributes have.
//!
//! Semantic conventions where they exist (OpenTelemetry "Model Context Protocol" and "General"),
//! `quorate.*` otherwise. In Prometheus text a dot becomes an underscore, and unit and `_total`
//! are appended: `mcp.server.operation.duration` is `mcp_server_operation_duration_seconds`.

/// Names of metrics.
pub mod metric {
    /// Time from a client's request to the end of its answer, in seconds.
    pub const SERVER_OPERATION_DURATION: &str = "mcp.server.operation.duration";
    /// Time from a request to a tool server to the end of its answer, in seconds.
    pub const CLIENT_OPERATION_DURATION: &str = "mcp.client.operation.duration";
    /// Lifetime of a client's session, in seconds.
    pub const SERVER_SESSION_DURATION: &str = "mcp.server.session.duration";
    /// Requests that a stage turned away, by stage and reason.
    pub const REJECTIONS: &str = "quorate.rejections";
    /// What policy denied, by action, reason and the caller's tenant.
    pub const POLICY_DENIALS: &str = "quorate.policy.denials";
    /// What policies on trial would have denied, by action and policy.
    pub const POLICY_WOULD_DENY: &str = "quorate.policy.would_deny";
    /// Requests of known callers, by their tenant.
    pub const TENANT_REQUESTS: &str = "quorate.tenant.requests";
    /// Events with a record in the audit log.
    pub const AUDIT_RECORDS: &str = "quorate.audit.records";
    /// Events that the audit log counted and did not record, by reason.
    pub const AUDIT_SUPPRESSED: &str = "quorate.audit.suppressed";
    /// Writes and syncs of the audit log that failed.
    pub const AUDIT_WRITE_ERRORS: &str = "quorate.audit.write.errors";
    /// Bytes of records that were written to the audit log.
    pub const AUDIT_WRITTEN: &str = "quorate.audit.written";
    /// Bytes of all files of the audit log.
    pub const AUDIT_SIZE: &str = "quorate.audit.size";
    /// Files of the audit log.
    pub const AUDIT_SEGMENTS: &str = "quorate.audit.segments";
    /// Files of the audit log that were begun because one was full.
    pub const AUDIT_SEGMENTS_BEGUN: &str = "quorate.audit.segments.begun";
    /// Files of the audit log that were deleted for space.
    pub const AUDIT_SEGMENTS_DELETED: &str = "quorate.audit.segments.deleted";
    /// How often a limit was hit.
    pub const LIMIT_HITS: &str = "quorate.limit.hits";
    /// Open client connections.
    pub const CONNECTIONS: &str = "quorate.connections";
    /// Open client streams (server-sent events).
    pub const STREAMS: &str = "quorate.streams";
    /// Live sessions.
    pub const SESSIONS: &str = "quorate.sessions";
    /// Sessions that are their records alone.
    pub const SESSIONS_RESTING: &str = "quorate.sessions.resting";
    /// Requests in progress.
    pub const REQUESTS_ACTIVE: &str = "quorate.requests.active";
    /// Calls of stateless clients that wait for their client's answer to a tool server.
    pub const PARKED: &str = "quorate.calls.parked";
    /// Parkings of calls that ended, by result.
    pub const PARKINGS: &str = "quorate.call.parkings";
    /// Answers that were ready and reached nobody.
    pub const UNDELIVERED: &str = "quorate.answers.undelivered";
    /// Streams that were resumed, or should have been, by result.
    pub const RESUMPTIONS: &str = "quorate.stream.resumptions";
    /// Events that were written to streams of sessions.
    pub const EVENTS: &str = "quorate.stream.events";
    /// How often a tool server was read no further because a stream was full.
    pub const STALLS: &str = "quorate.stream.stalls";
    /// Sessions that were taken over from other nodes, by result.
    pub const TAKEOVERS: &str = "quorate.session.takeovers";
    /// Time from owning a shard until its sessions with something under way stand again, in seconds.
    pub const TAKEOVER_DURATION: &str = "quorate.shard.takeover.duration";
    /// Calls that were sent again because the node was lost that had sent them, by tool server.
    pub const REPLAYS: &str = "quorate.call.replays";
    /// Calls of which nobody knows whether they ran, by tool server.
    pub const UNKNOWN: &str = "quorate.call.unknown_outcomes";
    /// Lists that were served from the cache or had to be made.
    pub const LIST_CACHE: &str = "quorate.list.cache";
    /// Patterns of a toolset that match nothing that its servers list.
    pub const PATTERNS_UNMATCHED: &str = "quorate.toolset.patterns.unmatched";
    /// Requests in progress towards a tool server.
    pub const BACKEND_ACTIVE: &str = "quorate.backend.requests.active";
    /// Replicas of a tool server by state.
    pub const BACKEND_REPLICAS: &str = "quorate.backend.replicas";
    /// Ejections of replicas.
    pub const BACKEND_EJECTIONS: &str = "quorate.backend.ejections";
    /// Calls that were sent again to another replica, by reason.
    pub const BACKEND_RETRIES: &str = "quorate.backend.retries";
    /// Sessions towards a tool server that were initialised, by reason.
    pub const BACKEND_SESSIONS_OPENED: &str = "quorate.backend.sessions.opened";
    /// Probes of a tool server's era, by result.
    pub const BACKEND_PROBES: &str = "quorate.backend.probes";
    /// Attempts to get a token for a tool server, by result.
    pub const UPSTREAM_TOKEN_REFRESHES: &str = "quorate.upstream.token.refreshes";
    /// Tokens that were given up because the tool server refused them.
    pub const UPSTREAM_TOKEN_REFUSALS: &str = "quorate.upstream.token.refusals";
    /// Child processes of a tool server.
    pub const STDIO_CHILDREN: &str = "quorate.stdio.children";
    /// Child processes that wait for their first session.
    pub const STDIO_SPARES: &str = "quorate.stdio.spares";
    /// Child processes that were started.
    pub const STDIO_STARTS: &str = "quorate.stdio.starts";
    /// Child processes that ended, by reason.
    pub const STDIO_EXITS: &str = "quorate.stdio.exits";
    /// Lines of child processes that reached nobody, by reason.
    pub const STDIO_LINES_DROPPED: &str = "quorate.stdio.lines.dropped";
    /// Calls of sessions that a stateless tool server answered, by result.
    pub const BRIDGED_CALLS: &str = "quorate.bridged.calls";
    /// Requests for input that a stateless tool server made of sessions, by method.
    pub const BRIDGED_INPUTS: &str = "quorate.bridged.inputs";
    /// Time from asking a provider of models to the end of its answer, in seconds.
    pub const MODEL_OPERATION_DURATION: &str = "gen_ai.client.operation.duration";
    /// Tokens of calls of models, by type.
    pub const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
    /// Time from a client's request of a model to the end of its answer, in seconds.
    pub const MODEL_REQUEST_DURATION: &str = "gen_ai.server.request.duration";
    /// Time from a client's request of a model to the first token of a stream, in seconds.
    pub const TIME_TO_FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";
    /// Time between two tokens of a stream in the mean of a call, in seconds.
    pub const TIME_PER_OUTPUT_TOKEN: &str = "gen_ai.server.time_per_output_token";
    /// What calls of models cost, in dollars.
    pub const MODEL_COST: &str = "quorate.model.cost";
    /// Answers of models whose cost is not known.
    pub const MODEL_COST_UNKNOWN: &str = "quorate.model.cost.unknown";
    /// Calls of models whose tokens the gateway counted itself.
    pub const MODEL_COUNTED: &str = "quorate.model.counted";
    /// Calls of models that were tried again, by reason.
    pub const MODEL_RETRIES: &str = "quorate.model.retries";
    /// Calls of models that could be answered from the cache, by result.
    pub const MODEL_CACHE: &str = "quorate.model.cache";
    /// Records that were not sent to the collector, by reason.
    pub const RECORDS_DROPPED: &str = "quorate.records.dropped";
    /// Loads of the configuration, by result.
    pub const CONFIG_LOADS: &str = "quorate.config.loads";
    /// Always 1; the version is its attribute.
    pub const BUILD: &str = "quorate.build";
    /// Processor time of this process, in seconds.
    pub const PROCESS_CPU_TIME: &str = "process.cpu.time";
    /// Resident memory of this process, in bytes.
    pub const PROCESS_MEMORY: &str = "process.memory.usage";
    /// Open file descriptors of this process.
    pub const PROCESS_FILES: &str = "process.unix.file_descriptor.count";
    /// Time since this process started, in seconds.
    pub const PROCESS_UPTIME: &str = "process.uptime";
}

/// Keys of attributes, of metrics and spans alike.
pub mod attribute {
    /// The JSON-RPC method.
    pub const METHOD: &str = "mcp.method.name";
    /// The protocol revision, such as `2026-07-28`.
    pub const REVISION: &str = "mcp.protocol.version";
    /// The class of an error; absent on success.
    pub const ERROR_TYPE: &str = "error.type";
    /// The tool that is called (spans only: its values are not bounded).
    pub const TOOL: &str = "gen_ai.tool.name";
    /// The prompt that is got (spans only).
    pub const PROMPT: &str = "gen_ai.prompt.name";
    /// The kind of generative-AI operation; `execute_tool` for a tool call in spans.
    pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
    /// A model, by the name of its resource in metrics, and as it was asked for in spans.
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// The model that answered, as its provider calls it (spans only: its values are not bounded).
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// A provider, by the name of its resource.
    pub const PROVIDER: &str = "gen_ai.provider.name";
    /// The provider's id of an answer (spans only, as all that follows of answers).
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    /// Why a model said no more.
    pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    /// Tokens of the input of a call.
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// Of those, read from the provider's cache.
    pub const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    /// Of those, written to the provider's cache.
    pub const CACHE_WRITTEN_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
    /// Tokens of the output of a call.
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    /// The name of a model's resource (spans only).
    pub const MODEL: &str = "quorate.model";
    /// A model, as its provider was asked for it (spans only).
    pub const TARGET_MODEL: &str = "quorate.target.model";
    /// How many targets were asked for a call (spans only).
    pub const ATTEMPTS: &str = "quorate.attempts";
    /// What the cache said (spans only): `hit` or `miss`.
    pub const CACHE: &str = "quorate.cache";
    /// What a call cost in dollars, where that is known (spans only).
    pub const COST: &str = "quorate.cost";
    /// Which tokens are counted: `input` or `output`.
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    /// The JSON-RPC id (spans only).
    pub const REQUEST_ID: &str = "jsonrpc.request.id";
    /// The HTTP status of an answer.
    pub const STATUS: &str = "http.response.status_code";
    /// The HTTP method (spans only).
    pub const HTTP_METHOD: &str = "http.request.method";
    /// The route that a request took, a template without values.
    pub const ROUTE: &str = "http.route";
    /// The name of a tool server's resource.
    pub const SERVER: &str = "quorate.server";
    /// The name of a toolset's resource.
    pub const TOOLSET: &str = "quorate.toolset";
    /// The name of a listener's resource.
    pub const LISTENER: &str = "quorate.listener";
    /// What a caller wants to do, as policies name it.
    pub const ACTION: &str = "quorate.action";
    /// The name of a policy's resource.
    pub const POLICY: &str = "quorate.policy";
    /// The tenant of a caller.
    pub const TENANT: &str = "quorate.tenant";
    /// The pipeline stage.
    pub const STAGE: &str = "quorate.stage";
    /// Why something happened: a constant of the code, never text from outside.
    pub const REASON: &str = "quorate.reason";
    /// The limit that was hit, by its configuration key.
    pub const LIMIT: &str = "quorate.limit";
    /// How something ended.
    pub const RESULT: &str = "quorate.result";
    /// What a list lists.
    pub const LIST: &str = "quorate.list";
    /// The state of a replica.
    pub const STATE: &str = "quorate.state";
    /// The version of this build.
    pub const VERSION: &str = "service.version";
}

/// Names of spans: one per pipeline stage, `stage.verb`.
pub mod span {
    /// The whole of one HTTP request.
    pub const REQUEST: &str = "listener.serve";
    /// Who calls.
    pub const AUTHENTICATE: &str = "authenticate.verify";
    /// What is asked, in which protocol revision.
    pub const CLASSIFY: &str = "classify.read";
    /// Whether it is allowed.
    pub const AUTHORIZE: &str = "authorize.decide";
    /// Which backend has it.
    pub const ROUTE: &str = "route.select";
    /// Whether there is room for it.
    pub const ADMIT: &str = "admit.reserve";
    /// Whether its content may pass.
    pub const INSPECT: &str = "inspect.check";
    /// The call to the backend, or to the session that makes it.
    pub const DISPATCH: &str = "dispatch.call";
    /// Writing the answer.
    pub const RESPOND: &str = "respond.write";
}

/// The `tracing` target of every exported span; nothing else is exported as one.
pub const SPAN_TARGET: &str = "quorate::span";

/// The `tracing` target of events that are records, one for each call of a model; nothing else is exported as one.
pub const RECORD_TARGET: &str = "quorate::call";
