//! One call of a bridged leg: stateless requests, and the rounds between them.
//!
//! ```text
//! begin ─▶ Reading ──input_required──▶ Asking ──responses──▶ Sending ─▶ Reading … ─▶ Over
//!             └─ an answer in one piece is returned as one
//! ```
//!
//! [`Rounds`] decides; this half sends, waits and counts. What it gives is a stream that somebody
//! pulls: nothing runs by itself, and dropping it drops the upstream connection, which is how the
//! modern era cancels, and takes back what the client was asked. Between the rounds nothing is
//! under way at the server, so that a person who thinks costs it no place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Kind};
use quorate_mcp::dialect::onto_modern::{DEFAULTS, Error as RoundsError, Rounds, Step};
use quorate_mcp::dialect::v2026_07_28::mirrored;
use quorate_mcp::error::INVALID_REQUEST;
use quorate_mcp::{Call, Fault, Method, Operation, Version, header};
use quorate_telemetry::{BackendMetrics, Throttle};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};

use super::asks::Waiting;
use super::schemas::Listed;
use super::{Leg, error, refuse};
use crate::backend::{Error, Load, Sent, own};
use crate::upstream::{self, Answer, Awaits, FrameStream};

/// Longest wait for the responses of one round: 15 min, more than a session gives its client
/// (10 min), which then answers in its place. It ends a call whose session failed to.
const ROUND_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The pause before a retry that its server's limit has no place for is sent again: 250 ms, as for a
/// server that only wants to be asked again; it doubles.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How often it is sent again, in 16 s together: the client's answers are worth a wait, but whoever
/// waits for the call is not to wait for ever.
const BUSY_RETRIES: u32 = 6;
/// What the client is told of a call whose leg was given up while it was asked.
const CLOSED: &str = "it was lost, or configured anew, while the client was asked";
/// What the client is told of requests that need no response any more.
const RETRACTED: &str = "the call that the request belongs to has ended";
/// Bounds lines about tools that are left out of lists.
static DROPPED: Throttle = Throttle::new();

/// A call under way.
struct Bridged {
    leg: Leg,
    rounds: Rounds,
    target: Target,
    at: At,
    /// The list of tools by which the last request's headers were made.
    listed: Listed,
    /// Frames for the client that are here already.
    ready: VecDeque<Frame>,
    counted: Counted,
}

/// What every request of the call is sent with.
struct Target {
    method: Method,
    /// What `Mcp-Name` says.
    name: Option<String>,
    /// The raw arguments of a tool.
    arguments: Option<String>,
    /// Headers that are the same for every request: trace context.
    headers: HeaderMap,
}

/// What the call waits for.
enum At {
    /// Frames of the server.
    Reading { frames: Box<FrameStream>, load: Load },
    /// The client.
    Asking { waiting: Waiting, until: Instant },
    /// A request is to be sent.
    Sending(Sending),
    /// Nothing.
    Over,
}

/// A request of a later round.
struct Sending {
    frame: Frame,
    /// What to wait before.
    pause: Duration,
    /// Whether the tools are listed again before.
    refreshes: bool,
    /// How often the server had no place for it.
    refusals: u32,
}

/// Counts how a call ended, once.
struct Counted {
    metrics: BackendMetrics,
    result: &'static str,
}

/// Begins a call; returns when its answer begins.
///
/// # Errors
/// As [`Handle::send`](crate::backend::Handle::send).
pub(super) async fn begin(leg: &Leg, call: Call, headers: HeaderMap) -> Result<Answer, Error> {
    let (Some(id), Some(method)) = (call.id().cloned(), call.method()) else {
        return Ok(refuse(&quorate_jsonrpc::Id::from(0), &Fault::Internal));
    };
    let target = Target::of(&call, method, headers);
    let caller = Arc::clone(&leg.inner.caller);
    let (rounds, frame) = match Rounds::new(caller, &call, leg.level(), DEFAULTS, &mut own::mint) {
        Ok(begun) => begun,
        Err(fault) => return Ok(refuse(&id, &fault)),
    };
    let metrics = leg.inner.server.metrics().clone();
    let counted = Counted { metrics, result: "cancelled" };
    let (at, listed, ready) = (At::Over, Listed::default(), VecDeque::new());
    let mut bridged = Bridged { leg: leg.clone(), rounds, target, at, listed, ready, counted };
    bridged.send(frame).await?;
    Ok(bridged.into_answer())
}

// === impl Bridged ===

impl Bridged {
    /// An answer that is complete needs no stream.
    fn into_answer(mut self) -> Answer {
        if matches!(self.at, At::Over)
            && self.ready.len() == 1
            && let Some(frame) = self.ready.pop_front()
        {
            return Answer::Json { status: http::StatusCode::OK, frame };
        }
        let frames = stream::unfold(self, |mut bridged| async move {
            let item = bridged.next().await?;
            Some((item, bridged))
        });
        Answer::Stream(FrameStream::of_frames(Box::pin(frames), Awaits::Answer))
    }

    /// Returns the next frame for the client.
    async fn next(&mut self) -> Option<Result<Frame, upstream::Error>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            let worked = match std::mem::replace(&mut self.at, At::Over) {
                At::Over => return None,
                At::Reading { mut frames, load } => {
                    let read = frames.next().await;
                    self.at = At::Reading { frames, load };
                    self.read(read)
                }
                At::Asking { mut waiting, until } => {
                    let response = timeout_at(until, waiting.next()).await;
                    self.at = At::Asking { waiting, until };
                    self.responded(response);
                    Ok(())
                }
                At::Sending(sending) => self.send_again(sending).await,
            };
            if let Err(error) = worked {
                self.at = At::Over;
                self.counted.result = "failed";
                return Some(Err(error));
            }
        }
    }

    /// Sends a request of a later round: its failure is the end of the stream.
    async fn send_again(&mut self, sending: Sending) -> Result<(), upstream::Error> {
        if !sending.pause.is_zero() {
            sleep(sending.pause).await;
        }
        if sending.refreshes {
            let server = &self.leg.inner.server;
            server.schemas().refresh(server, self.listed).await;
        }
        match self.send(sending.frame.clone()).await {
            Ok(()) => Ok(()),
            Err(Error::Failed { source, .. }) => Err(source),
            Err(busy @ Error::Busy { .. }) => {
                match sending.later() {
                    Some(later) => self.at = At::Sending(later),
                    None => self.end(&busy.to_fault(), "failed"),
                }
                Ok(())
            }
        }
    }

    /// Sends a request and takes what there is of its answer.
    async fn send(&mut self, frame: Frame) -> Result<(), Error> {
        let (headers, listed) = self.target.headers(&self.leg).await;
        self.listed = listed;
        let server = &self.leg.inner.server;
        let sent = server.send(&headers, frame.bytes()).await;
        if refusal(&sent).is_some_and(|(status, fault)| is_of_another_era(status, fault)) {
            server.reprobe();
        }
        match sent {
            Ok(Sent { answer: Answer::Json { frame, .. }, load }) => {
                drop(load);
                self.take(frame);
            }
            Ok(Sent { answer: Answer::Stream(frames), load }) => {
                self.at = At::Reading { frames: Box::new(frames), load }
            }
            // Some servers refuse without the request's id; what they say is the answer all the same.
            Err(Error::Failed { source: upstream::Error::Status { fault: Some(fault), status }, .. })
                if status == http::StatusCode::BAD_REQUEST =>
            {
                self.take(*fault);
            }
            Err(error) => {
                self.counted.result = "failed";
                return Err(error);
            }
        }
        Ok(())
    }

    fn read(&mut self, read: Option<Result<upstream::StreamItem, upstream::Error>>) -> Result<(), upstream::Error> {
        match read {
            Some(Ok(item)) => {
                self.take(item.frame);
                Ok(())
            }
            Some(Err(error)) => {
                if let At::Reading { load, .. } = &self.at {
                    load.failed(&error);
                }
                Err(error)
            }
            None => Err(upstream::Error::Broken { reason: "the stream ended before the answer".to_owned() }),
        }
    }

    /// Takes a frame of the server.
    fn take(&mut self, frame: Frame) {
        if self.target.method == Method::ListTools
            && let Some(result) = frame.result()
        {
            let server = &self.leg.inner.server;
            server.schemas().learn(&result, server.config().items_max);
        }
        let step = self.rounds.answered(frame, &mut own::mint);
        self.follow(step);
    }

    /// Takes a response of the client, or that there is none.
    fn responded(&mut self, response: Result<Option<Frame>, Elapsed>) {
        let step = match response {
            Ok(Some(response)) => self.rounds.responded(&response, &mut own::mint),
            Ok(None) => return self.closed(),
            Err(_) => {
                let late = self.rounds.asks().next().map(|(_, method)| RoundsError::Input {
                    method,
                    code: quorate_mcp::error::DEADLINE_EXCEEDED,
                    message: "no response in time".to_owned(),
                });
                // With nothing to wait for there would have been no waiting.
                Err(late.unwrap_or(RoundsError::Malformed))
            }
        };
        self.follow(step);
    }

    /// Ends the call: the session has given its leg up, and takes back by itself what was asked.
    fn closed(&mut self) {
        let server = self.leg.inner.server.name().to_string();
        self.end(&Fault::BackendFailed { server, reason: CLOSED.to_owned() }, "failed");
    }

    fn follow(&mut self, step: Result<Step, RoundsError>) {
        match step {
            Ok(Step::Pass(frame)) => self.ready.push_back(frame),
            Ok(Step::Wait) => {}
            Ok(Step::Ask(frames)) => {
                let asks: Vec<(u64, Method)> = self.rounds.asks().collect();
                let ids = asks.iter().map(|(id, _)| *id).collect();
                let Some(waiting) = self.leg.inner.asks.wait_for(ids) else { return self.closed() };
                for (_, method) in &asks {
                    let method = quorate_telemetry::Method::of(method.as_str());
                    self.counted.metrics.bridged_input(method);
                }
                self.at = At::Asking { waiting, until: Instant::now() + ROUND_TIMEOUT };
                self.ready.extend(frames);
            }
            Ok(Step::Send { frame, pause }) => {
                self.at = At::Sending(Sending { frame, pause, refreshes: false, refusals: 0 });
            }
            Ok(Step::Refresh { frame }) => {
                let pause = Duration::ZERO;
                self.at = At::Sending(Sending { frame, pause, refreshes: true, refusals: 0 });
            }
            Ok(Step::Done { before, answer, tools_dropped }) => {
                if tools_dropped > 0 && DROPPED.admits() {
                    let server = self.leg.inner.server.name();
                    tracing::warn!(%server, tools_dropped, "tools with invalid x-mcp-header annotations are left out");
                }
                self.counted.result = if answer.kind() == Kind::Error { "error" } else { "complete" };
                self.at = At::Over;
                self.ready.extend(before);
                self.ready.push_back(answer);
            }
            Err(error) => {
                let server = &self.leg.inner.server;
                tracing::debug!(server = %server.name(), %error, "a bridged call ends");
                if matches!(error, RoundsError::Hop { .. }) {
                    server.reprobe();
                }
                let retractions = self.rounds.retractions(RETRACTED);
                self.ready.extend(retractions);
                self.end(&error.to_fault(server.name().as_str()), error.as_str());
            }
        }
    }

    /// Ends the call with an error of ours.
    fn end(&mut self, fault: &Fault, result: &'static str) {
        if let Fault::LimitExceeded { limit, .. } = fault {
            self.leg.inner.server.limit_hit(limit);
        }
        self.counted.result = result;
        self.at = At::Over;
        self.ready.push_back(error(self.rounds.client_id(), fault));
    }
}

// === impl Sending ===

impl Sending {
    /// The same after a server's limit had no place for it; none when that was so too often.
    fn later(self) -> Option<Self> {
        let pause = BUSY_PAUSE.saturating_mul(1 << self.refusals.min(BUSY_RETRIES));
        let refusals = self.refusals + 1;
        (refusals <= BUSY_RETRIES).then(|| Self { pause, refreshes: false, refusals, ..self })
    }
}

// === impl Target ===

impl Target {
    fn of(call: &Call, method: Method, headers: HeaderMap) -> Self {
        let arguments = match &call.operation {
            Operation::CallTool { arguments, .. } => arguments.map(|span| call.raw(span).to_owned()),
            _ => None,
        };
        let name = mirrored(&call.operation).map(|(_, name)| name.to_owned());
        Self { method, name, arguments, headers }
    }

    /// The headers that mirror the request, and the list of tools by which they do.
    async fn headers(&self, leg: &Leg) -> (HeaderMap, Listed) {
        let mut headers = self.headers.clone();
        header::stamp(&mut headers, Version::LATEST, self.method.as_str(), self.name.as_deref());
        let server = &leg.inner.server;
        let (Method::CallTool, Some(tool), true) = (self.method, &self.name, leg.inner.offer.has_tools) else {
            return (headers, Listed::default());
        };
        let (rules, listed) = server.schemas().of(server, tool).await;
        if let Some(rules) = rules {
            headers.extend(rules.headers(self.arguments.as_deref()));
        }
        (headers, listed)
    }
}

/// Returns the status that a server refused with, and its error if it gave one.
fn refusal(sent: &Result<Sent, Error>) -> Option<(http::StatusCode, Option<&Frame>)> {
    match sent {
        Ok(Sent { answer: Answer::Json { status, frame }, .. }) if !status.is_success() => Some((*status, Some(frame))),
        Err(Error::Failed { source: upstream::Error::Status { status, fault }, .. }) => {
            Some((*status, fault.as_deref()))
        }
        Ok(_) | Err(_) => None,
    }
}

/// Tells whether a refusal may be that of a server which knows no stateless requests any more: there is
/// nothing at its address, or it calls the request invalid, as a server does that misses a session
/// (the SDKs of Python and TypeScript say −32600 and −32000).
fn is_of_another_era(status: http::StatusCode, fault: Option<&Frame>) -> bool {
    match status.as_u16() {
        400 | 404 | 405 => match fault.and_then(upstream::error::fault_code) {
            Some(code) => matches!(code, INVALID_REQUEST | -32_000),
            None => true,
        },
        _ => false,
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.bridged(self.result);
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::{Limits, build};

    use super::*;

    #[test]
    fn a_server_that_may_be_of_another_era_is_probed_again() {
        let cases = [
            (400, Some(-32_600), true),
            (400, Some(-32_000), true),
            (400, Some(-32_602), false),
            (400, None, true),
            (404, None, true),
            (404, Some(-32_601), false),
            (405, None, true),
            (401, None, false),
            (429, None, false),
            (503, None, false),
        ];
        for (status, code, expected) in cases {
            let fault =
                code.map(|code| Frame::parse(build::error(None, code, "m", None), &Limits::ANSWER).expect("a frame"));
            let status = http::StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_of_another_era(status, fault.as_ref()), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_retry_waits_for_a_place_ever_longer_and_not_for_ever() {
        let frame = Frame::parse(build::request(&1.into(), "tools/call", None), &Limits::REQUEST).expect("a frame");
        let mut sending = Some(Sending { frame, pause: Duration::ZERO, refreshes: true, refusals: 0 });

        let mut pauses = Vec::new();
        while let Some(later) = sending.take().and_then(Sending::later) {
            assert!(!later.refreshes, "the tools are listed once");
            pauses.push(later.pause.as_millis());
            sending = Some(later);
        }

        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 8_000]);
    }
}
