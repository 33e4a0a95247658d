//! How a POST is answered: by JSON, by a stream, or not at all.
//!
//! A POST waits for JSON until something other than its answers is to be sent (or the gateway
//! loses patience); then it becomes a stream, which closes with its last answer. Where its
//! connection broke before that, nothing can reach the client: no event id of the stream is known
//! to it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_jsonrpc::{Id, build};
use quorate_types::Timestamp;

use super::Session;
use super::delivery::Reading;
use crate::calls::{Call, Kept, Owner, Post, Reply};
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note, Source};
use crate::event::{Answer, Fault};
use crate::ids::{CallKey, EventId, RequestKey, StreamId};
use crate::rejection::Rejection;
use crate::streams::{Reader, Stream};
use crate::text::cancelled;

/// For how long a client's node may ask again whether a request was taken: more than it waits for another owner.
const ASKED_AGAIN_FOR: Duration = Duration::from_secs(30);

impl Session {
    pub(super) fn on_gateway_answer(&mut self, call: CallKey, answer: &Answer, out: &mut Effects) {
        let Some(id) = self.calls.open.get(call).and_then(Call::client_id).cloned() else {
            out.note(Note::UpstreamLate { leg: None });
            return;
        };
        self.cancel_upstream(call, cancelled(&call.upstream_id(), "the gateway answered the call"), out);
        let bytes = match answer {
            Answer::Result(result) => build::result(&id, &String::from_utf8_lossy(result)),
            Answer::Error(fault) => error(&id, fault),
        };
        self.close_call(call, Some(bytes), out);
    }

    pub(super) fn on_prime(&mut self, post: CallKey, out: &mut Effects) {
        if self.waits(post) {
            self.begin_stream(post, None, out);
        }
    }

    pub(super) fn on_poll(&mut self, call: CallKey, retry: Option<Duration>, out: &mut Effects) {
        if !self.config.priming || self.config.delivery == Delivery::Single {
            return;
        }
        let Some((post, sent_again)) = self.calls.open.get(call).and_then(|row| Some((row.post()?, row.sent_again)))
        else {
            out.note(Note::UpstreamLate { leg: None });
            return;
        };
        if sent_again {
            // Its client has waited long enough, and may have come again before.
            return;
        }
        let begun = !self.waits(post);
        if !begun {
            self.begin_stream(post, retry, out);
        }
        if let Some(stream) = self.stream_of_post(post) {
            if begun && retry.is_some() {
                self.prime(stream, retry, out);
            }
            self.ask_to_poll(stream, out);
        }
    }

    pub(super) fn on_post_broken(&mut self, post: CallKey, out: &mut Effects) {
        let Some(row) = self.calls.posts.get_mut(post) else {
            out.note(Note::ReportStale);
            return;
        };
        match &row.reply {
            Reply::Waiting { answers } => {
                if !answers.is_empty() {
                    out.note(Note::Undelivered { messages: answers.len() });
                }
                row.reply = Reply::Broken;
            }
            Reply::Stream(_) | Reply::Broken => return out.note(Note::ReportStale),
        }
        if self.config.delivery == Delivery::Calls {
            // Nobody knows these calls, or could come back for them.
            self.abandon_post(post, out);
        }
    }

    /// Answers a call of the client with an error.
    pub(super) fn fail_call(&mut self, call: CallKey, fault: &Fault, out: &mut Effects) {
        if let Some(id) = self.calls.open.get(call).and_then(Call::client_id).cloned() {
            self.close_call(call, Some(error(&id, fault)), out);
        }
    }

    /// Removes a call of the client and gives its POST the answer, if it has one.
    pub(super) fn close_call(&mut self, call: CallKey, answer: Option<Bytes>, out: &mut Effects) {
        let Some(removed) = self.calls.open.remove(call) else { return };
        self.streams.forget_source(Source::Call(call));
        self.touch();
        let Owner::Client { post, .. } = removed.owner else { return };
        let row = self.calls.posts.get_mut(post).expect("a client's call has a POST");
        row.calls -= 1;
        match (&mut row.reply, answer) {
            (Reply::Waiting { answers }, Some(answer)) => answers.push(answer),
            (Reply::Stream(stream), Some(answer)) => {
                let stream = *stream;
                self.append(stream, answer, None, out);
            }
            (Reply::Broken, Some(_)) => out.note(Note::Undelivered { messages: 1 }),
            (Reply::Waiting { .. } | Reply::Stream(_) | Reply::Broken, None) => {}
        }
        self.close_post_if_done(post, out);
    }

    /// Sends a message that belongs to a call and is not its answer; returns the stream, or none
    /// where it cannot reach the client.
    pub(super) fn send_on_post(
        &mut self,
        post: CallKey,
        data: Bytes,
        source: Option<Source>,
        out: &mut Effects,
    ) -> Option<StreamId> {
        if self.waits(post) {
            self.begin_stream(post, None, out);
        }
        let stream = self.stream_of_post(post)?;
        self.append(stream, data, source, out);
        Some(stream)
    }

    /// Returns the stream that a POST became, if it did.
    pub(super) fn stream_of_post(&self, post: CallKey) -> Option<StreamId> {
        match self.calls.posts.get(post)?.reply {
            Reply::Stream(stream) => Some(stream),
            Reply::Waiting { .. } | Reply::Broken => None,
        }
    }

    fn close_post_if_done(&mut self, post: CallKey, out: &mut Effects) {
        if self.calls.posts.get(post).is_none_or(|row| row.calls > 0) {
            return;
        }
        let Some(row) = self.calls.posts.remove(post) else { return };
        let keep = |body: Bytes, until: Timestamp| Some(Kept { key: row.key.filter(|_| row.keeps)?, body, until });
        match row.reply {
            Reply::Waiting { answers } if answers.is_empty() => out.push(Effect::AnswerNothing { call: post }),
            Reply::Waiting { mut answers } => {
                let body = if row.batch { array(&answers) } else { answers.swap_remove(0) };
                if let Some(kept) = keep(body.clone(), self.now + self.config.retention) {
                    self.calls.kept.insert(post, kept);
                }
                out.push(Effect::AnswerJson { call: post, body });
            }
            Reply::Stream(StreamId::STANDALONE) => {
                // The one stream has the answer; that the request was taken may not have been heard yet.
                if let Some(kept) = keep(Bytes::new(), self.now + ASKED_AGAIN_FOR) {
                    self.calls.kept.insert(post, kept);
                }
            }
            Reply::Broken => {}
            Reply::Stream(stream) => self.close_stream(stream, out),
        }
    }

    /// Finds what became of a request that a client's node sends again, and answers it by that; tells whether it is known.
    pub(super) fn rejoin_request(&mut self, key: RequestKey, out: &mut Effects) -> Result<bool, Rejection> {
        let is_it = |post: &Post| post.key == Some(key);
        if let Some(post) = self.calls.posts.keys_where(is_it).pop() {
            let row = self.calls.posts.get_mut(post).expect("it was just found");
            match row.reply {
                Reply::Waiting { .. } => out.push(Effect::Opened { call: post }),
                Reply::Broken => {
                    row.reply = Reply::Waiting { answers: Vec::new() };
                    out.push(Effect::Opened { call: post });
                }
                Reply::Stream(stream) => self.begin_again(post, stream, out)?,
            }
        } else if let Some(post) = self.calls.kept.keys_where(|kept| kept.key == key).pop() {
            let body = self.calls.kept.get(post).map(|kept| kept.body.clone()).unwrap_or_default();
            out.push(Effect::Opened { call: post });
            // Over HTTP+SSE its answer was said on the one stream.
            if self.config.delivery != Delivery::Single {
                out.push(Effect::AnswerJson { call: post, body });
            }
        } else if let Some(stream) = self.streams.all.keys_where(|stream| stream.key == Some(key)).pop() {
            // Its call is over; the POST gets a name of its own.
            let post = self.calls.mint();
            self.begin_again(post, stream, out)?;
        } else {
            return Ok(false);
        }
        self.touch();
        Ok(true)
    }

    /// Answers a POST by a stream that it became before, from its beginning.
    fn begin_again(&mut self, post: CallKey, stream: StreamId, out: &mut Effects) -> Result<(), Rejection> {
        if self.config.delivery == Delivery::Single {
            // Its answers go to the one stream.
            out.push(Effect::Opened { call: post });
            return Ok(());
        }
        self.check_place(EventId { stream, sequence: 0 })?;
        out.push(Effect::Opened { call: post });
        self.read(stream, Reading { has: Some(0), begins: Some(post), primes: true }, out);
        Ok(())
    }

    fn waits(&self, post: CallKey) -> bool {
        self.calls.posts.get(post).is_some_and(|row| matches!(row.reply, Reply::Waiting { .. }))
    }

    /// Turns a waiting POST into a stream; it goes on waiting when all streams are in use.
    fn begin_stream(&mut self, post: CallKey, retry: Option<Duration>, out: &mut Effects) {
        let has_room = self.streams.make_room(self.config.streams_max, self.now);
        if let Some(row) = self.calls.posts.get_mut(post).filter(|_| !has_room) {
            // It asks for each message that it has for its client.
            if !std::mem::replace(&mut row.lacks_stream, true) {
                out.note(Note::StreamsExhausted);
            }
            return;
        }
        let id = self.streams.mint();
        let attachment = self.streams.mint_attachment();
        let mut stream = Stream::new(self.now);
        stream.key = self.calls.posts.get(post).and_then(|row| row.key);
        stream.reader = Some(Reader { attachment, closing: false });
        self.streams.all.insert(id, stream);
        out.push(Effect::BeginStream { call: post, stream: id, attachment });
        self.prime(id, retry, out);
        let row = self.calls.posts.get_mut(post).expect("the caller found it waiting");
        if let Reply::Waiting { answers } = std::mem::replace(&mut row.reply, Reply::Stream(id)) {
            for answer in answers {
                self.append(id, answer, None, out);
            }
        }
    }
}

pub(super) fn error(id: &Id, fault: &Fault) -> Bytes {
    build::error(Some(id), fault.code, &fault.message, fault.data.as_deref())
}

fn array(frames: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(frames.iter().map(|frame| frame.len() + 1).sum::<usize>() + 1);
    for (place, frame) in frames.iter().enumerate() {
        body.put_u8(if place == 0 { b'[' } else { b',' });
        body.put_slice(frame);
    }
    body.put_u8(b']');
    body.freeze()
}
