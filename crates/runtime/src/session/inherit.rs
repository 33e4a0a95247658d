//! Calls that another node has sent: their answers are read on at their server, or at that node.
//!
//! Where the record has an event id of the server's, the server is asked itself. Otherwise the node is asked that owned the
//! session before: it reads on if it lives ([`orphans`](super::orphans)), until the server has given an id. What it hands over
//! has passed that node's translation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_jsonrpc::{Frame, Kind, Limits};
use quorate_peer::{ExchangeError, Protocol, Receiving, Sending};
use quorate_proto::relay::v1 as proto;
use quorate_session::CallKey;
use quorate_types::NodeId;

use super::message::Message;
use super::orphans::{Left, Orphan, What};
use super::pump::{About, Ended, Handed, Pump, Waits, answers};
use super::terms::Held;
use crate::shards::Owned;
use crate::upstream;

/// What exchanges about orphans are known by.
pub(crate) const PROTOCOL: Protocol = Protocol(3);
/// How long the node before is waited for: it has to see that it owns nothing any more.
pub(crate) const CLAIM_MAX: Duration = Duration::from_secs(2);

/// How the answer of a call is read on that another node has sent.
pub(super) enum Resumes {
    /// At its server, from after an event on.
    At(Arc<str>),
    /// At the node that sent it.
    From(Claim),
}

/// A call that another node reads, if it lives.
pub(super) struct Claim {
    /// The session's shard here.
    pub(super) owned: Owned,
    /// Who owned it before, which may have been this node.
    pub(super) before: Option<NodeId>,
    pub(super) session: u128,
    /// How many of the call's frames are in the record.
    pub(super) after: u64,
}

/// How inheriting a call ended.
pub(super) enum Inherited {
    /// It was answered, with this kind of frame.
    Answer(Kind),
    /// Its server has given its stream an event id: it is read on there.
    At(Arc<str>),
}

/// What another node, or this one, reads for a call.
enum Inheritance {
    Here(Orphan),
    There { _sending: Sending, receiving: Receiving },
}

// === impl Claim ===

impl Claim {
    async fn claim(&self, call: CallKey) -> Result<Inheritance, upstream::Error> {
        let before = self.before.ok_or_else(|| broken("nobody had the session before"))?;
        if before == self.owned.node {
            let orphan = self.owned.orphans().claim(self.session, call);
            return orphan.map(Inheritance::Here).ok_or_else(|| broken("this node has nothing left of the call"));
        }
        let claim =
            proto::Claim { session: self.session.to_be_bytes().to_vec().into(), call: call.0, after: self.after };
        let exchange = self.owned.peers().exchange(before, PROTOCOL, claim.encode_to_vec().into());
        let exchange =
            tokio::time::timeout(CLAIM_MAX, exchange).await.map_err(|_| broken("the node before is silent"))?;
        let (sending, receiving) = exchange.map_err(|error| lost(&error))?.split();
        Ok(Inheritance::There { _sending: sending, receiving })
    }
}

// === impl Inheritance ===

impl Inheritance {
    async fn next(&mut self) -> Result<Option<Left>, upstream::Error> {
        match self {
            Self::Here(orphan) => Ok(orphan.next().await),
            Self::There { receiving, .. } => {
                receiving.receive().await.map_err(|error| lost(&error))?.map(read).transpose()
            }
        }
    }
}

// === impl Pump ===

impl Pump {
    /// Reads the answer of a call on at the node that has sent it, until it can be read on at its server.
    pub(super) async fn inherit(
        &self,
        call: CallKey,
        about: &About,
        claim: Claim,
        held: &mut Held<'_>,
    ) -> Result<Inherited, Ended> {
        let mut inherited = held.wait(claim.claim(call)).await??;
        while let Some(Left { number, event_id, what }) = held.wait(inherited.next()).await?? {
            let frame = match what {
                What::Unsent => return Err(Ended::Unsent),
                What::Answer(answer) => {
                    let (leg, epoch) = (self.leg, self.epoch);
                    // A session that has ended answers nobody.
                    let _ended = self.actor.cast(Message::Answer { leg, epoch, answer });
                    continue;
                }
                What::Frame(_) if number <= claim.after => continue,
                What::Frame(frame) => frame,
            };
            let kind = answers(call, &frame)?;
            let is_last = matches!(kind, Kind::Result | Kind::Error);
            about.heir.as_ref().inspect(|heir| heir.counted(number));
            let waits = if is_last { Waits::No } else { Waits::Yes };
            let read = event_id.as_deref().map(str::to_owned);
            let handing = self.give(Some(call), about, Some(number), frame, read, waits);
            let handed = held.stand(handing.finish(about)).await?;
            match (is_last, handed, event_id) {
                (true, ..) => return Ok(Inherited::Answer(kind)),
                (false, Handed::Enough, _) => return Err(Ended::Unwanted),
                (false, Handed::Next, Some(event_id)) => return Ok(Inherited::At(event_id)),
                (false, Handed::Next, None) => {}
            }
        }
        Err(broken("the node that sent the call has no answer").into())
    }
}

fn broken(reason: &str) -> upstream::Error {
    upstream::Error::Broken { reason: format!("the stream of the call has no event id yet, and {reason}") }
}

fn lost(error: &ExchangeError) -> upstream::Error {
    broken(&error.to_string())
}

/// Reads what another node hands over.
fn read(message: Bytes) -> Result<Left, upstream::Error> {
    use proto::left::Kind as Told;
    let unreadable = || broken("what the node before says cannot be read");
    let proto::Left { number, event_id, kind } = proto::Left::decode(message).map_err(|_| unreadable())?;
    let what = match kind.ok_or_else(unreadable)? {
        Told::Frame(frame) => What::Frame(Frame::parse(frame, &Limits::ANSWER).map_err(|_| unreadable())?),
        Told::Answer(answer) => What::Answer(answer),
        Told::Unsent(_) => What::Unsent,
    };
    Ok(Left { number, event_id: event_id.map(Into::into), what })
}

/// Writes what is handed over to another node.
pub(crate) fn write(left: Left) -> Bytes {
    use proto::left::Kind as Told;
    let kind = match left.what {
        What::Frame(frame) => Told::Frame(frame.bytes().clone()),
        What::Answer(answer) => Told::Answer(answer),
        What::Unsent => Told::Unsent(proto::Unsent {}),
    };
    let event_id = left.event_id.as_deref().map(str::to_owned);
    proto::Left { number: left.number, event_id, kind: Some(kind) }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_read_as_it_was() {
        let frame = Frame::parse(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#.into(), &Limits::ANSWER).unwrap();
        for what in [What::Frame(frame), What::Answer("{}".into()), What::Unsent] {
            let told = format!("{what:?}");
            let left = read(write(Left { number: 3, event_id: Some("a".into()), what })).unwrap();
            assert_eq!((left.number, left.event_id.as_deref(), format!("{:?}", left.what)), (3, Some("a"), told));
        }
        assert!(read("x".into()).is_err() && read(Bytes::new()).is_err());
    }
}
