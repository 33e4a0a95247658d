//! Who may vouch for callers, what callers are given, and what they may do.
//!
//! An `Issuer` says how the tokens or certificates of one issuer are checked, an `ApiKey` lets an agent in by itself, a
//! `Tenant` puts callers into groups, a `Policy` says what they may do. Nothing here holds a secret: keys of issuers are
//! fetched, API keys are stored as MACs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use quorate_identity::Algorithm;
pub use quorate_identity::issuer::{ClientAuthentication, Subject};
pub use quorate_policy::{ArgumentType, Mode};
use quorate_types::{ResourceName, TenantId, Timestamp};
use url::Url;

use crate::secret::SecretSource;

/// The agent that callers of a development listener are, whatever they show: of the operator's tenant, without a key.
pub const DEVELOPMENT_AGENT: &str = "development";

/// How API keys begin, so that no token may.
pub const API_KEY_PREFIX: &str = "qk_";

/// One that vouches for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, unique among issuers; policies name its subjects `NAME/SUBJECT`.
    pub name: ResourceName,
    /// The tenant of the callers that it vouches for, unless its tokens say another.
    pub tenant: TenantId,
    /// How it vouches.
    pub method: Vouching,
}

/// How an issuer vouches for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouching {
    /// By signed tokens (JWT, RFC 7519 and 9068).
    Oidc(Box<Oidc>),
    /// By an answer about each token (RFC 7662).
    Introspection(Box<Introspection>),
    /// By client certificates with SPIFFE ids.
    Spiffe(TrustDomain),
}

/// Signed tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer as tokens name it (`iss`), compared exactly.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// The signature algorithms that are taken; all are asymmetric.
    pub algorithms: Vec<Algorithm>,
    /// What holds for its tokens.
    pub tokens: Tokens,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The longest that a token may have been issued ago, whatever its expiry.
    pub age_max: Option<Duration>,
    /// Whether tokens must be typed as access tokens (`typ: at+jwt`, RFC 9068 §2.1).
    pub access_tokens_only: bool,
    /// How long the last keys are used while new ones cannot be fetched.
    pub outage_max: Duration,
    /// The certificates that the issuer's server is held against, instead of the node's.
    pub ca: Option<PathBuf>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Where its metadata says (OpenID Connect Discovery, RFC 8414).
    Discovery,
    /// At this URL.
    Url(Url),
    /// In this file.
    File(PathBuf),
}

/// What holds for the tokens of an issuer, and how they become principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The audiences that are taken; none: the URL of the toolset that is called (RFC 8707).
    pub audiences: Vec<String>,
    /// Claims that must be there, with the values of which one must hold; none: any.
    pub required: BTreeMap<String, Vec<String>>,
    /// What the subject is.
    pub subject: Subject,
    /// The claim that names the agent of a user's token.
    pub agent_claim: Option<String>,
    /// The claim with the groups; a path, its keys separated by dots.
    pub groups_claim: Option<String>,
    /// The claim with the scopes; a text with spaces, or a list.
    pub scopes_claim: String,
    /// The claim that names the tenant, and the tenants that its values stand for. A token with another value is refused.
    pub tenants: Option<TenantClaim>,
    /// Whether only tokens are taken that are bound to their caller's certificate (RFC 8705).
    pub bound: bool,
    /// Whether toolsets tell clients to get their tokens here (RFC 9728).
    pub advertised: bool,
}

/// The claim that names the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantClaim {
    /// The claim; a path, its keys separated by dots.
    pub claim: String,
    /// Tenants by the claim's value.
    pub values: BTreeMap<String, TenantId>,
}

/// Tokens that their issuer is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// The issuer as clients know it; where the answer names one (`iss`), it must be this.
    pub issuer: String,
    /// Where it is asked.
    pub endpoint: Url,
    /// Who asks.
    pub client_id: String,
    /// With which secret.
    pub client_secret: SecretSource,
    /// How the secret is sent.
    pub authentication: ClientAuthentication,
    /// How its tokens begin, if they are told from those of others by that.
    pub token_prefix: Option<String>,
    /// What holds for its tokens.
    pub tokens: Tokens,
    /// How long an answer is believed.
    pub ttl: Duration,
    /// The certificates that the issuer's server is held against, instead of the node's.
    pub ca: Option<PathBuf>,
}

/// A SPIFFE trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain {
    /// Its name, without `spiffe://`.
    pub domain: String,
    /// PEM files with the certificates of its authorities.
    pub bundles: Vec<PathBuf>,
    /// PEM files with revocation lists.
    pub crls: Vec<PathBuf>,
    /// Whether every issuer of a chain must have a list.
    pub crl_required: bool,
}

/// What lets an agent in by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, unique among API keys.
    pub name: ResourceName,
    /// The tenant of the agent.
    pub tenant: TenantId,
    /// The agent; policies name it so.
    pub agent: ResourceName,
    /// What it is given.
    pub scopes: BTreeSet<String>,
    /// The secrets, of which each one is enough: several while they are rotated.
    pub secrets: Vec<KeySecret>,
}

/// One secret of an API key, as its MAC. `Debug` leaves the MAC out.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret {
    /// The visible part of the key.
    pub id: String,
    /// HMAC-SHA256 of the secret part.
    pub mac: [u8; 32],
    /// Until when it is taken.
    pub expires: Option<Timestamp>,
    /// From when on it is taken.
    pub not_before: Option<Timestamp>,
}

/// What an operator says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, which documents name as their `tenant`.
    pub name: ResourceName,
    /// The groups of its callers, beside those that issuers put them into.
    pub groups: Vec<Group>,
}

/// A group of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, unique in the tenant.
    pub name: String,
    /// Groups that it is part of.
    pub within: Vec<String>,
    /// Agents that it has, as policies name them.
    pub agents: Vec<String>,
    /// Users that it has, `ISSUER/SUBJECT`.
    pub users: Vec<String>,
}

/// What callers may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name, unique among policies.
    pub name: ResourceName,
    /// The tenant whose callers it is about; those of the tenant `default` are about everybody.
    pub tenant: TenantId,
    /// Cedar policies.
    pub cedar: String,
    /// The arguments of tools that they read, and their types.
    pub arguments: BTreeMap<String, ArgumentType>,
    /// Whether they hold, or only count what they would deny.
    pub mode: Mode,
}

// === impl Issuer ===

impl Issuer {
    /// Lists the files that it is made of.
    pub fn files(&self) -> Vec<&Path> {
        match &self.method {
            Vouching::Oidc(oidc) => oidc.keys.file().into_iter().chain(oidc.ca.as_deref()).collect(),
            Vouching::Introspection(asked) => {
                asked.client_secret.file().into_iter().chain(asked.ca.as_deref()).collect()
            }
            Vouching::Spiffe(domain) => domain.bundles.iter().chain(&domain.crls).map(PathBuf::as_path).collect(),
        }
    }

    /// Whether its callers can be those of `tenant`: its own, or those that its tokens' claim may name.
    #[must_use]
    pub fn vouches_for(&self, tenant: &TenantId) -> bool {
        match self.tokens().and_then(|tokens| tokens.tenants.as_ref()) {
            Some(claim) => claim.values.values().any(|named| named == tenant),
            None => self.tenant == *tenant,
        }
    }

    /// Returns what holds for its tokens, if it is one of tokens.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        match &self.method {
            Vouching::Oidc(oidc) => Some(&oidc.tokens),
            Vouching::Introspection(asked) => Some(&asked.tokens),
            Vouching::Spiffe(_) => None,
        }
    }
}

// === impl Vouching ===

impl fmt::Display for Vouching {
    /// Writes how it vouches, and for what; no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oidc(oidc) => write!(f, "oidc {}", oidc.issuer),
            Self::Introspection(asked) => write!(f, "introspection {}", asked.issuer),
            Self::Spiffe(domain) => write!(f, "spiffe://{}", domain.domain),
        }
    }
}

// === impl KeySource ===

impl KeySource {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Discovery | Self::Url(_) => None,
        }
    }
}

// === impl KeySecret ===

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("KeySecret");
        f.field("id", &self.id).field("expires", &self.expires).field("not_before", &self.not_before);
        f.finish_non_exhaustive()
    }
}

// === impl Tenant ===

impl Tenant {
    /// Returns the tenant that it is about.
    #[must_use]
    pub fn id(&self) -> TenantId {
        TenantId::new(self.name.as_str()).expect("names of resources and of tenants have one form")
    }
}
