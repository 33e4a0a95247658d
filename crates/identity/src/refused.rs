//! Why a token is not accepted, for the operator; a stranger gets a class.
//!
//! A [`Refused`] says which issuer judged, where one did, and a [`Why`]. Its text is for logs of the operator: it names
//! claims of the configuration and never what stands in them; of a token's own content only the `iss` of an unknown
//! issuer is repeated, shortened and escaped, because without it nobody can tell which `Issuer` is missing.

use std::fmt;

use quorate_types::{Code, ResourceName};

/// The most characters of a stranger's text that are repeated.
const SHOWN_CHARS_MAX: usize = 128;

/// A token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The `Issuer` resource whose rules said so; none when the token is of no known issuer.
    pub issuer: Option<ResourceName>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It has too many bytes.
    #[error("the token has {bytes} bytes, at most {max} are read")]
    Oversized {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// It is no JWT in the compact form, or a part of it is not what it should be.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// A name stands twice in its header or claims.
    #[error("a name stands twice in the token's {0}")]
    Duplicate(&'static str),
    /// It is encrypted (JWE), or a token within a token.
    #[error("the token is encrypted or nested, and only signed ones are read")]
    Nested,
    /// Its header demands an extension (`crit`, RFC 7515 §4.1.11).
    #[error("the token's header demands an extension")]
    Critical,
    /// It is of another kind (`typ`), for example a logout token.
    #[error("the token's typ is not that of an access token")]
    Kind,
    /// No `Issuer` takes it.
    #[error("no Issuer has the token's iss {iss:?}")]
    UnknownIssuer {
        /// What the token says, shortened; empty for an opaque token.
        iss: String,
    },
    /// Its algorithm is none of its issuer's.
    #[error("the token's algorithm is not among those of the issuer")]
    Algorithm,
    /// Its key is none of its issuer's.
    #[error("no key of the issuer has the token's kid and fits its algorithm")]
    UnknownKey,
    /// It does not say which of several keys it is signed with.
    #[error("several keys of the issuer fit the token, and its kid does not tell them apart")]
    AmbiguousKey,
    /// Its signature is not of its key.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is no longer valid.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet, or was issued in the future.
    #[error("the token is not valid yet: check the clocks of the issuer and of this node")]
    NotYetValid,
    /// It was issued too long ago, whatever its `exp` says.
    #[error("the token was issued longer ago than age_max")]
    TooOld,
    /// It is for another resource.
    #[error("the token's aud is not {expected:?}")]
    Audience {
        /// What it should be, or one of.
        expected: String,
    },
    /// A claim is missing, or not what the configuration demands of it.
    #[error("the token's claim {name:?} is missing or not what is demanded of it")]
    Claim {
        /// The claim, as the configuration or a specification names it.
        name: String,
    },
    /// Its tenant is none that the issuer may speak for.
    #[error("the token's claim {name:?} names no tenant that the issuer may speak for")]
    Tenant {
        /// The claim that names tenants.
        name: String,
    },
    /// It is bound to a client certificate, and was presented without that one (RFC 8705 §3).
    #[error("the token is bound to another client certificate")]
    Binding,
    /// It is bound to nobody, and its issuer's tokens have to be.
    #[error("the token is not bound to a client certificate, and those of its issuer have to be")]
    Unbound,
    /// It is bound to something that is not checked here, for example DPoP (RFC 9449).
    #[error("the token is bound to its sender in a way that is not supported")]
    UnsupportedBinding,
    /// Its issuer says that it is not active: unknown, revoked or expired (RFC 7662 §2.2).
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// The issuer's keys or its introspection cannot be had: nobody can judge the token now.
    #[error("the issuer cannot be asked now: {0}")]
    Unavailable(&'static str),
}

// === impl Refused ===

impl Refused {
    /// Returns the class: [`Code::Unavailable`] when nobody can judge now (a 503 to the caller, who keeps the token),
    /// [`Code::Unauthenticated`] for all else.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.why {
            Why::Unavailable(_) => Code::Unavailable,
            _ => Code::Unauthenticated,
        }
    }

    /// Returns the reason as a label of metrics and audit records.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.why.reason()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(f, "issuer {issuer}: {}", self.why),
            None => self.why.fmt(f),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

// === impl Why ===

impl Why {
    pub(crate) fn claim(name: impl Into<String>) -> Self {
        Self::Claim { name: name.into() }
    }

    pub(crate) fn unknown_issuer(iss: &str) -> Self {
        Self::UnknownIssuer { iss: iss.chars().take(SHOWN_CHARS_MAX).collect() }
    }

    /// Returns the reason as a label: one of a fixed set.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::Malformed(_) => "malformed",
            Self::Duplicate(_) => "duplicate_claim",
            Self::Nested => "nested",
            Self::Critical => "critical",
            Self::Kind => "kind",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooOld => "too_old",
            Self::Audience { .. } => "audience",
            Self::Claim { .. } => "claim",
            Self::Tenant { .. } => "tenant",
            Self::Binding => "binding",
            Self::Unbound => "unbound",
            Self::UnsupportedBinding => "unsupported_binding",
            Self::Inactive => "inactive",
            Self::Unavailable(_) => "keys_unavailable",
        }
    }

    /// Tells whether the token will be refused for the same reason whenever and with whatever it comes again, as long
    /// as its issuer's keys and rules are the same.
    pub(crate) const fn is_lasting(&self) -> bool {
        match self {
            Self::Oversized { .. }
            | Self::Malformed(_)
            | Self::Duplicate(_)
            | Self::Nested
            | Self::Critical
            | Self::Kind
            | Self::Algorithm
            | Self::AmbiguousKey
            | Self::Signature
            | Self::Expired
            | Self::TooOld
            | Self::Claim { .. }
            | Self::Tenant { .. }
            | Self::Unbound
            | Self::UnsupportedBinding => true,
            Self::UnknownIssuer { .. }
            | Self::UnknownKey
            | Self::NotYetValid
            | Self::Audience { .. }
            | Self::Binding
            | Self::Inactive
            | Self::Unavailable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_can_judge_now_is_not_a_401() {
        let refused = |why| Refused { issuer: None, why };
        assert_eq!(refused(Why::Unavailable("no keys yet")).code(), Code::Unavailable);
        for why in [Why::Signature, Why::UnknownKey, Why::Inactive, Why::claim("sub"), Why::unknown_issuer("x")] {
            assert_eq!(refused(why).code(), Code::Unauthenticated);
        }
    }

    #[test]
    fn a_strangers_text_is_shortened_and_escaped() {
        let why = Why::unknown_issuer(&format!("a\n\u{1b}[31m{}", "x".repeat(10_000)));
        let text = Refused { issuer: None, why }.to_string();
        assert!(text.len() < 250 && !text.contains(['\n', '\u{1b}']), "{text}");
    }
}
