//! One accepted stream: who it is, and its requests in their order.
//!
//! In flow frames of a node whose certificate was verified, out flow requests to the [`Handler`](crate::Handler). A stream
//! begins with its Hello; a node that is not wanted is told why, because it has proven to be a member, and its operator has
//! to know. A newer stream of a node replaces this one.

use std::sync::Arc;
use std::time::Instant;

use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::frame::Kind;
use quorate_types::NodeId;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::Ticket;
use crate::answers::{Answers, Outgoing};
use crate::dial::first_frame;
use crate::frame::service::peer_server::Peer;
use crate::member::{Accepted, Member};
use crate::queue::Urgency;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::{Lane, Protocol};

/// Serves the stream of one connection.
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    /// Who it is by its certificate.
    node: NodeId,
    ticket: Arc<Ticket>,
}

// === impl Inbound ===

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>, node: NodeId, ticket: Arc<Ticket>) -> Self {
        Self { shared, node, ticket }
    }

    /// Takes the stream of a node that is wanted.
    async fn take(&self, member: Arc<Member>, inbound: Streaming<proto::Batch>) -> Arc<Answers> {
        let shared = Arc::clone(&self.shared);
        let (limits, counters) = (&shared.config.limits, Arc::clone(&member.counters));
        let answers = Arc::new(Answers::greeting(limits, counters, shared.identity.to_proto()));
        let (stop, ended) = (member.removed.child_token(), CancellationToken::new());
        let accepted = Accepted { stop: stop.clone(), ended: ended.clone(), answers: Arc::clone(&answers) };
        member.accept(accepted).await;
        if member.removed.is_cancelled() {
            // It was removed while an older stream ended.
            answers.refuse(Refusal::UnknownNode { node: member.node });
        }
        let reader = Reader { shared: Arc::clone(&shared), member, answers: Arc::clone(&answers) };
        let ended = ended.drop_guard();
        shared.tasks.spawn(async move {
            let end = stop.run_until_cancelled_owned(reader.read(inbound)).await;
            let reason = end.as_deref().unwrap_or("a newer one came, or the peer is no member any more");
            tracing::info!(peer = %reader.member.node, reason, "the stream of a peer ended");
            drop(ended);
        });
        answers
    }
}

#[tonic::async_trait]
impl Peer for Inbound {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<proto::Batch>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut inbound = request.into_inner();
        let Some(Kind::Hello(hello)) = first_frame(inbound.message().await?) else {
            return Err(Status::failed_precondition("the first frame is no hello"));
        };
        let answers = match self.shared.admit(&hello, self.node) {
            Ok((member, agreed)) => {
                member.exchanges.end_before(agreed.incarnation);
                let answers = self.take(member, inbound).await;
                self.ticket.admit();
                answers
            }
            Err(refusal) => {
                let answers = Answers::new(&self.shared.config.limits, Arc::default());
                answers.refuse(refusal);
                Arc::new(answers)
            }
        };
        Ok(Response::new(Outgoing::new(answers)))
    }
}

/// Reads one stream, which ends with it.
struct Reader {
    shared: Arc<Shared>,
    member: Arc<Member>,
    answers: Arc<Answers>,
}

// === impl Reader ===

impl Reader {
    /// Hands requests on until the stream ends; returns why it did.
    async fn read(&self, mut inbound: Streaming<proto::Batch>) -> String {
        loop {
            let batch = match inbound.message().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return "the peer closed it".to_owned(),
                Err(status) => return status.message().to_owned(),
            };
            for frame in batch.frames {
                match frame.kind {
                    Some(Kind::Request(request)) => self.hand(request).await,
                    Some(Kind::Board(board)) => self.shared.board.merge(board.notices),
                    Some(Kind::Refused(refused)) => {
                        let (peer, reason) = (self.member.node, Refusal::from_proto(&refused));
                        if self.shared.refused.admits(Instant::now()) {
                            tracing::error!(%peer, %reason, "node {peer} refuses this node: {reason}");
                        }
                        self.member.counters.failures.count(reason.label());
                        return format!("the peer refuses this node: {reason}");
                    }
                    // A frame of a newer version, which works without an answer to it.
                    None => {}
                    Some(Kind::Hello(_) | Kind::Answer(_)) => {
                        return "the peer sent what only who was dialed sends".to_owned();
                    }
                }
            }
        }
    }

    async fn hand(&self, request: proto::Request) {
        let proto::Request { id, protocol, lane, payload, bulk } = request;
        self.member.counters.came(payload.len());
        let urgency = if bulk { Urgency::Bulk } else { Urgency::Consensus };
        let place = self.answers.place().await;
        let reply = self.answers.reply(id, urgency, place);
        let lane = Lane { protocol: Protocol(protocol), number: lane };
        self.shared.handler.request(self.member.node, lane, payload, reply);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.answers.finish();
    }
}
