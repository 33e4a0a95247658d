//! Providers and a gateway in front of them.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context as _, bail};
use quorate_tests::{
    http, paths,
    process::Process,
    raw::{
        PATIENCE,
        client::{self, Answer},
        gateway::{Gateway, OPEN},
    },
};
use serde_json::{Value, json};

/// A provider that does what the name of a model says.
pub(crate) struct Provider {
    /// Its process, which ends with this.
    _process: Process,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

/// The shapes in which answers are asked for, and the APIs by which providers have them.
pub(crate) const SHAPES: [Shape; 4] = [Shape::Chat, Shape::Responses, Shape::Messages, Shape::Generate];

/// In which shape somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Responses,
    Messages,
    Generate,
}

/// What a stream said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// All of its text.
    pub(crate) text: String,
    /// Whether it ended as a whole answer does.
    pub(crate) is_whole: bool,
    /// What it says of an error.
    pub(crate) error: Option<String>,
    /// How many events came.
    pub(crate) events: usize,
    /// All that came.
    pub(crate) raw: String,
}

// === impl Provider ===

impl Provider {
    /// Starts one.
    pub(crate) fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(paths::binary("quorate-bench")?);
        command.args(["provider", "--port", "0"]).args(flags);
        let mut process = Process::converse("provider", &mut command)?;
        let url = process.line(PATIENCE, |line| Some(line.strip_prefix("http://")?.to_owned()))?;
        let address = url.trim_end_matches('/').parse().with_context(|| format!("no address: {url}"))?;
        Ok(Self { _process: process, address })
    }

    /// What it has served.
    pub(crate) fn ledger(&self) -> anyhow::Result<Value> {
        let answer = http::get(self.address, "/ledger")?;
        serde_json::from_str(&answer.body).with_context(|| format!("no ledger: {}", answer.body))
    }

    /// How many requests it got for a model.
    pub(crate) fn requests(&self, model: &str) -> anyhow::Result<u64> {
        let ledger = self.ledger()?;
        Ok(ledger["models"][model]["requests"].as_u64().unwrap_or(0))
    }

    /// The document of it, by a name, with what it knows and more.
    pub(crate) fn document(&self, name: &str, preset: &str, more: &Value) -> Value {
        let version = if matches!(preset, "anthropic" | "gemini") { "" } else { "/v1" };
        let mut spec = json!({ "preset": preset, "url": format!("http://{}{version}", self.address) });
        if matches!(preset, "anthropic" | "gemini") {
            spec["keys"] = json!(["a-key-of-the-provider"]);
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({ "kind": "Provider", "name": name, "spec": spec })
    }
}

/// A model document.
pub(crate) fn model(name: &str, spec: &Value) -> Value {
    json!({ "kind": "Model", "name": name, "spec": spec })
}

/// The text of a file with a listener and these documents.
pub(crate) fn text(documents: &[Value]) -> String {
    let listener = json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } });
    let all = std::iter::once(&listener).chain(documents);
    all.map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Starts a gateway with these documents, which everybody may use.
pub(crate) fn gateway(documents: &[Value]) -> anyhow::Result<Gateway> {
    Gateway::start(&text(documents), OPEN)
}

/// A gateway whose only model, by any name, is answered by one provider of chat completions.
pub(crate) fn plain(provider: &Provider, more: &Value) -> anyhow::Result<Gateway> {
    let target = json!({ "names": ["*"], "targets": [{ "provider": "p" }] });
    gateway(&[provider.document("p", "openai-compatible", more), model("any", &target)])
}

/// Posts JSON.
pub(crate) fn post(gateway: &Gateway, path: &str, body: &Value) -> anyhow::Result<Answer> {
    post_with(gateway, path, &[], body.to_string().as_bytes())
}

/// Posts bytes that say that they are JSON, with more headers.
pub(crate) fn post_with(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let all = [&[("content-type", "application/json")], headers].concat();
    client::send(gateway.address, "POST", path, &all, body)
}

// === impl Shape ===

impl Shape {
    /// The preset of a provider that has it, and which of its APIs.
    pub(crate) const fn provider(self) -> (&'static str, &'static str) {
        match self {
            Self::Chat => ("openai-compatible", "chat"),
            Self::Responses => ("openai-compatible", "responses"),
            Self::Messages => ("anthropic", "messages"),
            Self::Generate => ("gemini", "generate"),
        }
    }

    /// The path and body of a request that says a text.
    pub(crate) fn request(self, model: &str, text: &str, is_streamed: bool) -> (String, Value) {
        let said = json!([{ "role": "user", "content": text }]);
        match self {
            Self::Chat => {
                ("/v1/chat/completions".to_owned(), json!({ "model": model, "messages": said, "stream": is_streamed }))
            }
            Self::Responses => {
                ("/v1/responses".to_owned(), json!({ "model": model, "input": said, "stream": is_streamed }))
            }
            Self::Messages => (
                "/v1/messages".to_owned(),
                json!({ "model": model, "messages": said, "max_tokens": 100, "stream": is_streamed }),
            ),
            Self::Generate => {
                let verb = if is_streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] });
                (format!("/v1beta/models/{}:{verb}", model.replace('/', "%2F")), body)
            }
        }
    }

    /// The text of a whole answer.
    pub(crate) fn text(self, answer: &Value) -> Option<String> {
        let text = match self {
            Self::Chat => &answer["choices"][0]["message"]["content"],
            Self::Responses => {
                let items = answer["output"].as_array()?;
                &items.iter().find(|item| item["type"] == "message")?["content"][0]["text"]
            }
            Self::Messages => &answer["content"][0]["text"],
            Self::Generate => &answer["candidates"][0]["content"]["parts"][0]["text"],
        };
        Some(text.as_str()?.to_owned())
    }

    /// The type and the message of an error, where the answer is one of this shape.
    pub(crate) fn error(self, answer: &Value) -> Option<(String, String)> {
        let error = &answer["error"];
        let kind = match self {
            Self::Chat | Self::Responses => &error["type"],
            Self::Messages if answer["type"] == "error" => &error["type"],
            Self::Messages => return None,
            Self::Generate => &error["status"],
        };
        Some((kind.as_str()?.to_owned(), error["message"].as_str()?.to_owned()))
    }

    /// Reads a stream to its end.
    pub(crate) fn read(self, mut answer: Answer) -> anyhow::Result<Said> {
        let status = answer.status;
        if !answer.is_events() {
            bail!("no stream: {status} {}", answer.text()?);
        }
        let mut said = Said::default();
        // A connection that is cut ends the stream as well.
        while let Ok(Some(event)) = answer.next_event() {
            said.events += 1;
            said.raw.push_str(&event.data);
            said.raw.push('\n');
            if event.data == "[DONE]" {
                said.is_whole = true;
                continue;
            }
            let data: Value = serde_json::from_str(&event.data).with_context(|| event.data.clone())?;
            self.note(&data, &mut said);
        }
        Ok(said)
    }

    fn note(self, data: &Value, said: &mut Said) {
        let kind = data["type"].as_str().unwrap_or_default();
        let (text, is_whole, error) = match self {
            Self::Chat => (&data["choices"][0]["delta"]["content"], false, data["error"].is_object()),
            Self::Responses if kind == "response.output_text.delta" => (&data["delta"], false, false),
            Self::Responses => {
                (&Value::Null, kind == "response.completed", matches!(kind, "error" | "response.failed"))
            }
            Self::Messages => (&data["delta"]["text"], kind == "message_stop", kind == "error"),
            Self::Generate => {
                let candidate = &data["candidates"][0];
                let is_whole = candidate["finishReason"].is_string();
                (&candidate["content"]["parts"][0]["text"], is_whole, data["error"].is_object())
            }
        };
        said.text.push_str(text.as_str().unwrap_or_default());
        said.is_whole |= is_whole;
        if error {
            said.error = Some(data.to_string());
        }
    }
}
