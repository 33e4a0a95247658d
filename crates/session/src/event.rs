//! What happens to a session: the input of [`Session::step`](crate::Session::step).
//!
//! Events of the client and of the gateway may be refused with a [`Rejection`](crate::Rejection);
//! reports of the shell about connections and backends never are: one that comes late is named in
//! a [`Note`](crate::Note) and changes nothing else.
//!
//! The machine knows ids and spans of frames but no MCP methods: whoever reads the frame says what
//! it means ([`Purpose`], [`Content`]).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Span};

use crate::ids::{Attachment, CallKey, EventId, LegEpoch, LegKey, RequestKey, StreamId};
use crate::record::proto;

/// Bytes of the name of who ended a session: names of operators have 63, and their role beside them.
const BY_BYTES_MAX: usize = 128;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The client POSTed one request.
    ClientRequest(Request),
    /// The client POSTed a batch with at least one request (2025-03-26 only). Its other members
    /// are events of their own, before this one.
    ClientBatch(Vec<Request>),
    /// The client POSTed a notification for its backends.
    ClientNotification {
        /// The notification, passed as it is.
        frame: Frame,
        /// Who gets it.
        to: Audience,
    },
    /// The client reports progress on a backend's request.
    ClientProgress {
        /// The notification.
        frame: Frame,
        /// Where its `progressToken` value stands.
        token: Span,
    },
    /// The client POSTed its answer to a backend's request.
    ClientResponse {
        /// A result or an error.
        frame: Frame,
    },
    /// The client cancels one of its requests.
    Cancel {
        /// The notification.
        frame: Frame,
        /// The request that it names.
        request_id: Id,
        /// Where `request_id` stands.
        span: Span,
    },
    /// The gateway answers a call whose target is [`Target::Gateway`], or ends any other call
    /// with an answer of its own (a deadline, say).
    GatewayAnswer {
        /// The call.
        call: CallKey,
        /// The answer.
        answer: Answer,
    },
    /// The gateway has a notification of its own for the client, for example that a list changed.
    GatewayNotify {
        /// The notification.
        frame: Frame,
    },
    /// A POST has waited long enough for JSON: its stream begins now, with a priming event.
    Prime {
        /// The first call of the POST.
        call: CallKey,
    },
    /// The backend ended its own stream of this call to be polled (2025-11-25), and so should we.
    Poll {
        /// The call.
        call: CallKey,
        /// The backend's `retry` value.
        retry: Option<Duration>,
    },
    /// The connection of a POST broke before its stream began.
    PostBroken {
        /// The first call of the POST.
        call: CallKey,
    },
    /// The client opened a GET.
    Attach {
        /// Its `Last-Event-ID`; without one it reads the standalone stream from where that is.
        last_event_id: Option<EventId>,
    },
    /// The node that the client talks to reads a stream on from what the client has, on behalf of
    /// a connection of the client that has not ended: the session has another owner now.
    Rejoin {
        /// The stream.
        stream: StreamId,
        /// The last event that the client was given, or said that it has; none where it was given none
        /// and said nothing.
        has: Option<u64>,
        /// Whether the client was given nothing yet, so that the connection begins with the place that it can be resumed
        /// from.
        primes: bool,
    },
    /// The answer to a request, given as JSON, has arrived at the node that the client talks to.
    Acknowledge {
        /// The request.
        key: RequestKey,
    },
    /// The client's answer to a backend's request was sent to it ([`Effect::SendUpstream`](crate::Effect::SendUpstream)).
    AnswerSent {
        /// The request.
        ask: u64,
    },
    /// This node owns the session from now on: what was under way is picked up. The first event of a
    /// session that was restored.
    Recover,
    /// Who the session's principal was last known as.
    OwnerKnown(proto::Owner),
    /// What an HTTP+SSE client said at `initialize`.
    ClientKnown(proto::Client),
    /// A connection that read a stream ended, for whatever reason. Every connection that was
    /// begun or attached is reported so exactly once.
    Detach {
        /// The stream.
        stream: StreamId,
        /// The connection.
        attachment: Attachment,
        /// The last sequence that it wrote, or 0.
        delivered: u64,
    },
    /// A connection wrote events. Reports may be lumped together, but one is due when everything
    /// that was emitted has been written.
    Delivered {
        /// The stream.
        stream: StreamId,
        /// The connection.
        attachment: Attachment,
        /// The last sequence that it wrote.
        up_to: u64,
    },
    /// A call's backend asks something: the gateway leaves its stream until the client's answer
    /// comes ([`Delivery::Calls`](crate::Delivery::Calls)).
    Park {
        /// The stream.
        stream: StreamId,
        /// The sequence after which it will be read again.
        sequence: u64,
        /// Names this parking, drawn at random.
        token: u64,
    },
    /// The client's answers to what a parked call's backend asked: its stream is read again.
    Resume {
        /// The stream.
        stream: StreamId,
        /// The parking. Each is resumed once.
        token: u64,
        /// Results or errors, with the ids that the requests had.
        responses: Vec<Frame>,
    },
    /// The client of a call is gone for good, and with it whoever would read its stream: a
    /// stateless client cancels by that.
    Abandon {
        /// The call.
        call: CallKey,
    },
    /// A leg is ready: initialized, and told so.
    LegOpened {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// What it offers.
        features: Features,
        /// How another node finds its upstream session again; none where no other can.
        upstream: Option<proto::Upstream>,
    },
    /// A leg could not be opened.
    LegFailed {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// What its waiting calls are answered with.
        fault: Fault,
    },
    /// The upstream session of a leg is gone (the backend answered 404, its replica was replaced,
    /// its only stream broke).
    LegLost {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// What calls are answered with that are lost with it: the dispatched ones if `severed`,
        /// and waiting ones if the leg is lost over and over.
        fault: Fault,
        /// Whether the answers of dispatched calls can no longer arrive, as with HTTP+SSE where one
        /// stream carries them all. Otherwise each call's own connection still reports.
        severed: bool,
    },
    /// A backend sent a frame.
    UpstreamFrame {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// The call whose connection it came on; none for the leg's own stream.
        call: Option<CallKey>,
        /// The frame, with the ids that the backend used.
        frame: Frame,
        /// What it means.
        content: Content,
        /// Its SSE id, where its stream can be resumed from it.
        event_id: Option<Arc<str>>,
    },
    /// The upstream stream of a call can be resumed from a place that no frame came with.
    UpstreamMark {
        /// The call.
        call: CallKey,
        /// The opening of its leg that it was dispatched to.
        epoch: LegEpoch,
        /// The SSE id.
        event_id: Arc<str>,
    },
    /// A dispatched call ended without an answer.
    UpstreamFailed {
        /// The call.
        call: CallKey,
        /// The opening of its leg that it was dispatched to.
        epoch: LegEpoch,
        /// How.
        failure: Failure,
    },
    /// The client said something that needed no event of its own: it is alive.
    Touch,
    /// Nobody has asked for anything for long: what keeps a session from being its record alone, and can be had again, is
    /// given up. Changes nothing where something is under way.
    Rest,
    /// Time passed: [`Session::next_deadline`](crate::Session::next_deadline) is due.
    Tick,
    /// The session ends.
    End {
        /// Why.
        reason: EndReason,
        /// What the open calls are answered with.
        fault: Fault,
    },
}

/// One request of the client.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request as it should reach the backend, but for its id.
    pub frame: Frame,
    /// Who answers it.
    pub target: Target,
    /// The JSON text of its progress token. It passes unchanged: a leg serves one session, so
    /// tokens need no translation, and progress of a task may outlive its call.
    pub progress_token: Option<Bytes>,
    /// What the machine has to remember of it.
    pub purpose: Purpose,
    /// What becomes of it when the node is lost that sent it.
    pub replay: Replay,
    /// Names it wherever it is sent again; none where it never is.
    pub key: Option<RequestKey>,
    /// What it is held to; the machine hands it to whoever sends it or reads its answer.
    pub terms: Option<Arc<proto::Terms>>,
}

/// Whether a request whose outcome is not known may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Asking again changes nothing (reads, lists, subscriptions).
    Safe,
    /// An operator says that doing it twice does no harm.
    Marked,
    /// It may run once at most.
    Never,
}

/// Who answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One backend.
    Leg(LegKey),
    /// The gateway, by [`Event::GatewayAnswer`].
    Gateway,
}

/// What a request changes in the session beyond its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing.
    Plain,
    /// Nothing, and it must not be cancelled (`initialize`).
    Uncancellable,
    /// Nothing, and its client cannot be asked anything (the gateway's own lists).
    Unaskable,
    /// Its success subscribes to a resource of its leg.
    Subscribe {
        /// The resource's URI as the backend knows it.
        uri: Arc<str>,
    },
    /// Its success ends the subscription.
    Unsubscribe {
        /// The resource's URI as the backend knows it.
        uri: Arc<str>,
    },
    /// It sets the logging level of every leg, now and when one opens. The machine answers it
    /// with `result` when each open leg has answered, whatever it said; `target` is
    /// [`Target::Gateway`].
    SetLevel {
        /// The least severity that the client wants, growing with severity.
        severity: u8,
        /// The JSON text of the result.
        result: &'static str,
    },
}

/// Who gets a client's notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One leg, if it is open or opening.
    Leg(LegKey),
    /// Every leg that is open or opening.
    EachLeg,
}

/// What a backend's frame means, as far as the machine acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing beyond its kind.
    Plain,
    /// A request that carries a progress token of the backend's choice.
    Request {
        /// Where the token's value stands.
        token: Span,
    },
    /// A `notifications/progress`.
    Progress {
        /// Where the token's value stands.
        token: Span,
    },
    /// A `notifications/cancelled`: the backend takes back a request of its own.
    Cancelled {
        /// The request that it names.
        request_id: Id,
        /// Where `request_id` stands.
        span: Span,
    },
    /// A `notifications/message`.
    Log {
        /// Its severity, on the scale of [`Purpose::SetLevel`].
        severity: u8,
    },
}

/// What an opened leg offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It takes a logging level.
    pub logging: bool,
    /// Where its own messages come from.
    pub listen: Listen,
    /// The gateway stands for a stateless server here: closing it loses nothing that opening it does not bring back.
    pub bridged: bool,
}

/// Where a leg's own messages (those of no call) come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// From a stream of their own (streamable HTTP).
    #[default]
    Separate,
    /// From the stream that also carries the answers (HTTP+SSE, a process), so that it is never held back on behalf
    /// of the standalone stream, and read also while nobody reads that one.
    Shared,
}

/// Why a dispatched call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client is told if the call is not dispatched again.
    pub fault: Fault,
    /// The backend certainly did not run it.
    pub never_executed: bool,
    /// The upstream session is gone (404, or its replica is out of reach): the leg is opened
    /// again, and a call that was never executed is dispatched once more.
    pub leg_lost: bool,
}

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The JSON text of a result.
    Result(Bytes),
    /// An error.
    Error(Fault),
}

/// A JSON-RPC error without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The error's code.
    pub code: i64,
    /// What went wrong, for people.
    pub message: Cow<'static, str>,
    /// The JSON text of its data.
    pub data: Option<Arc<str>>,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client said so (DELETE).
    Deleted,
    /// Nobody used it for the idle timeout.
    Idle,
    /// The connection of an HTTP+SSE client ended.
    ClientGone,
    /// The gateway shuts down, or its configuration no longer has the toolset.
    Shutdown,
    /// The caller had to end it, for example since its principal lost access.
    Revoked,
    /// Somebody who operates the gateway said so.
    Operator {
        /// Who, as audit records say it.
        by: Arc<str>,
    },
}

// === impl EndReason ===

impl EndReason {
    /// Returns the label of this reason in metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Idle => "idle",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
            Self::Operator { .. } => "operator",
        }
    }

    /// Returns what the record of a session has of its end, on the node that owns it.
    #[must_use]
    pub fn written(&self, node: u64) -> proto::End {
        let (reason, by) = match self {
            Self::Deleted => (proto::EndReason::Deleted, ""),
            Self::Idle => (proto::EndReason::Idle, ""),
            Self::ClientGone => (proto::EndReason::ClientGone, ""),
            Self::Shutdown => (proto::EndReason::Shutdown, ""),
            Self::Revoked => (proto::EndReason::Revoked, ""),
            Self::Operator { by } => (proto::EndReason::Operator, &**by),
        };
        let by = by[..by.floor_char_boundary(BY_BYTES_MAX)].to_owned();
        proto::End { reason: reason.into(), by, node }
    }
}
