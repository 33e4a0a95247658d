//! Stage 2: who calls.
//!
//! In: an accepted request. Out: [`Authenticated`], the evidence that a principal is known. Up to three proofs make one
//! principal: the certificate of the connection and an API key say which agent calls, a token says on behalf of which
//! user, or which agent. Proofs that contradict each other are refused; there is no anonymous principal.
//!
//! ```text
//! certificate (SPIFFE) ─┐ agent
//! API key ──────────────┤ agent, scopes      ─▶ compose ─▶ tenant + agent + user ─▶ required parts? ─▶ Authenticated
//! bearer token ─────────┘ user or agent, groups, scopes, delegation
//! ```
//!
//! A caller is told that it is not known, never why: that is for the log and the audit record. The development identity
//! is for the loopback listener of `quorate up`; it looks at no credential.
//! Knows nothing of the protocol: it looks at the connection and the headers, never at the body.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_config::Requires;
use quorate_identity::{Issuers, Presented, Refused, Verified, Why, api_key};
use quorate_runtime::clock;
use quorate_telemetry::{Metrics, TenantMetrics};
use quorate_tls::{PeerIdentity, SpiffeId, TrustDomain};
use quorate_types::{Code, Principal, PrincipalDigest, ResourceName, TenantId, Timestamp};

use crate::authorize;
use crate::callers::{Callers, Proofs};
use crate::credentials::{self, Shown};
use crate::judge::{Judge, Rights};
use crate::listener::{Accepted, Connection};
use crate::named::Named;
use crate::protected;
use crate::snapshot::Snapshot;

pub use quorate_config::identity::DEVELOPMENT_AGENT;

/// Whether callers on loopback are the development principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Development {
    /// They have to show who they are, as everybody.
    #[default]
    Off,
    /// They are, whatever they show.
    Loopback,
}

/// Where identities come from, with one configuration.
pub struct Identities {
    pub(crate) development: Option<Caller>,
    pub(crate) issuers: Issuers,
    pub(crate) keys: api_key::Keys,
    /// The tenants of trust domains.
    pub(crate) domains: HashMap<TrustDomain, TenantId>,
    /// Those who called lately.
    pub(crate) callers: Callers,
}

/// A principal with its digest and its rights, computed once.
#[derive(Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The digest that owns its sessions and handles.
    pub digest: PrincipalDigest,
    /// What it may do, as far as it was decided with the present configuration.
    pub(crate) rights: Arc<Rights>,
    /// What names the credentials that it showed; none for the development identity, which needs none.
    pub(crate) named: Option<Arc<Named>>,
    /// When the first of what it showed ends: streams of its end then.
    pub(crate) ends: Option<Timestamp>,
    /// Counts its requests, as its tenant's.
    pub(crate) requests: TenantMetrics,
}

/// A request whose caller is not known.
pub struct Unknown {
    /// The request.
    pub accepted: Accepted,
    /// Why.
    pub error: Error,
}

/// A request whose caller is known.
pub struct Authenticated {
    accepted: Accepted,
    caller: Caller,
}

/// Where a caller is met.
#[derive(Clone, Copy)]
pub(crate) struct Met<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) connection: &'a Connection,
    /// The toolset that it comes to; none where it asks a model.
    pub(crate) toolset: Option<&'a ResourceName>,
}

/// Nobody could be identified. The text is for the operator; a caller is told [`Error::told`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It shows nothing, and nothing could be shown.
    #[error(
        "nobody can be identified: there is no Issuer and no ApiKey; `quorate keys new` makes a key, and `quorate up`, \
         or `quorate serve --development-identity` with a loopback listener, gives a development identity"
    )]
    NoSource,
    /// It shows nothing.
    #[error("the caller shows no credentials: an API key, a token of an Issuer, or a certificate is taken")]
    NoCredentials,
    /// It shows credentials in a way that is not taken.
    #[error(transparent)]
    Shown(#[from] credentials::Error),
    /// The certificate of the connection is not trusted any more.
    #[error("the client certificate: {0}")]
    Certificate(quorate_tls::Refusal),
    /// No issuer has the trust domain of the certificate any more.
    #[error("the client certificate is of a trust domain that no Issuer has any more")]
    Domain(SpiffeId),
    /// The API key is refused.
    #[error("the API key: {refused}")]
    Key {
        /// Why.
        refused: api_key::Refused,
        /// Which key it is, where it is a known one at the wrong time.
        named: Option<Named>,
    },
    /// The token is refused.
    #[error("{0}")]
    Token(#[from] Refused),
    /// Two proofs contradict each other.
    #[error("the credentials contradict each other: they name two {parts}")]
    Conflict {
        /// What they disagree about.
        parts: &'static str,
        /// Which they are.
        named: Option<Named>,
    },
    /// Something demands a part of the principal that is not known.
    #[error("{by} requires {missing} (spec.requires), and the caller has none")]
    Required {
        /// What demands it.
        by: String,
        /// What is missing.
        missing: &'static str,
        /// What the caller showed.
        named: Option<Arc<Named>>,
    },
}

// === impl Error ===

impl Error {
    /// The label of this refusal in metrics and audit records.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSource => "no_source",
            Self::NoCredentials => "no_credentials",
            Self::Shown(error) => error.reason(),
            Self::Certificate(refusal) => refusal.reason(),
            Self::Domain(_) => "unknown_trust_domain",
            Self::Key { refused, .. } => refused.reason(),
            Self::Token(refused) => refused.reason(),
            Self::Conflict { .. } => "conflict",
            Self::Required { .. } => "required",
        }
    }

    /// What the caller is told: what it can do about it, and nothing that it does not know.
    #[must_use]
    pub fn told(&self) -> &'static str {
        match self {
            Self::NoSource | Self::NoCredentials => "credentials are required",
            Self::Shown(credentials::Error::InUrl) => "credentials must not be in the URL: send a header",
            Self::Shown(_) => "credentials must be one token in the header authorization: Bearer",
            Self::Token(refused) if refused.code() == Code::Unavailable => {
                "the credentials cannot be checked now: try again"
            }
            Self::Certificate(_) | Self::Domain(_) | Self::Key { .. } | Self::Token(_) | Self::Conflict { .. } => {
                "the credentials are not valid"
            }
            Self::Required { .. } => "the credentials do not identify everybody that they have to",
        }
    }

    /// The class: whose fault it is that nobody is known.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Shown(_) => Code::InvalidArgument,
            Self::Token(refused) => refused.code(),
            _ => Code::Unauthenticated,
        }
    }

    /// What was shown, as audit records have it.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::NoSource | Self::NoCredentials => "none",
            Self::Shown(_) | Self::Conflict { .. } => "several",
            // The development identity shows nothing.
            Self::Required { named, .. } => named.as_ref().map_or("none", |named| named.method),
            Self::Certificate(_) | Self::Domain(_) => "certificate",
            Self::Key { .. } => "api_key",
            Self::Token(_) => "token",
        }
    }

    /// What names what was shown without being it, where it is of somebody that this node knows.
    pub(crate) fn named(&self) -> Option<Named> {
        match self {
            Self::NoSource | Self::NoCredentials | Self::Shown(_) => None,
            Self::Certificate(refusal) => Named::of_refusal(refusal),
            Self::Domain(id) => Some(Named::certificate(id)),
            Self::Token(refused) => refused.issuer.as_ref().map(Named::token),
            Self::Key { named, .. } | Self::Conflict { named, .. } => named.clone(),
            Self::Required { named, .. } => named.as_deref().cloned(),
        }
    }

    /// Whether nobody can judge for the moment.
    pub(crate) fn is_unjudged(&self) -> bool {
        matches!(self, Self::Token(refused) if refused.code() == Code::Unavailable)
    }

    /// Whether what was shown was good until its end. Of a token that an issuer is asked about only the issuer knows.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Certificate(refusal) => refusal.reason() == "expired",
            Self::Key { refused, .. } => *refused == api_key::Refused::Expired,
            Self::Token(refused) => matches!(refused.why, Why::Expired | Why::TooOld | Why::Inactive),
            _ => false,
        }
    }

    /// Whether the caller showed something that is refused.
    #[must_use]
    pub const fn is_about_credentials(&self) -> bool {
        !matches!(self, Self::NoSource | Self::NoCredentials | Self::Required { .. })
    }
}

// === impl Unknown ===

impl std::fmt::Debug for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

// === impl Caller ===

impl Caller {
    /// Makes a caller, whose rights are those that `judge` will decide.
    pub(crate) fn new(principal: Principal, judge: &Judge, metrics: &Metrics) -> Self {
        let (digest, rights) = (principal.digest(), Arc::new(judge.rights(&principal)));
        let requests = metrics.tenant(principal.tenant.as_str());
        Self { principal: Arc::new(principal), digest, rights, named: None, ends: None, requests }
    }

    /// Says by what it is known, and when that ends.
    fn by(self, proofs: &Proofs<'_>) -> Self {
        Self { named: Named::of(proofs).map(Arc::new), ends: proofs.ends(), ..self }
    }
}

// === impl Identities ===

impl Identities {
    /// Tells whether anybody could be identified at all.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.development.is_none() && self.issuers.is_empty() && self.keys.is_empty() && self.domains.is_empty()
    }

    /// The development identity, where this connection has it.
    pub(crate) fn development(&self, connection: &Connection) -> Option<&Caller> {
        let is_local = connection.local.ip().is_loopback() && connection.peer.ip().is_loopback();
        self.development.as_ref().filter(|_| is_local)
    }
}

// === impl Authenticated ===

impl Authenticated {
    /// The request as the listener accepted it.
    #[must_use]
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn into_parts(self) -> (Accepted, Caller) {
        (self.accepted, self.caller)
    }
}

/// Identifies the caller of `accepted`.
///
/// # Errors
/// [`Unknown`] says why the caller stays unknown, and has the request.
pub async fn verify(accepted: Accepted) -> Result<Authenticated, Box<Unknown>> {
    match caller(&accepted).await {
        Ok(caller) => {
            caller.requests.request();
            Ok(Authenticated { accepted, caller })
        }
        Err(error) => Err(Box::new(Unknown { accepted, error })),
    }
}

async fn caller(accepted: &Accepted) -> Result<Caller, Error> {
    let (snapshot, connection) = (accepted.snapshot(), accepted.connection());
    let met = Met { snapshot, connection, toolset: Some(accepted.toolset().name()) };
    let shown = || Ok(Shown::read(accepted.head())?);
    // A request without a host cannot be for a resource, and no token is for nothing.
    met.caller(shown, || protected::resource(accepted).unwrap_or_default()).await
}

// === impl Met ===

impl Met<'_> {
    /// Identifies a caller again by what it showed before, for `resource`.
    ///
    /// # Errors
    /// [`Error`] says why it is not known any more.
    pub(crate) async fn again(self, shown: Shown<'_>, resource: &str) -> Result<Caller, Error> {
        self.caller(|| Ok(shown), || resource.to_owned()).await
    }

    /// Identifies a caller by what it shows, and checks that the parts of its principal are known that have to be.
    ///
    /// # Errors
    /// [`Error`] says why it is not known.
    pub(crate) async fn caller<'s>(
        self,
        shown: impl FnOnce() -> Result<Shown<'s>, Error>,
        resource: impl FnOnce() -> String,
    ) -> Result<Caller, Error> {
        let caller = match self.snapshot.identities.development(self.connection) {
            Some(caller) => caller.clone(),
            None => self.identify(shown()?, resource).await?,
        };
        self.check_required(&caller)?;
        Ok(caller)
    }

    /// Identifies a caller by what it shows.
    async fn identify(self, shown: Shown<'_>, resource: impl FnOnce() -> String) -> Result<Caller, Error> {
        let identities = &self.snapshot.identities;
        let now = clock::now();
        let certificate = self.certificate(now)?;
        if shown.is_nothing() && certificate.is_none() {
            return Err(if identities.are_none() { Error::NoSource } else { Error::NoCredentials });
        }
        let key = shown.key.map(|key| lookup(&identities.keys, key, now)).transpose()?;
        let token = match shown.token {
            Some(token) => Some(self.check_token(token, &resource(), now).await?),
            None => None,
        };
        let proofs = Proofs { certificate, key, token };
        let (judge, metrics) = (self.snapshot.judge(), &self.snapshot.services.metrics);
        identities.callers.get(&proofs, || Ok(Caller::new(compose(&proofs)?, judge, metrics).by(&proofs)))
    }

    /// Checks a token, which has to be for this toolset.
    async fn check_token(self, token: &str, resource: &str, now: Timestamp) -> Result<Arc<Verified>, Error> {
        let certificate = self.connection.certificate.as_ref().map(|identity| identity.thumbprint());
        let presented = Presented { token, resource, certificate, now };
        Ok(self.snapshot.identities.issuers.verify(presented).await?)
    }

    /// The agent that the connection's certificate is of, and its tenant.
    fn certificate(self, now: Timestamp) -> Result<Option<(Arc<PeerIdentity>, TenantId)>, Error> {
        let Some(identity) = &self.connection.certificate else { return Ok(None) };
        identity.still_trusted(now).map_err(Error::Certificate)?;
        let tenant = self.snapshot.identities.domains.get(identity.id().trust_domain());
        let tenant = tenant.ok_or_else(|| Error::Domain(identity.id().clone()))?;
        Ok(Some((Arc::clone(identity), tenant.clone())))
    }

    /// Checks that the parts of a principal are known that the listener and the toolset require.
    fn check_required(self, caller: &Caller) -> Result<(), Error> {
        let Self { snapshot, connection, toolset } = self;
        let principal = &caller.principal;
        let required = |by, missing| Err(Error::Required { by, missing, named: caller.named.clone() });
        let listener = snapshot.listener(&connection.listener).map(|listener| listener.config.requires);
        if let Some(missing) = missing(listener.unwrap_or_default(), principal) {
            return required(format!("listener `{}`", connection.listener), missing);
        }
        let Some(toolset) = toolset else { return Ok(()) };
        // A toolset of another tenant demands nothing: it does not exist, as the next stage says.
        let is_elsewhere = || {
            let table = snapshot.toolsets.get(toolset);
            table.is_some_and(|table| authorize::is_elsewhere(snapshot, table, caller))
        };
        match missing(snapshot.demands(toolset).access.requires, principal).filter(|_| !is_elsewhere()) {
            Some(missing) => required(format!("toolset `{toolset}`"), missing),
            None => Ok(()),
        }
    }
}

/// Looks an API key up.
fn lookup<'a>(keys: &'a api_key::Keys, presented: &str, now: Timestamp) -> Result<api_key::Known<'a>, Error> {
    use api_key::Refused as R;

    keys.lookup(presented, now).map_err(|refused| {
        let named = match refused {
            // Anybody can make up an id.
            R::Malformed | R::Unknown => None,
            R::Expired | R::NotYetValid => keys.named(presented).map(|(id, document)| Named::key(document, id)),
        };
        Error::Key { refused, named }
    })
}

/// Makes one principal of what was proven.
///
/// # Errors
/// [`Error::Conflict`] when the proofs are not of one caller.
fn compose(proofs: &Proofs<'_>) -> Result<Principal, Error> {
    let conflict = |parts| Error::Conflict { parts, named: Named::of(proofs) };
    let certified = proofs.certificate.as_ref();
    let tenants = [
        certified.map(|(_, tenant)| tenant),
        proofs.key.map(|key| key.tenant),
        proofs.token.as_ref().map(|token| &token.principal.tenant),
    ];
    let mut tenants = tenants.into_iter().flatten();
    let tenant = tenants.next().cloned().unwrap_or_default(); // Without proofs there is no principal.
    if tenants.any(|other| *other != tenant) {
        return Err(conflict("tenants"));
    }
    let workload = match (certified, proofs.key) {
        (Some(_), Some(_)) => return Err(conflict("agents")),
        (Some((identity, _)), None) => Some(Principal::agent(tenant, identity.id().to_string())),
        (None, Some(key)) => Some(key.principal()),
        (None, None) => None,
    };
    let of_token = proofs.token.as_ref().map(|token| &token.principal);
    match (workload, of_token) {
        (Some(_), Some(Principal { agent: Some(_), .. })) => Err(conflict("agents")),
        // What a user consented to is what the token says; what its agent may do alone is not added to it.
        (Some(workload), Some(token)) => Ok(Principal { agent: workload.agent, ..token.clone() }),
        (Some(workload), None) => Ok(workload),
        (None, Some(token)) => Ok(token.clone()),
        (None, None) => Err(Error::NoCredentials),
    }
}

/// The part of a principal that is required and that this one does not have.
pub(crate) fn missing(requires: Requires, principal: &Principal) -> Option<&'static str> {
    match principal {
        Principal { agent: None, .. } if requires.agent => Some("an agent"),
        Principal { user: None, .. } if requires.user => Some("a user"),
        _ => None,
    }
}
