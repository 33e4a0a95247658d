//! What is demanded of the tokens of one issuer, and where its keys or its introspection are.
//!
//! Plain values, valid as they are: ranges are checked where documents are read, with the constants of this file. What
//! several issuers must not have in common is checked by [`crate::Issuers::new`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_types::{ResourceName, Secret, TenantId};

use crate::endpoint::Endpoint;
use crate::jwks::KeySet;
use crate::token::algorithm::Algorithm;
use crate::token::claims::ClaimPath;

/// The default of [`Rules::clock_skew`]: clocks that are kept by NTP differ by far less, virtual machines that were
/// paused by some seconds.
pub const CLOCK_SKEW_DEFAULT: Duration = Duration::from_secs(60);
/// The most of [`Rules::clock_skew`]: beyond, a wrong clock should be set right and not be allowed for.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// The default of [`Signed::outage_tolerance`]: a night, and somebody to look in the morning.
pub const OUTAGE_TOLERANCE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The most of [`Signed::outage_tolerance`]: a week without a word means that keys cannot be taken back.
pub const OUTAGE_TOLERANCE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The default of [`Introspected::cache_max`]: how long a revoked token may go on.
pub const INTROSPECTION_CACHE_DEFAULT: Duration = Duration::from_secs(60);
/// The most of [`Introspected::cache_max`]: who wants longer should take tokens that are signed.
pub const INTROSPECTION_CACHE_MAX: Duration = Duration::from_secs(15 * 60);

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the `Issuer` resource: policies call its users `NAME/SUBJECT`.
    pub name: ResourceName,
    /// The issuer as it calls itself in `iss`; compared exactly, a trailing slash included (RFC 8725 §3.8).
    pub iss: String,
    /// How its tokens are checked.
    pub check: Check,
    /// What is demanded of the claims, and what they mean.
    pub rules: Rules,
}

/// How the tokens of an issuer are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// By their signature.
    Signed(Signed),
    /// By asking the issuer.
    Introspected(Introspected),
}

/// Tokens that are signed (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Where the keys are.
    pub keys: Keys,
    /// The algorithms that are accepted. Default all of [`Algorithm::ALL`], which are asymmetric; not empty.
    pub algorithms: BTreeSet<Algorithm>,
    /// Accept only tokens that say that they are access tokens (`typ: at+jwt`, RFC 9068 §2.1). Default false: most
    /// issuers say `JWT` or nothing.
    pub access_tokens_only: bool,
    /// How long the last good keys serve while newer ones cannot be had, from when they were fetched. Default
    /// [`OUTAGE_TOLERANCE_DEFAULT`], at most [`OUTAGE_TOLERANCE_MAX`].
    pub outage_tolerance: Duration,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Named by the issuer's metadata of either kind: that of OpenID Connect, and where the server has none (4xx), that of
    /// OAuth.
    Metadata,
    /// Named by the issuer's OpenID Connect metadata, at `ISS/.well-known/openid-configuration`.
    OpenId,
    /// Named by the issuer's OAuth metadata, at `/.well-known/oauth-authorization-server` of its host (RFC 8414).
    OAuth,
    /// At a URL.
    Url(Endpoint),
    /// These, from a file.
    Given(KeySet),
}

/// Tokens that the issuer is asked about (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspected {
    /// The introspection endpoint.
    pub endpoint: Endpoint,
    /// As whom we ask.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Secret,
    /// How it is proven. Default [`ClientAuthentication::Basic`].
    pub authentication: ClientAuthentication,
    /// Tokens that are no JWT go to this issuer when they begin so; an empty text takes all of them. None takes only
    /// JWTs that have its `iss`.
    pub opaque_prefix: Option<String>,
    /// How long an answer is believed, unless the token ends before. Default [`INTROSPECTION_CACHE_DEFAULT`], at most
    /// [`INTROSPECTION_CACHE_MAX`].
    pub cache_max: Duration,
}

/// How we prove who we are to an introspection endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In the header `Authorization` (`client_secret_basic`).
    #[default]
    Basic,
    /// In the body (`client_secret_post`).
    Post,
}

/// What is demanded of claims, and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// To which tenant the callers belong.
    pub tenant: TenantRule,
    /// For whom tokens must be (`aud`), one of these. Default empty: the resource that the request is for (RFC 8707).
    pub audiences: BTreeSet<String>,
    /// Refuse tokens that are bound to no client certificate (RFC 8705 §3), so that nobody can use one that it found.
    /// Default false: to whatever a token is bound, it is held; bearer tokens are bound to nothing.
    pub bound_only: bool,
    /// How far the issuer's clock may be off. Default [`CLOCK_SKEW_DEFAULT`], at most [`CLOCK_SKEW_MAX`].
    pub clock_skew: Duration,
    /// Refuse tokens that were issued (`iat`) longer ago, whatever their `exp`. Default none: `exp` decides.
    pub age_max: Option<Duration>,
    /// Claims that must be there, with one of the values; an empty list takes any. Texts, numbers and booleans are
    /// compared as they are written, and of an array one element must do. Default none.
    pub required: BTreeMap<ClaimPath, BTreeSet<String>>,
    /// The claim that names the subject. Default `sub`.
    pub subject: ClaimPath,
    /// What the subject is. Default [`Subject::User`].
    pub subject_is: Subject,
    /// The claim that names the program through which a user calls, such as `azp` or `client_id`. Default none. A token
    /// whose subject is the same names no user (RFC 9068 §2.2: client credentials).
    pub agent: Option<ClaimPath>,
    /// The claim that lists groups. Default none.
    pub groups: Option<ClaimPath>,
    /// The claim that lists scopes. Default none: `scope`, else `scp`.
    pub scopes: Option<ClaimPath>,
}

/// To which tenant the callers of an issuer belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRule {
    /// To one.
    Fixed(TenantId),
    /// To the one that a claim names: its values, and their tenants. For issuers of the operator. Any other value is
    /// refused.
    Claim {
        /// The claim.
        path: ClaimPath,
        /// Its values that are accepted.
        tenants: BTreeMap<String, TenantId>,
    },
}

/// What the subject of a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    #[default]
    User,
    /// A program.
    Agent,
}

// === impl Signed ===

impl Signed {
    /// Makes the check by signature with every default.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            algorithms: Algorithm::ALL.into(),
            access_tokens_only: false,
            outage_tolerance: OUTAGE_TOLERANCE_DEFAULT,
        }
    }
}

// === impl Introspected ===

impl Introspected {
    /// Makes the check by introspection with every default, for tokens that are no JWT.
    #[must_use]
    pub fn new(endpoint: Endpoint, client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            endpoint,
            client_id: client_id.into(),
            client_secret,
            authentication: ClientAuthentication::default(),
            opaque_prefix: Some(String::new()),
            cache_max: INTROSPECTION_CACHE_DEFAULT,
        }
    }
}

// === impl Rules ===

impl Rules {
    /// Makes rules with every default.
    #[must_use]
    pub fn new(tenant: TenantRule) -> Self {
        Self {
            tenant,
            audiences: BTreeSet::new(),
            bound_only: false,
            clock_skew: CLOCK_SKEW_DEFAULT,
            age_max: None,
            required: BTreeMap::new(),
            subject: ClaimPath::new("sub").expect("it is a path"),
            subject_is: Subject::default(),
            agent: None,
            groups: None,
            scopes: None,
        }
    }
}

const _: () = {
    assert!(CLOCK_SKEW_DEFAULT.as_millis() <= CLOCK_SKEW_MAX.as_millis());
    assert!(OUTAGE_TOLERANCE_DEFAULT.as_millis() <= OUTAGE_TOLERANCE_MAX.as_millis());
    assert!(INTROSPECTION_CACHE_DEFAULT.as_millis() <= INTROSPECTION_CACHE_MAX.as_millis());
};
