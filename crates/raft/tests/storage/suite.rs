//! openraft's own checks of a log and a state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_raft::log::{Commits, Log};
use quorate_raft::state::State;
use quorate_raft::types::Types;
use quorate_wal::testing::SimDisk;
use quorate_wal::{Disk, Folder, Opened, Running, Wal, open};

use crate::tally::{GROUP, small, state};

/// Makes stores in folders of their own.
struct Folders;

/// Makes stores on disks in memory.
struct Disks;

/// What a store needs for as long as it is used.
struct Guard {
    wal: Wal,
    writer: Option<Running>,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.wal.close();
        self.writer.take().expect("it was not joined").join().expect("the disk works");
    }
}

fn store(log: impl Disk, snapshots: impl Disk, folder: Option<tempfile::TempDir>) -> (Guard, Log, State) {
    let Opened { wal, writer, .. } = open(Arc::new(log), small(), 7, false).expect("all is well so far");
    let writer = Some(writer.spawn(|failed| panic!("{failed}")).expect("all is well so far"));
    let log = Log::new(wal.clone(), GROUP, Commits::AtOnce);
    (Guard { wal, writer, _folder: folder }, log, state(snapshots))
}

impl StoreBuilder<Types, Log, State, Guard> for Folders {
    async fn build(&self) -> Result<(Guard, Log, State), StorageError<Types>> {
        let folder = tempfile::tempdir().expect("all is well so far");
        let make = |name: &str| Folder::new(folder.path().join(name)).expect("all is well so far");
        Ok(store(make("log"), make("snapshots"), Some(folder)))
    }
}

impl StoreBuilder<Types, Log, State, Guard> for Disks {
    async fn build(&self) -> Result<(Guard, Log, State), StorageError<Types>> {
        Ok(store(SimDisk::default(), SimDisk::default(), None))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_in_a_folder() {
    Suite::test_all(Folders).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_a_disk_in_memory() {
    Suite::test_all(Disks).await.unwrap();
}
