//! The chain on disk: appending records, beginning segments, and deleting the oldest.
//!
//! A batch of records is written whole or cut off again, and only then the chain moves on: the file never holds a line that
//! the next record does not follow. A segment that is full is synced before the next is made. When all segments are
//! too large together, the oldest is deleted, after a record that says so is on disk: `verify` can tell it from theft.
//!
//! Knows neither threads nor rates; `now` is an argument.

use std::io;

use quorate_types::Timestamp;

use crate::config::Config;
use crate::folder::{Medium, name};
use crate::note::{Entry, Note};
use crate::record::{self, Hash, LINE_BYTES_MAX};
use crate::scan::Tip;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log<M> {
    medium: M,
    node: String,
    segment_bytes: u64,
    total_bytes: u64,
    /// The last is written.
    segments: Vec<Written>,
    tip: Tip,
    /// Of this process, for [`Log::volume`].
    written_bytes: u64,
    segments_begun: u64,
    segments_deleted: u64,
    /// Whether a failed write left something behind the last line.
    is_torn: bool,
    is_synced: bool,
    /// What comes before the next record, since there was no room for it.
    owed: Option<(Timestamp, Entry)>,
}

/// What a log takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of all segments that are there.
    pub bytes: u64,
    /// Segments that are there.
    pub segments: u64,
    /// Bytes of records that were written since the log was opened.
    pub written_bytes: u64,
    /// Segments that were begun since then, because the one before was full.
    pub segments_begun: u64,
    /// Segments that were deleted for space since then.
    pub segments_deleted: u64,
}

/// A segment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) first: u64,
    pub(crate) bytes: u64,
    /// The hash of the record before its first, unless it could not be read.
    pub(crate) previous: Option<Hash>,
}

// === impl Log ===

impl<M: Medium> Log<M> {
    /// Takes a chain over that stands at `tip` and continues in the last of `segments`, or begins there.
    pub(crate) fn new(medium: M, config: &Config, segments: Vec<Written>, tip: Tip) -> Self {
        Self {
            medium,
            node: config.node.as_str().to_owned(),
            segment_bytes: config.segment_bytes,
            total_bytes: config.total_bytes,
            segments,
            tip,
            written_bytes: 0,
            segments_begun: 0,
            segments_deleted: 0,
            is_torn: false,
            is_synced: true,
            owed: None,
        }
    }

    pub(crate) const fn tip(&self) -> Tip {
        self.tip
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume {
            bytes: self.total(),
            segments: self.segments.len() as u64,
            written_bytes: self.written_bytes,
            segments_begun: self.segments_begun,
            segments_deleted: self.segments_deleted,
        }
    }

    pub(crate) const fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Notes an entry that there was no room for: it is written before whatever comes next.
    pub(crate) fn owe(&mut self, entry: (Timestamp, Entry)) {
        self.owed = Some(entry);
    }

    /// Appends a record for each entry with its time.
    ///
    /// # Errors
    /// How many entries are in the log, and what the system said to the next.
    pub(crate) fn append(&mut self, entries: &[(Timestamp, Entry)]) -> Result<(), (usize, io::Error)> {
        if let Some(owed) = self.owed.take()
            && let Err((_, error)) = self.add(std::slice::from_ref(&owed))
        {
            self.owed = Some(owed);
            return Err((0, error));
        }
        self.add(entries)
    }

    fn add(&mut self, entries: &[(Timestamp, Entry)]) -> Result<(), (usize, io::Error)> {
        let (mut buffer, mut tip, mut flushed) = (Vec::new(), self.tip, 0);
        for (index, (time, entry)) in entries.iter().enumerate() {
            let begin = buffer.len();
            let sequence = tip.sequence + 1;
            let hash = record::write(&mut buffer, (sequence, tip.hash), (*time, &self.node), entry);
            debug_assert!(buffer.len() - begin <= LINE_BYTES_MAX, "{} bytes", buffer.len() - begin);
            if self.present().bytes + buffer.len() as u64 > self.segment_bytes
                && self.present().bytes + begin as u64 > 0
            {
                buffer.truncate(begin);
                self.flush(&buffer, tip).map_err(|error| (flushed, error))?;
                flushed = index;
                buffer.clear();
                self.rotate(*time).map_err(|error| (flushed, error))?;
                let hash = record::write(&mut buffer, self.next(), (*time, &self.node), entry);
                tip = Tip { sequence: self.tip.sequence + 1, hash };
            } else {
                tip = Tip { sequence, hash };
            }
        }
        self.flush(&buffer, tip).map_err(|error| (flushed, error))
    }

    /// Waits until all records are on disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        // Also after a failure: the kernel reports it once, and what it dropped cannot be written again from here.
        self.is_synced = true;
        self.medium.sync()
    }

    const fn next(&self) -> (u64, Hash) {
        (self.tip.sequence + 1, self.tip.hash)
    }

    fn present(&self) -> &Written {
        self.segments.last().expect("a log has a segment that is written")
    }

    /// Writes lines, after which the chain stands at `tip`.
    fn flush(&mut self, lines: &[u8], tip: Tip) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.repair()?;
        let bytes = self.present().bytes;
        if let Err(error) = self.medium.append(lines) {
            self.is_torn = self.medium.truncate(bytes).is_err();
            return Err(error);
        }
        self.tip = tip;
        self.written_bytes += lines.len() as u64;
        self.is_synced = false;
        self.segments.last_mut().expect("a log has a segment that is written").bytes += lines.len() as u64;
        Ok(())
    }

    /// Cuts what a failed write left behind the last line, if that could not be done then.
    fn repair(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.medium.truncate(self.present().bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Begins a segment, and deletes the oldest as long as all together are too large.
    ///
    /// The one that ends here ends with a whole line: only the last may have more.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.repair()?;
        self.sync()?;
        let (first, previous) = self.next();
        self.medium.resume(first)?;
        self.segments.push(Written { first, bytes: 0, previous: Some(previous) });
        self.segments_begun += 1;
        // The new segment is allowed for as if it were full.
        while self.segments.len() > 1 && self.total() + self.segment_bytes > self.total_bytes {
            self.delete_oldest(now)?;
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn delete_oldest(&mut self, now: Timestamp) -> io::Result<()> {
        let (oldest, next) = (self.segments[0], self.segments[1]);
        let note = Note::Deleted { file: name(oldest.first), last: next.first - 1, hash: next.previous };
        let mut line = Vec::new();
        let hash = record::write(&mut line, self.next(), (now, &self.node), &Entry::Note(note));
        self.flush(&line, Tip { sequence: self.tip.sequence + 1, hash })?;
        self.sync()?;
        match self.medium.remove(oldest.first) {
            // Somebody was faster; what counts is that it is gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.segments.remove(0);
        self.segments_deleted += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{Opened, open};
    use crate::testing::{Faults, Faulty, NOON, config, denied, fill};
    use crate::verify::verify;

    #[test]
    fn what_a_failed_write_left_is_cut_before_the_next_segment_begins() {
        let dir = tempfile::tempdir().expect("a folder");
        let small = Config { segment_bytes: 1_500, ..config(dir.path()) };
        let (medium, faults) = Faulty::lock(dir.path());
        let (mut log, _) = open(medium, &small, NOON).expect("it opens");
        let event = || (NOON, Entry::Event(Box::new(denied("acme"))));
        let note = || (NOON, Entry::Note(Note::Resumed { cut_bytes: 0 }));
        let mut event_line = Vec::new();
        record::write(&mut event_line, log.next(), (NOON, "n1"), &event().1);
        // Until an event begins a segment and a note does not.
        while log.present().bytes + event_line.len() as u64 <= small.segment_bytes {
            log.append(&[note()]).expect("there is room");
        }

        *faults.lock().expect("nobody panicked") = Faults { room: Some(10), truncate_fails: true, sync_fails: false };
        log.append(&[note()]).expect_err("the disk is full");
        *faults.lock().expect("nobody panicked") = Faults::default();
        log.append(&[event()]).expect("there is room");

        assert_eq!(log.volume().segments_begun, 1);
        verify(dir.path(), None).expect("the first segment ends with a whole line");
    }

    /// A node that is started on a full disk serves what it has.
    #[test]
    fn a_chain_is_resumed_on_a_full_disk_and_says_so_when_there_is_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = config(dir.path());
        fill(&config, 1);
        let (medium, faults) = Faulty::lock(dir.path());
        *faults.lock().expect("nobody panicked") = Faults { room: Some(9), ..Faults::default() };
        let event = || (NOON, Entry::Event(Box::new(denied("acme"))));

        let (mut log, opened) = open(medium, &config, NOON).expect("it opens");
        assert_eq!(opened, Opened::Resumed { cut_bytes: 0 });
        let (count, error) = log.append(&[event()]).expect_err("the disk is full");
        assert_eq!((count, error.kind()), (0, io::ErrorKind::StorageFull));
        *faults.lock().expect("nobody panicked") = Faults::default();
        log.append(&[event(), event()]).expect("there is room");
        drop(log);

        let verified = verify(dir.path(), None).expect("the chain is whole");
        assert_eq!(verified.records, 5, "begun, the first event, resumed, and two events");
    }

    #[test]
    fn no_chain_is_begun_on_a_full_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let (medium, faults) = Faulty::lock(dir.path());
        *faults.lock().expect("nobody panicked") = Faults { room: Some(9), ..Faults::default() };

        let refused = open(medium, &config(dir.path()), NOON).expect_err("there is nothing to go on with");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }
}
