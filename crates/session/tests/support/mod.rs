//! A session under test: events by short constructors, effects as lines of text.
//!
//! A line names the effect and what it is about, for example `emit s1/a1 1.2 {…}`; see
//! [`line`]. Tests compare whole steps, so that an effect too many fails as well as a missing one.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Limits, Span};
use quorate_session::{
    Answer, Attachment, Audience, CallKey, Config, Content, Effect, EndReason, Event, Failure, Fault, Features,
    LegEpoch, LegKey, Note, Purpose, Rejection, Replay, Request, Session, Source, StreamId, Target, record::proto,
    shard,
};
use quorate_types::Timestamp;

pub(crate) const FEATURES: Features =
    Features { logging: true, listen: quorate_session::Listen::Separate, bridged: false };

/// The key of a journaled session.
const KEY: u128 = 7;

/// A session and its time.
pub(crate) struct Rig {
    pub(crate) session: Session,
    pub(crate) now: Timestamp,
    config: Config,
    /// What is written down, where anything is: each step's at once.
    shard: shard::Shard,
}

// === impl Rig ===

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        Self { session: Session::new(config, now), now, config, shard: shard::Shard::new() }
    }

    /// A session that outlives its owner.
    pub(crate) fn journaled() -> Self {
        Self::journaled_as(Config::DEFAULTS)
    }

    pub(crate) fn journaled_as(config: Config) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let charter = proto::Charter {
            principal: vec![1; 16].into(),
            scope: Some(proto::charter::Scope::Toolset("tools".to_owned())),
            owner: Some(proto::Owner::default()),
            opened_ms: now.as_millis(),
            ..proto::Charter::default()
        };
        let mut session = Session::journaled(config, std::sync::Arc::new(charter), 1, now);
        session.name_leg(LegKey(0), "files");
        Self { session, now, config, shard: shard::Shard::new() }
    }

    /// Another node makes the session of its record, and goes on.
    pub(crate) fn is_taken_over(&mut self) -> Vec<String> {
        let (_, record) = self.shard.get(KEY).expect("something was written down");
        self.session = Session::restore(self.config, record, 2, self.now).expect("a session wrote it");
        self.session.name_leg(LegKey(0), "files");
        self.step(Event::Recover)
    }

    fn write_down(&mut self, ops: Vec<proto::Op>) {
        if ops.is_empty() {
            return;
        }
        let version = self.shard.get(KEY).map_or(0, |(version, _)| version);
        let change = proto::Change { time_ms: self.now.as_millis(), ops };
        for part in shard::parts(KEY, version, &change) {
            let applied = self.shard.apply(&shard::command(&[part]));
            assert_eq!(shard::outcome(&applied.outcome, 1), [Ok(())], "{change:?}");
        }
    }

    /// A session of a client that knows priming.
    pub(crate) fn primed() -> Self {
        Self::new(Config { priming: true, ..Config::DEFAULTS })
    }

    /// The session that the gateway keeps for a stateless client.
    pub(crate) fn calls() -> Self {
        Self::new(Config { delivery: quorate_session::Delivery::Calls, ..Config::DEFAULTS })
    }

    /// A session of an older client.
    pub(crate) fn plain() -> Self {
        Self::new(Config::DEFAULTS)
    }

    /// Takes one event that must be accepted; who waits for whom is left to [`Self::paces`].
    pub(crate) fn step(&mut self, event: Event) -> Vec<String> {
        let mut effects = self.effects(event);
        effects.retain(|effect| !is_pace(effect));
        effects.iter().map(line).collect()
    }

    /// Takes one event that must be accepted; returns what it changes in who waits for whom.
    pub(crate) fn paces(&mut self, event: Event) -> Vec<String> {
        let mut effects = self.effects(event);
        effects.retain(is_pace);
        effects.iter().map(line).collect()
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.session.step(self.now, event).expect("the event is accepted");
        assert_eq!(self.session.check(), Ok(()));
        self.write_down(effects.take_ops());
        effects.into_iter().collect()
    }

    /// Takes one event that must be refused.
    pub(crate) fn refused(&mut self, event: Event) -> Rejection {
        let before = format!("{:?}", self.session);
        let rejection = self.session.step(self.now, event).expect_err("the event is refused");
        assert_eq!(format!("{:?}", self.session), before, "a refused event changes nothing");
        rejection
    }

    /// Lets time pass and ticks.
    pub(crate) fn wait(&mut self, duration: Duration) -> Vec<String> {
        self.now = self.now + duration;
        self.step(Event::Tick)
    }

    /// Opens a leg that was demanded, in its first epoch.
    pub(crate) fn leg_opens(&mut self, leg: u16) -> Vec<String> {
        self.leg_opens_as(leg, 1)
    }

    pub(crate) fn leg_opens_as(&mut self, leg: u16, epoch: u32) -> Vec<String> {
        self.step(Event::LegOpened { leg: LegKey(leg), epoch: LegEpoch(epoch), features: FEATURES, upstream: None })
    }

    /// What one event that must be accepted writes down.
    pub(crate) fn writes(&mut self, event: Event) -> Vec<proto::op::Kind> {
        let mut effects = self.session.step(self.now, event).expect("the event is accepted");
        let ops = effects.take_ops();
        self.write_down(ops.clone());
        ops.into_iter().filter_map(|op| op.kind).collect()
    }

    /// Makes a call with this id to leg 0 and brings it to its backend.
    pub(crate) fn dispatched(&mut self, id: &str) -> CallKey {
        let mut lines = self.step(call(id, 0));
        if lines.iter().any(|line| line.starts_with("open-leg")) {
            lines.extend(self.leg_opens(0));
        }
        let key = lines.iter().find_map(|line| line.strip_prefix("opened ")).expect("it opened");
        assert!(lines.iter().any(|line| line.starts_with(&format!("dispatch {key} "))), "{lines:?}");
        CallKey(key.parse().expect("a number"))
    }
}

// === events ===

pub(crate) fn frame(json: &str) -> Frame {
    Frame::parse(Bytes::from(json.to_owned()), &Limits::ANSWER).expect("a valid frame")
}

pub(crate) fn plain_request(id: &str, target: Target, purpose: Purpose) -> Request {
    let frame = frame(&format!(r#"{{"id":{id},"jsonrpc":"2.0","method":"m"}}"#));
    Request { frame, target, progress_token: None, purpose, replay: Replay::Never, key: None, terms: None }
}

/// A call to a leg.
pub(crate) fn call(id: &str, leg: u16) -> Event {
    Event::ClientRequest(plain_request(id, Target::Leg(LegKey(leg)), Purpose::Plain))
}

/// A call to a leg with a progress token.
pub(crate) fn call_with_token(id: &str, leg: u16, token: &str) -> Event {
    let mut request = plain_request(id, Target::Leg(LegKey(leg)), Purpose::Plain);
    request.progress_token = Some(Bytes::from(token.to_owned()));
    Event::ClientRequest(request)
}

/// A call to a leg with a progress token, which may be sent again.
pub(crate) fn replayable_call(id: &str, leg: u16, token: &str) -> Event {
    let request = plain_request(id, Target::Leg(LegKey(leg)), Purpose::Plain);
    let progress_token = Some(Bytes::from(token.to_owned()));
    Event::ClientRequest(Request { progress_token, replay: Replay::Marked, ..request })
}

pub(crate) fn batch(ids: &[&str]) -> Event {
    let requests = ids.iter().map(|id| plain_request(id, Target::Leg(LegKey(0)), Purpose::Plain)).collect();
    Event::ClientBatch(requests)
}

pub(crate) fn gateway_call(id: &str) -> Event {
    Event::ClientRequest(plain_request(id, Target::Gateway, Purpose::Plain))
}

pub(crate) fn set_level(id: &str, severity: u8) -> Event {
    Event::ClientRequest(plain_request(id, Target::Gateway, Purpose::SetLevel { severity, result: "{}" }))
}

pub(crate) fn subscribe(id: &str, leg: u16, uri: &str) -> Event {
    let purpose = Purpose::Subscribe { uri: uri.into() };
    Event::ClientRequest(plain_request(id, Target::Leg(LegKey(leg)), purpose))
}

pub(crate) fn unsubscribe(id: &str, leg: u16, uri: &str) -> Event {
    let purpose = Purpose::Unsubscribe { uri: uri.into() };
    Event::ClientRequest(plain_request(id, Target::Leg(LegKey(leg)), purpose))
}

pub(crate) fn notify(json: &str, to: Audience) -> Event {
    Event::ClientNotification { frame: frame(json), to }
}

pub(crate) fn respond(json: &str) -> Event {
    Event::ClientResponse { frame: frame(json) }
}

/// The client's cancellation of its request.
pub(crate) fn cancel(id: &str) -> Event {
    let (frame, span) = cancellation(id);
    Event::Cancel { frame, request_id: Id::from_json(id).expect("an id"), span }
}

fn cancellation(id: &str) -> (Frame, Span) {
    let head = r#"{"jsonrpc":"2.0","method":"cancelled","params":{"requestId":"#;
    let frame = frame(&format!("{head}{id}}}}}"));
    (frame, Span::new(head.len(), head.len() + id.len()))
}

/// A frame on a call's upstream connection, in the first epoch of leg 0.
pub(crate) fn from_call(call: CallKey, json: &str) -> Event {
    upstream(0, 1, Some(call), json, Content::Plain)
}

/// A frame on the own stream of a leg.
pub(crate) fn from_leg(leg: u16, json: &str) -> Event {
    upstream(leg, 1, None, json, Content::Plain)
}

pub(crate) fn upstream(leg: u16, epoch: u32, call: Option<CallKey>, json: &str, content: Content) -> Event {
    Event::UpstreamFrame { leg: LegKey(leg), epoch: LegEpoch(epoch), call, frame: frame(json), content, event_id: None }
}

/// The backend's cancellation of its own request.
pub(crate) fn upstream_cancel(leg: u16, id: &str) -> Event {
    let (frame, span) = cancellation(id);
    let content = Content::Cancelled { request_id: Id::from_json(id).expect("an id"), span };
    Event::UpstreamFrame { leg: LegKey(leg), epoch: LegEpoch(1), call: None, frame, content, event_id: None }
}

/// A frame with its progress token at the end, and where that is.
pub(crate) fn with_token(head: &str, token: &str) -> (Frame, Span) {
    let head = format!(r#"{{"jsonrpc":"2.0",{head},"params":{{"t":"#);
    let frame = frame(&format!("{head}{token}}}}}"));
    (frame, Span::new(head.len(), head.len() + token.len()))
}

pub(crate) fn progress(leg: u16, call: Option<CallKey>, token: &str) -> Event {
    let (frame, token) = with_token(r#""method":"progress""#, token);
    let content = Content::Progress { token };
    Event::UpstreamFrame { leg: LegKey(leg), epoch: LegEpoch(1), call, frame, content, event_id: None }
}

/// A progress notification on a call's upstream connection.
pub(crate) fn told(leg: u16, epoch: u32, call: CallKey, json: &str) -> Event {
    let start = json.find("\"progressToken\":").expect("it has a token") + "\"progressToken\":".len();
    let end = start + json[start..].find(',').expect("something follows");
    upstream(leg, epoch, Some(call), json, Content::Progress { token: Span::new(start, end) })
}

pub(crate) const NOTE: &str = r#"{"jsonrpc":"2.0","method":"n"}"#;

pub(crate) fn ask(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ask"}}"#)
}

pub(crate) fn result(id: impl std::fmt::Display) -> String {
    format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{{}}}}"#)
}

pub(crate) fn attach(last_event_id: Option<&str>) -> Event {
    Event::Attach { last_event_id: last_event_id.map(|text| text.parse().expect("an event id")) }
}

pub(crate) fn park(stream: u32, sequence: u64, token: u64) -> Event {
    Event::Park { stream: StreamId(stream), sequence, token }
}

pub(crate) fn resume(stream: u32, token: u64, responses: &[&str]) -> Event {
    let responses = responses.iter().map(|json| frame(json)).collect();
    Event::Resume { stream: StreamId(stream), token, responses }
}

pub(crate) fn detach(stream: u32, attachment: u64, delivered: u64) -> Event {
    Event::Detach { stream: StreamId(stream), attachment: Attachment(attachment), delivered }
}

pub(crate) fn delivered(stream: u32, attachment: u64, up_to: u64) -> Event {
    Event::Delivered { stream: StreamId(stream), attachment: Attachment(attachment), up_to }
}

pub(crate) fn fault(message: &'static str) -> Fault {
    Fault { code: -31002, message: message.into(), data: None }
}

/// What a client gets for [`fault`].
pub(crate) fn failed(id: &str, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-31002,"message":"{message}"}}}}"#)
}

pub(crate) fn leg_failed(leg: u16, epoch: u32) -> Event {
    Event::LegFailed { leg: LegKey(leg), epoch: LegEpoch(epoch), fault: fault("unreachable") }
}

pub(crate) fn leg_lost(leg: u16, epoch: u32, severed: bool) -> Event {
    Event::LegLost { leg: LegKey(leg), epoch: LegEpoch(epoch), fault: fault("lost"), severed }
}

pub(crate) fn upstream_failed(call: CallKey, epoch: u32, never_executed: bool, leg_lost: bool) -> Event {
    let failure = Failure { fault: fault("broken"), never_executed, leg_lost };
    Event::UpstreamFailed { call, epoch: LegEpoch(epoch), failure }
}

pub(crate) fn gateway_result(call: CallKey) -> Event {
    Event::GatewayAnswer { call, answer: Answer::Result(Bytes::from_static(b"[1]")) }
}

pub(crate) fn end(reason: EndReason) -> Event {
    Event::End { reason, fault: fault("ended") }
}

// === effects ===

/// Writes an effect as a line.
pub(crate) fn line(effect: &Effect) -> String {
    match effect {
        Effect::Opened { call } => format!("opened {call}"),
        Effect::AnswerJson { call, body } => format!("json {call} {}", text(body)),
        Effect::AnswerNothing { call } => format!("nothing {call}"),
        Effect::BeginStream { call, stream, attachment } => format!("begin {call} s{stream}/a{}", attachment.0),
        Effect::Attached { stream, attachment } => format!("attached s{stream}/a{}", attachment.0),
        Effect::Emit { stream, attachment, event } => {
            let id = event.id.map_or_else(|| format!("#{}", event.sequence), |id| id.to_string());
            let retry = event.retry.map_or_else(String::new, |retry| format!(" retry={}", retry.as_millis()));
            format!("emit s{stream}/a{} {id}{retry} {}", attachment.0, text(&event.data)).trim_end().to_owned()
        }
        Effect::CloseStream { stream, attachment } => format!("close s{stream}/a{}", attachment.0),
        Effect::Disconnect { stream, attachment } => format!("disconnect s{stream}/a{}", attachment.0),
        Effect::OpenLeg { leg, epoch } => format!("open-leg {leg}@{}", epoch.0),
        Effect::CloseLeg { leg, epoch } => format!("close-leg {leg}@{}", epoch.0),
        Effect::AdoptLeg { leg, epoch, upstream } => {
            format!("adopt {leg}@{} {}", epoch.0, upstream.session.as_deref().unwrap_or("-"))
        }
        Effect::ResumeCall { call, leg, epoch, event_id, .. } => {
            format!("resume {call} {leg}@{} {}", epoch.0, event_id.as_deref().unwrap_or("-"))
        }
        Effect::OpenListen { leg, epoch, .. } => format!("listen {leg}@{}", epoch.0),
        Effect::CloseListen { leg, epoch } => format!("unlisten {leg}@{}", epoch.0),
        Effect::Dispatch { call, leg, epoch, frame, .. } => {
            format!("dispatch {call} {leg}@{} {}", epoch.0, text(frame.bytes()))
        }
        Effect::SendUpstream { leg, epoch, bytes, .. } => format!("send {leg}@{} {}", epoch.0, text(bytes)),
        Effect::Abandon { call } => format!("abandon {call}"),
        Effect::Pause { call } => format!("pause {call}"),
        Effect::Proceed { call } => format!("proceed {call}"),
        Effect::Hold { source } => format!("hold {}", source_line(*source)),
        Effect::Release { source } => format!("release {}", source_line(*source)),
        Effect::LegReopened { leg, .. } => format!("reopened {leg}"),
        Effect::Note(note) => note_line(note),
        Effect::Ended { reason } => format!("ended {}", reason.as_str()),
    }
}

const fn is_pace(effect: &Effect) -> bool {
    matches!(effect, Effect::Pause { .. } | Effect::Proceed { .. })
}

fn source_line(source: Source) -> String {
    match source {
        Source::Call(call) => format!("call {call}"),
        Source::Listen(leg, epoch) => format!("listen {leg}@{}", epoch.0),
    }
}

fn note_line(note: &Note) -> String {
    match note {
        Note::Undelivered { messages } => format!("note undelivered {messages}"),
        Note::ResponseUnknown => "note response-unknown".to_owned(),
        Note::CancelIgnored { request_id } => format!("note cancel-ignored {request_id}"),
        Note::NotificationDropped => "note notification-dropped".to_owned(),
        Note::UpstreamLate { .. } => "note late".to_owned(),
        Note::UpstreamViolation { leg } => format!("note violation {leg}"),
        Note::UpstreamUnwanted { leg } => format!("note unwanted {leg}"),
        Note::ServerRequestRefused { leg, reason } => format!("note refused {leg} {}", reason.as_str()),
        Note::StreamsExhausted => "note streams-exhausted".to_owned(),
        Note::LegLost { leg } => format!("note leg-lost {leg}"),
        Note::SubscriptionLost { leg } => format!("note subscription-lost {leg}"),
        Note::ParkExpired { stream } => format!("note park-expired s{stream}"),
        Note::Replayed { leg } => format!("note replayed {leg}"),
        Note::OutcomeUnknown { leg } => format!("note outcome-unknown {leg}"),
        Note::AnswerTooLarge { leg } => format!("note too-large {leg}"),
        Note::ReportStale => "note stale".to_owned(),
    }
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("frames are UTF-8")
}
