//! How long a run of measurements may take.
//!
//! Whatever measures ends by itself: when its time is over, or when it is told to. What it has started ends with it, since each
//! child is killed when its handle is dropped.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Measures, for so many minutes at most.
///
/// # Errors
/// That of what measures, or that it was not done in time, was interrupted (SIGINT), or was told to end (SIGTERM).
pub(crate) async fn bounded<T>(minutes_max: u64, measures: impl Future<Output = Result<T>>) -> Result<T> {
    let limit = Duration::from_secs(minutes_max * 60);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        measured = tokio::time::timeout(limit, measures) => measured.with_context(|| format!("not done within {limit:?}"))?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
