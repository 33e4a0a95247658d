//! What sessions of a cluster promise, one promise a test: real nodes, of which one is killed at the moment that counts.
//!
//! Each test has a cluster of its own with a single shard, so that one node owns all sessions and it is known which. Its
//! client checks every event ([`Seen`](quorate_chaos::seen::Seen)); the counters' ledgers say what was executed.
//!
//! | File | What is in it |
//! |---|---|
//! | `calls.rs` | calls that are under way when a node is lost: read on, sent again, or told to be unknown |
//! | `lives.rs` | sessions that end, rest, outlive all nodes, and belong to somebody |

mod calls;
mod lives;

use anyhow::{Context as _, bail, ensure};
use quorate_chaos::agent::REVISION;
use quorate_chaos::follow::{Call, Outcome, Tool, told};
use quorate_chaos::ground::{Ground, Kind};
use quorate_chaos::seen::{Seen, Told};
use quorate_cluster::Place;
use quorate_tests::raw::client::Answer;
use quorate_tests::raw::session::Session;
use serde_json::{Value, json};

/// A call with its stream.
struct Open {
    call: Call,
    seen: Seen,
    stream: Answer,
}

/// A cluster with one shard, its owner, and the two nodes that do not own it.
fn ground() -> anyhow::Result<(Ground, Place, [Place; 2])> {
    let ground = Ground::start(1)?;
    let owner = ground.cluster.owner()?;
    let others: Vec<Place> = ground.cluster.places().filter(|place| *place != owner).collect();
    let others = others.try_into().map_err(|_| anyhow::anyhow!("there are three nodes"))?;
    Ok((ground, owner, others))
}

/// Opens a strict session at a node.
fn open(ground: &Ground, place: Place) -> anyhow::Result<Session> {
    Session::open_on(ground.nodes()[place], "/mcp", REVISION)
}

/// A call of this many steps, slow enough to be interrupted.
fn slow(kind: Kind, tool: Tool, steps: u64) -> Call {
    Call { number: 7, name: "slow".to_owned(), kind, tool, steps, pause_ms: 150, is_streamed: true, is_probed: true }
}

/// Makes a quick call, which is answered.
fn quick(ground: &Ground, session: &Session, place: Place, number: u64) -> anyhow::Result<()> {
    let call = Call { number, name: format!("quick-{number}"), ..slow(Kind::Resumable, Tool::Quick, 0) };
    at_once(&session.at(ground.nodes()[place]), &call)
}

/// Makes a call without progress, whose answer may come as a stream or not.
fn at_once(session: &Session, call: &Call) -> anyhow::Result<()> {
    let answer = session.post_streamed(&call.message())?;
    if answer.is_events() {
        let (outcome, answer, _) = Open { seen: call.unseen(), call: call.clone(), stream: answer }.ends()?;
        ensure!(outcome == Outcome::Answered, "{answer}");
        return Ok(());
    }
    ensure!(answer.status == 200, "{}", told(answer));
    let (mut seen, text) = (call.unseen(), answer.text()?);
    let Told::Answer(answer) = seen.take_message(serde_json::from_str(&text)?)? else { bail!("no answer: {text}") };
    ensure!(call.judge(&seen, &answer)? == Outcome::Answered, "{answer}");
    Ok(())
}

// === impl Open ===

impl Open {
    /// Makes a call by way of the node that the session is at.
    fn begin(session: &Session, call: Call) -> anyhow::Result<Self> {
        let stream = session.post_streamed(&call.message())?;
        if (stream.status, stream.is_events()) != (200, true) {
            bail!("a stream, not {}", told(stream));
        }
        Ok(Self { seen: call.unseen(), call, stream })
    }

    /// Reads on until the call has counted so far.
    fn counts_to(&mut self, step: u64) -> anyhow::Result<()> {
        while self.seen.progress() < step {
            self.next()?.context("the stream goes on")?;
        }
        Ok(())
    }

    /// Reads on until the server asks.
    fn asks(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Told::Question(question) = self.next()?.context("the stream goes on")? {
                return Ok(question);
            }
        }
    }

    fn next(&mut self) -> anyhow::Result<Option<Told>> {
        Ok(match self.stream.next_event()? {
            Some(event) => Some(self.seen.take(&event)?),
            None => None,
        })
    }

    /// Reads until the connection ends, and says how long its last event, one without data, has the client wait, in
    /// milliseconds.
    fn is_sent_away(&mut self) -> anyhow::Result<Option<u64>> {
        let mut wait = None;
        while let Some(event) = self.stream.next_event()? {
            self.seen.take(&event)?;
            wait = event.retry.filter(|_| event.data.is_empty());
        }
        Ok(wait)
    }

    /// Goes on at another node with the last event that came.
    fn goes_on_at(&mut self, ground: &Ground, session: &Session, place: Place) -> anyhow::Result<()> {
        let last = self.seen.last_event_id().context("an event came")?;
        self.stream = session.at(ground.nodes()[place]).get(Some(&last))?;
        ensure!(self.stream.status == 200, "after {last}: {}", self.stream.status);
        Ok(())
    }

    /// Reads the rest, and says how the call ended and with what.
    fn ends(mut self) -> anyhow::Result<(Outcome, Value, Seen)> {
        while self.next()?.is_some() {}
        let answer = self.seen.answer().context("the stream ended without an answer")?.clone();
        Ok((self.call.judge(&self.seen, &answer)?, answer, self.seen))
    }
}

/// What answers the question of a call.
fn reply(call: &Call, question: &Value) -> Value {
    let result = json!({ "action": "accept", "content": { "number": call.number_told() } });
    json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
}
