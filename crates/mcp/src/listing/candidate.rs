//! The items of a toolset's servers that may be exposed, changed as the toolset says.
//!
//! In: servers' lists and the toolset's curation. Out: one [`Candidate`] per chosen item, whose
//! definition lacks only its name, and what was sorted out before anything got a name: items that
//! are not chosen, and items whose definition cannot be changed as a rule says.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Splice, quote};

use super::item::Item;
use super::merge::{HiddenItem, Merge, Source};
use crate::curate::define::{self, Unusable};
use crate::curate::treatment::Treatment;
use crate::curate::{Curation, Judged, Marks, Terms};
use crate::message::ListKind;
use crate::naming::{Claim, HiddenReason, NAME_BYTES_MAX};
use crate::uri::Router;

/// An item that may be exposed.
pub(super) struct Candidate<'a> {
    pub(super) source: &'a Source,
    pub(super) item: &'a Item,
    /// The name that the toolset gives it.
    given: Option<String>,
    /// What holds for its calls.
    pub(super) terms: Option<Arc<Terms>>,
    /// The tags that the toolset gives it.
    pub(super) tags: Option<Arc<[String]>>,
    /// The changes of its definition.
    splice: Splice<'a>,
}

/// The state of sorting out items.
pub(super) struct Judging<'a> {
    curation: Option<&'a Curation>,
    pub(super) marks: Marks,
    pub(super) hidden: Vec<HiddenItem>,
    pub(super) excluded: usize,
}

/// Returns what may be exposed, in toolset order.
pub(super) fn of<'a>(merge: &Merge<'a>, judging: &mut Judging<'a>) -> Vec<Candidate<'a>> {
    let listed = merge.sources.iter().flat_map(|source| source.list.items().iter().map(move |item| (source, item)));
    listed.filter_map(|(source, item)| judging.candidate(merge.kind, source, item)).collect()
}

// === impl Judging ===

impl<'a> Judging<'a> {
    pub(super) fn new(curation: Option<&'a Curation>) -> Self {
        let marks = Marks::new(curation.map_or(0, |curation| curation.watched().len()));
        Self { curation, marks, hidden: Vec::new(), excluded: 0 }
    }

    fn candidate(&mut self, kind: ListKind, source: &'a Source, item: &'a Item) -> Option<Candidate<'a>> {
        let mut candidate =
            Candidate { source, item, given: None, terms: None, tags: None, splice: Splice::new(item.bytes()) };
        let Some(curation) = self.curation else { return Some(candidate) };
        match curation.judge(kind, source.server, item.name(), &mut self.marks) {
            Judged::Excluded => {
                self.excluded += 1;
                None
            }
            Judged::Exposed(None) => Some(candidate),
            Judged::Exposed(Some(treatment)) => match candidate.change(kind, &treatment, &mut self.marks) {
                Ok(()) => Some(candidate),
                Err(reason) => {
                    self.hidden.push(candidate.hidden(reason));
                    None
                }
            },
        }
    }
}

// === impl Candidate ===

impl<'a> Candidate<'a> {
    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            server: self.source.server,
            server_name: self.source.name.as_str(),
            name: self.item.name(),
            given: self.given.as_deref(),
        }
    }

    pub(super) fn hidden(&self, reason: HiddenReason) -> HiddenItem {
        HiddenItem { server: self.source.server, name: self.item.name().into(), reason }
    }

    /// The definition with its exposed name, and its links where the resources went.
    pub(super) fn definition(&self, exposed: &str, router: Option<&Router>) -> Bytes {
        let mut splice = self.splice.clone();
        if self.item.name() != exposed {
            splice.replace(self.item.name_span(), quote(exposed).into_bytes());
        }
        for link in self.item.links().iter().filter(|_| router.is_some()) {
            match router.map(|router| router.expose(self.source.server, &link.uri)) {
                None | Some(Cow::Borrowed(_)) => {}
                Some(Cow::Owned(uri)) => drop(splice.replace(link.span, quote(&uri).into_bytes())),
            }
        }
        splice.finish()
    }

    fn change(&mut self, kind: ListKind, treatment: &Treatment<'_>, marks: &mut Marks) -> Result<(), HiddenReason> {
        if treatment.name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return Err(HiddenReason::TooLong);
        }
        let raw = std::str::from_utf8(self.item.bytes()).map_err(|_| HiddenReason::Unchangeable)?;
        let defined = define::define(&mut self.splice, raw, kind, treatment).map_err(|unusable| match unusable {
            Unusable::Definition => HiddenReason::Unchangeable,
            Unusable::RequiredHidden => HiddenReason::RequiredHidden,
        })?;
        let declared = treatment.arguments.iter().zip(&defined.declared).filter(|(_, declared)| **declared);
        declared.for_each(|(treated, _)| marks.mark(treated.watched));
        self.given.clone_from(&treatment.name);
        let tags = treatment.tags.iter().map(|tag| (*tag).to_owned());
        self.tags = (!treatment.tags.is_empty()).then(|| tags.collect());
        self.terms = (!defined.terms.is_plain()).then(|| Arc::new(defined.terms));
        Ok(())
    }
}
