//! What a tenant has at a gateway that others could do something with, and the proof that it has it still.

use anyhow::{Context as _, ensure};
use quorate_tests::raw::client::Answer;
use serde_json::{Value, json};

use crate::{
    party::{Party, Reply},
    world::{COMMON, COUNTERFEIT, WIDE},
};

/// One who has sessions, tasks, a call that waits and a place in a list; their texts are in the hands of others.
pub(crate) struct Victim<'a> {
    pub(crate) party: &'a Party,
    pub(crate) loot: Loot,
    /// The stream of its session, and that of its session of 2024-11-05.
    stream: Answer,
    _sse: Answer,
    question: String,
    /// What its lists showed.
    tools: Reply,
}

/// The texts of what a tenant has.
#[derive(Clone, Debug)]
pub(crate) struct Loot {
    /// The name with which the names of all that is its own begin.
    pub(crate) tenant: String,
    /// A session on the common toolset, one of 2024-11-05 there, and one on its own toolset.
    pub(crate) session: String,
    pub(crate) sse: String,
    pub(crate) own_session: String,
    /// Tasks of the common toolset: of the extension, and of 2025-11-25.
    pub(crate) task: String,
    pub(crate) work: String,
    /// Where its call waits.
    pub(crate) state: String,
    pub(crate) cursor: String,
}

// === impl Victim ===

impl<'a> Victim<'a> {
    /// Lets a tenant have what it can have.
    pub(crate) fn settle(party: &'a Party) -> anyhow::Result<Self> {
        let name = |ending: &str| format!("{}{ending}", party.tenant);
        let tools = party.modern(COMMON, "tools/list", json!({}))?;
        let session = party.open(COMMON)?;
        let own_session = party.open(&format!("/mcp/{}", name("-tools")))?;
        party.ask(COMMON, &session, "tools/list", json!({}))?.result()?;
        let subscription = json!({ "uri": name("-desk://doc") });
        party.ask(COMMON, &session, "resources/subscribe", subscription)?.result()?;
        let stream = party.listen(COMMON, &session, None)?;
        let (sse, endpoint) = open_sse(party)?;
        let task = party.modern(COMMON, "tools/call", json!({ "name": name("-job") }))?.result()?;
        let work = json!({ "name": name("-work"), "task": { "ttl": 3_600_000 } });
        let work = party.ask(COMMON, &session, "tools/call", work)?.result()?;
        let waits = party.modern(COMMON, "tools/call", asked(party.tenant))?.result()?;
        let questions = waits["inputRequests"].as_object().with_context(|| format!("no question: {waits}"))?;
        let page = party.modern(WIDE, "prompts/list", json!({}))?.result()?;
        let text = |of: &Value| of.as_str().map(str::to_owned).with_context(|| format!("no text: {of}"));
        let loot = Loot {
            tenant: party.tenant.to_owned(),
            session,
            sse: endpoint,
            own_session,
            task: text(&task["taskId"])?,
            work: text(&work["task"]["taskId"])?,
            state: text(&waits["requestState"])?,
            cursor: text(&page["nextCursor"])?,
        };
        let question = questions.keys().next().context("a question")?.clone();
        Ok(Self { party, loot, stream, _sse: sse, question, tools })
    }

    /// Checks that everything is as it was.
    pub(crate) fn has_all(&self) -> anyhow::Result<()> {
        let (party, loot) = (self.party, &self.loot);
        party.ask(COMMON, &loot.session, "ping", json!({}))?.result().context("its session")?;
        party.ask(&format!("/mcp/{}-tools", loot.tenant), &loot.own_session, "ping", json!({}))?.result()?;
        let again = party.modern(COMMON, "tools/list", json!({}))?;
        ensure!(listed(&again)? == listed(&self.tools)?, "its list: {} and then {}", self.tools.body, again.body);
        let task = party.modern(COMMON, "tasks/get", json!({ "taskId": loot.task }))?.result().context("its task")?;
        ensure!(task["status"] == "working" && task["taskId"] == loot.task.as_str(), "its task: {task}");
        let work = party.ask(COMMON, &loot.session, "tasks/get", json!({ "taskId": loot.work }))?;
        let work = work.result().context("its work")?;
        ensure!(work["status"] == "working" && work["taskId"] == loot.work.as_str(), "its work: {work}");
        let tasks = party.ask(COMMON, &loot.session, "tasks/list", json!({}))?.result()?;
        let mut listed = tasks["tasks"].as_array().into_iter().flatten();
        ensure!(listed.any(|task| task["taskId"] == loot.work.as_str()), "its work is not listed: {tasks}");
        let mut retry = asked(party.tenant);
        retry["requestState"] = json!(loot.state);
        retry["inputResponses"][&self.question] = json!({ "action": "accept", "content": { "word": "own" } });
        let heard = party.modern(COMMON, "tools/call", retry)?.result().context("its call that waits")?;
        ensure!(heard.to_string().contains("own"), "its call heard: {heard}");
        party.modern(WIDE, "prompts/list", json!({ "cursor": loot.cursor }))?.result().context("its cursor")?;
        Ok(())
    }

    /// What only it is to hear of the desk: of its resource, and of its task there, of this id.
    pub(crate) fn news(&self, task: &str) -> [Value; 2] {
        let at = "2026-01-01T00:00:00Z";
        let task = json!({
            "taskId": task, "status": "working", "createdAt": at, "lastUpdatedAt": at, "ttl": 3_600_000,
            "statusMessage": format!("{task} goes on"),
        });
        let uri = format!("{}-desk://doc", self.loot.tenant);
        [
            json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/tasks/status", "params": task }),
        ]
    }

    /// Reads its stream until it has told of its resource and of its task.
    pub(crate) fn hears(&mut self) -> anyhow::Result<()> {
        let (mut updated, mut task) = (false, false);
        while !updated || !task {
            let message = self.stream.next_message()?.context("its stream ended")?;
            let params = &message["params"];
            updated |= params["uri"] == format!("{}-desk://doc", self.loot.tenant);
            task |= params["taskId"] == self.loot.work.as_str();
        }
        Ok(())
    }

    /// Ends its sessions.
    pub(crate) fn leaves(self) -> anyhow::Result<()> {
        for (path, id) in [
            (COMMON.to_owned(), &self.loot.session),
            (format!("/mcp/{}-tools", self.loot.tenant), &self.loot.own_session),
        ] {
            let gone = self.party.delete(&path, id)?;
            ensure!(gone.status == 200, "its session cannot be ended: {}", gone.text());
        }
        Ok(())
    }
}

// === impl Loot ===

impl Loot {
    /// The same for nobody: of the same shape, and of no meaning.
    pub(crate) fn counterfeit(&self) -> Self {
        Self {
            tenant: COUNTERFEIT.to_owned(),
            session: altered(&self.session),
            sse: altered(&self.sse),
            own_session: altered(&self.own_session),
            task: altered(&self.task),
            work: altered(&self.work),
            state: altered(&self.state),
            cursor: altered(&self.cursor),
        }
    }

    /// All texts.
    pub(crate) fn texts(&self) -> [&str; 8] {
        let Self { tenant, session, sse, own_session, task, work, state, cursor } = self;
        [tenant, session, sse, own_session, task, work, state, cursor].map(String::as_str)
    }
}

/// The parameters of a call that waits for its client.
pub(crate) fn asked(tenant: &str) -> Value {
    json!({ "name": format!("{tenant}-ask"), "arguments": {} })
}

/// Opens a session of 2024-11-05: its stream, and its id.
fn open_sse(party: &Party) -> anyhow::Result<(Answer, String)> {
    let mut stream = party.send("GET", "/sse/common", &[("accept", "text/event-stream")], "")?;
    let event = stream.next_event()?.context("the stream begins with where to post")?;
    let id = event.data.split_once("sessionId=").context("a session has an id")?.1.to_owned();
    Ok((stream, id))
}

/// A sealed text with another character in its middle, where each of them counts.
pub(crate) fn altered(text: &str) -> String {
    let at = text.len() / 2;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn listed(list: &Reply) -> anyhow::Result<Value> {
    Ok(list.result()?["tools"].clone())
}
