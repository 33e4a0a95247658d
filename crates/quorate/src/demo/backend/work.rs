//! The tool `work`: so many steps, one each interval, each of them reported, then an answer.
//!
//! In: the arguments of a call. Out: events in the log of its stream. A run is in the journal before its first step, and a step
//! before its event; where the journal cannot be written, the call ends with an error.

use std::time::Duration;

use quorate_http::sse::Event;
use quorate_jsonrpc::{Id, build, quote};
use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval};

use super::journal::{Journal, Run};
use super::sessions::Log;

/// What the tool is called.
pub(crate) const NAME: &str = "work";

const STEPS_MAX: u64 = 1_000;
const INTERVAL_MS_MIN: u64 = 10;
const INTERVAL_MS_MAX: u64 = 1_000;

/// One call.
#[derive(Debug)]
pub(super) struct Work {
    id: Id,
    token: Option<Id>,
    run: Run,
    steps: u64,
    interval: Duration,
}

// === impl Work ===

impl Work {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What is wrong, for who called.
    pub(super) fn new(arguments: &str, id: Id, token: Option<Id>) -> Result<Self, String> {
        let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
        let whole = |name: &str, least: u64, most: u64| {
            let number = arguments.get(name).and_then(Value::as_u64).filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("the argument `{name}` must be a whole number from {least} to {most}"))
        };
        let run = arguments.get("run").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            id,
            token,
            run: run.parse().map_err(|error| format!("the argument `run` {error}"))?,
            steps: whole("steps", 1, STEPS_MAX)?,
            interval: Duration::from_millis(whole("interval_ms", INTERVAL_MS_MIN, INTERVAL_MS_MAX)?),
        })
    }

    /// Does it.
    pub(super) async fn run(self, journal: Journal, log: Log) {
        let result = match self.steps(&journal, &log).await {
            Ok(()) => text(&format!("{} steps done", self.steps), false),
            Err(failed) => error(&format!("the journal cannot be written: {failed}")),
        };
        log.push(Event::new(build::result(&self.id, &result)));
    }

    async fn steps(&self, journal: &Journal, log: &Log) -> std::io::Result<()> {
        let (begun, run) = (journal.clone(), self.run.clone());
        tokio::task::spawn_blocking(move || begun.run(&run)).await.map_err(std::io::Error::other)??;
        let mut pace = interval(self.interval);
        // After a stall steps come at their usual distance: a burst would hide a pause behind it.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for step in 1..=self.steps {
            pace.tick().await;
            journal.event(&self.run, step)?;
            if let Some(token) = &self.token {
                let params = format!("{{\"progressToken\":{token},\"progress\":{step},\"total\":{}}}", self.steps);
                log.push(Event::new(build::notification("notifications/progress", Some(&params))));
            }
        }
        Ok(())
    }
}

/// The tool's definition.
pub(super) fn definition() -> String {
    format!(
        r#"{{"name":"{NAME}","title":"Work","description":"Takes steps, and reports each.","inputSchema":{{"type":"object","properties":{{"run":{{"type":"string","description":"what the journal calls it"}},"steps":{{"type":"integer","minimum":1,"maximum":{STEPS_MAX}}},"interval_ms":{{"type":"integer","minimum":{INTERVAL_MS_MIN},"maximum":{INTERVAL_MS_MAX}}}}},"required":["run","steps","interval_ms"]}}}}"#
    )
}

/// The result that says what went wrong.
pub(super) fn error(what: &str) -> String {
    text(what, true)
}

fn text(text: &str, is_error: bool) -> String {
    let is_error = if is_error { ",\"isError\":true" } else { "" };
    format!("{{\"content\":[{{\"type\":\"text\",\"text\":{}}}]{is_error}}}", quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_named_with_what_is_allowed() {
        let wrong = |arguments: &str| Work::new(arguments, Id::from(1), None).unwrap_err();

        assert!(wrong("{}").contains("`run` must be 1 to 32"));
        assert!(wrong(r#"{"run":"a","steps":0,"interval_ms":10}"#).contains("`steps` must be a whole number from 1"));
        assert!(
            wrong(r#"{"run":"a","steps":1,"interval_ms":9}"#).contains("`interval_ms` must be a whole number from 10")
        );
        assert!(serde_json::from_str::<Value>(&definition()).is_ok());
    }
}
