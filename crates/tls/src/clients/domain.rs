//! The authorities of one trust domain and what they revoked.
//!
//! In flow PEM files (revocation lists in DER as well), out flows what a chain is verified against. A bundle takes
//! authorities only: a leaf among them would be one that signs for anybody.
//!
//! rustls-webpki asks one list for each certificate: the first of the issuer's name and scope. Several have the same when an
//! authority was renewed under its name, each list signed with another key; so chains are verified with one of each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_types::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, TrustAnchor};
use webpki::{BorrowedCertRevocationList, CertRevocationList};

use crate::certificate::{Facts, next_update};
use crate::der;
use crate::error::{LoadError, Reason};
use crate::files::{self, describe};

/// The files of one trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DomainFiles {
    /// PEM files with the certificates of the domain's authorities.
    pub bundles: Vec<PathBuf>,
    /// Lists of revoked certificates, in PEM (several in a file) or DER. A certificate whose issuer has a list here has
    /// to be on none of them, and its issuer's list has to be current.
    pub crls: Vec<PathBuf>,
    /// Whether every issuer of a chain must have a list here, and not only be checked where it has. Default false:
    /// authorities that live for minutes, as SPIRE's, make no lists.
    pub crl_required: bool,
}

/// The bytes of a domain's files.
#[derive(Hash)]
pub(super) struct Sources<'a> {
    files: &'a DomainFiles,
    bundles: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

/// What certificates of a trust domain are verified against.
pub(super) struct Domain {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// From when to when each of the anchors is valid.
    pub(super) validities: Vec<(Timestamp, Timestamp)>,
    pub(super) lists: Vec<CertRevocationList<'static>>,
    /// The places of the lists that are of the same issuer and scope.
    groups: Vec<Vec<usize>>,
    /// When each of the lists has to be replaced, and which file it is in.
    pub(super) list_ends: Vec<(Timestamp, PathBuf)>,
    pub(super) crl_required: bool,
    /// How many certificates the lists revoke.
    pub(super) revoked: usize,
    /// The files, each with the fingerprint of its content.
    pub(super) files: Vec<(PathBuf, u64)>,
}

/// Ways to choose one list of each issuer and scope: enough for four authorities that were renewed at the same time. Each
/// way costs a bad certificate another verification.
const SELECTIONS_MAX: usize = 16;

/// A certificate is valid until the end of the second that it names (RFC 5280 §4.1.2.5).
pub(super) const SECOND: Duration = Duration::from_secs(1);

// === impl Sources ===

impl<'a> Sources<'a> {
    pub(super) fn read(files: &'a DomainFiles) -> Result<Self, LoadError> {
        let read = |paths: &[PathBuf]| paths.iter().map(|path| files::read_file(path)).collect::<Result<Vec<_>, _>>();
        Ok(Self { files, bundles: read(&files.bundles)?, crls: read(&files.crls)? })
    }

    pub(super) fn parse(&self) -> Result<Domain, LoadError> {
        let mut domain = Domain {
            anchors: Vec::new(),
            validities: Vec::new(),
            lists: Vec::new(),
            groups: Vec::new(),
            list_ends: Vec::new(),
            crl_required: self.files.crl_required,
            revoked: 0,
            files: Vec::new(),
        };
        let files = self.files.bundles.iter().zip(&self.bundles).chain(self.files.crls.iter().zip(&self.crls));
        domain.files.extend(files.map(|(path, bytes)| (path.clone(), files::fingerprint(bytes))));
        for (path, bytes) in self.files.bundles.iter().zip(&self.bundles) {
            domain.add_bundle(path, bytes)?;
        }
        for (path, bytes) in self.files.crls.iter().zip(&self.crls) {
            domain.add_lists(path, bytes)?;
        }
        Ok(domain)
    }
}

// === impl Domain ===

impl Domain {
    fn add_bundle(&mut self, path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
        let refuse = |reason| LoadError { path: path.to_owned(), reason };
        for certificate in files::parse_certificates(path, bytes)? {
            let anchor = webpki::anchor_from_trusted_cert(&certificate);
            let anchor = anchor.map_err(|error| refuse(Reason::Authority(error)))?.to_owned();
            let facts = Facts::read(&certificate).map_err(|_| refuse(Reason::Authority(webpki::Error::BadDer)))?;
            if !facts.is_authority || facts.key_usage.is_some_and(|usage| !usage.signs_certificates()) {
                return Err(refuse(Reason::NotAuthority));
            }
            self.anchors.push(anchor);
            self.validities.push((facts.not_before, facts.not_after));
        }
        Ok(())
    }

    fn add_lists(&mut self, path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
        let refuse = |reason| LoadError { path: path.to_owned(), reason };
        for list in parse_lists(bytes).map_err(refuse)? {
            let end = next_update(&list).map_err(|_| refuse(Reason::Crl(webpki::Error::BadDer)))?;
            let list = BorrowedCertRevocationList::from_der(&list).map_err(|error| refuse(Reason::Crl(error)))?;
            self.revoked += list.into_iter().count();
            let list = list.to_owned().map_err(|error| refuse(Reason::Crl(error)))?;
            let list = CertRevocationList::from(list);
            let (at, same) = (self.lists.len(), |known: &CertRevocationList<'_>| {
                known.issuer() == list.issuer()
                    && known.issuing_distribution_point() == list.issuing_distribution_point()
            });
            match self.groups.iter_mut().find(|group| same(&self.lists[group[0]])) {
                Some(group) => group.push(at),
                None => self.groups.push(vec![at]),
            }
            if self.selections_count() > SELECTIONS_MAX {
                return Err(refuse(Reason::ManyCrls { max: SELECTIONS_MAX }));
            }
            self.lists.push(list);
            self.list_ends.push((end, path.to_owned()));
        }
        Ok(())
    }

    /// Returns every choice of one list for each issuer and scope; one empty choice when there are no lists.
    pub(super) fn selections(&self) -> impl Iterator<Item = Vec<&CertRevocationList<'static>>> {
        (0..self.selections_count()).map(|number| {
            let mut rest = number;
            let mut choose = |group: &Vec<usize>| {
                let at = group[rest % group.len()];
                rest /= group.len();
                &self.lists[at]
            };
            self.groups.iter().map(&mut choose).collect()
        })
    }

    fn selections_count(&self) -> usize {
        self.groups.iter().map(Vec::len).product()
    }

    /// Returns the first moment after `now` at which a list or an authority ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let lists = self.list_ends.iter().map(|(end, _)| *end);
        let authorities = self.validities.iter().map(|(_, not_after)| *not_after + SECOND);
        lists.chain(authorities).filter(|end| *end > now).min()
    }
}

fn parse_lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Reason> {
    if bytes.first() == Some(&der::SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let lists = lists.map_err(|error| Reason::Pem { problem: describe(&error) })?;
    if lists.is_empty() { Err(Reason::NoCrl) } else { Ok(lists) }
}
