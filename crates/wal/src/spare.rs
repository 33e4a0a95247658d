//! The next segment, made before it is needed.
//!
//! Filling a segment with zeros takes as long as writing it; a thread of its own does that while the present one fills.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::disk::{Disk, File};
use crate::segment::SPARE;

/// A segment in the making.
pub(crate) enum Spare {
    /// It is made when it is needed.
    Later,
    /// A thread makes it.
    Coming(Receiver<io::Result<Arc<dyn File>>>),
}

// === impl Spare ===

impl Spare {
    /// Begins to make one.
    pub(crate) fn begin(disk: &Arc<dyn Disk>, bytes: u64) -> Self {
        let disk = Arc::clone(disk);
        let (sender, receiver) = sync_channel(1);
        let making = std::thread::Builder::new().name("wal-spare".to_owned()).spawn(move || {
            // Nobody waits for it any more when the log has ended.
            let _ = sender.send(disk.create(SPARE, bytes));
        });
        match making {
            Ok(_) => Self::Coming(receiver),
            Err(_) => Self::Later,
        }
    }

    /// Takes it, waiting until it is made.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn take(&mut self, disk: &dyn Disk, bytes: u64) -> io::Result<Arc<dyn File>> {
        match std::mem::replace(self, Self::Later) {
            Self::Later => disk.create(SPARE, bytes),
            Self::Coming(receiver) => {
                receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that makes segments ended")))
            }
        }
    }
}
