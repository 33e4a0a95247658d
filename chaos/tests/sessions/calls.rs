//! Calls that are under way when a node is lost.
//!
//! The node is killed when the call has counted some way, so that there are events before and after. What the client must get
//! depends on what can be known of the call, and on which node is gone; what was executed is in the ledger.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use quorate_chaos::agent::REVISION;
use quorate_chaos::follow::{Call, Outcome, Tool, told};
use quorate_chaos::ground::{Ground, Kind, PATIENCE};
use quorate_chaos::ledger::Executions;
use quorate_chaos::run::Signal;
use quorate_chaos::seen::OUTCOME_UNKNOWN;
use quorate_cluster::{Place, wait};
use quorate_tests::raw::session::Session;
use serde_json::Value;

use crate::{Open, at_once, ground, open, quick, reply, slow};

const ONCE: Executions = Executions { runs: 1, done: 1 };

/// Waits until all executions of a counter are done, and sees how often the slow call was.
fn was_executed(ground: &Ground, kind: Kind, times: usize) -> anyhow::Result<()> {
    let executions = wait::until("the end of executions", PATIENCE, || {
        let ledger = ground.ledger(kind)?;
        ensure!(ledger.is_quiet(), "{ledger:?}");
        Ok(ledger.of_call("slow"))
    })?;
    ensure!(executions == Executions { runs: times, done: times }, "{executions:?} instead of {times}");
    Ok(())
}

/// Reads the rest of a call, which has to be answered, and to have been executed once.
fn answered_once(ground: &Ground, open: Open) -> anyhow::Result<()> {
    let kind = open.call.kind;
    let (outcome, answer, _) = open.ends()?;
    ensure!(outcome == Outcome::Answered, "{answer}");
    was_executed(ground, kind, 1)
}

/// Drains the node that owns all sessions, and sees that another one does.
fn drain(ground: &Ground, owner: Place) -> anyhow::Result<()> {
    ground.cluster.operate(&["cluster", "drain", &format!("node-{}", owner + 1)])?.success()?;
    wait::until("another owner", PATIENCE, || {
        ensure!(ground.cluster.owner()? != owner, "the node owns the shard");
        Ok(())
    })
}

#[test]
fn an_owner_that_is_killed_costs_a_client_of_another_node_a_pause() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, _]) = ground()?;
    let mut open = Open::begin(&open(&ground, ingress)?, slow(Kind::Resumable, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.kill(owner);

    // The same connection has all of it.
    answered_once(&ground, open)
}

#[test]
fn a_client_whose_node_is_killed_has_exactly_the_rest_from_another() -> anyhow::Result<()> {
    let (mut ground, _, [ingress, other]) = ground()?;
    let session = open(&ground, ingress)?;
    let mut open = Open::begin(&session, slow(Kind::Bare, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.kill(ingress);
    open.goes_on_at(&ground, &session, other)?;

    // Its owner lives, so that nothing has to be known of the server's stream.
    answered_once(&ground, open)
}

#[test]
fn a_node_that_stops_sends_its_clients_to_other_nodes() -> anyhow::Result<()> {
    let (mut ground, owner, [other, _]) = ground()?;
    let session = open(&ground, owner)?;
    let mut open = Open::begin(&session, slow(Kind::Bare, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.stop(owner)?;
    let wait = open.is_sent_away()?;
    ensure!(wait.is_some_and(|wait| (250..=1_000).contains(&wait)), "{wait:?}");
    open.goes_on_at(&ground, &session, other)?;

    let (outcome, answer, _) = open.ends()?;
    // The node stays until it has handed over what its server says, which nobody else can read.
    ensure!(outcome == Outcome::Answered, "{answer}");
    was_executed(&ground, Kind::Bare, 1)
}

#[test]
fn a_call_that_nobody_can_read_on_goes_on_when_its_owner_is_drained() -> anyhow::Result<()> {
    let (ground, owner, [ingress, _]) = ground()?;
    let mut open = Open::begin(&open(&ground, ingress)?, slow(Kind::Bare, Tool::Count, 30))?;
    open.counts_to(3)?;

    drain(&ground, owner)?;

    answered_once(&ground, open)
}

#[test]
fn a_question_goes_by_the_next_owner_when_its_owner_is_drained() -> anyhow::Result<()> {
    let (ground, owner, [ingress, other]) = ground()?;
    let session = open(&ground, ingress)?;
    let mut open = Open::begin(&session, slow(Kind::Bare, Tool::Ask, 10))?;
    let question = open.asks()?;

    drain(&ground, owner)?;
    let answered = session.at(ground.nodes()[other]).post(&reply(&open.call, &question))?;
    ensure!(answered.status == 202, "{}", answered.status);

    answered_once(&ground, open)
}

/// The last word of a node that an event was passed on was lost with the end of a stream. Streams of which nobody knew that they
/// were read took all 64 places.
#[test]
fn each_of_many_calls_of_a_session_at_another_node_has_its_progress() -> anyhow::Result<()> {
    const CALLS: u64 = 200;
    let (ground, _, [ingress, _]) = ground()?;
    let session = open(&ground, ingress)?;
    for number in 0..CALLS {
        let name = format!("many-{number}");
        let call = Call { number, name, pause_ms: 0, ..slow(Kind::Resumable, Tool::Count, 1) };
        let (outcome, answer, _) = Open::begin(&session, call)?.ends()?;
        ensure!(outcome == Outcome::Answered, "{answer}");
    }
    Ok(())
}

/// A POST has one name wherever it is asked again, and each request of a batch had it: the second was taken for the first.
#[test]
fn each_request_of_a_batch_is_executed_and_answered_as_itself() -> anyhow::Result<()> {
    let (ground, owner, [ingress, _]) = ground()?;
    for place in [owner, ingress] {
        let session = Session::open_on(ground.nodes()[place], "/mcp", "2025-03-26")?;
        let call = |number: u64| {
            let name = format!("batch-{place}-{number}");
            Call { number, name, is_streamed: false, ..slow(Kind::Bare, Tool::Quick, 0) }
        };
        let calls = [call(21), call(22)];
        let body: Value = calls.iter().map(Call::message).collect();

        let mut stream = session.post(&body)?;
        if (stream.status, stream.is_events()) != (200, true) {
            bail!("a stream, not {}", told(stream));
        }
        let mut answers: Vec<Value> = Vec::new();
        while let Some(event) = stream.next_event()? {
            answers.push(serde_json::from_str(&event.data)?);
        }

        ensure!(answers.len() == calls.len(), "{answers:?}");
        for call in &calls {
            let own = answers.iter().find(|answer| answer["id"] == call.number).context("each has its answer")?;
            ensure!(own["result"].to_string().contains(&call.name), "{own}");
            ensure!(ground.ledger(Kind::Bare)?.of_call(&call.name) == ONCE, "{} was not executed once", call.name);
        }
    }
    Ok(())
}

/// What of a call has been written, sent or said is different for each, when the session goes.
#[test]
fn calls_that_begin_while_their_owner_is_drained_are_answered() -> anyhow::Result<()> {
    const CALLS: u64 = 60;
    let (ground, owner, [ingress, _]) = ground()?;
    let sessions = (0..CALLS).map(|_| open(&ground, ingress)).collect::<anyhow::Result<Vec<_>>>()?;
    // The servers' sessions are open, so that nothing but the calls is under way.
    let of_call = |number: u64| {
        let kind = [Kind::Resumable, Kind::Bare][(number % 2) as usize];
        Call { name: format!("call-{number}"), is_probed: false, ..slow(kind, Tool::Count, 3) }
    };
    for (number, session) in (0..CALLS).zip(&sessions) {
        let first = Call { number: 1, name: format!("first-{number}"), tool: Tool::Quick, steps: 0, ..of_call(number) };
        at_once(session, &first)?;
    }

    let outcomes = thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS)
            .zip(&sessions)
            .map(|(number, session)| {
                let call = of_call(number);
                scope.spawn(move || {
                    Signal::rest(Duration::from_millis(20 * number));
                    Open::begin(session, call)?.ends()
                })
            })
            .collect();
        drain(&ground, owner)?;
        calls.into_iter().map(|call| call.join().expect("a call does not panic")).collect::<anyhow::Result<Vec<_>>>()
    })?;

    for (number, (outcome, answer, _)) in (0..CALLS).zip(outcomes) {
        ensure!(outcome == Outcome::Answered, "call {number}: {answer}");
        let call = of_call(number);
        ensure!(ground.ledger(call.kind)?.of_call(&call.name) == ONCE, "call {number}");
    }
    Ok(())
}

#[test]
fn a_client_of_the_owner_itself_has_exactly_the_rest_from_another_node() -> anyhow::Result<()> {
    let (mut ground, owner, [other, _]) = ground()?;
    let session = open(&ground, owner)?;
    let mut open = Open::begin(&session, slow(Kind::Resumable, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.kill(owner);
    open.goes_on_at(&ground, &session, other)?;

    answered_once(&ground, open)
}

#[test]
fn a_call_that_nobody_can_read_on_is_told_to_be_unknown_once() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, other]) = ground()?;
    let session = open(&ground, ingress)?;
    let mut open = Open::begin(&session, slow(Kind::Bare, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.kill(owner);

    let (outcome, answer, seen) = open.ends()?;
    ensure!(outcome == Outcome::Unknown, "{answer}");
    let data = &answer["error"]["data"];
    ensure!((&data["backend"], &data["method"]) == (&"bare".into(), &"tools/call".into()), "{answer}");
    // Nothing comes after it, wherever it is asked for, and the session goes on.
    for place in [ingress, other] {
        let last = seen.last_event_id().expect("events came");
        let left = session.at(ground.nodes()[place]).get(Some(&last))?;
        ensure!(left.status == 405, "{}", left.status);
    }
    was_executed(&ground, Kind::Bare, 1)?;
    quick(&ground, &session, other, 8)
}

#[test]
fn a_call_that_the_operator_allows_to_be_sent_again_is_answered() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, _]) = ground()?;
    let mut open = Open::begin(&open(&ground, ingress)?, slow(Kind::Replayable, Tool::Count, 20))?;
    open.counts_to(3)?;

    ground.cluster.kill(owner);

    let (outcome, answer, _) = open.ends()?;
    ensure!(outcome == Outcome::Answered, "{answer}");
    was_executed(&ground, Kind::Replayable, 2)
}

/// Two owners later, what the server says comes by way of both nodes before; that one of them is lost was told to the client as
/// if its server were.
#[test]
fn a_call_that_is_read_on_by_way_of_two_nodes_is_sent_again_when_the_first_is_lost() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, _]) = ground()?;
    // Longer than two drains take.
    let mut open = Open::begin(&open(&ground, ingress)?, slow(Kind::Replayable, Tool::Count, 100))?;
    open.counts_to(3)?;
    for _ in 0..2 {
        drain(&ground, ground.cluster.owner()?)?;
        open.counts_to(open.seen.progress() + 3)?;
    }
    // On a machine that is busy it may be elected for a moment, and hands over then.
    wait::until("a drained node owns nothing", PATIENCE, || {
        ensure!(ground.cluster.owner()? != owner, "it owns the shard");
        Ok(())
    })?;
    ensure!(!ground.ledger(Kind::Replayable)?.is_quiet(), "the call was over before its first node was lost");

    ground.cluster.kill(owner);

    let (outcome, answer, _) = open.ends()?;
    ensure!(outcome == Outcome::Answered, "{answer}");
    was_executed(&ground, Kind::Replayable, 2)
}

/// Its client had no event yet to come back with, and was never given one: the next owner kept it waiting for an answer in JSON.
#[test]
fn a_call_whose_owner_is_lost_at_once_becomes_a_stream_at_the_next() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, _]) = ground()?;
    // A call that is lost before it is written down where its server can be read on is told to be unknown, as it should be.
    for number in 0..5 {
        let session = open(&ground, ingress)?;
        let first = Call { name: format!("first-{number}"), ..slow(Kind::Resumable, Tool::Quick, 0) };
        at_once(&session, &first)?;
        let call = Call { name: format!("call-{number}"), ..slow(Kind::Resumable, Tool::Count, 40) };
        let mut message = call.message();
        // Nothing is to be said before the answer.
        message["params"].as_object_mut().context("a call has parameters")?.remove("_meta");

        let mut answer = thread::scope(|scope| {
            let begun = scope.spawn(|| session.post(&message));
            wait::until("the call runs", PATIENCE, || {
                ensure!(ground.ledger(Kind::Resumable)?.of_call(&call.name).runs > 0);
                Ok(())
            })?;
            // No longer than the owner itself waits for an answer.
            Signal::rest(Duration::from_millis(60));
            ground.cluster.kill(owner);
            begun.join().expect("a call does not panic")
        })?;

        if answer.is_events() {
            let first = answer.next_event()?.context("it begins with where it can be resumed from")?;
            ensure!(first.id.is_some() && first.data.is_empty(), "{first:?}");
            return Ok(());
        }
        let answer: Value = serde_json::from_str(&answer.text()?)?;
        ensure!(answer["error"]["code"] == OUTCOME_UNKNOWN, "a stream, not {answer}");
        ground.cluster.begin(owner)?;
        ground.cluster.whole(owner)?;
        ground.cluster.hand_over(owner)?;
    }
    bail!("none of the calls was written down in time");
}

#[test]
fn a_question_of_a_lost_owner_is_answered_to_the_next() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, other]) = ground()?;
    let session = open(&ground, ingress)?;
    let mut open = Open::begin(&session, slow(Kind::Resumable, Tool::Ask, 3))?;
    let question = open.asks()?;

    ground.cluster.kill(owner);
    let replied = session.at(ground.nodes()[other]).post(&reply(&open.call, &question))?;
    ensure!(replied.status == 202, "{}", replied.status);

    answered_once(&ground, open)
}

#[test]
fn a_call_of_an_ephemeral_session_is_told_to_be_unknown_once_and_the_session_goes_on() -> anyhow::Result<()> {
    let (mut ground, owner, [ingress, _]) = ground()?;
    let session = Session::open_on(ground.nodes()[ingress], "/mcp/loose", REVISION)?;
    let mut stream = session.post_streamed(&slow(Kind::Resumable, Tool::Count, 20).message())?;
    let first = stream.next_message()?;
    ensure!(first.as_ref().is_some_and(|first| first["method"] == "notifications/progress"), "{first:?}");

    ground.cluster.kill(owner);

    let mut answers = Vec::new();
    while let Some(message) = stream.next_message()? {
        answers.extend((message["id"] == 7).then_some(message));
    }
    let is_unknown =
        |answer: &Value| answer["error"]["code"] == OUTCOME_UNKNOWN && answer["error"]["data"]["mayHaveRun"] == true;
    ensure!(answers.len() == 1 && answers.iter().all(is_unknown), "{answers:?}");
    was_executed(&ground, Kind::Resumable, 1)?;

    // Its streams have no ids.
    let call = Call { number: 8, name: "next".to_owned(), ..slow(Kind::Resumable, Tool::Quick, 0) };
    let answer = session.post_streamed(&call.message())?.next_message()?;
    ensure!(answer.as_ref().is_some_and(|answer| answer["id"] == 8 && answer["result"].is_object()), "{answer:?}");
    Ok(())
}
