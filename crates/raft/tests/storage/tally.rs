//! A machine that keeps every command it was given, and what it is put into.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::machine::{Applied, Frozen, Machine, RestoreError};
use quorate_raft::snapshot::Store;
use quorate_raft::state::{Config, State};
use quorate_raft::types::{Command, Entry, Epoch, LogId};
use quorate_types::Timestamp;
use quorate_wal::{Disk, GroupId};

pub(crate) const GROUP: GroupId = GroupId(3);

/// The level that it knows.
pub(crate) const LEVEL: u32 = 2;

/// A command at which it panics.
pub(crate) const PANIC: &[u8] = b"panic";

/// A node's log whose segments are made quickly.
pub(crate) fn small() -> quorate_wal::Config {
    let config = quorate_wal::Config { segment_bytes: 256 << 10, batch_bytes_max: 64 << 10, ..quorate_wal::DEFAULTS };
    quorate_wal::Config { payload_bytes_max: 16 << 10, slack_bytes: 1 << 20, ..config }
}

/// Keeps index, time and body of each command. A clone is a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    commands: Arc<Vec<(u64, u64, Vec<u8>)>>,
}

impl Machine for Tally {
    /// Answers how many commands there were, and the time.
    fn apply(&mut self, context: &Applied, command: &[u8]) -> Bytes {
        assert_ne!(command, PANIC, "it was asked for");
        let commands = Arc::make_mut(&mut self.commands);
        commands.push((context.index, context.time.as_millis(), command.to_vec()));
        answer(commands.len(), context.time.as_millis())
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.clone())
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let mut all = Vec::new();
        from.read_to_end(&mut all)?;
        let mut rest = &all[..];
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let mut word = [0; 8];
            let mut next = || rest.read_exact(&mut word).map(|()| u64::from_le_bytes(word));
            let (index, time, bytes) = (next()?, next()?, next()?);
            let Some((body, behind)) = usize::try_from(bytes).ok().and_then(|bytes| rest.split_at_checked(bytes))
            else {
                return Err(RestoreError::Invalid { reason: format!("a body of {bytes} bytes") });
            };
            commands.push((index, time, body.to_vec()));
            rest = behind;
        }
        self.commands = Arc::new(commands);
        Ok(())
    }
}

impl Frozen for Tally {
    fn hash(&self) -> u64 {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("memory takes it");
        u64::from(crc32fast::hash(&bytes)) << 32 | bytes.len() as u64
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for (index, time, body) in &*self.commands {
            for word in [*index, *time, body.len() as u64] {
                to.write_all(&word.to_le_bytes())?;
            }
            to.write_all(body)?;
        }
        Ok(())
    }
}

/// What it answers to the command of this number.
pub(crate) fn answer(commands: usize, time: u64) -> Bytes {
    format!("{commands} at {time}").into()
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Epoch::new(term), index)
}

pub(crate) fn command(time: u64, body: impl AsRef<[u8]>) -> Command {
    let body = Bytes::copy_from_slice(body.as_ref());
    Command { level: LEVEL, time: Timestamp::from_millis(time), body, is_mark: false }
}

pub(crate) fn entry(term: u64, index: u64, command: Command) -> Entry {
    Entry { log_id: log_id(term, index), payload: openraft::EntryPayload::Normal(command) }
}

pub(crate) fn config(disk: impl Disk) -> Config {
    Config {
        group: GROUP,
        machine: Box::new(Tally::default()),
        store: Arc::new(Store::open(Arc::new(disk)).expect("the folder is good")),
        level_max: LEVEL,
        skipped: [].into(),
        marks: Arc::default(),
    }
}

pub(crate) fn state(disk: impl Disk) -> State {
    State::new(config(disk))
}
