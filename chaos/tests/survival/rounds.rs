//! A round: every client has calls under way, a question that waits and a subscription; a node is lost; what must come, comes.
//!
//! | What | The owner is lost | Only the client's node is lost |
//! |---|---|---|
//! | a call whose stream can be read on | answered, all progress in order | the same |
//! | one whose stream cannot | −31002, after a beginning of the progress | answered, all progress in order |
//! | one that may be sent again | answered | answered, all progress in order |
//! | a question | asked once; its answer reaches the next owner | the same |
//! | a subscription | news: the resource may have changed | news: it has |

use anyhow::{Context as _, ensure};
use quorate_chaos::ground::{Ground, Kind};
use quorate_chaos::seen::OUTCOME_UNKNOWN;
use quorate_cluster::Place;
use serde_json::{Value, json};

use crate::front::Front;
use crate::sdk::Client;

/// How far calls count, and the pause between two steps: several seconds in all, of which one is over when a node is lost.
const STEPS: u64 = 40;
const PAUSE_MS: u64 = 100;

/// The number that clients tell.
const TOLD: u64 = 4711;

/// How long clients wait for news that must come, and for news that their SDK cannot hear.
const NEWS_SECONDS: u64 = 30;
const SILENCE_SECONDS: u64 = 1;

/// What is lost by turns.
const TURNS: [Loss; 3] = [Loss::Owner, Loss::Ingress, Loss::Both];

/// The resource of a counter.
pub(crate) const WATCHED: &str = "counter://resumable/executions";

/// Which node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// The one that owns the sessions; clients are at another.
    Owner,
    /// The one that clients are at; another owns their sessions.
    Ingress,
    /// The one that does both.
    Both,
}

/// A call of a round, as it is asked for and as it is held against what was seen.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    asks: bool,
}

/// What was lost so far, and what was called.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) losses: Vec<Loss>,
    /// Each call, with whether its owner was lost meanwhile.
    pub(crate) calls: Vec<(Call, bool)>,
}

// === impl Loss ===

impl Loss {
    pub(crate) fn of_owner(self) -> bool {
        self != Self::Ingress
    }

    pub(crate) fn of_ingress(self) -> bool {
        self != Self::Owner
    }
}

// === impl Call ===

impl Call {
    /// The calls that a client makes in a round.
    fn all(client: &str, round: usize) -> Vec<Self> {
        let call = |name: &str, kind, asks| Self { id: format!("{client}-{round}-{name}"), kind, asks };
        vec![
            call("resumable", Kind::Resumable, false),
            call("bare", Kind::Bare, false),
            call("replayable", Kind::Replayable, false),
            call("question", Kind::Resumable, true),
        ]
    }

    fn job(&self) -> Value {
        let tool = format!("{}_{}", self.kind.server(), if self.asks { "ask" } else { "count" });
        let arguments = json!({ "id": self.id, "steps": STEPS, "pause_ms": PAUSE_MS });
        json!({ "id": self.id, "tool": tool, "arguments": arguments, "asks": self.asks, "number": TOLD })
    }

    /// Holds what a client has seen against what it must see.
    fn judge(&self, seen: &Value, loss: Loss) -> anyhow::Result<()> {
        let fits = || -> anyhow::Result<()> {
            ensure!(seen["raised"].is_null(), "it raised");
            ensure!(seen["asked"] == u64::from(self.asks), "not asked once where it asks");
            let progress = seen["progress"].as_array().context("progress is a list")?;
            let counted: Vec<_> = progress.iter().filter_map(Value::as_f64).collect();
            let counts_to = |steps: u64| counted.iter().copied().eq((1..=steps).map(|step| step as f64));
            if loss.of_owner() && self.kind == Kind::Bare {
                let error = &seen["error"];
                ensure!(error["code"] == OUTCOME_UNKNOWN && error["data"]["mayHaveRun"] == true, "not told as unknown");
                ensure!(counts_to(counted.len() as u64) && !counted.is_empty(), "not a beginning of the progress");
                return Ok(());
            }
            let said = if self.asks { format!("was told {TOLD}") } else { format!("counted to {STEPS}") };
            ensure!(seen["text"] == format!("{} {said}", self.id), "not its answer");
            // Both executions of a call that was sent again tell progress.
            let is_told_twice = loss.of_owner() && self.kind == Kind::Replayable;
            ensure!(is_told_twice || counts_to(STEPS), "not all progress in order");
            Ok(())
        };
        fits().with_context(|| format!("{loss:?} lost, {}: {seen}", self.id))
    }
}

// === impl Rounds ===

impl Rounds {
    /// Has every client begin its calls, loses a node, and looks that everything comes.
    pub(crate) fn next(&mut self, ground: &mut Ground, front: &Front, clients: &mut [Client]) -> anyhow::Result<()> {
        let round = self.losses.len() + 1;
        self.arrange(ground, front)?;
        let calls: Vec<Vec<Call>> = clients.iter().map(|client| Call::all(client.name(), round)).collect();
        for (client, calls) in clients.iter_mut().zip(&calls) {
            client.tell(&json!({ "do": "begin", "calls": calls.iter().map(Call::job).collect::<Vec<_>>() }))?;
        }
        for client in &mut *clients {
            client.hear()?;
        }
        let (victim, loss) = self.choose(ground, front)?;
        ground.cluster.kill(victim);
        // The questions are answered while nobody owns the sessions.
        for client in &mut *clients {
            client.tell(&json!({ "do": "finish" }))?;
        }
        ground.cluster.begin(victim)?;
        self.losses.push(loss);
        for (client, calls) in clients.iter_mut().zip(calls) {
            self.judge(client, calls, loss).with_context(|| format!("round {round}, {}", client.name()))?;
        }
        ground.whole(victim)
    }

    /// Judges what a client has seen of a round.
    fn judge(&mut self, client: &mut Client, calls: Vec<Call>, loss: Loss) -> anyhow::Result<()> {
        let seen = client.hear()?;
        let seen = seen["calls"].as_array().with_context(|| format!("what was seen is a list: {seen}"))?;
        ensure!(seen.len() == calls.len(), "{} calls, and {} answers", calls.len(), seen.len());
        for (call, seen) in calls.iter().zip(seen) {
            ensure!(seen["id"] == call.id, "{} is answered as {seen}", call.id);
            call.judge(seen, loss)?;
        }
        self.calls.extend(calls.into_iter().map(|call| (call, loss.of_owner())));
        let breaks = self.losses.iter().filter(|loss| loss.of_ingress()).count();
        let hears = client.sdk.listens_over.is_none_or(|most| breaks <= most);
        let seconds = if hears { NEWS_SECONDS } else { SILENCE_SECONDS };
        let heard = client.does(&json!({ "do": "heard", "seconds": seconds }))?;
        ensure!((heard["heard"] != 0) == hears, "{loss:?} lost, {breaks} times its node: {heard}");
        let read = client.does(&json!({ "do": "read", "uri": WATCHED }))?;
        let done = read["text"].as_str().and_then(|text| text.parse::<u64>().ok());
        ensure!(done.is_some_and(|done| done > 0), "calls are done: {read}");
        Ok(())
    }

    /// Has another node own the sessions where that is not the one for what shall be lost next.
    fn arrange(&self, ground: &Ground, front: &Front) -> anyhow::Result<()> {
        let (owner, ingress) = (ground.cluster.owner()?, ingress(front)?);
        match TURNS[self.losses.len() % TURNS.len()] {
            Loss::Both if owner != ingress => ground.cluster.hand_over(ingress),
            Loss::Owner | Loss::Ingress if owner == ingress => ground.cluster.hand_over(third(ground, owner, ingress)?),
            _ => Ok(()),
        }
    }

    /// The node to lose: whose turn it is, unless the cluster has given the sessions back to where they were.
    fn choose(&self, ground: &Ground, front: &Front) -> anyhow::Result<(Place, Loss)> {
        let (owner, ingress) = (ground.cluster.owner()?, ingress(front)?);
        let loss = match TURNS[self.losses.len() % TURNS.len()] {
            _ if owner == ingress => Loss::Both,
            Loss::Ingress => Loss::Ingress,
            Loss::Owner | Loss::Both => Loss::Owner,
        };
        // Where clients whose node is lost come to; otherwise new connections stay with the others.
        front.put_first(match loss {
            Loss::Owner => ingress,
            Loss::Ingress => owner,
            Loss::Both => third(ground, owner, ingress)?,
        });
        Ok((if loss == Loss::Ingress { ingress } else { owner }, loss))
    }
}

/// The node that all clients are at.
fn ingress(front: &Front) -> anyhow::Result<Place> {
    match front.ingresses()[..] {
        [ingress] => Ok(ingress),
        ref several => anyhow::bail!("all clients are at one node, not at {several:?}"),
    }
}

fn third(ground: &Ground, owner: Place, ingress: Place) -> anyhow::Result<Place> {
    ground.cluster.places().find(|place| ![owner, ingress].contains(place)).context("there are three nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client saw of a call that was answered, with these changes.
    fn judged(name: &str, loss: Loss, change: impl FnOnce(&mut Value)) -> bool {
        let calls = Call::all("c", 1);
        let call = calls.iter().find(|call| call.id.ends_with(name)).expect("it is one of a round's calls");
        let said = if call.asks { format!("was told {TOLD}") } else { format!("counted to {STEPS}") };
        let mut seen = json!({
            "id": call.id, "text": format!("{} {said}", call.id), "error": null, "raised": null,
            "progress": (1..=STEPS).collect::<Vec<_>>(), "asked": u64::from(call.asks),
        });
        change(&mut seen);
        call.judge(&seen, loss).is_ok()
    }

    fn is_unknown(seen: &mut Value) {
        seen["text"] = Value::Null;
        seen["error"] = json!({ "code": OUTCOME_UNKNOWN, "message": "lost", "data": { "mayHaveRun": true } });
        seen["progress"] = json!([1, 2]);
    }

    #[test]
    fn a_call_is_answered_unless_its_stream_is_lost_with_the_owner() {
        for loss in [Loss::Owner, Loss::Ingress, Loss::Both] {
            for name in ["resumable", "replayable", "question"] {
                assert!(judged(name, loss, |_| ()), "{name} {loss:?}");
                assert!(!judged(name, loss, is_unknown), "{name} {loss:?}");
            }
            assert_eq!(judged("bare", loss, is_unknown), loss.of_owner());
            assert_eq!(judged("bare", loss, |_| ()), !loss.of_owner());
        }
    }

    #[test]
    fn progress_that_is_lost_doubled_or_misplaced_is_found() {
        for progress in [json!([]), json!([1, 3]), json!([1, 1]), json!([2, 1])] {
            assert!(!judged("resumable", Loss::Owner, |seen| seen["progress"] = progress.clone()), "{progress}");
            let is_found = |seen: &mut Value| {
                is_unknown(seen);
                seen["progress"] = progress.clone();
            };
            assert!(!judged("bare", Loss::Owner, is_found), "{progress}");
        }
    }

    #[test]
    fn a_question_that_is_asked_twice_or_never_is_found() {
        for asked in [0, 2] {
            assert!(!judged("question", Loss::Both, |seen| seen["asked"] = json!(asked)), "{asked}");
        }
    }
}
