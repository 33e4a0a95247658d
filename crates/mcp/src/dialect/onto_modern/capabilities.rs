//! Capabilities across the eras: what a client declared once, and what a server offers.
//!
//! In: the raw objects of one era. Out: the same as the other era writes it, without what cannot
//! be bridged (tasks) and without what the client's own revision does not have. Worked out once
//! per session, so this may build JSON values.

use quorate_jsonrpc::{Frame, pick};
use serde_json::{Map, Value, json};

use crate::dialect::Dialect;
use crate::dialect::onto_legacy::{Declared, Question};
use crate::dialect::v2026_07_28::{META_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_VERSION, TASKS_EXTENSION};
use crate::message::Level;
use crate::method::Method;
use crate::read::echo;
use crate::version::Version;

/// What the client of a session said at `initialize`, as each request to a modern server repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    capabilities: String,
    client_info: String,
    declared: Declared,
}

/// The most bytes of the capabilities, and of the client's info, since each request repeats them:
/// 16 KiB. Those of the clients that are known have less than 2 KiB; icons may be images in themselves.
const SAID_BYTES_MAX: usize = 16 * 1024;

/// The parameters are not those of an `initialize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the parameters of `initialize` in a revision with sessions")]
pub struct NotInitialize;

/// Writes a modern server's raw capabilities as a server of sessions would.
///
/// The tasks extension is left out: its tasks are others than those of 2025-11-25. Everything else
/// has the same form in both eras. What is no object offers nothing.
#[must_use]
pub fn server_capabilities(raw: &str) -> String {
    let mut offered = object(raw);
    offered.remove("tasks");
    without_tasks(&mut offered);
    Value::Object(offered).to_string()
}

// === impl Caller ===

impl Caller {
    /// Reads the parameters of `initialize`.
    ///
    /// # Errors
    /// [`NotInitialize`] when they are others, or name a revision without sessions.
    pub fn of_initialize(params: &str) -> Result<Self, NotInitialize> {
        let keys = ["protocolVersion", "capabilities", "clientInfo"];
        let [version, capabilities, client_info] = pick(params, 0, keys).map_err(|_| NotInitialize)?;
        let version = version.and_then(|span| quorate_jsonrpc::text(span.of(params))).ok_or(NotInitialize)?;
        let version = Version::parse(&version).filter(|version| *version != Version::LATEST).ok_or(NotInitialize)?;
        let capabilities = client_capabilities(capabilities.map_or("{}", |span| span.of(params)), version);
        let client_info = client_info.map(|span| span.of(params)).filter(|info| info.starts_with('{'));
        let capabilities = within_bound(capabilities, &["experimental", "extensions"], essential_capabilities);
        Ok(Self {
            declared: Declared::read(&capabilities),
            capabilities,
            client_info: match client_info.ok_or(NotInitialize)? {
                info if info.len() <= SAID_BYTES_MAX => info.to_owned(),
                info => within_bound(object(info), &["icons"], essential_info),
            },
        })
    }

    /// Returns the members that the `_meta` of each request has: keys and raw values.
    pub(super) fn meta(&self, level: Option<Level>) -> Vec<(&'static str, String)> {
        let mut members = vec![
            (META_VERSION, format!("\"{}\"", Version::LATEST)),
            (META_CAPABILITIES, self.capabilities.clone()),
            (META_CLIENT_INFO, self.client_info.clone()),
        ];
        members.extend(level.map(|level| (META_LOG_LEVEL, format!("\"{}\"", level.as_str()))));
        members
    }

    /// Tells whether a server may ask the client this, as `request` does.
    pub(super) fn may_be_asked(&self, question: Question, request: &Frame) -> bool {
        let tools = request.params_span().map(|span| pick(request.text_of(span), 0, ["tools", "toolChoice"]));
        // What cannot be read may well have tools.
        let uses_tools = !matches!(tools, None | Some(Ok([None, None])));
        self.declared.answers(question)
            && (question != Question::Sampling || !uses_tools || self.declared.takes_tools())
    }
}

/// Writes a client's raw capabilities as a modern client would declare them.
fn client_capabilities(raw: &str, version: Version) -> Map<String, Value> {
    let mut declared = object(raw);
    declared.remove("tasks");
    without_tasks(&mut declared);
    let knows = |method| Dialect::of(version).server_requests.contains(&method);
    for (name, method) in
        [("sampling", Method::CreateMessage), ("elicitation", Method::Elicit), ("roots", Method::ListRoots)]
    {
        if !knows(method) || !declared.get(name).is_some_and(Value::is_object) {
            declared.remove(name);
        }
    }
    if version != Version::LATEST_LEGACY {
        // Modes of elicitation, and tools in sampling, came with 2025-11-25.
        for name in ["sampling", "elicitation"] {
            declared.entry(name).and_modify(|value| *value = json!({}));
        }
    }
    if let Some(Value::Object(roots)) = declared.get_mut("roots") {
        // The modern era has no word for it: roots are asked for when they are needed.
        roots.remove("listChanged");
    }
    declared
}

/// Writes what a client said within the bound: without these members, as far as needed, and where that
/// is not enough only what is `essential` of it.
fn within_bound(mut said: Map<String, Value>, drop: &[&str], essential: fn(&Map<String, Value>) -> Value) -> String {
    let mut drop = drop.iter();
    loop {
        let text = Value::Object(said.clone()).to_string();
        if text.len() <= SAID_BYTES_MAX {
            return text;
        }
        match drop.next() {
            Some(member) => said.remove(*member),
            None => return essential(&said).to_string(),
        };
    }
}

/// What servers may ask, and how.
fn essential_capabilities(declared: &Map<String, Value>) -> Value {
    let known = [("sampling", &["tools", "context"][..]), ("elicitation", &["form", "url"]), ("roots", &[])];
    let mut essential = Map::new();
    for (name, modes) in known {
        if let Some(Value::Object(capability)) = declared.get(name) {
            let modes = modes.iter().filter(|mode| capability.get(**mode).is_some_and(Value::is_object));
            essential.insert(name.to_owned(), modes.map(|mode| ((*mode).to_owned(), json!({}))).collect());
        }
    }
    Value::Object(essential)
}

/// Who the client is, cut to a bounded length.
fn essential_info(info: &Map<String, Value>) -> Value {
    let text = |member: &str| echo(info.get(member).and_then(Value::as_str).unwrap_or_default());
    json!({ "name": text("name"), "version": text("version") })
}

/// Removes the tasks extension, and `extensions` when there is no other.
fn without_tasks(capabilities: &mut Map<String, Value>) {
    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
        extensions.remove(TASKS_EXTENSION);
        if extensions.is_empty() {
            capabilities.remove("extensions");
        }
    }
}

fn object(raw: &str) -> Map<String, Value> {
    serde_json::from_str(raw).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(version: &str, capabilities: &str) -> Caller {
        let params = format!(
            r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1.0"}}}}"#
        );
        Caller::of_initialize(&params).expect("the parameters of initialize")
    }

    #[test]
    fn a_client_declares_what_its_revision_has_and_both_eras_know() {
        let all = r#"{"roots":{"listChanged":true},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"tasks":{"list":{}},"experimental":{"x":{"y":1.0}},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}"#;
        let cases = [
            (
                "2025-11-25",
                all,
                r#"{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"experimental":{"x":{"y":1.0}},"extensions":{"a/b":{}}}"#,
            ),
            (
                "2025-06-18",
                all,
                r#"{"roots":{},"sampling":{},"elicitation":{},"experimental":{"x":{"y":1.0}},"extensions":{"a/b":{}}}"#,
            ),
            ("2024-11-05", all, r#"{"roots":{},"sampling":{},"experimental":{"x":{"y":1.0}},"extensions":{"a/b":{}}}"#),
            ("2025-11-25", r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, "{}"),
            ("2025-11-25", r#"{"sampling":null,"elicitation":true}"#, "{}"),
        ];
        for (version, declared, expected) in cases {
            // Order is that of the declaration; removal keeps the order of the rest as values compare.
            let found: Value = serde_json::from_str(&caller(version, declared).capabilities).expect("JSON");
            assert_eq!(found, serde_json::from_str::<Value>(expected).expect("JSON"), "{version}");
        }
    }

    #[test]
    fn what_each_request_repeats_is_bounded() {
        let long = "x".repeat(SAID_BYTES_MAX);
        let said = |capabilities: &str, info: &str| {
            let params =
                format!(r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{info}}}"#);
            let caller = Caller::of_initialize(&params).expect("the parameters of initialize");
            (caller.capabilities, caller.client_info)
        };
        let named = r#"{"name":"c","version":"1.0"}"#;

        let (capabilities, _) = said(&format!(r#"{{"roots":{{}},"experimental":{{"x":"{long}"}}}}"#), named);
        assert_eq!(capabilities, r#"{"roots":{}}"#);
        let modes = format!(r#"{{"sampling":{{"tools":{{"x":"{long}"}}}},"elicitation":{{"url":{{}}}}}}"#);
        let (capabilities, _) = said(&modes, named);
        let kept: Value = serde_json::from_str(&capabilities).expect("JSON");
        assert_eq!(kept, json!({ "sampling": { "tools": {} }, "elicitation": { "url": {} } }));

        let (_, info) =
            said("{}", &format!(r#"{{"name":"c","version":"1","title":"T","icons":[{{"src":"{long}"}}]}}"#));
        let kept: Value = serde_json::from_str(&info).expect("JSON");
        assert_eq!(kept, json!({ "name": "c", "version": "1", "title": "T" }));
        let (_, info) = said("{}", &format!(r#"{{"name":"{long}","version":"1"}}"#));
        assert!(info.starts_with(r#"{"name":"xxx"#) && info.len() < 1_000, "{info}");
    }

    #[test]
    fn a_client_is_asked_only_for_what_it_declared() {
        let url = r#"{"mode":"url","url":"x"}"#;
        let tools = r#"{"messages":[],"tools":[]}"#;
        let cases = [
            (r#"{"elicitation":{}}"#, Method::Elicit, "{}", true),
            (r#"{"elicitation":{}}"#, Method::Elicit, url, false),
            (r#"{"elicitation":{"url":{}}}"#, Method::Elicit, url, true),
            (r#"{"elicitation":{"url":{}}}"#, Method::Elicit, r#"{"mode":"form"}"#, false),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, Method::Elicit, "{}", true),
            (r#"{"sampling":{}}"#, Method::CreateMessage, "{}", true),
            (r#"{"sampling":{}}"#, Method::CreateMessage, tools, false),
            (r#"{"sampling":{"tools":{}}}"#, Method::CreateMessage, tools, true),
            (r#"{"roots":{}}"#, Method::ListRoots, "{}", true),
            ("{}", Method::ListRoots, "{}", false),
            ("{}", Method::Elicit, "{}", false),
        ];
        for (declared, method, params, expected) in cases {
            let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            let request = Frame::parse(request.into(), &quorate_jsonrpc::Limits::REQUEST).expect("a frame");
            let question = Question::of(&request).expect("a question");
            let caller = caller("2025-11-25", declared);
            assert_eq!(caller.may_be_asked(question, &request), expected, "{declared} {method} {params}");
        }
    }

    #[test]
    fn each_request_says_who_calls_and_what_it_can_do() {
        let meta = caller("2025-06-18", r#"{"roots":{}}"#).meta(Some(Level::Info));
        let expected = [
            (META_VERSION, r#""2026-07-28""#),
            (META_CAPABILITIES, r#"{"roots":{}}"#),
            (META_CLIENT_INFO, r#"{"name":"c","version":"1.0"}"#),
            (META_LOG_LEVEL, r#""info""#),
        ];
        assert_eq!(meta, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn other_parameters_are_none_of_initialize() {
        for params in [
            "[]",
            "{}",
            r#"{"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{}}"#,
            r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#,
            r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":1}"#,
        ] {
            assert_eq!(Caller::of_initialize(params), Err(NotInitialize), "{params}");
        }
    }

    #[test]
    fn a_server_offers_everything_but_tasks() {
        let cases = [
            (
                r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
                r#"{"tools":{"listChanged":true},"logging":{}}"#,
            ),
            (
                r#"{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#,
                r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
            ),
            ("[]", "{}"),
        ];
        for (raw, expected) in cases {
            assert_eq!(server_capabilities(raw), expected, "{raw}");
        }
    }
}
