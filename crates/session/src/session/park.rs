//! Calls of stateless clients that wait for an answer of their client.
//!
//! ```text
//!              Park                         Resume
//!   read ─────────────▶ parked ───────────────────────▶ read
//!                         │ park_timeout: cancelled, and forgotten
//! ```
//!
//! A call that is read ends with whoever reads it, also where that is noticed by the end of its connection alone: nobody
//! could come back for it. A parked call goes on as any other: its backend may say more, take its request back, or end it,
//! and all of that is retained until the client comes. Each parking is resumed once, by whoever
//! names it, from before the requests that it waits for: those that the client left unanswered are
//! read again.
//! Specification: MCP 2026-07-28, "Multi Round-Trip Requests".

use quorate_jsonrpc::{Frame, Kind};

use super::Session;
use super::delivery::Reading;
use crate::calls::Reply;
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note};
use crate::ids::{CallKey, StreamId};
use crate::record::proto::Happening;
use crate::rejection::Rejection;
use crate::streams::Parked;
use crate::text::cancelled;

impl Session {
    pub(super) fn on_park(
        &mut self,
        id: StreamId,
        sequence: u64,
        token: u64,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        let unknown = Rejection::StreamUnknown { stream: id };
        if self.config.delivery != Delivery::Calls {
            return Err(unknown);
        }
        let stream = self.streams.all.get(id).filter(|stream| stream.reader.is_some()).ok_or(unknown)?;
        if sequence > stream.ring.sent() || stream.ring.can_resume(sequence).is_err() {
            return Err(Rejection::EventUnknown { stream: id, requested: sequence, newest: stream.ring.sent() });
        }
        if self.streams.parked() >= self.config.parked_max {
            return Err(Rejection::LimitReached { limit: "parked_max", max: self.config.parked_max });
        }
        self.touch();
        let (now, until) = (self.now, self.now + self.config.park_timeout);
        let stream = self.streams.all.get_mut(id).expect("found above");
        if let Some(reader) = stream.reader.take() {
            out.push(Effect::Disconnect { stream: id, attachment: reader.attachment });
        }
        // What follows counts as undelivered, so that nothing drops it.
        stream.ring.resume(sequence);
        stream.ring.rewind();
        stream.detached_at = now;
        stream.parked = Some(Parked { token, sequence, until });
        self.happened(Happening::Parked);
        self.release_if_room(id, out);
        Ok(())
    }

    pub(super) fn on_resume(
        &mut self,
        id: StreamId,
        token: u64,
        responses: &[Frame],
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        if responses.iter().any(|frame| !matches!(frame.kind(), Kind::Result | Kind::Error)) {
            return Err(Rejection::WrongKind { expected: "response" });
        }
        let not_parked = Rejection::NotParked { stream: id };
        let stream = self.streams.all.get_mut(id).ok_or_else(|| not_parked.clone())?;
        let Some(Parked { sequence, .. }) = stream.parked.take_if(|parked| parked.token == token) else {
            return Err(not_parked);
        };
        for response in responses {
            self.on_response(response, out)?;
        }
        self.read(id, Reading { has: Some(sequence), begins: None, primes: true }, out);
        Ok(())
    }

    /// Ends a call whose client is gone: its backend is told, and nothing of it is kept.
    pub(super) fn on_abandon(&mut self, call: CallKey, out: &mut Effects) {
        let Some(post) = self.calls.open.get(call).map(|call| call.post()) else {
            out.note(Note::ReportStale);
            return;
        };
        let stream = post.and_then(|post| self.stream_of_post(post));
        self.cancel_upstream(call, cancelled(&call.upstream_id(), "the client is gone"), out);
        self.close_call(call, None, out);
        if let Some(stream) = stream {
            self.forget_stream(stream, out);
        }
    }

    /// Ends the calls of a POST whose client is gone.
    pub(super) fn abandon_post(&mut self, post: CallKey, out: &mut Effects) {
        for call in self.calls.open.keys_where(|call| call.post() == Some(post)) {
            self.on_abandon(call, out);
        }
    }

    /// Ends the calls that a stream belongs to, whose client is gone.
    pub(super) fn abandon_stream(&mut self, id: StreamId, out: &mut Effects) {
        for post in self.calls.posts.keys_where(|post| matches!(post.reply, Reply::Stream(stream) if stream == id)) {
            self.abandon_post(post, out);
        }
    }

    /// Cancels the calls that were parked for too long.
    pub(super) fn expire_parked(&mut self, out: &mut Effects) {
        let now = self.now;
        for id in self.streams.all.keys_where(|stream| stream.parked.is_some_and(|parked| parked.until <= now)) {
            let posts = self.calls.posts.keys_where(|post| matches!(post.reply, Reply::Stream(stream) if stream == id));
            for call in self.calls.open.keys_where(|call| call.post().is_some_and(|post| posts.contains(&post))) {
                self.cancel_upstream(call, cancelled(&call.upstream_id(), "the client did not come back"), out);
                self.close_call(call, None, out);
            }
            self.forget_stream(id, out);
            out.note(Note::ParkExpired { stream: id });
        }
    }
}
