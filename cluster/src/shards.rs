//! Who owns what: the leaders of shards, as nodes say and as an operator moves them.
//!
//! The leader of a shard owns its sessions. A test that has to know which node that is gives the cluster a single shard; where
//! there are several, the owner is the one that leads most of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    cluster::{Cluster, nodes},
    net::Place,
    wait,
};

/// What a node says of a disk with little room.
const LITTLE_ROOM: &str = "has little room left";
/// Longer than a shard takes to have a leader on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

// === impl Cluster ===

impl Cluster {
    /// The node that leads most shards, as one that runs says: of a single shard, its sessions' owner.
    ///
    /// # Errors
    ///
    /// None that runs leads within the time.
    pub fn owner(&self) -> anyhow::Result<Place> {
        let asked = self.running().next().context("a node runs")?;
        wait::until("a leader of shards", PATIENCE, || {
            let status = self.status(asked)?;
            let led = |id: u64| {
                let shards = status["shards"].as_array().into_iter().flatten();
                shards.filter(|shard| shard_leader(shard) == Some(id)).count()
            };
            let most = nodes(&status).filter_map(|node| number(&node["id"])).max_by_key(|id| led(*id));
            let most = most.filter(|id| led(*id) > 0).with_context(|| format!("nobody leads: {status:#}"))?;
            let node = nodes(&status).find(|node| number(&node["id"]) == Some(most)).context("it is a node")?;
            let place = node["name"].as_str().and_then(|name| name.strip_prefix("node-")?.parse::<Place>().ok());
            let place = place.context("nodes are numbered")? - 1;
            ensure!(self.running().any(|running| running == place), "place {place} leads, and is down");
            Ok(place)
        })
    }

    /// Waits until a node says that all nodes are active and well, and that every shard has a leader.
    ///
    /// # Errors
    ///
    /// It takes too long; the error has the last status.
    pub fn whole(&self, place: Place) -> anyhow::Result<()> {
        self.until("every node is active and well and every shard led", place, |status| {
            let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice);
            nodes(status).all(|node| node["state"] == "active" && is_well(node))
                && !shards.is_empty()
                && shards.iter().all(|shard| shard_leader(shard).is_some())
        })
    }

    /// Waits until a node says that no node leads much more shards than another, so that none is moved by itself.
    ///
    /// # Errors
    ///
    /// It takes too long; the error has the last status.
    pub fn levelled(&self, place: Place) -> anyhow::Result<()> {
        self.until("leaders are levelled", place, |status| {
            let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice);
            let led = |id| shards.iter().filter(|shard| shard_leader(shard) == Some(id)).count();
            let loads: Vec<usize> = nodes(status).filter_map(|node| number(&node["id"])).map(led).collect();
            let (least, most) = (loads.iter().min().unwrap_or(&0), loads.iter().max().unwrap_or(&0));
            !shards.is_empty() && loads.iter().sum::<usize>() == shards.len() && most - least <= 1
        })
    }

    /// Has a node lead what the owner leads, as an operator does.
    ///
    /// # Errors
    ///
    /// The node does not lead within the time; the error says what the owner said last.
    pub fn hand_over(&self, to: Place) -> anyhow::Result<()> {
        let name = format!("node-{}", to + 1);
        wait::until("another owner", PATIENCE, || {
            let owner = self.owner()?;
            if owner != to {
                // It may lead no more by now, and be refused.
                self.local(owner, &["cluster", "transfer", &name])?.success()?;
            }
            ensure!(owner == to, "place {owner} leads");
            Ok(())
        })
    }
}

/// Whether a node of a status is healthy, or suffers from nothing but a disk with little room: that is the machine's matter,
/// and changes nothing that the node does.
#[must_use]
pub fn is_well(node: &Value) -> bool {
    let mut findings = node["findings"].as_array().into_iter().flatten();
    let is_spared = |finding: &Value| finding.as_str().is_some_and(|text| text.contains(LITTLE_ROOM));
    node["health"] == "healthy" || (node["health"] == "degraded" && findings.all(is_spared))
}

/// Whether `quorate check`, that ended with this code and said this, found nothing wrong, or nothing but [that disk](is_well).
///
/// # Errors
///
/// It found something, or its answer is none: the error has all that it said.
pub fn nothing_is_wrong(code: Option<i32>, said: &str) -> anyhow::Result<()> {
    let paragraphs: Vec<String> =
        said.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let is_fine = match code {
        Some(0) => paragraphs.iter().any(|text| text == "nothing is wrong"),
        Some(1) => {
            let is_told = |word: &str| paragraphs.iter().any(|text| text.starts_with(word));
            let is_spared = |text: &String| !text.starts_with("warning ") || text.contains(LITTLE_ROOM);
            is_told("warning ") && !is_told("problem ") && paragraphs.iter().all(is_spared)
        }
        _ => false,
    };
    ensure!(is_fine, "something is wrong, as the check says that ended with {code:?}:\n{said}");
    Ok(())
}

/// The leader of a shard of a status.
#[must_use]
pub fn shard_leader(shard: &Value) -> Option<u64> {
    number(&shard["leader"]).filter(|id| *id != 0)
}

/// A number of protobuf in JSON: large ones are strings there.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_may_find_little_room_on_a_disk_and_nothing_else() {
        let asked = "asked 3 nodes, 3 answered\n";
        let room = "\nwarning  nodes 1, 2, 3: the disk of the data folder has little\n         room left\n         → make room\n";
        let worse = "\nproblem  node 1: the disk of the data folder has little room left\n         → make room\n";
        let note = "\nnote     1 shard being moved\n         → nothing to do\n";
        let late = "\nwarning  node 2 still runs revision 9 of 12\n         → look again\n";
        let table = [
            (Some(0), vec![asked, "\nnothing is wrong\n"], true),
            (Some(0), vec![asked, note, "\nnothing is wrong\n"], true),
            (Some(0), vec![asked], false),
            (Some(1), vec![asked, note, room], true),
            (Some(1), vec![asked, room, late], false),
            (Some(1), vec![asked, late], false),
            (Some(1), vec![asked, worse], false),
            (Some(1), vec![asked, note], false),
            (Some(4), vec![asked, room], false),
            (None, vec![asked, room], false),
        ];
        for (code, said, is_fine) in table {
            assert_eq!(nothing_is_wrong(code, &said.concat()).is_ok(), is_fine, "{code:?} {said:?}");
        }
    }
}
