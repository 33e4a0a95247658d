//! What must fit together of those who vouch, and of who is vouched for.
//!
//! A token, a certificate and a key have one judge each; listeners trust issuers that there are; what a token must be
//! made for is never for a stranger to say; and members of groups can exist. Each problem is told once, at the document
//! that has to change or came second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_types::ResourceName;

use super::{Links, NAMES_SHOWN_MAX, Reference};
use crate::access::Hosts;
use crate::error::{Reason, shown};
use crate::node::Path;
use crate::resource::identity::Vouching;
use crate::resource::{ApiKey, Issuer, Kind, Listener, Tenant, TrustedIssuers};

// === impl Links ===

impl Links<'_> {
    /// Each token and certificate has one judge. A JWT and a token that only its issuer can read are told apart before
    /// anybody judges, so that one issuer may be there once for each.
    pub(super) fn judges(&mut self, issuers: &[Issuer]) {
        self.token_prefixes(issuers);
        let mut first: BTreeMap<(&str, &str), &Issuer> = BTreeMap::new();
        for issuer in issuers {
            let (way, key, name) = match &issuer.method {
                Vouching::Oidc(oidc) => ("oidc", "issuer", &oidc.issuer),
                Vouching::Introspection(asked) => ("introspection", "issuer", &asked.issuer),
                Vouching::Spiffe(domain) => ("spiffe", "trustDomain", &domain.domain),
            };
            let before = first.entry((way, name)).or_insert(issuer);
            // One name for two documents is told of by itself.
            if before.name != issuer.name {
                let message = format!(
                    "Issuer {:?} judges the {} of {} already, and there must be one judge",
                    before.name.as_str(),
                    if way == "spiffe" { "certificates" } else { "tokens" },
                    shown(name),
                );
                let path = spec().key(way).key(key);
                self.push((Kind::Issuer, &issuer.name), &path, Reason::Conflict { message });
            }
        }
    }

    /// A token that nobody can read is told by its beginning whose it is, and shown to that issuer alone.
    fn token_prefixes(&mut self, issuers: &[Issuer]) {
        let prefix = |issuer: &'_ Issuer| match &issuer.method {
            Vouching::Introspection(asked) => Some(asked.token_prefix.clone().unwrap_or_default()),
            Vouching::Oidc(_) | Vouching::Spiffe(_) => None,
        };
        let asked: Vec<_> = issuers.iter().filter_map(|issuer| Some((issuer, prefix(issuer)?))).collect();
        for (index, (issuer, own)) in asked.iter().enumerate() {
            let path = spec().key("introspection").key("tokenPrefix");
            // One that takes what is left does not contend with prefixes.
            let contends = |other: &str| match own.is_empty() || other.is_empty() {
                true => own == other,
                false => own.starts_with(other) || other.starts_with(own.as_str()),
            };
            let Some((first, other)) = asked[..index].iter().find(|(_, other)| contends(other)) else { continue };
            // One name for two documents is told of by itself.
            if first.name == issuer.name {
                continue;
            }
            let message = if own.is_empty() {
                format!(
                    "Issuer {:?} is asked about tokens without a prefix already, and they must be shown to one issuer \
                     alone: give one of them a prefix",
                    first.name.as_str()
                )
            } else {
                format!(
                    "{} and {} of Issuer {:?} begin alike, and a token must be shown to one issuer alone",
                    shown(own),
                    shown(other),
                    first.name.as_str()
                )
            };
            self.push((Kind::Issuer, &issuer.name), &path, Reason::Conflict { message });
        }
    }

    /// Whose certificates a listener takes: of issuers that there are, by certificates, for its tenant.
    pub(super) fn clients(&mut self, listener: &Listener, issuers: &[Issuer]) {
        let Some(clients) = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref()) else { return };
        let at = spec().key("tls").key("clients");
        let by_certificates = |issuer: &&Issuer| matches!(issuer.method, Vouching::Spiffe(_));
        match &clients.issuers {
            TrustedIssuers::Only(names) => {
                for (index, name) in names.iter().enumerate() {
                    let path = at.key("issuers").index(index);
                    if let Some(issuer) = issuers.iter().find(|issuer| issuer.name == *name)
                        && !by_certificates(&issuer)
                    {
                        let message =
                            format!("Issuer {:?} vouches by tokens: name issuers of the kind spiffe", name.as_str());
                        self.push((Kind::Listener, &listener.name), &path, Reason::Conflict { message });
                        continue;
                    }
                    self.reference(&Reference {
                        from: (Kind::Listener, &listener.name),
                        tenant: &listener.tenant,
                        to: (Kind::Issuer, name),
                        path,
                    });
                }
            }
            TrustedIssuers::All => {
                let usable = |issuer: &Issuer| listener.tenant.meets(&issuer.tenant);
                // An issuer that did not compile may be the one.
                let is_unsure = self.declared.iter().any(|one| one.kind == Kind::Issuer && one.tenant.is_none());
                if !is_unsure && !issuers.iter().filter(by_certificates).any(usable) {
                    let message = "no certificate can be trusted: there is no Issuer with spiffe that this listener's \
                                   tenant may use";
                    let reason = Reason::Conflict { message: message.to_owned() };
                    self.push((Kind::Listener, &listener.name), &at, reason);
                }
            }
        }
    }

    /// Tokens that are bound to certificates can only come where certificates can. A set without listeners is a part of
    /// one.
    pub(super) fn bound_tokens(&mut self, issuers: &[Issuer], listeners: &[Listener]) {
        let takes_certificates = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        // A listener that did not compile may be the one.
        let is_unsure = self.declared.iter().any(|one| one.kind == Kind::Listener && one.tenant.is_none());
        if listeners.is_empty() || is_unsure || listeners.iter().any(takes_certificates) {
            return;
        }
        for issuer in issuers.iter().filter(|issuer| issuer.tokens().is_some_and(|tokens| tokens.bound)) {
            let way = match issuer.method {
                Vouching::Oidc(_) => "oidc",
                Vouching::Introspection(_) => "introspection",
                Vouching::Spiffe(_) => continue,
            };
            let message = "no token can be shown with the certificate that it is bound to: there is no Listener with \
                           tls.clients";
            let reason = Reason::Conflict { message: message.to_owned() };
            self.push((Kind::Issuer, &issuer.name), &spec().key(way).key("bound"), reason);
        }
    }

    /// Tokens of an issuer without audiences are made for a toolset's URL, which a listener must then have: else its
    /// host would be whatever a caller says, and a token made for another host would be good here.
    pub(super) fn audience(&mut self, listener: &Listener, issuers: &[Issuer]) {
        if listener.public_url.is_some() || listener.hosts != Hosts::Any {
            return;
        }
        // Tokens of every tenant's issuers are taken at every listener; the toolset's tenant decides later.
        let open = |issuer: &&Issuer| issuer.tokens().is_some_and(|tokens| tokens.audiences.is_empty());
        let names: Vec<&str> = issuers.iter().filter(open).map(|issuer| issuer.name.as_str()).collect();
        if names.is_empty() {
            return;
        }
        let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = if names.len() > NAMES_SHOWN_MAX { ", …" } else { "" };
        let message = format!(
            "without audiences, tokens are made for the URL of a toolset, and here that is whatever a caller's Host header \
             says: give this listener publicUrl or hosts, or give audiences to the issuers {shown}{more}"
        );
        self.push((Kind::Listener, &listener.name), &spec().key("publicUrl"), Reason::Conflict { message });
    }

    /// A presented key names itself by its id.
    pub(super) fn key_ids(&mut self, api_keys: &[Arc<ApiKey>]) {
        let mut first: BTreeMap<&str, (&ApiKey, usize)> = BTreeMap::new();
        for api_key in api_keys {
            for (index, secret) in api_key.secrets.iter().enumerate() {
                let (other, at) = *first.entry(&secret.id).or_insert((api_key, index));
                if other.name != api_key.name {
                    let path = |index: usize| spec().key("keys").index(index).key("id");
                    let first = format!("{} of ApiKey {:?}", path(at), other.name.as_str());
                    let reason = Reason::Repeated { value: shown(&secret.id), first };
                    self.push((Kind::ApiKey, &api_key.name), &path(index), reason);
                }
            }
        }
    }

    /// Members of groups that are named by an issuer can only come from one that there is, and that names them so.
    pub(super) fn members(&mut self, tenant: &Tenant, issuers: &[Issuer]) {
        let id = tenant.id();
        let declared = self.declared.iter().filter(|one| one.kind == Kind::Issuer);
        let usable = declared.filter(|one| one.tenant.as_ref().is_none_or(|owner| id.reaches(owner)));
        let usable: BTreeSet<&str> = usable.map(|one| one.name.as_str()).collect();
        let by_certificates = issuers.iter().filter(|issuer| matches!(issuer.method, Vouching::Spiffe(_)));
        let by_certificates: BTreeSet<&str> = by_certificates.map(|issuer| issuer.name.as_str()).collect();
        for group in &tenant.groups {
            for (key, members) in [("agents", &group.agents), ("users", &group.users)] {
                for (index, member) in members.iter().enumerate() {
                    let Some(issuer) = issuer_of(member) else { continue };
                    let is_usable = usable.contains(issuer.as_str());
                    // Most are in order, and need no path.
                    if is_usable && !by_certificates.contains(issuer.as_str()) {
                        continue;
                    }
                    let path = spec().key("groups").key(&group.name).key(key).index(index);
                    let from = (Kind::Tenant, &tenant.name);
                    if is_usable {
                        let message = format!(
                            "Issuer {:?} vouches by certificates, which have agents only: name them spiffe://DOMAIN/PATH",
                            issuer.as_str()
                        );
                        self.push(from, &path, Reason::Conflict { message });
                    } else {
                        self.reference(&Reference { from, tenant: &id, to: (Kind::Issuer, &issuer), path });
                    }
                }
            }
        }
    }
}

/// The issuer of a member that is named `ISSUER/SUBJECT`.
fn issuer_of(member: &str) -> Option<ResourceName> {
    let (issuer, _) = member.split_once('/').filter(|_| !member.starts_with("spiffe://"))?;
    ResourceName::new(issuer).ok()
}

fn spec() -> Path {
    Path::default().key("spec")
}
