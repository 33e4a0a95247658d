//! Merges the lists of a toolset's servers into what the toolset exposes.
//!
//! In: each server's list, in toolset order, and the naming mode. Out: [`Merged`]: the exposed
//! items serialised once, and the index from exposed names to their origins. Invariants: the
//! order is (toolset order, server's order); every exposed name resolves to the item it was
//! spliced into; the epoch depends on the exposed bytes alone, so that a refresh that changes
//! nothing keeps cursors valid.
//!
//! Which names are exposed is for [`crate::naming`] and [`crate::uri`] to decide.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Splice, quote};
use quorate_types::{ResourceName, Timestamp};
use sha2::{Digest, Sha256};

use super::item::Item;
use super::{CacheScope, ServerIndex, ServerList, narrower};
use crate::cursor::Epoch;
use crate::message::ListKind;
use crate::naming::{self, Assignment, Claim, HiddenReason, Naming, skeleton};
use crate::uri::{self, Router};

/// One server's part of a merge.
#[derive(Clone, Debug)]
pub struct Source {
    /// The server's position in the toolset.
    pub server: ServerIndex,
    /// The server's name.
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
}

/// What a toolset exposes of one kind.
#[derive(Clone, Debug)]
pub struct Merged {
    pub(super) kind: ListKind,
    pub(super) epoch: Epoch,
    pub(super) expires_at: Timestamp,
    pub(super) scope: CacheScope,
    pub(super) entries: Vec<Entry>,
    /// All exposed items, with a comma after each.
    pub(super) items: Bytes,
    index: HashMap<Arc<str>, usize>,
    contested: HashMap<String, Vec<usize>>,
    hidden: Vec<HiddenItem>,
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

    /// Returns the exposed items in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the items that are not exposed.
    #[must_use]
    pub fn hidden(&self) -> &[HiddenItem] {
        &self.hidden
    }

    /// Returns the exposed definition of an entry of this list, as JSON text.
    #[must_use]
    pub fn definition(&self, entry: &Entry) -> Bytes {
        self.items.slice(entry.start..entry.end)
    }

    /// Looks up an exposed name.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Resolution<'_> {
        if let Some(&entry) = self.index.get(name) {
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
    let listed: Vec<(&Source, &Item)> =
        merge.sources.iter().flat_map(|source| source.list.items().iter().map(move |item| (source, item))).collect();
    let claims: Vec<Claim<'_>> = listed
        .iter()
        .map(|(source, item)| Claim { server: source.server, server_name: source.name.as_str(), name: item.name() })
        .collect();
    let assignment = match merge.kind {
        ListKind::Tools | ListKind::Prompts => naming::assign(merge.naming, &claims),
        ListKind::Resources | ListKind::ResourceTemplates => uri::assign(merge.naming, &claims),
    };

    let mut merged = Merged {
        kind: merge.kind,
        epoch: Epoch([0; 16]),
        expires_at: merge.fresh_until_max,
        scope: CacheScope::Public,
        entries: Vec::with_capacity(listed.len()),
        items: Bytes::new(),
        index: HashMap::with_capacity(listed.len()),
        contested: HashMap::new(),
        hidden: Vec::new(),
    };
    for source in merge.sources {
        assert_eq!(source.list.kind(), merge.kind, "the lists of a merge are of its kind");
        merged.expires_at = merged.expires_at.min(source.list.expires_at());
        merged.scope = narrower(merged.scope, source.list.scope());
    }
    expose(&mut merged, &listed, &assignment, merge.router);
    merged
}

/// Serialises what is exposed and builds the index.
fn expose(merged: &mut Merged, listed: &[(&Source, &Item)], assignment: &Assignment<'_>, router: Option<&Router>) {
    let mut items = Vec::with_capacity(listed.iter().map(|(_, item)| item.bytes().len() + 32).sum());
    let mut entry_of = vec![None; listed.len()];
    for (claim, (source, item)) in listed.iter().enumerate() {
        let Some(exposed) = assignment.exposed[claim].as_deref() else { continue };
        let start = items.len();
        items.extend_from_slice(&spliced(source.server, item, exposed, router));
        let entry = Entry {
            server: source.server,
            upstream: Arc::from(item.name()),
            exposed: Arc::from(exposed),
            start,
            end: items.len(),
        };
        items.push(b',');
        entry_of[claim] = Some(merged.entries.len());
        merged.index.insert(entry.exposed.clone(), merged.entries.len());
        merged.entries.push(entry);
    }
    merged.items = Bytes::from(items);
    merged.epoch = epoch(merged.kind, &merged.entries, &merged.items);

    for (alias, &claim) in &assignment.aliases {
        if let Some(entry) = entry_of[claim] {
            merged.index.insert(Arc::from(alias.as_str()), entry);
        }
    }
    for (name, claims) in &assignment.contested {
        merged.contested.insert(name.clone(), claims.iter().filter_map(|&claim| entry_of[claim]).collect());
    }
    merged.hidden = assignment
        .hidden
        .iter()
        .map(|hidden| {
            let (source, item) = listed[hidden.claim];
            HiddenItem { server: source.server, name: item.name().into(), reason: hidden.reason }
        })
        .collect();
}

/// The item's definition with its exposed name, and its links where the resources went.
fn spliced(server: ServerIndex, item: &Item, exposed: &str, router: Option<&Router>) -> Bytes {
    let mut splice = Splice::new(item.bytes());
    if item.name() != exposed {
        splice.replace(item.name_span(), quote(exposed).into_bytes());
    }
    if let Some(router) = router {
        for link in item.links() {
            match router.expose(server, &link.uri) {
                Cow::Borrowed(_) => {}
                Cow::Owned(uri) => {
                    splice.replace(link.span, quote(&uri).into_bytes());
                }
            }
        }
    }
    splice.finish()
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
