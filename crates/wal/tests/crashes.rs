//! Laws of a log over random histories with crashes at any operation of the disk.
//!
//! A [`Model`] says what the log has to say after each submission. After a crash the log says what one of them says that
//! is not older than the last that was reported durable: nothing that was acknowledged is lost, nothing comes back that
//! was dropped durably, and changes are there in their order, votes and entries alike. A disk that is full ends no log, and
//! what was taken becomes durable once there is room.

mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Config, DEFAULTS, Op, OpenError, Space, SubmitError, Wal, Writer, inspect, open};

use crate::model::{Change, Model, changes};

const LOG: u128 = 7;

/// What happens.
#[derive(Clone, Debug)]
enum Action {
    Submit(Change),
    /// The writer gets this many turns.
    Write(u8),
    /// The power goes after this many operations of the disk.
    Crash {
        operations: u64,
        seed: u64,
    },
    /// The process is killed after this many operations of the disk, and started again: the system still has what was
    /// written, durable or not.
    Kill {
        operations: u64,
    },
    /// The disk is full after this many operations, for writes into files that are there as well or not.
    Fill {
        operations: u64,
        for_writes: bool,
    },
    /// There is room on the disk again.
    Clear,
    /// The node is stopped and started again.
    Restart,
}

fn config() -> Config {
    Config {
        segment_bytes: 64 << 10,
        batch_bytes_max: 12 << 10,
        payload_bytes_max: 4 << 10,
        cache_bytes_max: 8 << 10,
        slack_bytes: 128 << 10,
        space_poll: Duration::ZERO,
        ..DEFAULTS
    }
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (0..30_u64, any::<bool>()).prop_map(|(operations, for_writes)| Action::Fill { operations, for_writes }),
        2 => Just(Action::Clear),
        40 => actions_with_room(),
    ]
}

fn actions_with_room() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => changes().prop_map(Action::Submit),
        8 => (1..4_u8).prop_map(Action::Write),
        1 => (0..30_u64, any::<u64>()).prop_map(|(operations, seed)| Action::Crash { operations, seed }),
        1 => (0..30_u64).prop_map(|operations| Action::Kill { operations }),
        1 => Just(Action::Restart),
    ]
}

/// A log with what it has to say.
struct World {
    disk: SimDisk,
    wal: Wal,
    writer: Writer,
    /// After each submission since the last restart; the first is what was there then.
    models: Vec<Model>,
    /// How many submissions were reported durable.
    acknowledged: Arc<AtomicUsize>,
    /// What the disk always does wrong.
    faults: Faults,
    is_full: bool,
}

impl World {
    fn new(faults: Faults) -> Self {
        let disk = SimDisk::default();
        disk.set_faults(faults);
        let opened = open(Arc::new(disk.clone()), config(), LOG, false).expect("the disk is empty");
        assert!(!opened.existed);
        Self {
            disk,
            wal: opened.wal,
            writer: opened.writer,
            models: vec![Model::default()],
            acknowledged: Arc::default(),
            faults,
            is_full: false,
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Submit(change) => self.submit(change)?,
            Action::Write(turns) => {
                for _ in 0..*turns {
                    self.writer.step().expect("a full disk is no failure");
                }
            }
            Action::Crash { operations, seed } => {
                self.die(*operations);
                self.disk.crash(*seed);
                self.disk.set_faults(self.faults);
                self.reopen()?;
            }
            Action::Kill { operations } => {
                self.die(*operations);
                self.reopen()?;
            }
            Action::Fill { operations, for_writes } => {
                let full_after = Some(*operations);
                self.disk.set_faults(Faults { full_after, full_for_writes: *for_writes, ..self.faults });
                self.is_full = true;
            }
            Action::Clear => {
                self.disk.set_faults(self.faults);
                self.is_full = false;
                self.write_all()?;
                prop_assert_eq!(self.wal.observe().space, Space::Roomy);
            }
            Action::Restart => {
                if self.is_full {
                    while self.writer.step().expect("a full disk is no failure") {}
                } else {
                    self.write_all()?;
                }
                self.reopen()?;
            }
        }
        self.models.last().expect("there is one").check(&self.wal)
    }

    /// Writes everything that waits, which takes an attempt after there was no room.
    fn write_all(&mut self) -> Result<(), TestCaseError> {
        // A disk that lied about what it has free is asked less often.
        for _ in 0..40 {
            while self.writer.step().expect("the disk works") {}
        }
        prop_assert_eq!(self.acknowledged.load(Ordering::Relaxed), self.models.len() - 1);
        Ok(())
    }

    /// Lets the writer go on for as many operations of the disk, and no further.
    fn die(&mut self, operations: u64) {
        self.disk.set_faults(Faults { operations_left: Some(operations), ..Faults::default() });
        while let Ok(true) = self.writer.step() {}
        self.disk.set_faults(self.faults);
        self.is_full = false;
    }

    fn submit(&mut self, change: &Change) -> Result<(), TestCaseError> {
        let mut model = self.models.last().expect("there is one").clone();
        let Some((group, ops)) = model.make(change) else { return Ok(()) };
        let acknowledged = Arc::clone(&self.acknowledged);
        let number = self.models.len();
        let done = Box::new(move |result: Result<(), _>| {
            if result.is_ok() {
                assert_eq!(acknowledged.swap(number, Ordering::Relaxed), number - 1, "they are done in their order");
            }
        });
        let has_entries = ops.iter().any(|op| matches!(op, Op::Append { .. }));
        match self.wal.submit(group, ops, Some(done)) {
            Ok(()) => self.models.push(model),
            // Nothing of it was taken, and only entries are ever refused.
            Err(SubmitError::DiskFull { .. }) if self.is_full && has_entries => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(())
    }

    /// Opens the log again, and finds out what it says.
    fn reopen(&mut self) -> Result<(), TestCaseError> {
        let mut opened = open(Arc::new(self.disk.clone()), config(), LOG, false);
        // What was found has to be made durable, which such a disk refuses: the log waits to be opened.
        if let Err(OpenError::Disk { source, .. }) = &opened
            && self.is_full
            && source.kind() == std::io::ErrorKind::StorageFull
        {
            self.disk.set_faults(self.faults);
            self.is_full = false;
            opened = open(Arc::new(self.disk.clone()), config(), LOG, false);
        }
        let opened = opened.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let found = self.models.iter().skip(acknowledged).find(|model| model.check(&opened.wal).is_ok());
        let Some(found) = found.cloned() else {
            self.models[acknowledged].check(&opened.wal)?;
            unreachable!("it was not found, so its check fails");
        };
        (self.wal, self.writer, self.models) = (opened.wal, opened.writer, vec![found]);
        self.acknowledged = Arc::default();
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_acknowledged_is_lost_and_nothing_dropped_comes_back(
        history in prop::collection::vec(actions(), 1..200),
        short in prop::option::of(1..3_000_usize),
    ) {
        let mut world = World::new(Faults { short_writes: short, ..Faults::default() });
        for action in &history {
            world.act(action)?;
        }
        world.act(&Action::Clear)?;
        world.act(&Action::Restart)?;

        let inspected = inspect(&world.disk).expect("it was just opened");
        prop_assert!(inspected.refused.is_none());
        let groups: Vec<_> = inspected.groups.keys().copied().collect();
        for group in world.wal.groups() {
            prop_assert!(groups.contains(&group) || world.wal.group(group) == Default::default());
            if groups.contains(&group) {
                prop_assert_eq!(&inspected.groups[&group], &world.wal.group(group));
            }
        }
        prop_assert_eq!(inspected.live_bytes, world.wal.observe().live_bytes);
    }

    #[test]
    fn the_disk_that_a_log_takes_is_bounded_by_what_lives_in_it(
        history in prop::collection::vec(actions_with_room(), 100..300),
    ) {
        let mut world = World::new(Faults::default());
        for action in &history {
            world.act(action)?;
            if matches!(action, Action::Write(_)) {
                let seen = world.wal.observe();
                // One segment beyond the bound is being emptied, one is written to, and one was left by each restart.
                let restarts = history.iter().filter(|action| matches!(action, Action::Crash { .. } | Action::Kill { .. } | Action::Restart));
                let spare = (2 + restarts.count() as u64) * u64::from(config().segment_bytes);
                prop_assert!(seen.disk_bytes <= 2 * seen.live_bytes + config().slack_bytes + spare, "{seen:?}");
            }
        }
    }
}
