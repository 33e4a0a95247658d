//! What subscribers of a backend want to be notified of, and the inverted index of it.
//!
//! An [`Interest`] is a set; a [`Filter`] is how the wire has it. The [`Index`] answers two
//! questions in the size of the answer rather than the number of subscribers: what all of them
//! together want (the upstream filter), and who wants a given change. Its reference counts also
//! serve where a backend is subscribed to resource by resource (legacy): what
//! [`Index::insert`] returns is to be subscribed, what [`Index::remove`] returns unsubscribed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Change, SubscriberId};
use crate::message::Filter;

/// A set of changes to be notified of. URIs and task ids are the backend's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Changes of these resources.
    pub uris: BTreeSet<Arc<str>>,
    /// Changes of these tasks.
    pub tasks: BTreeSet<Arc<str>>,
}

/// Which subscribers want what.
#[derive(Clone, Debug, Default)]
pub struct Index {
    tools: BTreeSet<SubscriberId>,
    prompts: BTreeSet<SubscriberId>,
    resources: BTreeSet<SubscriberId>,
    uris: BTreeMap<Arc<str>, BTreeSet<SubscriberId>>,
    tasks: BTreeMap<Arc<str>, BTreeSet<SubscriberId>>,
}

// === impl Interest ===

impl Interest {
    /// Tells whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.tools && !self.prompts && !self.resources && self.uris.is_empty() && self.tasks.is_empty()
    }

    /// Returns the number of URIs and tasks, which is what an interest costs.
    #[must_use]
    pub fn items(&self) -> usize {
        self.uris.len() + self.tasks.len()
    }

    /// Tells whether everything in `other` is in this.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.tools >= other.tools
            && self.prompts >= other.prompts
            && self.resources >= other.resources
            && self.uris.is_superset(&other.uris)
            && self.tasks.is_superset(&other.tasks)
    }

    /// Tells whether `change` is to be notified of, as [`Index::wanting`] does for many.
    #[must_use]
    pub fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Tools => self.tools,
            Change::Prompts => self.prompts,
            Change::Resources => self.resources,
            Change::Resource { uri } => containing(uri).any(|uri| self.uris.contains(uri)),
            Change::Task { id } => self.tasks.contains(id),
        }
    }

    /// Returns what is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
            uris: self.uris.intersection(&other.uris).cloned().collect(),
            tasks: self.tasks.intersection(&other.tasks).cloned().collect(),
        }
    }

    /// Returns what is in this and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            tools: self.tools && !other.tools,
            prompts: self.prompts && !other.prompts,
            resources: self.resources && !other.resources,
            uris: self.uris.difference(&other.uris).cloned().collect(),
            tasks: self.tasks.difference(&other.tasks).cloned().collect(),
        }
    }

    /// Adds everything in `other`.
    pub fn extend(&mut self, other: Self) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend(other.uris);
        self.tasks.extend(other.tasks);
    }

    /// Returns the changes that a subscriber is told of who may have missed any of them.
    ///
    /// Tasks are not among them: their notification carries a status, which only the backend knows,
    /// and clients poll tasks anyway.
    #[must_use]
    pub fn as_changes(&self) -> Vec<Change> {
        let lists = [(self.tools, Change::Tools), (self.prompts, Change::Prompts), (self.resources, Change::Resources)];
        let lists = lists.into_iter().filter(|(wanted, _)| *wanted).map(|(_, change)| change);
        lists.chain(self.uris.iter().map(|uri| Change::Resource { uri: uri.clone() })).collect()
    }

    /// Returns the wire form, with URIs and tasks in order.
    #[must_use]
    pub fn to_filter(&self) -> Filter {
        Filter {
            tools: self.tools,
            prompts: self.prompts,
            resources: self.resources,
            uris: self.uris.iter().map(|uri| (**uri).to_owned()).collect(),
            tasks: self.tasks.iter().map(|task| (**task).to_owned()).collect(),
        }
    }
}

impl From<&Filter> for Interest {
    fn from(filter: &Filter) -> Self {
        Self {
            tools: filter.tools,
            prompts: filter.prompts,
            resources: filter.resources,
            uris: filter.uris.iter().map(|uri| Arc::from(uri.as_str())).collect(),
            tasks: filter.tasks.iter().map(|task| Arc::from(task.as_str())).collect(),
        }
    }
}

// === impl Index ===

impl Index {
    /// Adds a subscriber's interest and returns the part of it that nobody had before.
    pub fn insert(&mut self, subscriber: SubscriberId, interest: &Interest) -> Interest {
        Interest {
            tools: interest.tools && join(&mut self.tools, subscriber),
            prompts: interest.prompts && join(&mut self.prompts, subscriber),
            resources: interest.resources && join(&mut self.resources, subscriber),
            uris: join_each(&mut self.uris, &interest.uris, subscriber),
            tasks: join_each(&mut self.tasks, &interest.tasks, subscriber),
        }
    }

    /// Removes a subscriber's interest and returns the part of it that nobody has now.
    pub fn remove(&mut self, subscriber: SubscriberId, interest: &Interest) -> Interest {
        Interest {
            tools: interest.tools && leave(&mut self.tools, subscriber),
            prompts: interest.prompts && leave(&mut self.prompts, subscriber),
            resources: interest.resources && leave(&mut self.resources, subscriber),
            uris: leave_each(&mut self.uris, &interest.uris, subscriber),
            tasks: leave_each(&mut self.tasks, &interest.tasks, subscriber),
        }
    }

    /// Returns what all subscribers together want.
    #[must_use]
    pub fn union(&self) -> Interest {
        Interest {
            tools: !self.tools.is_empty(),
            prompts: !self.prompts.is_empty(),
            resources: !self.resources.is_empty(),
            uris: self.uris.keys().cloned().collect(),
            tasks: self.tasks.keys().cloned().collect(),
        }
    }

    /// Tells whether nobody wants anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
            && self.prompts.is_empty()
            && self.resources.is_empty()
            && self.uris.is_empty()
            && self.tasks.is_empty()
    }

    /// Tells whether `interest` has everything that anybody wants.
    #[must_use]
    pub fn is_within(&self, interest: &Interest) -> bool {
        (self.tools.is_empty() || interest.tools)
            && (self.prompts.is_empty() || interest.prompts)
            && (self.resources.is_empty() || interest.resources)
            && self.uris.keys().all(|uri| interest.uris.contains(uri))
            && self.tasks.keys().all(|task| interest.tasks.contains(task))
    }

    /// Tells whether somebody wants each part of `interest`.
    #[must_use]
    pub fn covers(&self, interest: &Interest) -> bool {
        (!interest.tools || !self.tools.is_empty())
            && (!interest.prompts || !self.prompts.is_empty())
            && (!interest.resources || !self.resources.is_empty())
            && interest.uris.iter().all(|uri| self.uris.contains_key(uri))
            && interest.tasks.iter().all(|task| self.tasks.contains_key(task))
    }

    /// Returns the subscribers that want to know of `change`, in order.
    ///
    /// An updated resource also concerns whoever subscribed to one that contains it (2026-07-28
    /// `notifications/resources/updated`: "might be a sub-resource"), which is read off the URIs.
    #[must_use]
    pub fn wanting(&self, change: &Change) -> BTreeSet<SubscriberId> {
        match change {
            Change::Tools => self.tools.clone(),
            Change::Prompts => self.prompts.clone(),
            Change::Resources => self.resources.clone(),
            Change::Task { id } => self.tasks.get(id).cloned().unwrap_or_default(),
            Change::Resource { uri } => {
                containing(uri).filter_map(|uri| self.uris.get(uri)).flatten().copied().collect()
            }
        }
    }
}

/// The URI itself, and what it is within: cut before and behind each slash, and before query and
/// fragment. URIs are bounded, and so are the cuts.
fn containing(uri: &str) -> impl Iterator<Item = &str> {
    let cuts = uri.match_indices(['/', '?', '#']).flat_map(|(at, mark)| {
        let behind = (mark == "/").then_some(at + 1);
        [Some(at), behind].into_iter().flatten()
    });
    let mut cuts: Vec<usize> = cuts.chain([uri.len()]).filter(|&cut| cut > 0).collect();
    cuts.dedup();
    cuts.into_iter().map(move |cut| &uri[..cut])
}

/// Adds, and tells whether this is the first.
fn join(set: &mut BTreeSet<SubscriberId>, subscriber: SubscriberId) -> bool {
    set.insert(subscriber) && set.len() == 1
}

/// Removes, and tells whether that was the last.
fn leave(set: &mut BTreeSet<SubscriberId>, subscriber: SubscriberId) -> bool {
    set.remove(&subscriber) && set.is_empty()
}

type Wanted = BTreeMap<Arc<str>, BTreeSet<SubscriberId>>;

fn join_each(wanted: &mut Wanted, keys: &BTreeSet<Arc<str>>, subscriber: SubscriberId) -> BTreeSet<Arc<str>> {
    keys.iter().filter(|key| join(wanted.entry((*key).clone()).or_default(), subscriber)).cloned().collect()
}

fn leave_each(wanted: &mut Wanted, keys: &BTreeSet<Arc<str>>, subscriber: SubscriberId) -> BTreeSet<Arc<str>> {
    let mut last = BTreeSet::new();
    for key in keys {
        if wanted.get_mut(key).is_some_and(|set| leave(set, subscriber)) {
            wanted.remove(key);
            last.insert(key.clone());
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_wants_what_its_index_would_find() {
        let interest = Interest {
            tools: true,
            uris: ["test://a/b".into(), "test://c".into()].into(),
            tasks: ["t".into()].into(),
            ..Interest::default()
        };
        let mut index = Index::default();
        index.insert(SubscriberId(1), &interest);
        let resource = |uri: &str| Change::Resource { uri: uri.into() };
        let cases = [
            (Change::Tools, true),
            (Change::Prompts, false),
            (Change::Resources, false),
            (resource("test://a/b"), true),
            (resource("test://a/b/c?d"), true),
            (resource("test://a/bc"), false),
            (resource("test://a"), false),
            (Change::Task { id: "t".into() }, true),
            (Change::Task { id: "u".into() }, false),
        ];
        for (change, expected) in cases {
            assert_eq!(interest.wants(&change), expected, "{change:?}");
            assert_eq!(!index.wanting(&change).is_empty(), expected, "{change:?}");
        }
    }
}
