//! The spec of an `Issuer` as serde and the JSON schema see it.
//!
//! As in the parent module: types only, descriptions for whoever writes the file. What tokens of both methods have in
//! common is flattened into their objects. Serde cannot refuse unknown keys beside flattened ones, so that these
//! objects leave it to their schema, which is asked before.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_types::units::format_duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::resource::identity::{Algorithm, ClientAuthentication, Subject};

/// The most audiences of one issuer: each is compared with each token's.
pub(crate) const AUDIENCES_MAX: usize = 64;
/// The most claims that are demanded, and the most values of one: the same.
pub(crate) const CLAIMS_MAX: usize = 32;
/// The most tenants of one issuer.
pub(crate) const TENANTS_MAX: usize = 1_000;
/// The most bundles of one trust domain: the present one, the next, and one for each of some clusters.
pub(crate) const BUNDLES_MAX: usize = 16;
/// The most revocation lists of one trust domain: one for each of its authorities.
pub(crate) const CRLS_MAX: usize = 64;

/// A span of time: the shortest, the default if there is one, and the longest.
pub(crate) type Span = (Duration, Option<Duration>, Duration);

/// How far clocks may differ. Clocks that are kept differ by far less than a minute; a clock that is five minutes wrong
/// should be set right instead.
pub(crate) const CLOCK_SKEW: Span = (Duration::ZERO, Some(seconds(60)), seconds(300));
/// The longest that a token may have been issued ago. Beyond a year it would be no limit.
pub(crate) const MAX_AGE: Span = (seconds(1), None, seconds(365 * 24 * 3600));
/// How long old keys serve: a night and somebody to look in the morning. After a week without a word from the issuer,
/// keys that it has taken back must not go on.
pub(crate) const OUTAGE: Span = (Duration::ZERO, Some(seconds(24 * 3600)), seconds(7 * 24 * 3600));
/// How long an answer is believed, which is how long a revoked token may go on.
pub(crate) const TTL: Span = (Duration::ZERO, Some(seconds(60)), seconds(600));

/// One that vouches for callers: by signed tokens (`oidc`), by an answer about each token (`introspection`), or by
/// client certificates (`spiffe`). Exactly one of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssuerForm {
    /// Signed tokens (JWT) of an OpenID Connect provider or OAuth authorization server.
    pub(crate) oidc: Option<Box<OidcForm>>,
    /// Tokens that the issuer is asked about (RFC 7662).
    pub(crate) introspection: Option<Box<IntrospectionForm>>,
    /// Client certificates with SPIFFE ids of one trust domain.
    pub(crate) spiffe: Option<SpiffeForm>,
}

/// Signed tokens of one issuer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct OidcForm {
    /// The issuer as its tokens name it in `iss`, compared exactly, a trailing slash included. Its metadata is found
    /// below it. A URL: `https`, or `http` on a loopback address.
    #[schemars(required)]
    pub(crate) issuer: Option<String>,
    /// The URL of its keys (JWKS). By default its metadata says it.
    pub(crate) jwks_url: Option<String>,
    /// A file with its keys (JWKS), so that nothing is fetched. A relative path begins at the folder of this file.
    #[schemars(extend("x-file" = true))]
    pub(crate) jwks_file: Option<String>,
    /// The signature algorithms that are taken. By default all of them, which are asymmetric.
    #[schemars(extend("minItems" = 1, "maxItems" = Algorithm::ALL.len(), "uniqueItems" = true))]
    pub(crate) algorithms: Option<Vec<Option<AlgorithmForm>>>,
    /// How far the clocks of the issuer and of this node may differ.
    #[serde(default)]
    #[schemars(schema_with = "clock_skew", extend("default" = default_of(CLOCK_SKEW)))]
    pub(crate) clock_skew: Option<String>,
    /// Refuse tokens that were issued (`iat`) longer ago, whatever their expiry. By default only the expiry counts.
    #[serde(default)]
    #[schemars(schema_with = "max_age")]
    pub(crate) max_age: Option<String>,
    /// Take only tokens that say that they are access tokens (`typ: at+jwt`, RFC 9068). By default `JWT`, or no type, is
    /// enough.
    #[schemars(extend("default" = false))]
    pub(crate) access_tokens_only: Option<bool>,
    /// How long the last keys are used while newer ones cannot be fetched.
    #[serde(default)]
    #[schemars(schema_with = "outage", extend("default" = default_of(OUTAGE)))]
    pub(crate) outage: Option<String>,
    /// A PEM file with the certificates that the issuer's server is held against, instead of the system's.
    #[schemars(extend("x-file" = true))]
    pub(crate) ca: Option<String>,
    #[serde(flatten)]
    pub(crate) tokens: TokensForm,
}

/// Tokens that their issuer is asked about.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct IntrospectionForm {
    /// The issuer as clients know it; an answer that names another one (`iss`) is refused. A URL: `https`, or `http` on
    /// a loopback address.
    #[schemars(required)]
    pub(crate) issuer: Option<String>,
    /// The URL of its introspection endpoint: `https`, or `http` on a loopback address.
    #[schemars(required)]
    pub(crate) url: Option<String>,
    /// The client that asks.
    #[schemars(required)]
    pub(crate) client_id: Option<String>,
    /// The secret of that client: the secret itself, `env:NAME` for an environment variable, or `file:PATH` for a file.
    /// It never appears in logs or errors.
    #[schemars(required, extend("x-secret" = true))]
    pub(crate) client_secret: Option<String>,
    /// How the secret is sent.
    #[schemars(extend("default" = "basic"))]
    pub(crate) authentication: Option<AuthenticationForm>,
    /// How its tokens begin, such as `corp_`: other tokens are not shown to it. One issuer at most has none, and is shown
    /// what no other's prefix is of. Letters, digits and `-._~+/`.
    pub(crate) token_prefix: Option<String>,
    /// How long an answer is believed, unless the token ends before: a token that is revoked may be used that long.
    #[serde(default)]
    #[schemars(schema_with = "ttl", extend("default" = default_of(TTL)))]
    pub(crate) ttl: Option<String>,
    /// A PEM file with the certificates that the issuer's server is held against, instead of the system's.
    #[schemars(extend("x-file" = true))]
    pub(crate) ca: Option<String>,
    #[serde(flatten)]
    pub(crate) tokens: TokensForm,
}

/// What holds for tokens, and how they become principals.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokensForm {
    /// For whom tokens must be (`aud`): one of these. By default the URL of the toolset that is called (RFC 8707).
    #[schemars(extend("minItems" = 1, "maxItems" = AUDIENCES_MAX, "uniqueItems" = true))]
    pub(crate) audiences: Option<Vec<Option<String>>>,
    /// Claims that must be there, each with the values of which it must have one; an empty list takes any. A claim
    /// within another is named by its path, its keys separated by dots.
    #[serde(default)]
    #[schemars(schema_with = "required_claims")]
    pub(crate) required_claims: Option<BTreeMap<String, Vec<Option<String>>>>,
    /// What the subject (`sub`) is.
    #[schemars(extend("default" = "user"))]
    pub(crate) subject: Option<SubjectForm>,
    /// The claim that names the agent through which a user calls, such as `azp` or `client_id`. By default no agent is
    /// known of a user's token.
    pub(crate) agent_claim: Option<String>,
    /// The claim with the groups, such as `groups` or `realm_access.roles`. By default tokens give none.
    pub(crate) groups_claim: Option<String>,
    /// The claim with the scopes: a text with spaces between them, or a list.
    #[schemars(extend("default" = "scope"))]
    pub(crate) scopes_claim: Option<String>,
    /// Callers of several tenants, told apart by a claim. By default all belong to the issuer's tenant. Only for issuers
    /// of tenant `default`.
    pub(crate) tenant_claim: Option<TenantClaimForm>,
    /// Take only tokens that are bound to the client certificate of their caller (`cnf.x5t#S256`, RFC 8705), which nobody
    /// else can use. By default bound tokens are held to their certificate, and bearer tokens are taken.
    #[schemars(extend("default" = false))]
    pub(crate) bound: Option<bool>,
    /// Tell clients that they may get their tokens here (RFC 9728).
    #[schemars(extend("default" = true))]
    pub(crate) advertise: Option<bool>,
}

/// A claim that names the tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TenantClaimForm {
    /// The claim, such as `org` or `resource.tenant`.
    #[schemars(required)]
    pub(crate) claim: Option<String>,
    /// The tenants that values of the claim stand for. A token with any other value is refused.
    #[schemars(required, extend("maxProperties" = TENANTS_MAX))]
    pub(crate) values: Option<BTreeMap<String, String>>,
}

/// Client certificates of one SPIFFE trust domain.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpiffeForm {
    /// The trust domain, such as `prod.example`: what comes after `spiffe://`.
    #[schemars(required)]
    pub(crate) trust_domain: Option<String>,
    /// PEM files with the certificates of its authorities. They are loaded again when they change. A relative path
    /// begins at the folder of this file.
    #[schemars(required, extend("minItems" = 1, "maxItems" = BUNDLES_MAX, "uniqueItems" = true, "x-file" = true))]
    pub(crate) bundle: Option<Vec<Option<String>>>,
    /// PEM files with revocation lists of its authorities, loaded again when they change.
    #[schemars(extend("default" = [], "maxItems" = CRLS_MAX, "uniqueItems" = true, "x-file" = true))]
    pub(crate) crls: Option<Vec<Option<String>>>,
    /// Refuse certificates whose issuer has no list here, as those whose issuer's list is too old are refused in any case.
    /// By default an issuer without a list is taken to revoke nothing.
    #[schemars(extend("default" = false))]
    pub(crate) crl_required: Option<bool>,
}

/// A signature algorithm, as JOSE names it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum AlgorithmForm {
    /// ECDSA over P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA over P-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA PKCS#1 1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA PKCS#1 1.5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSA PKCS#1 1.5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// RSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSA-PSS with SHA-384.
    #[serde(rename = "PS384")]
    Ps384,
    /// RSA-PSS with SHA-512.
    #[serde(rename = "PS512")]
    Ps512,
}

/// How a client's secret is sent (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuthenticationForm {
    /// In the `Authorization` header (`client_secret_basic`).
    Basic,
    /// In the form (`client_secret_post`).
    Post,
}

/// What a token's subject is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SubjectForm {
    /// A person.
    User,
    /// A workload.
    Agent,
}

// === impl AlgorithmForm ===

impl From<AlgorithmForm> for Algorithm {
    fn from(form: AlgorithmForm) -> Self {
        match form {
            AlgorithmForm::Es256 => Self::Es256,
            AlgorithmForm::Es384 => Self::Es384,
            AlgorithmForm::EdDsa => Self::EdDsa,
            AlgorithmForm::Rs256 => Self::Rs256,
            AlgorithmForm::Rs384 => Self::Rs384,
            AlgorithmForm::Rs512 => Self::Rs512,
            AlgorithmForm::Ps256 => Self::Ps256,
            AlgorithmForm::Ps384 => Self::Ps384,
            AlgorithmForm::Ps512 => Self::Ps512,
        }
    }
}

// === impl AuthenticationForm ===

impl From<AuthenticationForm> for ClientAuthentication {
    fn from(form: AuthenticationForm) -> Self {
        match form {
            AuthenticationForm::Basic => Self::Basic,
            AuthenticationForm::Post => Self::Post,
        }
    }
}

// === impl SubjectForm ===

impl From<SubjectForm> for Subject {
    fn from(form: SubjectForm) -> Self {
        match form {
            SubjectForm::User => Self::User,
            SubjectForm::Agent => Self::Agent,
        }
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn clock_skew(_: &mut SchemaGenerator) -> Schema {
    span(CLOCK_SKEW)
}

fn max_age(_: &mut SchemaGenerator) -> Schema {
    span(MAX_AGE)
}

fn outage(_: &mut SchemaGenerator) -> Schema {
    span(OUTAGE)
}

fn ttl(_: &mut SchemaGenerator) -> Schema {
    span(TTL)
}

/// A span's default as documents write it.
fn default_of((_, default, _): Span) -> Option<String> {
    default.map(format_duration)
}

fn span((min, _, max): Span) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]+ ?(ms|s|m|h|d)$",
        "x-unit": "time",
        "x-minimum": format_duration(min),
        "x-maximum": format_duration(max),
    })
}

fn required_claims(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": CLAIMS_MAX,
        "additionalProperties": {
            "type": "array",
            "items": { "type": "string" },
            "maxItems": CLAIMS_MAX,
            "uniqueItems": true,
        },
    })
}
