//! How a snapshot gets from a leader to a replica that is too far behind: piece by piece, from where the receiver stands.
//!
//! The leader asks first with an empty piece, so that a transfer that was cut goes on instead of beginning again. One
//! piece is under way at a time, of low urgency: a snapshot takes what consensus leaves of the link. The receiver answers
//! the last piece when the snapshot is installed. A leader that is deposed meanwhile is told so by the vote of an answer.

use std::future::Future;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use quorate_peer::Urgency;
use quorate_proto::raft::v1;
use quorate_proto::raft::v1::request::Kind as Ask;
use quorate_proto::raft::v1::response::Kind as Told;
use tokio::task::spawn_blocking;

use crate::codec::Wire;
use crate::network::{Network, in_time, unexpected, unreadable};
use crate::snapshot::{Identity, ReceiveError, Snapshot, SnapshotWriter, Store};
use crate::state::WithMeta;
use crate::types::{Types, Vote};
use crate::{Raft, chain};

/// Bytes of a piece: what is urgent waits behind one at most, 2 ms on a link of 1 Gbit/s; one at a time is 12 MB/s at 20 ms
/// there and back, and far more in one place.
const PIECE_BYTES: usize = 256 << 10;

/// How long a piece may take; the last one is answered when up to 64 MiB of state are checked and restored.
pub(crate) const PIECE_PATIENCE: Duration = Duration::from_secs(60);

/// Pieces in a row that bring nothing forward.
const STALLED_MAX: u32 = 8;

/// A receiver that takes pieces and has no more of the snapshot.
#[derive(Debug, thiserror::Error)]
#[error("the receiver of a snapshot takes pieces and does not get further")]
struct Stalled;

/// What a replica receives.
#[derive(Default)]
pub(crate) struct Receiving {
    /// Pieces are taken one after the other.
    writer: tokio::sync::Mutex<Option<SnapshotWriter>>,
}

/// Sends a snapshot, and waits until it is installed.
pub(crate) async fn send(
    network: &Network,
    vote: Vote,
    snapshot: Snapshot,
    cancelled: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let sent = async {
        let file = snapshot.identity().to_message();
        let bytes = snapshot.identity().bytes;
        let mut offset = 0;
        let mut stalled = 0;
        let mut piece = bytes::Bytes::new();
        loop {
            let chunk =
                v1::SnapshotChunk { vote: Some(vote.to_message()), file: Some(file.clone()), offset, data: piece };
            let response = ask(network, chunk).await?;
            let theirs = Vote::from_message(response.vote.unwrap_or_default()).map_err(|error| unreadable(&error))?;
            if theirs > vote || response.installed {
                return Ok(SnapshotResponse::new(theirs));
            }
            let next = response.next_offset.min(bytes);
            // A piece that brings nothing forward may be one that was received before; many are a receiver that cannot.
            stalled = if next > offset || offset == 0 { 0 } else { stalled + 1 };
            if stalled > STALLED_MAX {
                return Err(StreamingError::Unreachable(Unreachable::new(&Stalled)));
            }
            offset = next;
            let from = snapshot.clone();
            let read = spawn_blocking(move || from.read_at(offset, PIECE_BYTES)).await;
            // A snapshot that cannot be read here is no reason to end the group: the next one may be.
            piece = read
                .map_err(|panic| StreamingError::Unreachable(Unreachable::new(&panic)))?
                .map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
        }
    };
    tokio::select! {
        closed = cancelled => Err(StreamingError::Closed(closed)),
        sent = sent => sent,
    }
}

async fn ask(network: &Network, chunk: v1::SnapshotChunk) -> Result<v1::SnapshotResponse, StreamingError<Types>> {
    match in_time(PIECE_PATIENCE, network.ask(Ask::Snapshot(chunk), Urgency::Bulk)).await? {
        Told::Snapshot(response) => Ok(response),
        other => Err(unexpected(&other).into()),
    }
}

// === impl Receiving ===

impl Receiving {
    /// Takes a piece, and installs the snapshot with the last one. The reason of an error is for the leader's log.
    pub(crate) async fn take(
        &self,
        raft: &Raft,
        store: &std::sync::Arc<Store>,
        chunk: v1::SnapshotChunk,
    ) -> Result<v1::SnapshotResponse, String> {
        let absent = |field: &str| format!("snapshot.{field} is absent");
        let vote = Vote::from_message(chunk.vote.ok_or_else(|| absent("vote"))?).map_err(|error| error.to_string())?;
        let identity = Identity::from_message(chunk.file.ok_or_else(|| absent("file"))?);
        let identity = identity.map_err(|error| error.to_string())?;
        // openraft takes it for granted.
        if !identity.is_possible_of(&vote) {
            return Err("a snapshot has an entry of a later term than its sender's".to_owned());
        }
        let mut writer = self.writer.lock().await;
        let ours = raft.server_metrics().borrow_watched().vote;
        if ours > vote {
            return Ok(response(ours, 0, false));
        }
        // What the replica has applied already needs no installing: the leader did not hear of the end of the last attempt.
        let applied = raft.watch_apply_progress().get().map(|applied| applied.index);
        if applied >= identity.meta.raft.last_log_id.map(|last| last.index) {
            return Ok(response(vote, identity.bytes, true));
        }
        let mut taken = match writer.take() {
            Some(writer) if *writer.identity() == identity => writer,
            // Another one is what the leader has now.
            Some(_) | None => {
                let store = std::sync::Arc::clone(store);
                on_disk(move || store.receive(identity).map_err(ReceiveError::from)).await?
            }
        };
        let (offset, data) = (chunk.offset, chunk.data);
        let (taken, written) = on_disk(move || {
            let written = taken.write(offset, &data);
            Ok((taken, written))
        })
        .await?;
        let received = match written {
            Ok(received) => received,
            // It goes on from where this stands.
            Err(ReceiveError::Gap { received, .. }) => received,
            Err(error) => return Err(chain(&error)),
        };
        if received < taken.identity().bytes {
            *writer = Some(taken);
            return Ok(response(vote, received, false));
        }
        let snapshot = on_disk(move || taken.finish()).await?;
        let snapshot = WithMeta { meta: snapshot.identity().meta.raft.clone(), snapshot };
        let installed = raft.install_full_snapshot(vote, snapshot).await.map_err(|fatal| fatal.to_string())?;
        Ok(response(installed.vote, received, true))
    }
}

fn response(vote: Vote, next_offset: u64, installed: bool) -> v1::SnapshotResponse {
    v1::SnapshotResponse { vote: Some(vote.to_message()), next_offset, installed }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
) -> Result<T, String> {
    let done = spawn_blocking(work).await.map_err(|panic| panic.to_string())?;
    done.map_err(|error| chain(&error))
}
