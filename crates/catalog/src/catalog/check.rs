//! What holds of every state that commands make.
//!
//! Snapshots are held against it before they are taken, and tests ask after each command.

use std::collections::BTreeSet;

use super::Catalog;
use crate::key::{Key, KeyState};
use crate::limits::{
    ALARMS_MAX, KEY_VERSIONS_MAX, KEYS_MAX, NODES_MAX, NUMBER_MAX, NUMBERS_LEVEL, OPERATORS_LEVEL,
    OPERATORS_REVOKED_MAX, REMOVED_NODES_MAX, STAGE_PARTS_MAX, STAGED_BYTES_MAX, STAGES_MAX, TOKENS_KEPT_MAX,
    TOKENS_MAX,
};
use crate::token::TokenState;

type Holds = Result<(), &'static str>;

// === impl Catalog ===

impl Catalog {
    /// Checks every invariant of the state.
    ///
    /// # Errors
    /// What does not hold: a mistake of the machine, or a state that it did not make.
    pub fn check(&self) -> Result<(), &'static str> {
        let Some(cluster) = &self.cluster else {
            return require(*self == Self::default(), "a state without a cluster");
        };
        let numbers = [self.next_node, self.map_version, self.documents.revision()];
        require(numbers.iter().all(|number| *number <= NUMBER_MAX), "a number that was never given")?;
        self.check_nodes()?;
        self.check_shards(cluster.groups)?;
        self.check_tokens(cluster.level)?;
        self.check_keys()?;
        self.check_stages()?;
        require(self.operators.len() <= OPERATORS_REVOKED_MAX, "too many certificates of operators")?;
        let may_list = cluster.level >= OPERATORS_LEVEL || self.operators.is_empty();
        require(may_list, "certificates of operators below their feature level")?;
        require(self.alarms.len() <= ALARMS_MAX, "too many alarms")?;
        let of_the_living = |id| self.living().any(|node| node.id == id);
        require(self.alarms.keys().all(|(id, _)| of_the_living(*id)), "an alarm of no node")?;

        let limits = cluster.limits;
        let documents = &self.documents;
        documents.check()?;
        require(documents.current().len() as u64 <= limits.documents_max, "too many documents")?;
        require(documents.bytes() <= limits.documents_bytes_max, "documents that are too large together")?;
        require(documents.history().len() as u64 <= limits.revisions_max, "too many revisions")?;
        let large = documents.history_bytes() > limits.history_bytes_max && documents.history().len() > 1;
        require(!large, "a history that is too large")
    }

    fn check_nodes(&self) -> Holds {
        require((1..=NODES_MAX).contains(&self.living().count()), "no nodes, or too many")?;
        let placed: BTreeSet<_> = self.shards.values().flat_map(super::Shard::nodes).collect();
        let removed = self.nodes.values().filter(|node| !node.lives() && !placed.contains(&node.id)).count();
        require(removed <= REMOVED_NODES_MAX, "too many removed nodes")?;
        let names: BTreeSet<_> = self.living().map(|node| &node.name).collect();
        require(names.len() == self.living().count(), "a name that two nodes have")?;
        let certificates: Vec<_> = self.living().flat_map(|node| &node.certificates).collect();
        let distinct: BTreeSet<_> = certificates.iter().map(|one| one.fingerprint).collect();
        require(distinct.len() == certificates.len(), "a certificate that two nodes have")?;
        require(self.nodes.keys().all(|id| id.0 < self.next_node), "a node with a number that was not given")?;
        require(self.forgotten < self.next_node, "a forgotten node with a number that was not given")?;
        let level = self.cluster.as_ref().map_or(0, |cluster| cluster.level);
        require(level >= NUMBERS_LEVEL || self.forgotten == 0, "forgotten numbers below their feature level")?;
        require(self.living().all(|node| node.levels.contain(level)), "a node that cannot work at the level")?;
        let replaced = self.nodes.values().filter_map(|node| node.replaces);
        require(replaced.into_iter().all(|id| id.0 < self.next_node), "a replaced node that never was")
    }

    fn check_shards(&self, groups: u32) -> Holds {
        require(self.shards.keys().copied().eq(1..=groups), "other shards than there are groups")?;
        let known = |shard: &super::Shard| shard.nodes().all(|id| self.nodes.contains_key(&id));
        require(self.shards.values().all(known), "a shard on a node that is not known")?;
        let versions = |shard: &super::Shard| (1..=self.map_version).contains(&shard.version);
        require(self.shards.values().all(versions), "a shard that is newer than the map")
    }

    fn check_tokens(&self, level: u32) -> Holds {
        require(self.tokens.len() <= TOKENS_KEPT_MAX, "too many tokens")?;
        let usable = self.tokens.values().filter(|token| token.is_usable(self.time)).count();
        require(usable <= TOKENS_MAX, "too many usable tokens")?;
        // Where nodes have numbers of their own, the first may be any, and 1 another one's.
        let lowest = if level >= NUMBERS_LEVEL { 1 } else { 2 };
        let used = |state: TokenState| match state {
            TokenState::Used(node) => (lowest..self.next_node).contains(&node.0),
            TokenState::Usable | TokenState::Revoked => true,
        };
        require(self.tokens.values().all(|token| used(token.state)), "a token that was used by no node")
    }

    fn check_keys(&self) -> Holds {
        require(self.keys.len() <= KEYS_MAX, "too many keys")?;
        let keys: Vec<&Key> = self.keys.values().collect();
        for versions in keys.chunk_by(|one, next| (&one.purpose, &one.id) == (&next.purpose, &next.id)) {
            require(versions.len() <= KEY_VERSIONS_MAX, "too many versions of a key")?;
            let last = versions.len() - 1;
            let right = |(at, key): (usize, &&Key)| (key.state == KeyState::Active) == (at == last);
            require(versions.iter().enumerate().all(right), "a key whose latest version is not the active one")?;
            let gapless = versions.is_sorted_by(|one, next| next.version - one.version == 1);
            require(gapless, "a gap in the versions of a key")?;
        }
        Ok(())
    }

    fn check_stages(&self) -> Holds {
        require(self.stages.len() <= STAGES_MAX, "too many stages")?;
        let bytes = self.stages.values().fold(0_u64, |sum, stage| sum.saturating_add(stage.bytes));
        require(bytes <= STAGED_BYTES_MAX, "stages that are too large together")?;
        let within = |stage: &super::Stage| stage.received <= stage.bytes && stage.parts.len() <= STAGE_PARTS_MAX;
        require(self.stages.values().all(within), "a stage with more than it announced")
    }
}

fn require(holds: bool, what: &'static str) -> Holds {
    if holds { Ok(()) } else { Err(what) }
}
