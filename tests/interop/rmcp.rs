//! Drives rmcp's client through plans, one job after the other, as the drivers in Python and TypeScript do: jobs come as
//! lines of standard input, and each feature is answered with a JSON object. The interoperability test starts itself
//! with `drive-rmcp` to run this in a process of its own.
//!
//! Every feature is tried on its own, with a time limit; a failure is a line with `ok: false` and the reason, and
//! the next feature goes on.

#![expect(deprecated, reason = "the legacy era needs methods that SEP-2577 and 2026-07-28 removed")]

use std::{
    future::Future,
    io::Write as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use quorate_tests::interop::{Job, Mode, Target};
use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
        ClientRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult,
        ElicitationAction, ElicitationCapability, GetPromptRequestParams, GetTaskParams, Implementation,
        ListToolsRequest, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
        ReadResourceRequestParams, RequestMetaObject, ResourceContents, ResourceUpdatedNotificationParam,
        SamplingCapability, SamplingMessage, ServerNotification, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, TASKS_EXTENSION_ID, TaskPayload, UnsubscribeRequestParams,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions, RequestContext,
        RunningService,
    },
    transport::StreamableHttpClientTransport,
};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

/// How long one feature may take.
const FEATURE: Duration = Duration::from_secs(25);

/// Looks for something that comes soon, and the pause between two of them.
const LOOKS_MAX: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Lists that are fetched to learn which arguments are mirrored.
const LISTS_MAX: usize = 5;

/// With what the server shows each feature.
type Steps = Map<String, Value>;

type Attempt<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// What the server has sent besides answers.
#[derive(Debug, Default)]
struct Seen {
    logs: usize,
    progress: Vec<f64>,
    updates: Vec<String>,
    changes: usize,
}

/// The client's side of the conversation.
#[derive(Debug, Clone)]
struct Handler {
    plan: Arc<Steps>,
    mode: Mode,
    seen: Arc<Mutex<Seen>>,
}

/// A connected client and its plan.
struct Driver {
    plan: Arc<Steps>,
    mode: Mode,
    seen: Arc<Mutex<Seen>>,
    client: RunningService<RoleClient, Handler>,
}

/// Does the jobs that come on standard input.
///
/// # Errors
///
/// A job is none, or nobody listens to the answers.
pub(crate) fn drive() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for line in std::io::stdin().lines() {
        let job: Job = serde_json::from_str(&line?).context("a line is a job")?;
        let reason = runtime.block_on(work(job)).err().map(|error| format!("{error:#}"));
        say(&json!({ "end": reason }))?;
    }
    Ok(())
}

async fn work(job: Job) -> anyhow::Result<()> {
    let Target::Url(url) = &job.target else {
        bail!("this driver knows servers with a URL only");
    };
    let driver = Driver::connect(Arc::new(job.plan), url, job.mode).await?;
    for feature in &job.features {
        let (ok, detail) = driver.attempt(feature).await;
        say(&json!({ "feature": feature, "ok": ok, "detail": detail }))?;
    }
    driver.client.cancel().await?;
    Ok(())
}

fn say(line: &Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

// === impl Driver ===

impl Driver {
    async fn connect(plan: Arc<Steps>, url: &str, mode: Mode) -> anyhow::Result<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let handler = Handler { plan: plan.clone(), mode, seen: seen.clone() };
        let lifecycle = match mode {
            Mode::Legacy => ClientLifecycleMode::Initialize,
            Mode::Modern => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
            Mode::Sse => bail!("rmcp has no client of HTTP+SSE"),
        };
        let transport = StreamableHttpClientTransport::from_uri(url);
        let connecting = handler.serve_with_lifecycle(transport, lifecycle);
        let client = timeout(FEATURE, connecting).await.context("no connection in time")??;
        Ok(Self { plan, mode, seen, client })
    }

    async fn attempt(&self, feature: &str) -> (bool, String) {
        let step = step_of(&self.plan, feature);
        let attempt: Attempt<'_> = match feature {
            "connect" => Box::pin(self.connected()),
            "tools" => Box::pin(self.tools(step)),
            "call" | "elicitation" | "sampling" | "reconnection" => Box::pin(self.says(step)),
            "headers" => Box::pin(self.headers(step)),
            "error" => Box::pin(self.error(step)),
            "unknown" => Box::pin(self.unknown(step)),
            "structured" => Box::pin(self.structured(step)),
            "progress" => Box::pin(self.progress(step)),
            "logging" => Box::pin(self.logging(step)),
            "prompts" => Box::pin(self.prompts(step)),
            "resources" => Box::pin(self.resources(step)),
            "templates" => Box::pin(self.templates(step)),
            "completion" => Box::pin(self.completion(step)),
            "tasks" => Box::pin(self.task(step)),
            "updates" => Box::pin(self.updates(step)),
            "changes" => Box::pin(self.changes(step)),
            "cancellation" => Box::pin(self.cancellation(step)),
            _ => Box::pin(async { bail!("this driver does not know the feature") }),
        };
        match timeout(FEATURE, attempt).await {
            Ok(Ok(())) => (true, String::new()),
            Ok(Err(error)) => (false, format!("{error:#}")),
            Err(_) => (false, format!("no end in {FEATURE:?}")),
        }
    }

    async fn connected(&self) -> anyhow::Result<()> {
        let peer = self.client.peer_info().context("the server did not introduce itself")?;
        let modern = peer.protocol_version == ProtocolVersion::V_2026_07_28;
        ensure!(modern == (self.mode == Mode::Modern), "negotiated {}", peer.protocol_version);
        Ok(())
    }

    async fn tools(&self, step: &Value) -> anyhow::Result<()> {
        let names = self.tool_names().await?;
        let expected = step.as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing: Vec<_> = expected.filter(|name| !names.iter().any(|listed| listed == name)).collect();
        ensure!(missing.is_empty(), "not listed: {missing:?}");
        Ok(())
    }

    async fn says(&self, step: &Value) -> anyhow::Result<()> {
        says(&self.call(step).await?, text(step, "says"))
    }

    /// Lists and calls; again when the server misses a header. A client has to (2026-07-28, tools), and rmcp 3.11.0
    /// leaves it to its user; besides, its transport does not note the schemas of a list whose event stream ends in
    /// the same turn (`drain_queued_stream_messages` goes past the note).
    async fn headers(&self, step: &Value) -> anyhow::Result<()> {
        for _ in 0..LISTS_MAX {
            self.client.send_request(ClientRequest::ListToolsRequest(ListToolsRequest::default())).await?;
            match self.call(step).await {
                Err(error) if format!("{error:?}").contains("-32020") => {}
                result => return says(&result?, text(step, "says")),
            }
        }
        bail!("the headers are missing after {LISTS_MAX} lists")
    }

    async fn error(&self, step: &Value) -> anyhow::Result<()> {
        ensure!(self.call(step).await?.is_error == Some(true), "the tool did not fail");
        Ok(())
    }

    async fn unknown(&self, step: &Value) -> anyhow::Result<()> {
        match self.call(step).await {
            Ok(result) => ensure!(result.is_error == Some(true), "an unknown tool answered"),
            Err(error) => ensure!(format!("{error:?}").contains("-32602"), "{error:#}"),
        }
        Ok(())
    }

    async fn structured(&self, step: &Value) -> anyhow::Result<()> {
        let content = self.call(step).await?.structured_content.unwrap_or_default();
        for (key, value) in step["content"].as_object().into_iter().flatten() {
            ensure!(content.get(key) == Some(value), "{key} is {:?}", content.get(key));
        }
        Ok(())
    }

    async fn progress(&self, step: &Value) -> anyhow::Result<()> {
        self.seen().progress.clear();
        self.call(step).await?;
        let count = number(step, "count");
        // rmcp hands notifications to tasks of their own: the last may come after the answer, and out of order.
        self.soon("progress", |seen| seen.progress.len() == count).await
    }

    async fn logging(&self, step: &Value) -> anyhow::Result<()> {
        self.seen().logs = 0;
        let announced = self.client.peer_info().is_some_and(|peer| peer.capabilities.logging.is_some());
        if self.mode != Mode::Modern && announced {
            self.client.set_level(SetLevelRequestParams::new(LoggingLevel::Debug)).await?;
        }
        self.call(step).await?;
        let count = number(step, "count");
        self.soon("log messages", |seen| seen.logs >= count).await
    }

    async fn prompts(&self, step: &Value) -> anyhow::Result<()> {
        let name = text(step, "prompt");
        let listed = self.client.list_all_prompts().await?;
        ensure!(listed.iter().any(|prompt| prompt.name == name), "the prompt is not listed");
        let arguments = step["arguments"].as_object().cloned().unwrap_or_default();
        let request = GetPromptRequestParams::new(name).with_arguments(arguments);
        let said = serde_json::to_string(&self.client.get_prompt(request).await?.messages)?;
        ensure!(said.contains(text(step, "says")), "the prompt says {said}");
        Ok(())
    }

    async fn resources(&self, step: &Value) -> anyhow::Result<()> {
        let listed = self.client.list_all_resources().await?;
        ensure!(listed.iter().any(|resource| resource.uri == text(step, "uri")), "the resource is not listed");
        self.read(step).await
    }

    async fn templates(&self, step: &Value) -> anyhow::Result<()> {
        let listed = self.client.list_all_resource_templates().await?;
        let template = text(step, "template");
        ensure!(listed.iter().any(|listed| listed.uri_template == template), "the template is not listed");
        self.read(step).await
    }

    async fn read(&self, step: &Value) -> anyhow::Result<()> {
        let result = self.client.read_resource(ReadResourceRequestParams::new(text(step, "uri"))).await?;
        let said = result.contents.iter().filter_map(|content| match content {
            ResourceContents::TextResourceContents { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let said: Vec<_> = said.collect();
        ensure!(said.iter().any(|part| part.contains(text(step, "says"))), "the resource says {said:?}");
        Ok(())
    }

    async fn completion(&self, step: &Value) -> anyhow::Result<()> {
        let (prompt, argument, value) = (text(step, "prompt"), text(step, "argument"), text(step, "value"));
        let values = self.client.complete_prompt_simple(prompt, argument, value).await?;
        ensure!(json!(values) == step["values"], "values are {values:?}");
        Ok(())
    }

    async fn task(&self, step: &Value) -> anyhow::Result<()> {
        let CallToolResponse::Task(created) = self.client.call_tool_once(self.request(step)).await? else {
            bail!("the call did not become a task");
        };
        for _ in 0..LOOKS_MAX {
            let request = GetTaskParams::new(created.task.task_id.clone());
            match self.client.get_task(request).await?.task.payload {
                TaskPayload::Completed { result } => {
                    return says(&serde_json::from_value(result.into())?, text(step, "says"));
                }
                TaskPayload::Working => sleep(PAUSE).await,
                other => bail!("the task is {other:?}"),
            }
        }
        bail!("the task does not end")
    }

    async fn updates(&self, step: &Value) -> anyhow::Result<()> {
        let uri = text(step, "uri");
        if self.mode == Mode::Modern {
            let filter = SubscriptionFilter::builder().resource_subscriptions([uri]).build();
            return self.listen(filter, step, |note| {
                matches!(note, ServerNotification::ResourceUpdatedNotification(note) if note.params.uri == uri)
            })
            .await;
        }
        self.seen().updates.clear();
        self.client.subscribe(SubscribeRequestParams::new(uri)).await?;
        self.trigger(step).await?;
        self.soon("the update", |seen| seen.updates.iter().any(|updated| updated == uri)).await?;
        self.client.unsubscribe(UnsubscribeRequestParams::new(uri)).await?;
        Ok(())
    }

    async fn changes(&self, step: &Value) -> anyhow::Result<()> {
        let tool = text(step, "tool");
        let listed = |names: Vec<String>| names.iter().any(|name| name == tool);
        let before = listed(self.tool_names().await?);
        if self.mode == Mode::Modern {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            self.listen(filter, step, |note| matches!(note, ServerNotification::ToolListChangedNotification(_)))
                .await?;
        } else {
            self.seen().changes = 0;
            self.trigger(step).await?;
            self.soon("the change", |seen| seen.changes > 0).await?;
        }
        ensure!(listed(self.tool_names().await?) != before, "the list is the old one");
        Ok(())
    }

    async fn cancellation(&self, step: &Value) -> anyhow::Result<()> {
        let before = self.cancelled(step).await?;
        self.seen().progress.clear();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(self.request(step)));
        let call = self.client.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
        self.soon("the call to run", |seen| !seen.progress.is_empty()).await?;
        call.cancel(Some("the test cancels".to_owned())).await?;
        for _ in 0..LOOKS_MAX {
            if step.get("counter").is_none() || self.cancelled(step).await? > before {
                return self.says(step_of(&self.plan, "call")).await;
            }
            sleep(PAUSE).await;
        }
        bail!("the server was not told")
    }

    async fn cancelled(&self, step: &Value) -> anyhow::Result<u64> {
        let Some(counter) = step.get("counter") else {
            return Ok(0);
        };
        let result = self.call(&json!({ "tool": counter })).await?;
        let said = result.content.first().and_then(|block| block.as_text()).context("the counter says nothing")?;
        let said: Value = serde_json::from_str(&said.text)?;
        said.as_u64().or_else(|| said["count"].as_u64()).context("the counter does not count")
    }

    /// Opens a subscription, pulls the trigger and waits for a notification that `is_it`.
    async fn listen(
        &self,
        filter: SubscriptionFilter,
        step: &Value,
        is_it: impl Fn(&ServerNotification) -> bool,
    ) -> anyhow::Result<()> {
        let mut subscription = self.client.listen(filter).await?;
        self.trigger(step).await?;
        while let Some(note) = subscription.next().await? {
            if is_it(&note) {
                subscription.cancel().await?;
                return Ok(());
            }
        }
        bail!("the subscription ended")
    }

    async fn trigger(&self, step: &Value) -> anyhow::Result<()> {
        let result = self.call(&json!({ "tool": text(step, "trigger"), "arguments": step["arguments"] })).await?;
        ensure!(result.is_error != Some(true), "the trigger failed: {:?}", result.content);
        Ok(())
    }

    async fn call(&self, step: &Value) -> anyhow::Result<CallToolResult> {
        Ok(self.client.call_tool(self.request(step)).await?)
    }

    fn request(&self, step: &Value) -> CallToolRequestParams {
        let arguments = step["arguments"].as_object().cloned().unwrap_or_default();
        let mut request = CallToolRequestParams::new(text(step, "tool").to_owned()).with_arguments(arguments);
        if self.mode == Mode::Modern {
            // A modern server logs only for a request that asks for it.
            let mut meta = RequestMetaObject::new();
            meta.set_log_level(LoggingLevel::Debug);
            request.meta = Some(meta);
        }
        request
    }

    async fn tool_names(&self) -> anyhow::Result<Vec<String>> {
        let tools = self.client.list_all_tools().await?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    async fn soon(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            if condition(&self.seen()) {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        bail!("{what} did not come: {:?}", self.seen())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

// === impl Handler ===

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        capabilities.sampling = Some(SamplingCapability::default());
        if self.mode == Mode::Modern {
            let tasks = (TASKS_EXTENSION_ID.to_owned(), Map::new());
            capabilities.extensions = Some([tasks].into());
        }
        ClientConfig::new(capabilities, Implementation::new("interop-rmcp", "1.0.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let answer = text(step_of(&self.plan, "sampling"), "answer");
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(answer), "driver".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let answer = step_of(&self.plan, "elicitation")["answer"].clone();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(answer))
    }

    async fn on_progress(&self, note: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        lock(&self.seen).progress.push(note.progress);
    }

    async fn on_logging_message(&self, _: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        lock(&self.seen).logs += 1;
    }

    async fn on_resource_updated(&self, note: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        lock(&self.seen).updates.push(note.uri);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        lock(&self.seen).changes += 1;
    }
}

fn says(result: &CallToolResult, expected: &str) -> anyhow::Result<()> {
    let said: Vec<_> = result.content.iter().filter_map(|block| block.as_text()).map(|block| &block.text).collect();
    ensure!(result.is_error != Some(true), "the tool failed: {said:?}");
    ensure!(said.iter().any(|part| part.contains(expected)), "expected {expected:?} in {said:?}");
    Ok(())
}

/// With what a feature is shown; null when it is not.
fn step_of<'a>(plan: &'a Steps, feature: &str) -> &'a Value {
    plan.get(feature).unwrap_or(&Value::Null)
}

fn text<'a>(step: &'a Value, key: &str) -> &'a str {
    step[key].as_str().unwrap_or_default()
}

fn number(step: &Value, key: &str) -> usize {
    step[key].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
