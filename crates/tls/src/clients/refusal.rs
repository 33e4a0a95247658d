//! Why a client certificate is refused.
//!
//! For the operator: whose certificate it claims to be, what is wrong, and a class for a metric's label. The client
//! learns nothing of it: whatever is wrong with a certificate, it gets the alert `certificate_unknown`, and without one
//! `certificate_required`. A claimed id is only that: most causes mean that nobody vouches for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate_types::Timestamp;
use quorate_types::units::format_duration;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, OtherError};

use super::verify::INTERMEDIATES_MAX;
use crate::spiffe::{InvalidSpiffeId, SpiffeId};

/// A client certificate was refused, or is not trusted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id in the certificate, when there is exactly one that is valid. Anybody may claim any.
    pub claimed: Option<SpiffeId>,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The listener requires a certificate and the client has none.
    #[error("there is none, and the listener requires one")]
    Missing,
    /// It, or a certificate that came with it, cannot be read.
    #[error("it cannot be read ({0})")]
    Malformed(&'static str),
    /// More certificates came with it than a chain has.
    #[error("{count} certificates came with it, more than {INTERMEDIATES_MAX}")]
    ChainTooLong {
        /// How many came.
        count: usize,
    },
    /// It has no URI among its names.
    #[error("it has no uri name, so no spiffe id")]
    NoSpiffeId,
    /// It has several URIs among its names; the standard allows exactly one.
    #[error("it has {count} uri names instead of one")]
    SeveralSpiffeIds {
        /// How many it has.
        count: usize,
    },
    /// Its URI is no SPIFFE id.
    #[error("its uri name \"{uri}\" {problem}")]
    InvalidSpiffeId {
        /// The URI, escaped and cut: a stranger wrote it.
        uri: String,
        /// What is wrong with it.
        problem: InvalidSpiffeId,
    },
    /// Its id names a trust domain and no workload.
    #[error("its spiffe id has no path, so it names a trust domain and no workload")]
    NoPath,
    /// Its trust domain is none that the listener trusts.
    #[error("its trust domain is not configured")]
    UnknownTrustDomain,
    /// It, or one above it, is not for this use.
    #[error("{0}")]
    BadUsage(&'static str),
    /// No authority of its trust domain's bundle vouches for it.
    #[error("no authority of its trust domain has signed it")]
    UnknownIssuer,
    /// The chain breaks a constraint of an authority.
    #[error("its chain breaks a constraint ({0})")]
    BadChain(&'static str),
    /// A signature of the chain uses a key or an algorithm that is not supported.
    #[error("its chain has a key or a signature algorithm that is not supported")]
    UnsupportedAlgorithm,
    /// It, or one above it, is too old.
    #[error("it, or an authority of its chain, expired {} ago", seconds(*since))]
    Expired {
        /// How long ago.
        since: Duration,
    },
    /// It, or one above it, begins later.
    #[error("it, or an authority of its chain, is not valid for another {}", seconds(*wait))]
    NotYetValid {
        /// How long it takes.
        wait: Duration,
    },
    /// It, or one above it, was revoked.
    #[error("it, or an authority of its chain, is revoked")]
    Revoked,
    /// The revocation list is too old to tell.
    #[error("the revocation list of its issuer, or of an authority of its chain, expired {} ago", seconds(*since))]
    CrlExpired {
        /// How long ago.
        since: Duration,
    },
    /// There is no revocation list to tell, and one is required.
    #[error("its issuer, or an authority of its chain, has no revocation list, and one is required")]
    CrlMissing,
    /// The revocation list is not the issuer's.
    #[error("the revocation list of its issuer, or of an authority of its chain, is not signed by it")]
    CrlUntrusted,
    /// The client does not hold the certificate's key.
    #[error("the client does not prove to hold its key")]
    NotProven,
}

// === impl Cause ===

impl Cause {
    /// Tells whether another moment alone could turn it.
    pub(super) const fn depends_on_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYetValid { .. } | Self::CrlExpired { .. })
    }
}

/// Bytes of a refused URI that are kept for the log.
const URI_BYTES_MAX: usize = 128;

// === impl Refusal ===

impl Refusal {
    /// Makes a refusal of nobody in particular.
    pub(super) fn unnamed(cause: Cause) -> Self {
        Self { claimed: None, cause }
    }

    /// Returns the class, as the label of a metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.cause {
            Cause::Missing => "no_certificate",
            Cause::Malformed(_) => "malformed",
            Cause::ChainTooLong { .. } | Cause::BadChain(_) => "bad_chain",
            Cause::NoSpiffeId => "no_spiffe_id",
            Cause::SeveralSpiffeIds { .. } => "several_spiffe_ids",
            Cause::InvalidSpiffeId { .. } | Cause::NoPath => "invalid_spiffe_id",
            Cause::UnknownTrustDomain => "unknown_trust_domain",
            Cause::BadUsage(_) => "bad_usage",
            Cause::UnknownIssuer => "unknown_issuer",
            Cause::UnsupportedAlgorithm => "unsupported_algorithm",
            Cause::Expired { .. } => "expired",
            Cause::NotYetValid { .. } => "not_yet_valid",
            Cause::Revoked => "revoked",
            Cause::CrlExpired { .. } => "crl_expired",
            Cause::CrlMissing => "crl_missing",
            Cause::CrlUntrusted => "crl_untrusted",
            Cause::NotProven => "not_proven",
        }
    }

    /// Finds the refusal in what a handshake failed with.
    pub(crate) fn find(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::NoCertificatesPresented => Some(Self::unnamed(Cause::Missing)),
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref().cloned(),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client certificate ")?;
        if let Some(id) = &self.claimed {
            write!(f, "of {id} ")?;
        }
        write!(f, "is refused: {}", self.cause)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

// === impl Cause ===

impl Cause {
    pub(super) fn invalid_id(uri: &[u8], problem: InvalidSpiffeId) -> Self {
        let cut = &uri[..uri.len().min(URI_BYTES_MAX)];
        let more = if cut.len() < uri.len() { "…" } else { "" };
        Self::InvalidSpiffeId { uri: format!("{}{more}", cut.escape_ascii()), problem }
    }
}

impl From<webpki::Error> for Cause {
    #[expect(deprecated, reason = "webpki may still return the variants that it replaced")]
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { time, not_after } => Self::Expired { since: between(not_after, time) },
            E::CertNotValidYet { time, not_before } => Self::NotYetValid { wait: between(time, not_before) },
            E::CertRevoked => Self::Revoked,
            E::CrlExpired { time, next_update } => Self::CrlExpired { since: between(next_update, time) },
            E::UnknownRevocationStatus => Self::CrlMissing,
            E::InvalidCrlSignatureForPublicKey
            | E::IssuerNotCrlSigner
            | E::UnsupportedCrlSignatureAlgorithm
            | E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKey
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Self::CrlUntrusted,
            E::UnknownIssuer | E::InvalidSignatureForPublicKey | E::CertDistrusted => Self::UnknownIssuer,
            E::UnsupportedSignatureAlgorithm
            | E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKey
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::UnsupportedAlgorithm,
            E::CaUsedAsEndEntity => Self::BadUsage("it is the certificate of an authority"),
            E::EndEntityUsedAsCa => Self::BadUsage("a certificate of its chain is not for signing certificates"),
            E::EmptyEkuExtension | E::RequiredEkuNotFound | E::RequiredEkuNotFoundContext(_) => {
                Self::BadUsage("it, or one of its chain, is not for authenticating clients")
            }
            E::NameConstraintViolation => Self::BadChain("names"),
            E::PathLenConstraintViolated => Self::BadChain("length"),
            E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded => Self::BadChain("complexity"),
            E::UnsupportedCriticalExtension => Self::Malformed("a critical extension is not supported"),
            E::UnsupportedCertVersion => Self::Malformed("it is not of version 3"),
            E::InvalidCertValidity => Self::Malformed("it ends before it begins"),
            // What is left is about encodings.
            _ => Self::Malformed("an encoding is invalid"),
        }
    }
}

fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    let at = |time: UnixTime| Timestamp::from_millis(time.as_secs().saturating_mul(1000));
    at(later).since(at(earlier))
}

/// Writes a time as people do; what is below a second is noise here.
fn seconds(time: Duration) -> String {
    format_duration(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_uri_is_shown_escaped_and_cut() {
        let hostile = Cause::invalid_id(b"http://\n\x1b[2J\xff\"", InvalidSpiffeId::Scheme).to_string();
        assert_eq!(hostile, r#"its uri name "http://\n\x1b[2J\xff\"" does not begin with `spiffe://`"#);
        let long = Cause::invalid_id(&[b'a'; 5000], InvalidSpiffeId::Scheme).to_string();
        assert!(long.len() < 200 && long.contains("a…\""), "{long}");
    }

    #[test]
    fn a_refusal_survives_its_way_through_rustls() {
        let claimed = SpiffeId::parse("spiffe://d/p").ok();
        let refusal = Refusal { claimed, cause: Cause::Expired { since: Duration::from_millis(7_200_300) } };
        assert_eq!(Refusal::find(&refusal.clone().into()), Some(refusal.clone()));
        let shown =
            "the client certificate of spiffe://d/p is refused: it, or an authority of its chain, expired 2h ago";
        assert_eq!(refusal.to_string(), shown);
        let none = Refusal::find(&rustls::Error::NoCertificatesPresented).unwrap();
        assert_eq!(none.reason(), "no_certificate");
        assert_eq!(Refusal::find(&rustls::Error::DecryptError), None);
    }
}
