//! Issuers, API keys, tenants and policies of a configuration become what stages decide by.
//!
//! Issuers that stay as they are keep their keys, and API keys the time of their last use. Files are read here, away
//! from requests; what cannot be read or compiled refuses the whole configuration.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use quorate_config::resource::identity::{Introspection, Issuer, KeySource, Oidc, Tokens, Vouching};
use quorate_config::{ApiKey, ResourceSet, SecretSource};
use quorate_http::client::{self, Client};
use quorate_identity::api_key::{self, Keys, Mac, MacKey};
use quorate_identity::issuer::{self, Check, Config, Introspected, Rules, Signed, TenantRule};
use quorate_identity::{ClaimPath, Endpoint, FetchError, Issuers, KeySet, Observer};
use quorate_policy::Policies;
use quorate_runtime::entropy;
use quorate_telemetry::Throttle;
use quorate_tls::{ClientOptions, ClientTls, TrustDomain};
use quorate_types::{Principal, ResourceName, Secret, TenantId};

use super::{Error, Gateway};
use crate::authenticate::{Caller, DEVELOPMENT_AGENT, Development, Identities};
use crate::callers::Callers;
use crate::judge::Judge;
use crate::protected::Demands;

/// The largest file with keys of an issuer that is read: what is fetched from one has the same bound.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// Bounds lines about questions that issuers do not answer: each token that comes may be one.
static UNANSWERED: Throttle = Throttle::new();

/// A resource of identity or policy cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// An issuer.
    #[error("issuer `{issuer}`: {key}: {problem}")]
    Issuer {
        /// Its name.
        issuer: ResourceName,
        /// The key of its document.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Issuers that cannot stand beside each other.
    #[error(transparent)]
    Issuers(#[from] quorate_identity::Invalid),
    /// API keys.
    #[error(transparent)]
    Keys(#[from] api_key::Invalid),
    /// API keys of a node that keeps no key to check them with.
    #[error(
        "there are API keys, and this node keeps no root key that they could be checked with: start it with `--data-dir`"
    )]
    NoRootKey,
    /// An API key's id or HMAC.
    #[error("API key `{name}`: {problem}")]
    Key {
        /// Its name.
        name: ResourceName,
        /// What is wrong.
        problem: String,
    },
}

/// Hears of the servers of issuers, for the log.
struct Heard;

// === impl Observer ===

impl Observer for Heard {
    fn keys_fetched(&self, issuer: &ResourceName, keys: usize, skipped: usize) {
        if keys == 0 {
            tracing::warn!(%issuer, skipped, "the issuer has no key that can check a signature: its tokens are refused");
        } else {
            tracing::info!(%issuer, keys, skipped, "the keys of an issuer were fetched");
        }
    }

    fn keys_failed(&self, issuer: &ResourceName, failures: u32, error: &FetchError) {
        tracing::warn!(%issuer, failures, %error, "the keys of an issuer cannot be fetched; the last ones serve on");
    }

    fn keys_forgotten(&self, issuer: &ResourceName) {
        tracing::error!(%issuer, "the keys of an issuer could not be fetched for too long: its tokens are refused");
    }

    fn introspection_failed(&self, issuer: &ResourceName, error: &FetchError) {
        if UNANSWERED.admits() {
            tracing::warn!(%issuer, %error, "an issuer cannot be asked about a token");
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Makes the judge of a configuration's policies.
    pub(super) fn judge(&self, resources: &ResourceSet) -> Judge {
        if self.shared.allow_all {
            return Judge::new(Policies::allow_all());
        }
        Judge::new(resources.compiled_policies().clone())
    }

    /// Makes the sources of identities of a configuration; `before` are those that run.
    pub(super) fn identities(
        &self,
        resources: &ResourceSet,
        judge: &Judge,
        before: &Identities,
    ) -> Result<Identities, Error> {
        let issuers = resources.issuers().iter().filter_map(|issuer| self.issuer(issuer).transpose());
        let issuers = before.issuers.renewed(issuers.collect::<Result<Vec<_>, Error>>()?).map_err(Invalid::Issuers)?;
        let keys = resources.api_keys().iter().map(|one| key(one)).collect::<Result<Vec<_>, Invalid>>()?;
        let mac_key = match &self.shared.mac_key {
            Some(mac_key) => mac_key.clone(),
            None if keys.is_empty() => unused(),
            None => return Err(Invalid::NoRootKey.into()),
        };
        let keys = Keys::new(&keys, mac_key).map_err(Invalid::Keys)?;
        keys.take_over(&before.keys);
        let domain = |issuer: &Issuer| match &issuer.method {
            Vouching::Spiffe(domain) => Some((TrustDomain::parse(&domain.domain).ok()?, issuer.tenant.clone())),
            Vouching::Oidc(_) | Vouching::Introspection(_) => None,
        };
        let development = (self.shared.development == Development::Loopback).then(|| {
            let principal = Principal::agent(TenantId::default(), DEVELOPMENT_AGENT);
            Caller::new(principal, judge, &self.shared.services.metrics)
        });
        Ok(Identities {
            development,
            issuers,
            keys,
            domains: resources.issuers().iter().filter_map(domain).collect(),
            callers: Callers::default(),
        })
    }

    /// The configuration of an issuer of tokens, and the client that asks its server.
    fn issuer(&self, issuer: &Issuer) -> Result<Option<(Config, Client)>, Error> {
        let refuse = |key, problem: String| Invalid::Issuer { issuer: issuer.name.clone(), key, problem };
        let (iss, check, tokens, ca) = match &issuer.method {
            Vouching::Oidc(oidc) => (
                &oidc.issuer,
                Check::Signed(signed(oidc).map_err(|(key, text)| refuse(key, text))?),
                &oidc.tokens,
                &oidc.ca,
            ),
            Vouching::Introspection(asked) => {
                let check = introspected(asked).map_err(|(key, text)| refuse(key, text))?;
                (&asked.issuer, Check::Introspected(check), &asked.tokens, &asked.ca)
            }
            Vouching::Spiffe(_) => return Ok(None),
        };
        let rules = rules(issuer, tokens).map_err(|(key, text)| refuse(key, text))?;
        let config = Config { name: issuer.name.clone(), iss: iss.clone(), check, rules };
        Ok(Some((config, self.issuer_client(ca.as_deref())?)))
    }

    /// A client that holds servers' certificates against those of a file, or against those of the node.
    fn issuer_client(&self, ca: Option<&Path>) -> Result<Client, Error> {
        let tls = match ca {
            None => self.trusted()?,
            Some(ca) => {
                let only = ClientOptions { native_roots: false, extra_roots: Some(ca.to_owned()) };
                ClientTls::load(&only).map_err(Error::Roots)?
            }
        };
        Ok(Client::new(&client::DEFAULTS, tls))
    }
}

/// What toolsets demand, and where their clients get it.
pub(super) fn demands(resources: &ResourceSet, judge: &Judge) -> HashMap<ResourceName, Demands> {
    let demands = |toolset: &quorate_config::Toolset| {
        let vouches = |issuer: &&Issuer| issuer.tenant.meets(&toolset.tenant);
        let url = |issuer: &Issuer| match &issuer.method {
            Vouching::Oidc(oidc) if oidc.tokens.advertised => Some(oidc.issuer.clone()),
            Vouching::Introspection(asked) if asked.tokens.advertised => Some(asked.issuer.clone()),
            Vouching::Oidc(_) | Vouching::Introspection(_) | Vouching::Spiffe(_) => None,
        };
        let mut authorization_servers: Vec<String> =
            resources.issuers().iter().filter(vouches).filter_map(url).collect();
        authorization_servers.sort();
        let access = toolset.access.clone();
        let scopes_supported = access.scopes.union(&judge.scopes(&toolset.tenant)).cloned().collect();
        (toolset.name.clone(), Demands { access, authorization_servers, scopes_supported })
    };
    resources.toolsets().iter().map(demands).collect()
}

/// The sources of a node without a configuration.
pub(crate) fn none() -> Identities {
    let issuers = Issuers::new(Vec::new(), Arc::new(Heard)).expect("no issuers are in no other's way");
    let keys = Keys::new(&[], unused()).expect("no keys are in no other's way");
    Identities { development: None, issuers, keys, domains: HashMap::new(), callers: Callers::default() }
}

/// The key of a table without keys.
fn unused() -> MacKey {
    MacKey::of_root(&entropy::secret())
}

type Problem = (&'static str, String);

fn signed(oidc: &Oidc) -> Result<Signed, Problem> {
    let keys = match &oidc.keys {
        KeySource::Discovery => issuer::Keys::Metadata,
        KeySource::Url(url) => issuer::Keys::Url(endpoint("spec.oidc.jwksUrl", url)?),
        KeySource::File(file) => {
            let key = "spec.oidc.jwksFile";
            let text = read(file).map_err(|error| (key, format!("{}: {error}", file.display())))?;
            let keys = KeySet::parse(&text).map_err(|error| (key, format!("{}: {error}", file.display())))?;
            issuer::Keys::Given(keys)
        }
    };
    Ok(Signed {
        keys,
        algorithms: oidc.algorithms.iter().copied().collect(),
        access_tokens_only: oidc.access_tokens_only,
        outage_tolerance: oidc.outage_max,
    })
}

fn introspected(asked: &Introspection) -> Result<Introspected, Problem> {
    let secret = read_secret(&asked.client_secret).map_err(|problem| ("spec.introspection.clientSecret", problem))?;
    let endpoint = endpoint("spec.introspection.url", &asked.endpoint)?;
    Ok(Introspected {
        authentication: asked.authentication,
        // Without a prefix it takes what no other does.
        opaque_prefix: Some(asked.token_prefix.clone().unwrap_or_default()),
        cache_max: asked.ttl,
        ..Introspected::new(endpoint, asked.client_id.clone(), secret)
    })
}

fn rules(issuer: &Issuer, tokens: &Tokens) -> Result<Rules, Problem> {
    let path = |key, text: &str| ClaimPath::new(text).map_err(|error| (key, error.to_string()));
    let optional = |key, text: &Option<String>| text.as_deref().map(|text| path(key, text)).transpose();
    let required = tokens
        .required
        .iter()
        .map(|(claim, values)| Ok((path("requiredClaims", claim)?, values.iter().cloned().collect::<BTreeSet<_>>())));
    let (clock_skew, age_max) = match &issuer.method {
        Vouching::Oidc(oidc) => (oidc.clock_skew, oidc.age_max),
        Vouching::Introspection(_) | Vouching::Spiffe(_) => (issuer::CLOCK_SKEW_DEFAULT, None),
    };
    Ok(Rules {
        tenant: match &tokens.tenants {
            None => TenantRule::Fixed(issuer.tenant.clone()),
            Some(by) => TenantRule::Claim { path: path("tenantClaim", &by.claim)?, tenants: by.values.clone() },
        },
        audiences: tokens.audiences.iter().cloned().collect(),
        bound_only: tokens.bound,
        clock_skew,
        age_max,
        required: required.collect::<Result<_, Problem>>()?,
        subject: path("sub", "sub")?,
        subject_is: tokens.subject,
        agent: optional("agentClaim", &tokens.agent_claim)?,
        groups: optional("groupsClaim", &tokens.groups_claim)?,
        // Where the document says nothing, `scp` is as good as `scope`.
        scopes: match tokens.scopes_claim.as_str() {
            "scope" => None,
            claim => Some(path("scopesClaim", claim)?),
        },
    })
}

fn key(key: &ApiKey) -> Result<api_key::Config, Invalid> {
    let refuse = |problem: String| Invalid::Key { name: key.name.clone(), problem };
    let secret = |secret: &quorate_config::resource::identity::KeySecret| {
        Ok::<_, Invalid>(api_key::Secret {
            id: secret.id.parse().map_err(|error: api_key::InvalidId| refuse(format!("id: {error}")))?,
            mac: Mac(secret.mac),
            not_before: secret.not_before,
            expires: secret.expires,
        })
    };
    Ok(api_key::Config {
        name: key.name.clone(),
        tenant: key.tenant.clone(),
        agent: key.agent.clone(),
        scopes: key.scopes.clone(),
        groups: BTreeSet::new(),
        secrets: key.secrets.iter().map(secret).collect::<Result<_, _>>()?,
    })
}

fn endpoint(key: &'static str, url: &url::Url) -> Result<Endpoint, Problem> {
    Endpoint::new(url.as_str()).map_err(|error| (key, error.to_string()))
}

fn read_secret(source: &SecretSource) -> Result<Secret, String> {
    source.read().map_err(|error| error.to_string())
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;

    let mut text = Vec::new();
    std::fs::File::open(file)?.take(KEYS_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > KEYS_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {KEYS_BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_issuer_can_have_the_tokens_that_are_taken_for_api_keys() {
        // The configuration knows API keys by their documents only.
        assert_eq!(quorate_config::resource::identity::API_KEY_PREFIX, api_key::PREFIX);
    }
}
