//! How a replica reaches the other replicas of its group: openraft's network over the streams between nodes.
//!
//! Appends are pipelined: each is under way as soon as it is made, and the answers come in order. The requests of one such
//! stream have its number, so that the follower ends them together when one of them does not fit ([`crate::serve`]).
//! An append that says nothing but what is committed waits a moment for entries, which say it too. Heartbeats stand alone: no
//! append is before them. What a follower has of earlier terms is not sent to it ([`crate::matched`]). Snapshots go as chunks
//! of low urgency, from where the receiver stands.
//!
//! Knows nothing of connections: what is not connected is unreachable, and openraft tries again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message as _;
use quorate_peer::{CallError, Lane, Peers, Protocol, Urgency};
use quorate_proto::raft::v1;
use quorate_proto::raft::v1::request::Kind as Ask;
use quorate_proto::raft::v1::response::Kind as Told;
use quorate_types::NodeId;
use quorate_wal::GroupId;
use tokio::time::{Instant, timeout_at};

use crate::codec::{DecodeError, Wire};
use crate::log::Reader;
use crate::matched::{self, Matched};
use crate::snapshot::Snapshot;
use crate::state::WithMeta;
use crate::transfer;
use crate::types::{LogId, Types, Vote};

/// What consensus is called on the streams between nodes.
pub(crate) const PROTOCOL: Protocol = Protocol::RAFT;

/// Appends of one stream that are under way at once. While the follower's disk syncs one, the next is on its way, and what is
/// proposed meanwhile gathers for the one behind: an append costs much the same whatever is in it, and with more of them
/// under way each has less. Measured (three nodes on two cores, 64 writers over a socket): 0.09 ms of CPU an entry against
/// 0.18 ms with 32, and 1.3 times as many entries a second. On a link of 20 ms it is 75 MB/s a group, in batches of
/// [`READ_BYTES_MAX`](crate::log::READ_BYTES_MAX). The follower takes twice as many, since an answer and the next request
/// cross.
pub(crate) const APPENDS_MAX: usize = 2;

/// How long an answer to an append may take. The follower's disk is in it; a link that is dead is known earlier by its
/// keepalive.
const APPEND_PATIENCE: Duration = Duration::from_secs(2);

/// How long a follower may take to say what it has: it needs no more than for a heartbeat, or is sent everything.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// How long followers may not hear that something was committed, when no entry follows that says so. A writer that waits for
/// each of its commits has the next one on its way by then, so half of all messages between nodes are not sent.
const COMMIT_PATIENCE: Duration = Duration::from_millis(2);

/// Makes the networks of one group.
#[derive(Clone)]
pub(crate) struct Factory {
    group: GroupId,
    peers: Peers,
    /// The number of the next stream of appends, of all groups; 0 stands for none.
    streams: Arc<AtomicU64>,
    log: Reader,
}

/// Reaches one replica of one group.
pub(crate) struct Network {
    factory: Factory,
    target: NodeId,
    /// Whether its appends stand alone.
    beats: bool,
    matched: Matched,
}

// === impl Factory ===

impl Factory {
    pub(crate) fn new(group: GroupId, peers: Peers, streams: Arc<AtomicU64>, log: Reader) -> Self {
        Self { group, peers, streams, log }
    }

    fn network(&self, target: NodeId, beats: bool) -> Network {
        Network { factory: self.clone(), target, beats, matched: Matched::default() }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, (): &()) -> Network {
        self.network(target, false)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, (): &()) -> Network {
        self.network(target, true)
    }
}

// === impl Network ===

impl Network {
    /// Asks; the request is in the queue when this returns, and the answer is what it gives.
    pub(crate) fn ask(
        &self,
        ask: Ask,
        urgency: Urgency,
    ) -> impl Future<Output = Result<Told, RPCError<Types>>> + Send + use<> {
        let asked = ask_peer(&self.factory.peers, self.factory.group, self.target, ask, urgency);
        async move { asked.await.map_err(rpc_error) }
    }

    fn append(
        &self,
        stream: u64,
        request: &AppendEntriesRequest<Types>,
    ) -> impl Future<Output = Result<v1::AppendResponse, RPCError<Types>>> + Send + use<> {
        let append = v1::AppendEntries { stream, ..request.to_message() };
        let told = self.ask(Ask::Append(append), Urgency::Consensus);
        async move {
            match in_time(APPEND_PATIENCE, told).await? {
                Told::Append(response) => Ok(response),
                other => Err(unexpected(&other)),
            }
        }
    }

    /// What of an append is to be sent: a follower is asked first for what it may have of earlier terms.
    async fn missing(&self, request: AppendEntriesRequest<Types>) -> AppendEntriesRequest<Types> {
        if !matched::has_inherited(&request) {
            return request;
        }
        let has = match self.matched.told(&request.vote) {
            Some(told) => told,
            None => {
                let has = self.ask_for_inherited(request.vote).await;
                self.matched.note(request.vote, has);
                has
            }
        };
        matched::missing(request, has)
    }

    /// Asks the follower for the last entry of terms before that of this vote; returns it if the follower says that it has it.
    async fn ask_for_inherited(&self, vote: Vote) -> Option<LogId> {
        let last = self.factory.log.last_before(vote.leader_id.term).await?;
        let probe = AppendEntriesRequest { vote, prev_log_id: Some(last), entries: Vec::new(), leader_commit: None };
        match in_time(PROBE_PATIENCE, self.ask(Ask::Probe(probe.to_message()), Urgency::Consensus)).await {
            Ok(Told::Append(response)) => {
                let told = AppendEntriesResponse::<Types>::from_message(response).ok()?;
                told.is_success().then_some(last)
            }
            // It is sent all of it, as one that does not have it.
            other => {
                tracing::debug!(group = %self.factory.group, to = %self.target, ?other, "a follower does not say what it has");
                None
            }
        }
    }

    async fn ask_for_vote(&self, ask: Ask, option: &RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match in_time(option.soft_ttl(), self.ask(ask, Urgency::Consensus)).await? {
            Told::Vote(response) => VoteResponse::from_message(response).map_err(|error| unreadable(&error)),
            other => Err(unexpected(&other)),
        }
    }
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let response = self.append(0, &request).await?;
        AppendEntriesResponse::from_message(response).map_err(|error| unreadable(&error))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.beats {
            return stream_append_sequential(self, input, option);
        }
        let stream = self.factory.streams.fetch_add(1, Ordering::Relaxed);
        let network = &*self;
        let missing = with_the_next(input).then(|request| network.missing(request));
        let appends = missing.map(move |request| {
            let response = network.append(stream, &request);
            async move { StreamAppendResult::from_message(response.await?).map_err(|error| unreadable(&error)) }
        });
        // What comes behind an end is for nobody: the follower has ended the stream there too.
        let until_end = appends.buffered(APPENDS_MAX).scan(false, |ended, result| {
            let next = (!*ended).then(|| result.clone());
            *ended = !matches!(result, Ok(Ok(_)));
            if *ended {
                network.matched.forget();
            }
            future::ready(next)
        });
        Box::pin(future::ready(Ok(until_end.boxed())))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: WithMeta,
        cancelled: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        transfer::send(self, vote, snapshot.snapshot, cancelled).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(Ask::Vote(request.to_message()), &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(Ask::PreVote(request.to_message()), &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let ask = Ask::Transfer(request.to_message());
        match in_time(option.soft_ttl(), self.ask(ask, Urgency::Consensus)).await? {
            Told::Transfer(response) => {
                TransferLeaderResponse::from_message(response).map_err(|error| unreadable(&error))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// Leaves out appends without entries that another one follows soon: it says all that they do, and openraft takes its answer
/// as theirs. The last of a stream does not wait: it asks where the follower stands.
fn with_the_next<S>(input: S) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + use<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    stream::unfold(input.fuse(), |mut input| async move {
        let mut next = input.next().await?;
        let deadline = Instant::now() + COMMIT_PATIENCE;
        while next.entries.is_empty()
            && let Ok(Some(later)) = timeout_at(deadline, input.next()).await
        {
            next = later;
        }
        Some((next, input))
    })
}

/// Asks a replica of a group on another node; the request is in the queue when this returns.
pub(crate) fn ask_peer(
    peers: &Peers,
    group: GroupId,
    target: NodeId,
    ask: Ask,
    urgency: Urgency,
) -> impl Future<Output = Result<Told, AskError>> + Send + use<> {
    let lane = Lane { protocol: PROTOCOL, number: group.0 };
    let called = peers.call(target, lane, v1::Request { kind: Some(ask) }.encode_to_vec().into(), urgency);
    async move {
        let answer: Bytes = called.await?;
        match v1::Response::decode(answer).map_err(DecodeError::NotProtobuf)?.kind {
            Some(Told::Refusal(refusal)) => Err(AskError::Refused(refusal.reason)),
            Some(told) => Ok(told),
            None => Err(DecodeError::Absent { field: "response.kind" }.into()),
        }
    }
}

/// Why a replica on another node did not answer what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The request did not get there, or its answer not back.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It does not have the group, or cannot answer now.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Its answer is none.
    #[error("its answer cannot be read")]
    Unreadable(#[from] DecodeError),
    /// It took too long.
    #[error("no answer in {0:?}")]
    Late(Duration),
}

pub(crate) async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, RPCError<Types>>>,
) -> Result<T, RPCError<Types>> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(rpc_error(AskError::Late(patience))),
    }
}

/// All of these are worth another try, and none at once: openraft waits a little before it.
fn rpc_error(error: AskError) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

pub(crate) fn unreadable(error: &DecodeError) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

pub(crate) fn unexpected(told: &Told) -> RPCError<Types> {
    let kind = match told {
        Told::Append(_) => "append",
        Told::Vote(_) => "vote",
        Told::Snapshot(_) => "snapshot",
        Told::Transfer(_) => "transfer",
        Told::Forward(_) => "forward",
        Told::ReadIndex(_) => "read_index",
        Told::StateHash(_) => "state_hash",
        Told::Differs(_) => "differs",
        Told::Refusal(_) => "refusal",
    };
    let field = DecodeError::Unexpected { field: "response.kind", kind };
    RPCError::Unreachable(Unreachable::new(&field))
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use tokio::sync::mpsc;

    use super::*;
    use crate::types::{Entry, Epoch, LogId};

    fn at(index: u64) -> LogId {
        LogId::new(Epoch::new(1), index)
    }

    /// An append behind an entry, with one more entry or without any.
    fn append(behind: u64, has_entry: bool, committed: u64) -> AppendEntriesRequest<Types> {
        let entry = Entry { log_id: at(behind + 1), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, NodeId(1)),
            prev_log_id: Some(at(behind)),
            entries: has_entry.then_some(entry).into_iter().collect(),
            leader_commit: Some(at(committed)),
        }
    }

    /// What openraft gives, and what is sent of it.
    fn streams() -> (mpsc::Sender<AppendEntriesRequest<Types>>, impl Stream<Item = AppendEntriesRequest<Types>> + Unpin)
    {
        let (input, received) = mpsc::channel(8);
        let received = stream::unfold(received, |mut received| async { Some((received.recv().await?, received)) });
        (input, Box::pin(with_the_next(Box::pin(received))))
    }

    /// How many entries the next append has, what it says is committed, and how long it was waited for.
    async fn next(sent: &mut (impl Stream<Item = AppendEntriesRequest<Types>> + Unpin)) -> (usize, u64, Duration) {
        let began = Instant::now();
        let request = sent.next().await.unwrap_or_else(|| append(0, false, 0));
        (request.entries.len(), request.leader_commit.map_or(0, |at| at.index), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_goes_with_the_entries_behind_it() {
        let (input, mut sent) = streams();
        input.send(append(1, true, 1)).await.unwrap();
        assert_eq!(next(&mut sent).await, (1, 1, Duration::ZERO));

        input.send(append(2, false, 2)).await.unwrap();
        input.send(append(2, false, 3)).await.unwrap();
        input.send(append(3, true, 3)).await.unwrap();
        assert_eq!(next(&mut sent).await, (1, 3, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_no_entry_follows_is_told_in_time() {
        let (input, mut sent) = streams();
        let telling = async {
            input.send(append(2, false, 2)).await.unwrap();
            tokio::time::sleep(COMMIT_PATIENCE / 2).await;
            // It does not begin the time anew.
            input.send(append(2, false, 3)).await.unwrap();
        };
        let (told, ()) = tokio::join!(next(&mut sent), telling);
        assert_eq!(told, (0, 3, COMMIT_PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_append_of_a_stream_does_not_wait() {
        let (input, mut sent) = streams();
        input.send(append(2, false, 2)).await.unwrap();
        drop(input);
        assert_eq!(next(&mut sent).await, (0, 2, Duration::ZERO));
        assert!(sent.next().await.is_none());
    }
}
