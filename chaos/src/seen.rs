//! What a client has seen of one call, event by event, and what it must never see.
//!
//! An event id is `STREAM.SEQUENCE`. All events of a call are of one stream; sequences begin with 0 and have no gap, no
//! repetition and no other order, over however many connections they come. Progress counts 1, 2, 3 likewise, and the answer
//! comes once, after all of it, and last. Of a call that the operator allows to be sent again progress says little, and it may
//! ask again: its first execution may go on beside the second, and servers tell progress by the client's token alone.

use std::fmt;

use quorate_tests::raw::client::Event;
use serde_json::Value;

/// The code of "outcome unknown".
pub const OUTCOME_UNKNOWN: i64 = -31002;
/// The code of "unavailable": nothing was sent.
pub const UNAVAILABLE: i64 = -31007;

/// Something that was promised not to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// That there is a stream.
    Nothing,
    /// How far the call is.
    Progress,
    /// The server asks its client.
    Question(Value),
    /// How the call ended.
    Answer(Value),
}

/// A call as its client knows it.
#[derive(Clone, Debug)]
pub struct Seen {
    id: Value,
    /// Whether it may be executed, and so count, again.
    is_replayable: bool,
    stream: Option<u64>,
    next: u64,
    progress: u64,
    questions: Vec<Value>,
    /// Whether a question was taken back.
    is_withdrawn: bool,
    answer: Option<Value>,
    events: u64,
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// Says that something was seen that must not be.
///
/// # Errors
///
/// Always: that is what it is for.
pub fn violation<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(what.into()))
}

// === impl Seen ===

impl Seen {
    /// Nothing yet of a request with this id, which is its progress token, too.
    pub fn new(id: impl Into<Value>, is_replayable: bool) -> Self {
        Self {
            id: id.into(),
            is_replayable,
            stream: None,
            next: 0,
            progress: 0,
            questions: Vec::new(),
            is_withdrawn: false,
            answer: None,
            events: 0,
        }
    }

    /// The id of the last event that came, with which the stream can be gone on with.
    #[must_use]
    pub fn last_event_id(&self) -> Option<String> {
        let stream = self.stream?;
        Some(format!("{stream}.{}", self.next - 1))
    }

    /// The answer, when it has come.
    #[must_use]
    pub fn answer(&self) -> Option<&Value> {
        self.answer.as_ref()
    }

    /// How far the call has counted.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Whether a question was taken back, as it is when the execution that asked it is not gone on with.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.is_withdrawn
    }

    /// Events with an id that came.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// It must not come.
    pub fn take(&mut self, event: &Event) -> Result<Told, Violation> {
        if event.data.is_empty() && event.id.is_some() && event.id == self.last_event_id() {
            // A connection that goes on begins with what its client has, so that it can break again at once.
            return Ok(Told::Nothing);
        }
        if let Some(id) = &event.id {
            self.number(id)?;
        }
        if event.data.is_empty() {
            return match self.next {
                1 => Ok(Told::Nothing),
                _ => violation(format!("an event without data in mid-stream: {event:?}")),
            };
        }
        let Ok(message) = serde_json::from_str::<Value>(&event.data) else {
            return violation(format!("no JSON: {event:?}"));
        };
        let is_told_by_ingress = message["error"]["code"] == OUTCOME_UNKNOWN;
        if event.id.is_none() && !is_told_by_ingress {
            return violation(format!("an event without an id: {event:?}"));
        }
        self.take_message(message)
    }

    /// Takes a message: the data of an event, or a body.
    ///
    /// # Errors
    ///
    /// It must not come.
    pub fn take_message(&mut self, message: Value) -> Result<Told, Violation> {
        if let Some(answer) = &self.answer {
            return violation(format!("after the answer {answer} came {message}"));
        }
        match message["method"].as_str() {
            Some("notifications/progress") => self.count(&message),
            Some("elicitation/create") if self.questions.is_empty() || self.is_replayable => {
                self.questions.push(message["id"].clone());
                Ok(Told::Question(message))
            }
            Some("notifications/cancelled") if self.questions.contains(&message["params"]["requestId"]) => {
                self.is_withdrawn = true;
                Ok(Told::Nothing)
            }
            Some(_) => violation(format!("a message that does not belong to the call: {message}")),
            None if message["id"] == self.id => {
                self.answer = Some(message.clone());
                Ok(Told::Answer(message))
            }
            None => violation(format!("the answer to another request: {message}")),
        }
    }

    fn number(&mut self, id: &str) -> Result<(), Violation> {
        let numbers = id
            .split_once('.')
            .and_then(|(stream, sequence)| Some((stream.parse::<u64>().ok()?, sequence.parse::<u64>().ok()?)));
        let Some((stream, sequence)) = numbers else {
            return violation(format!("{id:?} is no event id"));
        };
        if *self.stream.get_or_insert(stream) != stream {
            return violation(format!("event {id} is of another stream than {:?}", self.stream));
        }
        if sequence != self.next {
            return violation(format!("event {id} came, {stream}.{} is next", self.next));
        }
        self.next += 1;
        self.events += 1;
        Ok(())
    }

    fn count(&mut self, message: &Value) -> Result<Told, Violation> {
        let params = &message["params"];
        let progress = params["progress"].as_f64().unwrap_or(f64::NAN);
        // Of a call that was sent again both executions may count for a while, under the one token that the client gave.
        let next = if self.is_replayable { progress } else { (self.progress + 1) as f64 };
        if !(progress >= 1.0 && (progress - next).abs() < f64::EPSILON) {
            return violation(format!("progress {progress} came, {next} is next"));
        }
        if params["progressToken"] != self.id {
            return violation(format!("progress of another call: {message}"));
        }
        self.progress += 1;
        Ok(Told::Progress)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, message: &Value) -> Event {
        Event { id: Some(id.to_owned()), data: message.to_string(), ..Event::default() }
    }

    fn progress(step: u64) -> Value {
        let params = json!({ "progressToken": 7, "progress": step, "total": 3 });
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
    }

    fn answer() -> Value {
        json!({ "jsonrpc": "2.0", "id": 7, "result": {} })
    }

    /// Takes these events after the priming one, and returns how the last of them ended.
    fn taken(is_replayable: bool, events: &[(&str, Value)]) -> Result<Told, Violation> {
        let mut seen = Seen::new(7, is_replayable);
        let primes = Event { id: Some("1.0".to_owned()), ..Event::default() };
        let mut last = seen.take(&primes);
        for (id, message) in events {
            last = Ok(seen.take(&event(id, message))?);
        }
        last
    }

    #[test]
    fn a_whole_call_is_told_once_and_in_order() {
        let told = taken(false, &[("1.1", progress(1)), ("1.2", progress(2)), ("1.3", answer())]);

        assert_eq!(told, Ok(Told::Answer(answer())));
    }

    #[test]
    fn what_is_lost_doubled_misplaced_or_foreign_is_a_violation() {
        let cases: [&[(&str, Value)]; 8] = [
            &[("1.2", progress(1))],
            &[("1.1", progress(1)), ("1.1", progress(1))],
            &[("1.1", progress(2))],
            &[("1.1", progress(1)), ("1.2", progress(1))],
            &[("2.1", progress(1))],
            &[("1.1", answer()), ("1.2", answer())],
            &[("1.1", answer()), ("1.2", progress(1))],
            &[("1.1", json!({ "jsonrpc": "2.0", "id": 8, "result": {} }))],
        ];
        for events in cases {
            assert!(taken(false, events).is_err(), "{events:?}");
        }
    }

    #[test]
    fn only_a_call_that_may_be_sent_again_may_count_again() {
        let events = [("1.1", progress(1)), ("1.2", progress(2)), ("1.3", progress(1)), ("1.4", answer())];

        assert!(taken(false, &events).is_err());
        assert!(taken(true, &events).is_ok());
    }

    #[test]
    fn an_event_without_an_id_can_only_say_that_the_outcome_is_unknown() {
        let unknown = json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": OUTCOME_UNKNOWN, "message": "lost" } });
        let without = |message: &Value| Event { data: message.to_string(), ..Event::default() };

        assert!(Seen::new(7, false).take(&without(&unknown)).is_ok());
        assert!(Seen::new(7, false).take(&without(&progress(1))).is_err());
        assert!(Seen::new(7, false).take(&without(&answer())).is_err());
    }
}
