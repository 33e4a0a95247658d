//! A group's log over random histories with crashes at any operation of the disk.
//!
//! A [`Model`] says what the log has to say after each call. After a crash it says what one of them says that is not
//! older than the last that was reported durable: an entry whose `IOFlushed` was called and a vote that was saved are
//! never lost.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use quorate_raft::log::{Commits, Log};
use quorate_raft::types::{Entry, LeaderId, LogId, Types, Vote};
use quorate_types::NodeId;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Config, DEFAULTS, Opened, Wal, Writer, open};

use crate::tally::{GROUP, command, entry, log_id};

/// What happens.
#[derive(Clone, Debug)]
enum Action {
    Append {
        /// How much the term grows before.
        terms: u64,
        sizes: Vec<usize>,
    },
    /// Numbers are bent to what the log has.
    Truncate(u8),
    Purge(u8),
    Vote {
        term: u64,
        committed: bool,
    },
    Commit(u8),
    /// The writer gets this many turns.
    Write(u8),
    /// The power goes after this many operations of the disk.
    Crash {
        operations: u64,
        seed: u64,
    },
    Restart,
}

/// What the log has to say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

struct World {
    disk: SimDisk,
    wal: Wal,
    writer: Writer,
    log: Log,
    commits: Commits,
    term: u64,
    /// What is committed and not yet written.
    waiting: Option<LogId>,
    /// After each submission since the last restart; the first is what was there then.
    models: Vec<Model>,
    /// Which submissions are to be reported durable, and have not been.
    flushing: Vec<(usize, tokio::sync::oneshot::Receiver<std::io::Result<()>>)>,
    acknowledged: usize,
}

fn config() -> Config {
    let config = Config { segment_bytes: 64 << 10, batch_bytes_max: 16 << 10, payload_bytes_max: 4 << 10, ..DEFAULTS };
    Config { cache_bytes_max: 4 << 10, slack_bytes: 128 << 10, ..config }
}

fn actions() -> impl Strategy<Value = Action> {
    let sizes = prop::collection::vec(prop_oneof![0..40_usize, 500..3_000_usize], 1..5);
    prop_oneof![
        12 => (0..2_u64, sizes).prop_map(|(terms, sizes)| Action::Append { terms, sizes }),
        2 => any::<u8>().prop_map(Action::Truncate),
        2 => any::<u8>().prop_map(Action::Purge),
        2 => (0..9_u64, any::<bool>()).prop_map(|(term, committed)| Action::Vote { term, committed }),
        4 => any::<u8>().prop_map(Action::Commit),
        8 => (1..4_u8).prop_map(Action::Write),
        2 => (0..40_u64, any::<u64>()).prop_map(|(operations, seed)| Action::Crash { operations, seed }),
        1 => Just(Action::Restart),
    ]
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|last| last.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    /// Reads everything that a log says.
    fn read(log: &mut Log) -> Result<Self, TestCaseError> {
        let read = async {
            let mut reader = log.get_log_reader().await;
            let entries = reader.try_get_log_entries(..).await?;
            let LogState { last_purged_log_id: purged, last_log_id } = log.get_log_state().await?;
            let (vote, committed) = (reader.read_vote().await?, log.read_committed().await?);
            std::io::Result::Ok((Self { entries, purged, vote, committed }, last_log_id))
        };
        let (model, last) = wait(read).map_err(fail)?;
        prop_assert_eq!(model.last(), last);
        Ok(model)
    }
}

impl World {
    fn new(commits: Commits) -> Self {
        let disk = SimDisk::default();
        let Opened { wal, writer, .. } = open(Arc::new(disk.clone()), config(), 7, false).expect("the disk is empty");
        let log = Log::new(wal.clone(), GROUP, commits);
        let (models, flushing) = (vec![Model::default()], Vec::new());
        Self { disk, wal, writer, log, commits, term: 1, waiting: None, models, flushing, acknowledged: 0 }
    }

    fn model(&self) -> Model {
        self.models.last().expect("there is one").clone()
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        let mut model = self.model();
        match action {
            Action::Append { terms, sizes } => {
                self.term += terms;
                let make = |(index, size): (u64, &usize)| entry(self.term, index, command(index, vec![7; *size]));
                let entries: Vec<_> = (model.next()..).zip(sizes).map(make).collect();
                model.entries.extend(entries.clone());
                let number = self.submitted(model);
                let (sender, receiver) = Types::oneshot();
                now(self.log.append(entries, IOFlushed::signal(sender)))?;
                self.flushing.push((number, receiver));
            }
            Action::Truncate(at) => {
                let kept = usize::from(*at) % (model.entries.len() + 1);
                let is_none = kept == model.entries.len();
                model.entries.truncate(kept);
                let last = model.last();
                if !is_none {
                    self.acknowledged = self.submitted(model);
                }
                let Self { log, writer, .. } = self;
                drive(writer, log.truncate_after(last))?.map_err(fail)?;
            }
            Action::Purge(at) => {
                // Also beyond the log, as after a snapshot that was received.
                let upto = model.purged.map_or(0, |purged| purged.index + 1) + u64::from(*at) % 6;
                let upto = log_id(self.term, upto);
                model.entries.retain(|entry| entry.log_id.index > upto.index);
                model.purged = Some(upto);
                self.submitted(model);
                now(self.log.purge(upto))?;
            }
            Action::Vote { term, committed } => {
                let leader_id = LeaderId { term: *term, voted_for: NodeId(1 + term % 3) };
                let vote = Vote { leader_id, committed: *committed };
                model.vote = Some(vote);
                self.acknowledged = self.submitted(model);
                let Self { log, writer, .. } = self;
                drive(writer, log.save_vote(&vote))?.map_err(fail)?;
            }
            Action::Commit(at) => {
                let committed = log_id(self.term, u64::from(*at));
                self.waiting = Some(committed);
                if self.commits == Commits::AtOnce {
                    self.submitted(model);
                }
                now(self.log.save_committed(Some(committed)))?;
            }
            Action::Write(turns) => {
                for _ in 0..*turns {
                    self.writer.step().expect("the disk works");
                }
            }
            Action::Crash { operations, seed } => self.crash(*operations, *seed)?,
            Action::Restart => self.restart()?,
        }
        self.see_what_is_flushed();
        prop_assert_eq!(Model::read(&mut self.log)?, self.model());
        Ok(())
    }

    fn crash(&mut self, operations: u64, seed: u64) -> Result<(), TestCaseError> {
        self.disk.set_faults(Faults { operations_left: Some(operations), ..Faults::default() });
        while let Ok(true) = self.writer.step() {}
        self.see_what_is_flushed();
        self.disk.crash(seed);
        self.reopen()
    }

    fn restart(&mut self) -> Result<(), TestCaseError> {
        while self.writer.step().expect("the disk works") {}
        self.see_what_is_flushed();
        prop_assert!(self.flushing.is_empty());
        self.acknowledged = self.models.len() - 1;
        self.reopen()
    }

    /// Notes what a submission says, with what rides on it; returns its number.
    fn submitted(&mut self, mut model: Model) -> usize {
        if let Some(committed) = self.waiting.take() {
            model.committed = Some(committed);
        }
        self.models.push(model);
        self.models.len() - 1
    }

    fn see_what_is_flushed(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.flushing.retain_mut(|(number, receiver)| match receiver.try_recv() {
            Ok(result) => {
                if result.is_ok() {
                    *acknowledged = (*acknowledged).max(*number);
                }
                false
            }
            Err(_) => true,
        });
    }

    fn reopen(&mut self) -> Result<(), TestCaseError> {
        let Opened { wal, writer, .. } = open(Arc::new(self.disk.clone()), config(), 7, false).map_err(fail)?;
        (self.wal, self.writer) = (wal.clone(), writer);
        self.log = Log::new(wal, GROUP, self.commits);
        let found = Model::read(&mut self.log)?;
        let possible = &self.models[self.acknowledged..];
        prop_assert!(possible.contains(&found), "{found:?} is none of {possible:?}");
        self.models = vec![found];
        self.flushing.clear();
        (self.acknowledged, self.waiting) = (0, None);
        Ok(())
    }
}

/// Polls what waits for the disk, and gives the writer turns meanwhile.
fn drive<T>(writer: &mut Writer, future: impl Future<Output = T>) -> Result<T, TestCaseError> {
    let mut future = pin!(future);
    for _ in 0..1_000 {
        if let Some(done) = future.as_mut().now_or_never() {
            return Ok(done);
        }
        writer.step().map_err(fail)?;
    }
    Err(TestCaseError::fail("it does not end"))
}

/// Waits for what reads from the disk, on a thread that may.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there are threads");
    runtime.block_on(future)
}

fn now(future: impl Future<Output = std::io::Result<()>>) -> Result<(), TestCaseError> {
    future.now_or_never().expect("it waits for nothing").map_err(fail)
}

fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flushed_entry_and_a_saved_vote_are_never_lost_and_what_was_dropped_stays_so(
        history in prop::collection::vec(actions(), 1..80), at_once in any::<bool>(),
    ) {
        let mut world = World::new(if at_once { Commits::AtOnce } else { Commits::WithTheNext });
        for action in &history {
            world.act(action)?;
        }
        world.act(&Action::Restart)?;
    }
}

/// Entries of 3 KB: as many as one message to a follower takes, and the first in any case.
#[test]
fn what_is_read_at_once_for_a_follower_is_bounded_in_bytes() {
    const ENTRIES: u64 = 400;
    let Opened { wal, mut writer, .. } = open(Arc::new(SimDisk::default()), config(), 7, false).unwrap();
    let mut log = Log::new(wal, GROUP, Commits::WithTheNext);
    for index in 0..ENTRIES {
        now(log.append([entry(1, index, command(1, vec![7; 3_000]))], IOFlushed::noop())).unwrap();
    }
    while writer.step().unwrap() {}
    let mut reader = log.get_log_reader().now_or_never().expect("it waits for nothing");

    let mut start = 0;
    while start < ENTRIES {
        let read = wait(reader.limited_get_log_entries(start, ENTRIES)).unwrap();
        assert!(!read.is_empty() && read.len() < 300, "{}", read.len());
        assert_eq!(read[0].log_id.index, start);
        start += read.len() as u64;
    }
    assert_eq!(start, ENTRIES);
}

/// A leader that is faster than the disk waits; openraft would stop the group at an error.
#[tokio::test(start_paused = true)]
async fn an_append_to_a_full_queue_waits_until_there_is_room() {
    let config = Config { queue_bytes_max: 16 << 10, ..config() };
    let Opened { wal, mut writer, .. } = open(Arc::new(SimDisk::default()), config, 7, false).unwrap();
    let mut log = Log::new(wal, GROUP, Commits::WithTheNext);
    let mut flushed = Vec::new();
    let mut waits = 0;
    for index in 0..30 {
        let (sender, receiver) = Types::oneshot();
        let mut append = pin!(log.append([entry(1, index, command(1, vec![7; 2_000]))], IOFlushed::signal(sender)));
        while futures_util::poll!(append.as_mut()).is_pending() {
            waits += 1;
            assert!(writer.step().unwrap(), "it waits although there is room");
            tokio::time::advance(std::time::Duration::from_millis(3)).await;
        }
        flushed.push(receiver);
    }
    while writer.step().unwrap() {}

    assert!(waits > 0);
    for receiver in flushed {
        receiver.await.unwrap().unwrap();
    }
}
