//! What an operator does to a session of the cluster, on the node that owns it.
//!
//! A session at rest is made of its record first, so that its tool servers hear of its end, too. One that no session can be
//! made of (its toolset is not configured any more) is its record alone, which is ended.

use std::time::Duration;

use quorate_mcp::Fault;
use quorate_session::EndReason;

use super::{Sessions, Unknown};
use crate::session::{Refused, fault};

/// Between looks at a session that is about to end, or that was put to rest just then.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks: longer together than a commit takes.
const LOOKS_MAX: u32 = 100;

// === impl Sessions ===

impl Sessions {
    /// Ends a session, whoever's it is, on behalf of `by`, and waits until that is committed: its client is answered 404 from
    /// then on, by every node.
    ///
    /// # Errors
    /// [`Unknown::Ended`] where there is none, and [`Unknown::Elsewhere`] where this node does not own its shard, or not any
    /// more; then it may have ended.
    pub async fn end_by_operator(&self, shard: u32, key: u128, by: &str) -> Result<(), Unknown> {
        let elsewhere = Unknown::Elsewhere(shard);
        let narrow = u16::try_from(shard).map_err(|_| elsewhere)?;
        self.shared.shards.owned(shard).ok_or(elsewhere)?.record(key).ok_or(Unknown::Ended)?;
        let reason = EndReason::Operator { by: by.into() };
        for _ in 0..LOOKS_MAX {
            match self.owned(narrow, key).await {
                Ok(session) => {
                    match session.end_for_good(reason.clone(), fault(Fault::SessionUnknown)).await {
                        Ok(()) => return Ok(()),
                        // Its record says when that is committed; one at rest is made again.
                        Err(Refused::Gone(_) | Refused::Rejected(_) | Refused::Rested) => {}
                        Err(Refused::Moved) => return Err(elsewhere),
                    }
                }
                Err(Unknown::Ended) if self.is_ending(key) => {}
                Err(Unknown::Ended) => {
                    let owned = self.shared.shards.owned(shard).ok_or(elsewhere)?;
                    let Some((version, _)) = owned.record(key) else { return Ok(()) };
                    match owned.end_for_good(key, version, &reason).await {
                        Ok(()) => return Ok(()),
                        Err(error) => tracing::debug!(session = %key, shard, %error, "its record was not ended"),
                    }
                }
                Err(other) => return Err(other),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(elsewhere)
    }
}
