//! One connection that sends requests in turn, and who says whose turn it is.
//!
//! In a closed loop a worker takes the next turn when it has its answer. In an open loop turns
//! come at their moments from a [`Schedule`], any idle worker takes the next, and latency counts
//! from the moment that was meant: waiting for a worker is part of it, so a slow answer is not
//! hidden by the requests that it kept from being sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::HeaderMap;
use tokio::sync::{Mutex, mpsc};

use super::schedule::Schedule;
use crate::client::{Connection, Target};
use crate::message::Measure;

/// Moments that wait for a worker; beyond them the schedule waits, and its moments grow older.
const MOMENTS_MAX: usize = 1024;

/// Where latency ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Until {
    /// With the first bytes of the answer's body.
    First,
    /// With its last.
    Last,
}

/// A connection with what its requests need.
pub(super) struct Worker {
    connection: Connection,
    measure: Measure,
    until: Until,
    headers: HeaderMap,
    numbers: Arc<AtomicU64>,
}

/// Where turns come from.
#[derive(Clone)]
pub(super) enum Turns {
    /// So many, as soon as there is a worker.
    Closed(Arc<AtomicU64>),
    /// At these moments.
    Open(Arc<Mutex<mpsc::Receiver<Instant>>>),
}

// === impl Until ===

impl Until {
    /// The name on the command line of `load`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

// === impl Turns ===

impl Turns {
    pub(super) fn closed(requests: u64) -> Self {
        Self::Closed(Arc::new(AtomicU64::new(requests)))
    }

    pub(super) fn open(schedule: Schedule) -> Self {
        let (sender, receiver) = mpsc::channel(MOMENTS_MAX);
        schedule.start(sender);
        Self::Open(Arc::new(Mutex::new(receiver)))
    }

    /// Waits for a turn; returns the moment from which its latency counts.
    pub(super) async fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed(left) => {
                let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                taken.is_ok().then(Instant::now)
            }
            Self::Open(moments) => moments.lock().await.recv().await,
        }
    }
}

// === impl Worker ===

impl Worker {
    /// Connects, opens a session where the measure needs one, and checks a first answer whole.
    ///
    /// # Errors
    /// When any of it fails.
    pub(super) async fn open(target: &Target, measure: Measure, until: Until, numbers: Arc<AtomicU64>) -> Result<Self> {
        let mut connection = Connection::open(target).await?;
        let session = match measure.in_session() {
            true => Some(connection.initialize().await?),
            false => None,
        };
        let mut worker = Self { connection, measure, until, headers: measure.headers(session.as_ref()), numbers };
        let (id, body) = worker.next_request();
        let answer = worker.connection.post(&worker.headers, body).await?;
        measure.check_whole(&id, &answer).with_context(|| format!("first {}", measure.name()))?;
        Ok(worker)
    }

    /// Works until there are no turns left; returns itself and each turn's latency.
    ///
    /// # Errors
    /// With the first answer that is missing or wrong.
    pub(super) async fn work(mut self, turns: Turns) -> Result<(Self, Vec<Duration>)> {
        let mut latencies = Vec::new();
        while let Some(meant_at) = turns.next().await {
            let (id, body) = self.next_request();
            let answer = self.connection.post(&self.headers, body).await?;
            latencies.push(match self.until {
                Until::First => answer.began_at.duration_since(meant_at),
                Until::Last => meant_at.elapsed(),
            });
            self.measure.check(&id, &answer)?;
        }
        Ok((self, latencies))
    }

    /// Ends the session, if there is one: what it holds at the gateway is not the next load's.
    ///
    /// # Errors
    /// When it is not taken.
    pub(super) async fn end(mut self) -> Result<()> {
        if !self.measure.in_session() {
            return Ok(());
        }
        self.connection.delete(&self.headers).await.context("end the session")
    }

    fn next_request(&self) -> (String, bytes::Bytes) {
        self.measure.request(self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}
