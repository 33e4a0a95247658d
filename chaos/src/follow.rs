//! A call from its POST to its answer, by a client that never gives up and believes nothing.
//!
//! A connection that breaks is nobody's fault: the client comes again with the last event that it has, to whatever node.
//! Whatever else is not as promised is a [`Violation`]: an event that must not come, a session that is not found, a stream that
//! is not gone on with. Of a POST that broke before its stream began a client knows nothing, except that the call was executed
//! once at most.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quorate_tests::raw::client::Answer;
use quorate_tests::raw::session::Session;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::ground::Kind;
use crate::history::History;
use crate::run::Signal;
use crate::seen::{OUTCOME_UNKNOWN, Seen, Told, UNAVAILABLE, Violation, violation};

/// How long a call may take in all, its pauses and everything that happens to nodes included.
const CALL_MAX: Duration = Duration::from_secs(120);

/// The pause before a node is asked again, when one was gone.
const PAUSE: Duration = Duration::from_millis(50);

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Counts with progress.
    Count,
    /// Answers at once.
    Quick,
    /// Asks its client, then counts.
    Ask,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its JSON-RPC id, and its progress token.
    pub number: u64,
    /// What its counter knows it by.
    pub name: String,
    /// Whose tool it is.
    pub kind: Kind,
    /// Which.
    pub tool: Tool,
    /// How far it counts.
    pub steps: u64,
    /// How long it pauses after each step, in milliseconds.
    pub pause_ms: u64,
    /// Whether its client wants a stream from the beginning.
    pub is_streamed: bool,
    /// Whether the client looks, after the answer, that nothing is left.
    pub is_probed: bool,
}

/// How a call ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was executed, and answered.
    Answered,
    /// It was told that the outcome is not known.
    Unknown,
    /// It was told that nothing was executed.
    NotRun,
    /// No node took it in time (503).
    Refused,
    /// Its connection broke before anything was told.
    Cut,
}

/// What was seen of a call.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// Events with ids.
    pub events: u64,
    /// How often its client came again.
    pub resumptions: u32,
    /// The longest time in which nothing came.
    pub silence: Duration,
}

/// A client of one session.
#[derive(Debug)]
pub struct Client<'a> {
    /// The session.
    pub session: Session,
    /// Where nodes are.
    pub nodes: &'a [SocketAddr],
    /// Chooses among them.
    pub dice: &'a mut Dice,
    /// What happened to the session.
    pub history: &'a History,
    /// Ends pauses.
    pub signal: &'a Signal,
}

/// A call that is under way.
struct Following {
    seen: Seen,
    deadline: Instant,
    heard: Instant,
    silence: Duration,
    resumptions: u32,
}

// === impl Tool ===

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Quick => "quick",
            Self::Ask => "ask",
        }
    }
}

// === impl Call ===

impl Call {
    /// The request, with its number as its progress token.
    #[must_use]
    pub fn message(&self) -> Value {
        let arguments = match self.tool {
            Tool::Quick => json!({ "id": self.name }),
            Tool::Count | Tool::Ask => json!({ "id": self.name, "steps": self.steps, "pause_ms": self.pause_ms }),
        };
        let name = format!("{}_{}", self.kind.server(), self.tool.name());
        let params = json!({ "name": name, "arguments": arguments, "_meta": { "progressToken": self.number } });
        json!({ "jsonrpc": "2.0", "id": self.number, "method": "tools/call", "params": params })
    }

    /// What a client has seen before anything came.
    #[must_use]
    pub fn unseen(&self) -> Seen {
        Seen::new(self.number, self.kind == Kind::Replayable)
    }

    /// The number with which the client answers the call's question.
    #[must_use]
    pub fn number_told(&self) -> u64 {
        self.number + 1_000
    }

    /// Judges an answer.
    ///
    /// # Errors
    ///
    /// It is none of those that were promised.
    pub fn judge(&self, seen: &Seen, answer: &Value) -> Result<Outcome, Violation> {
        let error = &answer["error"];
        if error["code"] == OUTCOME_UNKNOWN {
            return match error["data"]["mayHaveRun"] == true {
                _ if self.kind == Kind::Replayable => violation(format!("{} is replayable: {answer}", self.name)),
                true => Ok(Outcome::Unknown),
                false => violation(format!("it does not say that it may have run: {answer}")),
            };
        }
        if error["code"] == UNAVAILABLE {
            return Ok(Outcome::NotRun);
        }
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        let expected = match self.tool {
            Tool::Count => format!("{} counted to {}", self.name, self.steps),
            Tool::Quick => format!("{} is done", self.name),
            Tool::Ask => format!("{} was told {}", self.name, self.number_told()),
        };
        if text != expected {
            return violation(format!("{expected:?} is the answer of {}, not {answer}", self.name));
        }
        if seen.is_withdrawn() && self.kind != Kind::Replayable {
            return violation(format!("a question of {} was taken back, and {answer} is its answer", self.name));
        }
        let counted = if self.tool == Tool::Quick { 0 } else { self.steps };
        if seen.progress() != counted && self.kind != Kind::Replayable {
            return violation(format!("{} of {counted} progress notifications of {} came", seen.progress(), self.name));
        }
        Ok(Outcome::Answered)
    }
}

// === impl Client ===

impl Client<'_> {
    /// Makes a call, and follows it to its end.
    ///
    /// # Errors
    ///
    /// Something happens that must not.
    pub fn call(&mut self, call: &Call) -> Result<Done, Violation> {
        let (node, session) = self.somewhere();
        self.history.note(format!("{} {:?} {:?} by node {node}", call.name, call.kind, call.tool));
        let begun = Instant::now();
        let mut following = Following {
            seen: call.unseen(),
            deadline: begun + CALL_MAX,
            heard: begun,
            silence: Duration::ZERO,
            resumptions: 0,
        };
        let message = call.message();
        let posted = if call.is_streamed { session.post_streamed(&message) } else { session.post(&message) };
        let outcome = match posted {
            Err(error) => {
                self.history.note(format!("the POST broke: {error:#}"));
                Outcome::Cut
            }
            Ok(answer) if answer.status == 200 && answer.is_events() => self.follow(call, answer, &mut following)?,
            Ok(answer) if answer.status == 200 => self.read(call, answer, &mut following)?,
            Ok(answer) if answer.status == 503 => Outcome::Refused,
            Ok(answer) => return violation(format!("{} is answered {}", call.name, told(answer))),
        };
        following.hear();
        self.history.note(format!("{} {outcome:?}", call.name));
        let Following { seen, silence, resumptions, .. } = following;
        Ok(Done { outcome, events: seen.events(), resumptions, silence })
    }

    /// Reads an answer that is no stream.
    fn read(&mut self, call: &Call, answer: Answer, following: &mut Following) -> Result<Outcome, Violation> {
        let text = match answer.text() {
            Ok(text) => text,
            Err(error) => {
                self.history.note(format!("the answer broke: {error:#}"));
                return Ok(Outcome::Cut);
            }
        };
        match serde_json::from_str(&text).map(|message| following.seen.take_message(message)) {
            Ok(Ok(Told::Answer(answer))) => call.judge(&following.seen, &answer),
            Ok(Err(violation)) => Err(violation),
            _ => violation(format!("no answer: {text:?}")),
        }
    }

    /// Follows a stream to its answer, over as many connections as that takes.
    fn follow(&mut self, call: &Call, answer: Answer, following: &mut Following) -> Result<Outcome, Violation> {
        let mut stream = answer;
        loop {
            match self.drain(call, &mut stream, following)? {
                Some(outcome) => {
                    if call.is_probed || outcome == Outcome::Unknown {
                        self.nothing_is_left(following)?;
                    }
                    return Ok(outcome);
                }
                None => match self.resume(call, following)? {
                    Some(next) => stream = next,
                    None => return Ok(Outcome::Cut),
                },
            }
        }
    }

    /// Reads a connection to its end; none when it ends before the answer.
    fn drain(
        &mut self,
        call: &Call,
        stream: &mut Answer,
        following: &mut Following,
    ) -> Result<Option<Outcome>, Violation> {
        let mut outcome = None;
        loop {
            let event = match stream.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(outcome),
                Err(error) => {
                    self.history.note(format!("the stream broke: {error:#}"));
                    return Ok(outcome);
                }
            };
            following.hear();
            self.history.note(format!("{} {}", event.id.as_deref().unwrap_or("-"), brief(&event.data)));
            match following.seen.take(&event)? {
                Told::Answer(answer) => outcome = Some(call.judge(&following.seen, &answer)?),
                Told::Question(question) => self.reply(call, &question, following)?,
                Told::Nothing | Told::Progress => {}
            }
        }
    }

    /// Comes again with the last event that it has; none where it has none.
    fn resume(&mut self, call: &Call, following: &mut Following) -> Result<Option<Answer>, Violation> {
        let Some(last) = following.seen.last_event_id() else { return Ok(None) };
        following.resumptions += 1;
        loop {
            following.in_time(call)?;
            let (node, session) = self.somewhere();
            match session.get(Some(&last)) {
                Ok(answer) if answer.status == 200 => {
                    self.history.note(format!("{} goes on after {last} by node {node}", call.name));
                    return Ok(Some(answer));
                }
                Ok(answer) if answer.status == 503 => self.history.note(format!("503 of node {node}")),
                Ok(answer) => return violation(format!("{} after {last}: {}", call.name, told(answer))),
                Err(error) => self.history.note(format!("node {node}: {error:#}")),
            }
            Signal::rest(PAUSE);
        }
    }

    /// Answers the server's question, until a node has taken the answer.
    fn reply(&mut self, call: &Call, question: &Value, following: &mut Following) -> Result<(), Violation> {
        let expected = format!("a number for {}", call.name);
        // The gateway says which server asks, before what it asks.
        if !question["params"]["message"].as_str().is_some_and(|asked| asked.ends_with(&expected)) {
            return violation(format!("{} is asked {question}", call.name));
        }
        let result = json!({ "action": "accept", "content": { "number": call.number_told() } });
        let reply = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        loop {
            following.in_time(call)?;
            let (node, session) = self.somewhere();
            match session.post(&reply) {
                Ok(answer) if answer.status == 202 => {
                    self.history.note(format!("replied by node {node}"));
                    return Ok(());
                }
                Ok(answer) if answer.status == 503 => self.history.note(format!("503 of node {node}")),
                Ok(answer) => return violation(format!("the reply of {}: {}", call.name, told(answer))),
                Err(error) => self.history.note(format!("node {node}: {error:#}")),
            }
            Signal::rest(PAUSE);
        }
    }

    /// Looks that nothing comes after the answer: the stream has ended, wherever it is asked for.
    fn nothing_is_left(&mut self, following: &Following) -> Result<(), Violation> {
        let Some(last) = following.seen.last_event_id() else { return Ok(()) };
        let (node, session) = self.somewhere();
        match session.get(Some(&last)) {
            Ok(answer) if answer.status == 405 || answer.status == 503 => Ok(()),
            Ok(answer) => violation(format!("after the answer, {last} by node {node}: {}", told(answer))),
            Err(_) => Ok(()),
        }
    }

    /// A node, and the session by way of it.
    pub fn somewhere(&mut self) -> (usize, Session) {
        let place = self.dice.below(self.nodes.len() as u64);
        let place = usize::try_from(place).unwrap_or(0);
        (place + 1, self.session.at(self.nodes[place]))
    }
}

// === impl Following ===

impl Following {
    /// Notes that something came.
    fn hear(&mut self) {
        let now = Instant::now();
        self.silence = self.silence.max(now - self.heard);
        self.heard = now;
    }

    fn in_time(&self, call: &Call) -> Result<(), Violation> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        violation(format!("{} has no answer after {CALL_MAX:?}", call.name))
    }
}

/// What an answer that was not expected says.
pub fn told(answer: Answer) -> String {
    let status = answer.status;
    // A stream may have no end.
    let body = if answer.is_events() { Ok("a stream".to_owned()) } else { answer.text() };
    format!("{status} {}", body.unwrap_or_else(|error| format!("{error:#}")))
}

/// The beginning of a message.
fn brief(data: &str) -> String {
    data.chars().take(160).collect()
}
