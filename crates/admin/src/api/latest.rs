//! The catalog with everything that was changed before, also when a leader has to be found first.
//!
//! An election, or a leader that just lost one of its followers, is a moment in which no quorum answers. A caller who could
//! not see that coming is not told of it: the question is asked again, as long as elections take by far. Whether the call has
//! time left is decided elsewhere.

use std::time::{Duration, Instant};

use quorate_catalog::Catalog;
use quorate_control::Control;
use quorate_raft::ReadIndexError;

/// How long a leader is looked for: longer than an election takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Reads the catalog after a quorum said that it is the latest.
///
/// # Errors
/// [`ReadIndexError`] when none did in time, or the group has ended here.
pub(crate) async fn latest(control: &Control) -> Result<Catalog, ReadIndexError> {
    let begun = Instant::now();
    loop {
        match control.latest().await {
            Err(error @ ReadIndexError::Stopped { .. }) => return Err(error),
            Err(error) if begun.elapsed() >= PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
            Ok(catalog) => return Ok(catalog),
        }
    }
}
