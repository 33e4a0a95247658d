//! The service `Cluster`: who is in the cluster and how it does, and what operators do about it.
//!
//! Each call reads its request, does one thing through the node's [`Membership`](super::node::Membership) and tells what came of it;
//! who may call was decided before. What a call is about is noted for its record.

mod backup;
mod nodes;
mod operators;
mod seen;
mod status;
mod tokens;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use quorate_membership::authority::AuthorityPem;
use quorate_membership::pem;
use quorate_proto::admin::v1;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

pub(crate) use self::nodes::{led_elsewhere, transfer};
pub(crate) use self::seen::Seen;
pub use self::status::timestamp;
use super::authority;
use super::caller::{Caller, Note};
use super::errors;
use super::latest::latest;
use super::node::{Beginning, Documents, Node, Standing};
use super::service::cluster_server;

/// Watches of all connections together: each makes a status twice a second.
const WATCHES_MAX: usize = 64;
/// Requests to join at the same time: anybody may send them, and each may ask a quorum.
const JOINS_MAX: usize = 16;
/// Backups that are put back at the same time: each is held as a whole catalog, of up to 1 GiB.
const RESTORES_MAX: usize = 1;
/// When to try again where too many do the same.
const AGAIN: Duration = Duration::from_secs(2);
/// How often a status is looked at for changes, at most.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The service.
pub(crate) struct Cluster {
    node: Node,
    seen: Seen,
    watches: Arc<Semaphore>,
    joins: Arc<Semaphore>,
    restores: Arc<Semaphore>,
    documents: Arc<dyn Documents>,
}

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(node: Node, seen: Seen, documents: Arc<dyn Documents>) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (watches, joins, restores) = (places(WATCHES_MAX), places(JOINS_MAX), places(RESTORES_MAX));
        Self { node, seen, watches, joins, restores, documents }
    }

    fn status(&self) -> v1::GetStatusResponse {
        match self.node.standing() {
            Standing::Member(member) => {
                status::of(&*member, &member.control().catalog(), &self.seen, self.seen.staleness())
            }
            standing @ (Standing::Alone | Standing::Waiting(_)) => status::outside(&standing),
        }
    }
}

#[async_trait]
impl cluster_server::Cluster for Cluster {
    type WatchStatusStream = Stream_<v1::GetStatusResponse>;
    type BackupStream = Stream_<v1::BackupChunk>;

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        if !request.get_ref().linearizable {
            return Ok(Response::new(self.status()));
        }
        let member = self.node.member()?;
        let catalog = latest(member.control()).await.map_err(|error| errors::read(&error))?;
        Ok(Response::new(status::of(&*member, &catalog, &self.seen, Some(Duration::ZERO))))
    }

    async fn watch_status(
        &self,
        _request: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHES_MAX} watches are open on this node: ask another one");
            errors::retry(Code::ResourceExhausted, "WATCHES", message, Duration::from_secs(5))
        })?;
        let watcher = Self {
            node: self.node.clone(),
            seen: self.seen.clone(),
            watches: Arc::clone(&self.watches),
            joins: Arc::clone(&self.joins),
            restores: Arc::clone(&self.restores),
            documents: Arc::clone(&self.documents),
        };
        let stream = futures_util::stream::unfold((watcher, None, place), |(watcher, told, place)| async move {
            let status = loop {
                let status = watcher.status();
                match &told {
                    Some(told) if status::says_the_same(told, &status) => {}
                    Some(_) | None => break status,
                }
                tokio::time::sleep(WATCH_EVERY).await;
            };
            if told.is_some() {
                tokio::time::sleep(WATCH_EVERY).await;
            }
            Some((Ok(status.clone()), (watcher, Some(status), place)))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn bootstrap(
        &self,
        request: Request<v1::BootstrapRequest>,
    ) -> Result<Response<v1::BootstrapResponse>, Status> {
        let candidate = match self.node.standing() {
            Standing::Waiting(candidate) => candidate,
            Standing::Member(_) => return Err(nodes::member_already()),
            Standing::Alone => return Err(errors::alone()),
        };
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let v1::BootstrapRequest { node_name, shards, replicas, documents, authority } = request.into_inner();
        let node_name = nodes::optional_name("node_name", &node_name)?;
        nodes::check_count("shards", shards, quorate_catalog::GROUPS_MAX)?;
        nodes::check_count("replicas", replicas, quorate_catalog::REPLICATION_MAX)?;
        let authority = authority.map(|given| AuthorityPem { chain: given.chain, key: given.key.into() });
        if !documents.is_empty() {
            self.documents.check(&documents).await?;
        }
        let (member, operator) = candidate.bootstrap(Beginning { node_name, shards, replicas, authority }).await?;
        self.node.became(Arc::clone(&member));
        note.about(format_args!("cluster {}", member.trust().cluster()));
        let mut warnings = Vec::new();
        // The cluster is there, and its first key is shown only now: what is wrong with its resources is said beside it.
        if !documents.is_empty()
            && let Err(status) = self.documents.apply(&*member, documents, &caller.to_string()).await
        {
            warnings.push(format!("the first resources were not applied: {}", status.message()));
        }
        let made = v1::BootstrapResponse {
            cluster_id: member.trust().cluster().to_string(),
            node: member.id().0,
            warnings,
            ..v1::BootstrapResponse::default()
        };
        Ok(Response::new(match operator {
            Some(operator) => v1::BootstrapResponse {
                operator_certificate_pem: operator.certificate_pem,
                operator_key_pem: operator.key_pem.to_string(),
                trust_bundle_pem: operator.trust_bundle_pem,
                ..made
            },
            None => {
                let trusted: Vec<_> = member.trust().bundle().certificates().cloned().collect();
                v1::BootstrapResponse { trust_bundle_pem: pem::of_certificates(&trusted), ..made }
            }
        }))
    }

    async fn join_cluster(
        &self,
        request: Request<v1::JoinClusterRequest>,
    ) -> Result<Response<v1::JoinClusterResponse>, Status> {
        let candidate = match self.node.standing() {
            Standing::Waiting(candidate) => candidate,
            Standing::Member(_) => return Err(nodes::member_already()),
            Standing::Alone => return Err(errors::alone()),
        };
        let note = Note::of(&request);
        let member = candidate.join(&request.get_ref().token).await?;
        self.node.became(Arc::clone(&member));
        note.about(format_args!("node {} of {}", member.id(), member.trust().cluster()));
        let (cluster_id, node) = (member.trust().cluster().to_string(), member.id().0);
        Ok(Response::new(v1::JoinClusterResponse { cluster_id, node }))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        tokens::create(&self.node, request).await.map(Response::new)
    }

    async fn list_join_tokens(
        &self,
        request: Request<v1::ListJoinTokensRequest>,
    ) -> Result<Response<v1::ListJoinTokensResponse>, Status> {
        tokens::list(&self.node, request.get_ref()).map(Response::new)
    }

    async fn revoke_join_token(
        &self,
        request: Request<v1::RevokeJoinTokenRequest>,
    ) -> Result<Response<v1::RevokeJoinTokenResponse>, Status> {
        tokens::revoke(&self.node, request).await.map(Response::new)
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let member = self.node.member()?;
        let _place = self.joins.try_acquire().map_err(|_| {
            let message = format!("{JOINS_MAX} nodes ask this one to join at the moment: ask again, or another member");
            errors::retry(Code::ResourceExhausted, "JOINS", message, AGAIN)
        })?;
        let response = member.admit(&request.get_ref().request).await?.into();
        Ok(Response::new(v1::JoinResponse { response }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let node = request.get_ref().node;
        Note::of(&request).about(format_args!("node {node}"));
        nodes::set_state(&*self.node.member()?, node, quorate_catalog::NodeState::Draining).await?;
        Ok(Response::new(v1::DrainNodeResponse {}))
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        let node = request.get_ref().node;
        Note::of(&request).about(format_args!("node {node}"));
        nodes::set_state(&*self.node.member()?, node, quorate_catalog::NodeState::Active).await?;
        Ok(Response::new(v1::UndrainNodeResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let v1::RemoveNodeRequest { node, forced } = *request.get_ref();
        Note::of(&request).about(format_args!("node {node}{}", if forced { " by force" } else { "" }));
        nodes::remove(&*self.node.member()?, node, forced).await?;
        Ok(Response::new(v1::RemoveNodeResponse {}))
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        let v1::ReplaceNodeRequest { node, by } = *request.get_ref();
        Note::of(&request).about(format_args!("node {node} by node {by}"));
        nodes::replace(&*self.node.member()?, node, by).await?;
        Ok(Response::new(v1::ReplaceNodeResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let v1::TransferLeaderRequest { to, groups } = request.get_ref();
        Note::of(&request).about(format_args!("to node {to}"));
        let moved = transfer(&*self.node.member()?, *to, groups).await?;
        Ok(Response::new(v1::TransferLeaderResponse { moved }))
    }

    async fn snapshot(&self, request: Request<v1::SnapshotRequest>) -> Result<Response<v1::SnapshotResponse>, Status> {
        let taken = nodes::snapshot(&*self.node.member()?, &request.get_ref().groups).await?;
        Note::of(&request).about(format_args!("of {} groups", taken.len()));
        Ok(Response::new(v1::SnapshotResponse { taken }))
    }

    async fn create_operator(
        &self,
        request: Request<v1::CreateOperatorRequest>,
    ) -> Result<Response<v1::CreateOperatorResponse>, Status> {
        operators::create(&self.node, request).await.map(Response::new)
    }

    async fn list_operators(
        &self,
        request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        operators::list(&self.node, request.get_ref()).map(Response::new)
    }

    async fn revoke_operator(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorResponse>, Status> {
        operators::revoke(&self.node, request).await.map(Response::new)
    }

    async fn rotate_authority(
        &self,
        request: Request<v1::RotateAuthorityRequest>,
    ) -> Result<Response<v1::RotateAuthorityResponse>, Status> {
        let (member, note) = (self.node.member()?, Note::of(&request));
        note.about(format_args!("authority: {}", authority::word(request.get_ref().step())));
        let authority = Some(member.rotate_authority(request.into_inner()).await?);
        Ok(Response::new(v1::RotateAuthorityResponse { authority }))
    }

    async fn backup(&self, _request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let stream = backup::write(&*self.node.member()?).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestoreChunk>>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        let (caller, note) = (Caller::of(&request), Note::of(&request));
        let _place = self.restores.try_acquire().map_err(|_| {
            let message = "another backup is being put back on this node";
            errors::retry(Code::ResourceExhausted, "RESTORES", message, AGAIN)
        })?;
        let restored = backup::restore(&*self.node.member()?, &*self.documents, &caller, request.into_inner()).await?;
        note.about(format_args!("revision {}", restored.revision));
        Ok(Response::new(restored))
    }
}
