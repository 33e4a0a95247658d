//! Who calls: the composite principal and its digest.
//!
//! A principal is a tenant with an agent (the workload), a user, or both, and the chain of those who act for the user.
//! Sessions, cursors, parked calls and cached private answers belong to a principal through its [`PrincipalDigest`],
//! which is over who it is (tenant, agent, issuer, subject, delegation) and so survives the refresh of a token. What it
//! may do (groups, scopes) is for policy and stays out of the digest.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::{ResourceName, TenantId};

/// A known caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The tenant that everything it owns belongs to.
    pub tenant: TenantId,
    /// The workload: a SPIFFE id (`spiffe://DOMAIN/PATH`), the agent of an API key (a name), `ISSUER/SUBJECT` of a
    /// token that names a workload, or the development identity.
    pub agent: Option<String>,
    /// The user on whose behalf the agent acts.
    pub user: Option<User>,
    /// Who acts for the user, as the token's `act` claims say, the present actor first (RFC 8693 §4.1).
    pub delegation: Vec<Actor>,
    /// The groups that its issuers, or the tenant's own lists, put it into.
    pub groups: BTreeSet<String>,
    /// The OAuth scopes that its token or API key was given.
    pub scopes: BTreeSet<String>,
}

/// A user as an issuer names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The `Issuer` resource that vouches; policies name users as `NAME/SUBJECT`. It may be renamed, so it is no part
    /// of who the user is.
    pub source: ResourceName,
    /// The issuer as it calls itself (`iss`).
    pub issuer: String,
    /// The subject, unique within its issuer.
    pub subject: String,
}

/// One link of a delegation chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The issuer of the subject; the token's own when the claim names none.
    pub issuer: String,
    /// The subject, unique within its issuer.
    pub subject: String,
}

/// The first 16 bytes of SHA-256 over a principal's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalDigest(pub [u8; 16]);

// === impl Principal ===

impl Principal {
    /// Makes an agent of a tenant, without a user, groups or scopes.
    #[must_use]
    pub fn agent(tenant: TenantId, agent: impl Into<String>) -> Self {
        Self {
            tenant,
            agent: Some(agent.into()),
            user: None,
            delegation: Vec::new(),
            groups: BTreeSet::new(),
            scopes: BTreeSet::new(),
        }
    }

    /// Computes the digest that owns this principal's sessions and handles.
    ///
    /// Each part is length-prefixed, so that no two principals share an encoding.
    #[must_use]
    pub fn digest(&self) -> PrincipalDigest {
        let user = self.user.as_ref();
        let own = [
            Some(self.tenant.as_str()),
            self.agent.as_deref(),
            user.map(|user| user.issuer.as_str()),
            user.map(|user| user.subject.as_str()),
        ];
        let acting =
            self.delegation.iter().flat_map(|actor| [Some(actor.issuer.as_str()), Some(actor.subject.as_str())]);
        let mut hash = Sha256::new();
        for part in own.into_iter().chain(acting) {
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
        let source = ResourceName::new("corp").expect("a valid name");
        Principal {
            agent: agent.map(str::to_owned),
            user: user.map(|(issuer, subject)| User { source, issuer: issuer.to_owned(), subject: subject.to_owned() }),
            ..Principal::agent(TenantId::default(), "")
        }
    }

    fn acted(mut principal: Principal, chain: &[(&str, &str)]) -> Principal {
        let link = |(issuer, subject): &(&str, &str)| Actor { issuer: (*issuer).into(), subject: (*subject).into() };
        principal.delegation = chain.iter().map(link).collect();
        principal
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
            acted(principal(None, Some(("a", "b"))), &[("a", "c")]),
            acted(principal(None, Some(("a", "b"))), &[("a", "c"), ("a", "d")]),
            acted(principal(None, Some(("a", "b"))), &[("a", "d"), ("a", "c")]),
            Principal { tenant: TenantId::new("other").expect("a valid name"), ..principal(Some("a"), None) },
        ];
        for (i, left) in principals.iter().enumerate() {
            for (j, right) in principals.iter().enumerate() {
                assert_eq!(left.digest() == right.digest(), i == j, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn the_digest_survives_other_groups_and_scopes_and_a_renamed_issuer() {
        let before = principal(Some("a"), Some(("b", "c")));

        let mut after = before.clone();
        after.groups.insert("engineering".into());
        after.scopes.insert("tools:read".into());
        after.user.as_mut().expect("there is a user").source = ResourceName::new("renamed").expect("a valid name");

        assert_eq!(before.digest(), after.digest());
    }
}
