//! What the shell has to do: the output of [`Session::step`](crate::Session::step).
//!
//! Effects are data and are carried out in their order. A shell that fails at one reports it as
//! the event that names the failure (`LegFailed`, `UpstreamFailed`, `Detach`, `PostBroken`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id};

use crate::event::EndReason;
use crate::ids::{Attachment, CallKey, EventId, LegEpoch, LegKey, StreamId};
use crate::record::proto;

/// The effects of one step, in order, and what of the session has to be written down.
#[derive(Debug, Default)]
pub struct Effects {
    effects: Vec<Effect>,
    ops: Vec<proto::Op>,
    waits: bool,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A request of the client is open. In the order of a batch's requests; the first names the
    /// POST in all effects that answer it.
    Opened {
        /// The call.
        call: CallKey,
    },
    /// Answer the POST with JSON and be done.
    AnswerJson {
        /// The first call of the POST.
        call: CallKey,
        /// The body: one frame, or an array of them for a batch.
        body: Bytes,
    },
    /// Answer the POST with an event stream without events: all its calls were cancelled.
    AnswerNothing {
        /// The first call of the POST.
        call: CallKey,
    },
    /// Answer the POST with an event stream that `Emit` fills.
    BeginStream {
        /// The first call of the POST.
        call: CallKey,
        /// The stream.
        stream: StreamId,
        /// The POST's connection.
        attachment: Attachment,
    },
    /// Answer the GET, or the `Resume`, of this step with an event stream that `Emit` fills.
    Attached {
        /// The stream.
        stream: StreamId,
        /// The GET's connection.
        attachment: Attachment,
    },
    /// Take over an upstream session that another node has opened; the outcome is `LegOpened` or
    /// `LegFailed`.
    AdoptLeg {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// How it is found.
        upstream: Arc<proto::Upstream>,
    },
    /// Read the answer of a call on that another node has sent, and report its frames as those of a
    /// dispatched one. Where that cannot be done it is `UpstreamFailed`.
    ResumeCall {
        /// The call.
        call: CallKey,
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// The request with its upstream id.
        frame: Frame,
        /// The SSE id from which to read on; none where there is none.
        event_id: Option<Arc<str>>,
        /// What it is held to.
        terms: Option<Arc<proto::Terms>>,
    },
    /// Write one event to a connection.
    Emit {
        /// The stream.
        stream: StreamId,
        /// The connection.
        attachment: Attachment,
        /// The event.
        event: Emission,
    },
    /// End a connection when it has written what was emitted: nothing follows.
    CloseStream {
        /// The stream.
        stream: StreamId,
        /// The connection.
        attachment: Attachment,
    },
    /// End a connection at once: another one replaced it, or the session ended without it.
    Disconnect {
        /// The stream.
        stream: StreamId,
        /// The connection.
        attachment: Attachment,
    },
    /// Open an upstream session; the outcome is `LegOpened` or `LegFailed`.
    OpenLeg {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
    },
    /// End an upstream session (DELETE).
    CloseLeg {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
    },
    /// Start reading the leg's own stream, and keep reading it: a GET, or over HTTP+SSE what of the one
    /// stream belongs to no call.
    OpenListen {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// The SSE id from which to read on; none where there is none.
        event_id: Option<Arc<str>>,
    },
    /// Stop reading the leg's own stream.
    CloseListen {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
    },
    /// Send a request and report its frames; the outcome is a final `UpstreamFrame` or
    /// `UpstreamFailed`, unless `Abandon` comes first. Calls that were never `Opened` are the
    /// machine's own, and are sent in the same way.
    Dispatch {
        /// The call.
        call: CallKey,
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// The request with its upstream id.
        frame: Frame,
        /// What it is held to, in case whoever sends it does not know.
        terms: Option<Arc<proto::Terms>>,
    },
    /// Send a notification or an answer.
    SendUpstream {
        /// The leg.
        leg: LegKey,
        /// Which opening.
        epoch: LegEpoch,
        /// The frame.
        bytes: Bytes,
        /// The backend's request that it answers, if it has to be said when it was sent: by `AnswerSent`.
        ask: Option<u64>,
    },
    /// Stop reading a call's upstream connection; nothing more of it is wanted. After what was
    /// sent upstream before.
    Abandon {
        /// The call.
        call: CallKey,
    },
    /// The backend of a call waits for the client from now on: what it asked on behalf of the call was
    /// handed on. A `ping` is no question.
    Pause {
        /// The call.
        call: CallKey,
    },
    /// The backend of a call waits for the client no longer: everything that it asked is answered or
    /// taken back. Before the answer goes to the backend; maybe after the call's end.
    Proceed {
        /// The call.
        call: CallKey,
    },
    /// Stop reading from a source after at most one more frame: its stream is full.
    Hold {
        /// The source.
        source: Source,
    },
    /// Go on reading from a source.
    Release {
        /// The source.
        source: Source,
    },
    /// A leg was lost and is open again, or another node takes it over: its lists and resources may have
    /// changed meanwhile.
    LegReopened {
        /// The leg.
        leg: LegKey,
        /// The resources that the client has subscribed to, as the backend knows them.
        subscribed: Vec<Arc<str>>,
    },
    /// Something for metrics and logs, without consequences.
    Note(Note),
    /// The session is over. Last of its step; the shell stays until
    /// [`Session::is_finished`](crate::Session::is_finished).
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// One event for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Its place in its stream, for `Delivered`. A priming event has the place that it resumes
    /// from.
    pub sequence: u64,
    /// Its SSE id; none for HTTP+SSE clients.
    pub id: Option<EventId>,
    /// A frame; empty for a priming event.
    pub data: Bytes,
    /// Its `retry` field.
    pub retry: Option<Duration>,
}

/// Something whose reading can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The upstream connection of one call.
    Call(CallKey),
    /// The own stream of one leg.
    Listen(LegKey, LegEpoch),
}

/// Something that was dropped or refused without the client being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An answer that cannot reach the client any more: its POST broke before a stream began, or
    /// it waited in vain for the client to come back.
    Undelivered {
        /// How many messages.
        messages: usize,
    },
    /// The client answered a request that does not wait for it (any more).
    ResponseUnknown,
    /// The client cancelled something that is not open, or may not be cancelled.
    CancelIgnored {
        /// The request that it named.
        request_id: Id,
    },
    /// The client's notification has nobody to go to, or too many wait.
    NotificationDropped,
    /// A frame or failure of a call that is not open (any more), or of an older opening.
    UpstreamLate {
        /// The leg, where known.
        leg: Option<LegKey>,
    },
    /// A frame that breaks the protocol: an answer with an id that its connection does not have.
    UpstreamViolation {
        /// The leg.
        leg: LegKey,
    },
    /// A backend's notification had no stream to go to, or was below the client's logging level.
    UpstreamUnwanted {
        /// The leg.
        leg: LegKey,
    },
    /// A backend's request was refused by the machine.
    ServerRequestRefused {
        /// The leg.
        leg: LegKey,
        /// Why.
        reason: Refusal,
    },
    /// A stream was wanted and all are in use.
    StreamsExhausted,
    /// A leg was lost.
    LegLost {
        /// The leg.
        leg: LegKey,
    },
    /// A subscription could not be restored on the new upstream session of its leg.
    SubscriptionLost {
        /// The leg.
        leg: LegKey,
    },
    /// A parked call was cancelled, since its client did not come back in time.
    ParkExpired {
        /// Its stream.
        stream: StreamId,
    },
    /// A call was sent again, since the node is lost that had sent it.
    Replayed {
        /// The leg.
        leg: LegKey,
    },
    /// The client was told that the outcome of a call is not known, since the node is lost that had sent it.
    OutcomeUnknown {
        /// The leg.
        leg: LegKey,
    },
    /// The answer to a parked call was dropped, and an error put in its place: all that waits for the client is too much.
    AnswerTooLarge {
        /// The leg.
        leg: LegKey,
    },
    /// A report about a connection, opening or POST that is not the present one.
    ReportStale,
}

/// Why the machine answers a backend's request with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client has no stream that it could be sent on.
    ClientUnreachable,
    /// Too many requests wait for the client.
    TooMany,
    /// The client did not answer in time.
    Timeout,
    /// The call that it belongs to is over or was cancelled.
    CallEnded,
}

// === impl Effects ===

impl Effects {
    /// Returns the effects as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Effect] {
        &self.effects
    }

    /// Takes what of the session's record changes, in order.
    #[must_use]
    pub fn take_ops(&mut self) -> Vec<proto::Op> {
        std::mem::take(&mut self.ops)
    }

    /// Tells whether the effects promise something that has to be committed before any of them is carried out. What of the
    /// record changes otherwise is committed some time later.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    /// Changes the record, some time later.
    pub(crate) fn op(&mut self, kind: proto::op::Kind) {
        self.ops.push(proto::Op { kind: Some(kind) });
    }

    /// Changes the record before anything of this step is carried out.
    pub(crate) fn promise(&mut self, kind: proto::op::Kind) {
        self.op(kind);
        self.waits = true;
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.effects.into_iter()
    }
}

// === impl Refusal ===

impl Refusal {
    /// Returns the label of this reason in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientUnreachable => "client_unreachable",
            Self::TooMany => "too_many",
            Self::Timeout => "timeout",
            Self::CallEnded => "call_ended",
        }
    }
}
