//! One call of a session at a modern server: the rounds in which the server asks for input.
//!
//! ```text
//!        Send                 input_required ─▶ Ask            all responses ─▶ Send
//! new ─────────▶ Sent ──────────────────────────────▶ Asking ────────────────────────▶ Sent …
//!                 │ └ no requests in it: Send again
//!                 └─▶ complete, or an error of the server: Done        anything else: Error
//! ```
//!
//! In: the server's frames and the client's responses. Out: what to send, to whom. A retry is the
//! same request with a new id, `inputResponses` under the server's keys and its `requestState` byte
//! for byte. Invariant: one `Done` or one error ends the call, and nothing follows; rounds, requests
//! of one round and bytes kept for a retry are bounded. It knows no time: the shell ends a call
//! whose client does not answer. Specification: 2026-07-28 `basic/patterns/mrtr`.

mod error;
mod round;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Kind, Limits as FrameLimits, build, quote};

pub use self::error::Error;
use self::round::Round;
use super::answer::{self, Failed};
use super::capabilities::Caller;
use super::request;
use crate::codec::{ResultType, ResultView};
use crate::dialect::legacy::cancelled_params;
use crate::error::{Fault, HEADER_MISMATCH};
use crate::exchange::{Exchange, Outcome, Violation};
use crate::message::{Call, Level};
use crate::method::Method;
use crate::read::echo;
use crate::version::Version;

/// The member of a retry's parameters with the client's responses.
pub(super) const RESPONSES: &str = "inputResponses";
/// The member with the server's state, of a result and of a retry.
pub(super) const STATE: &str = "requestState";

/// Bounds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most rounds, after which a server that asks again is not answered any more.
    pub rounds_max: u32,
    /// The most requests of one round.
    pub requests_max: usize,
    /// The most bytes that are kept for a retry, and of the rounds before: the server's state, its keys
    /// and ids, and the client's responses.
    pub input_bytes_max: usize,
    /// The pause before the second retry of a server that asks for nothing but a retry; it doubles
    /// with each further one. The first is sent at once.
    pub pause: Duration,
}

/// The defaults of [`Limits`].
pub const DEFAULTS: Limits = Limits {
    // Eight dialogs in a row are more than a person bears; the conformance suite has two.
    rounds_max: 8,
    // A quarter of what a session may ask its client at once, so that one call leaves room.
    requests_max: 16,
    // What a client may send in one request: the retry has to be one that a client could send.
    input_bytes_max: FrameLimits::REQUEST.bytes_max,
    // Eight rounds then take some 30 s, which a server that is waiting for something has then had.
    pause: Duration::from_millis(250),
};

/// One call.
#[derive(Debug)]
pub struct Rounds {
    caller: Arc<Caller>,
    limits: Limits,
    method: Method,
    client_id: Id,
    /// The request as the server takes it, without input.
    request: Frame,
    /// The raw members of the parameters that the last round added.
    input: Option<String>,
    rounds: u32,
    /// Retries in a row for which the server asked nothing.
    idle_rounds: u32,
    is_refreshed: bool,
    /// Elicitations by URL to which the user agreed.
    opened: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Sent(Exchange),
    Asking(Round),
    Over,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Hand this on to the client: a notification of the call.
    Pass(Frame),
    /// Ask the client; its responses carry the ids of these requests.
    Ask(Vec<Frame>),
    /// A response is still missing.
    Wait,
    /// Send this request to the server, after a pause.
    Send {
        /// The request.
        frame: Frame,
        /// How long to wait before.
        pause: Duration,
    },
    /// The server holds a header against us that stands for an argument: list its tools anew, and
    /// then send this request with headers by their schemas. At most once.
    Refresh {
        /// The request.
        frame: Frame,
    },
    /// Hand this on to the client; the call is over.
    Done {
        /// Notifications that go before the answer.
        before: Vec<Frame>,
        /// The answer.
        answer: Frame,
        /// As [`answer::Answered::tools_dropped`].
        tools_dropped: usize,
    },
}

/// A source of numbers that were never used before, for ids on both sides.
pub type Mint<'a> = &'a mut dyn FnMut() -> u64;

// === impl Rounds ===

impl Rounds {
    /// Begins a call; returns the first request to send.
    ///
    /// `level` is the least severe log level that the client wants; none where the server does not
    /// log.
    ///
    /// # Errors
    /// What is wrong with the request's parameters.
    pub fn new(
        caller: Arc<Caller>,
        call: &Call,
        level: Option<Level>,
        limits: Limits,
        mint: Mint<'_>,
    ) -> Result<(Self, Frame), Fault> {
        let (Some(client_id), Some(method)) = (call.id().cloned(), call.method()) else { return Err(Fault::Internal) };
        let request = request::onto(&call.frame, &caller, level)?;
        let exchange = Exchange::new(client_id.clone(), Id::from(mint()), Version::LATEST);
        let frame = request.with_id(exchange.upstream_id());
        let rounds = Self {
            caller,
            limits,
            method,
            client_id,
            request,
            input: None,
            rounds: 0,
            idle_rounds: 0,
            is_refreshed: false,
            opened: Vec::new(),
            state: State::Sent(exchange),
        };
        Ok((rounds, frame))
    }

    /// Returns the id under which the client knows the call.
    #[must_use]
    pub const fn client_id(&self) -> &Id {
        &self.client_id
    }

    /// Returns what the client has still to answer: the id and method of each request.
    pub fn asks(&self) -> impl Iterator<Item = (u64, Method)> {
        let round = match &self.state {
            State::Asking(round) => Some(round),
            State::Sent(_) | State::Over => None,
        };
        round.into_iter().flat_map(Round::open)
    }

    /// Takes a frame that the server sent for the last request.
    ///
    /// # Errors
    /// [`Error`] ends the call.
    pub fn answered(&mut self, frame: Frame, mint: Mint<'_>) -> Result<Step, Error> {
        let State::Sent(exchange) = &mut self.state else { return Err(Violation::AfterFinal.into()) };
        let answer = match exchange.step(frame) {
            Ok(Outcome::Forward(frame)) => return Ok(Step::Pass(frame)),
            Ok(Outcome::Final(answer)) => answer,
            Ok(Outcome::Request(_)) => return Err(self.over(Violation::Request { version: Version::LATEST })),
            Err(violation) => return Err(self.over(violation)),
        };
        let step = match answer.kind() {
            Kind::Error => self.refused(answer, mint),
            Kind::Result | Kind::Request | Kind::Notification => self.result(answer, mint),
        };
        step.map_err(|error| self.over(error))
    }

    /// Takes a response of the client; one that is not waited for changes nothing.
    ///
    /// # Errors
    /// [`Error`] ends the call: what is still asked has to be taken back by [`Self::retractions`].
    pub fn responded(&mut self, response: &Frame, mint: Mint<'_>) -> Result<Step, Error> {
        let State::Asking(round) = &mut self.state else { return Ok(Step::Wait) };
        round.respond(response)?;
        if round.open().next().is_some() {
            return Ok(Step::Wait);
        }
        self.opened.extend(round.agreed().map(str::to_owned));
        self.input = Some(round.input());
        Ok(Step::Send { frame: self.send(mint), pause: Duration::ZERO })
    }

    /// Ends the call; returns what tells the client that it need not answer any more.
    pub fn retractions(&mut self, reason: &str) -> Vec<Frame> {
        let retractions = self.asks().filter_map(|(id, _)| {
            let params = cancelled_params(&Id::from(id), reason);
            parse(build::notification(Method::Cancelled.as_str(), Some(&params)))
        });
        let retractions = retractions.collect();
        self.state = State::Over;
        retractions
    }

    fn over(&mut self, error: impl Into<Error>) -> Error {
        self.state = State::Over;
        error.into()
    }

    /// Makes the next request: the same with a new id and the input of the last round.
    fn send(&mut self, mint: Mint<'_>) -> Frame {
        let exchange = Exchange::new(self.client_id.clone(), Id::from(mint()), Version::LATEST);
        let frame = request::again(&self.request, exchange.upstream_id(), self.input.as_deref());
        self.state = State::Sent(exchange);
        frame
    }

    fn refused(&mut self, answer: Frame, mint: Mint<'_>) -> Result<Step, Error> {
        match answer::error(answer, self.method, self.input.is_some()) {
            Failed::Answer(answer) => {
                self.state = State::Over;
                Ok(Step::Done { before: Vec::new(), answer, tools_dropped: 0 })
            }
            Failed::Hop { code: HEADER_MISMATCH, .. } if self.method == Method::CallTool && !self.is_refreshed => {
                self.is_refreshed = true;
                Ok(Step::Refresh { frame: self.send(mint) })
            }
            Failed::Hop { code, message } => Err(Error::Hop { code, message: echo(&message) }),
        }
    }

    fn result(&mut self, answer: Frame, mint: Mint<'_>) -> Result<Step, Error> {
        let view = ResultView::read(&answer).map_err(|_| Error::Malformed)?;
        match view.result_type {
            ResultType::Complete => {
                let answered = answer::result(&answer, self.method).map_err(|_| Error::Malformed)?;
                let before = self.opened.drain(..).filter_map(|id| elicitation_complete(&id)).collect();
                self.state = State::Over;
                Ok(Step::Done { before, answer: answered.frame, tools_dropped: answered.tools_dropped })
            }
            ResultType::InputRequired => self.input_required(&answer, mint),
            ResultType::Task => Err(Error::ResultType { kind: "task".to_owned() }),
            ResultType::Other(kind) => Err(Error::ResultType { kind: echo(&kind) }),
        }
    }

    fn input_required(&mut self, answer: &Frame, mint: Mint<'_>) -> Result<Step, Error> {
        let method = self.method;
        if !matches!(method, Method::CallTool | Method::GetPrompt | Method::ReadResource) {
            return Err(Error::NoInput { method });
        }
        let kept = self.opened.iter().map(String::len).sum();
        let (round, frames) = Round::read(answer, method, &self.caller, (&self.limits, kept), mint)?;
        if self.rounds == self.limits.rounds_max {
            return Err(Error::TooManyRounds { max: self.limits.rounds_max });
        }
        self.rounds += 1;
        if frames.is_empty() {
            self.input = Some(round.input()).filter(|input| !input.is_empty());
            let pause = self.pause();
            return Ok(Step::Send { frame: self.send(mint), pause });
        }
        self.idle_rounds = 0;
        self.state = State::Asking(round);
        Ok(Step::Ask(frames))
    }

    /// The pause before a retry for which nothing was asked.
    fn pause(&mut self) -> Duration {
        let earlier = self.idle_rounds;
        self.idle_rounds += 1;
        match earlier {
            0 => Duration::ZERO,
            more => self.limits.pause.saturating_mul(1 << (more - 1).min(16)),
        }
    }
}

/// Tells the client that what it opened a URL for is done, as the server's result shows.
fn elicitation_complete(id: &str) -> Option<Frame> {
    let params = format!("{{\"elicitationId\":{}}}", quote(id));
    parse(build::notification(Method::ElicitationComplete.as_str(), Some(&params)))
}

/// Parses what was built here of parts of frames, which were within their limits.
fn parse(bytes: Bytes) -> Option<Frame> {
    let limits = FrameLimits { bytes_max: usize::MAX, depth_max: u32::MAX, batch_max: 0 };
    Frame::parse(bytes, &limits).ok()
}
