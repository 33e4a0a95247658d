//! Names of what callers show, for records and log lines of the operator.
//!
//! In: proofs that were checked, or a refusal of them. Out: [`Named`]: the kind of what was shown and a name by which an
//! operator finds it, never the credential. What nobody vouches for has no name here: a stranger could put anything into
//! one. A SPIFFE id of a refused certificate is the exception, where its trust domain is known: it has the form of an id,
//! and is what the certificate claims.

use quorate_audit::Text;
use quorate_identity::api_key;
use quorate_tls::{Cause, Refusal, SpiffeId};
use quorate_types::ResourceName;

use crate::callers::Proofs;

/// The kind and name of one credential, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `api_key`, `token`, `certificate` or `several`.
    pub method: &'static str,
    /// `ApiKey/NAME ID`, `Issuer/NAME`, a SPIFFE id; several with a comma between them.
    pub name: Text,
}

// === impl Named ===

impl Named {
    /// Names an API key by its document and its visible part.
    pub(crate) fn key(document: &str, id: api_key::Id) -> Self {
        Self { method: "api_key", name: format!("ApiKey/{document} {id}").into() }
    }

    /// Names a token by whose rules it was checked.
    pub(crate) fn token(issuer: &ResourceName) -> Self {
        Self { method: "token", name: format!("Issuer/{issuer}").into() }
    }

    /// Names a certificate by its SPIFFE id.
    pub(crate) fn certificate(id: &SpiffeId) -> Self {
        Self { method: "certificate", name: id.to_string().into() }
    }

    /// Names a refused certificate by the id that it claims, where its trust domain is known.
    pub(crate) fn of_refusal(refusal: &Refusal) -> Option<Self> {
        match refusal.cause {
            Cause::UnknownTrustDomain => None,
            _ => refusal.claimed.as_ref().map(Self::certificate),
        }
    }

    /// Names all that a request proved.
    pub(crate) fn of(proofs: &Proofs<'_>) -> Option<Self> {
        let certificate = proofs.certificate.as_ref().map(|(identity, _)| Self::certificate(identity.id()));
        let key = proofs.key.map(|key| Self::key(key.name, key.id));
        let token = proofs.token.as_ref().map(|token| Self::token(&token.issuer));
        [certificate, key, token].into_iter().flatten().reduce(Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self { method: "several", name: format!("{}, {}", self.name.as_str(), other.name.as_str()).into() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(cause: Cause) -> Refusal {
        Refusal { claimed: SpiffeId::parse("spiffe://example.org/ci").ok(), cause }
    }

    #[test]
    fn each_kind_of_credential_has_a_name_that_an_operator_finds() {
        let id: api_key::Id = "abcdefghijkl".parse().expect("an id");
        let corp = ResourceName::new("corp").expect("a valid name");
        let spiffe = SpiffeId::parse("spiffe://example.org/ci").expect("an id");
        let cases = [
            (Named::key("ci", id), "api_key", "ApiKey/ci abcdefghijkl"),
            (Named::token(&corp), "token", "Issuer/corp"),
            (Named::certificate(&spiffe), "certificate", "spiffe://example.org/ci"),
            (Named::key("ci", id).and(Named::token(&corp)), "several", "ApiKey/ci abcdefghijkl, Issuer/corp"),
        ];
        for (named, method, name) in cases {
            assert_eq!((named.method, named.name.as_str()), (method, name));
        }
    }

    #[test]
    fn a_certificate_of_an_unknown_trust_domain_has_no_name() {
        assert_eq!(Named::of_refusal(&refusal(Cause::UnknownTrustDomain)), None);
        assert_eq!(Named::of_refusal(&Refusal { claimed: None, cause: Cause::Missing }), None);
        for cause in [Cause::Revoked, Cause::UnknownIssuer, Cause::Expired { since: Duration::from_secs(1) }] {
            let named = Named::of_refusal(&refusal(cause)).expect("a name");
            assert_eq!(named.name.as_str(), "spiffe://example.org/ci");
        }
    }
}
