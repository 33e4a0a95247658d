//! Memory of the gateway: idle, and what each live idle session adds.
//!
//! Idle is a gateway after its start and a first request. Then legacy sessions are opened, each
//! with one `tools/call`, and their connections closed. A first batch pays for what grows once
//! (pools, tables, code that is touched) and is not counted; the growth over the second batch is
//! divided by its sessions. Parked calls of stateless clients are measured in the same way. Afterwards some of them are asked whether they are still alive.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::HeaderValue;
use serde::Serialize;
use tokio::task::JoinSet;

use super::gateway::Gateway;
use crate::client::{Connection, Target};
use crate::message::{self, Measure};

/// Sessions of the batch that is not counted, per session that is.
const WARM_UP_SHARE: u64 = 5;
/// Connections that sessions are opened over, one after the other on each.
const CONNECTIONS: u64 = 16;
/// Memory has settled when so many readings in a row, a second apart, differ by no more than
/// [`SETTLED_BYTES`]: longer than a gateway keeps unused connections to its backend.
const SETTLED_READINGS: usize = 6;
const SETTLED_BYTES: u64 = 128 << 10;
/// Readings after which memory is taken as it is.
const READINGS_MAX: usize = 40;
const READING_INTERVAL: Duration = Duration::from_secs(1);
/// Parked calls before those that count, and these: as many as one caller may have.
const PARKED_BEFORE: u64 = 48;
const PARKED: u64 = 208;
/// Sessions that are asked whether they live.
const PROBES: usize = 20;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// Resident memory after start and a first request, in bytes.
    pub(crate) idle_bytes: u64,
    /// Resident memory with the sessions of the first batch.
    pub(crate) before_bytes: u64,
    /// Resident memory with all sessions.
    pub(crate) after_bytes: u64,
    /// Sessions of the second batch.
    pub(crate) sessions: u64,
}

// === impl Memory ===

impl Memory {
    /// Measures a gateway that has just been started.
    ///
    /// # Errors
    /// When a session cannot be opened or is gone afterwards.
    pub(crate) async fn measure(gateway: &Gateway, sessions: u64) -> Result<Self> {
        let target = Target::parse(gateway.url())?;
        let idle_bytes = settled(gateway).await?;
        let mut alive = open(&target, (sessions / WARM_UP_SHARE).max(CONNECTIONS)).await?;
        let before_bytes = settled(gateway).await?;
        alive.extend(open(&target, sessions).await?);
        let after_bytes = settled(gateway).await?;
        let probed = alive.iter().step_by((alive.len() / PROBES).max(1));
        let mut connection = Connection::open(&target).await?;
        for session in probed {
            let answer = connection.post(&message::legacy(Some(session)), message::ping()).await?;
            message::result("\"ping\"", &answer).context("a session that should be alive")?;
        }
        let memory = Self { idle_bytes, before_bytes, after_bytes, sessions };
        eprintln!(
            "memory: idle {:.1} MB, {:.1} KB for each of {sessions} sessions",
            memory.idle_mb(),
            memory.session_kb()
        );
        Ok(memory)
    }

    /// Idle memory in megabytes (10^6).
    pub(crate) fn idle_mb(&self) -> f64 {
        as_f64(self.idle_bytes) / 1e6
    }

    /// Memory per session in kilobytes (1024).
    pub(crate) fn session_kb(&self) -> f64 {
        (as_f64(self.after_bytes) - as_f64(self.before_bytes)) / as_f64(self.sessions) / 1024.0
    }
}

/// Memory of calls that wait for their client.
#[derive(Debug, Serialize)]
pub(crate) struct Parked {
    /// Resident memory with the calls of the first batch.
    pub(crate) before_bytes: u64,
    /// Resident memory with all calls.
    pub(crate) after_bytes: u64,
    /// Calls of the second batch.
    pub(crate) calls: u64,
}

// === impl Parked ===

impl Parked {
    /// Parks calls at a gateway before a server of sessions.
    ///
    /// # Errors
    /// When a call is not parked.
    pub(crate) async fn measure(gateway: &Gateway) -> Result<Self> {
        let target = Target::parse(gateway.url())?;
        park(&target, PARKED_BEFORE).await?;
        let before_bytes = settled(gateway).await?;
        park(&target, PARKED).await?;
        let after_bytes = settled(gateway).await?;
        let parked = Self { before_bytes, after_bytes, calls: PARKED };
        eprintln!("memory: {:.1} KB for each of {PARKED} parked calls", parked.call_kb());
        Ok(parked)
    }

    /// Memory per parked call in kilobytes (1024).
    pub(crate) fn call_kb(&self) -> f64 {
        (as_f64(self.after_bytes) - as_f64(self.before_bytes)) / as_f64(self.calls) / 1024.0
    }
}

/// Makes calls, each of which has to be answered with a question, over one connection.
async fn park(target: &Target, calls: u64) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    for number in 0..calls {
        let (headers, body) = message::asking_call(number);
        let answer = connection.post(&headers, body).await?;
        let result = message::result(&number.to_string(), &answer)?;
        ensure!(result.contains("\"input_required\""), "a call that should be parked: {result}");
    }
    Ok(())
}

/// Opens sessions, calls a tool in each, and closes the connections; returns the sessions' ids.
async fn open(target: &Target, sessions: u64) -> Result<Vec<HeaderValue>> {
    let mut opening = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let target = target.clone();
        let share = sessions / CONNECTIONS + u64::from(connection < sessions % CONNECTIONS);
        opening.spawn(async move { open_share(&target, share).await });
    }
    let mut ids = Vec::new();
    while let Some(opened) = opening.join_next().await {
        ids.extend(opened??);
    }
    ensure!(ids.len() as u64 == sessions, "{} of {sessions} sessions were opened", ids.len());
    Ok(ids)
}

async fn open_share(target: &Target, sessions: u64) -> Result<Vec<HeaderValue>> {
    let mut connection = Connection::open(target).await?;
    let mut ids = Vec::new();
    for number in 0..sessions {
        let session = connection.initialize().await?;
        let (id, body) = Measure::LegacyCall.request(number);
        let answer = connection.post(&Measure::LegacyCall.headers(Some(&session)), body).await?;
        Measure::LegacyCall.check(&id, &answer)?;
        ids.push(session);
    }
    Ok(ids)
}

/// Waits until memory no longer changes, and returns it.
async fn settled(gateway: &Gateway) -> Result<u64> {
    let mut readings: Vec<u64> = Vec::new();
    for _ in 0..READINGS_MAX {
        readings.push(gateway.resident_bytes()?);
        if let Some(last) = readings.last_chunk::<SETTLED_READINGS>() {
            let apart = last.iter().max().zip(last.iter().min()).map_or(0, |(most, least)| most - least);
            if apart <= SETTLED_BYTES {
                break;
            }
        }
        tokio::time::sleep(READING_INTERVAL).await;
    }
    readings.last().copied().context("no reading")
}

fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_per_session_is_the_growth_over_the_second_batch() {
        let memory = Memory { idle_bytes: 20_000_000, before_bytes: 30 << 20, after_bytes: 50 << 20, sessions: 2048 };

        assert_eq!((memory.idle_mb(), memory.session_kb()), (20.0, 10.0));
    }
}
