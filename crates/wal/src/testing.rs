//! A disk in memory that behaves as badly as real ones do.
//!
//! What is written counts for readers at once and is durable only after a sync. [`SimDisk::crash`] takes the power
//! away: of what was not synced, each sector of 512 bytes, the length that a file grew to, each file of a new name and
//! each removal is there or is not, as a seed decides. Faults are set beforehand: [`Faults`].

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, File};

/// What a disk does wrong, from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// After this many operations all others fail: the power is about to go.
    pub operations_left: Option<u64>,
    /// Writes take no more than this many bytes at once.
    pub short_writes: Option<usize>,
    /// Every sync fails, and what it was about counts as written from then on, as on Linux: a later sync does nothing.
    pub syncs_fail: bool,
    /// Syncs say that all is well and do nothing.
    pub syncs_lie: bool,
    /// After this many operations new files do not fit any more; 0: from now on.
    pub full_after: Option<u64>,
    /// A full disk takes no writes into files that are there either, as file systems do that copy on write.
    pub full_for_writes: bool,
    /// Bytes that it says to have free while it is not full; none for as many as there are.
    pub free: Option<u64>,
    /// Syncs take until this is set no more.
    pub syncs_hang: bool,
}

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    faults: Faults,
    operations: u64,
    /// What readers see.
    names: BTreeMap<String, Arc<Mutex<Content>>>,
    /// What a crash leaves, as of the last sync of the names.
    durable_names: BTreeMap<String, Arc<Mutex<Content>>>,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// It was made empty, and grows with what is written.
    grows: bool,
    /// Where they may differ.
    dirty: Range<usize>,
}

struct SimFile {
    disk: SimDisk,
    content: Arc<Mutex<Content>>,
}

/// How often a sync that hangs looks whether it may end.
const HANG_POLL: Duration = Duration::from_millis(1);

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// A generator of bits that a seed decides (SplitMix64, Steele et al. 2014).
struct Dice(u64);

// === impl Faults ===

impl Faults {
    fn is_full(self) -> bool {
        self.full_after == Some(0)
    }
}

// === impl SimDisk ===

impl SimDisk {
    /// Sets what it does wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Returns how many operations it was asked for.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Takes the power away and gives it back: what was not durable is there in part, as the seed decides. Faults end.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut state = self.lock();
        state.faults = Faults::default();
        let mut names = state.durable_names.clone();
        for (name, content) in &state.names {
            if dice.is_heads() {
                names.insert(name.clone(), Arc::clone(content));
            }
        }
        for (name, content) in &state.durable_names {
            let is_kept = state.names.get(name).is_some_and(|now| Arc::ptr_eq(now, content));
            // It was removed, or is called something else: one file has one name.
            if !is_kept && (dice.is_heads() || names.values().filter(|other| Arc::ptr_eq(other, content)).count() > 1) {
                names.remove(name);
            }
        }
        for content in names.values() {
            let mut content = lock(content);
            let Content { bytes, durable, dirty, .. } = &mut *content;
            *dirty = 0..0;
            if durable.len() < bytes.len() && dice.is_heads() {
                durable.resize(bytes.len(), 0);
            }
            for (kept, lost) in durable.chunks_mut(SECTOR_BYTES).zip(bytes.chunks(SECTOR_BYTES)) {
                if kept != lost && dice.is_heads() {
                    kept.copy_from_slice(&lost[..kept.len()]);
                }
            }
            bytes.clone_from(durable);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
    }

    /// Turns one bit of a file around, also of what is durable.
    ///
    /// # Panics
    /// When there is no such file or it has no such bit.
    pub fn flip(&self, name: &str, bit: usize) {
        let state = self.lock();
        let mut content = lock(&state.names[name]);
        let Content { bytes, durable, .. } = &mut *content;
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(byte) = durable.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Returns what a file has.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Vec<u8> {
        lock(&self.lock().names[name]).bytes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, which fails when the power is gone.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.operations += 1;
        match &mut state.faults.operations_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some(left) = &mut state.faults.full_after {
            *left = left.saturating_sub(1);
        }
        Ok(state)
    }

    fn file(&self, content: &Arc<Mutex<Content>>) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.clone(), content: Arc::clone(content) })
    }
}

impl Disk for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.operate()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.operate()?;
        if state.faults.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let zeros = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        let content =
            Arc::new(Mutex::new(Content { grows: bytes == 0, bytes: zeros.clone(), durable: zeros, dirty: 0..0 }));
        state.names.insert(name.to_owned(), Arc::clone(&content));
        Ok(self.file(&content))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.operate()?;
        let content = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(content))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate()?.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.faults.syncs_fail {
            return Err(io::Error::other("the disk failed"));
        }
        if !state.faults.syncs_lie {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let faults = self.lock().faults;
        Ok(if faults.is_full() { 0 } else { faults.free.unwrap_or(u64::MAX) })
    }
}

impl File for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        drop(self.disk.operate()?);
        Ok(lock(&self.content).bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        drop(self.disk.operate()?);
        let content = lock(&self.content);
        let rest = usize::try_from(offset).ok().and_then(|offset| content.bytes.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let faults = self.disk.operate()?.faults;
        if faults.is_full() && faults.full_for_writes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let short = faults.short_writes.unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(short)];
        let mut content = lock(&self.content);
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let end = begin + bytes.len();
        if content.grows && content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        let Some(there) = content.bytes.get_mut(begin..end) else {
            return Err(io::Error::other("only a file that was made empty grows"));
        };
        there.copy_from_slice(bytes);
        let dirty = &mut content.dirty;
        *dirty = if dirty.start == dirty.end { begin..end } else { dirty.start.min(begin)..dirty.end.max(end) };
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let faults = self.disk.operate()?.faults;
        while self.disk.lock().faults.syncs_hang {
            std::thread::park_timeout(HANG_POLL);
        }
        if faults.syncs_fail {
            lock(&self.content).dirty = 0..0;
            return Err(io::Error::other("the disk failed"));
        }
        if !faults.syncs_lie {
            let mut content = lock(&self.content);
            let Content { bytes, durable, dirty, .. } = &mut *content;
            durable.resize(bytes.len(), 0);
            durable[dirty.clone()].copy_from_slice(&bytes[dirty.clone()]);
            *dirty = 0..0;
        }
        Ok(())
    }
}

// === impl Dice ===

impl Dice {
    fn is_heads(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_grew_by_is_there_after_a_sync_and_may_be_torn_without_one() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..32 {
            let disk = SimDisk::default();
            let file = disk.create("grows", 0).unwrap();
            disk.sync_names().unwrap();
            assert_eq!(file.write_at(&[1; 700], 0).unwrap(), 700);
            file.sync().unwrap();
            assert_eq!(file.write_at(&[2; 700], 700).unwrap(), 700);
            disk.crash(seed);

            let content = disk.content("grows");
            assert_eq!(content[..700], [1; 700]);
            lengths.insert((content.len(), content.iter().filter(|byte| **byte == 2).count()));
        }
        assert!(lengths.contains(&(700, 0)) && lengths.contains(&(1400, 700)) && lengths.len() > 2, "{lengths:?}");
    }

    #[test]
    fn a_file_that_was_not_made_empty_does_not_grow() {
        let file = SimDisk::default().create("fixed", 4).unwrap();
        assert!(file.write_at(&[1; 5], 0).is_err());
        assert_eq!(file.write_at(&[1; 4], 0).unwrap(), 4);
    }
}
