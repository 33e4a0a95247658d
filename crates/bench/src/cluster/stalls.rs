//! Leaders that change although nobody asked for it: groups are written to for minutes, and each change is counted.
//!
//! Changes that follow each other at once have one cause: they are one episode. One in whose last second the host gave the cores to
//! others is counted apart: a leader that does not run is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Args;
use super::host::{Seen, Watch};
use super::report::{Report, Row, Spread};
use super::said::Order;
use super::trio::{Serving, Trio};
use crate::load::say;

const NODES: u64 = 3;
/// The meta group and 32 shards.
const GROUPS: u32 = 33;
/// Fifty entries a second for each group, 1,650 in all: about half of what a busy machine commits.
const LOAD: Order = Order::Load { writers: 1, every_ms: 20 };
/// Between two changes that have not the same cause: some elections fit.
const QUIET_US: u64 = 5_000_000;
/// How long before a leader serves its cause is looked for: the election, and what it waits for, take less.
const CAUSE_US: u64 = 1_000_000;
/// Time of the host within that which counts as the cause: half of the shortest election timeout.
const STOLEN_MS_MIN: u64 = 125;

/// Changes with one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Episode {
    began_us: u64,
    ended_us: u64,
    changes: u32,
}

/// Watches nodes under load.
///
/// # Errors
/// When one is gone.
pub(super) async fn stalls(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, GROUPS, false).await?;
    for id in 1..=NODES {
        trio.order(id, &LOAD).await?;
    }
    trio.settle().await?;
    let (mut epochs, mut applied) = (BTreeMap::new(), 0);
    for id in 1..=NODES {
        let status = trio.status(id).await?;
        epochs.extend(status.serves);
        applied += status.applied;
    }
    let watch = Watch::start()?;
    let heard = trio.hear_for(Duration::from_secs(args.stall_minutes * 60)).await?;
    let seen = watch.seen();
    let mut after = 0;
    for id in 1..=NODES {
        after += trio.status(id).await?.applied;
    }
    let episodes = episodes(&mut epochs, heard);
    for Episode { began_us, ended_us, changes } in &episodes {
        let stolen = seen.stolen_between(began_us - CAUSE_US, *began_us);
        let lasts = (ended_us - began_us) as f64 / 1e6;
        say(&format!("{changes} groups changed their leaders within {lasts:.2} s; {stolen} ms were stolen before"))?;
    }
    let stolen = episodes.iter().filter(|episode| is_stolen(episode, &seen)).count();
    let (minutes, own) = (args.stall_minutes, episodes.len() - stolen);
    let name = format!("Stall episodes with unplanned elections in {minutes} loaded minutes");
    report.rows.push(Row::plain(name, "", Spread::of([own as f64])).at_most(0.0, 2.0));
    let rate = (after - applied) as f64 / NODES as f64 / (minutes * 60) as f64;
    let changes: u32 = episodes.iter().map(|episode| episode.changes).sum();
    report.notes.push(format!(
        "In the {minutes} loaded minutes ({rate:.0} entries/s in {GROUPS} groups): {changes} changes of leaders in {} \
         episodes, {stolen} of which not counted because the host stole {STOLEN_MS_MIN} ms or more in the second before; \
         it stole {:.1} s in all, and a timer of the run came late by {:.0} ms at most.",
        episodes.len(),
        seen.stolen_ms() as f64 / 1e3,
        seen.late_max.as_secs_f64() * 1e3,
    ));
    Ok(())
}

fn is_stolen(episode: &Episode, seen: &Seen) -> bool {
    seen.stolen_between(episode.began_us.saturating_sub(CAUSE_US), episode.began_us) >= STOLEN_MS_MIN
}

/// Which of the things that were heard are changes, and which belong together. A lease that ends and begins again within one
/// term is none.
fn episodes(epochs: &mut BTreeMap<u32, u64>, mut heard: Vec<Serving>) -> Vec<Episode> {
    heard.sort_by_key(|serving| serving.at_us);
    let mut episodes: Vec<Episode> = Vec::new();
    for Serving { group, epoch, at_us, .. } in heard {
        let known = epochs.entry(group).or_insert(0);
        if epoch <= *known {
            continue;
        }
        *known = epoch;
        match episodes.last_mut() {
            Some(last) if at_us - last.ended_us < QUIET_US => {
                last.ended_us = at_us;
                last.changes += 1;
            }
            _ => episodes.push(Episode { began_us: at_us, ended_us: at_us, changes: 1 }),
        }
    }
    episodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_follow_each_other_are_one_episode_and_a_lease_that_comes_back_is_none() {
        let serving = |group, epoch, seconds: u64| Serving { node: 1, group, epoch, at_us: seconds * 1_000_000 };
        let mut epochs = BTreeMap::from([(1, 4), (2, 7)]);
        let heard = vec![serving(2, 8, 103), serving(1, 4, 50), serving(1, 5, 100), serving(1, 6, 200)];

        let found = episodes(&mut epochs, heard);

        let episode = |began: u64, ended: u64, changes| Episode {
            began_us: began * 1_000_000,
            ended_us: ended * 1_000_000,
            changes,
        };
        assert_eq!(found, [episode(100, 103, 2), episode(200, 200, 1)]);
        assert_eq!(epochs, BTreeMap::from([(1, 6), (2, 8)]));
    }
}
