//! One call of the demo, and its fault.
//!
//! ```text
//! call:   send ─▶ events, noted as they come ─▶ answer
//! story:  every tenth event is told, with the nodes that serve it; at the twelfth the fault; then who has the session
//! ```
//!
//! Both run at once in one task, so that the story never holds up what it tells of.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_runtime::upstream::{Error, ToolCall};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backend::NAME;
use super::backend::journal::Run;
use super::trial::Trial;
use super::verdict::{Row, Seen};
use super::{Demo, Fault};
use crate::exit::{Doing, Exit, Failure};

const INTERVAL: Duration = Duration::from_millis(50);
/// How often a line tells how far the call is.
const TOLD_EACH: u64 = 10;
/// The step at which the fault comes.
const FAULT_AT: u64 = 12;

/// What came of a call at the client.
struct Came {
    seen: Vec<Seen>,
    result: Result<Bytes, Error>,
}

/// What the story did.
struct Done {
    /// When the fault was.
    at: Instant,
    /// The node that had it.
    node: usize,
}

// === impl Demo ===

impl Demo {
    /// Makes a call, has the fault come while it runs, and mends what it did.
    pub(super) async fn show(&self, trial: &Trial, fault: Fault) -> Result<Row, Failure> {
        let run: Run = fault.run().parse().expect("the names in this program are valid");
        let owner = trial.owner().await?;
        self.front.prefer(fault.ingress(owner, trial.listen().len()));
        // The client hears of its closed connections meanwhile.
        trial.settled().await?;
        let (number, numbers) = watch::channel(0);
        let (came, done) = tokio::join!(self.call(&run, fault.steps(), number), self.story(trial, fault, numbers));
        let done = done?;
        let text = match &came.result {
            Ok(result) => text_of(result),
            Err(error) => return Err(Failure::of_upstream("the front", Doing::Calling, error)),
        };
        self.told.line(format_args!("the answer: {text}"))?;
        let is_answered = text == format!("{} steps done", fault.steps());
        let written = trial.written(&run)?;
        let name = trial.name(done.node);
        if fault == Fault::Drain {
            trial.undrain(done.node).await?;
        }
        trial.settled().await?;
        let again = if fault == Fault::Drain { "takes work again" } else { "is back and has caught up" };
        self.told.line(format_args!("{name} {again}; leaders are level"))?;
        Ok(Row::new(fault.title(), (fault.steps(), INTERVAL), &came.seen, done.at, written, is_answered))
    }

    async fn call(&self, run: &Run, steps: u64, number: watch::Sender<u64>) -> Came {
        let arguments = json!({"run": run.as_str(), "steps": steps, "interval_ms": INTERVAL.as_millis() as u64});
        let arguments = arguments.to_string();
        let call = ToolCall { name: NAME, arguments: &arguments, definition: None, log_level: None };
        let seen = RefCell::new(Vec::new());
        let note = |frame: &Frame| {
            if let Some(of_frame) = progress(frame) {
                seen.borrow_mut().push(Seen { number: of_frame, at: Instant::now() });
                number.send_replace(of_frame);
            }
        };
        let result = self.client.call_tool(&call, note).await;
        // Nothing comes any more: the story ends with it.
        drop(number);
        Came { seen: seen.into_inner(), result }
    }

    /// Tells of the call while it runs, and has the fault come.
    async fn story(&self, trial: &Trial, fault: Fault, mut numbers: watch::Receiver<u64>) -> Result<Done, Failure> {
        let mut done: Option<Done> = None;
        let mut told_of = 0;
        let mut is_elsewhere = false;
        while numbers.changed().await.is_ok() {
            let number = *numbers.borrow_and_update();
            let serving = self.front.serving();
            match &done {
                None if number >= FAULT_AT => {
                    done = Some(self.strike(trial, fault, serving).await?);
                    numbers.mark_unchanged();
                }
                // After a loss nothing comes until another one has it; a drain takes its time.
                Some(Done { node, .. }) if !is_elsewhere => {
                    let owner = trial.owner().await?;
                    is_elsewhere = owner != *node || fault != Fault::Drain;
                    if is_elsewhere {
                        self.tell(trial, fault, (number, serving, owner), " now")?;
                        told_of = number;
                    }
                }
                _ if number >= told_of + TOLD_EACH => {
                    self.tell(trial, fault, (number, serving, trial.owner().await?), "")?;
                    told_of = number;
                }
                _ => {}
            }
        }
        let early = |what| Failure::new(Exit::Failure, format!("the call was over before {what}"));
        match done {
            Some(done) if is_elsewhere => Ok(done),
            Some(_) => Err(early("another node had its session")),
            None => Err(early("its fault")),
        }
    }

    fn tell(
        &self,
        trial: &Trial,
        fault: Fault,
        (number, serving, owner): (u64, usize, usize),
        more: &str,
    ) -> Result<(), Failure> {
        let (steps, serving, owner) = (fault.steps(), trial.name(serving), trial.name(owner));
        self.told.line(format_args!("event {number:3} of {steps} through {serving}, session at {owner}{more}"))
    }

    /// Has the fault come, to the node that it is for.
    async fn strike(&self, trial: &Trial, fault: Fault, serving: usize) -> Result<Done, Failure> {
        let owner = trial.owner().await?;
        if fault.ingress(owner, trial.listen().len()) != serving {
            let (serving, owner) = (trial.name(serving), trial.name(owner));
            let message =
                format!("the client is at {serving} and its session at {owner}, which this fault is not about");
            return Err(Failure::new(Exit::Failure, message));
        }
        let name = trial.name(owner);
        let at = Instant::now();
        match fault {
            Fault::KillOwner | Fault::KillBoth => {
                let pid = trial.kill(owner)?;
                self.told.line(format_args!("SIGKILL to {name}, process {pid}"))?;
            }
            Fault::Drain => {
                self.told.line(format_args!("drain of {name}"))?;
                trial.drain(owner).await?;
            }
        }
        Ok(Done { at, node: owner })
    }
}

/// The number of a progress notification.
fn progress(frame: &Frame) -> Option<u64> {
    if frame.method() != Some("notifications/progress") {
        return None;
    }
    let message: Value = serde_json::from_str(frame.text()).ok()?;
    message["params"]["progress"].as_u64()
}

/// The text of a result.
fn text_of(result: &[u8]) -> String {
    let result: Value = serde_json::from_slice(result).unwrap_or_default();
    result["content"][0]["text"].as_str().unwrap_or("no text").to_owned()
}
