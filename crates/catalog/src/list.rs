//! Pages of documents.
//!
//! A page goes on where the last one ended by key, so that what is added or deleted between two pages moves nothing else.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::document::{DocumentKey, Version};
use crate::limits::PAGE_MAX;

/// Which documents.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// With each of these labels: name and value.
    pub labels: Vec<(String, String)>,
    /// After this key: where the page before ended.
    pub after: Option<DocumentKey>,
    /// At most so many; 0 and whatever is more than [`PAGE_MAX`] is [`PAGE_MAX`].
    pub limit: usize,
}

/// Some of the documents, sorted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The revision that this page is of.
    pub revision: u64,
    /// The documents.
    pub documents: Vec<(DocumentKey, Version)>,
    /// Where the next page begins ([`Query::after`]); none when this is the last one.
    pub next: Option<DocumentKey>,
}

pub(crate) fn page(set: &BTreeMap<DocumentKey, Version>, revision: u64, query: &Query) -> Page {
    let limit = if query.limit == 0 { PAGE_MAX } else { query.limit.min(PAGE_MAX) };
    let start = query.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
    let mut documents = Vec::new();
    let mut next = None;
    for (key, version) in set.range((start, Bound::Unbounded)).filter(|(key, version)| fits(key, version, query)) {
        if documents.len() == limit {
            next = documents.last().map(|(key, _): &(DocumentKey, Version)| key.clone());
            break;
        }
        documents.push((key.clone(), version.clone()));
    }
    Page { revision, documents, next }
}

fn fits(key: &DocumentKey, version: &Version, query: &Query) -> bool {
    query.kind.as_ref().is_none_or(|kind| kind == key.kind())
        && query.tenant.as_ref().is_none_or(|tenant| tenant == key.tenant().as_str())
        && query.labels.iter().all(|(name, value)| version.labels.get(name) == Some(value))
}
