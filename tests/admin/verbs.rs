//! Each call of the admin API with a real request: refused to the role below the one it takes, then made by that one, and
//! what it did is looked at; a request with a field that is wrong is refused by the field's name.
//!
//! One cluster goes through all of it, as an operator would take it: documents and keys, then nodes that come, are moved
//! away from, replaced and removed. At its end every call of `admin.proto` was made.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quorate_client::{Client, Context, Error, Method, Refused, Upload, Watch};
use quorate_cluster::{Cluster, Options, Place, free_address};
use quorate_proto::admin::v1;
use tonic::Code;

use crate::callers::Caller;
use crate::proto::{Call, Least, calls};
use crate::sessions;

/// Longer than any call takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The clients of the roles, and which calls they made.
pub(crate) struct Roles {
    pub(crate) viewer: Client,
    pub(crate) operator: Client,
    admin: Client,
    calls: BTreeMap<String, Call>,
    made: RefCell<BTreeSet<&'static str>>,
}

/// Makes an operator of each role, and returns the folders of their contexts: viewer, operator, admin.
pub(crate) fn contexts(cluster: &Cluster) -> anyhow::Result<[PathBuf; 3]> {
    let make = |role: &str| {
        let folder = cluster.folder().join(role);
        let out = folder.to_str().context("it is UTF-8")?;
        cluster.operate(&["cluster", "operator", "new", "--name", role, "--role", role, "--out", out])?.success()?;
        anyhow::Ok(folder)
    };
    Ok([make("viewer")?, make("operator")?, make("admin")?])
}

/// Makes another cluster, of a node that waits beside the nodes of this one.
pub(crate) async fn other(cluster: &mut Cluster) -> anyhow::Result<v1::BootstrapResponse> {
    let place = cluster.add()?;
    let bootstrap = v1::BootstrapRequest { shards: 1, ..Default::default() };
    Ok(socket(cluster, place).call(bootstrap).await?)
}

/// A client of a node's own socket.
fn socket(cluster: &Cluster, place: Place) -> Client {
    Client::of_socket(&cluster.data(place).join("admin.sock"), PATIENCE)
}

/// The refusal of a call that must be refused.
pub(crate) fn refused<A>(answered: Result<A, Error>) -> anyhow::Result<Refused> {
    match answered {
        Err(Error::Refused { refused, .. }) => Ok(*refused),
        Err(other) => bail!("it is no refusal: {other}"),
        Ok(_) => bail!("it is done"),
    }
}

/// Tells whether a call is refused because of a field.
fn is_wrong<A>(field: &str, answered: Result<A, Error>) -> anyhow::Result<()> {
    let refused = refused(answered).context(field.to_owned())?;
    let is_named = refused.fields.iter().any(|(name, reason)| name == field && !reason.is_empty());
    ensure!(refused.code == Code::InvalidArgument && is_named, "{field}: {refused:?}");
    Ok(())
}

/// Tells whether a call is refused for a reason that programs can read.
pub(crate) fn is_refused<A>(reason: &str, answered: Result<A, Error>) -> anyhow::Result<()> {
    let refused = refused(answered).context(reason.to_owned())?;
    ensure!(refused.reason == reason, "{reason}: {refused:?}");
    Ok(())
}

pub(crate) fn document(name: &str, url: &str) -> v1::Document {
    let json = serde_json::json!({ "kind": "ToolServer", "name": name, "spec": { "urls": [url] } });
    v1::Document {
        kind: "ToolServer".to_owned(),
        name: name.to_owned(),
        json: json.to_string().into_bytes().into(),
        origin: format!("{name}.yaml:1"),
        ..Default::default()
    }
}

fn get(name: &str, revision: Option<u64>) -> v1::GetRequest {
    v1::GetRequest { kind: "ToolServer".to_owned(), name: name.to_owned(), revision, ..Default::default() }
}

fn delete(name: &str) -> v1::DeleteRequest {
    v1::DeleteRequest { kind: "ToolServer".to_owned(), name: name.to_owned(), ..Default::default() }
}

// === impl Roles ===

impl Roles {
    fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = |folder: PathBuf| {
            let context = Context::read(&folder.join("context.yaml"))?;
            anyhow::Ok(Client::of_context(&context, PATIENCE)?)
        };
        let [viewer, operator, admin] = contexts(cluster)?;
        let made = RefCell::new(BTreeSet::new());
        let (viewer, operator, admin) = (client(viewer)?, client(operator)?, client(admin)?);
        Ok(Self { viewer, operator, admin, calls: calls()?, made })
    }

    /// The client of the least role of a call, and that of the role below.
    fn of_path(&self, path: &'static str) -> anyhow::Result<(&Client, Option<&Client>)> {
        match self.calls.get(path).with_context(|| format!("{path} is not in admin.proto"))?.least {
            Least::Viewer => Ok((&self.viewer, None)),
            Least::Operator => Ok((&self.operator, Some(&self.viewer))),
            Least::Admin => Ok((&self.admin, Some(&self.operator))),
            least @ (Least::Anyone | Least::Local) => bail!("{path} is for {least:?}, and made by hand"),
        }
    }

    /// Notes that a call was made, and was not refused.
    pub(crate) fn made(&self, path: &'static str) {
        self.made.borrow_mut().insert(path);
    }

    /// Tells whether a call was refused for want of its role.
    pub(crate) fn lacks<A>(&self, path: &str, answered: Result<A, Error>) -> anyhow::Result<()> {
        let refused = refused(answered).with_context(|| format!("{path} by the role below"))?;
        let role = self.calls[path].least.word();
        let says = refused.metadata.get("role").is_some_and(|needed| needed == role) && refused.message.contains(role);
        let is_denied = refused.code == Code::PermissionDenied && refused.reason == "ROLE";
        ensure!(is_denied && says, "{path}: {refused:?}");
        Ok(())
    }

    /// Makes a call as the least role that may, after the role below was refused it.
    pub(crate) async fn call<M: Method>(&self, request: M) -> anyhow::Result<M::Answer> {
        let (least, below) = self.of_path(M::PATH)?;
        if let Some(below) = below {
            self.lacks(M::PATH, below.call(request.clone()).await)?;
        }
        let answer = least.call(request).await.context(M::PATH)?;
        self.made(M::PATH);
        Ok(answer)
    }

    /// Makes a call that is wrong, as the least role that may.
    pub(crate) async fn wrong<M: Method>(&self, field: &str, request: M) -> anyhow::Result<()> {
        is_wrong(field, self.of_path(M::PATH)?.0.call(request).await).context(M::PATH)
    }

    /// Makes a call that is refused for a reason, as the least role that may.
    pub(crate) async fn refused<M: Method>(&self, reason: &str, request: M) -> anyhow::Result<()> {
        is_refused(reason, self.of_path(M::PATH)?.0.call(request).await).context(M::PATH)
    }

    /// Begins a call with many answers, after the role below was refused it.
    pub(crate) async fn watch<M: Watch>(&self, request: M) -> anyhow::Result<quorate_client::Answers<M::Answer>> {
        let (least, below) = self.of_path(M::PATH)?;
        if let Some(below) = below {
            let begun = async { below.watch(request.clone()).await?.next().await };
            self.lacks(M::PATH, begun.await)?;
        }
        let answers = least.watch(request).await.context(M::PATH)?;
        self.made(M::PATH);
        Ok(answers)
    }

    /// Makes a call with many requests, after the role below was refused it.
    async fn upload<M: Upload + Clone>(&self, requests: Vec<M>) -> anyhow::Result<M::Answer> {
        let (least, below) = self.of_path(M::PATH)?;
        if let Some(below) = below {
            self.lacks(M::PATH, below.upload(requests.clone()).await)?;
        }
        let answer = least.upload(requests).await.context(M::PATH)?;
        self.made(M::PATH);
        Ok(answer)
    }

    pub(crate) async fn status(&self) -> anyhow::Result<v1::GetStatusResponse> {
        self.call(v1::GetStatusRequest { linearizable: true }).await
    }

    /// The node of a name.
    async fn node(&self, name: &str) -> anyhow::Result<v1::Node> {
        let status = self.status().await?;
        status.nodes.into_iter().find(|node| node.name == name).with_context(|| format!("{name} is no node"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_refused_to_the_role_below_and_does_what_it_says_for_its_own() -> anyhow::Result<()> {
    let listens = (0..3).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
    let mut cluster = Cluster::start(Options {
        shards: 4,
        flags: ["--development-identity", "--allow-all"].map(str::to_owned).to_vec(),
        own_flags: listens.iter().map(|listen| vec!["--listen".to_owned(), listen.to_string()]).collect(),
        ..Options::default()
    })?;
    let roles = Roles::of(&cluster)?;

    documents(&roles).await?;
    backups(&roles).await?;
    sessions::all(&roles, &cluster, &listens).await?;
    keys(&roles).await?;
    audit(&roles).await?;
    operators(&roles, &cluster).await?;
    authorities(&roles).await?;
    moves(&roles, &cluster).await?;
    nodes(&roles, &mut cluster).await?;

    let made = roles.made.borrow();
    // Those of health and reflection are made with the first certificate of an operator.
    let ours = roles.calls.keys().filter(|path| path.starts_with("/quorate."));
    let missing: Vec<_> = ours.filter(|path| !made.contains(path.as_str())).collect();
    ensure!(missing.is_empty(), "nobody made {missing:?}");
    Ok(())
}

async fn documents(roles: &Roles) -> anyhow::Result<()> {
    let apply =
        |documents: Vec<v1::Document>| v1::ApplyRequest { documents, message: "why".to_owned(), ..Default::default() };
    let (one, two) = (document("one", "http://127.0.0.1:9/a"), document("two", "http://127.0.0.1:9/b"));
    let mut watching = roles.watch(v1::WatchRequest::default()).await?;

    let dry = v1::ApplyRequest { dry_run: true, ..apply(vec![one.clone()]) };
    let tried = roles.viewer.call(dry).await?;
    ensure!(tried.changes.len() == 1, "a viewer's dry run says what would change: {tried:?}");
    ensure!(roles.call(v1::ListRequest::default()).await?.resources.is_empty(), "and changes nothing");
    let first = roles.call(apply(vec![one.clone(), two])).await?;
    ensure!(first.changes.len() == 2 && first.revision > 0, "{first:?}");
    // Which nodes have it comes later, each time.
    let is_active = |seen: v1::WatchResponse| {
        seen.revision.is_some_and(|revision| revision.number == first.revision)
            && seen.nodes.iter().filter(|node| node.active == first.revision).count() == 3
    };
    while !is_active(watching.next().await?.context("the watch goes on")?) {}

    let other = document("one", "http://127.0.0.1:9/c");
    let differs = roles.call(v1::DiffRequest { documents: vec![other.clone()], ..Default::default() }).await?;
    let field = differs.changes.first().and_then(|change| change.fields.first()).context("a field differs")?;
    ensure!(field.path == "/spec/urls/0" && field.after.as_deref() == Some("\"http://127.0.0.1:9/c\""), "{field:?}");
    let stale = v1::ApplyRequest { expected_revision: Some(first.revision + 7), ..apply(vec![other.clone()]) };
    roles.refused("CONFLICT", stale).await?;
    let unknown = v1::Document { kind: "Toolserver".to_owned(), ..other.clone() };
    roles.wrong("documents[0].kind", apply(vec![unknown])).await?;
    let second = roles.call(apply(vec![other])).await?;

    let now = roles.call(get("one", None)).await?;
    let before = roles.call(get("one", Some(first.revision))).await?;
    let json = |resource: &v1::Resource| resource.document.as_ref().map(|document| document.json.clone());
    ensure!(now.revision == second.revision && json(&now) != json(&before), "{now:?} {before:?}");
    ensure!(now.changed_by.contains("operator operator (operator)"), "{}", now.changed_by);
    roles.refused("UNKNOWN", get("three", None)).await?;
    let page = v1::ListRequest { page_size: 1, ..Default::default() };
    let first_page = roles.call(page.clone()).await?;
    let rest = roles.call(v1::ListRequest { page_token: first_page.next_page_token.clone(), ..page }).await?;
    ensure!(
        first_page.resources.len() == 1 && rest.resources.len() == 1 && rest.next_page_token.is_empty(),
        "{rest:?}"
    );
    roles.wrong("page_size", v1::ListRequest { page_size: -1, ..Default::default() }).await?;

    let deleted = roles.call(delete("two")).await?;
    ensure!(deleted.revision > second.revision, "{deleted:?}");
    roles.refused("UNKNOWN", delete("two")).await?;
    let history = roles.call(v1::ListRevisionsRequest::default()).await?;
    ensure!(history.revisions[0].number == deleted.revision && history.revisions.len() == 3, "{history:?}");
    let back = roles.call(v1::RollbackRequest { to: first.revision, ..Default::default() }).await?;
    ensure!(back.changes.len() == 2, "{back:?}");
    ensure!(json(&roles.call(get("one", None)).await?) == json(&before), "it is as it was");
    roles.refused("UNKNOWN", v1::RollbackRequest { to: back.revision + 9, ..Default::default() }).await
}

async fn backups(roles: &Roles) -> anyhow::Result<()> {
    let mut backup = roles.watch(v1::BackupRequest {}).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = backup.next().await? {
        chunks.push(v1::RestoreChunk { data: chunk.data });
    }
    roles.call(delete("one")).await?;

    let restored = roles.upload(chunks).await?;

    ensure!((restored.added, restored.changed, restored.deleted) == (1, 0, 0), "{restored:?}");
    roles.call(get("one", None)).await?;
    let none = v1::RestoreChunk { data: b"no backup".to_vec().into() };
    let refused = refused(roles.admin.upload(vec![none]).await)?;
    ensure!(refused.code == Code::InvalidArgument, "{refused:?}");
    Ok(())
}

async fn keys(roles: &Roles) -> anyhow::Result<()> {
    let order = v1::CreateKeyRequest { name: "build".to_owned(), agent: "builder".to_owned(), ..Default::default() };
    let made = roles.call(order.clone()).await?;
    ensure!(made.key.starts_with("qk_") && made.revision > 0, "it has a key");
    let text = |document: &v1::Document| String::from_utf8_lossy(&document.json).into_owned();
    ensure!(
        made.document.as_ref().is_some_and(|document| !text(document).contains(&made.key)),
        "its document has none"
    );
    roles.wrong("name", v1::CreateKeyRequest { name: "No Name".to_owned(), ..order }).await?;
    let listed = roles.call(v1::ListKeysRequest::default()).await?;
    ensure!(listed.keys.len() == 1 && listed.keys[0].name == "build", "{listed:?}");

    let revoke = v1::RevokeKeyRequest { name: "build".to_owned(), ..Default::default() };
    roles.call(revoke.clone()).await?;

    ensure!(roles.call(v1::ListKeysRequest::default()).await?.keys.is_empty());
    let unknown = refused(roles.admin.call(revoke).await)?;
    ensure!(unknown.code == Code::NotFound, "{unknown:?}");
    Ok(())
}

async fn audit(roles: &Roles) -> anyhow::Result<()> {
    let mut records = roles.watch(v1::ReadAuditRequest { after: 0, limit: 5 }).await?;
    let first = records.next().await?.context("there are records")?;
    ensure!(serde_json::from_slice::<serde_json::Value>(&first.json).is_ok() && first.number > 0, "{first:?}");
    // What was applied at first: who, and the names of the documents.
    let mut all = roles.watch(v1::ReadAuditRequest { after: 0, limit: 10_000 }).await?;
    let mut found = false;
    while let Some(record) = all.next().await? {
        let text = String::from_utf8_lossy(&record.json);
        found |=
            text.contains("Resources/Apply") && text.contains("ToolServer/default/two") && text.contains("\"added\"");
    }
    ensure!(found, "no record names what was applied");
    let verified = roles.call(v1::VerifyAuditRequest {}).await?;
    ensure!(verified.whole && verified.records >= first.number, "{verified:?}");
    Ok(())
}

async fn operators(roles: &Roles, cluster: &Cluster) -> anyhow::Result<()> {
    let order = v1::CreateOperatorRequest { name: "bo".to_owned(), role: v1::Role::Viewer.into(), valid_for: None };
    roles.wrong("role", v1::CreateOperatorRequest { role: 0, ..order.clone() }).await?;
    let made = roles.call(order).await?;
    let caller = Caller::of_pem(&made.certificate_pem, &made.key_pem)?;
    let mut connection = caller.connect(cluster.admin(1)).await?;
    let status = connection.call("/quorate.admin.v1.Cluster/GetStatus", true).await?;
    ensure!(status.code() == Code::Ok, "its certificate is good at once, on any node: {status}");
    let status = connection.call("/grpc.health.v1.Health/Watch", false).await?;
    ensure!(status.code() == Code::Ok, "health is watched: {status}");
    let mut nobody = Caller::nobody()?.connect(cluster.admin(1)).await?;
    let status = nobody.call("/grpc.health.v1.Health/Check", true).await?;
    ensure!(status.code() == Code::Ok, "health is told to anyone: {status}");
    let status = connection.call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true).await?;
    ensure!(status.code() == Code::InvalidArgument, "a question without words is answered by reflection: {status}");
    revoked(roles, cluster, &caller).await
}

/// What was made for `bo` is taken back.
async fn revoked(roles: &Roles, cluster: &Cluster, caller: &Caller) -> anyhow::Result<()> {
    let listed = roles.call(v1::ListOperatorsRequest::default()).await?;
    let bo = listed.operators.iter().find(|operator| operator.name == "bo").context("it is listed")?;
    ensure!(bo.created_by.contains("operator admin") && bo.revoked_at.is_none(), "{bo:?}");
    roles.wrong("page_size", v1::ListOperatorsRequest { page_size: 1_001, ..Default::default() }).await?;
    roles.wrong("id", v1::RevokeOperatorRequest::default()).await?;
    roles.refused("UNKNOWN", v1::RevokeOperatorRequest { name: "nobody".to_owned(), ..Default::default() }).await?;

    let gone = roles.call(v1::RevokeOperatorRequest { name: "bo".to_owned(), ..Default::default() }).await?;

    ensure!(gone.ids == [bo.id.clone()], "{gone:?}");
    for place in 0..3 {
        let address = cluster.admin(place);
        let refused = async || match caller.connect(address).await {
            Ok(mut connection) => connection.call("/quorate.admin.v1.Cluster/GetStatus", true).await.is_err(),
            Err(_) => true,
        };
        let deadline = Instant::now() + PATIENCE;
        while !refused().await {
            ensure!(Instant::now() < deadline, "place {place} takes it yet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn authorities(roles: &Roles) -> anyhow::Result<()> {
    let step = |step: v1::RotationStep| v1::RotateAuthorityRequest { step: step.into(), authority: None };
    let phase = |answer: &v1::RotateAuthorityResponse| answer.authority.as_ref().map(v1::AuthorityStatus::phase);
    roles.wrong("step", step(v1::RotationStep::Unspecified)).await?;
    roles.refused("ROTATION", step(v1::RotationStep::Retire)).await?;

    let announced = roles.call(step(v1::RotationStep::Announce)).await?;
    ensure!(phase(&announced) == Some(v1::RotationPhase::Announced), "{announced:?}");
    let told = roles.status().await?.authority.context("viewers see it")?;
    ensure!(told.trusted.len() == 2 && told.trusted.iter().filter(|one| one.signs).count() == 1, "{told:?}");

    let steady = roles.call(step(v1::RotationStep::Cancel)).await?;
    ensure!(phase(&steady) == Some(v1::RotationPhase::Steady), "{steady:?}");
    Ok(())
}

async fn moves(roles: &Roles, cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader()?;
    let to = roles.node(&format!("node-{}", (leader + 1) % 3 + 1)).await?.id;
    let at = |client: &Client| anyhow::Ok(client.at(&cluster.admin(leader).to_string().parse()?));
    let transfer = v1::TransferLeaderRequest { to, groups: vec![0] };
    // Whoever else is asked leads nothing that could be handed over: both roles ask the leader.
    roles.lacks(v1::TransferLeaderRequest::PATH, at(&roles.viewer)?.call(transfer.clone()).await)?;
    // To a node that is behind nothing is handed over.
    let deadline = Instant::now() + PATIENCE;
    let moved = loop {
        match at(&roles.operator)?.call(transfer.clone()).await {
            Ok(moved) => break moved,
            Err(Error::Refused { refused, .. })
                if refused.message.contains("is behind") && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    ensure!(moved.moved == [0], "{moved:?}");
    roles.made(v1::TransferLeaderRequest::PATH);
    roles.refused("UNKNOWN", v1::TransferLeaderRequest { to: 99, ..transfer }).await?;

    let taken = roles.call(v1::SnapshotRequest { groups: vec![0] }).await?;
    ensure!(taken.taken == [0], "{taken:?}");
    roles.refused("UNKNOWN", v1::SnapshotRequest { groups: vec![400] }).await
}

async fn nodes(roles: &Roles, cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut watching = roles.watch(v1::WatchStatusRequest {}).await?;
    let before = watching.next().await?.context("a status at once")?;
    ensure!(before.nodes.len() == 3 && before.mode() == v1::NodeMode::Member, "{before:?}");

    tokens(roles).await?;
    let fourth = joined(roles, cluster).await?;
    while watching.next().await?.context("it goes on")?.nodes.len() < 4 {}

    roles.call(v1::DrainNodeRequest { node: fourth }).await?;
    ensure!(roles.node("node-4").await?.state() == v1::NodeState::Draining);
    roles.refused("UNKNOWN", v1::DrainNodeRequest { node: 99 }).await?;
    roles.call(v1::UndrainNodeRequest { node: fourth }).await?;
    ensure!(roles.node("node-4").await?.state() == v1::NodeState::Active);
    roles.refused("UNKNOWN", v1::UndrainNodeRequest { node: 99 }).await?;

    let fifth = joined(roles, cluster).await?;
    roles.call(v1::ReplaceNodeRequest { node: fourth, by: fifth }).await?;
    ensure!(roles.node("node-4").await.is_err(), "it was replaced");
    roles.refused("UNKNOWN", v1::ReplaceNodeRequest { node: fourth, by: fifth }).await?;
    roles.call(v1::RemoveNodeRequest { node: fifth, forced: false }).await?;
    ensure!(roles.status().await?.nodes.len() == 3, "it was removed");
    roles.refused("UNKNOWN", v1::RemoveNodeRequest { node: fifth, forced: false }).await?;

    // The socket of a node that waits, which makes another cluster of itself; then it is asked to join, too late.
    let made = other(cluster).await?;
    ensure!(made.node == 1 && made.operator_key_pem.contains("PRIVATE KEY"));
    let over_tls = roles.admin.call(v1::BootstrapRequest::default()).await;
    is_refused("LOCAL_ONLY", over_tls)?;
    let twice = socket(cluster, 5).call(v1::BootstrapRequest::default()).await;
    is_refused("BOOTSTRAPPED", twice)?;
    roles.made(v1::BootstrapRequest::PATH);
    Ok(())
}

async fn tokens(roles: &Roles) -> anyhow::Result<()> {
    let order = v1::CreateJoinTokenRequest { comment: "a rack".to_owned(), ..Default::default() };
    let made = roles.call(order).await?;
    let second = |seconds| prost_types::Duration { seconds, nanos: 0 };
    roles.wrong("valid_for", v1::CreateJoinTokenRequest { valid_for: Some(second(1)), ..Default::default() }).await?;
    let listed = roles.call(v1::ListJoinTokensRequest::default()).await?;
    let token = listed.tokens.iter().find(|token| token.id == made.id).context("it is listed")?;
    ensure!(token.comment == "a rack" && token.created_by.contains("admin"), "{token:?}");
    let revoke = v1::RevokeJoinTokenRequest { id: made.id.clone() };
    roles.call(revoke).await?;
    let listed = roles.call(v1::ListJoinTokensRequest::default()).await?;
    ensure!(listed.tokens.iter().all(|token| token.id != made.id), "it is revoked: {listed:?}");
    roles.refused("TOKEN_UNKNOWN", v1::RevokeJoinTokenRequest { id: "f".repeat(32) }).await?;

    // What a node says that joins is for anybody to say; what is none is refused for what it is.
    let garbage = v1::JoinRequest { request: b"let me in".to_vec().into() };
    let unknown = refused(roles.viewer.call(garbage).await)?;
    ensure!(unknown.code != Code::Internal && !unknown.reason.is_empty(), "{unknown:?}");
    Ok(())
}

/// Has a new node join, through its socket, and returns its number.
async fn joined(roles: &Roles, cluster: &mut Cluster) -> anyhow::Result<u64> {
    let place = cluster.add()?;
    let made = roles.call(v1::CreateJoinTokenRequest::default()).await?;
    let join = v1::JoinClusterRequest { token: made.token };
    is_refused("LOCAL_ONLY", roles.admin.call(join.clone()).await)?;
    is_wrong("token", socket(cluster, place).call(v1::JoinClusterRequest { token: "none".to_owned() }).await)?;
    let node = socket(cluster, place).call(join).await?.node;
    // The node has made the other one, with what its token says.
    roles.made(v1::JoinClusterRequest::PATH);
    roles.made(v1::JoinRequest::PATH);
    cluster.settled(place)?;
    Ok(node)
}
