//! Requests about what another node owns, and streams that go on when somebody else owns them.
//!
//! ```text
//! client ─▶ ingress: authenticate ─▶ who owns the session? ─┬─ this node ──▶ the stages from classify on
//!                ▲                        ▲                 └─ another one ─▶ relay ─▶ the same stages there
//!                └── stream (Ride) ───────┴── owner lost, or moved: asked again, gone on with
//! ```
//!
//! The node that a client talks to says who calls and keeps the client's connection; the owner does everything else. When
//! the owner is lost before it answered, the same request goes to the next one under the same key, and is not done twice; a
//! stream that has begun is gone on with after the last event that was passed on. Its client notices a pause.

mod call;
mod ride;
mod serve;

use std::time::Duration;

use quorate_peer::Protocol;
use quorate_runtime::entropy;
use quorate_runtime::session::Refused;
use quorate_runtime::shard::{self, Unknown};
use quorate_runtime::shards::Where;
use quorate_session::RequestKey;
use quorate_telemetry::Trace;
use tokio::time::Instant;

pub(crate) use self::ride::Ride;
pub(crate) use self::serve::serve;
use crate::classify::{self, Received, UnknownSession};
use crate::dispatch::{self, Dispatched};
use crate::pipeline;
use crate::respond::Refusal;

/// What exchanges about sessions are known by.
const PROTOCOL: Protocol = Protocol(2);
/// How long an owner is waited for: elections of a shard whose leader was cut off, twice, and what a node that is busy needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before an owner is asked again that did not own yet, or not any more.
const PAUSE: Duration = Duration::from_millis(15);

/// Why a request has to be asked again.
enum Again {
    /// Of the same shard; it may have been done.
    Same,
    /// Of the same shard; nothing was done.
    Untaken,
    /// What it goes on with is in this one.
    Shard(u32),
    /// A session can be opened at another node.
    Anywhere,
}

/// Answers a request, wherever what it is about is owned.
///
/// # Errors
/// [`Refusal`] of the stage that refused it, here or there.
pub(crate) async fn answer(
    mut received: Received,
    trace: &mut Trace,
    started: std::time::Instant,
) -> Result<Dispatched, Refusal> {
    let services = std::sync::Arc::clone(&received.accepted.snapshot.services);
    let shards = services.sessions.shards().clone();
    if !shards.is_joined() {
        return pipeline::stages(received, trace, started).await;
    }
    received.key = Some(RequestKey(entropy::unique()));
    let named = received.session_id().and_then(|id| services.sessions.shard_of(id));
    let mut shard = named.filter(|shard| *shard != 0);
    let mut elsewhere = false;
    let mut changed = shards.changed();
    let deadline = Instant::now() + PATIENCE;
    loop {
        changed.borrow_and_update();
        let at = match shard {
            Some(shard) => shards.locate(shard),
            // Where no other node owns anything any more, this one may.
            None if elsewhere => shards.elsewhere().map_or(Where::Here(0), Where::There),
            None => Where::Here(0),
        };
        match at {
            Where::Here(_) => match pipeline::stages(received.clone(), trace, started).await {
                Ok(dispatched) => return Ok(ride::ridden(&received, dispatched)),
                Err(refusal) if is_done(&received, &refusal) => return Ok(Dispatched::Ended),
                Err(refusal) => match again(&refusal) {
                    None => return Err(refusal),
                    // It was posted, and may have been sent.
                    Some(Again::Same) => received.is_again = true,
                    Some(Again::Untaken) => {}
                    Some(Again::Shard(other)) => shard = Some(other),
                    Some(Again::Anywhere) => elsewhere = true,
                },
            },
            Where::There(node) => match call::call(&received, node).await {
                Ok(dispatched) => return Ok(dispatched),
                Err(error) => {
                    tracing::debug!(%node, %error, "a request is asked again");
                    received.is_again |= error.may_be_done();
                }
            },
            Where::Unknown => {}
        }
        if Instant::now() >= deadline {
            return Err(Refusal::Nobody { id: None });
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Tells whether a request that is asked again is refused because it was done: the owner before has ended the session, and
/// was not heard.
fn is_done(received: &Received, refusal: &Refusal) -> bool {
    received.is_again && received.accepted.head.method == http::Method::DELETE && is_of_ended(refusal)
}

fn is_of_ended(refusal: &Refusal) -> bool {
    let Refusal::Classify(classify::Error::Session(UnknownSession { reason, .. })) = refusal else { return false };
    matches!(reason, Unknown::Ended)
}

/// Tells whether a refusal says only that somebody else is to be asked.
fn again(refusal: &Refusal) -> Option<Again> {
    match refusal {
        Refusal::Classify(classify::Error::Session(UnknownSession { reason: Unknown::Elsewhere(shard), .. })) => {
            Some(Again::Shard(*shard))
        }
        Refusal::Dispatch(dispatch::Error::Elsewhere { shard }) => Some(Again::Shard(*shard)),
        Refusal::Dispatch(dispatch::Error::Session { refused: Refused::Moved, .. }) => Some(Again::Same),
        Refusal::Dispatch(dispatch::Error::Session { refused: Refused::Rested, .. }) => Some(Again::Untaken),
        Refusal::Dispatch(dispatch::Error::Open(shard::Error::Elsewhere | shard::Error::Unwritten)) => {
            Some(Again::Anywhere)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_a_session_that_has_ended_does_a_refusal_say_that_it_was_ended_before() {
        let refusal = |reason| Refusal::Classify(classify::Error::Session(UnknownSession { id: None, reason }));

        assert!(is_of_ended(&refusal(Unknown::Ended)));
        for other in [Unknown::Forged, Unknown::Foreign, Unknown::Elsewhere(1)] {
            assert!(!is_of_ended(&refusal(other)));
        }
        assert!(!is_of_ended(&Refusal::Nobody { id: None }));
    }
}
