//! The body of an answer that is a stream: a provider's events, as its client reads them.
//!
//! Pulled by the client's connection, so that who does not read holds its provider back, and dropped with it, which gives the call up
//! there. Ends as the client's shape ends a whole answer, or with an error event where the provider breaks off, is silent for too long
//! or says what nobody can read; never with an end that looks whole and is not ([`Exchange`]).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use quorate_http::client::{Body, Broken};
use quorate_http::sse::{Event, EventStream, Line, StreamError};
use quorate_llm::Fault;
use quorate_llm::dialect::{Mint, SentEvent};
use quorate_llm::error::Kind;
use quorate_llm::exchange::{Exchange, Received, Sent, State};
use quorate_llm::meter::Outcome;
use quorate_runtime::provider::Held;
use quorate_runtime::{clock, entropy};
use quorate_types::units::format_duration;
use tokio::time::{Instant, Sleep, sleep_until};

use super::cache::{Content, Place};
use super::count::{Kept, Uncounted};
use super::dispatch::{Begun, Lease};
use super::record::Record;

/// What an answer gets where its provider gave it nothing.
pub(super) struct Minted {
    id: String,
    now_s: u64,
}

/// An answer in progress, in its client's shape.
pub(super) struct Answering {
    events: EventStream<Body>,
    exchange: Exchange,
    ready: VecDeque<Event>,
    mint: Minted,
    between: Duration,
    until: Instant,
    asked: Instant,
    last: Instant,
    /// Made when the provider first has nothing.
    timer: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
    record: Record,
    /// The request, while it is not known whether its tokens have to be counted.
    kept: Option<Kept>,
    /// Where the answer is kept, and what of it was sent so far.
    keeping: Option<(Place, Vec<Event>, usize)>,
    lease: Lease,
    _held: Held,
}

// === impl Minted ===

impl Minted {
    /// Makes an id that nobody else has.
    pub(super) fn new() -> Self {
        let mut id = String::with_capacity(32);
        for byte in entropy::unique() {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        Self { id, now_s: clock::now().as_millis() / 1_000 }
    }

    pub(super) fn mint(&self) -> Mint<'_> {
        Mint { id: &self.id, now_s: self.now_s }
    }
}

// === impl Answering ===

impl Answering {
    /// Goes on with a stream that has begun.
    pub(super) fn new(begun: Begun, mut record: Record, kept: Option<Kept>, place: Option<Place>) -> Self {
        let Begun { events, exchange, ready, mint, between, until, asked, is_whole, held, lease } = begun;
        // What came at once has no first token, and none after it.
        if !is_whole {
            record.begun();
        }
        let last = Instant::now();
        let mut answering = Self {
            events,
            exchange,
            ready,
            mint,
            between,
            until,
            asked,
            last,
            timer: None,
            has_ended: false,
            record,
            kept,
            keeping: place.map(|place| (place, Vec::new(), 0)),
            lease,
            _held: held,
        };
        answering.look();
        answering
    }

    /// Takes an event of the provider.
    fn take(&mut self, event: Event) {
        self.last = Instant::now();
        match self.exchange.take(&received(&event), &self.mint.mint()) {
            Sent::Same => self.ready.push_back(event),
            Sent::Events(sent) => self.ready.extend(sent.into_iter().map(self::event)),
        }
        self.look();
    }

    fn give_up(&mut self, fault: Fault) {
        let sent = self.exchange.give_up(fault, &self.mint.mint());
        self.ready.extend(sent.into_iter().map(event));
        self.look();
    }

    /// Looks whether everything was said, and notes how it ended.
    fn look(&mut self) {
        if self.kept.is_some() && self.exchange.usage().is_some_and(|usage| !usage.is_nothing()) {
            self.kept = None;
        }
        let error = match self.exchange.state() {
            State::Open | State::Begun => return,
            State::Done => None,
            State::Failed(fault) => Some(fault.kind),
        };
        if !self.has_ended {
            self.has_ended = true;
            self.lease.ended(error, self.asked.elapsed());
        }
    }

    /// Is ready with a fault when the provider was silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        loop {
            let due = (self.last + self.between).min(self.until);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= due {
                let message = match due == self.until {
                    true => "the answer took longer than one may".to_owned(),
                    false => format!("the provider said nothing for {}", format_duration(self.between)),
                };
                return Poll::Ready(Fault::new(Kind::Timeout, message));
            }
        }
    }

    fn poll_provider(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.events).poll_next(cx) {
            Poll::Ready(Some(Ok(event))) => self.take(event),
            Poll::Ready(Some(Err(error))) => self.give_up(broken(&error)),
            Poll::Ready(None) => {
                let sent = self.exchange.end(&self.mint.mint());
                self.ready.extend(sent.into_iter().map(event));
                self.look();
            }
            Poll::Pending => {
                let fault = ready!(self.poll_silence(cx));
                self.give_up(fault);
            }
        }
        Poll::Ready(())
    }

    /// Notes what is sent, where it is to be kept and is not too much.
    fn note(&mut self, event: &Event) {
        let Some((place, sent, bytes)) = &mut self.keeping else { return };
        *bytes += event.data.len();
        if *bytes > place.bytes_max {
            self.keeping = None;
        } else {
            // Not the buffer that its connection received it in.
            let name = event.name.as_ref().and_then(|name| Line::new(name.as_str().to_owned()).ok());
            sent.push(Event { name, ..Event::new(Bytes::copy_from_slice(&event.data)) });
        }
    }

    /// Reads the end of a body whose last word was said, as far as it is there: its connection can go on then.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let _whatever_follows = Pin::new(&mut self.events).poll_next(cx);
    }
}

impl Stream for Answering {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                this.record.meter.count(&event.data);
                this.note(&event);
                return Poll::Ready(Some(event));
            }
            if this.has_ended {
                this.finish(cx);
                let outcome = Outcome::of(this.exchange.state(), this.exchange.stop());
                this.record.end(outcome, this.exchange.usage().copied());
                let is_good = this.record.is_ok() && !this.exchange.is_cut();
                if let Some((place, sent, _)) = this.keeping.take().filter(|_| is_good) {
                    place.keep(Content::Events(sent.into()));
                }
                return Poll::Ready(None);
            }
            ready!(this.poll_provider(cx));
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // What its client gave up was paid for as far as it came.
        let outcome = match self.has_ended && self.ready.is_empty() {
            true => Outcome::of(self.exchange.state(), self.exchange.stop()),
            false => Outcome::Abandoned,
        };
        self.record.end(outcome, self.exchange.usage().copied());
        let (id, model) = self.exchange.begun().unwrap_or_default();
        self.record.answered(id, model, self.exchange.stop().into_iter());
        let said = self.exchange.take_said();
        // What is told once the answer has stopped is what it cost.
        let is_over = matches!(self.exchange.state(), State::Done) || self.exchange.stop().is_some();
        let is_told = is_over && self.exchange.usage().is_some_and(|usage| !usage.is_nothing());
        if !is_told && !said.is_empty() {
            self.record.uncounted = Some(Uncounted { asked: self.kept.take(), said });
        }
    }
}

/// An event of a provider, as an exchange takes it.
pub(super) fn received(event: &Event) -> Received {
    Received { name: None, data: event.data.clone() }
}

/// An event that an exchange sends.
pub(super) fn event(sent: SentEvent) -> Event {
    let event = Event::new(sent.data);
    match sent.name {
        Some(name) => event.with_name(Line::new(name).expect("names of events are words")),
        None => event,
    }
}

/// What a client is told of a stream that broke.
pub(super) fn broken(error: &StreamError<Broken>) -> Fault {
    match error {
        StreamError::TooLarge(_) => Fault::new(Kind::Provider, "an event of the provider's answer is too large"),
        StreamError::Broken(_) => {
            Fault::new(Kind::Provider, "the connection to the provider broke in the midst of its answer")
        }
    }
}
