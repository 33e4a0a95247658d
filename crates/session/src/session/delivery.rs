//! Streams and their connections: what is sent to whom, resumed from where, and held back when.
//!
//! A stream has at most one connection; a newer one replaces it, since a client that comes again
//! knows better than we that its old connection is dead. (A second plain GET therefore takes the
//! standalone stream over. It could be refused with 409 instead, as the TypeScript server does, but
//! then a client whose old connection hangs half-open would stay without one.)
//!
//! Every connection of a client that knows priming begins with an event without data whose id is
//! the place that it resumes from: SDK clients forget their last id when they reconnect.

use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::Frame;

use super::Session;
use crate::config::{Delivery, Durability};
use crate::effect::{Effect, Effects, Emission, Note, Source};
use crate::event::EndReason;
use crate::ids::{Attachment, CallKey, EventId, StreamId};
use crate::record::proto::Happening;
use crate::rejection::Rejection;
use crate::ring::{Bounds, Gap};
use crate::streams::{Reader, Stream};

/// How a stream gets a new connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The last event that the client has; none where it does not say.
    pub(super) has: Option<u64>,
    /// The POST that it answers; none for a GET.
    pub(super) begins: Option<CallKey>,
    /// Whether it begins with the place that it can be resumed from.
    pub(super) primes: bool,
}

impl Session {
    pub(super) fn on_attach(&mut self, last_event_id: Option<EventId>, out: &mut Effects) -> Result<(), Rejection> {
        let (id, resumed) = match last_event_id {
            Some(event) => {
                self.can_resume(event)?;
                (event.stream, Some(event.sequence))
            }
            None => {
                self.can_attach()?;
                (StreamId::STANDALONE, None)
            }
        };
        self.touch();
        if resumed.is_some() {
            self.happened(Happening::Resumed);
        }
        self.read(id, Reading { has: resumed, begins: None, primes: true }, out);
        if id == StreamId::STANDALONE {
            self.listen_everywhere(out);
        }
        Ok(())
    }

    /// Goes on with a stream for a connection of the client that has lasted.
    pub(super) fn on_rejoin(&mut self, stream: StreamId, reading: Reading, out: &mut Effects) -> Result<(), Rejection> {
        let is_kept = self.streams.all.get(stream).is_some_and(|row| self.keeps_stream(row));
        if !is_kept || self.config.delivery == Delivery::Calls {
            return Err(Rejection::StreamUnknown { stream });
        }
        if let Some(sequence) = reading.has {
            self.check_place(EventId { stream, sequence })?;
        }
        self.touch();
        self.read(stream, reading, out);
        if stream == StreamId::STANDALONE {
            self.listen_everywhere(out);
        }
        Ok(())
    }

    /// Gives a stream a new connection, which reads it from after the event that it has.
    pub(super) fn read(&mut self, id: StreamId, reading: Reading, out: &mut Effects) {
        let Reading { has: resumed, begins, primes } = reading;
        let attachment = self.streams.mint_attachment();
        if self.streams.all.get(id).is_none() {
            self.streams.all.insert(id, Stream::new(self.now));
        }
        let stream = self.streams.all.get_mut(id).expect("found or inserted");
        if let Some(old) = stream.attachment() {
            out.push(Effect::Disconnect { stream: id, attachment: old });
        }
        stream.reader = Some(Reader { attachment, closing: false });
        stream.inherited = false;
        match resumed {
            Some(has) => stream.ring.resume(has),
            None => stream.ring.rewind(),
        }
        out.push(match begins {
            Some(call) => Effect::BeginStream { call, stream: id, attachment },
            None => Effect::Attached { stream: id, attachment },
        });
        if primes {
            self.prime(id, None, out);
        }
        self.pump(id, out);
        self.release_if_room(id, out);
    }

    pub(super) fn on_detach(&mut self, id: StreamId, attachment: Attachment, delivered: u64, out: &mut Effects) {
        let now = self.now;
        let Some(stream) = self.attached_as(id, attachment) else {
            out.note(Note::ReportStale);
            return;
        };
        stream.ring.deliver(delivered);
        stream.ring.rewind();
        stream.reader = None;
        stream.detached_at = now;
        let closed = stream.closed;
        self.touch();
        match self.config.delivery {
            // Nobody comes back for a call's stream that is complete.
            Delivery::Calls if closed => self.forget_stream(id, out),
            Delivery::Streams | Delivery::Single | Delivery::Calls if self.ended.is_some() => {
                self.forget_stream(id, out)
            }
            Delivery::Single => self.end(EndReason::ClientGone, None, out),
            // A stream that is left without being parked is nobody's, and so is its call.
            Delivery::Calls => self.abandon_stream(id, out),
            Delivery::Streams => self.release_if_room(id, out),
        }
    }

    pub(super) fn on_delivered(&mut self, id: StreamId, attachment: Attachment, up_to: u64, out: &mut Effects) {
        let single = self.config.delivery == Delivery::Single;
        let Some(stream) = self.attached_as(id, attachment) else {
            out.note(Note::ReportStale);
            return;
        };
        stream.ring.deliver(up_to);
        if single {
            // There is no resuming that it could be retained for.
            stream.ring.drop_delivered();
        }
        self.pump(id, out);
        self.release_if_room(id, out);
    }

    /// The gateway's own notifications cannot be held back, so that repeated ones are merged and
    /// those beyond the ring's bounds are dropped.
    pub(super) fn on_gateway_notify(&mut self, frame: &Frame, out: &mut Effects) {
        let bounds = Bounds::from(&self.config);
        let live = self.streams.standalone_is_live(self.now, &self.config);
        let Some(stream) = self.streams.standalone().filter(|_| live) else {
            out.note(Note::NotificationDropped);
            return;
        };
        if stream.ring.has_unsent(frame.bytes()) {
            return;
        }
        if stream.ring.is_full(bounds) {
            out.note(Note::NotificationDropped);
            return;
        }
        self.append(StreamId::STANDALONE, frame.bytes().clone(), None, out);
    }

    /// Adds one event to an open stream, sends it if the connection's window allows, and holds its
    /// source if the stream is full now.
    pub(super) fn append(&mut self, id: StreamId, data: Bytes, source: Option<Source>, out: &mut Effects) {
        let bounds = Bounds::from(&self.config);
        let now = self.now;
        let Some(stream) = self.streams.all.get_mut(id) else {
            // Only an HTTP+SSE session whose connection never came up has no stream to append to.
            out.note(Note::Undelivered { messages: 1 });
            return;
        };
        stream.ring.push(now, data, bounds);
        self.pump(id, out);
        if let Some(source) = source {
            self.hold_if_full(id, source, out);
        }
        self.streams.trim(self.config.delivered_bytes_max);
    }

    /// Marks a stream as complete; its connection ends when it has everything.
    pub(super) fn close_stream(&mut self, id: StreamId, out: &mut Effects) {
        if let Some(stream) = self.streams.all.get_mut(id) {
            stream.closed = true;
            self.pump(id, out);
        }
    }

    /// Sends the place that a connection resumes from, with the time to wait before that.
    pub(super) fn prime(&self, id: StreamId, retry: Option<Duration>, out: &mut Effects) {
        let has_ids = self.config.delivery != Delivery::Single && self.config.durability == Durability::Strict;
        if !self.config.priming || !has_ids {
            return;
        }
        let Some((stream, reader)) = self
            .streams
            .all
            .get(id)
            .and_then(|stream| Some((stream, stream.reader?)))
            .filter(|(_, reader)| !reader.closing)
        else {
            return;
        };
        let sequence = stream.ring.sent();
        let event = Emission {
            sequence,
            id: Some(EventId { stream: id, sequence }),
            data: Bytes::new(),
            retry: Some(retry.unwrap_or(self.config.retry)),
        };
        out.push(Effect::Emit { stream: id, attachment: reader.attachment, event });
    }

    /// Ends a connection whose client will come back for the rest.
    pub(super) fn ask_to_poll(&mut self, id: StreamId, out: &mut Effects) {
        let reader = self.streams.all.get_mut(id).and_then(|stream| stream.reader.as_mut());
        if let Some(reader) = reader.filter(|reader| !reader.closing) {
            reader.closing = true;
            out.push(Effect::CloseStream { stream: id, attachment: reader.attachment });
        }
    }

    /// Drops a stream that nobody will read, with its connection, and what it held back with it.
    pub(super) fn forget_stream(&mut self, id: StreamId, out: &mut Effects) {
        let Some(stream) = self.streams.all.remove(id) else { return };
        if let Some(reader) = stream.reader {
            out.push(Effect::Disconnect { stream: id, attachment: reader.attachment });
        }
        for source in stream.held {
            if !self.streams.is_held(source) {
                out.push(Effect::Release { source });
            }
        }
    }

    pub(super) fn release_if_room(&mut self, id: StreamId, out: &mut Effects) {
        let bounds = Bounds::from(&self.config);
        let Some(stream) = self.streams.all.get_mut(id).filter(|stream| !stream.ring.is_full(bounds)) else { return };
        for source in std::mem::take(&mut stream.held) {
            if !self.streams.is_held(source) {
                out.push(Effect::Release { source });
            }
        }
    }

    /// Holds a source on behalf of a full stream. A leg's own stream may be held by several, and is
    /// released by the last.
    fn hold_if_full(&mut self, id: StreamId, source: Source, out: &mut Effects) {
        let bounds = Bounds::from(&self.config);
        let held = self.streams.is_held(source);
        let Some(stream) = self.streams.all.get_mut(id).filter(|stream| stream.ring.is_full(bounds)) else { return };
        if !stream.held.contains(&source) {
            stream.held.push(source);
        }
        if !held {
            out.push(Effect::Hold { source });
        }
    }

    /// Sends what the window allows, and the end of a stream that is complete.
    fn pump(&mut self, id: StreamId, out: &mut Effects) {
        let Some(stream) = self.streams.all.get_mut(id) else { return };
        let Some(reader) = stream.reader.filter(|reader| !reader.closing) else { return };
        let attachment = reader.attachment;
        while let Some((sequence, data)) = stream.ring.send_next(self.config.window_events_max) {
            let event_id = match self.config.delivery {
                Delivery::Streams if self.config.durability == Durability::Ephemeral => None,
                Delivery::Streams | Delivery::Calls => Some(EventId { stream: id, sequence }),
                Delivery::Single => None,
            };
            let event = Emission { sequence, id: event_id, data, retry: None };
            out.push(Effect::Emit { stream: id, attachment, event });
        }
        if stream.closed && stream.ring.is_sent() {
            stream.reader = Some(Reader { attachment, closing: true });
            out.push(Effect::CloseStream { stream: id, attachment });
        }
    }

    fn can_attach(&self) -> Result<(), Rejection> {
        match self.config.delivery {
            // The one connection of an HTTP+SSE session began with it.
            Delivery::Single if self.streams.standalone().is_some() => {
                Err(Rejection::StreamUnknown { stream: StreamId::STANDALONE })
            }
            Delivery::Calls => Err(Rejection::StreamUnknown { stream: StreamId::STANDALONE }),
            Delivery::Single | Delivery::Streams => Ok(()),
        }
    }

    fn can_resume(&self, event: EventId) -> Result<(), Rejection> {
        let unknown = Rejection::StreamUnknown { stream: event.stream };
        match (self.config.delivery, self.config.durability) {
            (Delivery::Streams, Durability::Strict) => self.check_place(event),
            (Delivery::Streams | Delivery::Single | Delivery::Calls, _) => Err(unknown),
        }
    }

    /// Checks that a stream can be read on from an event.
    pub(super) fn check_place(&self, event: EventId) -> Result<(), Rejection> {
        let unknown = Rejection::StreamUnknown { stream: event.stream };
        let stream = self.streams.all.get(event.stream).ok_or(unknown)?;
        match stream.ring.can_resume(event.sequence) {
            Ok(()) if stream.closed && event.sequence == stream.ring.newest() => {
                Err(Rejection::StreamFinished { stream: event.stream })
            }
            Ok(()) => Ok(()),
            Err(Gap::TooOld { oldest }) => {
                Err(Rejection::BeyondRetention { stream: event.stream, requested: event.sequence, oldest })
            }
            Err(Gap::NeverSent { newest }) => {
                Err(Rejection::EventUnknown { stream: event.stream, requested: event.sequence, newest })
            }
        }
    }

    fn attached_as(&mut self, id: StreamId, attachment: Attachment) -> Option<&mut Stream> {
        self.streams.all.get_mut(id).filter(|stream| stream.attachment() == Some(attachment))
    }
}
