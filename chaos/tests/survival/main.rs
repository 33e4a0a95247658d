//! Unmodified SDK clients through the loss of nodes: one session each, kept by whoever is left.
//!
//! The current and the previous major version of the Python and the TypeScript SDK are clients of three nodes behind one
//! address. Which node is lost, and when, is chosen so that it is known what must come: a node that owns the sessions, one that
//! clients are at, one that is both. What an SDK cannot do, whatever the nodes do, is in [`sdk`], and in the user guide.
//!
//! | File | What is in it |
//! |---|---|
//! | `sdk.rs`, `client.py`, `client.mjs` | the SDKs, and what drives them |
//! | `front.rs` | the address that does not change |
//! | `rounds.rs` | what is under way when a node is lost, and what must come |

mod front;
mod rounds;
mod sdk;

use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use front::Front;
use quorate_chaos::ground::{Ground, KINDS, Kind, PATIENCE};
use quorate_cluster::{paths, wait};
use rounds::{Loss, Rounds, WATCHED};
use sdk::{Client, Sdk, Unbegun};
use serde_json::json;

/// Nodes that are lost in one session.
const KILLS: usize = 10;

/// Of those, of each kind at least.
const KILLS_OF_KIND: usize = 2;

/// The page with the table of SDKs.
const PAGE: &str = "docs/src/chaos.md";

/// A cluster is enough for the machine.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn sdk_clients_keep_one_session_through_ten_kills() -> anyhow::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ground = Ground::start(1)?;
    let front = Front::start(ground.nodes())?;
    let mut clients =
        Sdk::ALL.iter().map(|sdk| Client::open(*sdk, &front.url(), &[WATCHED])).collect::<anyhow::Result<Vec<_>>>()?;

    let mut rounds = Rounds::default();
    for _ in 0..KILLS {
        rounds.next(&mut ground, &front, &mut clients)?;
    }

    for kind in [Loss::Owner, Loss::Ingress, Loss::Both] {
        let count = rounds.losses.iter().filter(|loss| **loss == kind).count();
        ensure!(count >= KILLS_OF_KIND, "{kind:?} lost {count} times: {:?}", rounds.losses);
    }
    is_executed(&ground, &rounds)?;
    clients.into_iter().try_for_each(Client::close)
}

/// Looks that the ledgers have every call, and nothing else: once, or more often where it may be sent again.
fn is_executed(ground: &Ground, rounds: &Rounds) -> anyhow::Result<()> {
    for kind in KINDS {
        let ledger = wait::until("the end of executions", PATIENCE, || {
            let ledger = ground.ledger(kind)?;
            ensure!(ledger.is_quiet(), "{ledger:?}");
            Ok(ledger)
        })?;
        let made = rounds.calls.iter().filter(|(call, _)| call.kind == kind);
        ensure!(ledger.calls.len() == made.clone().count(), "what was called is executed: {ledger:?}");
        for (call, is_owner_lost) in made {
            let runs = ledger.of_call(&call.id).runs;
            let is_right = if kind == Kind::Replayable && *is_owner_lost { runs >= 1 } else { runs == 1 };
            ensure!(is_right, "{} was executed {runs} times", call.id);
        }
    }
    Ok(())
}

#[test]
fn a_connection_that_breaks_before_an_answer_begins_costs_what_the_page_says() -> anyhow::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ground = Ground::start(1)?;
    for sdk in Sdk::ALL {
        let name = sdk.library.name();
        loses_an_unbegun_call(&mut ground, sdk).with_context(|| name)?;
    }
    Ok(())
}

/// Loses the node of a client when its request is there and nothing came back.
fn loses_an_unbegun_call(ground: &mut Ground, sdk: Sdk) -> anyhow::Result<()> {
    let owner = ground.cluster.owner()?;
    let ingress = ground.cluster.places().find(|place| *place != owner).context("there are three nodes")?;
    let front = Front::start(ground.nodes())?;
    front.put_first(ingress);
    let mut client = Client::open(sdk, &front.url(), &[WATCHED])?;
    let call = |id: &str, tool: &str, steps: u64| {
        let arguments = json!({ "id": format!("{}-{id}", sdk.library.name()), "steps": steps, "pause_ms": 100 });
        let call = json!({ "id": arguments["id"], "tool": tool, "arguments": arguments, "asks": false });
        json!({ "do": "begin", "calls": [call] })
    };
    // Once it has news its stream for them is open, and nothing but the call will be sent.
    client.does(&call("first", "resumable_count", 3))?;
    let news = client.does(&json!({ "do": "heard", "seconds": PATIENCE.as_secs() }))?;
    ensure!(news["heard"] != 0, "{news}");
    client.does(&json!({ "do": "finish" }))?;
    let sent = front.sent(ingress);

    ground.cluster.hold(ingress)?;
    client.tell(&call("lost", "bare_quick", 0))?;
    wait::until("a request", PATIENCE, || {
        ensure!(front.sent(ingress) > sent, "nothing is sent");
        Ok(())
    })?;
    front.put_first(owner);
    ground.cluster.kill(ingress);

    let lost = client.made()?;
    let next = client.tell(&call("next", "bare_quick", 0)).and_then(|()| client.made());
    match sdk.unbegun {
        Unbegun::ClientEnds => {
            ensure!(lost["text"].is_null(), "{lost}");
            // Its process may be gone by now.
            ensure!(next.as_ref().is_ok_and(|next| next["text"].is_null()) || next.is_err(), "it goes on: {next:?}");
        }
        Unbegun::CallFails => {
            ensure!(lost["raised"] == "TypeError: fetch failed: other side closed", "{lost}");
            let next = next?;
            ensure!(next["text"] == format!("{}-next is done", sdk.library.name()), "{next}");
        }
    }
    ground.cluster.begin(ingress)?;
    ground.whole(ingress)
}

#[test]
fn the_page_names_each_sdk_with_its_version() -> anyhow::Result<()> {
    let page = fs::read_to_string(paths::repository().join(PAGE))?;
    for sdk in Sdk::ALL {
        let row = format!("| {} |", sdk.title()?);
        ensure!(
            page.lines().any(|line| line.starts_with(&row)),
            "{PAGE} has no row {row:?}: read that version's source"
        );
    }
    Ok(())
}
