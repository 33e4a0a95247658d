//! What waits to be written, in the order in which it was submitted.
//!
//! A submission is cut into jobs that each fit a batch; its [`Done`] rides on the last one. Bounded in bytes. Pure.

use std::collections::VecDeque;

use crate::block::RECORD_HEAD_BYTES;
use crate::logical::Outgoing;
use crate::wal::Done;

/// Jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
}

/// Records that are written together.
#[derive(Default)]
pub(crate) struct Job {
    pub(crate) records: Vec<Outgoing>,
    pub(crate) done: Option<Done>,
    bytes: usize,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Adds records as jobs of at most `job_bytes_max`, unless one record alone has more.
    pub(crate) fn push(&mut self, records: Vec<Outgoing>, done: Option<Done>, job_bytes_max: usize) {
        let mut job = Job::default();
        for record in records {
            let bytes = disk_bytes(&record);
            if !job.records.is_empty() && job.bytes + bytes > job_bytes_max {
                self.add(std::mem::take(&mut job));
            }
            job.bytes += bytes;
            job.records.push(record);
        }
        job.done = done;
        self.add(job);
    }

    /// Takes jobs of together at most `bytes_max`, and one at least if there is one.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Vec<Job> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(job) = self.jobs.front()
            && (taken.is_empty() || bytes + job.bytes <= bytes_max)
        {
            bytes += job.bytes;
            taken.extend(self.jobs.pop_front());
        }
        self.bytes -= bytes;
        taken
    }

    fn add(&mut self, job: Job) {
        self.bytes += job.bytes;
        self.jobs.push_back(job);
    }
}

// === impl Job ===

impl std::fmt::Debug for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Job").field("records", &self.records.len()).field("bytes", &self.bytes).finish()
    }
}

fn disk_bytes(record: &Outgoing) -> usize {
    RECORD_HEAD_BYTES + record.payload.len()
}
