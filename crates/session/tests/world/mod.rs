//! The world around a session: client, network and backends, and what each may rely on.
//!
//! Payloads are numbered, so that each is recognised wherever it turns up. Backends obey `Hold`
//! (one more frame, then silence); the network reports deliveries late or with the end of a
//! connection; a client that lost a connection resumes from the last event id that it saw.

mod backend;
mod client;
mod effects;
mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Limits};
use quorate_session::{
    CallKey, Config, EndReason, Event, Fault, LegEpoch, LegKey, Rejection, Replay, Session, Source, StreamId,
};
use quorate_types::Timestamp;

use self::backend::{Leg, UpstreamCall};
use self::client::{Call, Connection, Opening, Post, Reading, Then};
use self::owners::Journal;

/// One thing that happens. Numbers choose among what exists at that moment.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Request {
        leg: u8,
        count: u8,
        token: bool,
    },
    GatewayRequest,
    SetLevel {
        severity: u8,
    },
    Subscribe {
        leg: u8,
        uri: u8,
        on: bool,
    },
    GatewayAnswer {
        which: u8,
    },
    GatewayNotify,
    Cancel {
        which: u8,
    },
    Prime {
        which: u8,
    },
    Poll {
        which: u8,
    },
    BreakPost {
        which: u8,
    },
    Get,
    Resume {
        which: u8,
    },
    /// The client's end of a connection dies; the network does not notice yet.
    Lose {
        which: u8,
    },
    /// The network writes some events of a connection, and reports it or not.
    Write {
        which: u8,
        events: u8,
        report: bool,
    },
    /// The network notices that a connection is dead.
    Notice {
        which: u8,
    },
    Respond {
        which: u8,
    },
    /// A stateless client is answered with what its call asks, and leaves.
    Park {
        which: u8,
    },
    /// It comes back.
    Unpark {
        which: u8,
    },
    LegOutcome {
        which: u8,
        opened: bool,
    },
    LoseLeg {
        leg: u8,
        severed: bool,
    },
    Backend {
        which: u8,
        deed: Deed,
    },
    LegSays {
        leg: u8,
        ask: bool,
    },
    Late {
        which: u8,
        ask: bool,
    },
    Wait {
        millis: u16,
    },
    /// What was written down is committed.
    Commit,
    /// Nobody needs the session's actor for a while.
    Rest,
    /// The node that owns the session is lost, and with it what was not committed; another one owns it.
    TakeOver {
        /// The node that the client talks to is another one, and lives.
        ingress: bool,
        /// The backends' sessions are found again.
        adopts: bool,
        /// So are the streams of their calls.
        resumes: bool,
    },
}

/// What a backend does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Notify,
    Progress,
    Ask,
    Answer,
    AnswerWithError,
    Fail { never_executed: bool, leg_lost: bool },
}

pub(crate) struct World {
    session: Session,
    config: Config,
    now: Timestamp,
    ended: bool,
    /// Requests of POSTs under way that are not opened yet, and the first that was of the present one.
    opening: VecDeque<Opening>,
    first: Option<CallKey>,
    /// Numbers ids and payloads.
    counter: u64,
    // The client.
    posts: BTreeMap<CallKey, Post>,
    calls: BTreeMap<CallKey, Call>,
    readings: BTreeMap<StreamId, Reading>,
    /// Requests of backends that the client has seen and not answered.
    asked: BTreeSet<u64>,
    /// Where each numbered payload was received: once and for all.
    seen: BTreeMap<u64, (StreamId, u64)>,
    // The network.
    connections: BTreeMap<(StreamId, u64), Connection>,
    /// Streams of parked calls, which nobody reads, with what resumes them.
    parked: BTreeMap<StreamId, u64>,
    /// Connections that were replaced and have yet to notice it.
    ghosts: Vec<(StreamId, u64)>,
    // The backends.
    legs: BTreeMap<LegKey, Leg>,
    upstream: BTreeMap<CallKey, UpstreamCall>,
    /// What backends asked, and how often each was answered.
    asks: BTreeMap<(LegKey, LegEpoch, u64), u32>,
    held: BTreeMap<Source, bool>,
    /// Calls whose backends wait for the client.
    paused: BTreeSet<CallKey>,
    // The owners.
    journal: Option<Journal>,
    /// What counts once the next step is committed.
    then: Option<Then>,
    takeovers: u32,
    /// Whether streams of backends' calls are found again.
    resumes: bool,
    /// Connections that ended, of the present owner.
    detached: BTreeSet<(StreamId, u64)>,
    /// From where streams are being resumed.
    attaching: BTreeMap<StreamId, u64>,
    /// Calls that could not be sent, since their leg was gone.
    undispatched: Vec<(CallKey, LegEpoch)>,
    /// The connections of clients that go on with another owner.
    rejoining: BTreeMap<StreamId, Connection>,
    /// Calls whose streams are to be resumed, and from where.
    resuming: VecDeque<(CallKey, Option<Arc<str>>)>,
    /// Answers that were sent to backends.
    sent: Vec<u64>,
    /// Calls whose streams were resumed.
    resumed: BTreeSet<CallKey>,
    /// How often each request of the client may have run.
    ran: BTreeMap<u64, i64>,
    replays: BTreeMap<u64, Replay>,
}

pub(crate) fn config(priming: bool) -> Config {
    Config {
        priming,
        calls_max: 6,
        streams_max: 4,
        server_requests_max: 3,
        subscriptions_max: 3,
        notifications_queued_max: 2,
        ring_events_max: 4,
        ring_bytes_max: 400,
        retention: Duration::from_secs(20),
        delivered_bytes_max: 400,
        undelivered_bytes_max: 2000,
        window_events_max: 2,
        server_request_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(10_000),
        ..Config::DEFAULTS
    }
}

pub(crate) fn actions() -> impl Strategy<Value = Action> {
    let n = any::<u8>;
    let deeds = prop_oneof![
        4 => Just(Deed::Notify),
        2 => Just(Deed::Progress),
        2 => Just(Deed::Ask),
        3 => Just(Deed::Answer),
        1 => Just(Deed::AnswerWithError),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(never_executed, leg_lost)| Deed::Fail { never_executed, leg_lost }),
    ];
    let client = prop_oneof![
        8 => (n(), 1..3_u8, any::<bool>()).prop_map(|(leg, count, token)| Action::Request { leg, count, token }),
        1 => Just(Action::GatewayRequest),
        1 => n().prop_map(|severity| Action::SetLevel { severity: severity % 8 }),
        1 => (n(), 0..4_u8, any::<bool>()).prop_map(|(leg, uri, on)| Action::Subscribe { leg, uri, on }),
        1 => n().prop_map(|which| Action::GatewayAnswer { which }),
        1 => Just(Action::GatewayNotify),
        1 => n().prop_map(|which| Action::Cancel { which }),
        2 => n().prop_map(|which| Action::Prime { which }),
        1 => n().prop_map(|which| Action::Poll { which }),
        1 => n().prop_map(|which| Action::BreakPost { which }),
        2 => Just(Action::Get),
        3 => n().prop_map(|which| Action::Resume { which }),
        2 => n().prop_map(|which| Action::Respond { which }),
        2 => n().prop_map(|which| Action::Park { which }),
        2 => n().prop_map(|which| Action::Unpark { which }),
    ];
    let network = prop_oneof![
        1 => n().prop_map(|which| Action::Lose { which }),
        4 => (n(), 1..4_u8, any::<bool>()).prop_map(|(which, events, report)| Action::Write { which, events, report }),
        1 => n().prop_map(|which| Action::Notice { which }),
        2 => prop_oneof![9 => 0..2_000_u16, 1 => 0..60_000_u16].prop_map(|millis| Action::Wait { millis }),
    ];
    let backend = prop_oneof![
        4 => (n(), prop::bool::weighted(0.85)).prop_map(|(which, opened)| Action::LegOutcome { which, opened }),
        1 => (n(), any::<bool>()).prop_map(|(leg, severed)| Action::LoseLeg { leg, severed }),
        10 => (n(), deeds).prop_map(|(which, deed)| Action::Backend { which, deed }),
        3 => (n(), prop::bool::weighted(0.3)).prop_map(|(leg, ask)| Action::LegSays { leg, ask }),
        1 => (n(), any::<bool>()).prop_map(|(which, ask)| Action::Late { which, ask }),
    ];
    prop_oneof![3 => client, 2 => network, 3 => backend]
}

/// The same on several nodes.
pub(crate) fn actions_of_nodes() -> impl Strategy<Value = Action> {
    let bools = (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.8));
    prop_oneof![
        12 => actions(),
        6 => Just(Action::Commit),
        2 => Just(Action::Rest),
        1 => bools.prop_map(|(ingress, adopts, resumes)| Action::TakeOver { ingress, adopts, resumes }),
    ]
}

// === impl World ===

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self::begin(config, false)
    }

    /// A world whose session can have another owner.
    pub(crate) fn of_nodes(config: Config) -> Self {
        Self::begin(config, true)
    }

    fn begin(config: Config, is_journaled: bool) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut world = Self {
            session: Session::new(config, now),
            config,
            now,
            ended: false,
            opening: VecDeque::new(),
            first: None,
            counter: 0,
            posts: BTreeMap::new(),
            calls: BTreeMap::new(),
            readings: BTreeMap::new(),
            asked: BTreeSet::new(),
            seen: BTreeMap::new(),
            connections: BTreeMap::new(),
            parked: BTreeMap::new(),
            ghosts: Vec::new(),
            legs: BTreeMap::new(),
            upstream: BTreeMap::new(),
            asks: BTreeMap::new(),
            held: BTreeMap::new(),
            paused: BTreeSet::new(),
            journal: None,
            then: None,
            takeovers: 0,
            resumes: true,
            detached: BTreeSet::new(),
            attaching: BTreeMap::new(),
            undispatched: Vec::new(),
            rejoining: BTreeMap::new(),
            resuming: VecDeque::new(),
            sent: Vec::new(),
            resumed: BTreeSet::new(),
            ran: BTreeMap::new(),
            replays: BTreeMap::new(),
        };
        if is_journaled {
            world.journal = Some(Journal::new());
            world.session = world.journaled();
        }
        if world.is_single() {
            // An HTTP+SSE session begins with its one connection.
            world.get().expect("the first GET is accepted");
        }
        world
    }

    pub(crate) fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Request { leg, count, token } => self.request(leg, count, token)?,
            Action::GatewayRequest => self.gateway_request()?,
            Action::SetLevel { severity } => self.set_level(severity)?,
            Action::Subscribe { leg, uri, on } => self.subscribe(leg, uri, on)?,
            Action::GatewayAnswer { which } => self.gateway_answer(which)?,
            Action::GatewayNotify => self.gateway_notify()?,
            Action::Cancel { which } => self.cancel(which)?,
            Action::Prime { which } => self.prime(which)?,
            Action::Poll { which } => self.poll(which)?,
            Action::BreakPost { which } => self.break_post(which)?,
            Action::Get => self.get()?,
            Action::Resume { which } => self.resume(which)?,
            Action::Lose { which } => self.lose(which),
            Action::Write { which, events, report } => self.write(which, events, report)?,
            Action::Notice { which } => self.notice(which)?,
            Action::Respond { which } => self.respond(which)?,
            Action::Park { which } => self.park(which)?,
            Action::Unpark { which } => self.unpark(which)?,
            Action::LegOutcome { which, opened } => self.leg_outcome(which, opened)?,
            Action::LoseLeg { leg, severed } => self.lose_leg(leg, severed)?,
            Action::Backend { which, deed } => self.backend(which, deed)?,
            Action::LegSays { leg, ask } => self.leg_says(leg, ask)?,
            Action::Late { which, ask } => self.late(which, ask)?,
            Action::Wait { millis } => self.wait(Duration::from_millis(millis.into()))?,
            Action::Commit => self.commit()?,
            Action::Rest => self.rest()?,
            Action::TakeOver { ingress, adopts, resumes } => self.take_over(ingress, adopts, resumes)?,
        }
        self.verify_owners()?;
        self.verify_bounds()
    }

    /// Ends the session with calls open or not.
    pub(crate) fn end(&mut self) -> Result<(), TestCaseError> {
        let fault = Fault { code: -31007, message: "ended".into(), data: None };
        if !self.ended {
            self.accepted(Event::End { reason: EndReason::Shutdown, fault })?;
        }
        prop_assert!(self.ended);
        for (key, call) in &self.calls {
            let told = call.answers > 0 || call.cancelled || self.posts[&call.post].is_settled();
            prop_assert!(told || self.stream_of(call.post).is_some(), "call {} waits for ever", key);
        }
        Ok(())
    }

    /// Lets everything that is under way at the end come in.
    pub(crate) fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1_000 {
            if self.session.is_finished() {
                break;
            }
            self.settle_legs(true)?;
            self.drain_connections()?;
        }
        prop_assert!(self.session.is_finished(), "{:?}", self.session.observe());
        prop_assert_eq!(self.session.next_deadline(), None);
        prop_assert!(self.legs.values().all(|leg| leg.state == backend::State::Closed), "a leg is left open");
        prop_assert!(self.upstream.values().all(|call| !call.open), "a backend works for nobody");
        Ok(())
    }

    /// Brings every call to its answer and every answer to the client.
    pub(crate) fn quiesce(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1_000 {
            self.commit()?;
            if self.ended || (self.session.observe().calls == 0 && self.nothing_to_read()) {
                return Ok(());
            }
            self.settle_legs(true)?;
            self.answer_everything()?;
            self.drain_connections()?;
            self.resume_everything()?;
            self.commit()?;
        }
        prop_assert!(false, "it does not come to rest: {:?}", self.session.observe());
        Ok(())
    }

    fn wait(&mut self, duration: Duration) -> Result<(), TestCaseError> {
        self.now = self.now + duration;
        if self.session.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.accepted(Event::Tick)?;
            let next = self.session.next_deadline();
            prop_assert!(next.is_none_or(|next| next > self.now), "a tick left something due at {:?}", next);
        }
        Ok(())
    }

    /// Sends an event that must be taken.
    fn accepted(&mut self, event: Event) -> Result<(), TestCaseError> {
        let text = format!("{event:?}");
        match self.offer(event)? {
            None => Ok(()),
            Some(Rejection::Ended) if self.is_over() => Ok(()),
            Some(rejection) => Err(TestCaseError::fail(format!("{text} was refused: {rejection}"))),
        }
    }

    /// Sends an event that may be refused, which then changes nothing.
    fn offer(&mut self, event: Event) -> Result<Option<Rejection>, TestCaseError> {
        let before = self.session.observe();
        match self.session.step(self.now, event) {
            Ok(effects) => {
                prop_assert_eq!(self.session.check(), Ok(()));
                self.write_down(effects)?;
                Ok(None)
            }
            Err(rejection) => {
                self.then = None;
                prop_assert_eq!(self.session.observe(), before, "a refused event changed something");
                Ok(Some(rejection))
            }
        }
    }

    /// Memory is bounded because backends obey: each source exceeds a full ring by one frame.
    fn verify_bounds(&self) -> Result<(), TestCaseError> {
        let snapshot = self.session.observe();
        let streams = self.config.streams_max + 1;
        // Beyond the rings: a frame under way per source, the last answers, and words about asks.
        let sources = self.config.calls_max * 2 + self.legs.len() + 2 * self.config.server_requests_max * streams;
        let most = streams * self.config.ring_events_max + sources;
        if self.is_journaled() && self.takeovers > 0 {
            return Ok(());
        }
        prop_assert!(snapshot.retained_events <= most, "{:?}", snapshot);
        Ok(())
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn is_of_calls(&self) -> bool {
        self.config.delivery == quorate_session::Delivery::Calls
    }

    fn is_single(&self) -> bool {
        self.config.delivery == quorate_session::Delivery::Single
    }
}

/// Chooses one of some keys.
fn pick<K: Copy>(keys: impl Iterator<Item = K>, which: u8) -> Option<K> {
    let keys: Vec<K> = keys.collect();
    (!keys.is_empty()).then(|| keys[usize::from(which) % keys.len()])
}

fn frame(json: String) -> Frame {
    Frame::parse(Bytes::from(json), &Limits::ANSWER).expect("a valid frame")
}
