//! What a checked token says, and whether it may be used here and now.
//!
//! Made once per token by its issuer's rules, and kept as long as it is true. What depends on the request (the resource
//! it is for, the certificate it comes with, the time) is asked of it each time.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_types::{Principal, ResourceName, Timestamp};

use crate::refused::Why;

/// Bytes of the SHA-256 thumbprint of a certificate.
pub const THUMBPRINT_BYTES: usize = 32;

/// A checked token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The `Issuer` resource by whose rules it was checked.
    pub issuer: ResourceName,
    /// Who calls: tenant, user or agent or both, delegation, groups, scopes.
    pub principal: Principal,
    /// For whom it was issued (`aud`); empty when an introspection endpoint says nothing of it.
    pub audiences: BTreeSet<String>,
    /// When it ends, by the issuer's clock; requests are accepted until the allowed skew after it.
    pub expires: Timestamp,
    pub(crate) terms: Terms,
}

/// What is asked of a checked token each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// When it begins, by the issuer's clock.
    pub(crate) not_before: Option<Timestamp>,
    /// When it is too old, by the issuer's clock.
    pub(crate) too_old_at: Option<Timestamp>,
    pub(crate) clock_skew: Duration,
    /// The certificate that it is bound to.
    pub(crate) certificate: Option<[u8; THUMBPRINT_BYTES]>,
}

// === impl Verified ===

impl Verified {
    /// Returns when requests with it are no longer accepted, by our clock: its end and the allowed skew, or sooner when
    /// it is too old by then. For whoever keeps a stream open on its behalf.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        let ends = self.terms.too_old_at.map_or(self.expires, |at| at.min(self.expires));
        ends + self.terms.clock_skew
    }
}

// === impl Terms ===

impl Terms {
    /// Checks the time at `now`.
    pub(crate) fn check_time(&self, expires: Timestamp, now: Timestamp) -> Result<(), Why> {
        if now >= expires + self.clock_skew {
            return Err(Why::Expired);
        }
        if self.too_old_at.is_some_and(|at| now >= at + self.clock_skew) {
            return Err(Why::TooOld);
        }
        match self.not_before {
            Some(begins) if now + self.clock_skew < begins => Err(Why::NotYetValid),
            _ => Ok(()),
        }
    }

    /// Checks that a token that is bound to a certificate comes with that one.
    pub(crate) fn check_binding(&self, presented: Option<&[u8; THUMBPRINT_BYTES]>) -> Result<(), Why> {
        match (&self.certificate, presented) {
            (None, _) => Ok(()),
            (Some(bound), Some(presented)) if bound == presented => Ok(()),
            (Some(_), _) => Err(Why::Binding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn terms(not_before: Option<u64>, too_old_at: Option<u64>) -> Terms {
        Terms {
            not_before: not_before.map(at),
            too_old_at: too_old_at.map(at),
            clock_skew: Duration::from_secs(10),
            certificate: None,
        }
    }

    #[test]
    fn a_token_is_valid_from_its_beginning_to_its_end_give_or_take_the_skew() {
        let whole = terms(Some(100), Some(150));
        for (now, expected) in [
            (89, Err(Why::NotYetValid)),
            (90, Ok(())),
            (159, Ok(())),
            (160, Err(Why::TooOld)),
            (210, Err(Why::Expired)),
            (u64::MAX / 1000, Err(Why::Expired)),
        ] {
            assert_eq!(whole.check_time(at(200), at(now)), expected, "at {now}");
        }
        assert_eq!(terms(None, None).check_time(at(200), at(0)), Ok(()));
        assert_eq!(terms(None, None).check_time(Timestamp::from_millis(u64::MAX), at(1)), Ok(()));
    }

    #[test]
    fn a_bound_token_needs_its_own_certificate() {
        let bound = Terms { certificate: Some([1; 32]), ..terms(None, None) };
        assert_eq!(bound.check_binding(Some(&[1; 32])), Ok(()));
        assert_eq!(bound.check_binding(Some(&[2; 32])), Err(Why::Binding));
        assert_eq!(bound.check_binding(None), Err(Why::Binding));
        assert_eq!(terms(None, None).check_binding(Some(&[2; 32])), Ok(()));
    }
}
