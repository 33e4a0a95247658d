//! What other nodes ask the replicas of this one.
//!
//! A request names its group by its lane. Requests of one stream of appends go into openraft in the order in which they
//! came, and it ends the stream at the first that does not fit; later ones of that stream are refused. Everything else
//! stands alone and is answered when it is done. How many requests are open is bounded by the peer's stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use prost::Message as _;
use quorate_peer::{Handler, Lane, Reply};
use quorate_proto::raft::v1;
use quorate_proto::raft::v1::request::Kind as Ask;
use quorate_proto::raft::v1::response::Kind as Told;
use quorate_types::NodeId;
use quorate_wal::{GroupId, Wal};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::Raft;
use crate::codec::{DecodeError, Wire};
use crate::group::Group;
use crate::network::{APPENDS_MAX, PROTOCOL};
use crate::pulse::Heard;
use crate::takeover;
use crate::timing::Timing;
use crate::transfer::{PIECE_PATIENCE, Receiving};
use crate::types::Types;

/// The replicas of a node, as other nodes reach them.
pub(crate) struct Replicas {
    groups: RwLock<HashMap<GroupId, Arc<Replica>>>,
    /// Where consensus runs.
    runtime: Handle,
    wal: Wal,
    /// Before this no votes are given.
    votes_from: Instant,
    beat_patience: Duration,
}

/// One replica, and what is under way to it.
pub(crate) struct Replica {
    pub(crate) group: Group,
    /// The latest stream of appends of each node.
    appends: Mutex<HashMap<NodeId, Appends>>,
    receiving: Receiving,
    pub(crate) heard: Arc<Heard>,
    /// How long a heartbeat waits for the disk before it is answered without it.
    beat_patience: Duration,
}

/// A stream of appends.
struct Appends {
    number: u64,
    requests: mpsc::Sender<(AppendEntriesRequest<Types>, Reply)>,
}

/// What a request is answered with.
type Answer = Result<Told, String>;

// === impl Replicas ===

impl Replicas {
    /// Makes it without any group.
    pub(crate) fn new(runtime: Handle, wal: Wal, timing: &Timing) -> Self {
        let votes_from = Instant::now() + timing.silence();
        // A third, so that the answer is back in time over a link that takes as long.
        let beat_patience = timing.heartbeat / 3;
        Self { groups: RwLock::default(), runtime, wal, votes_from, beat_patience }
    }

    pub(crate) fn add(&self, group: Group) {
        let heard = Arc::new(Heard::never());
        let replica = Replica {
            appends: Mutex::default(),
            receiving: Receiving::default(),
            heard,
            beat_patience: self.beat_patience,
            group,
        };
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(replica.group.id(), Arc::new(replica));
    }

    pub(crate) fn remove(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&group)
    }

    pub(crate) fn clear(&self) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&group).map(Arc::clone)
    }

    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    pub(crate) fn all(&self) -> Vec<Group> {
        self.replicas().iter().map(|replica| replica.group.clone()).collect()
    }

    fn take(&self, from: NodeId, lane: Lane, payload: Bytes, reply: Reply) {
        let group = GroupId(lane.number);
        let Some(replica) = self.get(group) else {
            return answer(reply, Err(format!("there is no replica of group {group} on this node")));
        };
        let ask = match read(payload) {
            Ok(ask) => ask,
            Err(error) => return answer(reply, Err(error.to_string())),
        };
        // Told before consensus hears of it, which stops a group whose log does not take an entry.
        if has_entries(&ask)
            && let Err(error) = self.wal.admits(group)
        {
            return answer(reply, Err(error.to_string()));
        }
        if let Some(claimed) = speaker(&ask)
            && claimed != from.0
        {
            return answer(reply, Err(format!("node {from} speaks for node {claimed}")));
        }
        if is_for_a_vote(&ask) && Instant::now() < self.votes_from && replica.is_silent() {
            return answer(reply, Err("this node was started a moment ago, and gives no votes yet".to_owned()));
        }
        match ask {
            Ask::Append(append) if append.stream != 0 => match stream_of(append) {
                Ok((stream, request)) => replica.append(&self.runtime, from, stream, request, reply),
                Err(error) => answer(reply, Err(error.to_string())),
            },
            ask => {
                self.runtime.spawn(async move {
                    let patience = patience(&ask);
                    let answered = tokio::time::timeout(patience, replica.answer(from, ask)).await;
                    let late = |_| Err(format!("the group did not answer in {patience:?}"));
                    answer(reply, answered.unwrap_or_else(late));
                });
            }
        }
    }
}

impl Handler for Replicas {
    fn request(&self, from: NodeId, lane: Lane, payload: Bytes, reply: Reply) {
        if lane.protocol == PROTOCOL {
            self.take(from, lane, payload, reply);
        } else {
            answer(reply, Err(format!("this version does not speak protocol {}", lane.protocol.0)));
        }
    }
}

// === impl Replica ===

impl Replica {
    /// Puts a request into its stream of appends; one with another number than the node's latest stream begins a new one.
    fn append(&self, runtime: &Handle, from: NodeId, number: u64, request: AppendEntriesRequest<Types>, reply: Reply) {
        let mut streams = self.lock();
        let known = streams.get(&from).map(|stream| stream.number);
        if known.is_some_and(|known| number < known) {
            return answer(reply, Err("a later stream of appends has begun".to_owned()));
        }
        let begins = known != Some(number);
        if begins {
            let (requests, received) = mpsc::channel(2 * APPENDS_MAX);
            runtime.spawn(follow(self.group.raft().clone(), received, Arc::clone(&self.heard)));
            streams.insert(from, Appends { number, requests });
        }
        let stream = streams.get(&from).expect("it was there, or began");
        if let Err(error) = stream.requests.try_send((request, reply)) {
            let (reason, (_, reply)) = match error {
                mpsc::error::TrySendError::Full(refused) => ("too many appends are under way", refused),
                mpsc::error::TrySendError::Closed(refused) => ("the stream of appends has ended", refused),
            };
            answer(reply, Err(reason.to_owned()));
        }
    }

    /// Whether somebody may have led the group before, and may do so still.
    fn is_silent(&self) -> bool {
        let has_heard_of_a_term = self.group.raft().server_metrics().borrow_watched().vote.leader_id.term > 0;
        has_heard_of_a_term && !self.group.has_free_votes()
    }

    async fn answer(&self, from: NodeId, ask: Ask) -> Answer {
        let raft = self.group.raft();
        match ask {
            Ask::Append(append) => {
                let request = AppendEntriesRequest::from_message(append).map_err(text)?;
                let told = self.append_alone(request).await?;
                if told.is_success() {
                    self.heard.now();
                }
                Ok(Told::Append(told.to_message()))
            }
            Ask::Probe(append) => {
                let request = AppendEntriesRequest::from_message(append).map_err(text)?;
                raft.append_entries(request).await.map(|told| Told::Append(told.to_message())).map_err(text)
            }
            Ask::Vote(vote) => {
                let request: VoteRequest<Types> = VoteRequest::from_message(vote).map_err(text)?;
                let (is_handed_over, last) = (request.leadership_transfer, request.last_log_id);
                let told = raft.vote(request).await.map_err(text)?;
                if is_handed_over && !told.vote_granted && told.last_log_id > last {
                    takeover::stand_instead(raft).await;
                }
                Ok(Told::Vote(told.to_message()))
            }
            Ask::PreVote(vote) => {
                let request = VoteRequest::from_message(vote).map_err(text)?;
                raft.pre_vote(request).await.map(|told| Told::Vote(told.to_message())).map_err(text)
            }
            Ask::Transfer(transfer) => {
                let request = TransferLeaderRequest::from_message(transfer).map_err(text)?;
                raft.handle_transfer_leader(request).await.map(|told| Told::Transfer(told.to_message())).map_err(text)
            }
            Ask::Snapshot(chunk) => self.receiving.take(raft, self.group.store(), chunk).await.map(Told::Snapshot),
            Ask::Forward(forward) => Ok(Told::Forward(self.group.take_forwarded(forward).await)),
            Ask::StateHash(v1::StateHash { index }) => {
                Ok(Told::StateHash(v1::StateHashResponse { hash: self.group.hash_at(index) }))
            }
            Ask::Differs(v1::Differs { index, expected }) => {
                if self.group.role().borrow().leader() != Some(from) {
                    return Err(format!("node {from} does not lead the group"));
                }
                self.group.stop_if_differs(index, expected).await;
                Ok(Told::Differs(v1::DiffersResponse {}))
            }
            Ask::ReadIndex(v1::ReadIndex {}) => Ok(Told::ReadIndex(self.group.tell_read_index().await)),
        }
    }

    /// Takes an append that belongs to no stream. A heartbeat is answered without the disk when that takes its time: the leader
    /// asks whether this node still follows, and gives up soon. What it waits for is on its way to the disk already.
    async fn append_alone(&self, request: AppendEntriesRequest<Types>) -> Result<AppendEntriesResponse<Types>, String> {
        let raft = self.group.raft();
        let is_heartbeat = request.entries.is_empty();
        let (vote, previous) = (request.vote, request.prev_log_id);
        let mut appended = std::pin::pin!(raft.append_entries(request));
        if is_heartbeat && let Ok(told) = tokio::time::timeout(self.beat_patience, &mut appended).await {
            return told.map_err(text);
        }
        if is_heartbeat && self.group.has_entry(previous.map(|previous| previous.index)) {
            // Consensus took the heartbeat before it is asked this: a vote for another would have come before it.
            let follows = raft.with_raft_state(move |state| *state.vote_ref() == vote).await.map_err(text)?;
            if follows {
                return Ok(AppendEntriesResponse::Success);
            }
        }
        appended.await.map_err(text)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Appends>> {
        self.appends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows one stream of appends to its end: the first request that does not fit, or the next stream.
async fn follow(raft: Raft, requests: mpsc::Receiver<(AppendEntriesRequest<Types>, Reply)>, heard: Arc<Heard>) {
    let (replies, mut open) = mpsc::channel(2 * APPENDS_MAX);
    let input = stream::unfold((requests, replies), |(mut requests, replies)| async move {
        let (request, reply) = requests.recv().await?;
        // Whoever answers is gone only when the stream has ended.
        replies.send(reply).await.ok()?;
        Some((request, (requests, replies)))
    });
    let mut results = std::pin::pin!(raft.stream_append(input));
    while let Some(result) = results.next().await {
        let Some(reply) = open.recv().await else { return };
        match result {
            Ok(result) => {
                if result.is_ok() {
                    heard.now();
                }
                answer(reply, Ok(Told::Append(result.to_message())));
            }
            Err(fatal) => answer(reply, Err(text(fatal))),
        }
    }
}

fn read(payload: Bytes) -> Result<Ask, DecodeError> {
    let request = v1::Request::decode(payload).map_err(DecodeError::NotProtobuf)?;
    request.kind.ok_or(DecodeError::Absent { field: "request.kind" })
}

/// The node that a request says it is of, where it says so: nobody speaks for another.
fn speaker(ask: &Ask) -> Option<u64> {
    let vote = match ask {
        Ask::Append(append) | Ask::Probe(append) => &append.vote,
        Ask::Vote(request) | Ask::PreVote(request) => &request.vote,
        Ask::Snapshot(chunk) => &chunk.vote,
        Ask::Transfer(transfer) => &transfer.from,
        Ask::Forward(_) | Ask::ReadIndex(_) | Ask::StateHash(_) | Ask::Differs(_) => return None,
    };
    vote.as_ref().map(|vote| vote.node)
}

/// How long a request may take: its sender has given up by then, and what is not answered keeps a place of the link.
fn patience(ask: &Ask) -> Duration {
    match ask {
        Ask::Append(_)
        | Ask::Probe(_)
        | Ask::Vote(_)
        | Ask::PreVote(_)
        | Ask::Transfer(_)
        | Ask::StateHash(_)
        | Ask::Differs(_) => Duration::from_secs(2),
        Ask::Forward(_) | Ask::ReadIndex(_) => Duration::from_secs(15),
        Ask::Snapshot(_) => PIECE_PATIENCE,
    }
}

/// Whether it asks for a vote while others may lead: a leader that hands over counts on nobody any more.
fn is_for_a_vote(ask: &Ask) -> bool {
    matches!(ask, Ask::Vote(request) | Ask::PreVote(request) if !request.leader_transfer)
}

fn has_entries(ask: &Ask) -> bool {
    matches!(ask, Ask::Append(append) | Ask::Probe(append) if !append.entries.is_empty())
}

fn answer(reply: Reply, answer: Answer) {
    let kind = answer.unwrap_or_else(|reason| Told::Refusal(v1::Refusal { reason }));
    reply.answer(v1::Response { kind: Some(kind) }.encode_to_vec().into());
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The number of the stream that a request belongs to, and the request.
fn stream_of(append: v1::AppendEntries) -> Result<(u64, AppendEntriesRequest<Types>), DecodeError> {
    Ok((append.stream, AppendEntriesRequest::from_message(append)?))
}
