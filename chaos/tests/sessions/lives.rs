//! Sessions that end, rest, outlive all nodes, and belong to somebody.
//!
//! A session that is not there for its caller is 404 at every node, whatever the reason is, so that nobody learns one from
//! the answer. What is asked for beyond what is kept is refused with a reason instead.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quorate_chaos::agent::REVISION;
use quorate_chaos::ground::{Ground, Kind, PATIENCE};
use quorate_cluster::wait;
use quorate_tests::raw::client;
use quorate_tests::raw::session::{Session, initialize_message};

use crate::{ground, open, quick};

/// How long a session listens to its servers for a client that may come back.
const LISTENING: Duration = Duration::from_secs(300);

/// Waits until every node answers so to whoever asks for a session.
fn everywhere(ground: &Ground, session: &Session, status: u16) -> anyhow::Result<()> {
    for node in ground.nodes() {
        wait::until("a node that answers", PATIENCE, || {
            let answer = session.at(*node).get(Some("1.0"))?;
            // Nobody owns it yet.
            ensure!(answer.status != 503, "{node} is not there yet");
            Ok(answer.status)
        })
        .and_then(|found| {
            ensure!(found == status, "{found} by {node}, not {status}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Starts all nodes again, which are down.
fn begin_all(ground: &mut Ground) -> anyhow::Result<()> {
    for place in ground.cluster.places() {
        ground.cluster.begin(place)?;
    }
    ground.cluster.places().try_for_each(|place| ground.whole(place))
}

#[test]
fn a_session_is_opened_by_the_node_that_owns_after_the_one_that_was_asked_to() -> anyhow::Result<()> {
    let (mut ground, owner, others) = ground()?;
    ground.cluster.hold(owner)?;
    // Both have the owner open a session, and one of them is the next owner.
    let openings = others.map(|place| {
        let node = ground.nodes()[place];
        thread::spawn(move || Session::open_on(node, "/mcp", REVISION))
    });
    for place in others {
        wait::until("a request", PATIENCE, || {
            let active = ground.metric(place, "quorate_requests_active")?;
            ensure!(active >= 1.0, "{active} are active");
            Ok(())
        })?;
    }

    ground.cluster.kill(owner);

    for opening in openings {
        let opened = opening.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        opened.context("the next owner opens it")?;
    }
    Ok(())
}

#[test]
fn a_session_outlives_the_loss_of_all_nodes_at_once_and_one_that_ended_does_not() -> anyhow::Result<()> {
    let (mut ground, owner, [other, _]) = ground()?;
    let (lives, ended) = (open(&ground, owner)?, open(&ground, other)?);
    quick(&ground, &lives, other, 1)?;
    quick(&ground, &ended, owner, 2)?;
    let deleted = ended.delete()?.status;
    ensure!((200..300).contains(&deleted), "{deleted}");
    everywhere(&ground, &ended, 404)?;

    ground.cluster.places().for_each(|place| ground.cluster.kill(place));
    begin_all(&mut ground)?;

    everywhere(&ground, &ended, 404)?;
    for place in ground.cluster.places() {
        quick(&ground, &lives, place, 3 + u64::try_from(place)?)?;
    }
    // The server's session was taken over: it was opened once for each of the two.
    ensure!(ground.ledger(Kind::Resumable)?.sessions == 2, "{:?}", ground.ledger(Kind::Resumable)?);
    Ok(())
}

#[test]
#[ignore = "a session listens to its servers for its client for five minutes before it rests"]
fn a_session_at_rest_wakes_with_its_servers_session() -> anyhow::Result<()> {
    let (ground, owner, [other, _]) = ground()?;
    let session = open(&ground, other)?;
    quick(&ground, &session, other, 1)?;

    wait::until("a session at rest", LISTENING + PATIENCE, || {
        let resting = ground.metric(owner, "quorate_sessions_resting")?;
        ensure!(resting >= 1.0, "{resting} rest");
        Ok(())
    })?;

    quick(&ground, &session, other, 2)?;
    ensure!(ground.ledger(Kind::Resumable)?.sessions == 1, "the server was initialized again");
    Ok(())
}

/// Makes an API key, which every node knows when this returns.
fn key(ground: &Ground, name: &str) -> anyhow::Result<String> {
    let said = ground.cluster.operate(&["keys", "new", "--name", name])?;
    ensure!(said.status.success(), "{said:?}");
    let shown = format!("{}\n{}", said.output, said.errors);
    let key = shown.split_whitespace().find(|word| word.starts_with("qk_")).context("a key is shown")?.to_owned();
    for node in ground.nodes() {
        wait::until("a key that is known", PATIENCE, || {
            let status = ask(*node, &key, "none")?;
            ensure!(status == 404, "{status} by {node}");
            Ok(())
        })?;
    }
    Ok(key)
}

/// How a node answers who asks with a key for an event that never was.
fn ask(node: SocketAddr, key: &str, session: &str) -> anyhow::Result<u16> {
    let headers =
        [("accept", "text/event-stream"), ("x-api-key", key), ("mcp-session-id", session), ("last-event-id", "99.0")];
    Ok(client::send(node, "GET", "/mcp", &headers, b"")?.status)
}

#[test]
fn somebody_elses_session_is_unknown_everywhere() -> anyhow::Result<()> {
    let ground = Ground::start_for(1, &[])?;
    let (own, stranger) = (key(&ground, "own")?, key(&ground, "stranger")?);
    let (node, message) = (ground.nodes()[0], initialize_message(REVISION).to_string());
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("x-api-key", own.as_str()),
    ];
    let opened = client::send(node, "POST", "/mcp", &headers, message.as_bytes())?;
    let session = opened.header("mcp-session-id").context("a session has an id")?;

    for node in ground.nodes() {
        // Its own client is told what is wrong with the event.
        let told = (ask(*node, &own, session)?, ask(*node, &stranger, session)?);
        ensure!(told == (400, 404), "{told:?} by {node}");
    }
    Ok(())
}

#[test]
fn events_that_are_not_kept_are_refused_with_a_reason_by_every_node() -> anyhow::Result<()> {
    let (ground, owner, _) = ground()?;
    let session = open(&ground, owner)?;
    for node in ground.nodes() {
        for (asked, reason) in [("99.3", "99"), ("nonsense", "vent")] {
            let answer = session.at(*node).get(Some(asked))?;
            let (status, text) = (answer.status, answer.text()?);
            ensure!(status == 400 && text.contains(reason), "{asked} by {node}: {status} {text}");
        }
    }
    Ok(())
}
