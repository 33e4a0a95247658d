//! Why there is no authority, or no certificate of it.
//!
//! Readers are people who have what their enterprise's authority signed at hand: each message says which certificate, what it
//! lacks and what is needed. No message has anything of a key.

use std::time::Duration;

use quorate_types::Timestamp;

use super::{HOSTS_MAX, OPERATOR_LIFETIME_MAX, OPERATOR_LIFETIME_MIN};
use crate::pem::PemError;
use crate::trust::CHAIN_MAX;

/// Certificates and a key are no authority of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What was given is no PEM of a certificate or of a key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// There are none, or more than can be sent along.
    #[error("the chain of the authority has {count} certificates, and may have 1 to {}", CHAIN_MAX - 1)]
    Chain {
        /// How many.
        count: usize,
    },
    /// A certificate cannot sign.
    #[error("certificate {position} of the chain is not an authority's: {what}")]
    NoAuthority {
        /// Which one, from 1.
        position: usize,
        /// What it lacks.
        what: &'static str,
    },
    /// A certificate allows fewer authorities below it than there are.
    #[error(
        "certificate {position} of the chain allows {allowed} authorities below it, and there are {below}: have it signed \
         with a longer path length"
    )]
    PathLength {
        /// Which one, from 1.
        position: usize,
        /// What it allows.
        allowed: u64,
        /// What there is.
        below: u64,
    },
    /// The key is of a kind that is not known, or damaged.
    #[error("the key of the authority cannot be used: it must be rsa, ecdsa on p-256 or p-384, or ed25519, in pkcs #8")]
    Key,
    /// The key is another's.
    #[error("the key of the authority does not belong to the first certificate of its chain")]
    Mismatch,
    /// The name of the first certificate cannot be written.
    #[error("the subject of the authority's certificate cannot be copied into others: {0}")]
    Subject(&'static str),
    /// It is too large to be kept.
    #[error(
        "the authority takes {bytes} bytes with its key and chain, and a cluster keeps at most {most}: leave out what the \
         nodes do not need of the chain, or use a key of ecdsa or ed25519"
    )]
    Large {
        /// How many, sealed.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// A certificate that it issues is not taken by peers.
    #[error(
        "certificates of this authority would be refused by the nodes: {0}. It needs to be valid, signed by the next one \
         in the chain, without name constraints for uris, and with extended key usages that allow servers and clients"
    )]
    Unusable(#[source] webpki::Error),
    /// It could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// A certificate was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The clock is out of bounds.
    #[error("the clock says {now}, and certificates can have times from 1970 to 9999")]
    Clock {
        /// The time given.
        now: Timestamp,
    },
    /// The authority ended, or has not begun.
    #[error("the authority is not valid now: replace it (it is valid from {from} to {to})")]
    Ended {
        /// The first moment, as RFC 3339 writes it.
        from: String,
        /// The last one.
        to: String,
    },
    /// More names were asked for than a certificate has.
    #[error("a certificate is for up to {HOSTS_MAX} hosts, not {count}")]
    Hosts {
        /// How many.
        count: usize,
    },
    /// A life that no certificate of an operator has.
    #[error(
        "an operator's certificate lives for {OPERATOR_LIFETIME_MIN:?} to {OPERATOR_LIFETIME_MAX:?}, not {lifetime:?}"
    )]
    Lifetime {
        /// What was asked for.
        lifetime: Duration,
    },
    /// The certificate would not be taken by peers: the authority's own constraints forbid a name of it.
    #[error("the authority may not issue a certificate with these names: {0}")]
    Refused(#[source] webpki::Error),
    /// The key did not sign.
    #[error("the authority's key failed to sign")]
    Sign,
}
