//! The clients: SDKs that nobody here wrote, and the ways of each to speak to models.
//!
//! A driver is a process that has one client. What a client has no way to do is said here ([`Client::features`]), once
//! for the table and for what drivers are asked.

use std::{path::Path, process::Command};

use quorate_tests::paths;

/// What pins the versions of each language's packages.
const PYTHON: &str = "tests/sdks/python/requirements.txt";
const NODE: &str = "tests/sdks/ts/package.json";

/// Every client, in the order of the table.
pub(crate) const CLIENTS: [Client; 12] = [
    Client::new("python-chat", "Python `openai` V, chat completions", "openai"),
    Client::new("python-responses", "Python `openai` V, responses", "openai"),
    Client::new("python-messages", "Python `anthropic` V", "anthropic"),
    Client::new("python-gemini", "Python `google-genai` V", "google-genai"),
    Client::new("langchain-chat", "LangChain `langchain-openai` V, chat completions", "langchain-openai"),
    Client::new("langchain-responses", "LangChain `langchain-openai` V, responses", "langchain-openai"),
    Client::new("langchain-messages", "LangChain `langchain-anthropic` V", "langchain-anthropic"),
    Client::new("langchain-gemini", "LangChain `langchain-google-genai` V", "langchain-google-genai"),
    Client::new("typescript-chat", "TypeScript `openai` V, chat completions", "openai"),
    Client::new("typescript-responses", "TypeScript `openai` V, responses", "openai"),
    Client::new("typescript-messages", "TypeScript `@anthropic-ai/sdk` V", "@anthropic-ai/sdk"),
    Client::new("typescript-gemini", "TypeScript `@google/genai` V", "@google/genai"),
];

/// What clients are asked, in this order.
pub(crate) const FEATURES: [Feature; 20] = [
    Feature::new("chat", "chat", "an answer and what it cost"),
    Feature::new("system", "system", "the provider hears the system prompt"),
    Feature::new("stream", "stream", "the pieces of a stream, together, are the whole answer"),
    Feature::new("usage", "usage", "the end of a stream says what it cost, to the token"),
    Feature::new("tools", "tools", "two tools are called at once"),
    Feature::new("tool_stream", "streamed calls", "the same in a stream, arguments in pieces"),
    Feature::new("results", "results", "the provider hears what the tools said, and the answer goes on"),
    Feature::new("structured", "structured", "the SDK's own helper has an answer of a schema"),
    Feature::new("image", "image", "the provider sees an image, byte by byte"),
    Feature::new("document", "document", "the provider sees a PDF, byte by byte"),
    Feature::new("embeddings", "embeddings", "two texts, two vectors; 404 where the provider has none"),
    Feature::new("models", "models", "the list has the model that it should"),
    Feature::new("count", "count", "the tokens of a request are counted, by the gateway where the provider does not"),
    Feature::new("unknown", "unknown model", "the error of something that was not found"),
    Feature::new("malformed", "malformed", "the error of a bad request, of the provider and of the gateway"),
    Feature::new("limited", "429", "the error of a limit, with the time to wait for"),
    Feature::new(
        "failed",
        "failure",
        "the error of a server, for a status of 500, a page of HTML, a closed connection and broken JSON",
    ),
    Feature::new("cut", "cut", "a stream that the provider breaks off raises an error and does not end well"),
    Feature::new("timeout", "timeout", "the error of a client that waits no longer"),
    Feature::new("close", "close", "a client leaves a stream, and the provider is left, too"),
];

/// A client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Its name for drivers.
    pub(crate) name: &'static str,
    /// What it is to a reader, with a `V` for its version.
    title: &'static str,
    /// The package that its version is of.
    package: &'static str,
}

/// Something that clients are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    /// Its name for drivers.
    pub(crate) key: &'static str,
    /// The head of its column.
    pub(crate) title: &'static str,
    /// What was seen where it works.
    pub(crate) seen: &'static str,
}

// === impl Client ===

impl Client {
    const fn new(name: &'static str, title: &'static str, package: &'static str) -> Self {
        Self { name, title, package }
    }

    /// What it is to a reader, with its version.
    ///
    /// # Errors
    ///
    /// Its version is not pinned.
    pub(crate) fn title(self) -> anyhow::Result<String> {
        let file = if self.is_node() { NODE } else { PYTHON };
        Ok(self.title.replace(" V", &format!(" {}", quorate_tests::interop::version(file, self.package)?)))
    }

    /// What it has a way to do.
    pub(crate) fn features(self) -> impl Iterator<Item = Feature> {
        FEATURES.into_iter().filter(move |feature| self.knows(feature.key))
    }

    /// The command of its driver; what the library writes for itself goes into `home`.
    ///
    /// # Errors
    ///
    /// What the driver needs is not installed.
    pub(crate) fn driver(self, home: &Path) -> anyhow::Result<Command> {
        let mut command = if self.is_node() {
            let mut command = Command::new(paths::node(paths::MODELS)?);
            command.arg(paths::installed(paths::MODELS, "driver.mjs")?);
            command
        } else {
            let mut command = Command::new(paths::installed(paths::MODELS, "venv/bin/python")?);
            command.arg("-B").arg(paths::repository().join("tests/sdks/python/driver.py"));
            command
        };
        command.arg(self.name).env("HOME", home);
        // No proxy stands between a test and its gateway, and no key of the person who runs it goes there.
        for variable in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        for variable in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"] {
            command.env_remove(variable);
        }
        Ok(command)
    }

    fn is_node(self) -> bool {
        self.name.starts_with("typescript")
    }

    fn knows(self, feature: &str) -> bool {
        let is_langchain = self.name.starts_with("langchain");
        match feature {
            "embeddings" => self.name.ends_with("chat"),
            "count" => self.name.ends_with("messages") && !is_langchain,
            "models" => !is_langchain,
            _ => true,
        }
    }
}

// === impl Feature ===

impl Feature {
    const fn new(key: &'static str, title: &'static str, seen: &'static str) -> Self {
        Self { key, title, seen }
    }
}
