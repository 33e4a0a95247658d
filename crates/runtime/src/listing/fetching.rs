//! Fetches one server's list, or stands in for it.
//!
//! In: what is kept of the server's list. Out: a list, always: what cannot be asked keeps its last
//! list for a moment, or has an empty one, and never fails the others. The moment counts from the
//! failure, not from the question, so that a server which hangs is not asked again at once.
//! Spec: mcp.md section 2, "Lists".

use std::time::Duration;

use quorate_mcp::ListKind;
use quorate_mcp::listing::{self, Collector, Progress, ServerList};
use quorate_telemetry::Throttle;
use quorate_types::Timestamp;

use super::Fetch;
use super::shelf::Kept;
use crate::backend;

/// Bounds lines about lists that cannot be fetched: a caller may ask for many views of them.
static FAILED: Throttle = Throttle::new();

/// Time in which a server has to list one kind: 5 s. A slower one is left out of this answer.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a program has to: 25 s, because it may have to be started for it, and package runners install it then.
/// Hosts list once, when a conversation begins, and give that 30 s: tools that were left out stay unknown to them. Only
/// who finds no list at all waits for it; where there is a former one, that stands in.
pub(super) const PROGRAM_FETCH_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a stale list stands in for a server that cannot be asked: 5 s, then it is tried again.
pub(super) const STALE_FOR: Duration = Duration::from_secs(5);

/// Returns the server's list: as kept while it is fresh, else as the server says, else as kept.
pub(super) async fn list<F: Fetch>(
    server: &backend::Handle,
    kind: ListKind,
    kept: Option<Kept>,
    config: &listing::Config,
    clock: fn() -> Timestamp,
    fetch: &F,
) -> Kept {
    let now = clock();
    let kept = match kept {
        Some(kept) if kept.fresh_until > now => return kept,
        kept => kept,
    };
    if !fetch.offers(server, kind) {
        // One that speaks to the view and does not offer the list has none.
        return Kept { is_decided: fetch.speaks(server), ..Kept::new(ServerList::empty(kind, now + STALE_FOR)) };
    }
    let patience = if server.is_program() { PROGRAM_FETCH_TIMEOUT } else { FETCH_TIMEOUT };
    let reason = match tokio::time::timeout(patience, pages(server, kind, config, now, fetch)).await {
        Ok(Ok(list)) => return Kept::new(list),
        Ok(Err(reason)) => reason,
        Err(_) => format!("no list within {patience:?}"),
    };
    if FAILED.admits() {
        let (server, list) = (server.name(), kind.result_key());
        tracing::warn!(%server, list, reason, "a list cannot be fetched; the others are served");
    }
    let until = clock() + STALE_FOR;
    let list = match kept {
        Some(kept) => kept.list.as_ref().clone().with_expiry(until),
        None => ServerList::empty(kind, until),
    };
    Kept { is_decided: false, ..Kept::new(list) }
}

/// Returns the list of a server that is not asked, because its toolset wants nothing of it: that
/// changes with the configuration alone.
pub(super) fn unwanted(kind: ListKind, now: Timestamp) -> Kept {
    Kept::new(ServerList::empty(kind, now + listing::DEFAULTS.ttl_max))
}

async fn pages<F: Fetch>(
    server: &backend::Handle,
    kind: ListKind,
    config: &listing::Config,
    now: Timestamp,
    fetch: &F,
) -> Result<ServerList, String> {
    let line = fetch.open(server).await?;
    let mut collector = Collector::new(kind, config);
    let mut cursor: Option<String> = None;
    // Bounded by the collector: pages, and cursors that go in a circle.
    loop {
        let page = fetch.page(server, &line, kind, cursor.as_deref()).await?;
        match collector.push(now, &page).map_err(|error| error.to_string())? {
            Progress::Done => return Ok(collector.finish()),
            Progress::Next { cursor: next } => cursor = Some(next),
        }
    }
}
