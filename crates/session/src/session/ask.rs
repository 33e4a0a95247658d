//! Requests of backends: minted ids towards the client, taken back when nobody needs them.
//!
//! A request goes on the stream of the call that it belongs to. One that came on no call's
//! connection goes to the only call of its leg when there is just one (the backend may use a
//! transport that cannot tell), and otherwise to the standalone stream, or where there is none to
//! the call dispatched last. One that cannot reach the
//! client is answered with an error at once, so that its backend does not wait for nobody.
//!
//! A request outlives its call's answer: the client may still answer it, and the backend takes it
//! back itself if it does not care any more.
//!
//! While anything that was asked on behalf of a call is open, the call's backend waits for the client and not the client
//! for it: the shell is told (`Pause`, `Proceed`), which measures backends and counts what they are at.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Span, Splice};

use super::Session;
use crate::asks::Ask;
use crate::calls::Call;
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note, Refusal, Source};
use crate::event::Content;
use crate::ids::{CallKey, StreamId};
use crate::legs::LegAt;
use crate::text::{cancelled, refused};

impl Session {
    pub(super) fn on_ask(
        &mut self,
        at: LegAt,
        call: Option<CallKey>,
        frame: &Frame,
        content: &Content,
        out: &mut Effects,
    ) {
        let (leg, epoch) = at;
        let upstream_id = frame.id().expect("a request has an id").clone();
        if self.asks.by_upstream_id(leg, epoch, &upstream_id).is_some() {
            // An error answer would be taken for the first one's.
            out.note(Note::UpstreamViolation { leg });
            return;
        }
        if self.asks.open.len() >= self.config.server_requests_max {
            self.refuse(at, &upstream_id, Refusal::TooMany, out);
            return;
        }
        let key = self.asks.mint();
        let (data, token) = renamed(frame, content, key);
        let source = self.source(at, call);
        let only = || match self.calls.dispatched_to(leg, epoch)[..] {
            [only] => Some(only),
            _ => None,
        };
        // A ping asks whether the client is there, and nobody has to think about it.
        let pauses = call.or_else(only).filter(|_| frame.method() != Some("ping"));
        let call = call.or_else(|| self.likely_call(at));
        let Some(stream) = self.send_ask(call, data, source, out) else {
            self.refuse(at, &upstream_id, Refusal::ClientUnreachable, out);
            return;
        };
        let deadline = self.now + self.config.server_request_timeout;
        self.open_ask(key, Ask { leg, epoch, upstream_id, token, call, pauses, stream, deadline }, out);
    }

    fn open_ask(&mut self, key: u64, ask: Ask, out: &mut Effects) {
        if let Some(call) = ask.pauses.filter(|call| !self.asks.pauses(*call)) {
            out.push(Effect::Pause { call });
        }
        self.asks.open.insert(key, ask);
    }

    /// Takes an ask that is answered, or will not be.
    pub(super) fn take_ask(&mut self, key: u64, out: &mut Effects) -> Option<Ask> {
        let ask = self.asks.open.remove(key)?;
        if let Some(call) = ask.pauses.filter(|call| !self.asks.pauses(*call)) {
            out.push(Effect::Proceed { call });
        }
        Some(ask)
    }

    /// The backend takes a request of its own back.
    pub(super) fn on_upstream_cancelled(
        &mut self,
        at: LegAt,
        frame: &Frame,
        request_id: &Id,
        span: Span,
        out: &mut Effects,
    ) {
        let Some(key) = self.asks.by_upstream_id(at.0, at.1, request_id) else {
            out.note(Note::UpstreamUnwanted { leg: at.0 });
            return;
        };
        let Some(ask) = self.take_ask(key, out) else { return };
        let mut splice = Splice::new(frame.bytes());
        splice.replace(span, key.to_string().into_bytes());
        self.tell_client(ask.stream, splice.finish(), out);
    }

    /// Takes back what a backend asked on behalf of one call, which is over.
    pub(super) fn retract_asks_of(&mut self, call: CallKey, refuse: bool, out: &mut Effects) {
        for key in self.asks.open.keys_where(|ask| ask.call == Some(call)) {
            self.retract(key, Refusal::CallEnded, refuse, out);
        }
    }

    /// Takes back what an upstream session asked that is gone.
    pub(super) fn retract_asks_from(&mut self, at: LegAt, out: &mut Effects) {
        for key in self.asks.open.keys_where(|ask| (ask.leg, ask.epoch) == at) {
            self.retract(key, Refusal::CallEnded, false, out);
        }
    }

    /// Ends an ask without an answer of the client: the client is told, and the backend if it is
    /// there to hear it.
    pub(super) fn retract(&mut self, key: u64, reason: Refusal, refuse: bool, out: &mut Effects) {
        let Some(ask) = self.take_ask(key, out) else { return };
        self.tell_client(ask.stream, cancelled(&Id::from(key), reason.as_str()), out);
        if refuse {
            self.refuse((ask.leg, ask.epoch), &ask.upstream_id, reason, out);
        }
    }

    pub(super) fn refuse(&mut self, at: LegAt, upstream_id: &Id, reason: Refusal, out: &mut Effects) {
        out.note(Note::ServerRequestRefused { leg: at.0, reason });
        self.send_upstream(at, refused(upstream_id, reason), out);
    }

    /// Finds out what to hold when a message of this origin fills its stream; nothing, where
    /// holding would stop other calls' answers.
    pub(super) fn source(&self, (leg, epoch): LegAt, call: Option<CallKey>) -> Option<Source> {
        match call {
            Some(call) => Some(Source::Call(call)),
            None => self.may_hold(leg).then_some(Source::Listen(leg, epoch)),
        }
    }

    fn send_ask(
        &mut self,
        call: Option<CallKey>,
        data: Bytes,
        source: Option<Source>,
        out: &mut Effects,
    ) -> Option<StreamId> {
        let post = call.and_then(|call| self.calls.open.get(call)).and_then(Call::post);
        if let Some(stream) = post.and_then(|post| self.send_on_post(post, data.clone(), source, out)) {
            return Some(stream);
        }
        if !self.streams.standalone_is_live(self.now, &self.config) {
            return None;
        }
        self.append(StreamId::STANDALONE, data, source, out);
        Some(StreamId::STANDALONE)
    }

    /// The call that a request or log message may belong to which names none.
    pub(super) fn likely_call(&self, (leg, epoch): LegAt) -> Option<CallKey> {
        let calls = self.calls.dispatched_to(leg, epoch);
        match self.config.delivery {
            Delivery::Streams | Delivery::Single => match calls[..] {
                [only] => Some(only),
                _ => None,
            },
            // All are the same caller's, and nothing else could reach it; one that waits for its
            // client would not be told before that comes back.
            Delivery::Calls => calls.into_iter().rev().find(|call| {
                let post = self.calls.open.get(*call).filter(|call| call.may_be_asked()).and_then(Call::post);
                let stream = post.and_then(|post| self.stream_of_post(post));
                post.is_some() && !stream.is_some_and(|stream| self.is_parked(stream))
            }),
        }
    }

    /// Sends a message about an ask: on its stream, or where that is complete on the standalone
    /// one. Where there is neither, the client cannot be told and need not be.
    fn tell_client(&mut self, stream: StreamId, data: Bytes, out: &mut Effects) {
        let open = self.streams.all.get(stream).is_some_and(|stream| !stream.closed);
        if open && stream != StreamId::STANDALONE {
            self.append(stream, data, None, out);
        } else if self.streams.standalone_is_live(self.now, &self.config) {
            self.append(StreamId::STANDALONE, data, None, out);
        }
    }

    /// Sends to an upstream session, if it is still there.
    pub(super) fn send_upstream(&self, (leg, epoch): LegAt, bytes: Bytes, out: &mut Effects) -> bool {
        let up = self.legs.get(leg).is_some_and(|row| row.is_up_as(epoch));
        if up {
            out.push(Effect::SendUpstream { leg, epoch, bytes, ask: None });
        }
        up
    }
}

/// Gives a backend's request its minted id and token; returns the token that it had.
fn renamed(frame: &Frame, content: &Content, key: u64) -> (Bytes, Option<Bytes>) {
    let minted = key.to_string();
    let mut splice = Splice::new(frame.bytes());
    splice.replace(frame.id_span().expect("a request has an id"), minted.clone().into_bytes());
    let token = match content {
        Content::Request { token } => {
            splice.replace(*token, minted.into_bytes());
            Some(frame.bytes().slice(token.range()))
        }
        Content::Plain | Content::Progress { .. } | Content::Cancelled { .. } | Content::Log { .. } => None,
    };
    (splice.finish(), token)
}
