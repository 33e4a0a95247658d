//! What the tests of this crate share: events, small logs, and a disk that fails when it is told to.
//!
//! Logs are real files in a folder that is removed with the test.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_types::{TenantId, Timestamp};

use crate::config::Config;
use crate::event::{Decision, Event, Failure, Origin, Who};
use crate::folder::{Folder, Medium, Segment};
use crate::log::Log;
use crate::note::Entry;
use crate::open::{Opened, open};

/// Some time.
pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Bytes that can be written before it is full.
    pub(crate) room: Option<u64>,
    pub(crate) truncate_fails: bool,
    pub(crate) sync_fails: bool,
}

/// A folder on a disk that fails.
#[derive(Debug)]
pub(crate) struct Faulty {
    folder: Folder,
    faults: Arc<Mutex<Faults>>,
}

pub(crate) fn config(folder: &Path) -> Config {
    Config {
        sync_every: Duration::from_millis(5),
        suppressed_every: Duration::from_millis(5),
        retry_after: Duration::from_millis(5),
        ..Config::new(folder.to_owned(), "n1")
    }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a valid name")
}

pub(crate) fn denied(name: &str) -> Event {
    Event::Denied(Decision {
        who: Who { tenant: Some(tenant(name)), agent: Some("ci".into()), user: None },
        credential: None,
        action: "mcp:call".into(),
        resource: "tool files/read".into(),
        policy: None,
        reason: "no policy allows it".into(),
        origin: Origin { peer: Some(([192, 0, 2, 1], 1234).into()), trace: None },
    })
}

pub(crate) fn failed(reason: &'static str) -> Event {
    let origin = Origin::default();
    Event::AuthenticationFailed(Failure { reason, method: "api_key", credential: None, at: None, origin })
}

/// Opens the log of a folder without a thread.
pub(crate) fn opened(config: &Config) -> (Log<Folder>, Opened) {
    let folder = Folder::lock(&config.folder).expect("the folder is free");
    open(folder, config, NOON).expect("the log opens")
}

/// Writes `count` events into the log of a folder.
pub(crate) fn fill(config: &Config, count: usize) {
    let (mut log, _) = opened(config);
    for _ in 0..count {
        log.append(&[(NOON, Entry::Event(Box::new(denied("acme"))))]).expect("it is written");
    }
}

// === impl Faulty ===

impl Faulty {
    pub(crate) fn lock(path: &Path) -> (Self, Arc<Mutex<Faults>>) {
        let faults = Arc::default();
        let folder = Folder::lock(path).expect("the folder is free");
        (Self { folder, faults: Arc::clone(&faults) }, faults)
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().expect("nobody panicked")
    }
}

impl Medium for Faulty {
    fn segments(&self) -> io::Result<Vec<Segment>> {
        self.folder.segments()
    }

    fn read(&self, first: u64) -> io::Result<impl BufRead> {
        self.folder.read(first)
    }

    fn resume(&mut self, first: u64) -> io::Result<()> {
        match self.faults().room {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(_) | None => self.folder.resume(first),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(room) = self.faults().room else { return self.folder.append(bytes) };
        let fits = bytes.len().min(usize::try_from(room).expect("a small number"));
        self.faults.lock().expect("nobody panicked").room = Some(room - fits as u64);
        self.folder.append(&bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        if self.faults().truncate_fails { Err(io::ErrorKind::Other.into()) } else { self.folder.truncate(bytes) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.faults().sync_fails { Err(io::ErrorKind::Other.into()) } else { self.folder.sync() }
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        self.folder.remove(first)
    }
}
