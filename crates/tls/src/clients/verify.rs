//! Verifies one client certificate against the bundle of its trust domain.
//!
//! The leaf is read first: its one URI is its SPIFFE id, and the id's trust domain chooses the authorities, so that one
//! domain's never vouch for another's workloads. Then the chain is built by rustls-webpki: signatures, validity, extended
//! key usage, constraints, revocation of every link. What it leaves to others is checked on the path that it found.
//!
//! X509-SVID §4, §5 (what a leaf and an authority must have), RFC 5280 §6.1 (paths).

use quorate_types::Timestamp;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy};
use webpki::{KeyUsage, VerifiedPath};

use super::Set;
use super::domain::Domain;
use super::refusal::{Cause, Refusal};
use crate::certificate::Facts;
use crate::spiffe::SpiffeId;

/// Certificates that may come with a client's own: as many as rustls-webpki follows. More would only be work: it tries
/// them in every order.
pub(super) const INTERMEDIATES_MAX: usize = 6;

/// Returns the id of the workload that a certificate claims to be, and what else it says.
pub(super) fn read_leaf(leaf: &[u8]) -> Result<(SpiffeId, Facts<'_>), Refusal> {
    let facts = Facts::read(leaf).map_err(|_| Refusal::unnamed(Cause::Malformed("an encoding is invalid")))?;
    let id = read_id(&facts).map_err(Refusal::unnamed)?;
    let usage = match facts.key_usage {
        _ if facts.is_authority => Err("it is the certificate of an authority"),
        None => Err("it has no key usage"),
        Some(usage) if !usage.signs_handshakes() => Err("its key usage lacks digitalSignature"),
        Some(usage) if usage.signs_certificates() => Err("its key usage has keyCertSign"),
        Some(usage) if usage.signs_lists() => Err("its key usage has cRLSign"),
        Some(_) => Ok(()),
    };
    match usage {
        Ok(()) => Ok((id, facts)),
        Err(problem) => Err(Refusal { claimed: Some(id), cause: Cause::BadUsage(problem) }),
    }
}

fn read_id(facts: &Facts<'_>) -> Result<SpiffeId, Cause> {
    let uri = match *facts.uris.as_slice() {
        [] => return Err(Cause::NoSpiffeId),
        [uri] => uri,
        ref several => return Err(Cause::SeveralSpiffeIds { count: several.len() }),
    };
    // What is not text has a character that no id has.
    let text = String::from_utf8_lossy(uri);
    let id = SpiffeId::parse(&text).map_err(|problem| Cause::invalid_id(uri, problem))?;
    if id.path().is_empty() { Err(Cause::NoPath) } else { Ok(id) }
}

/// Verifies a leaf and the certificates that came with it.
pub(super) fn verify(
    set: &Set,
    algorithms: &WebPkiSupportedAlgorithms,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Refusal> {
    if intermediates.len() > INTERMEDIATES_MAX {
        return Err(Refusal::unnamed(Cause::ChainTooLong { count: intermediates.len() }));
    }
    let entity = EndEntityCert::try_from(leaf).map_err(|error| Refusal::unnamed(error.into()))?;
    let (id, _) = read_leaf(leaf)?;
    let result = match set.domains.get(id.trust_domain()) {
        Some(domain) => verify_chain(domain, algorithms, &entity, intermediates, now).map_err(Cause::from),
        None => Err(Cause::UnknownTrustDomain),
    };
    result.map_err(|cause| Refusal { claimed: Some(id), cause })
}

/// Verifies with each choice of lists in turn: one with which everything is right is enough, because no choice leaves
/// out that a list revokes a link (see [`check_path`]).
fn verify_chain(
    domain: &Domain,
    algorithms: &WebPkiSupportedAlgorithms,
    entity: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let unknown = if domain.crl_required { UnknownStatusPolicy::Deny } else { UnknownStatusPolicy::Allow };
    let check = |path: &VerifiedPath<'_>| check_path(domain, path, now);
    let mut refused: Option<webpki::Error> = None;
    for lists in domain.selections() {
        let revocation = match RevocationOptionsBuilder::new(&lists) {
            Ok(builder) => Some(
                builder
                    .with_depth(RevocationCheckDepth::Chain)
                    .with_status_policy(unknown)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            ),
            Err(_no_lists) if domain.crl_required => return Err(webpki::Error::UnknownRevocationStatus),
            Err(_no_lists) => None,
        };
        let (anchors, usage) = (domain.anchors.as_slice(), KeyUsage::client_auth());
        match entity.verify_for_usage(algorithms.all, anchors, intermediates, now, usage, revocation, Some(&check)) {
            Ok(_path) => return Ok(()),
            // Most choices fail for another key's list; an operator looks for what the right one said.
            Err(error) if refused.as_ref().is_none_or(|known| weight(&error) > weight(known)) => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.expect("there is one choice at least"))
}

/// Tells how much an error says of a certificate, among those of several choices of lists.
fn weight(error: &webpki::Error) -> u8 {
    match error {
        webpki::Error::CertRevoked => 2,
        webpki::Error::CrlExpired { .. } => 1,
        _ => 0,
    }
}

/// Checks what rustls-webpki does not: that authorities are valid and may sign, and that no list at all revokes a link.
fn check_path(domain: &Domain, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), webpki::Error> {
    let at = domain.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
    let (not_before, not_after) = domain.validities[at.expect("the path ends at an anchor that was given")];
    let now_ms = Timestamp::from_millis(now.as_secs().saturating_mul(1000));
    if now_ms < not_before {
        return Err(webpki::Error::CertNotValidYet { time: now, not_before: unix_time(not_before) });
    }
    if now_ms > not_after {
        return Err(webpki::Error::CertExpired { time: now, not_after: unix_time(not_after) });
    }
    for authority in path.intermediate_certificates() {
        let der = authority.der();
        let facts = Facts::read(&der).map_err(|_| webpki::Error::BadDer)?;
        if !facts.key_usage.is_some_and(|usage| usage.signs_certificates()) {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
    }
    let links = path.intermediate_certificates().map(|link| (link.issuer(), link.serial()));
    for (issuer, serial) in links.chain([(path.end_entity().issuer(), path.end_entity().serial())]) {
        // rustls-webpki asks one of them.
        for list in domain.lists.iter().filter(|list| list.issuer() == issuer) {
            if list.find_serial(serial)?.is_some() {
                return Err(webpki::Error::CertRevoked);
            }
        }
    }
    Ok(())
}

/// Converts a point in time for rustls, which counts in seconds.
pub(super) fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.as_millis()))
}

/// Reads the SPIFFE id of a leaf certificate in DER, without asking who issued it: for tools, and to tell whose
/// certificate a file holds.
///
/// # Errors
/// [`Refusal`] when the certificate cannot be read, does not have exactly one SPIFFE id, or is no leaf by its usages.
pub fn claimed_id(certificate: &[u8]) -> Result<SpiffeId, Refusal> {
    read_leaf(certificate).map(|(id, _)| id)
}
