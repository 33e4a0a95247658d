//! The stream of revisions, with which nodes have them active.
//!
//! A revision is said when this node has it, and the latest again whenever another node tells something new of what it runs.
//! Nothing is kept for who does not read: it gets what is so then. The history that is kept is what can be caught up with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use quorate_control::Control;
use quorate_proto::admin::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;

use super::show;

/// How long changes are gathered into one: nodes tell of a revision one after the other.
const QUIET: Duration = Duration::from_millis(50);

/// Where a watcher is.
struct Watch {
    control: Arc<Control>,
    changed: watch::Receiver<u64>,
    board: watch::Receiver<u64>,
    /// The last revision that was said; none before the first answer.
    said: Option<u64>,
    /// What was said of the nodes then.
    nodes: Vec<wire::NodeRevision>,
    _place: OwnedSemaphorePermit,
}

/// Watches from the revision after `after`, or from the latest, which is said at once.
pub(super) fn stream(
    control: Arc<Control>,
    after: Option<u64>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<wire::WatchResponse, Status>> {
    let (changed, board) = (control.changed(), control.host().peers().board().watch());
    let watch = Watch { control, changed, board, said: after, nodes: Vec::new(), _place: place };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|said| (Ok(said), watch)) })
}

// === impl Watch ===

impl Watch {
    /// Waits for something to say; none when the node ends.
    async fn next(&mut self) -> Option<wire::WatchResponse> {
        loop {
            self.changed.borrow_and_update();
            self.board.borrow_and_update();
            if let Some(said) = self.look() {
                return Some(said);
            }
            tokio::select! {
                seen = self.changed.changed() => seen.ok()?,
                seen = self.board.changed() => seen.ok()?,
            }
            tokio::time::sleep(QUIET).await;
        }
    }

    fn look(&mut self) -> Option<wire::WatchResponse> {
        let catalog = self.control.catalog();
        let latest = catalog.revision();
        let nodes = nodes(&self.control);
        let next = match self.said {
            None => latest,
            // What history has forgotten is skipped.
            Some(said) if said < latest => (said + 1).max(catalog.oldest_revision() + 1).min(latest),
            Some(_) if self.nodes != nodes => latest,
            Some(_) => return None,
        };
        let revision = catalog.revisions(Some(next + 1), 1).next().filter(|found| found.number == next);
        // Before the first revision there is nothing to tell of it but its number.
        let revision = revision.map_or_else(wire::Revision::default, show::revision);
        self.said = Some(next);
        self.nodes.clone_from(&nodes);
        Some(wire::WatchResponse { revision: Some(revision), nodes })
    }
}

fn nodes(control: &Control) -> Vec<wire::NodeRevision> {
    let said = quorate_follow::nodes(control).into_iter().map(|(node, standing)| wire::NodeRevision {
        node: node.0,
        active: standing.active.unwrap_or_default(),
        reason: standing.refused.map(|one| format!("revision {}: {}", one.revision, one.reason)).unwrap_or_default(),
    });
    said.collect()
}
