//! What a reload made of the files of a trust domain, for operators: which files are others, and how much is in them.
//!
//! Two states of a domain go in, numbers and paths go out. Authorities are told apart by their name and key; of
//! revocation lists and what they revoke only numbers are compared, since a list of a million serials is kept once.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::TrustAnchor;

use super::domain::Domain;
use crate::spiffe::TrustDomain;

/// What is different in a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustChange {
    /// The domain.
    pub domain: TrustDomain,
    /// The files that are not as they were.
    pub files: Vec<PathBuf>,
    /// Authorities that are trusted now.
    pub authorities: usize,
    /// Those among them that were not.
    pub authorities_added: usize,
    /// Those that were trusted and are not.
    pub authorities_removed: usize,
    /// Revocation lists, before and now.
    pub lists: (usize, usize),
    /// Certificates that the lists revoke, before and now.
    pub revoked: (usize, usize),
}

// === impl TrustChange ===

impl TrustChange {
    pub(super) fn between(domain: &TrustDomain, before: &Domain, now: &Domain) -> Self {
        let known = |domain: &Domain| domain.anchors.iter().cloned().collect::<HashSet<TrustAnchor<'static>>>();
        let (old, new) = (known(before), known(now));
        let changed = now.files.iter().filter(|file| !before.files.contains(file));
        Self {
            domain: domain.clone(),
            files: changed.map(|(path, _)| path.clone()).collect(),
            authorities: new.len(),
            authorities_added: new.difference(&old).count(),
            authorities_removed: old.difference(&new).count(),
            lists: (before.lists.len(), now.lists.len()),
            revoked: (before.revoked, now.revoked),
        }
    }
}

impl fmt::Display for TrustChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, authorities, authorities_added: added, authorities_removed: removed, .. } = self;
        write!(f, "trust domain {domain}: authorities {authorities} ({added} added, {removed} removed)")?;
        for (what, (before, now)) in [("revocation lists", self.lists), ("revoked certificates", self.revoked)] {
            write!(f, ", {what} {now} (before {before})")?;
        }
        Ok(())
    }
}
