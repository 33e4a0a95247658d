//! Faults of nodes and of the network between them, and that nothing acknowledged is lost by them.
//!
//! A writer applies documents all the time and notes which were acknowledged; faults come meanwhile; at the end every node
//! has every document that was noted, and all have the same. How many kills there are is set by `QUORATE_TEST_KILLS`, for a
//! long run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, wait};

use crate::world::{PATIENCE, Source, applied, there};

/// Kills in a run of all tests.
const KILLS: usize = 8;

/// How long a node is held: longer than everybody waits for a leader.
const HELD: Duration = Duration::from_secs(5);

/// Applies documents, one after the other.
struct Writer {
    acknowledged: Mutex<Vec<String>>,
    /// Why the last one was not, that was not.
    refused: Mutex<String>,
    stops: AtomicBool,
}

// === impl Writer ===

impl Writer {
    /// Writes until it is told to stop; what fails is not noted, and nothing else.
    fn write(&self, source: &Source) -> anyhow::Result<()> {
        for n in 0.. {
            if self.stops.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("document-{n}");
            let file = source.file(&[&name])?;
            let said = source.operator.run(&["apply", "-f", &file, "--timeout", "15s"])?;
            if said.status.success() {
                self.acknowledged.lock().expect("nobody panics with it").push(name);
            } else {
                *self.refused.lock().expect("nobody panics with it") = said.errors;
            }
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("nobody panics with it").len()
    }

    /// Waits until another document is acknowledged, of those that are applied from now on.
    fn goes_on(&self) -> anyhow::Result<()> {
        // The next one may have been applied before.
        let enough = self.count() + 2;
        wait::until("two more documents", PATIENCE, || {
            let count = self.count();
            let refused = self.refused.lock().expect("nobody panics with it");
            ensure!(count >= enough, "{count} were acknowledged; the last that was not: {refused}");
            Ok(())
        })
    }
}

/// Runs faults while documents are written; then all nodes have all of them.
fn under(options: Options, faults: impl FnOnce(&mut Cluster, &Writer) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(options)?;
    let writer = Writer { acknowledged: Mutex::default(), refused: Mutex::default(), stops: AtomicBool::new(false) };
    let source = Source::of(&cluster);
    thread::scope(|scope| {
        let writes = scope.spawn(|| writer.write(&source));
        let done = writer.goes_on().and_then(|()| faults(&mut cluster, &writer)).and_then(|()| writer.goes_on());
        writer.stops.store(true, Ordering::Relaxed);
        writes.join().expect("the writer does not panic").and(done)
    })?;
    let acknowledged = writer.acknowledged.into_inner().expect("nobody panics with it");
    let names: Vec<_> = acknowledged.iter().map(String::as_str).collect();
    for place in cluster.places() {
        applied(&cluster, place, &names)?;
    }
    let first = there(&cluster, 0)?;
    for place in cluster.places() {
        ensure!(there(&cluster, place)? == first, "place {place} has others");
    }
    Ok(())
}

fn others(place: Place) -> Vec<Place> {
    (0..3).filter(|other| *other != place).collect()
}

#[test]
fn what_was_acknowledged_is_on_every_node_after_kills_of_any_node() -> anyhow::Result<()> {
    let kills = match env::var("QUORATE_TEST_KILLS") {
        Ok(kills) => kills.parse().context("QUORATE_TEST_KILLS is a number")?,
        Err(_) => KILLS,
    };
    under(Options::default(), |cluster, writer| {
        for n in 0..kills {
            // The leader every other time, else each in turn.
            let place = if n % 2 == 0 { cluster.leader()? } else { n / 2 % 3 };
            cluster.kill(place);
            writer.goes_on().with_context(|| format!("after kill {n}, of place {place}"))?;
            cluster.begin(place)?;
        }
        Ok(())
    })
}

#[test]
fn a_leader_that_is_held_for_five_seconds_is_followed_and_follows() -> anyhow::Result<()> {
    under(Options::default(), |cluster, writer| {
        let held = cluster.leader()?;
        cluster.hold(held)?;
        let begun = Instant::now();
        let next = cluster.leader_among(&others(held))?;
        writer.goes_on()?;
        wait::until("the end of the time", PATIENCE, || {
            ensure!(begun.elapsed() >= HELD, "it is held");
            Ok(())
        })?;
        cluster.let_go(held)?;
        ensure!(cluster.leader()? != held || next != held, "the old leader leads on");
        Ok(())
    })
}

#[test]
fn a_leader_that_is_isolated_is_followed_and_finds_back() -> anyhow::Result<()> {
    under(Options { net: true, ..Options::default() }, |cluster, writer| {
        let isolated = cluster.leader()?;
        cluster.net().isolate(isolated);
        cluster.leader_among(&others(isolated))?;
        writer.goes_on()?;
        // Alone it still says what it knows.
        cluster.status(isolated)?;
        cluster.net().heal();
        cluster.leader()?;
        Ok(())
    })
}

#[test]
fn a_pair_that_is_cut_and_a_way_that_is_cut_keep_nobody_from_writing() -> anyhow::Result<()> {
    under(Options { net: true, ..Options::default() }, |cluster, writer| {
        let leader = cluster.leader()?;
        let [one, other] = others(leader)[..] else { unreachable!("there are three") };
        cluster.net().cut(one, other);
        writer.goes_on()?;
        cluster.net().heal();
        let leader = cluster.leader()?;
        for to in others(leader) {
            cluster.net().cut_one_way(leader, to);
            writer.goes_on()?;
            cluster.net().heal();
        }
        cluster.leader()?;
        Ok(())
    })
}
