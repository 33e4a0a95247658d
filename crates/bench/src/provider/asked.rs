//! What a request asks, as far as the answer depends on it: one pass over its members, and each part only when it is needed.
//!
//! In: a body and which API it is for. Out: an [`Asked`] that borrows from it, whose methods look into the messages, the tools and the
//! schema. A prompt of megabytes is stepped over and never built. Of what providers demand, that is checked which gateways lose most
//! easily: the model, and Anthropic's `max_tokens`.

use std::borrow::Cow;

use quorate_jsonrpc::{Span, elements, members, pick_exact, text};
use serde_json::Value;

use super::route::Api;

/// Longest part of a text that is said again: 4 KiB.
const ECHO_BYTES_MAX: usize = 4096;

/// A request that is understood.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// What it is for.
    pub(super) api: Api,
    /// The model, where the body names it.
    pub(super) model: Option<Cow<'a, str>>,
    /// Whether the body asks for a stream.
    pub(super) is_streamed: bool,
    /// Whether a stream is to say what it costs (chat completions).
    pub(super) wants_usage: bool,
    /// The tools, as JSON.
    pub(super) tools: Option<&'a str>,
    /// The choice among them, as JSON.
    pub(super) tool_choice: Option<&'a str>,
    /// What to embed, or the messages, as JSON.
    pub(super) said: Option<&'a str>,
    /// The format of vectors (embeddings).
    pub(super) encoding: Option<Cow<'a, str>>,
    /// The length of vectors (embeddings).
    pub(super) dimensions: Option<u64>,
    format: Option<&'a str>,
    is_parallel: bool,
}

/// A tool that can be called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    /// Its name.
    pub(super) name: String,
    /// What its arguments must be.
    pub(super) schema: Value,
}

/// What must be done with tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// None may be called.
    Nothing,
    /// As the model likes.
    Free,
    /// One must be called.
    Any,
    /// This one must be called.
    Named(String),
}

/// What structure the answer must have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Structure {
    /// Any object.
    Object,
    /// What fits a schema.
    Schema(Value),
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// For a person, what about it cannot be taken.
    pub(super) fn read(api: Api, body: &'a [u8]) -> Result<Self, String> {
        let body = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
        let mut asked = Self {
            api,
            model: None,
            is_streamed: false,
            wants_usage: false,
            tools: None,
            tool_choice: None,
            said: None,
            encoding: None,
            dimensions: None,
            format: None,
            is_parallel: true,
        };
        let mut has_limit = false;
        let (mut stream_options, mut output_config) = (None, None);
        members(body, 0, |name, span| {
            let value = span.of(body);
            match name {
                "model" => asked.model = text(value),
                "stream" => asked.is_streamed = value == "true",
                "stream_options" => stream_options = Some(value),
                "tools" => asked.tools = Some(value),
                "tool_choice" | "toolConfig" | "tool_config" => asked.tool_choice = Some(value),
                "parallel_tool_calls" => asked.is_parallel = value != "false",
                "messages" | "input" | "contents" => asked.said = Some(value),
                "response_format" | "text" | "generationConfig" | "generation_config" | "output_format" => {
                    asked.format = Some(value);
                }
                "output_config" => output_config = Some(value),
                "encoding_format" => asked.encoding = text(value),
                "dimensions" => asked.dimensions = value.parse().ok(),
                "max_tokens" => has_limit = value.parse::<u64>().is_ok(),
                _ => {}
            }
        })
        .map_err(|error| format!("We could not parse the JSON body of your request: {error}"))?;
        asked.wants_usage = stream_options.and_then(|options| member(options, "include_usage")) == Some("true");
        asked.format = output_config.and_then(|config| member(config, "format")).or(asked.format);
        if asked.said.is_none() {
            let name = match api {
                Api::Chat | Api::Messages | Api::CountTokens => "messages",
                Api::Responses | Api::Embeddings => "input",
                Api::Generate => "contents",
            };
            return Err(format!("{name}: Field required"));
        }
        if api == Api::Messages && !has_limit {
            return Err("max_tokens: Field required".to_owned());
        }
        Ok(asked)
    }

    /// How much is said to the model: what its tokens are counted by.
    pub(super) fn input_bytes(&self) -> usize {
        self.said.map_or(0, str::len) + self.tools.map_or(0, str::len)
    }

    /// The last text of the user, as much of it as is said again.
    pub(super) fn last_text(&self) -> String {
        let Some(said) = self.said else { return String::new() };
        if let Some(text) = text(said) {
            return bounded(&text);
        }
        let messages = parts(said);
        let of_user = |message: &&str| member(message, "role").is_none_or(|role| role == "\"user\"");
        let texts = messages.into_iter().rev().filter(of_user).filter_map(text_of);
        texts.take(1).map(|text| bounded(&text)).collect()
    }

    /// Whether the last thing said is the result of a tool.
    pub(super) fn has_results(&self) -> bool {
        let Some(last) = self.said.and_then(|said| parts(said).pop()) else { return false };
        match self.api {
            Api::Chat => member(last, "role") == Some("\"tool\""),
            Api::Responses => member(last, "type") == Some("\"function_call_output\""),
            Api::Messages => {
                let content = member(last, "content").map(parts).unwrap_or_default();
                content.into_iter().any(|part| member(part, "type") == Some("\"tool_result\""))
            }
            Api::Generate => {
                let content = member(last, "parts").map(parts).unwrap_or_default();
                content.into_iter().any(|part| {
                    member(part, "functionResponse").or_else(|| member(part, "function_response")).is_some()
                })
            }
            Api::Embeddings | Api::CountTokens => false,
        }
    }

    /// The tools that can be called; those that the provider runs itself are none.
    pub(super) fn callable(&self) -> Vec<Tool> {
        let Some(Ok(tools)) = self.tools.map(serde_json::from_str::<Vec<Value>>) else { return Vec::new() };
        let tool = |tool: &Value, schema: &[&str]| {
            let schema = schema.iter().find_map(|name| tool.get(name));
            let name = tool.get("name")?.as_str()?.to_owned();
            Some(Tool { name, schema: schema.cloned().unwrap_or(Value::Null) })
        };
        match self.api {
            Api::Chat => tools.iter().filter_map(|one| tool(one.get("function")?, &["parameters"])).collect(),
            Api::Responses => {
                let functions = tools.iter().filter(|one| one["type"] == "function");
                functions.filter_map(|one| tool(one, &["parameters"])).collect()
            }
            Api::Messages | Api::CountTokens => {
                let own = tools.iter().filter(|one| one.get("input_schema").is_some());
                own.filter_map(|one| tool(one, &["input_schema"])).collect()
            }
            Api::Generate => {
                let declared =
                    |one: &'_ Value| one.get("functionDeclarations").or(one.get("function_declarations")).cloned();
                let declared = tools.iter().filter_map(|one| declared(one)?.as_array().cloned()).flatten();
                declared
                    .filter_map(|one| tool(&one, &["parametersJsonSchema", "parameters_json_schema", "parameters"]))
                    .collect()
            }
            Api::Embeddings => Vec::new(),
        }
    }

    /// What must be done with tools.
    pub(super) fn choice(&self) -> Choice {
        let Some(Ok(choice)) = self.tool_choice.map(serde_json::from_str::<Value>) else { return Choice::Free };
        let config = choice.get("functionCallingConfig").or(choice.get("function_calling_config")).unwrap_or(&choice);
        let word = choice.as_str().or(config["mode"].as_str()).or(choice["type"].as_str()).unwrap_or_default();
        let name = [
            &choice["name"],
            &choice["function"]["name"],
            &config["allowedFunctionNames"][0],
            &config["allowed_function_names"][0],
        ];
        let name = name.into_iter().find_map(Value::as_str);
        match (word, name) {
            ("none" | "NONE", _) => Choice::Nothing,
            ("function" | "tool" | "ANY", Some(name)) => Choice::Named(name.to_owned()),
            ("required" | "any" | "ANY", _) => Choice::Any,
            ("allowed_tools", _) if config["allowed_tools"]["mode"] == "required" => Choice::Any,
            _ => Choice::Free,
        }
    }

    /// Whether several tools may be called at once.
    pub(super) fn may_be_parallel(&self) -> bool {
        let choice = self.tool_choice.filter(|_| self.api == Api::Messages);
        self.is_parallel && choice.and_then(|choice| member(choice, "disable_parallel_tool_use")) != Some("true")
    }

    /// What structure the answer must have, if any.
    pub(super) fn structure(&self) -> Option<Structure> {
        let format: Value = serde_json::from_str(self.format?).ok()?;
        if self.api == Api::Generate {
            // Google's own SDKs write some names in the other way of protobuf's JSON.
            let schema = ["responseJsonSchema", "response_json_schema", "responseSchema", "response_schema"];
            let schema = schema.into_iter().find_map(|name| format.get(name)).filter(|schema| schema.is_object());
            let kind = format.get("responseMimeType").or(format.get("response_mime_type"));
            let is_json = kind.is_some_and(|kind| kind == "application/json");
            return schema.map(|schema| Structure::Schema(schema.clone())).or(is_json.then_some(Structure::Object));
        }
        let format = format.get("format").unwrap_or(&format);
        match format["type"].as_str()? {
            "json_schema" => {
                let schema = format.get("schema").or_else(|| format.get("json_schema")?.get("schema"));
                Some(schema.map_or(Structure::Object, |schema| Structure::Schema(schema.clone())))
            }
            "json_object" => Some(Structure::Object),
            _ => None,
        }
    }
}

/// The raw elements of an array; none of what is no array.
fn parts(raw: &str) -> Vec<&str> {
    let mut found = Vec::new();
    match elements(raw, 0, |span: Span| found.push(span.of(raw))) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// A raw member of an object, if it is there.
fn member<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    let [found] = pick_exact(raw, 0, [name]).ok()?;
    found.map(|span| span.of(raw))
}

/// The text of a message: its last one, where it has several.
fn text_of(message: &str) -> Option<Cow<'_, str>> {
    let content = member(message, "content").or_else(|| member(message, "parts"))?;
    if let Some(text) = text(content) {
        return Some(text);
    }
    parts(content).into_iter().rev().find_map(|part| member(part, "text").and_then(text))
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(ECHO_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn the_last_text_of_the_user_is_found_in_each_shape() {
        for (api, value, expected) in [
            (
                Api::Chat,
                json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }] }),
                "a",
            ),
            (
                Api::Chat,
                json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "a" },
                { "type": "image_url", "image_url": { "url": "data:" } }] }] }),
                "a",
            ),
            (Api::Responses, json!({ "input": "a\nb" }), "a\nb"),
            (
                Api::Responses,
                json!({ "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "a" }] }] }),
                "a",
            ),
            (
                Api::Messages,
                json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": "a" },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "r" }] }] }),
                "a",
            ),
            (Api::Generate, json!({ "contents": [{ "parts": [{ "text": "a" }, { "text": "b" }] }] }), "b"),
            (Api::Chat, json!({ "messages": [] }), ""),
            (Api::Chat, json!({ "messages": [{ "role": "user", "content": "ü".repeat(3000) }] }), &"ü".repeat(2048)),
        ] {
            assert_eq!(Asked::read(api, &body(&value)).unwrap().last_text(), expected, "{value}");
        }
    }

    #[test]
    fn results_of_tools_are_seen_where_they_are_the_last_said() {
        for (api, said, expected) in [
            (Api::Chat, json!({ "messages": [{ "role": "tool", "tool_call_id": "c", "content": "r" }] }), true),
            (
                Api::Chat,
                json!({ "messages": [{ "role": "tool", "content": "r" }, { "role": "user", "content": "a" }] }),
                false,
            ),
            (
                Api::Responses,
                json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": "r" }] }),
                true,
            ),
            (
                Api::Messages,
                json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": [{ "type": "tool_result" }] }] }),
                true,
            ),
            (Api::Messages, json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": "a" }] }), false),
            (Api::Generate, json!({ "contents": [{ "parts": [{ "functionResponse": {} }] }] }), true),
        ] {
            assert_eq!(Asked::read(api, &body(&said)).unwrap().has_results(), expected, "{said}");
        }
    }

    #[test]
    fn tools_and_the_choice_among_them_are_found_in_each_shape() {
        let schema = json!({ "type": "object" });
        let tool = vec![Tool { name: "w".to_owned(), schema: schema.clone() }];
        let named = || Choice::Named("w".to_owned());
        for (api, asked, choice) in [
            (
                Api::Chat,
                json!({ "messages": [], "tools": [{ "type": "function", "function": { "name": "w", "parameters": schema } }],
                        "tool_choice": { "type": "function", "function": { "name": "w" } } }),
                named(),
            ),
            (
                Api::Responses,
                json!({ "input": "a", "tools": [{ "type": "web_search" }, { "type": "function", "name": "w", "parameters": schema }],
                        "tool_choice": "required" }),
                Choice::Any,
            ),
            (
                Api::Messages,
                json!({ "max_tokens": 1, "messages": [], "tools": [{ "type": "web_search_20250305", "name": "web_search" },
                        { "name": "w", "input_schema": schema }], "tool_choice": { "type": "tool", "name": "w" } }),
                named(),
            ),
            (
                Api::Generate,
                json!({ "contents": [], "tools": [{ "functionDeclarations": [{ "name": "w", "parameters": schema }] }],
                        "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["w"] } } }),
                named(),
            ),
            (
                Api::Chat,
                json!({ "messages": [], "tools": [{ "type": "function", "function": { "name": "w", "parameters": schema } }],
                        "tool_choice": "none" }),
                Choice::Nothing,
            ),
        ] {
            let bytes = body(&asked);
            let asked = Asked::read(api, &bytes).unwrap();
            assert_eq!((asked.callable(), asked.choice()), (tool.clone(), choice), "{api:?}");
        }
    }

    #[test]
    fn the_structure_is_found_in_each_shape() {
        let schema = json!({ "type": "object" });
        let wanted = || Some(Structure::Schema(schema.clone()));
        for (api, asked, expected) in [
            (
                Api::Chat,
                json!({ "messages": [], "response_format": { "type": "json_schema", "json_schema": { "schema": schema } } }),
                wanted(),
            ),
            (
                Api::Chat,
                json!({ "messages": [], "response_format": { "type": "json_object" } }),
                Some(Structure::Object),
            ),
            (Api::Chat, json!({ "messages": [], "response_format": { "type": "text" } }), None),
            (
                Api::Responses,
                json!({ "input": "", "text": { "format": { "type": "json_schema", "schema": schema } } }),
                wanted(),
            ),
            (Api::Responses, json!({ "input": "", "text": { "verbosity": "low" } }), None),
            (
                Api::Messages,
                json!({ "max_tokens": 1, "messages": [], "output_format": { "type": "json_schema", "schema": schema } }),
                wanted(),
            ),
            (
                Api::Messages,
                json!({ "max_tokens": 1, "messages": [], "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": schema } } }),
                wanted(),
            ),
            (Api::Generate, json!({ "contents": [], "generationConfig": { "responseSchema": schema } }), wanted()),
            (
                Api::Generate,
                json!({ "contents": [], "generationConfig": { "responseMimeType": "application/json" } }),
                Some(Structure::Object),
            ),
        ] {
            assert_eq!(Asked::read(api, &body(&asked)).unwrap().structure(), expected, "{asked}");
        }
    }

    #[test]
    fn what_a_provider_demands_is_demanded() {
        for (api, text, expected) in [
            (Api::Chat, "{", "We could not parse the JSON body"),
            (Api::Chat, "[]", "We could not parse the JSON body"),
            (Api::Chat, r#"{"model":"a"}"#, "messages: Field required"),
            (Api::Messages, r#"{"messages":[]}"#, "max_tokens: Field required"),
            (Api::Generate, "{}", "contents: Field required"),
        ] {
            let error = Asked::read(api, text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
