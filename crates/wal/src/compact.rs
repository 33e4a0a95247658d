//! Lets go of old segments: those in which nothing lives, and the oldest one when they are too many.
//!
//! A segment can go once all older ones are gone and nothing lives in it. What lives in the oldest one is queued again, behind
//! what was submitted so far, until nothing does; so size is bounded by what lives, also when one group never changes. On a
//! full disk only what fits into the room that is there already is written again: what must never wait needs it as well.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Failed;
use crate::logical::Outgoing;
use crate::segment;
use crate::space::Space;
use crate::wal::payload_at;
use crate::writer::Writer;

impl Writer {
    /// Removes the oldest segments in which nothing lives, and begins to empty the oldest one when there are too many.
    pub(crate) fn retire(&mut self) -> io::Result<()> {
        let mut gone = Vec::new();
        let mut inner = self.shared.lock();
        while let Some((&oldest, _)) = inner.files.first_key_value()
            && oldest != self.segment
            && inner.durable.live_in(oldest) == 0
        {
            gone.extend(inner.files.remove(&oldest).map(|file| (oldest, file)));
            inner.durable.forget_segment(oldest);
        }
        drop(inner);
        // One after the other, durably: an older one that came back would stand before a gap.
        for (segment, file) in gone {
            let name = segment::name(segment);
            let shared = Arc::clone(&self.shared);
            shared.on_disk(|| {
                // Nobody gets hold of it any more, but somebody may be reading in it, and must not see what is written next.
                let is_read = Arc::strong_count(&file) > 1;
                if is_read || !self.spares.recycle(&name, file)? {
                    self.disk.remove(&name)?;
                    self.disk.sync_names()?;
                }
                Ok::<_, io::Error>(())
            })?;
        }
        self.begin_moving();
        Ok(())
    }

    /// Lists what lives in the oldest segment, if there are too many of them.
    fn begin_moving(&mut self) {
        let inner = self.shared.lock();
        let Some((&oldest, _)) = inner.files.first_key_value() else { return };
        let config = &self.shared.config;
        let disk_bytes = inner.files.len() as u64 * u64::from(config.segment_bytes);
        let is_enough = disk_bytes <= 2 * inner.durable.live() + config.slack_bytes;
        // Half of a segment is kept for votes, truncations and purges, and for what block heads and ends of segments take.
        let needed = inner.durable.live_in(oldest) + u64::from(config.segment_bytes) / 2;
        let has_room = inner.gauge.space != Space::Critical || needed <= self.room();
        if oldest == self.segment || is_enough || !has_room || !self.moving.is_empty() || inner.closing {
            return;
        }
        let groups: Vec<_> = inner.durable.groups().collect();
        drop(inner);
        // Group by group, for nobody else gets anything done meanwhile. What changes in between is found out below.
        for group in groups {
            self.moving.extend(self.shared.lock().durable.living_in(group, oldest));
        }
    }

    /// Queues some of what lives in the oldest segment, behind what was submitted so far.
    pub(crate) fn queue_moves(&mut self) -> Result<(), Failed> {
        if self.moving.is_empty() || self.shared.lock().closing {
            return Ok(());
        }
        let bytes_max = self.shared.config.batch_bytes_max as usize / 4;
        let mut bytes = 0;
        let mut read = Vec::new();
        while bytes < bytes_max
            && let Some((item, place)) = self.moving.pop_front()
        {
            bytes += place.bytes as usize;
            let file = self.shared.lock().files.get(&place.segment).cloned();
            let Some(file) = file else { continue };
            match payload_at(&*file, place, item.group, item.number) {
                Ok(payload) => read.push(Outgoing { item, payload }),
                Err(error) => return Err(self.fail(Vec::new(), &error.to_string())),
            }
        }
        let mut inner = self.shared.lock();
        // What was superseded meanwhile has its successor in the queue already, and is worthless once that is durable.
        let moved: Vec<_> = read.into_iter().filter(|record| inner.logical.says(record.item)).collect();
        if moved.is_empty() {
            return Ok(());
        }
        self.shared.counters.moved.fetch_add(moved.len() as u64, Ordering::Relaxed);
        inner.queue.push(moved, None, self.shared.config.batch_bytes_max as usize);
        Ok(())
    }
}
