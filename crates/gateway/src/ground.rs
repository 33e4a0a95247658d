//! What tests of single files stand on: the services of a node that listens on nothing, and snapshots of one toolset.
//!
//! In: who is known by which API key, and what is allowed. Out: the same tables that a configuration is compiled to, but
//! for servers: there are none, and nobody is asked for anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use quorate_audit::Audit;
use quorate_config::{Access, Source};
use quorate_identity::api_key::{self, Fresh, Keys, MacKey};
use quorate_mcp::naming::Naming;
use quorate_policy::{Document, Mode, Policies};
use quorate_runtime::bridge::Bridge;
use quorate_runtime::listing::{self, Listing, Watch};
use quorate_runtime::shard::{Limits, Sessions};
use quorate_runtime::shards::Shards;
use quorate_session::Durability;
use quorate_telemetry::{Metrics, Throttle, Tracer};
use quorate_types::seal::{KEY_BYTES, Sealer};
use quorate_types::{ResourceName, TenantId, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Identities;
use crate::judge::Judge;
use crate::llm::{Counting, Models};
use crate::protected::Demands;
use crate::snapshot::{Instructions, ListenerTable, Services, Snapshot, ToolsetTable};
use crate::tasks::Owners;
use crate::toolset::Toolset;

/// The toolset that there is.
pub(crate) const TOOLSET: &str = "tools";
/// The listener that serves it.
pub(crate) const LISTENER: &str = "data";

/// A node that listens on nothing.
pub(crate) struct Ground {
    pub(crate) services: Arc<Services>,
    present: Arc<ArcSwap<Snapshot>>,
    toolset: Arc<Toolset>,
}

/// What a snapshot is made of.
pub(crate) struct Rules<'a> {
    /// Who has a key, and until when.
    pub(crate) keys: &'a [(&'a Fresh, Option<Timestamp>)],
    /// The policy, in Cedar.
    pub(crate) cedar: &'a str,
    /// The scopes that the toolset demands.
    pub(crate) scopes: &'a [&'a str],
}

// === impl Ground ===

impl Ground {
    /// One whose present snapshot is made of these rules.
    pub(crate) fn new(rules: &Rules<'_>) -> Self {
        let (sealer, metrics) = (Sealer::new(&[0; KEY_BYTES]), Metrics::new("0"));
        let config = quorate_session::Config::DEFAULTS;
        let limits = Limits { sessions_max: 8, principal_sessions_max: 8, principal_unread_bytes_max: 1 << 20 };
        let sessions = Sessions::new(config, limits, sealer.clone(), metrics.clone(), Shards::new());
        let toolset = Arc::new(toolset(&metrics));
        let services = Arc::new(Services {
            sealer,
            bridge: Bridge::new(sessions.clone(), metrics.clone()),
            sessions,
            metrics,
            tracer: Tracer::disabled(),
            toolsets: ArcSwap::from_pointee(HashMap::from([(name(TOOLSET), Arc::clone(&toolset))])),
            judge: ArcSwap::from_pointee(Judge::new(Policies::deny_all())),
            present: OnceLock::new(),
            audit: Audit::disabled(),
            tasks: Owners::default(),
            counting: Counting::default(),
            throttle: Throttle::default(),
            draining: CancellationToken::new(),
        });
        let present = Arc::new(ArcSwap::from_pointee(snapshot(&services, &toolset, rules)));
        assert!(services.present.set(Arc::downgrade(&present)).is_ok(), "they are new");
        Self { services, present, toolset }
    }

    /// Puts other rules in force, and returns what was present before: nobody is told.
    pub(crate) fn change(&self, rules: &Rules<'_>) -> Arc<Snapshot> {
        self.present.swap(Arc::new(snapshot(&self.services, &self.toolset, rules)))
    }

    /// The present snapshot.
    pub(crate) fn present(&self) -> Arc<Snapshot> {
        self.present.load_full()
    }
}

/// An API key of these random bytes.
pub(crate) fn key(entropy: u8) -> Fresh {
    Fresh::new([entropy; 8], [entropy; 32])
}

/// The agent whose key it is.
pub(crate) fn agent(key: &Fresh) -> ResourceName {
    name(&format!("of-{}", key.id))
}

pub(crate) fn name(name: &str) -> ResourceName {
    ResourceName::new(name).expect("a valid name")
}

fn snapshot(services: &Arc<Services>, toolset: &Arc<Toolset>, rules: &Rules<'_>) -> Snapshot {
    let mac_key = MacKey::of_root(&[7; 32]);
    let config = |(key, expires): &(&Fresh, Option<Timestamp>)| api_key::Config {
        name: agent(key),
        tenant: TenantId::default(),
        agent: agent(key),
        scopes: BTreeSet::new(),
        groups: BTreeSet::new(),
        secrets: vec![api_key::Secret { id: key.id, mac: mac_key.mac(key), not_before: None, expires: *expires }],
    };
    let keys: Vec<_> = rules.keys.iter().map(config).collect();
    let document = Document {
        name: name("access"),
        tenant: TenantId::default(),
        text: rules.cedar.to_owned(),
        arguments: BTreeMap::new(),
        mode: Mode::default(),
    };
    let policies = Policies::compile(&[document], &[]).expect("a good policy");
    let scopes = rules.scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let demands = Demands { access: Access { scopes, ..Access::default() }, ..Demands::default() };
    let judge = Arc::new(Judge::new(policies));
    services.judge.store(Arc::clone(&judge));
    Snapshot {
        services: Arc::clone(services),
        identities: Identities {
            keys: Keys::new(&keys, mac_key).expect("keys that differ"),
            ..crate::node::identities::none()
        },
        judge,
        superseded: CancellationToken::new(),
        demands: HashMap::from([(name(TOOLSET), demands)]),
        listeners: HashMap::from([(name(LISTENER), listener())]),
        toolsets: HashMap::from([(name(TOOLSET), Arc::clone(toolset))]),
        models: Models::default(),
    }
}

/// The listener that serves the toolset.
fn listener() -> ListenerTable {
    let text = format!("kind: Listener\nname: {LISTENER}\nspec: {{ address: \"127.0.0.1:0\" }}");
    let set = quorate_config::parse(&[Source { file: "listener.yaml".into(), text }]).expect("a good listener");
    ListenerTable {
        config: set.listeners()[0].clone(),
        toolsets: HashSet::from([name(TOOLSET)]),
        concurrency: Arc::new(Semaphore::new(8)),
    }
}

fn toolset(metrics: &Metrics) -> Toolset {
    let servers = Arc::new(Vec::new());
    Toolset::new(name(TOOLSET), Vec::new(), Arc::clone(&servers), |_, _| {
        let config = listing::Config {
            toolset: name(TOOLSET),
            curation: None,
            members: Vec::new(),
            naming: Naming::Bare,
            combinations: 1,
            combination: 0,
            watch: Arc::new(Watch::new(name(TOOLSET), 1, metrics.clone())),
        };
        ToolsetTable {
            name: name(TOOLSET),
            tenant: TenantId::default(),
            listing: Listing::new(config, metrics.clone()),
            servers: Arc::clone(&servers),
            gates: Arc::default(),
            instructions: Instructions { own: None, kept: Vec::new() },
            durability: Durability::default(),
        }
    })
}
