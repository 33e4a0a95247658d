//! Segments that are ready before they are needed: what the log can write to when the disk is full.
//!
//! Filling a segment with zeros takes as long as writing it; a thread of its own does that while the present one fills. A
//! segment that is not needed any more becomes a spare as it is: what it has says of itself that it is of another segment.
//! Spares outlive the process, so that a node can also be started on a full disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::disk::{Disk, File, is_full};
use crate::segment;

/// Segments that wait to be used.
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    /// Bytes of a segment.
    bytes: u64,
    /// How many there should be.
    target: usize,
    /// Whether a thread makes them.
    threads: bool,
    ready: VecDeque<Spare>,
    making: Option<JoinHandle<io::Result<Spare>>>,
    /// The number in the name of the next one.
    number: u64,
    /// Whether there was no room for the last that was to be made.
    is_short: bool,
    /// How often to wait before the next attempt, and how often after that.
    waits: u32,
    waits_next: u32,
}

/// A segment that is ready.
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
}

/// Attempts that a disk lets begin and not end are made this rarely: a quota is not seen beforehand, and each attempt writes
/// up to a segment in vain.
const WAITS_MAX: u32 = 32;

// === impl Spares ===

impl Spares {
    /// Takes the spares that were found, and removes what is none.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn find(disk: Arc<dyn Disk>, names: &[String], bytes: u64, target: usize) -> io::Result<Self> {
        let mut spares = Self {
            disk,
            bytes,
            target,
            threads: false,
            ready: VecDeque::new(),
            making: None,
            number: 0,
            is_short: false,
            waits: 0,
            waits_next: 1,
        };
        for name in names {
            if name == segment::MAKING {
                // It may be cut short.
                spares.disk.remove(name)?;
            } else if let Some(number) = segment::spare_number(name) {
                spares.number = spares.number.max(number.saturating_add(1));
                let file = spares.disk.open(name)?;
                if file.bytes()? == bytes && spares.ready.len() < target {
                    spares.ready.push_back(Spare { name: name.clone(), file });
                } else {
                    spares.disk.remove(name)?;
                }
            }
        }
        Ok(spares)
    }

    /// Lets threads make them from now on.
    pub(crate) fn use_threads(&mut self) {
        self.threads = true;
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Tells whether there are too few because there is no room for more.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short && self.ready.len() < self.target
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.ready.len() + usize::from(self.making.is_some()) < self.target
    }

    /// Makes what is missing, or lets it be made. `free` is what the disk has left, if that is known; `is_due` says that it
    /// is time to look whether there is room again.
    ///
    /// # Errors
    /// What the disk says, other than that it is full.
    pub(crate) fn refill(&mut self, free: Option<u64>, is_due: bool) -> io::Result<()> {
        if self.making.as_ref().is_some_and(JoinHandle::is_finished) {
            self.collect()?;
        }
        if self.is_short && is_due {
            self.waits = self.waits.saturating_sub(1);
        }
        while self.making.is_none() && self.is_wanted() && !(self.is_short && (!is_due || self.waits > 0)) {
            if free.is_some_and(|free| free < self.bytes) {
                self.is_short = true;
                break;
            }
            self.begin();
            if self.threads {
                break;
            }
            self.collect()?;
        }
        Ok(())
    }

    /// Takes one, waiting until it is made; none if the disk is full.
    ///
    /// # Errors
    /// What the disk says, other than that it is full.
    pub(crate) fn take(&mut self) -> io::Result<Option<Spare>> {
        if self.ready.is_empty() {
            if self.making.is_none() && !self.is_short {
                self.begin();
            }
            self.collect()?;
        }
        Ok(self.ready.pop_front())
    }

    /// Gives back one that could not be used.
    pub(crate) fn give_back(&mut self, spare: Spare) {
        self.ready.push_front(spare);
    }

    /// Makes a spare of a segment that nobody reads any more; durable before it returns, so that nothing is written over it
    /// while it may still have its old name. False when it cannot be one.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn recycle(&mut self, name: &str, file: Arc<dyn File>) -> io::Result<bool> {
        if !self.is_wanted() || file.bytes()? != self.bytes {
            return Ok(false);
        }
        let spare = Spare { name: self.name(), file };
        match self.disk.rename(name, &spare.name) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.disk.sync_names()?;
        self.ready.push_back(spare);
        Ok(true)
    }

    fn begin(&mut self) {
        let (disk, name, bytes) = (Arc::clone(&self.disk), self.name(), self.bytes);
        let make = move || {
            let file = disk.create(segment::MAKING, bytes)?;
            disk.rename(segment::MAKING, &name)?;
            Ok(Spare { name, file })
        };
        match std::thread::Builder::new().name("wal-spare".to_owned()).spawn(make) {
            Ok(making) => self.making = Some(making),
            // No thread can be had: as if there were no room, and tried again like that.
            Err(_) => self.is_short = true,
        }
    }

    /// Waits for the one that is being made.
    fn collect(&mut self) -> io::Result<()> {
        let Some(making) = self.making.take() else { return Ok(()) };
        let made = making.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes segments panicked")));
        match made {
            Ok(spare) => {
                self.ready.push_back(spare);
                (self.is_short, self.waits_next) = (false, 1);
            }
            Err(error) if is_full(&error) => {
                self.is_short = true;
                (self.waits, self.waits_next) = (self.waits_next, (2 * self.waits_next).min(WAITS_MAX));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let name = segment::spare_name(self.number);
        self.number += 1;
        name
    }
}

impl Drop for Spares {
    /// Waits: whoever opens the log next must not find a thread at work in its folder.
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            // What became of it is nobody's concern any more.
            drop(making.join());
        }
    }
}
