//! etcd's call, served by the bench's nodes: gRPC over a plain socket, as etcd's clients have it by default.
//!
//! A put becomes a proposal to group 1 on the node that is asked, and is answered when it is applied there. A node that does
//! not lead says so, and does not forward.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use quorate_raft::{Group, Host, Proposal};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::table;

/// What the build makes of `proto/etcd.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub(super) mod proto {
    tonic::include_proto!("etcdserverpb");
}

/// The group that clients write to.
const GROUP: quorate_wal::GroupId = quorate_wal::GroupId(1);

/// Commits what clients put.
pub(super) struct Committer {
    group: Option<Group>,
}

// === impl Committer ===

impl Committer {
    /// Takes the group that clients write to, if there is one.
    pub(super) fn new(host: &Host) -> Self {
        Self { group: host.group(GROUP) }
    }
}

#[tonic::async_trait]
impl proto::kv_server::Kv for Committer {
    async fn put(&self, request: Request<proto::PutRequest>) -> Result<Response<proto::PutResponse>, Status> {
        let proto::PutRequest { key, value } = request.into_inner();
        let key = key.try_into().map(u64::from_be_bytes);
        let key = key.map_err(|_| Status::invalid_argument("a key has eight bytes"))?;
        let group = self.group.as_ref().ok_or_else(|| Status::failed_precondition("there is no group 1"))?;
        let proposal = Proposal { level: 1, body: table::command(key, &value), epoch: None };
        let proposed = group.propose(proposal).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let header = proto::ResponseHeader {
            revision: i64::try_from(proposed.index).unwrap_or(i64::MAX),
            raft_term: proposed.epoch,
            ..proto::ResponseHeader::default()
        };
        Ok(Response::new(proto::PutResponse { header: Some(header) }))
    }
}

/// Serves until the process ends; returns where.
///
/// # Errors
/// When there is no port.
pub(super) async fn serve(committer: Committer) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port on loopback")?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .add_service(proto::kv_server::KvServer::new(committer))
        .serve_with_incoming(incoming);
    tokio::spawn(async move {
        if let Err(error) = server.await {
            eprintln!("quorate-bench: clients are not served any more: {error}");
        }
    });
    Ok(address)
}
