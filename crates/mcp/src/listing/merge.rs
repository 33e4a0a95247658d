//! Merges the lists of a toolset's servers into what the toolset exposes.
//!
//! In: each server's list, in toolset order, the naming mode, and the toolset's curation. Out:
//! [`Merged`]: the exposed items serialised once, and the index from exposed names to their origins.
//! Invariants: the order is (toolset order, server's order), of a toolset that does not list
//! everything first what it lists; every exposed name resolves to the item it was spliced into; the
//! epoch depends on the exposed bytes alone, so that a refresh that changes nothing keeps
//! cursors valid.
//!
//! Which names are exposed is for [`crate::naming`] and [`crate::uri`] to decide, what is exposed at
//! all and how it is changed for [`crate::curate`].

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_types::{ResourceName, Timestamp};
use sha2::{Digest, Sha256};

use super::candidate::{self, Candidate, Judging};
use super::{CacheScope, ServerIndex, ServerList, narrower};
use crate::curate::search::{Builder, Index};
use crate::curate::{Curation, Marks, Terms, find};
use crate::cursor::Epoch;
use crate::message::ListKind;
use crate::naming::{self, Assignment, Claim, HiddenReason, Names, Naming, skeleton};
use crate::uri::{self, Router};

/// One server's part of a merge.
#[derive(Clone, Debug)]
pub struct Source {
    /// The server's position in the toolset.
    pub server: ServerIndex,
    /// The server's name in the toolset.
    pub name: ResourceName,
    /// Its list; of the kind that is merged.
    pub list: Arc<ServerList>,
}

/// What to merge, and how.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    /// What is listed.
    pub kind: ListKind,
    /// How names are exposed.
    pub naming: Naming,
    /// The servers' lists in toolset order. Servers without a list are left out; their lists,
    /// when they come, change the epoch.
    pub sources: &'a [Source],
    /// The latest end of freshness whatever the lists say: when a server that is missing is
    /// asked again.
    pub fresh_until_max: Timestamp,
    /// Where resources went, for tool definitions that refer to resources. `None` leaves such
    /// references as they are.
    pub router: Option<&'a Router>,
    /// What the toolset makes of the lists; `None` exposes them as they are.
    pub curation: Option<&'a Curation>,
    /// Whether callers get different lists whatever the servers say.
    pub is_private: bool,
}

/// What a toolset exposes of one kind.
#[derive(Clone, Debug)]
pub struct Merged {
    pub(super) kind: ListKind,
    pub(super) epoch: Epoch,
    pub(super) expires_at: Timestamp,
    pub(super) scope: CacheScope,
    /// The listed ones first.
    pub(super) entries: Vec<Entry>,
    /// How many entries are listed; the others can be found and called.
    pub(super) listed: usize,
    /// All exposed items, with a comma after each.
    pub(super) items: Bytes,
    pub(super) names: HashMap<Arc<str>, usize>,
    contested: HashMap<String, Vec<usize>>,
    hidden: Vec<HiddenItem>,
    excluded: usize,
    marks: Marks,
    index: Option<Index>,
}

/// One exposed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server that has it.
    pub server: ServerIndex,
    /// Its name at that server.
    pub upstream: Arc<str>,
    /// Its name as it is exposed.
    pub exposed: Arc<str>,
    /// What holds for its calls beyond what its server demands.
    pub terms: Option<Arc<Terms>>,
    /// The tags that the toolset gives it; a server's own are not among them.
    pub(super) tags: Option<Arc<[String]>>,
    /// Where its definition starts in the serialised items.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// A listed item that is not exposed, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenItem {
    /// The server that listed it.
    pub server: ServerIndex,
    /// Its name at that server.
    pub name: Box<str>,
    /// Why it is not exposed.
    pub reason: HiddenReason,
}

/// What an exposed name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution<'a> {
    /// This item.
    Found(&'a Entry),
    /// Several servers claim the name, so it stands for none of them.
    Ambiguous {
        /// The exposed names of the items that claim it, in exposed order.
        alternatives: Vec<&'a str>,
    },
    /// Nothing.
    Unknown,
}

// === impl Entry ===

impl Entry {
    fn new(server: ServerIndex, upstream: Arc<str>, exposed: Arc<str>) -> Self {
        Self { server, upstream, exposed, terms: None, tags: None, start: 0, end: 0 }
    }

    /// Returns the tags that the toolset gives it; a server's own are not among them.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }
}

// === impl Merged ===

impl Merged {
    /// Returns what is listed.
    #[must_use]
    pub const fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the hash of the exposed content.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns until when all of it is fresh.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns who may be served this list.
    #[must_use]
    pub const fn scope(&self) -> CacheScope {
        self.scope
    }

    /// Returns the exposed items in order: those that are listed, then those that can only be
    /// found and called.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns how many of the entries are listed to everybody.
    #[must_use]
    pub const fn listed(&self) -> usize {
        self.listed
    }

    /// Returns the items that are not exposed although they are chosen.
    #[must_use]
    pub fn hidden(&self) -> &[HiddenItem] {
        &self.hidden
    }

    /// Returns how many items the toolset does not choose.
    #[must_use]
    pub const fn excluded(&self) -> usize {
        self.excluded
    }

    /// Returns which patterns of the toolset matched something here.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Returns the words of the exposed tools, where they can be searched. Places are those of
    /// [`Merged::entries`].
    #[must_use]
    pub const fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Returns the exposed definition of an entry of this list, as JSON text.
    #[must_use]
    pub fn definition(&self, entry: &Entry) -> Bytes {
        self.items.slice(entry.start..entry.end)
    }

    fn add(&mut self, entry: Entry, definition: &[u8], items: &mut Vec<u8>) {
        let start = items.len();
        items.extend_from_slice(definition);
        let entry = Entry { start, end: items.len(), ..entry };
        items.push(b',');
        self.names.insert(Arc::clone(&entry.exposed), self.entries.len());
        self.entries.push(entry);
    }

    /// Returns the place among the entries of an exposed name that means one of them.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Looks up an exposed name.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Resolution<'_> {
        if let Some(&entry) = self.names.get(name) {
            return Resolution::Found(&self.entries[entry]);
        }
        if self.contested.is_empty() {
            return Resolution::Unknown;
        }
        match self.contested.get(skeleton::of(name).as_ref()) {
            Some(entries) => {
                let alternatives = entries.iter().map(|&entry| &*self.entries[entry].exposed).collect();
                Resolution::Ambiguous { alternatives }
            }
            None => Resolution::Unknown,
        }
    }
}

/// Merges lists.
///
/// # Panics
/// When a source's list is of another kind than the merge.
#[must_use]
pub fn merge(merge: &Merge<'_>) -> Merged {
    let mut judging = Judging::new(merge.curation);
    let candidates = candidate::of(merge, &mut judging);
    let claims: Vec<Claim<'_>> = candidates.iter().map(Candidate::claim).collect();
    let own = merge.curation.and_then(Curation::search).filter(|_| merge.kind == ListKind::Tools);
    let assignment = match merge.kind {
        ListKind::Tools | ListKind::Prompts => {
            let reserved: &[&str] = if own.is_some() { &[find::NAME] } else { &[] };
            let given: Vec<&str> = merge.curation.map_or_else(Vec::new, |curation| curation.given(merge.kind));
            naming::assign(merge.naming, &claims, Names { reserved, given: &given })
        }
        ListKind::Resources | ListKind::ResourceTemplates => uri::assign(merge.naming, &claims),
    };

    let mut merged = Merged {
        kind: merge.kind,
        epoch: Epoch([0; 16]),
        expires_at: merge.fresh_until_max,
        scope: if merge.is_private { CacheScope::Private } else { CacheScope::Public },
        entries: Vec::with_capacity(candidates.len()),
        listed: 0,
        items: Bytes::new(),
        names: HashMap::with_capacity(candidates.len()),
        contested: HashMap::new(),
        hidden: Vec::new(),
        excluded: judging.excluded,
        marks: judging.marks,
        index: None,
    };
    for source in merge.sources {
        assert_eq!(source.list.kind(), merge.kind, "the lists of a merge are of its kind");
        merged.expires_at = merged.expires_at.min(source.list.expires_at());
        merged.scope = narrower(merged.scope, source.list.scope());
    }
    expose(&mut merged, merge, &candidates, &assignment);
    merged.hidden.extend(judging.hidden);
    if own.is_some() {
        merged.index = Some(index(&merged));
    }
    merged
}

/// Serialises what is exposed and builds the index of names.
fn expose(merged: &mut Merged, merge: &Merge<'_>, candidates: &[Candidate<'_>], assignment: &Assignment<'_>) {
    let mut items = Vec::with_capacity(candidates.iter().map(|one| one.item.bytes().len() + 32).sum());
    if let Some(search) = merge.curation.and_then(Curation::search).filter(|_| merge.kind == ListKind::Tools) {
        let name: Arc<str> = Arc::from(find::NAME);
        let entry = Entry::new(ServerIndex::OURS, Arc::clone(&name), name);
        merged.add(entry, find::definition(search).as_bytes(), &mut items);
    }
    let mut entry_of = vec![None; candidates.len()];
    let (listed, found) = order(merged, merge, assignment);
    for &claim in listed.iter().chain(&found) {
        let (candidate, Some(exposed)) = (&candidates[claim], assignment.exposed[claim].as_deref()) else { continue };
        entry_of[claim] = Some(merged.entries.len());
        let (upstream, exposed) = (Arc::from(candidate.item.name()), Arc::<str>::from(exposed));
        let definition = candidate.definition(&exposed, merge.router);
        let (terms, tags) = (candidate.terms.clone(), candidate.tags.clone());
        let entry = Entry { terms, tags, ..Entry::new(candidate.source.server, upstream, exposed) };
        merged.add(entry, &definition, &mut items);
    }
    merged.listed = merged.entries.len() - found.len();
    merged.items = Bytes::from(items);
    merged.epoch = epoch(merged.kind, &merged.entries, &merged.items);

    for (alias, &claim) in &assignment.aliases {
        if let Some(entry) = entry_of[claim] {
            merged.names.insert(Arc::from(alias.as_str()), entry);
        }
    }
    for (name, claims) in &assignment.contested {
        merged.contested.insert(name.clone(), claims.iter().filter_map(|&claim| entry_of[claim]).collect());
    }
    merged.hidden.extend(assignment.hidden.iter().map(|hidden| candidates[hidden.claim].hidden(hidden.reason)));
}

/// The claims with a name, in order: those that are listed, and those that can only be found.
fn order(merged: &mut Merged, merge: &Merge<'_>, assignment: &Assignment<'_>) -> (Vec<usize>, Vec<usize>) {
    let named = assignment.exposed.iter().enumerate().filter_map(|(claim, name)| Some((claim, name.as_deref()?)));
    match merge.curation.filter(|_| merge.kind == ListKind::Tools) {
        None => (named.map(|(claim, _)| claim).collect(), Vec::new()),
        Some(curation) => {
            let (listed, found): (Vec<_>, Vec<_>) =
                named.partition(|(_, name)| curation.lists(name, &mut merged.marks));
            let claims = |named: Vec<(usize, &str)>| named.into_iter().map(|(claim, _)| claim).collect();
            (claims(listed), claims(found))
        }
    }
}

/// The words of the exposed tools; ours is not one that is searched for.
fn index(merged: &Merged) -> Index {
    let mut builder = Builder::default();
    for entry in &merged.entries {
        let definition = &merged.items[entry.start..entry.end];
        match std::str::from_utf8(definition) {
            Ok(definition) if entry.server != ServerIndex::OURS => {
                find::describe(&mut builder, &entry.exposed, definition);
            }
            Ok(_) | Err(_) => builder.add_nothing(),
        }
    }
    builder.build()
}

fn epoch(kind: ListKind, entries: &[Entry], items: &[u8]) -> Epoch {
    let mut hash = Sha256::new();
    hash.update(kind.result_key().as_bytes());
    for entry in entries {
        hash.update(((entry.end - entry.start) as u64).to_be_bytes());
    }
    hash.update(items);
    let digest = hash.finalize();
    let mut epoch = [0; 16];
    epoch.copy_from_slice(&digest[..16]);
    Epoch(epoch)
}
