//! What the nodes of a cluster say, as the judge gets it.
//!
//! Plain data: who was asked where, what came of it, and what the answers have in common. Nothing is asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_client::context::Life;
use quorate_proto::admin::v1::{GetStatusResponse, Node, NodeHealth, NodeState};
use quorate_types::Timestamp;

/// What became of asking one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The node that was meant; none when only its address was known.
    pub(crate) node: Option<u64>,
    /// Where it was asked.
    pub(crate) address: String,
    /// Its answers, in their order; none when it gave none.
    pub(crate) samples: Vec<Sample>,
    /// Why there is no answer, or no further one.
    pub(crate) failure: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) status: GetStatusResponse,
    /// The asker's clock halfway between question and answer.
    pub(crate) asked_at: Timestamp,
    /// From question to answer: how far the clocks can be compared.
    pub(crate) round_trip: Duration,
}

/// Everything that was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    pub(crate) nodes: Vec<Report>,
    /// Why a node has not the newest revision active, as the nodes told it.
    pub(crate) refusals: BTreeMap<u64, String>,
    /// From when to when the asker's own certificate is good.
    pub(crate) operator: Option<Life>,
    /// Whether all nodes were asked, or only one for all of them.
    pub(crate) is_complete: bool,
    pub(crate) now: Timestamp,
}

// === impl Report ===

impl Report {
    /// The newest answer.
    pub(crate) fn last(&self) -> Option<&Sample> {
        self.samples.last()
    }
}

// === impl Reports ===

impl Reports {
    /// What one node says of all.
    pub(crate) fn of_one(status: &GetStatusResponse, now: Timestamp) -> Self {
        let sample = Sample { status: status.clone(), asked_at: now, round_trip: Duration::ZERO };
        let report = Report { node: Some(status.node), samples: vec![sample], ..Report::default() };
        Self { nodes: vec![report], now, ..Self::default() }
    }

    /// The newest answer of each node that answered.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &GetStatusResponse> {
        self.nodes.iter().filter_map(Report::last).map(|sample| &sample.status)
    }

    /// The answer that knows most: the one that applied the most of the meta group, and among those the freshest.
    pub(crate) fn best(&self) -> Option<&GetStatusResponse> {
        let age = |status: &GetStatusResponse| {
            status
                .staleness
                .as_ref()
                .map_or(i64::MAX, |age| age.seconds.saturating_mul(1_000) + i64::from(age.nanos) / 1_000_000)
        };
        let rank = |status: &&GetStatusResponse| {
            let applied = status.meta.as_ref().map_or(0, |meta| meta.applied);
            (applied, std::cmp::Reverse(age(status)))
        };
        self.answers().filter(|status| !status.nodes.is_empty()).max_by_key(rank)
    }

    /// The members, as the best answer has them.
    pub(crate) fn members(&self) -> Vec<&Node> {
        let nodes = self.best().map(|status| status.nodes.as_slice()).unwrap_or_default();
        nodes.iter().filter(|node| node.state() != NodeState::Removed).collect()
    }

    /// What a node says of itself.
    pub(crate) fn own(&self, number: u64) -> Option<&Node> {
        let status = self.answers().find(|status| status.node == number)?;
        status.nodes.iter().find(|node| node.id == number)
    }

    /// Tells whether a node is there: it answered, or, where only one was asked, that one reaches it.
    pub(crate) fn is_there(&self, node: &Node) -> bool {
        let answered = self.answers().any(|status| status.node == node.id);
        answered || (!self.is_complete && node.health() != NodeHealth::Unreachable)
    }

    /// The nodes that are there.
    pub(crate) fn present(&self) -> BTreeSet<u64> {
        self.members().into_iter().filter(|node| self.is_there(node)).map(|node| node.id).collect()
    }
}
