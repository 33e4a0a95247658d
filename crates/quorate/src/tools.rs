//! `quorate tools`: lists what an MCP endpoint serves.
//!
//! Four lists, each in the server's order: tools with their arguments, prompts with theirs,
//! resources and resource templates. As a table for people, or as one JSON object whose items are
//! the bytes that the server sent.

use bytes::Bytes;
use quorate_mcp::ListKind;
use quorate_runtime::upstream::Client;
use serde_json::Value;

use crate::cli::ToolsArgs;
use crate::connect;
use crate::exit::{Doing, Failure};
use crate::output;

/// Longest description line of the table, in characters.
const DESCRIPTION_WIDTH: usize = 100;

/// What an endpoint serves: the raw items by kind.
type Lists = Vec<(ListKind, Vec<Bytes>)>;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when the server cannot be reached, refuses, or does not answer in MCP.
pub(crate) async fn run(args: ToolsArgs) -> Result<(), Failure> {
    let client = connect::connect(&args.url, &args.connection).await?;
    let lists = fetch(&client).await.map_err(|error| Failure::of_upstream(&args.url, Doing::Asking, &error));
    client.close().await;
    let lists = lists?;
    let text = if args.json { json(&client, &args.url, &lists) } else { table(&client, &args.url, &lists) };
    output::print(&text)
}

async fn fetch(client: &Client) -> Result<Lists, quorate_runtime::upstream::Error> {
    let mut lists = Lists::new();
    for kind in ListKind::ALL {
        lists.push((kind, client.list(kind).await?));
    }
    Ok(lists)
}

/// Writes everything as one JSON object, the server's own bytes inside.
fn json(client: &Client, url: &str, lists: &Lists) -> String {
    let about = client.about();
    let raw =
        |json: Option<&Bytes>| json.map_or_else(|| "null".into(), |json| String::from_utf8_lossy(json).into_owned());
    let mut members = vec![
        format!("\"url\":{}", quorate_jsonrpc::quote(url)),
        format!("\"protocolVersion\":\"{}\"", about.version),
        format!("\"serverInfo\":{}", raw(about.server_info.as_ref())),
        format!("\"capabilities\":{}", raw(about.capabilities.as_ref())),
    ];
    for (kind, items) in lists {
        let items: Vec<String> = items.iter().map(|item| raw(Some(item))).collect();
        members.push(format!("\"{}\":[{}]", kind.result_key(), items.join(",")));
    }
    format!("{{{}}}", members.join(","))
}

fn table(client: &Client, url: &str, lists: &Lists) -> String {
    let about = client.about();
    let info: Value = parse(about.server_info.as_ref());
    let name = info["name"].as_str().unwrap_or("MCP server");
    let version = info["version"].as_str().unwrap_or_default();
    let mut lines = vec![format!("{} {} at {url} (MCP {})", name, version, about.version).replace("  ", " ")];
    if let Some(instructions) = &about.instructions {
        lines.push(output::first_line(instructions, DESCRIPTION_WIDTH));
    }
    for (kind, items) in lists {
        if items.is_empty() && *kind != ListKind::Tools {
            continue;
        }
        lines.push(format!("\n{} ({})", title(*kind), items.len()));
        for item in items {
            push_item(&mut lines, *kind, &parse(Some(item)));
        }
    }
    output::visible(&lines.join("\n")).into_owned()
}

fn push_item(lines: &mut Vec<String>, kind: ListKind, item: &Value) {
    let key = item[kind.item_key()].as_str().unwrap_or("?");
    let described = ["description", "title"].into_iter().find_map(|member| item[member].as_str());
    lines.push(format!("  {key}"));
    match kind {
        ListKind::Resources | ListKind::ResourceTemplates => {
            let named = [item["name"].as_str(), item["mimeType"].as_str()].into_iter().flatten().collect::<Vec<_>>();
            lines.push(format!("      {}", named.join(", ")));
        }
        ListKind::Tools | ListKind::Prompts => {}
    }
    if let Some(description) = described {
        lines.push(format!("      {}", output::first_line(description, DESCRIPTION_WIDTH)));
    }
    match kind {
        ListKind::Tools => lines.extend(tool_arguments(&item["inputSchema"])),
        ListKind::Prompts => lines.extend(prompt_arguments(&item["arguments"])),
        ListKind::Resources | ListKind::ResourceTemplates => {}
    }
}

/// Writes one line per argument: name, type, and whether it may be left out.
fn tool_arguments(schema: &Value) -> Vec<String> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let optional = if required.contains(&name.as_str()) { "" } else { ", optional" };
            let about = property["description"].as_str().map(|text| format!(": {}", output::first_line(text, 60)));
            format!("      --arg {name}=<{}{optional}>{}", type_of(property), about.unwrap_or_default())
        })
        .collect()
}

fn prompt_arguments(arguments: &Value) -> Vec<String> {
    let arguments = arguments.as_array().into_iter().flatten();
    arguments
        .map(|argument| {
            let optional = if argument["required"].as_bool() == Some(true) { "" } else { ", optional" };
            format!("      {} <string{optional}>", argument["name"].as_str().unwrap_or("?"))
        })
        .collect()
}

/// Names the type of a schema's property: its `type`, the values of its `enum`, or `any`.
fn type_of(property: &Value) -> String {
    const VALUES_SHOWN_MAX: usize = 8;
    if let Some(values) = property["enum"].as_array() {
        let shown: Vec<String> =
            values.iter().take(VALUES_SHOWN_MAX).map(|value| value.to_string().replace('"', "")).collect();
        return shown.join("|");
    }
    match &property["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => "any".to_owned(),
    }
}

const fn title(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "Tools",
        ListKind::Prompts => "Prompts",
        ListKind::Resources => "Resources",
        ListKind::ResourceTemplates => "Resource templates",
    }
}

/// Reads a raw item for display; what cannot be read is shown as if it were empty.
fn parse(raw: Option<&Bytes>) -> Value {
    raw.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_shown_with_its_arguments() {
        let tool = json!({
            "name": "add", "description": "Adds.\nMore.",
            "inputSchema": {
                "type": "object", "required": ["a"],
                "properties": { "a": {"type": "number", "description": "one"}, "mode": {"enum": ["x", "y"]}, "z": {} }
            }
        });
        let mut lines = Vec::new();
        push_item(&mut lines, ListKind::Tools, &tool);
        let expected = [
            "  add",
            "      Adds.",
            "      --arg a=<number>: one",
            "      --arg mode=<x|y, optional>",
            "      --arg z=<any, optional>",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn items_of_other_shapes_do_not_stop_the_list() {
        for kind in ListKind::ALL {
            for item in [json!(1), json!({}), json!({"name": 7, "inputSchema": [], "arguments": {}}), json!([[]])] {
                let mut lines = Vec::new();
                push_item(&mut lines, kind, &item);
                assert_eq!(lines[0], "  ?", "{kind:?} {item}");
            }
        }
    }
}
