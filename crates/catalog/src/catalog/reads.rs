//! What others ask of the state.
//!
//! Reading changes nothing and never waits; whoever reads more than once and wants the same state takes a clone. Reads of
//! many things are in pages ([`crate::PAGE_MAX`]) where there can be more than thousands.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::{NodeId, ResourceName, Timestamp};

use super::Catalog;
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::document::{DocumentKey, Version};
use crate::key::{Key, KeyState};
use crate::limits::PAGE_MAX;
use crate::list::{self, Page, Query};
use crate::node::Node;
use crate::operator::{Operator, OperatorId};
use crate::revision::{Change, Revision};
use crate::shard::Shard;
use crate::token::Token;

// === impl Catalog ===

impl Catalog {
    /// The cluster; none before the first command.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The log's time of the last command that changed something.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// All nodes by number, those included that were removed.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A node, also when it was removed.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The node whose certificate this is: one that is not removed, and a certificate that it may show.
    #[must_use]
    pub fn node_with_certificate(&self, fingerprint: &[u8; 32]) -> Option<&Node> {
        self.living().find(|node| node.certificates.iter().any(|one| one.fingerprint == *fingerprint))
    }

    /// The tokens that are told of, by id. Those that ended more than [`crate::TOKENS_TOLD_FOR`] before `now` are not.
    pub fn tokens(&self, now: Timestamp) -> impl Iterator<Item = &Token> {
        self.tokens.values().filter(move |token| !token.is_forgotten(now))
    }

    /// The certificates of operators that are listed, by fingerprint. Those that ended more than
    /// [`crate::OPERATORS_KEPT_FOR`] before `now` are not, unless they were taken back.
    pub fn operators(&self, now: Timestamp) -> impl Iterator<Item = &Operator> {
        self.operators.values().filter(move |operator| !operator.is_forgotten(now))
    }

    /// Whether a certificate of an operator was taken back.
    #[must_use]
    pub fn is_revoked(&self, id: &OperatorId) -> bool {
        self.operators.get(id).is_some_and(|operator| operator.revoked_at.is_some())
    }

    /// The shards by number.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values()
    }

    /// A shard; numbers begin with 1.
    #[must_use]
    pub fn shard(&self, number: u32) -> Option<&Shard> {
        self.shards.get(&number)
    }

    /// The version of the shard map: it grows with each change of a shard.
    #[must_use]
    pub const fn map_version(&self) -> u64 {
        self.map_version
    }

    /// The versions of all keys, by purpose, id and version.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// The version of a key that seals.
    #[must_use]
    pub fn active_key(&self, purpose: &ResourceName, id: &ResourceName) -> Option<&Key> {
        self.versions(purpose, id).find(|key| key.state == KeyState::Active)
    }

    /// A version of a key.
    #[must_use]
    pub fn key(&self, purpose: &ResourceName, id: &ResourceName, version: u32) -> Option<&Key> {
        self.keys.get(&(purpose.clone(), id.clone(), version))
    }

    /// The alarms that are on, by node and kind.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }

    /// The latest revision of the documents; 0 before the first.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.documents.revision()
    }

    /// The oldest revision that documents can be read of and rolled back to.
    #[must_use]
    pub fn oldest_revision(&self) -> u64 {
        self.documents.oldest()
    }

    /// The documents of now, sorted by key.
    #[must_use]
    pub fn documents(&self) -> &BTreeMap<DocumentKey, Version> {
        self.documents.current()
    }

    /// What the documents of now take, in bytes, as [`crate::Limits::documents_bytes_max`] counts.
    #[must_use]
    pub const fn documents_bytes(&self) -> u64 {
        self.documents.bytes()
    }

    /// What only history takes, in bytes, as [`crate::Limits::history_bytes_max`] counts.
    #[must_use]
    pub const fn history_bytes(&self) -> u64 {
        self.documents.history_bytes()
    }

    /// A document of now.
    #[must_use]
    pub fn document(&self, key: &DocumentKey) -> Option<&Version> {
        self.documents.current().get(key)
    }

    /// The documents as they were at a revision; none where history does not reach.
    #[must_use]
    pub fn at_revision(&self, revision: u64) -> Option<Arc<BTreeMap<DocumentKey, Version>>> {
        self.documents.at(revision)
    }

    /// The revisions whose changes are kept, the latest first, below one number where that is given. At most `limit`, and
    /// at most one more than [`PAGE_MAX`], which says that there are others.
    pub fn revisions(&self, below: Option<u64>, limit: usize) -> impl Iterator<Item = &Revision> {
        let below = below.unwrap_or(u64::MAX);
        let kept = self.documents.history().iter().rev();
        kept.filter(move |kept| kept.number < below).take(limit.min(PAGE_MAX + 1))
    }

    /// The kept changes of one document, as [`Self::revisions`] has those of all.
    pub fn history(
        &self,
        key: &DocumentKey,
        below: Option<u64>,
        limit: usize,
    ) -> impl Iterator<Item = (&Revision, &Change)> {
        let below = below.unwrap_or(u64::MAX);
        let kept = self.documents.history().iter().rev().filter(move |kept| kept.number < below);
        kept.filter_map(move |kept| kept.change(key).map(|change| (kept, change))).take(limit.min(PAGE_MAX + 1))
    }

    /// A page of documents.
    #[must_use]
    pub fn list(&self, query: &Query) -> Page {
        list::page(self.documents.current(), self.documents.revision(), query)
    }
}
