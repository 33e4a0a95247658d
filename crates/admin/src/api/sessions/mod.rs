//! The service `Sessions`: sessions of clients, as the records of the shards say.
//!
//! ```text
//!   list, get, watch ─▶ a replica's records, on the node that is asked
//!   end, transfer ────▶ the session, on the node that owns it; another one says which
//! ```
//!
//! A session is named by its shard and its key ([`name::Name`]). What a client holds is sealed and opens the session: it is
//! never shown, and neither is what went over the session. Owners and clients are shown as they were written down.

mod list;
mod name;
mod show;
mod watch;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::Stream;
use quorate_gateway::node::Gateway;
use quorate_proto::admin::v1;
use quorate_runtime::shard::Unknown;
use quorate_runtime::shards::{Shards, Where};
use quorate_session::shard::ENDED_MAX;
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, async_trait};

use self::list::{Page, Records as _, Row, Wanted};
use self::name::Name;
use super::caller::{Caller, Note};
use super::cluster::{led_elsewhere, transfer};
use super::paging::Paging;
use super::service::sessions_server::{self, SessionsServer};
use super::{Node, errors};

/// The most sessions of a page.
const PAGE_MAX: usize = 1_000;
/// Watches of all connections together: each keeps what it told of up to some thousand sessions.
const WATCHES_MAX: usize = 16;
const WATCHES_AGAIN: Duration = Duration::from_secs(5);
/// When to try again on a node that has just begun to run.
const STARTING: Duration = Duration::from_secs(1);

/// The service.
pub struct Sessions {
    node: Node,
    gateway: Arc<OnceLock<Gateway>>,
    watches: Arc<Semaphore>,
}

/// Makes the service; the gateway is there once the node is in a cluster.
#[must_use]
pub fn server(node: Node, gateway: Arc<OnceLock<Gateway>>) -> SessionsServer<Sessions> {
    let watches = Arc::new(Semaphore::new(WATCHES_MAX));
    SessionsServer::new(Sessions { node, gateway, watches })
}

// === impl Sessions ===

impl Sessions {
    /// The gateway of a member.
    fn gateway(&self) -> Result<&Gateway, Status> {
        self.node.member()?;
        self.gateway.get().ok_or_else(|| {
            errors::retry(Code::Unavailable, "STARTING", "the node has joined and begins to serve", STARTING)
        })
    }

    /// How many shards the cluster has.
    fn shards_max(&self) -> Result<u32, Status> {
        Ok(self.node.member()?.control().catalog().cluster().map_or(0, |cluster| cluster.groups))
    }

    /// Tells whether a session is of a shard of the cluster.
    fn of_the_cluster(&self, name: Name) -> Result<(), Status> {
        let most = self.shards_max()?;
        if (1..=most).contains(&name.shard) {
            return Ok(());
        }
        let allowed = format_args!("a session of a shard: the cluster's are 1 to {most}");
        Err(errors::not_found("name", name, allowed))
    }

    /// Tells whether the asked node owns the shard of a session.
    fn owned_here(&self, name: Name) -> Result<(), Status> {
        self.of_the_cluster(name)?;
        let catalog = self.node.member()?.control().catalog();
        match self.shards()?.locate(name.shard) {
            Where::Here(_) => Ok(()),
            Where::There(node) => Err(led_elsewhere(&catalog, "name", name.shard, Some(node))),
            Where::Unknown => Err(led_elsewhere(&catalog, "name", name.shard, None)),
        }
    }

    fn shards(&self) -> Result<&Shards, Status> {
        Ok(self.gateway()?.sessions().shards())
    }
}

#[async_trait]
impl sessions_server::Sessions for Sessions {
    type WatchSessionsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchSessionsResponse, Status>> + Send>>;

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let paging = Paging::read(request.page_size, &request.page_token, PAGE_MAX)?;
        let after = paging.after().map(|token| Name::read("page_token", token)).transpose()?;
        let shards_max = self.shards_max()?;
        let wanted = Wanted::read(request, shards_max)?;
        let shards = self.shards()?.clone();
        let elsewhere = wanted.elsewhere(&shards.held(), shards_max);
        // Some ten thousand records are looked at: not where other calls have their turn.
        let looked = tokio::task::spawn_blocking(move || {
            let Page { found, next } = list::page(&shards, &wanted, after, paging.size());
            let sessions = found.iter().map(|(name, row)| show::row(*name, row, shards.owner(name.shard)));
            let next_page_token = next.map(|name| name.to_string()).unwrap_or_default();
            v1::ListSessionsResponse { sessions: sessions.collect(), next_page_token, elsewhere }
        });
        let page = looked.await.map_err(|error| errors::error(Code::Internal, "LIST", error.to_string()))?;
        Ok(Response::new(page))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let name = Name::read("name", &request.get_ref().name)?;
        let shards = self.shards()?;
        match shards.find(name) {
            Some(Row::Live(record)) => Ok(Response::new(show::details(name, &record, shards.owner(name.shard)))),
            Some(Row::Ended(ended)) => Ok(Response::new(show::details_of_ended(name, &ended))),
            None if shards.held().contains(&name.shard) => Err(unknown(name)),
            None => {
                self.of_the_cluster(name)?;
                let catalog = self.node.member()?.control().catalog();
                Err(led_elsewhere(&catalog, "name", name.shard, shards.owner(name.shard)))
            }
        }
    }

    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        let v1::WatchSessionsRequest { tenant, toolset, server, agent, busy, shards } = request.into_inner();
        let request = v1::ListSessionsRequest { tenant, toolset, server, agent, busy, shards, ..Default::default() };
        let wanted = Wanted::read(request, self.shards_max()?)?;
        let shards = self.shards()?.clone();
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHES_MAX} watches of sessions are open on this node: ask another one");
            errors::retry(Code::ResourceExhausted, "WATCHES", message, WATCHES_AGAIN)
        })?;
        Ok(Response::new(Box::pin(watch::stream(shards, wanted, self.shards_max()?, place))))
    }

    async fn end_session(
        &self,
        request: Request<v1::EndSessionRequest>,
    ) -> Result<Response<v1::EndSessionResponse>, Status> {
        let name = Name::read("name", &request.get_ref().name)?;
        Note::of(&request).about(format_args!("session {name}"));
        let by = Caller::of(&request).to_string();
        let sessions = self.gateway()?.sessions();
        self.owned_here(name)?;
        match sessions.end_by_operator(name.shard, name.key, &by).await {
            Ok(()) => Ok(Response::new(v1::EndSessionResponse {})),
            Err(Unknown::Ended | Unknown::Forged | Unknown::Foreign) => Err(gone(name, sessions.shards())),
            Err(Unknown::Elsewhere(_)) => {
                let message =
                    format!("shard {} went to another node meanwhile: look before ending it again", name.shard);
                Err(errors::error(Code::Unknown, "OUTCOME_UNKNOWN", message))
            }
        }
    }

    async fn transfer_session(
        &self,
        request: Request<v1::TransferSessionRequest>,
    ) -> Result<Response<v1::TransferSessionResponse>, Status> {
        let name = Name::read("name", &request.get_ref().name)?;
        let to = request.get_ref().to;
        Note::of(&request).about(format_args!("session {name} to node {to}"));
        let member = self.node.member()?;
        self.owned_here(name)?;
        let shards = self.shards()?;
        shards.record(name.shard, name.key).ok_or_else(|| gone(name, shards))?;
        if to == member.id().0 {
            return Ok(Response::new(v1::TransferSessionResponse { node: to }));
        }
        if transfer(&*member, to, &[name.shard]).await?.is_empty() {
            let message = format!("node {to} has not taken shard {} over yet: look who owns it", name.shard);
            return Err(errors::error(Code::Unknown, "OUTCOME_UNKNOWN", message));
        }
        Ok(Response::new(v1::TransferSessionResponse { node: to }))
    }
}

/// Says that there is nothing to do to a session, and whether it was there.
fn gone(name: Name, shards: &Shards) -> Status {
    if shards.ended(name.shard, name.key).is_none() {
        return unknown(name);
    }
    errors::not_found("name", name, "a session that goes on: this one has ended, as GetSession tells")
}

fn unknown(name: Name) -> Status {
    let allowed = format_args!("a session that is there, or one of the latest {ENDED_MAX} of its shard that ended");
    errors::not_found("name", name, allowed)
}
