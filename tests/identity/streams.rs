//! Streams that are open while what let them in is taken back: they end, and those of everybody else lose nothing.
//!
//! Two agents with a key each have the same stream; the document of one is removed.

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use quorate_tests::{
    paths,
    raw::{
        PATIENCE,
        backend::Backend,
        client::{self, Answer},
        gateway::{Gateway, modern_request},
        mcp::{Mcp, said},
    },
};
use serde_json::{Value, json};

use crate::{sessions::Session, site::Site};

const PATH: &str = "/mcp/tools";
const DATA: &str = "data";

/// A gateway that knows two agents, and a tool that has begun and waits to be let go.
struct Ground {
    gateway: Gateway,
    site: Site,
    /// The keys of the one that goes and of the one that stays, and the documents that know them.
    goes: (String, String),
    stays: (String, String),
    gate: Arc<Gate>,
    _server: Backend,
}

/// Holds calls until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

// === impl Gate ===

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open));
    }
}

// === impl Ground ===

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let server = Mcp::new("slow").tools(&["now"]).on("tools/call", move |seen, out| {
            let token = &seen.params()["_meta"]["progressToken"];
            let params = json!({ "progressToken": token, "progress": 1 });
            out.message(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
            held.pass();
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said("done") }));
        });
        let server = server.start()?;
        let site = Site::new()
            .with("ToolServer", "slow", json!({ "urls": [server.url()] }))
            .with("Toolset", "tools", json!({ "servers": ["slow"], "naming": "bare" }))
            .policy("permit(principal, action, resource);");
        let folder = tempfile::tempdir()?;
        let data = folder.path().join(DATA);
        let data = data.to_str().context("a temporary folder has a plain name")?.to_owned();
        let (goes, stays) = (new_key(&data, "goes")?, new_key(&data, "stays")?);
        let text = [site.text(), goes.1.clone(), stays.1.clone()].join("\n---\n");
        std::fs::write(folder.path().join("resources.yaml"), text)?;
        let gateway = Gateway::start_in(folder, &["--data-dir", &data])?;
        Ok(Self { gateway, site, goes, stays, gate, _server: server })
    }

    /// Removes the key of one of the two.
    fn remove(&self) -> anyhow::Result<()> {
        self.gateway.rewrite(&[self.site.text(), self.stays.1.clone()].join("\n---\n"))
    }

    /// Calls the tool without a session; returns its stream when the call has begun.
    fn call(&self, key: &str) -> anyhow::Result<Answer> {
        let params = json!({ "name": "now", "arguments": {}, "_meta": { "progressToken": "p" } });
        let (headers, body) = modern_request(&json!(1), "tools/call", params);
        let bearer = format!("Bearer {key}");
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = headers.chain([("authorization", bearer.as_str())]).collect();
        begun(client::send(self.gateway.address, "POST", PATH, &headers, body.to_string().as_bytes())?)
    }
}

/// Makes the key of an agent as an operator does: the key, and the document that knows it.
fn new_key(data: &str, name: &str) -> anyhow::Result<(String, String)> {
    let made =
        Command::new(paths::binary("quorate")?).args(["keys", "new", "--name", name, "--data-dir", data]).output()?;
    let said = String::from_utf8(made.stderr)?;
    ensure!(made.status.success(), "no key: {said}");
    let key = said.split_whitespace().find(|word| word.starts_with("qk_")).context("the key is shown once")?;
    Ok((key.to_owned(), String::from_utf8(made.stdout)?))
}

/// The stream of a call whose tool has told of its progress.
fn begun(mut stream: Answer) -> anyhow::Result<Answer> {
    ensure!((stream.status, stream.is_events()) == (200, true), "answered {}", stream.status);
    let first = stream.next_message()?.context("the stream ended")?;
    ensure!(first["method"] == "notifications/progress", "{first}");
    Ok(stream)
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn the_stream_of_a_session_ends_when_the_key_that_opened_it_is_removed() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (goes, stays) = (&ground.goes.0, &ground.stays.0);
    let (one, other) = (Session::open(&ground.gateway, goes)?, Session::open(&ground.gateway, stays)?);
    let (mut one_stream, mut other_stream) = (one.listen(goes)?, other.listen(stays)?);

    ground.remove()?;

    // Up to the change there may be something to read.
    while one_stream.next_event()?.is_some() {}
    assert_eq!(one.listen(goes)?.status, 401);
    let told = other_stream.next_message()?.context("the stream of the other agent ended")?;
    ensure!(told["method"].as_str().is_some_and(|method| method.ends_with("/list_changed")), "{told}");
    Ok(())
}

#[test]
fn a_call_of_a_session_ends_with_the_key_and_that_of_another_caller_is_answered() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (goes, stays) = (&ground.goes.0, &ground.stays.0);
    let (one, other) = (Session::open(&ground.gateway, goes)?, Session::open(&ground.gateway, stays)?);
    let (mut one_call, other_call) = (begun(one.call_telling(goes)?)?, begun(other.call_telling(stays)?)?);

    ground.remove()?;

    while let Some(message) = one_call.next_message()? {
        ensure!(message.get("result").is_none(), "it was answered: {message}");
    }
    ground.gate.open();
    let answer = other_call.message()?;
    ensure!(text(&answer) == "done", "{answer}");
    Ok(())
}

#[test]
fn a_stateless_call_ends_with_an_error_when_its_key_is_removed_and_another_one_is_answered() -> anyhow::Result<()> {
    let ground = Ground::new()?;
    let (one, other) = (ground.call(&ground.goes.0)?, ground.call(&ground.stays.0)?);

    ground.remove()?;

    let refused = one.message()?;
    ensure!(refused.get("error").is_some() && refused["id"] == 1, "{refused}");
    ground.gate.open();
    let answer = other.message()?;
    ensure!(text(&answer) == "done", "{answer}");
    Ok(())
}
