//! A node of a cluster of its own, with the services over it: requests and answers are encoded as on the wire.
//!
//! The control plane, its log and its consensus are real; only what membership does is not there, which no service here asks
//! for. A caller is put into the request as the gate does it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_admin::api::node::{IssuedToken, Membership, OperatorCertificate, TokenOrder};
use quorate_admin::api::service::audit_client::AuditClient;
use quorate_admin::api::service::keys_client::KeysClient;
use quorate_admin::api::service::resources_client::ResourcesClient;
use quorate_admin::api::{Caller, Node, Note, Standing, audit, errors, keys, resources};
use quorate_audit::Audit;
use quorate_catalog::Catalog;
use quorate_config::{ResourceSet, Resources};
use quorate_control::Control;
use quorate_follow::{Config, Follower, Sets, TIMING};
use quorate_member::FindingKind;
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::root::RootKey;
use quorate_membership::trust::Bundle;
use quorate_proto::admin::v1 as wire;
use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp};
use tempfile::TempDir;
use tonic::service::Routes;
use tonic::{Status, async_trait};

use crate::world::World;

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A node with its services.
pub(crate) struct Harness {
    pub(crate) world: World,
    pub(crate) node: Node,
    pub(crate) sets: Sets,
    pub(crate) running: Arc<std::sync::Mutex<Option<ResourceSet>>>,
    pub(crate) follower: Follower,
    pub(crate) folder: TempDir,
}

/// A node that is in a cluster, as far as documents are concerned.
struct Member {
    control: Arc<Control>,
    trust: Trust,
    credentials: Credentials,
    root: RootKey,
}

/// Services as a caller reaches them.
#[derive(Clone)]
pub(crate) struct As {
    caller: Caller,
    routes: Routes,
}

// === impl Harness ===

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::of_levels(1).await
    }

    /// A node of a cluster at feature level 1, which can work at more.
    pub(crate) async fn of_levels(level_max: u32) -> Self {
        let world = World::bootstrapped_of(1, level_max).await;
        let control = Arc::clone(world.control(NodeId(1)));
        let now = Timestamp::from_millis(1_800_000_000_000);
        let authority = Authority::mint(CLUSTER, now).expect("a root is made");
        let key = MemberKey::draw();
        let issued = authority.issue_node(NodeId(1), &[], &key.public(), now).expect("it is issued");
        let member = Member {
            control: Arc::clone(&control),
            trust: Trust::new(CLUSTER, Bundle::new([authority.anchor().clone()]).expect("it is one")),
            credentials: Credentials::new(issued.chain, &key).expect("they belong together"),
            root: RootKey::new([9; 32]),
        };
        let node = Node::new(Standing::Member(Arc::new(member)), Audit::disabled());
        let folder = tempfile::tempdir().expect("a folder");
        let sets = Sets::new(folder.path().join("inline"));
        let running = Arc::new(std::sync::Mutex::new(None));
        let run = Arc::clone(&running);
        let config = Config {
            control,
            sets: sets.clone(),
            local: Resources::default(),
            run: Arc::new(move |set| {
                *run.lock().expect("nobody panicked") = Some(set);
                Box::pin(async { Ok(()) })
            }),
            timing: TIMING,
        };
        let follower = Follower::spawn(config);
        Self { world, node, sets, running, follower, folder }
    }

    pub(crate) fn of(&self, caller: Caller) -> As {
        let used = Arc::new(HashMap::new);
        let routes = Routes::new(resources::server(self.node.clone(), self.sets.clone()))
            .add_service(keys::server(self.node.clone(), self.sets.clone(), used))
            .add_service(audit::server(Some(self.folder.path().join("audit"))));
        As { caller, routes }
    }

    /// As an operator of this name.
    pub(crate) fn operator(&self, name: &str) -> ResourcesClient<As> {
        self.of(operator(name, Role::Operator)).resources()
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        self.world.control(NodeId(1))
    }

    /// Waits until the node runs a revision.
    pub(crate) async fn is_active(&self, revision: u64) {
        let status = self.follower.status();
        self.world.until("active revision", || status.borrow().active == Some(revision)).await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn operator(name: &str, role: Role) -> Caller {
    Caller::Operator { name: ResourceName::new(name).expect("a name"), role }
}

// === impl As ===

impl As {
    pub(crate) fn resources(self) -> ResourcesClient<Self> {
        ResourcesClient::new(self).max_encoding_message_size(64 << 20)
    }

    pub(crate) fn keys(self) -> KeysClient<Self> {
        KeysClient::new(self)
    }

    pub(crate) fn audit(self) -> AuditClient<Self> {
        AuditClient::new(self)
    }
}

impl tower_service::Service<http::Request<tonic::body::Body>> for As {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = <Routes as tower_service::Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower_service::Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        request.extensions_mut().insert(self.caller.clone());
        request.extensions_mut().insert(Note::default());
        self.routes.call(request)
    }
}

// === impl Member ===

#[async_trait]
impl Membership for Member {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn id(&self) -> NodeId {
        NodeId(1)
    }

    fn trust(&self) -> &Trust {
        &self.trust
    }

    fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn root_key(&self) -> &RootKey {
        &self.root
    }

    fn findings(&self) -> BTreeMap<FindingKind, String> {
        BTreeMap::new()
    }

    async fn admit(&self, _request: &[u8]) -> Result<Vec<u8>, Status> {
        Err(errors::alone())
    }

    async fn issue_token(&self, _order: TokenOrder) -> Result<IssuedToken, Status> {
        Err(errors::alone())
    }

    async fn issue_operator(
        &self,
        _: ResourceName,
        _: Role,
        _: Duration,
        _: &str,
    ) -> Result<OperatorCertificate, Status> {
        Err(errors::alone())
    }

    async fn rotate_authority(&self, _request: wire::RotateAuthorityRequest) -> Result<wire::AuthorityStatus, Status> {
        Err(errors::alone())
    }

    fn authority(&self, _catalog: &Catalog) -> Option<wire::AuthorityStatus> {
        None
    }

    fn has_certificate_files(&self) -> bool {
        false
    }
}

/// A document as the command line sends it.
pub(crate) fn document(json: &serde_json::Value, origin: &str) -> wire::Document {
    wire::Document { json: json.to_string().into(), origin: origin.to_owned(), ..wire::Document::default() }
}

pub(crate) fn server(name: &str, port: u16) -> wire::Document {
    let urls = [format!("http://127.0.0.1:{port}/")];
    document(&serde_json::json!({ "kind": "ToolServer", "name": name, "spec": { "urls": urls } }), "")
}
