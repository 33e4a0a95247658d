//! Commands are applied at the time of the log, a replica that cannot go on stops, and a group of one node is there
//! again after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::{Raft, SnapshotPolicy};
use quorate_raft::log::{Commits, Log};
use quorate_raft::snapshot::Snapshot;
use quorate_raft::state::{Config, State, Stopped, WithMeta};
use quorate_raft::types::{Command, Entry, Types, Vote};
use quorate_types::NodeId;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Opened, Running, Wal, open};

use crate::tally::{GROUP, LEVEL, PANIC, answer, command, config, entry, small, state};

/// Far more than anything here takes.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

async fn apply(state: &mut State, entries: Vec<Entry>) -> std::io::Result<()> {
    state.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
}

async fn snapshot(state: &mut State) -> std::io::Result<Snapshot> {
    state.get_snapshot_builder().await.build_snapshot().await.map(|built| built.snapshot)
}

async fn applied(state: &mut State) -> Option<u64> {
    state.applied_state().await.expect("all is well so far").0.map(|applied| applied.index)
}

/// Nobody is there.
struct Nobody;

impl RaftNetworkFactory<Types> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _target: NodeId, _node: &()) -> Self {
        Self
    }
}

impl RaftNetworkV2<Types> for Nobody {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(Unreachable::from_string("nobody is there")))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(Unreachable::from_string("nobody is there")))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: WithMeta,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(Unreachable::from_string("nobody is there")))
    }
}

/// A group of one node, on disks that outlive it.
struct Alone {
    raft: Raft<Types, State>,
    stopped: tokio::sync::watch::Receiver<Option<Stopped>>,
    wal: Wal,
    writer: Running,
}

impl Alone {
    async fn start(log: &SimDisk, config: Config, commits: Commits) -> Result<Self, String> {
        let Opened { wal, writer, existed } =
            open(Arc::new(log.clone()), small(), 7, false).expect("all is well so far");
        // The groups of a log that failed stop with it, which is what a test sees.
        let writer = writer.spawn(|_| {}).expect("all is well so far");
        let raft_config = openraft::Config {
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            ..openraft::Config::default()
        };
        let state = State::new(config);
        let stopped = state.stopped();
        let log = Log::new(wal.clone(), GROUP, commits);
        let raft = Raft::new(NodeId(1), Arc::new(raft_config), Nobody, log, state).await;
        let raft = raft.map_err(|error| error.to_string())?;
        if !existed {
            raft.initialize(std::collections::BTreeMap::from([(NodeId(1), ())])).await.expect("all is well so far");
        }
        raft.wait(PATIENCE).state(openraft::ServerState::Leader, "it leads alone").await.expect("all is well so far");
        Ok(Self { raft, stopped, wal, writer })
    }

    async fn write(&self, command: Command) -> Bytes {
        self.raft.client_write(command).await.expect("all is well so far").data
    }

    async fn stop(self) {
        self.raft.shutdown().await.expect("all is well so far");
        self.wal.close();
        self.writer.join().expect("all is well so far");
    }
}

#[tokio::test]
async fn time_is_the_latest_of_the_leaders_times_and_rides_in_the_snapshot() {
    let mut first = state(SimDisk::default());
    // A leader whose clock is behind follows one whose clock was ahead.
    apply(&mut first, vec![entry(1, 1, command(90, "a")), entry(2, 2, command(40, "b"))]).await.unwrap();
    let made = snapshot(&mut first).await.unwrap();
    assert_eq!(made.identity().meta.time.as_millis(), 90);

    let mut second = state(SimDisk::default());
    second.install_snapshot(&made.identity().meta.raft, made.clone()).await.unwrap();
    for state in [&mut first, &mut second] {
        apply(state, vec![entry(2, 3, command(50, "c"))]).await.unwrap();
    }
    let hash = snapshot(&mut first).await.unwrap().identity().meta.state_hash;
    assert_eq!(snapshot(&mut second).await.unwrap().identity().meta.state_hash, hash);
    assert_ne!(made.identity().meta.state_hash, hash);
}

#[tokio::test]
async fn a_command_of_a_level_that_is_not_known_stops_the_replica_before_it_is_applied() {
    let mut state = state(SimDisk::default());
    let stopped = state.stopped();
    let newer = Command { level: LEVEL + 1, ..command(2, "newer") };
    let error = apply(&mut state, vec![entry(1, 1, command(1, "a")), entry(1, 2, newer)]).await.unwrap_err();

    let expected = Stopped::Level { group: GROUP, index: 2, level: LEVEL + 1, known: LEVEL };
    assert_eq!(error.to_string(), expected.to_string());
    assert_eq!(stopped.borrow().clone(), Some(expected));
    assert_eq!(applied(&mut state).await, Some(1));
}

#[tokio::test]
async fn a_panic_stops_the_replica_and_what_it_left_is_not_seen_again() {
    let mut state = state(SimDisk::default());
    let stopped = state.stopped();
    let error = apply(&mut state, vec![entry(1, 1, command(1, PANIC))]).await.unwrap_err();
    assert!(error.to_string().contains("it was asked for"), "{error}");

    assert!(apply(&mut state, vec![entry(1, 2, command(1, "a"))]).await.is_err());
    assert!(snapshot(&mut state).await.is_err());
    assert!(matches!(&*stopped.borrow(), Some(Stopped::Panicked { index: 1, .. })), "the first reason stays");
    assert_eq!(applied(&mut state).await, None);
}

#[tokio::test]
async fn a_command_that_an_operator_had_skipped_is_passed_over_on_every_replica_alike() {
    let mut hashes = BTreeSet::new();
    for _ in 0..2 {
        let skipped = BTreeSet::from([2, 3]);
        let mut state = State::new(Config { skipped, ..config(SimDisk::default()) });
        let newer = Command { level: LEVEL + 1, ..command(80, "newer") };
        let entries = [command(1, "a"), command(70, PANIC), newer, command(2, "b")];
        apply(&mut state, (1..).zip(entries).map(|(index, command)| entry(1, index, command)).collect()).await.unwrap();

        let made = snapshot(&mut state).await.unwrap();
        assert_eq!(made.identity().meta.time.as_millis(), 80);
        hashes.insert(made.identity().meta.state_hash);
        assert_eq!(*state.stopped().borrow(), None);
    }
    assert_eq!(hashes.len(), 1);
}

#[tokio::test]
async fn a_snapshot_whose_state_has_another_hash_than_it_says_stops_the_replica() {
    /// Restores something else than what was written.
    struct Forgetful(crate::tally::Tally);
    impl quorate_raft::machine::Machine for Forgetful {
        fn apply(&mut self, context: &quorate_raft::machine::Applied, command: &[u8]) -> Bytes {
            self.0.apply(context, command)
        }
        fn freeze(&self) -> Box<dyn quorate_raft::machine::Frozen> {
            self.0.freeze()
        }
        fn restore(&mut self, _: &mut dyn std::io::Read) -> Result<(), quorate_raft::machine::RestoreError> {
            Ok(())
        }
    }
    let mut first = state(SimDisk::default());
    apply(&mut first, vec![entry(1, 1, command(1, "a"))]).await.unwrap();
    let made = snapshot(&mut first).await.unwrap();

    let machine = Box::new(Forgetful(crate::tally::Tally::default()));
    let mut second = State::new(Config { machine, ..config(SimDisk::default()) });
    assert!(second.install_snapshot(&made.identity().meta.raft, made.clone()).await.is_err());
    assert!(matches!(&*second.stopped().borrow(), Some(Stopped::Diverged { .. })));
    assert!(second.get_current_snapshot().await.unwrap().is_none(), "it was not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_group_has_its_state_from_the_snapshot_and_the_log_behind_it() {
    for commits in [Commits::AtOnce, Commits::WithTheNext] {
        let (log, snapshots) = (SimDisk::default(), SimDisk::default());
        let group = Alone::start(&log, config(snapshots.clone()), commits).await.unwrap();
        for number in 1..20 {
            assert_eq!(group.write(command(1_000 - number as u64, "a")).await, answer(number, 999));
        }
        let last = group.raft.client_write(command(1, "a")).await.unwrap().log_id;
        let metrics = || group.raft.wait(PATIENCE);
        group.raft.trigger().snapshot().await.unwrap();
        metrics().snapshot(last, "it was made").await.unwrap();
        group.raft.trigger().purge_log(last.index).await.unwrap();
        metrics().purged(Some(last), "the log begins behind it").await.unwrap();
        for number in 21..=25 {
            assert_eq!(group.write(command(5, "b")).await, answer(number, 999));
        }
        group.stop().await;

        let group = Alone::start(&log, config(snapshots), commits).await.unwrap();
        assert_eq!(group.write(command(5, "c")).await, answer(26, 999));
        let stored = group.raft.metrics().borrow_watched().clone();
        assert_eq!((stored.purged, stored.snapshot), (Some(last), Some(last)));
        group.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_machine_panicked_answers_an_error_and_goes_on_after_the_entry_is_skipped() {
    let (log, snapshots) = (SimDisk::default(), SimDisk::default());
    let mut group = Alone::start(&log, config(snapshots.clone()), Commits::AtOnce).await.unwrap();
    assert_eq!(group.write(command(1, "a")).await, answer(1, 1));
    group.raft.client_write(command(2, PANIC)).await.unwrap_err();
    let stopped = group.stopped.wait_for(Option::is_some).await.unwrap().clone();
    let Some(Stopped::Panicked { index, .. }) = stopped else { panic!("{stopped:?}") };
    group.stop().await;

    // It panics at every start, also alone: the entry is committed.
    let refused = Alone::start(&log, config(snapshots.clone()), Commits::AtOnce).await;
    let refused = refused.err().expect("it panicked again");
    assert!(refused.contains(&format!("panicked at index {index}")), "{refused}");

    let skipping = Config { skipped: [index].into(), ..config(snapshots) };
    let group = Alone::start(&log, skipping, Commits::AtOnce).await.unwrap();
    assert_eq!(group.write(command(1, "b")).await, answer(2, 2));
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proposer_was_answered_is_there_after_the_power_went_at_any_operation() {
    for seed in 0..12 {
        let (log, snapshots) = (SimDisk::default(), SimDisk::default());
        let group = Alone::start(&log, config(snapshots.clone()), Commits::WithTheNext).await.unwrap();
        let mut answered = 0;
        for number in 1..=200 {
            if number == 20 + seed {
                let operations_left = Some(3 + 5 * seed as u64);
                log.set_faults(Faults { operations_left, ..Faults::default() });
                // It may be made in time, or not.
                group.raft.trigger().snapshot().await.ok();
            }
            match group.raft.client_write(command(1, "a")).await {
                Ok(written) => assert_eq!(written.data, answer(number, 1)),
                Err(_) => break,
            }
            answered = number;
        }
        assert!(answered < 200, "the power did not go");
        group.raft.shutdown().await.unwrap();
        group.writer.join().unwrap_err();
        for disk in [&log, &snapshots] {
            disk.crash(seed as u64);
        }

        let group = Alone::start(&log, config(snapshots), Commits::WithTheNext).await.unwrap();
        // The one that was not answered may be there too.
        let next = group.write(command(1, "b")).await;
        assert!([answer(answered + 1, 1), answer(answered + 2, 1)].contains(&next), "{next:?} after {answered}");
        group.stop().await;
    }
}
