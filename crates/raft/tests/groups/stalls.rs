//! A disk that can be told to sync nothing for a while, as one of a cloud does.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use quorate_wal::{Disk, File, Folder};

/// Whether syncs wait; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Stall(Arc<(Mutex<bool>, Condvar)>);

/// A real folder whose syncs wait for [`Stall`].
pub(crate) struct Stalling {
    pub(crate) folder: Folder,
    pub(crate) stall: Stall,
}

struct StallingFile {
    file: Arc<dyn File>,
    stall: Stall,
}

// === impl Stall ===

impl Stall {
    pub(crate) fn begin(&self) {
        *self.0.0.lock().expect("nobody panics") = true;
    }

    pub(crate) fn end(&self) {
        *self.0.0.lock().expect("nobody panics") = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (is_on, changed) = &*self.0;
        let is_on = is_on.lock().expect("nobody panics");
        drop(changed.wait_while(is_on, |is_on| *is_on).expect("nobody panics"));
    }
}

impl Stalling {
    fn stalling(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(StallingFile { file, stall: self.stall.clone() })
    }
}

impl Disk for Stalling {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        self.folder.create(name, bytes).map(|file| self.stalling(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.folder.open(name).map(|file| self.stalling(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_names()
    }

    fn free(&self) -> io::Result<u64> {
        self.folder.free()
    }
}

impl File for StallingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.stall.pass();
        self.file.sync()
    }
}
