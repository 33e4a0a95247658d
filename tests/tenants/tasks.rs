//! Tasks and calls that wait: they go with the tool that began them, and stay on the toolset through which they began.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    ground::{ALL, COMMON, Ground, TWIN},
    party::{Party, Reply},
    victim::{altered, asked},
};

const NO_JOB: &str = r#"
    permit(principal, action, resource);
    forbid(principal, action == Action::"mcp:call", resource == Tool::"hub/acmeco-job");
    forbid(principal, action == Action::"mcp:call", resource == Tool::"desk/acmeco-work");
"#;

/// A task of the extension, and one of 2025-11-25, with the session that it was begun in.
struct Tasks {
    job: String,
    work: String,
    session: String,
}

fn begin(party: &Party) -> anyhow::Result<Tasks> {
    let job = party.modern(COMMON, "tools/call", json!({ "name": "acmeco-job" }))?.result()?;
    let session = party.open(COMMON)?;
    let work = json!({ "name": "acmeco-work", "task": { "ttl": 3_600_000 } });
    let work = party.ask(COMMON, &session, "tools/call", work)?.result()?;
    let text = |of: &Value| of.as_str().map(str::to_owned).with_context(|| format!("no text: {of}"));
    Ok(Tasks { job: text(&job["taskId"])?, work: text(&work["task"]["taskId"])?, session })
}

/// What is answered to each way to follow the tasks: as they are, or as others that were never begun.
fn followed(party: &Party, path: &str, tasks: &Tasks, id: impl Fn(&str) -> String) -> anyhow::Result<Vec<Reply>> {
    let (job, work) = (json!({ "taskId": id(&tasks.job) }), json!({ "taskId": id(&tasks.work) }));
    let mut replies = Vec::new();
    for verb in ["tasks/get", "tasks/update", "tasks/cancel"] {
        replies.push(party.modern(path, verb, job.clone())?);
    }
    for verb in ["tasks/get", "tasks/result", "tasks/cancel"] {
        replies.push(party.ask(path, &tasks.session, verb, work.clone())?);
    }
    Ok(replies)
}

/// The tasks that a listen is told to be told of.
fn honoured(party: &Party, path: &str, tasks: &Tasks) -> anyhow::Result<Value> {
    let params = json!({ "notifications": { "taskIds": [tasks.job] } });
    let first = Reply::first_of(party.begin(path, "subscriptions/listen", params)?)?.message()?;
    Ok(first["params"]["notifications"].get("taskIds").cloned().unwrap_or(json!([])))
}

fn listed(party: &Party, tasks: &Tasks) -> anyhow::Result<Value> {
    let listed = party.ask(COMMON, &tasks.session, "tasks/list", json!({}))?.result()?;
    Ok(listed["tasks"].as_array().context("tasks")?.iter().map(|task| task["taskId"].clone()).collect())
}

#[test]
fn tasks_are_gone_with_the_tool_that_a_policy_takes_away_and_come_back_with_it() -> anyhow::Result<()> {
    let ground = Ground::start(ALL)?;
    let party = &ground.party;
    let tasks = begin(party)?;
    let is_there = || Ok(party.modern(COMMON, "tasks/get", json!({ "taskId": tasks.job }))?.result().is_ok());
    ensure!(is_there()? && listed(party, &tasks)? == json!([tasks.work]), "the tasks are not there");
    assert_eq!(honoured(party, COMMON, &tasks)?, json!([tasks.job]));

    ground.change(NO_JOB, || Ok(!is_there()?))?;

    let asked = || ground.hub.count("tasks/cancel") + ground.desk.0.count("tasks/cancel");
    let (before, denied) = (asked(), ground.gateway.metric("quorate_policy_denials", "mcp:call")?);
    let (gone, unknown) = (followed(party, COMMON, &tasks, str::to_owned)?, followed(party, COMMON, &tasks, altered)?);
    assert_eq!(gone, unknown, "a task that may not be followed is one that there is not");
    assert_eq!(listed(party, &tasks)?, json!([]));
    assert_eq!(honoured(party, COMMON, &tasks)?, json!([]));
    assert_eq!(asked(), before, "a tool server was asked");
    let denied = ground.gateway.metric("quorate_policy_denials", "mcp:call")? - denied;
    ensure!(denied >= 7.0, "six denials and one of a listen are told, and not {denied}");

    ground.change(ALL, is_there)?;
    assert_eq!(listed(party, &tasks)?, json!([tasks.work]));
    Ok(())
}

#[test]
fn a_task_is_followed_by_who_may_call_its_tool_with_some_arguments() -> anyhow::Result<()> {
    let some = r#"
        permit(principal, action in [Action::"mcp:connect", Action::"mcp:list"], resource);
        permit(principal, action == Action::"mcp:call", resource) when {
            context.arguments has size && context.arguments.size < 3
        };
    "#;
    let ground = Ground::start_with(some, &json!({ "size": "integer" }))?;
    let party = &ground.party;
    let call =
        |size: u8| party.modern(COMMON, "tools/call", json!({ "name": "acmeco-job", "arguments": { "size": size } }));

    ensure!(call(3)?.result().is_err(), "the call is too large");
    let task = call(2)?.result()?["taskId"].clone();

    party
        .modern(COMMON, "tasks/get", json!({ "taskId": task }))?
        .result()
        .context("its arguments are not known any more")?;
    Ok(())
}

#[test]
fn tasks_are_unknown_through_another_toolset_that_has_the_same_tool() -> anyhow::Result<()> {
    let ground = Ground::start(ALL)?;
    let party = &ground.party;
    let tasks = begin(party)?;
    let elsewhere = Tasks { session: party.open(TWIN)?, ..begin(party)? };
    let elsewhere = Tasks { job: tasks.job.clone(), work: tasks.work.clone(), ..elsewhere };

    let there = followed(party, TWIN, &elsewhere, str::to_owned)?;

    assert_eq!(there, followed(party, TWIN, &elsewhere, altered)?);
    assert_eq!(honoured(party, TWIN, &elsewhere)?, json!([]));
    let listed = party.ask(TWIN, &elsewhere.session, "tasks/list", json!({}))?.result()?;
    assert_eq!(listed["tasks"], json!([]));
    let task = party.modern(COMMON, "tasks/get", json!({ "taskId": tasks.job }))?.result()?;
    assert_eq!(task["status"], "working", "it goes on where it was begun");
    Ok(())
}

#[test]
fn a_call_that_waits_is_unknown_through_another_toolset_and_goes_on_through_its_own() -> anyhow::Result<()> {
    let ground = Ground::start(ALL)?;
    let party = &ground.party;
    let waits = party.modern(COMMON, "tools/call", asked("acmeco"))?.result()?;
    let key = waits["inputRequests"].as_object().and_then(|asked| asked.keys().next()).context("a question")?;
    let mut retry = asked("acmeco");
    retry["requestState"] = waits["requestState"].clone();
    retry["inputResponses"] = json!({ key.as_str(): { "action": "accept", "content": { "word": "yes" } } });
    let mut forged = retry.clone();
    forged["requestState"] = json!(altered(waits["requestState"].as_str().unwrap_or_default()));

    let elsewhere = party.modern(TWIN, "tools/call", retry.clone())?;

    assert_eq!(elsewhere, party.modern(TWIN, "tools/call", forged)?);
    assert_eq!(elsewhere.message()?["error"]["code"], -32602);
    let heard = party.modern(COMMON, "tools/call", retry)?.result()?.to_string();
    ensure!(heard.contains("yes"), "{heard}");
    assert_eq!(ground.desk.0.count("tools/call"), 1);
    Ok(())
}
