//! What makes the spec of an `Issuer` valid.
//!
//! Exactly one way to vouch; URLs that nobody on the way can answer; claims that can be found; and keys that do not
//! contradict each other. Whether an issuer answers, and what is in its files, is for the node to find out, again and
//! again. That two issuers do not judge the same tokens is for the whole set to say (see [`crate::set`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_types::TenantId;

use super::{Head, Site, content, files, parsed, secret, trusted_url};
use crate::error::{Reason, shown};
use crate::form::IssuerForm;
use crate::form::issuer::{
    CLOCK_SKEW, IntrospectionForm, MAX_AGE, OUTAGE, OidcForm, Span, SpiffeForm, TTL, TenantClaimForm, TokensForm,
};
use crate::limits::optional;
use crate::node::Path;
use crate::report::Report;
use crate::resource::Issuer;
use crate::resource::identity::{
    API_KEY_PREFIX, Algorithm, Introspection, KeySource, Oidc, Subject, TenantClaim, Tokens, TrustDomain, Vouching,
};

/// The longest audience, client id or value of a claim in bytes; audiences are URLs.
const TEXT_BYTES_MAX: usize = 2048;
/// The longest path of a claim in bytes; names of claims are short, or URLs.
const CLAIM_BYTES_MAX: usize = 256;
/// The longest trust domain in bytes (SPIFFE-ID §2.1).
const DOMAIN_BYTES_MAX: usize = 255;
/// The longest prefix of tokens in bytes: those in use have four to twenty.
const PREFIX_BYTES_MAX: usize = 64;
/// The claim with the scopes, unless a document names another (RFC 9068 §2.2.3).
const SCOPES_CLAIM: &str = "scope";

pub(super) fn compile(head: Head, form: &IssuerForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Issuer> {
    let at = &site.at;
    let ways = [
        ("oidc", form.oidc.is_some()),
        ("introspection", form.introspection.is_some()),
        ("spiffe", form.spiffe.is_some()),
    ];
    let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    if given.len() > 1 {
        let message = format!("{} contradict each other: an issuer vouches in one way", given.join(" and "));
        report.push(at, Reason::Conflict { message });
        return None;
    }
    let method = match (&form.oidc, &form.introspection, &form.spiffe) {
        (Some(form), _, _) => Vouching::Oidc(Box::new(oidc(form, &head.tenant, site, report)?)),
        (_, Some(form), _) => Vouching::Introspection(Box::new(introspection(form, &head.tenant, site, report)?)),
        (_, _, Some(form)) => Vouching::Spiffe(spiffe(form, site, report)?),
        (None, None, None) => {
            let message = "an issuer needs one of oidc, introspection, spiffe".to_owned();
            report.push(at, Reason::Conflict { message });
            return None;
        }
    };
    Some(Issuer { name: head.name, tenant: head.tenant, method })
}

fn oidc(form: &OidcForm, tenant: &TenantId, site: &Site<'_>, report: &mut Report<'_>) -> Option<Oidc> {
    let at = site.at.key("oidc");
    let issuer = report.accept(&at.key("issuer"), trusted_url::issuer(form.issuer.as_deref()?));
    let keys = keys(form, &at, site, report);
    let algorithms = form.algorithms.as_ref();
    let algorithms = algorithms.map(|given| given.iter().flatten().map(|form| Algorithm::from(*form)).collect());
    let age_max = optional(form.max_age.as_ref(), (MAX_AGE.0, MAX_AGE.2), &at.key("maxAge"), report);
    let outage_max = span(form.outage.as_ref(), OUTAGE, &at.key("outage"), report);
    let clock_skew = span(form.clock_skew.as_ref(), CLOCK_SKEW, &at.key("clockSkew"), report);
    let ca = ca(form.ca.as_deref(), &at, site, report);
    let tokens = tokens(&form.tokens, tenant, &at, report);
    Some(Oidc {
        issuer: issuer?,
        keys: keys?,
        algorithms: algorithms.unwrap_or_else(|| Algorithm::ALL.to_vec()),
        tokens: tokens?,
        clock_skew,
        age_max,
        access_tokens_only: form.access_tokens_only.unwrap_or(false),
        outage_max,
        ca,
    })
}

fn keys(form: &OidcForm, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<KeySource> {
    if form.jwks_file.is_some() {
        // These are about keys that are fetched.
        let others =
            [("jwksUrl", form.jwks_url.is_some()), ("outage", form.outage.is_some()), ("ca", form.ca.is_some())];
        for (key, _) in others.iter().filter(|(_, given)| *given) {
            let message = format!("{key} contradicts jwksFile, with which no keys are fetched: keep one of them");
            report.push(&at.key(key), Reason::Conflict { message });
        }
    }
    match (&form.jwks_file, &form.jwks_url) {
        (Some(text), _) => report.accept(&at.key("jwksFile"), content(text, site)).map(KeySource::File),
        (None, Some(text)) => report.accept(&at.key("jwksUrl"), trusted_url::confidential(text)).map(KeySource::Url),
        (None, None) => Some(KeySource::Discovery),
    }
}

fn introspection(
    form: &IntrospectionForm,
    tenant: &TenantId,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> Option<Introspection> {
    let at = site.at.key("introspection");
    let issuer = form.issuer.as_deref().and_then(|given| report.accept(&at.key("issuer"), trusted_url::issuer(given)));
    let endpoint =
        form.url.as_deref().and_then(|given| report.accept(&at.key("url"), trusted_url::confidential(given)));
    let client_id = form.client_id.as_deref().and_then(|given| report.accept(&at.key("clientId"), text(given)));
    let client_secret = form.client_secret.as_deref();
    let client_secret =
        client_secret.and_then(|given| report.accept(&at.key("clientSecret"), secret::source(given, site)));
    let token_prefix = form.token_prefix.as_deref();
    let token_prefix = token_prefix.and_then(|given| report.accept(&at.key("tokenPrefix"), self::token_prefix(given)));
    let ttl = span(form.ttl.as_ref(), TTL, &at.key("ttl"), report);
    let ca = ca(form.ca.as_deref(), &at, site, report);
    let tokens = tokens(&form.tokens, tenant, &at, report);
    Some(Introspection {
        issuer: issuer?,
        endpoint: endpoint?,
        client_id: client_id?,
        client_secret: client_secret?,
        authentication: form.authentication.map(Into::into).unwrap_or_default(),
        token_prefix,
        tokens: tokens?,
        ttl,
        ca,
    })
}

/// Checks how tokens begin: with what a token can have (RFC 6750 §2.1), and not as API keys do, which are looked for first.
fn token_prefix(text: &str) -> Result<String, Reason> {
    let invalid = |message: String| Err(Reason::Invalid { value: shown(text), message });
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if !(1..=PREFIX_BYTES_MAX).contains(&text.len()) || !text.bytes().all(is_known) {
        return invalid(format!("a prefix has 1 to {PREFIX_BYTES_MAX} letters, digits and `-._~+/`"));
    }
    if text.starts_with(API_KEY_PREFIX) || API_KEY_PREFIX.starts_with(text) {
        return invalid(format!("API keys begin with {API_KEY_PREFIX}, so that no issuer would see these tokens"));
    }
    Ok(text.to_owned())
}

fn ca(given: Option<&str>, at: &Path, site: &Site<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    report.accept(&at.key("ca"), content(given?, site))
}

fn tokens(form: &TokensForm, tenant: &TenantId, at: &Path, report: &mut Report<'_>) -> Option<Tokens> {
    let audiences = texts(form.audiences.as_deref(), &at.key("audiences"), report);
    let required = required(form.required_claims.as_ref(), &at.key("requiredClaims"), report);
    let subject = form.subject.map(Subject::from).unwrap_or_default();
    if subject == Subject::Agent && form.agent_claim.is_some() {
        let message = "the subject is the agent already (subject: agent): keep one of them".to_owned();
        report.push(&at.key("agentClaim"), Reason::Conflict { message });
    }
    let mut of = |key: &str, given: &Option<String>| report.accept(&at.key(key), claim(given.as_deref()?));
    let agent_claim = of("agentClaim", &form.agent_claim);
    let groups_claim = of("groupsClaim", &form.groups_claim);
    let scopes_claim = match &form.scopes_claim {
        Some(_) => of("scopesClaim", &form.scopes_claim),
        None => Some(SCOPES_CLAIM.to_owned()),
    };
    let tenants = form.tenant_claim.as_ref().and_then(|given| tenants(given, tenant, &at.key("tenantClaim"), report));
    let advertised = form.advertise.unwrap_or(true);
    let scopes_claim = scopes_claim?;
    let bound = form.bound.unwrap_or(false);
    Some(Tokens { audiences, required, subject, agent_claim, groups_claim, scopes_claim, tenants, bound, advertised })
}

fn required(
    given: Option<&BTreeMap<String, Vec<Option<String>>>>,
    at: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<String>> {
    let mut required = BTreeMap::new();
    for (name, values) in given.into_iter().flatten() {
        let at = at.key(name);
        let values = texts(Some(values), &at, report);
        required.extend(report.accept(&at, claim(name)).map(|name| (name, values)));
    }
    required
}

/// The tenants of a claim's values. Only the operator's issuers may say whose caller somebody is: else a tenant could
/// make callers of another one.
fn tenants(form: &TenantClaimForm, tenant: &TenantId, at: &Path, report: &mut Report<'_>) -> Option<TenantClaim> {
    if *tenant != TenantId::default() {
        let message = format!(
            "this issuer belongs to tenant {tenant}, and all its callers do: only issuers of tenant default may have it"
        );
        report.push(at, Reason::Conflict { message });
    }
    let claim = form.claim.as_deref().and_then(|given| report.accept(&at.key("claim"), claim(given)));
    let (given, at) = (form.values.as_ref()?, at.key("values"));
    if given.is_empty() {
        let message = "the object must not be empty: without a value every token is refused".to_owned();
        report.push(&at, Reason::Invalid { value: "{}".to_owned(), message });
    }
    let mut values = BTreeMap::new();
    for (value, name) in given {
        let at = at.key(value);
        let (value, name) = (report.accept(&at, text(value)), report.accept(&at, parsed(name, TenantId::new)));
        values.extend(value.zip(name));
    }
    Some(TenantClaim { claim: claim?, values })
}

fn spiffe(form: &SpiffeForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<TrustDomain> {
    let at = site.at.key("spiffe");
    let bundles = files(form.bundle.as_deref(), &at.key("bundle"), site, report);
    let crls = files(form.crls.as_deref(), &at.key("crls"), site, report);
    let domain = report.accept(&at.key("trustDomain"), trust_domain(form.trust_domain.as_deref()?))?;
    let crl_required = form.crl_required.unwrap_or(false);
    // A list that is wrong is told of by itself.
    if crl_required && form.crls.as_ref().is_none_or(Vec::is_empty) {
        let message = "without crls every certificate would be refused: name the revocation lists".to_owned();
        report.push(&at.key("crlRequired"), Reason::Conflict { message });
    }
    Some(TrustDomain { domain, bundles, crls, crl_required })
}

/// Checks a trust domain (SPIFFE-ID §2.1).
pub(super) fn trust_domain(text: &str) -> Result<String, Reason> {
    let invalid = |message: String| Err(Reason::Invalid { value: shown(text), message });
    if text.contains("://") {
        return invalid("write it without spiffe://, such as prod.example".to_owned());
    }
    let is_known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if (1..=DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_known) {
        return Ok(text.to_owned());
    }
    invalid(format!("a trust domain has 1 to {DOMAIN_BYTES_MAX} lower-case letters, digits, `.`, `-` and `_`"))
}

/// Checks the path of a claim. One whose name has dots itself (`https://example.com/roles`) is found by its whole name.
fn claim(text: &str) -> Result<String, Reason> {
    let is_valid = (1..=CLAIM_BYTES_MAX).contains(&text.len())
        && !text.contains(char::is_control)
        && text.split('.').all(|part| !part.is_empty());
    if is_valid {
        return Ok(text.to_owned());
    }
    let message = format!(
        "a claim's path has 1 to {CLAIM_BYTES_MAX} bytes, no control characters and no empty part between dots"
    );
    Err(Reason::Invalid { value: shown(text), message })
}

fn texts(given: Option<&[Option<String>]>, at: &Path, report: &mut Report<'_>) -> Vec<String> {
    let texts = given.into_iter().flatten().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    texts.filter_map(|(index, given)| report.accept(&at.index(index), text(given))).collect()
}

fn text(given: &str) -> Result<String, Reason> {
    if (1..=TEXT_BYTES_MAX).contains(&given.len()) && !given.contains(char::is_control) {
        return Ok(given.to_owned());
    }
    let message = format!("it has 1 to {TEXT_BYTES_MAX} bytes, without control characters");
    Err(Reason::Invalid { value: shown(given), message })
}

/// Reads a time within its range; without one it has its default.
fn span(given: Option<&String>, (min, default, max): Span, at: &Path, report: &mut Report<'_>) -> Duration {
    optional(given, (min, max), at, report).or(default).unwrap_or_default()
}
