//! A replica that is read without its group, and made a group of one node: over real files, with entries that nobody said are
//! committed, and with some that cannot be applied. What openraft makes of such a group when it is started is tested where
//! whole nodes are.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::path::Path;
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use quorate_raft::codec::Wire;
use quorate_raft::log::{Commits, Log};
use quorate_raft::types::{Entry, LeaderId, Membership, Payload, Types, Vote};
use quorate_raft::{RecoverError, Survivor};
use quorate_types::NodeId;
use quorate_wal::{Folder, Op, Running, Slot, Wal, open};
use tokio::sync::oneshot;

use crate::tally::{GROUP, LEVEL, Tally, command, entry, log_id, small};

const OTHERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn wal(folder: &Path) -> (Wal, Running) {
    let opened = open(Arc::new(Folder::new(folder.join("wal")).unwrap()), small(), 7, false).unwrap();
    (opened.wal, opened.writer.spawn(|failed| panic!("{failed}")).unwrap())
}

/// A log of three nodes: a membership, and three commands, of which one is known to be committed.
async fn followed(wal: &Wal) {
    let membership = Membership::new_with_defaults(vec![OTHERS.into()], []);
    let first = Entry { log_id: log_id(0, 0), payload: Payload::Membership(membership) };
    let commands = (1..4).map(|index| entry(2, index, command(10 * index, [index as u8])));
    let entries: Vec<Entry> = std::iter::once(first).chain(commands).collect();
    let mut log = Log::new(wal.clone(), GROUP, Commits::AtOnce);
    let leader_id = LeaderId { term: 5, voted_for: NodeId(1) };
    log.save_vote(&Vote { leader_id, committed: true }).await.unwrap();
    log.append(entries, IOFlushed::<Types>::noop()).await.unwrap();
    log.save_committed(Some(log_id(2, 1))).await.unwrap();
    let (done, is_durable) = oneshot::channel();
    wal.submit(GROUP, Vec::new(), Some(Box::new(|result| drop(done.send(result))))).unwrap();
    is_durable.await.unwrap().unwrap();
}

async fn read(wal: &Wal, folder: &Path) -> Result<Option<Survivor>, RecoverError> {
    Survivor::read(wal, GROUP, &folder.join("snapshots"), Box::new(Tally::default()), LEVEL).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_has_what_is_not_known_to_be_committed_and_votes_alone_from_there() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, writer) = wal(old.path());
    followed(&from).await;
    let before = from.group(GROUP);

    let survivor = read(&from, old.path()).await.unwrap().expect("it has entries");
    let found = survivor.found().clone();
    assert_eq!((found.last, found.committed, found.voters), (3, 1, OTHERS.into()));
    assert_eq!(found.time.map(|time| time.as_millis()), Some(30));
    assert_eq!(from.group(GROUP), before, "nothing of what is read is changed");
    let (to, other_writer) = wal(new.path());
    survivor.write(NodeId(3), &to, &new.path().join("snapshots")).await.unwrap();

    let state = to.group(GROUP);
    assert_eq!((state.first, state.next, state.purged), (4, 4, Some(log_id(2, 3).encode())));
    let vote = Vote::decode(state.slots[&Slot(0)].clone()).unwrap();
    assert!(vote.leader_id.term > 5 && !vote.committed, "{vote:?}");
    let again = read(&to, new.path()).await.unwrap().expect("it has a snapshot");
    let found = again.found().clone();
    assert_eq!((found.last, found.committed, found.voters), (3, 3, [NodeId(3)].into()));
    assert_eq!(found.time.map(|time| time.as_millis()), Some(30));
    for (wal, writer) in [(from, writer), (to, other_writer)] {
        wal.close();
        writer.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_which_nothing_is_there_is_none_and_one_that_cannot_be_applied_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, writer) = wal(folder.path());
    assert!(read(&wal, folder.path()).await.unwrap().is_none());

    let mut newer = command(1, "of a newer program");
    newer.level = LEVEL + 1;
    let payload = entry(1, 0, newer).encode();
    wal.submit(GROUP, vec![Op::Append { index: 0, payload }], None).unwrap();
    let refused = read(&wal, folder.path()).await.map(drop).unwrap_err();
    assert!(refused.group == GROUP && refused.reason.contains("start a newer program"), "{refused}");
    wal.close();
    writer.join().unwrap();
}
