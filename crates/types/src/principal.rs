//! Who calls: the composite principal and its digest.
//!
//! A principal is a tenant with an agent (the workload), a user, or both. Sessions, cursors,
//! parked calls and cached private answers belong to a principal through its
//! [`PrincipalDigest`], which is over (tenant, agent, issuer, subject) and so survives the
//! refresh of a token. Fields that later identity sources add to a principal must stay out of the
//! digest unless they say *who* it is.

use sha2::{Digest, Sha256};

use crate::TenantId;

/// A known caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The tenant that everything it owns belongs to.
    pub tenant: TenantId,
    /// The workload: a SPIFFE id, an API key's id, or the development identity.
    pub agent: Option<String>,
    /// The user on whose behalf the agent acts.
    pub user: Option<User>,
}

/// A user as an issuer names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The issuer that vouches for the subject.
    pub issuer: String,
    /// The subject, unique within its issuer.
    pub subject: String,
}

/// The first 16 bytes of SHA-256 over a principal's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalDigest(pub [u8; 16]);

// === impl Principal ===

impl Principal {
    /// Computes the digest that owns this principal's sessions and handles.
    ///
    /// Each part is length-prefixed, so that no two principals share an encoding.
    #[must_use]
    pub fn digest(&self) -> PrincipalDigest {
        let user = self.user.as_ref();
        let parts = [
            Some(self.tenant.as_str()),
            self.agent.as_deref(),
            user.map(|user| user.issuer.as_str()),
            user.map(|user| user.subject.as_str()),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            match part {
                Some(text) => {
                    hash.update((text.len() as u64 + 1).to_be_bytes());
                    hash.update(text.as_bytes());
                }
                None => hash.update(0_u64.to_be_bytes()),
            }
        }
        let full = hash.finalize();
        let mut digest = [0; 16];
        digest.copy_from_slice(&full[..16]);
        PrincipalDigest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(agent: Option<&str>, user: Option<(&str, &str)>) -> Principal {
        Principal {
            tenant: TenantId::default(),
            agent: agent.map(str::to_owned),
            user: user.map(|(issuer, subject)| User { issuer: issuer.to_owned(), subject: subject.to_owned() }),
        }
    }

    #[test]
    fn the_digest_tells_principals_apart_by_every_part() {
        let principals = [
            principal(None, None),
            principal(Some(""), None),
            principal(Some("a"), None),
            principal(Some("ab"), None),
            principal(Some("a"), Some(("b", ""))),
            principal(Some("a"), Some(("", "b"))),
            principal(None, Some(("a", "b"))),
            Principal { tenant: TenantId::new("other").expect("a valid name"), ..principal(Some("a"), None) },
        ];
        for (i, left) in principals.iter().enumerate() {
            for (j, right) in principals.iter().enumerate() {
                assert_eq!(left.digest() == right.digest(), i == j, "{left:?} {right:?}");
            }
        }
    }
}
