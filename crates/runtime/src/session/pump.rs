//! The tasks that carry one upstream exchange each: open a leg, send a request and read its
//! answer, read a leg's own stream, send a notification.
//!
//! A pump reads a frame, rewrites it for the client, hands it to the actor, and waits for the
//! permit to read on: so a client that does not read holds back its backend, and only it. Each
//! pump ends by reporting how the exchange ended, unless the actor aborted it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, build};
use quorate_mcp::{Era, Fault, Method as McpMethod};
use quorate_session::{Answer as SessionAnswer, CallKey, Event, Failure, LegEpoch, LegKey, Source};
use quorate_telemetry::{Method, Outcome, Throttle};
use quorate_types::PrincipalDigest;
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

use super::inherit::{Inherited, Resumes};
use super::legs::OpenLeg;
use super::message::{Message, Said};
use super::orphans::{Heir, Left, What, place_of};
use super::terms::{Held, Late, Terms, Tool};
use super::{Translate, content};
use crate::backend::{self, Asked, Leg};
use crate::upstream::error::Nonsense;
use crate::upstream::{self, Answer, FrameStream, StreamItem};

/// Pause before a leg's own stream is read again after it ended: 1 s, what SDK clients use.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
/// Shortest pause, whatever the server's `retry` says: a server must not make us spin.
const LISTEN_PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause between attempts, after doubling.
const LISTEN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Bounds lines about answers that cannot be read on; metrics count what becomes of their calls.
static UNREAD: Throttle = Throttle::new();

/// What every pump of a session needs.
#[derive(Clone)]
pub(super) struct Pump {
    pub(super) actor: ActorRef<Message>,
    pub(super) translate: Arc<dyn Translate>,
    pub(super) server: backend::Handle,
    pub(super) leg: LegKey,
    pub(super) epoch: LegEpoch,
}

/// A request to be sent.
pub(super) struct Exchange {
    pub(super) call: CallKey,
    pub(super) frame: Frame,
    pub(super) headers: HeaderMap,
    pub(super) prime_after: Option<Duration>,
    pub(super) terms: Terms,
    /// Whether the server waits for the client.
    pub(super) paused: watch::Receiver<bool>,
    /// Another node has sent it: its answer is read on.
    pub(super) resumes: Option<Resumes>,
    /// Who takes what comes when the session is gone from here.
    pub(super) heir: Option<Arc<Heir>>,
}

/// A notification or an answer that is to be sent.
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    /// The server's request that it answers, if it has to be said when it was sent.
    pub(super) ask: Option<u64>,
}

/// What the frames of an exchange are about.
#[derive(Default)]
pub(super) struct About {
    /// The method of the request.
    method: Option<McpMethod>,
    /// The tool that it calls, or whose task it follows.
    tool: Option<Arc<Tool>>,
    /// Who takes what comes when the session is gone from here.
    pub(super) heir: Option<Arc<Heir>>,
}

/// How a call's answer begins.
struct Asking {
    frame: Frame,
    headers: HeaderMap,
    resumes: Option<Resumes>,
}

/// A frame that was handed on.
#[must_use = "whoever reads on waits until more may be read"]
pub(super) struct Handing {
    /// Whether the actor took it.
    is_taken: bool,
    /// Says that the actor is done with it, where that is waited for.
    permit: Option<oneshot::Receiver<()>>,
    /// What of it goes to whoever owns the session next, should the actor be gone.
    left: Option<Left>,
}

/// How handing a frame to the actor ended.
pub(super) enum Handed {
    /// Read on.
    Next,
    /// The session is gone, or wants nothing more.
    Enough,
}

// === impl About ===

impl About {
    /// Whether the session is gone from here.
    fn is_left(&self) -> bool {
        self.heir.as_ref().is_some_and(|heir| heir.way().is_some())
    }
}

// === impl Asking ===

impl Asking {
    async fn begin(self: Box<Self>, session: &Leg, event_id: Option<Arc<str>>) -> Result<Asked, backend::Error> {
        let Self { frame, headers, resumes: _ } = *self;
        match event_id {
            None => session.request(headers, frame).await,
            Some(event_id) => session.resume(headers, &event_id).await,
        }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Out of its box, which is gone then: one that is only moved out of stays until its scope ends.
    fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

// === impl Handing ===

impl Handing {
    /// Of an answer of the gateway, of which nothing waits for more.
    fn of_answer(is_taken: bool, answer: Bytes) -> Self {
        Self { is_taken, permit: None, left: Some(Left::other(0, What::Answer(answer))) }
    }

    /// Of something that nobody need hear.
    const fn of_nothing() -> Self {
        Self { is_taken: true, permit: None, left: None }
    }

    /// Waits until more may be read.
    pub(super) async fn finish(self, about: &About) -> Handed {
        let is_taken = match self.permit {
            Some(permit) if self.is_taken => permit.await.is_ok(),
            Some(_) | None => self.is_taken,
        };
        match self.left {
            _ if is_taken => Handed::Next,
            Some(left) => Box::pin(leave(about, left)).await,
            None => Handed::Enough,
        }
    }
}

// === impl Pump ===

impl Pump {
    /// Opens the leg's upstream session.
    pub(super) async fn open(self, principal: PrincipalDigest, initialize_params: Arc<str>) {
        let (leg, epoch) = (self.leg, self.epoch);
        let message = match self.server.open_leg(principal, &initialize_params).await {
            Ok(opened) => Message::Opened { leg, epoch, opened: Box::new(opened) },
            Err(error) => Message::OpenFailed { leg, epoch, fault: fault(error.to_fault()) },
        };
        // A session that ended meanwhile drops the leg, which frees our side; the backend's own
        // idle timeout frees the other.
        let _ended = self.actor.cast(message);
    }

    /// Sends one request and reports its frames until the answer.
    pub(super) async fn exchange(self, open: OpenLeg, exchange: Box<Exchange>) {
        let started = Instant::now();
        let Exchange { call, frame, headers, prime_after, mut terms, paused, resumes, heir } = exchange.unboxed();
        let name = frame.method().unwrap_or_default();
        let method = Method::of(name);
        let about = About { method: McpMethod::parse(name), tool: terms.tool.clone(), heir };
        // On the heap: it is large, and the task would have it twice where it is passed on.
        let held = Held::new(&mut terms, paused);
        let is_new = resumes.is_none();
        let asking = Box::new(Asking { frame, headers, resumes });
        let running = Box::pin(self.answer(&open.session, call, asking, &about, held));
        let result = match prime_after {
            Some(patience) => self.primed(call, patience, running).await,
            None => running.await,
        };
        let metrics = self.server.metrics();
        match result {
            Ok(kind) => {
                let outcome = if kind == Kind::Error { Outcome::RpcError } else { Outcome::Ok };
                metrics.operation(method, outcome, started.elapsed());
            }
            Err(Ended::Unwanted) => {}
            Err(Ended::Late) => {
                metrics.operation(method, Outcome::Failed(quorate_types::Code::DeadlineExceeded), started.elapsed());
                let Some(timeout) = &terms.timeout else { return };
                let fault = timeout.late();
                if about.is_left() {
                    return self
                        .leave_failure(call, &about, &Failure { fault, never_executed: false, leg_lost: false })
                        .await;
                }
                // The answer ends the call at the server, too.
                let event = Event::GatewayAnswer { call, answer: SessionAnswer::Error(fault) };
                let _ended = self.actor.cast(Message::Tell { event });
            }
            Err(ended) => {
                let is_unsent = is_new || matches!(ended, Ended::Unsent);
                if let Ended::Upstream(error) = &ended
                    && !is_new
                    && UNREAD.admits()
                {
                    let server = self.server.name();
                    info!(%server, call = call.0, %error, "the answer of a call that another node has sent cannot be read on");
                }
                let failure = self.failure(&open.session, ended);
                // What another node has sent may have run, whatever reading on met.
                let failure = Failure { never_executed: failure.never_executed && is_unsent, ..failure };
                metrics.operation(method, Outcome::Failed(quorate_types::Code::Unavailable), started.elapsed());
                if about.is_left() {
                    // What was read on for another node is left without an end: whoever owns the session next decides
                    // whether the call is sent again, as this node would have.
                    if is_new || failure.never_executed {
                        self.leave_failure(call, &about, &failure).await;
                    }
                    return;
                }
                // As above: an ended session needs no report.
                let _ended = self.actor.cast(Message::Failed { call, epoch: self.epoch, failure, terms });
            }
        }
    }

    /// Tells whoever owns the session next how a call has failed.
    async fn leave_failure(&self, call: CallKey, about: &About, failure: &Failure) {
        let what = if failure.never_executed {
            What::Unsent
        } else {
            let quorate_session::Fault { code, message, data } = &failure.fault;
            let error = build::error(Some(&Id::from(call.0)), *code, message, data.as_deref());
            let Ok(frame) = Frame::parse(error, &Limits::ANSWER) else { return };
            What::Frame(frame)
        };
        let number = about.heir.as_ref().map_or(0, |heir| heir.count());
        // Nobody may want it any more.
        let _handed = leave(about, Left::other(number, what)).await;
    }

    /// Sends a request, or reads on what another node has sent.
    ///
    /// What is large and soon over is on the heap: a call that waits for its client is read for minutes, and sending takes ten
    /// times the memory of reading.
    async fn answer(
        &self,
        session: &Leg,
        call: CallKey,
        mut asking: Box<Asking>,
        about: &About,
        mut held: Held<'_>,
    ) -> Result<Kind, Ended> {
        let event_id = match asking.resumes.take() {
            Some(Resumes::From(claim)) => match Box::pin(self.inherit(call, about, claim, &mut held)).await? {
                Inherited::Answer(kind) => return Ok(kind),
                Inherited::At(event_id) => Some(event_id),
            },
            Some(Resumes::At(event_id)) => Some(event_id),
            None => None,
        };
        let request = Box::pin(asking.begin(session, event_id));
        let Asked { answer, load } = held.wait(request).await??;
        held.load = load;
        let result = match answer {
            Answer::Json { frame, .. } => self.take(call, about, frame).await,
            Answer::Stream(stream) => self.read(call, about, Box::new(stream), &mut held).await,
        };
        if let Some(load) = held.load {
            match &result {
                Err(Ended::Upstream(error)) => load.failed(error),
                Ok(_) | Err(Ended::Refused(_) | Ended::Unwanted | Ended::Late | Ended::Unsent) => load.succeeded(),
            }
        }
        result
    }

    async fn take(&self, call: CallKey, about: &About, frame: Frame) -> Result<Kind, Ended> {
        let kind = answers(call, &frame)?;
        self.hand(Some(call), about, frame, None, Waits::No).finish(about).await;
        Ok(kind)
    }

    /// Runs an exchange; after a while its POST becomes a stream, if it has not become one by a
    /// message: a backend may open its own stream at once and then be silent for long.
    async fn primed<T>(&self, call: CallKey, patience: Duration, exchange: impl Future<Output = T>) -> T {
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            ended = &mut exchange => ended,
            () = tokio::time::sleep(patience) => {
                // As above.
                let _ended = self.actor.cast(Message::Prime { call });
                exchange.await
            }
        }
    }

    async fn read(
        &self,
        call: CallKey,
        about: &About,
        mut stream: Box<FrameStream>,
        held: &mut Held<'_>,
    ) -> Result<Kind, Ended> {
        let actor = self.actor.clone();
        // As above.
        stream.when_polled(move |retry| drop(actor.cast(Message::Poll { call, retry })));
        let (actor, epoch) = (self.actor.clone(), self.epoch);
        stream.when_marked(move |id| drop(actor.cast(Message::Mark { call, epoch, event_id: id.into() })));
        while let Some(item) = held.wait(stream.next()).await? {
            let StreamItem { frame, event_id } = item?;
            let kind = answers(call, &frame)?;
            let last = matches!(kind, Kind::Result | Kind::Error);
            let waits = if last { Waits::No } else { Waits::Yes };
            let handing = self.hand(Some(call), about, frame, event_id, waits);
            let handed = held.stand(handing.finish(about)).await?;
            if last {
                return Ok(kind);
            }
            if matches!(handed, Handed::Enough) {
                return Err(Ended::Unwanted);
            }
        }
        Err(upstream::Error::Broken { reason: "the stream ended before the answer".to_owned() }.into())
    }

    /// Reads the leg's own stream for as long as the actor wants it.
    pub(super) async fn listen(self, session: Leg, event_id: Option<Arc<str>>) {
        let mut pause = LISTEN_PAUSE;
        let mut last_event_id = event_id.map(|id| id.to_string());
        loop {
            // On the heap, as below: most of the time the stream is read, and that takes a third.
            match Box::pin(session.listen(HeaderMap::new(), last_event_id.as_deref())).await {
                Ok(None) => return, // The server has no such stream.
                Ok(Some(stream)) => match self.read_listen(stream, &mut last_event_id, &mut pause).await {
                    ListenEnd::Unwanted => return,
                    ListenEnd::Ended { retry } => {
                        pause = retry.unwrap_or(LISTEN_PAUSE).clamp(LISTEN_PAUSE_MIN, LISTEN_PAUSE_MAX);
                    }
                    ListenEnd::Failed => pause = (pause * 2).min(LISTEN_PAUSE_MAX),
                },
                Err(upstream::Error::SessionLost) => {
                    // As above.
                    let _ended = self.actor.cast(Message::Lost { leg: self.leg, epoch: self.epoch });
                    return;
                }
                Err(_) => pause = (pause * 2).min(LISTEN_PAUSE_MAX),
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn read_listen(
        &self,
        mut stream: FrameStream,
        last_event_id: &mut Option<String>,
        pause: &mut Duration,
    ) -> ListenEnd {
        loop {
            let item = stream.next().await;
            if let Some(id) = stream.last_event_id() {
                *last_event_id = Some(id.to_owned());
            }
            match item {
                Some(Ok(item)) => {
                    *pause = LISTEN_PAUSE;
                    let StreamItem { frame, event_id } = item;
                    let about = About::default();
                    let handed = self.hand(None, &about, frame, event_id, Waits::Yes).finish(&about).await;
                    if matches!(handed, Handed::Enough) {
                        return ListenEnd::Unwanted;
                    }
                }
                Some(Err(_)) => return ListenEnd::Failed,
                None => return ListenEnd::Ended { retry: stream.retry() },
            }
        }
    }

    /// Sends notifications and answers in their order, one after the other.
    pub(super) async fn post_all(self, session: Leg, mut outbox: mpsc::Receiver<Outgoing>) {
        while let Some(Outgoing { bytes, ask }) = outbox.recv().await {
            // On the heap: most of the time there is nothing to send.
            Box::pin(self.notify(&session, bytes)).await;
            if let Some(ask) = ask {
                // As above.
                let _ended = self.actor.cast(Message::Sent { ask });
            }
        }
    }

    /// Sends a notification or an answer; a backend that cannot be told shows it elsewhere too.
    async fn notify(&self, session: &Leg, message: Bytes) {
        match session.notify(HeaderMap::new(), message).await {
            Ok(()) => {}
            Err(upstream::Error::SessionLost) => {
                // As above.
                let _ended = self.actor.cast(Message::Lost { leg: self.leg, epoch: self.epoch });
            }
            Err(error) => tracing::debug!(server = %self.server.name(), %error, "a notification was not taken"),
        }
    }

    /// Hands a frame to the actor.
    fn hand(
        &self,
        call: Option<CallKey>,
        about: &About,
        frame: Frame,
        event_id: Option<String>,
        waits: Waits,
    ) -> Handing {
        for kind in content::changed_lists(&frame) {
            self.translate.list_changed(self.server.name(), *kind);
        }
        let own = frame.method().and_then(McpMethod::parse);
        let frame = match frame.kind() {
            Kind::Request => match self.translate.ask(self.server.name(), frame) {
                Ok(frame) => frame,
                Err(answer) => {
                    // By the actor, which knows the way to the server, and whether it is still there.
                    let (leg, epoch) = (self.leg, self.epoch);
                    let taken = self.actor.cast(Message::Answer { leg, epoch, answer: answer.clone() });
                    return Handing::of_answer(taken.is_ok(), answer);
                }
            },
            Kind::Notification if self.translate.withholds(self.server.name(), &frame, call.is_some()) => {
                return Handing::of_nothing();
            }
            Kind::Error => self.translate.failed(self.server.name(), frame),
            Kind::Notification | Kind::Result => frame,
        };
        let frame = self.translate.inbound(self.server.name(), own.or(about.method), about.tool.as_ref(), frame);
        let number = about.heir.as_ref().map(|heir| heir.count());
        self.give(call, about, number, frame, event_id, waits)
    }

    /// Hands a frame that was rewritten to the actor, or to whoever owns the session next.
    pub(super) fn give(
        &self,
        call: Option<CallKey>,
        about: &About,
        number: Option<u64>,
        frame: Frame,
        event_id: Option<String>,
        waits: Waits,
    ) -> Handing {
        // After the translation, whose splices move what the spans point to.
        let content = content::content(&frame);
        let source = call.map_or(Source::Listen(self.leg, self.epoch), Source::Call);
        let (leg, epoch) = (self.leg, self.epoch);
        // Until the record has an event id of the server's, whoever owns the session next may not know where to read on.
        let number = number.filter(|_| about.heir.as_ref().is_some_and(|heir| !heir.is_recorded()));
        let event_id: Option<Arc<str>> = event_id.or_else(|| number.map(place_of)).map(Into::into);
        let left = number.map(|number| Left::frame(number, event_id.clone(), frame.clone()));
        let is_last = matches!(waits, Waits::No);
        let (read_on, permit) = match is_last && number.is_none() {
            true => (None, None),
            false => Some(oneshot::channel()).unzip(),
        };
        let message =
            Message::Upstream(Said { leg, epoch, source, call, frame, content, event_id, number, is_last, read_on });
        Handing { is_taken: self.actor.cast(message).is_ok(), permit, left }
    }

    fn failure(&self, session: &Leg, ended: Ended) -> Failure {
        match ended {
            Ended::Refused(refused) => Failure { fault: fault(refused), never_executed: true, leg_lost: false },
            Ended::Unwanted | Ended::Late => {
                Failure { fault: fault(Fault::Internal), never_executed: false, leg_lost: false }
            }
            Ended::Unsent => Failure { fault: fault(Fault::Internal), never_executed: true, leg_lost: false },
            Ended::Upstream(error) => {
                let never_executed = error.never_executed();
                let leg_lost = session.is_lost_with(&error);
                if leg_lost {
                    session.lost();
                }
                let fault = fault(backend::fault_of(self.server.name(), &error));
                Failure { fault, never_executed, leg_lost }
            }
        }
    }
}

/// Leaves something of a call to whoever owns its session next.
async fn leave(about: &About, left: Left) -> Handed {
    let Some(way) = about.heir.as_ref().and_then(|heir| heir.way()) else { return Handed::Enough };
    if way.send(left).await.is_ok() { Handed::Next } else { Handed::Enough }
}

/// Returns the kind of a frame of this call's connection; an answer must carry the call's id.
///
/// An error may lack an id: only this connection tells whose it is.
pub(super) fn answers(call: CallKey, frame: &Frame) -> Result<Kind, upstream::Error> {
    let kind = frame.kind();
    let is_answer = matches!(kind, Kind::Result | Kind::Error);
    if is_answer && frame.id().is_some_and(|id| id.as_u64() != Some(call.0)) {
        return Err(Nonsense::WrongId.into());
    }
    Ok(kind)
}

/// Whether the next frame may be read at once.
#[derive(Clone, Copy)]
pub(super) enum Waits {
    /// Nothing follows.
    No,
    /// Wait for the actor's permit.
    Yes,
}

/// Why a call's exchange ended without its answer.
pub(super) enum Ended {
    /// The backend failed.
    Upstream(upstream::Error),
    /// We refused to send it.
    Refused(Fault),
    /// Nobody wants the answer any more.
    Unwanted,
    /// The server took longer than the call may take.
    Late,
    /// Another node had it to send, and has not.
    Unsent,
}

impl From<Late> for Ended {
    fn from(Late: Late) -> Self {
        Self::Late
    }
}

impl From<upstream::Error> for Ended {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<backend::Error> for Ended {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::Failed { source, .. } => Self::Upstream(source),
            busy @ backend::Error::Busy { .. } => Self::Refused(busy.to_fault()),
        }
    }
}

/// How reading a leg's own stream ended.
enum ListenEnd {
    Ended { retry: Option<Duration> },
    Failed,
    Unwanted,
}

/// Turns a fault of the gateway into the machine's form.
#[must_use]
pub fn fault(fault: Fault) -> quorate_session::Fault {
    quorate_session::Fault {
        code: fault.code(Era::Legacy),
        message: fault.message().into(),
        data: fault.data().map(Into::into),
    }
}
