//! `quorate call`: calls one tool and prints what it returns.
//!
//! The tool's definition is listed first, because it decides how the arguments are typed and
//! which of them a modern call mirrors into headers; where not everything is listed, it is searched
//! for. A search need not find it: then the call goes without, and the server says what it has. Progress and log messages go to stderr as they come, the result to stdout; a tool's own
//! error is [`Exit::Tool`], so that scripts can tell it from a call that failed.

mod arguments;
mod result;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_mcp::ListKind;
use quorate_mcp::curate::find::NAME as FIND_TOOLS;
use quorate_runtime::upstream::{Client, ToolCall};
use serde_json::{Value, json};

use crate::cli::CallArgs;
use crate::connect;
use crate::exit::{Doing, Exit, Failure};
use crate::output;

/// Names that are suggested for a tool that does not exist.
const SUGGESTIONS_MAX: usize = 5;

/// Runs the command.
///
/// # Errors
/// [`Failure`]: see the table of [`Exit`].
pub(crate) async fn run(args: CallArgs) -> Result<(), Failure> {
    let client = connect::connect(&args.url, &args.connection).await?;
    let called = call(&client, &args).await;
    client.close().await;
    let result = called?;
    let outcome = result::read(&result);
    output::print(&if args.json { String::from_utf8_lossy(&result).into_owned() } else { outcome.text })?;
    match outcome.verdict {
        result::Verdict::Complete => Ok(()),
        result::Verdict::Error => {
            Err(Failure::new(Exit::Tool, format!("the tool `{}` reports an error (see above)", args.tool)))
        }
        result::Verdict::Unfinished { kind } => {
            Err(Failure::new(Exit::Refused, format!("the tool `{}` did not finish: it answered `{kind}`", args.tool))
                .advise("call it from a client that can answer the server's questions; this command cannot"))
        }
    }
}

async fn call(client: &Client, args: &CallArgs) -> Result<Bytes, Failure> {
    let failed = |doing| move |error| Failure::of_upstream(&args.url, doing, &error);
    let tools = client.list(ListKind::Tools).await.map_err(failed(Doing::Asking))?;
    let definition = match (find(&tools, &args.tool), find(&tools, FIND_TOOLS)) {
        (Some(definition), _) => Some(definition.to_owned()),
        (None, Some(finder)) => search(client, finder, &args.tool).await,
        (None, None) => return Err(unknown(&tools, &args.tool)),
    };
    let parsed: Option<Value> = definition.as_deref().and_then(|definition| serde_json::from_str(definition).ok());
    let schema = parsed.as_ref().and_then(|definition| definition.get("inputSchema"));
    let arguments = arguments::build(args.object.as_deref(), &args.arguments, schema)?;
    let seen = |frame: &Frame| {
        if let (false, Some(line)) = (args.quiet, result::note(frame)) {
            output::note(&output::visible(&line));
        }
    };
    let log_level = if args.quiet { None } else { Some(args.log_level.into()) };
    let call = ToolCall { name: &args.tool, arguments: &arguments, definition: definition.as_deref(), log_level };
    client.call_tool(&call, seen).await.map_err(failed(Doing::Calling))
}

/// Finds a tool's raw definition.
fn find<'a>(tools: &'a [Bytes], name: &str) -> Option<&'a str> {
    let raw = |tool: &'a Bytes| std::str::from_utf8(tool).ok();
    tools.iter().filter_map(raw).find(|tool| name_of(tool).as_deref() == Some(name))
}

/// Searches for a tool's definition at an endpoint that does not list every tool; `finder` is the
/// definition of the tool that searches.
async fn search(client: &Client, finder: &str, name: &str) -> Option<String> {
    let arguments = query(finder, name);
    let call = ToolCall { name: FIND_TOOLS, arguments: &arguments, definition: None, log_level: None };
    let result = client.call_tool(&call, |_| {}).await.ok()?;
    let result: Value = serde_json::from_slice(&result).ok()?;
    let found = result["structuredContent"]["tools"].as_array()?;
    found.iter().find(|tool| tool["name"] == name).map(Value::to_string)
}

/// The arguments of a search for `name` that returns as much as it may: names that share words with
/// many others are not among the first.
fn query(finder: &str, name: &str) -> String {
    let finder: Value = serde_json::from_str(finder).unwrap_or_default();
    let mut arguments = json!({ "query": name });
    if let Some(max) = finder["inputSchema"]["properties"]["limit"]["maximum"].as_u64() {
        arguments["limit"] = max.into();
    }
    arguments.to_string()
}

fn name_of(tool: &str) -> Option<String> {
    let [name] = quorate_jsonrpc::pick(tool, 0, ["name"]).ok()?;
    quorate_jsonrpc::text(name?.of(tool)).map(Into::into)
}

fn unknown(tools: &[Bytes], name: &str) -> Failure {
    let names = tools.iter().filter_map(|tool| name_of(std::str::from_utf8(tool).ok()?));
    let mut near: Vec<(usize, String)> = names.map(|known| (distance(&known, name), known)).collect();
    near.sort();
    let failure = Failure::new(Exit::Refused, format!("the server has no tool `{name}`"));
    if near.is_empty() {
        return failure.advise("the server lists no tools at all: check the address");
    }
    let suggested: Vec<String> =
        near.into_iter().take(SUGGESTIONS_MAX).map(|(_, known)| format!("`{known}`")).collect();
    failure.advise(format!("`quorate tools` lists them all; near it: {}", suggested.join(", ")))
}

/// How far a known name is from the wanted one: 0 when one is part of the other, else the edits
/// between them (Levenshtein), over at most 128 characters each.
fn distance(known: &str, wanted: &str) -> usize {
    let (known, wanted) = (known.to_lowercase(), wanted.to_lowercase());
    if !wanted.is_empty() && !known.is_empty() && (known.contains(&wanted) || wanted.contains(&known)) {
        return 0;
    }
    let known: Vec<char> = known.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, w) in wanted.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, k) in known.iter().enumerate() {
            let substituted = diagonal + usize::from(*k != w);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_tool_is_answered_with_the_nearest_names() {
        let tools: Vec<Bytes> = ["echo", "add", "clock_now", "files_read", "count", "zzzzzz"]
            .into_iter()
            .map(|name| Bytes::from(format!("{{\"name\":\"{name}\"}}")))
            .collect();
        let advice = unknown(&tools, "ecko").advice.unwrap();
        assert!(advice.contains("near it: `echo`, `add`"), "{advice}");
        assert!(unknown(&tools, "clock").advice.unwrap().contains("near it: `clock_now`"));
        assert!(unknown(&[], "x").advice.unwrap().contains("no tools at all"));
    }

    #[test]
    fn the_distance_counts_edits() {
        for (a, b, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("a", "a", 0), ("Echo", "echo", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_search_asks_for_as_many_tools_as_it_may() {
        let finder = r#"{"name":"find_tools","inputSchema":{"properties":{"limit":{"maximum":50}}}}"#;
        assert_eq!(query(finder, "a \"b\""), r#"{"query":"a \"b\"","limit":50}"#);
        assert_eq!(query(r#"{"name":"find_tools"}"#, "a"), r#"{"query":"a"}"#);
    }

    #[test]
    fn a_definition_is_found_by_its_exact_name() {
        let tools = [Bytes::from_static(b"7"), Bytes::from_static(br#"{"name":"a\u0062"}"#)];
        assert_eq!(find(&tools, "ab"), Some(r#"{"name":"a\u0062"}"#));
        assert_eq!(find(&tools, "a"), None);
    }
}
