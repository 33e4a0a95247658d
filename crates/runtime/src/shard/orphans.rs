//! Hands calls over whose sessions have gone to other nodes, and whose answers still come here.
//!
//! The next owner of a session asks for each of its calls. When it asks before this node has seen that it owns the session no
//! more, it waits; where nothing is left of the call, it is refused.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_peer::{Exchange, ExchangeHandler, NodeId, Offer, Protocol};
use quorate_proto::relay::v1 as proto;
use quorate_session::CallKey;
use tokio::time::Instant;

use super::{Sessions, Shared};
use crate::session::{CLAIM_MAX, HANDOVER, Handle, Left, Orphan, What, left};

/// Between looks whether a session has gone.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers other nodes.
struct Server {
    shared: Weak<Shared>,
}

// === impl Sessions ===

impl Sessions {
    /// Begins to hand calls over, once the node is in a cluster.
    pub fn serve_orphans(&self) {
        if let Some(host) = self.shared.shards.host() {
            let server = Server { shared: Arc::downgrade(&self.shared) };
            host.peers().serve_exchanges(HANDOVER, Arc::new(server));
        }
    }

    /// Waits until every call is answered whose session has gone to another node, or was claimed by nobody.
    pub async fn orphans_gone(&self) {
        // A session takes a moment to go, whose shard has another owner now.
        let shards = &self.shared.shards;
        let is_lost = |shard, epoch| shards.owned(shard).is_none_or(|owned| owned.epoch != epoch);
        let goes = |session: &Handle| session.owned_in().is_some_and(|(shard, epoch)| is_lost(shard, epoch));
        let deadline = Instant::now() + CLAIM_MAX;
        while Instant::now() < deadline && self.all().iter().any(goes) {
            tokio::time::sleep(PAUSE).await;
        }
        while self.shared.shards.orphans().count() > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn claim(&self, session: u128, call: CallKey) -> Option<Orphan> {
        let deadline = Instant::now() + CLAIM_MAX;
        loop {
            // Looked for before the claim: the calls are left before the session goes.
            let is_here = self.is_known(session);
            let orphan = self.shared.shards.orphans().claim(session, call);
            if orphan.is_some() || !is_here || Instant::now() >= deadline {
                return orphan;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl ExchangeHandler for Server {
    fn exchange(&self, from: NodeId, _protocol: Protocol, head: Bytes, offer: Offer) {
        let Some(shared) = self.shared.upgrade() else { return offer.refuse("the node goes away") };
        tokio::spawn(async move {
            let claim = proto::Claim::decode(head).ok();
            let session =
                claim.as_ref().and_then(|claim| Some(u128::from_be_bytes(claim.session[..].try_into().ok()?)));
            let (Some(claim), Some(session)) = (claim, session) else {
                return offer.refuse("the claim cannot be read");
            };
            let sessions = Sessions { shared };
            let Some(orphan) = sessions.claim(session, CallKey(claim.call)).await else {
                return offer.refuse("nothing is left of the call");
            };
            drop(sessions);
            let Ok(exchange) = offer.accept() else { return };
            tracing::debug!(%from, session, call = claim.call, "a call is handed over");
            hand_over(orphan, claim.after, exchange).await;
        });
    }
}

/// Hands over what comes for a call, for as long as anybody wants it.
async fn hand_over(mut orphan: Orphan, after: u64, exchange: Exchange) {
    let (mut sending, mut receiving) = exchange.split();
    loop {
        let next = tokio::select! {
            next = orphan.next() => next,
            // The next owner says nothing: it wants the call no more.
            _ = receiving.receive() => return,
        };
        let Some(next) = next else { return sending.finish() };
        let is_taken = matches!(next, Left { number, what: What::Frame(_), .. } if number <= after);
        if !is_taken && sending.send(left(next)).await.is_err() {
            return;
        }
    }
}
