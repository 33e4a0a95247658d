//! What tests of backends share: a backend that nobody answers for, and an actor in the place of its own.
//!
//! Nothing here opens a connection by itself; a test hands in what a server would have said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use quorate_http::client::{Client, DEFAULTS};
use quorate_telemetry::Metrics;
use quorate_tls::{ClientOptions, ClientTls};
use quorate_types::{ResourceName, TenantId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::actor::Message;
use super::{Config, Handle};
use crate::upstream::{Endpoint, EraSetting, Limits, TransportSetting};

/// A backend without an actor, at an address where nobody listens.
pub(super) fn backend() -> Handle {
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None }).expect("a TLS configuration");
    let client = Client::new(&DEFAULTS, tls);
    let endpoint = Endpoint::http("http://127.0.0.1:9/mcp", client, HeaderMap::new(), Limits::default());
    let config = Config {
        name: ResourceName::new("one").expect("a valid name"),
        tenant: TenantId::new("default").expect("a valid tenant"),
        endpoints: vec![endpoint.expect("a valid address")],
        era: EraSetting::Auto,
        transport: TransportSetting::Auto,
        health: quorate_scheduler::Config::DEFAULTS,
        check_timeout: Duration::from_secs(1),
        concurrency_max: 1,
        items_max: 100,
    };
    Handle::new(config, Metrics::new("0"))
}

/// An actor in the place of a backend's, which only counts how often it is to probe.
pub(super) async fn actor() -> (ActorRef<Message>, Arc<AtomicUsize>) {
    let probes = Arc::new(AtomicUsize::new(0));
    let (actor, _task) = Actor::spawn(None, Counter, Arc::clone(&probes)).await.expect("it starts");
    (actor, probes)
}

struct Counter;

impl Actor for Counter {
    type Msg = Message;
    type State = Arc<AtomicUsize>;
    type Arguments = Arc<AtomicUsize>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        probes: Arc<AtomicUsize>,
    ) -> Result<Arc<AtomicUsize>, ActorProcessingErr> {
        Ok(probes)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        probes: &mut Arc<AtomicUsize>,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, Message::Probe) {
            probes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
