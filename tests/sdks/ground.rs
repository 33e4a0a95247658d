//! What clients meet: a provider that says what the test wants to hear, and a gateway with its models.
//!
//! A model's name begins with the API that answers it; what follows goes to the provider, which does what it says. A
//! gateway leaves providers alone that fail, so that each API has three: one that works, one that fails and one that is
//! over its limit.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::Context as _;
use quorate_tests::{
    paths,
    process::Process,
    servers::{self, Gateway},
};
use serde_json::{Value, json};

/// How long the provider may take to start.
const READY: Duration = Duration::from_secs(30);

/// The APIs behind, in the order of the page.
pub(crate) const BEHIND: [Behind; 4] = [
    Behind { name: "chat", title: "Answered by chat completions", preset: "openai-compatible", path: "/v1" },
    Behind { name: "responses", title: "Answered by responses", preset: "openai", path: "/v1" },
    Behind { name: "messages", title: "Answered by Anthropic messages", preset: "anthropic", path: "" },
    Behind { name: "gemini", title: "Answered by Gemini generateContent", preset: "gemini", path: "" },
];

/// What stands before the names of models whose providers work, fail, and are over their limit.
const KINDS: [&str; 3] = ["", "failing-", "limited-"];

/// Failures after which a provider is left alone: more than there are.
const FAILURES_MAX: u32 = 1000;

/// An API behind the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// Its name, with which its models begin.
    pub(crate) name: &'static str,
    /// What it is to a reader.
    pub(crate) title: &'static str,
    preset: &'static str,
    /// What stands before the paths of the API.
    path: &'static str,
}

/// The provider and the gateway.
pub(crate) struct Ground {
    /// The provider's process, which ends with this.
    _provider: Process,
    /// Where the provider is.
    pub(crate) mock: String,
    /// The gateway.
    pub(crate) gateway: Gateway,
}

// === impl Ground ===

impl Ground {
    /// Starts both; the gateway's documents go into `results`.
    ///
    /// # Errors
    ///
    /// One of them was not built, or does not become ready.
    pub(crate) fn start(results: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(paths::binary("quorate-bench")?);
        command.args(["provider", "--port", "0"]);
        let mut provider = Process::converse("the provider", &mut command)?;
        let mock = provider.line(READY, |line| line.starts_with("http://").then(|| line.trim_end().to_owned()))?;
        let file = results.join("resources.yaml");
        // JSON is YAML, and documents are separated as in YAML.
        let text = documents(&mock).iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { _provider: provider, mock, gateway: servers::serve(&file)? })
    }
}

// === impl Behind ===

impl Behind {
    fn documents(self, kind: &str, mock: &str) -> [Value; 2] {
        let name = format!("{kind}{}", self.name);
        let mut provider =
            json!({ "preset": self.preset, "url": format!("{mock}{}", self.path), "keys": ["a-key-of-the-provider"] });
        if self.path == "/v1" {
            provider["apis"] = json!([self.name, "embeddings"]);
        }
        let model = json!({
            "names": [format!("{name}-*")],
            "targets": [{ "provider": name, "model": "*" }],
            "limits": { "retries": 0 },
            "breaker": { "failures": FAILURES_MAX },
        });
        [
            json!({ "kind": "Provider", "name": name, "spec": provider }),
            json!({ "kind": "Model", "name": name, "spec": model }),
        ]
    }
}

fn documents(mock: &str) -> Vec<Value> {
    let mut documents = vec![json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } })];
    for behind in BEHIND {
        documents.extend(KINDS.iter().flat_map(|kind| behind.documents(kind, mock)));
    }
    // Lists have the names by which clients can ask, and no patterns.
    let target = json!({ "provider": BEHIND[0].name, "model": "mock" });
    documents.push(json!({ "kind": "Model", "name": "listed", "spec": { "targets": [target] } }));
    documents
}
