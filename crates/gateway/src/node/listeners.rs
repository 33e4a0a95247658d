//! Listeners of a configuration become sockets that are listened on.
//!
//! A listener keeps its socket as long as nothing changes that the socket's server is made of; a changed one goes on with
//! the socket of the one before. What stages read of a listener is in the snapshot, and no reason for another socket.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use quorate_config::resource::identity::{Issuer, Vouching};
use quorate_config::{Listener, ResourceSet, TlsFiles, TrustedIssuers};
use quorate_http::Observer;
use quorate_http::server::{Limits, Server};
use quorate_runtime::ingress::{self, LimitCounter, Socket};
use quorate_tls::{ClientAuth, DomainFiles, Refusal, ServerTls, TrustDomain, Watch, WatchConfig};
use quorate_types::ResourceName;
use tokio::sync::Semaphore;

use super::{Error, Gateway, Running, RunningListener};
use crate::audit;
use crate::pipeline::Pipeline;
use crate::snapshot::Services;

/// Hears what the server of a listener refuses.
struct Refusals {
    limits: LimitCounter,
    services: Arc<Services>,
    listener: ResourceName,
}

// === impl Refusals ===

impl Observer for Refusals {
    fn limit_hit(&self, limit: &'static str) {
        self.limits.limit_hit(limit);
    }

    fn client_refused(&self, peer: SocketAddr, refusal: &Refusal) {
        audit::certificate_refused(&self.services, &self.listener, peer, refusal);
    }
}

// === impl Gateway ===

impl Gateway {
    pub(super) fn ingresses(
        &self,
        resources: &ResourceSet,
        running: &Running,
    ) -> Result<HashMap<ResourceName, RunningListener>, Error> {
        let clients = |listener: &Listener| clients_of(listener, resources);
        let kept = |listener: &Listener| {
            let known = running.ingresses.get(&listener.name)?;
            (keeps_socket(&known.config, listener) && known.clients == clients(listener)).then_some(known)
        };
        let goes_on = |name: &ResourceName| {
            resources.listeners().iter().any(|listener| listener.name == *name && kept(listener).is_some())
        };
        let mut sockets: HashMap<SocketAddr, Socket> = running
            .ingresses
            .iter()
            .filter(|(name, _)| !goes_on(name))
            .filter_map(|(_, known)| Some((known.ingress.local(), known.ingress.socket()?)))
            .collect();
        let mut ingresses = HashMap::new();
        for listener in resources.listeners() {
            let before = running.ingresses.get(&listener.name);
            let mut next = match kept(listener) {
                Some(kept) => RunningListener { config: listener.clone(), ..kept.clone() },
                None => {
                    // The port that the system chose stays the same, too.
                    let chosen = before.filter(|before| before.config.address == listener.address);
                    let address = chosen.map_or(listener.address, |before| before.ingress.local());
                    self.listen(listener, clients(listener), sockets.remove(&address))?
                }
            };
            let unchanged = before.filter(|before| before.config.limits.concurrency == listener.limits.concurrency);
            if let Some(before) = unchanged {
                next.concurrency = Arc::clone(&before.concurrency);
            }
            ingresses.insert(listener.name.clone(), next);
        }
        Ok(ingresses)
    }

    /// Makes a listener, on a socket that another one leaves or on a new one.
    fn listen(
        &self,
        listener: &Listener,
        clients: Option<ClientAuth>,
        socket: Option<Socket>,
    ) -> Result<RunningListener, Error> {
        let name = listener.name.clone();
        let metrics = self.shared.services.metrics.clone();
        let limits = self.limits(listener);
        let load = |files: &TlsFiles| match &clients {
            Some(clients) => ServerTls::load_mutual(&files.certificate, &files.key, clients.clone()),
            None => ServerTls::load(&files.certificate, &files.key),
        };
        let tls = listener.tls.as_ref().map(load).transpose();
        let tls = tls.map_err(|source| Error::Tls { listener: name.clone(), source })?;
        let certificate = tls.as_ref().map(|tls| Arc::new(watch(tls, &name, &self.shared.services)));
        let observer = Refusals {
            limits: LimitCounter(metrics.clone()),
            services: Arc::clone(&self.shared.services),
            listener: name.clone(),
        };
        let server = Server::new(limits, tls, Arc::new(observer))
            .map_err(|source| Error::Limit { listener: name.clone(), source })?;
        let config = ingress::Config {
            name: name.clone(),
            address: listener.address,
            connections_max: usize::try_from(listener.limits.connections).unwrap_or(Semaphore::MAX_PERMITS),
            server,
            service: Arc::new(Pipeline::new(name.clone(), Arc::clone(&self.shared.snapshot))),
            metrics,
        };
        let bound = match socket {
            Some(socket) => ingress::Handle::on(socket, config),
            None => ingress::Handle::bind(config),
        };
        let ingress = bound.map_err(|source| Error::Bind { listener: name, source })?;
        let permits = usize::try_from(listener.limits.concurrency).unwrap_or(Semaphore::MAX_PERMITS);
        let concurrency = Arc::new(Semaphore::new(permits));
        Ok(RunningListener { config: listener.clone(), clients, ingress, concurrency, _certificate: certificate })
    }

    fn limits(&self, listener: &Listener) -> Limits {
        Limits {
            header_bytes_max: listener.limits.header.as_usize(),
            body_bytes_max: listener.limits.body.as_usize(),
            body_timeout: listener.limits.receive,
            // A head is a few packets: a long time for bodies is none for heads.
            header_read_timeout: listener.limits.receive.min(Limits::default().header_read_timeout),
            idle_timeout: listener.limits.idle,
            write_stall_timeout: listener.limits.stall,
            drain_timeout: self.shared.drain_timeout,
            streams_per_connection_max: listener.limits.streams_per_connection,
            ..Limits::default()
        }
    }
}

/// The client certificates that a listener takes.
fn clients_of(listener: &Listener, resources: &ResourceSet) -> Option<ClientAuth> {
    let clients = listener.tls.as_ref()?.clients.as_ref()?;
    let is_trusted = |issuer: &&Issuer| match &clients.issuers {
        // The operator's listeners serve every tenant, and so take every tenant's workloads.
        TrustedIssuers::All => issuer.tenant.meets(&listener.tenant),
        TrustedIssuers::Only(names) => names.contains(&issuer.name),
    };
    let domain = |issuer: &Issuer| match &issuer.method {
        Vouching::Spiffe(domain) => {
            let files = DomainFiles {
                bundles: domain.bundles.clone(),
                crls: domain.crls.clone(),
                crl_required: domain.crl_required,
            };
            Some((TrustDomain::parse(&domain.domain).ok()?, files))
        }
        Vouching::Oidc(_) | Vouching::Introspection(_) => None,
    };
    let domains: BTreeMap<TrustDomain, DomainFiles> =
        resources.issuers().iter().filter(is_trusted).filter_map(domain).collect();
    Some(ClientAuth { domains, required: clients.required })
}

/// Reloads a listener's certificate and its trust in clients when their files change, and says so.
fn watch(tls: &ServerTls, listener: &ResourceName, services: &Arc<Services>) -> Watch {
    let (of, certificate) = (format!("Listener/{listener}"), tls.certificate_path().to_owned());
    let services = Arc::clone(services);
    tls.watch(WatchConfig::default(), move |reload| audit::reloaded(&services, (&of, &certificate), &reload))
}

/// Tells whether a listener's change needs no new socket: what stages read is in the snapshot.
fn keeps_socket(before: &Listener, now: &Listener) -> bool {
    let socket = |listener: &Listener| {
        let limits = &listener.limits;
        (
            listener.address,
            listener.tls.clone(),
            (limits.header, limits.body, limits.receive, limits.idle, limits.stall),
            (limits.streams_per_connection, limits.connections),
        )
    };
    socket(before) == socket(now)
}
