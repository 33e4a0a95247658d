//! Who a client is, as its handshake proved it, and whether that still holds.
//!
//! A connection lives longer than what it was accepted by: certificates end, lists revoke them, domains lose their
//! authorities. [`PeerIdentity::still_trusted`] is asked for each request; it compares a number and times, and verifies
//! the chain again only when they say that the answer may have changed. A refusal that depends on the time is asked
//! about again: clocks go wrong for a moment, and connections stay.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_types::Timestamp;
use rustls::pki_types::CertificateDer;

use super::domain::SECOND;
use super::refusal::{Cause, Refusal};
use super::verify::{read_leaf, unix_time, verify};
use super::{Set, Trust};
use crate::certificate::Facts;
use crate::spiffe::SpiffeId;

/// How long a refusal for the time alone holds without another look: a minute, in which a connection that goes on
/// asking costs one verification.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A workload that proved its SPIFFE id by its certificate.
pub struct PeerIdentity {
    id: SpiffeId,
    thumbprint: [u8; 32],
    serial: String,
    not_after: Timestamp,
    /// The leaf, and what came with it.
    chain: Vec<CertificateDer<'static>>,
    /// When each certificate of the chain ends, as far as they can be read.
    ends: Vec<Timestamp>,
    trust: Arc<Trust>,
    checked: Mutex<Checked>,
}

/// The last verification.
struct Checked {
    generation: u64,
    /// When it was made.
    at: Timestamp,
    /// When its outcome may change though no file does.
    until: Timestamp,
    outcome: Result<(), Refusal>,
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// Makes the identity of a chain, leaf first, that was verified in this generation or a later one.
    pub(crate) fn new(
        trust: Arc<Trust>,
        generation: u64,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let leaf = chain.first().ok_or(Refusal { claimed: None, cause: Cause::Missing })?;
        let (id, facts) = read_leaf(leaf)?;
        let thumbprint = ring::digest::digest(&ring::digest::SHA256, leaf);
        let ends = chain.iter().filter_map(|certificate| Facts::read(certificate).ok());
        let ends: Vec<_> = ends.map(|facts| end_of(facts.not_after)).collect();
        let until = next_change(&trust.current.load(), &id, &ends, now);
        Ok(Self {
            thumbprint: thumbprint.as_ref().try_into().expect("SHA-256 has 32 bytes"),
            serial: facts.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            not_after: facts.not_after,
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            ends,
            trust,
            checked: Mutex::new(Checked { generation, at: now, until, outcome: Ok(()) }),
            id,
        })
    }

    /// Returns the SPIFFE id; its trust domain is in it.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Returns the SHA-256 of the certificate in DER: what tokens that are bound to it carry in base64url as
    /// `cnf.x5t#S256` (RFC 8705 §3.1).
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Returns the serial number in hexadecimal, as revocation lists are read by people.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns the last second in which the certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Tells whether the certificate ended. [`Self::still_trusted`] asks this too, and more.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= end_of(self.not_after)
    }

    /// Tells whether a handshake would take the certificate at `now`: for each request on a connection that stays.
    ///
    /// Cheap while no file changed and nothing ended; otherwise the chain is verified, once for all requests of the
    /// connection. A certificate that was refused stays so until a file of its server changes, but for what depends on
    /// the time: that is looked at again each minute, and at once when the clock goes back.
    ///
    /// # Errors
    /// [`Refusal`] as at a handshake.
    pub fn still_trusted(&self, now: Timestamp) -> Result<(), Refusal> {
        let set = self.trust.current.load();
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.generation != set.generation || checked.is_due(now) {
            let [leaf, intermediates @ ..] = self.chain.as_slice() else {
                return Err(Refusal { claimed: None, cause: Cause::Missing });
            };
            let outcome = verify(&set, &self.trust.algorithms, leaf, intermediates, unix_time(now));
            let until = next_change(&set, &self.id, &self.ends, now);
            *checked = Checked { generation: set.generation, at: now, until, outcome };
        }
        checked.outcome.clone()
    }
}

// === impl Checked ===

impl Checked {
    /// Tells whether the outcome may be another at `now`, though no file changed.
    fn is_due(&self, now: Timestamp) -> bool {
        match &self.outcome {
            Ok(()) => now >= self.until,
            Err(refusal) => refusal.cause.depends_on_time() && (now < self.at || now >= self.at + LOOK_AGAIN),
        }
    }
}

/// The same certificate is the same identity.
impl PartialEq for PeerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint
    }
}

impl Eq for PeerIdentity {}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("id", &self.id)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Returns the first moment after the last valid second.
fn end_of(not_after: Timestamp) -> Timestamp {
    not_after + SECOND
}

/// Returns the first moment after `now` at which something ends that the chain may depend on.
fn next_change(set: &Set, id: &SpiffeId, ends: &[Timestamp], now: Timestamp) -> Timestamp {
    let of_domain = set.domains.get(id.trust_domain()).and_then(|domain| domain.next_end(now));
    let of_chain = ends.iter().copied().filter(|end| *end > now);
    of_chain.chain(of_domain).min().unwrap_or(Timestamp::from_millis(u64::MAX))
}
