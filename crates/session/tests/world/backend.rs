//! The backends: they open, answer, ask, fail, forget, and obey when they are held.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Span};
use quorate_session::{CallKey, Content, Event, Failure, Fault, Features, LegEpoch, LegKey, Listen, Source};

use quorate_session::record::proto;

use super::{Deed, World, frame, pick};

pub(crate) struct Leg {
    pub(crate) state: State,
    pub(crate) epoch: LegEpoch,
    pub(crate) listening: bool,
    /// It is taken over from another node.
    pub(crate) adopting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Opening,
    Up,
}

/// A call as its backend sees it.
pub(crate) struct UpstreamCall {
    pub(crate) leg: LegKey,
    pub(crate) epoch: LegEpoch,
    /// The backend works on it.
    pub(crate) open: bool,
    pub(crate) dispatches: u32,
    /// The last failure said that it never ran.
    pub(crate) never_executed: bool,
    /// What was said on its own stream, by its place there: its SSE ids.
    pub(crate) said: Vec<(Frame, Content)>,
    /// The client's request.
    pub(crate) n: Option<u64>,
}

// === impl World ===

impl World {
    pub(crate) fn leg_outcome(&mut self, which: u8, opened: bool) -> Result<(), TestCaseError> {
        let opening = self.legs.iter().filter(|(_, leg)| leg.state == State::Opening).map(|(key, _)| *key);
        let Some(key) = pick(opening, which) else { return Ok(()) };
        let leg = self.legs.get_mut(&key).expect("picked from it");
        leg.state = if opened { State::Up } else { State::Closed };
        leg.listening = false;
        let epoch = leg.epoch;
        if opened {
            // The second backend cannot tell its answers from its other messages, but for when it is stateless.
            let bridged = key.0 == 1 && epoch.0.is_multiple_of(2);
            let listen = if key.0 == 1 && !bridged { Listen::Shared } else { Listen::Separate };
            let features = Features { logging: key.0 == 0, listen, bridged };
            let session = Some(format!("{key}.{}", epoch.0));
            let upstream = (key.0 == 0).then(|| proto::Upstream { session, ..proto::Upstream::default() });
            self.accepted(Event::LegOpened { leg: key, epoch, features, upstream })
        } else {
            self.accepted(Event::LegFailed { leg: key, epoch, fault: fault("unreachable") })
        }
    }

    pub(crate) fn lose_leg(&mut self, leg: u8, severed: bool) -> Result<(), TestCaseError> {
        let key = LegKey(u16::from(leg) % 2);
        let Some(leg) = self.legs.get_mut(&key).filter(|leg| leg.state == State::Up) else { return Ok(()) };
        let epoch = leg.epoch;
        self.close_leg_model(key);
        if severed {
            for call in self.upstream.values_mut().filter(|call| call.leg == key && call.epoch == epoch) {
                call.open = false;
                call.never_executed = false;
            }
        }
        self.accepted(Event::LegLost { leg: key, epoch, fault: fault("lost"), severed })
    }

    pub(crate) fn backend(&mut self, which: u8, deed: Deed) -> Result<(), TestCaseError> {
        let open = self.upstream.iter().filter(|(_, call)| call.open).map(|(key, _)| *key);
        let Some(call) = pick(open, which) else { return Ok(()) };
        self.do_deed(call, deed)
    }

    pub(crate) fn leg_says(&mut self, leg: u8, ask: bool) -> Result<(), TestCaseError> {
        let key = LegKey(u16::from(leg) % 2);
        let Some(leg) = self.legs.get(&key).filter(|leg| leg.state == State::Up) else { return Ok(()) };
        let epoch = leg.epoch;
        if (key.0 == 0 && !leg.listening) || !self.may_speak(Source::Listen(key, epoch)) {
            return Ok(());
        }
        if ask { self.ask((key, epoch), None) } else { self.say((key, epoch), None) }
    }

    /// A backend speaks about a call that is over.
    pub(crate) fn late(&mut self, which: u8, ask: bool) -> Result<(), TestCaseError> {
        let over = self.upstream.iter().filter(|(_, call)| !call.open).map(|(key, _)| *key);
        let Some(call) = pick(over, which) else { return Ok(()) };
        let at = (self.upstream[&call].leg, self.upstream[&call].epoch);
        if ask { self.ask(at, Some(call)) } else { self.answer(call, r#""result":0"#) }
    }

    pub(crate) fn settle_legs(&mut self, opened: bool) -> Result<(), TestCaseError> {
        for which in 0..2 {
            self.leg_outcome(which, opened)?;
        }
        Ok(())
    }

    pub(crate) fn answer_everything(&mut self) -> Result<(), TestCaseError> {
        for call in self.upstream.iter().filter(|(_, call)| call.open).map(|(key, _)| *key).collect::<Vec<_>>() {
            self.do_deed(call, Deed::Answer)?;
        }
        for call in self.calls.iter().filter(|(_, call)| call.gateway).map(|(key, _)| *key).collect::<Vec<_>>() {
            let answer = quorate_session::Answer::Result(Bytes::from_static(b"0"));
            self.accepted(Event::GatewayAnswer { call, answer })?;
        }
        Ok(())
    }

    pub(crate) fn upstream_abandoned_by_gateway(&mut self, call: CallKey) {
        if let Some(upstream) = self.upstream.get_mut(&call) {
            upstream.never_executed = false;
        }
    }

    /// Forgets an upstream session and what it asked.
    pub(crate) fn close_leg_model(&mut self, key: LegKey) {
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.state = State::Closed;
            leg.listening = false;
            let source = Source::Listen(key, leg.epoch);
            self.held.remove(&source);
        }
    }

    fn do_deed(&mut self, key: CallKey, deed: Deed) -> Result<(), TestCaseError> {
        let call = &self.upstream[&key];
        let at = (call.leg, call.epoch);
        // A shared stream has no connection per call; only answers belong to one by their ids.
        let from = (call.leg.0 == 0).then_some(key);
        let source = from.map_or(Source::Listen(at.0, at.1), Source::Call);
        match deed {
            Deed::Notify | Deed::Progress | Deed::Ask if !self.may_speak(source) => Ok(()),
            Deed::Notify => self.say(at, from),
            Deed::Progress => self.progress(at, from, key),
            Deed::Ask => self.ask(at, from),
            Deed::Answer => self.answer(key, r#""result":0"#),
            Deed::AnswerWithError => self.answer(key, r#""error":{"code":1,"message":""}"#),
            Deed::Fail { never_executed, leg_lost } => {
                let call = self.upstream.get_mut(&key).expect("it is open");
                // What was resumed has run for a while.
                let never_executed = never_executed && !self.resumed.contains(&key);
                if let Some(n) = call.n.filter(|_| never_executed) {
                    *self.ran.entry(n).or_default() -= 1;
                }
                call.open = false;
                call.never_executed = never_executed;
                self.held.remove(&Source::Call(key));
                if leg_lost && self.legs.get(&at.0).is_some_and(|leg| leg.state == State::Up && leg.epoch == at.1) {
                    self.close_leg_model(at.0);
                }
                let failure = Failure { fault: fault("broken"), never_executed, leg_lost };
                self.accepted(Event::UpstreamFailed { call: key, epoch: at.1, failure })
            }
        }
    }

    fn say(&mut self, (leg, epoch): (LegKey, LegEpoch), call: Option<CallKey>) -> Result<(), TestCaseError> {
        let number = self.next();
        let frame = frame(format!(r#"{{"jsonrpc":"2.0","method":"p{number}"}}"#));
        let content = if number.is_multiple_of(3) { Content::Log { severity: 4 } } else { Content::Plain };
        self.speak((leg, epoch), call, frame, content)
    }

    fn progress(
        &mut self,
        (leg, epoch): (LegKey, LegEpoch),
        call: Option<CallKey>,
        of: CallKey,
    ) -> Result<(), TestCaseError> {
        let Some(token) = self.calls.get(&of).map(|call| call.id.to_string()) else { return Ok(()) };
        let number = self.next();
        let head = format!(r#"{{"jsonrpc":"2.0","method":"p{number}","params":{{"progressToken":"#);
        let span = Span::new(head.len(), head.len() + token.len());
        let frame = frame(format!("{head}{token}}}}}"));
        self.speak((leg, epoch), call, frame, Content::Progress { token: span })
    }

    fn ask(&mut self, (leg, epoch): (LegKey, LegEpoch), call: Option<CallKey>) -> Result<(), TestCaseError> {
        let id = self.next();
        self.asks.insert((leg, epoch, id), 0);
        let frame = frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ask"}}"#));
        self.speak((leg, epoch), call, frame, Content::Plain)
    }

    fn answer(&mut self, key: CallKey, payload: &str) -> Result<(), TestCaseError> {
        let call = self.upstream.get_mut(&key).expect("the caller found it");
        if call.open {
            call.open = false;
            call.never_executed = false;
        }
        let (leg, epoch) = (call.leg, call.epoch);
        self.held.remove(&Source::Call(key));
        let frame = frame(format!(r#"{{"jsonrpc":"2.0","id":{},{payload}}}"#, Id::from(key.0)));
        let from = (leg.0 == 0).then_some(key);
        self.speak((leg, epoch), from, frame, Content::Plain)
    }

    /// Says something, which a stream of a call keeps for who resumes it.
    fn speak(
        &mut self,
        (leg, epoch): (LegKey, LegEpoch),
        call: Option<CallKey>,
        frame: Frame,
        content: Content,
    ) -> Result<(), TestCaseError> {
        let mut event_id = None;
        if let Some(upstream) = call.and_then(|call| self.upstream.get_mut(&call)) {
            upstream.said.push((frame.clone(), content.clone()));
            event_id = Some(upstream.said.len().to_string().into());
        }
        self.accepted(Event::UpstreamFrame { leg, epoch, call, frame, content, event_id })
    }

    /// A held source may finish the frame that was under way, and no more.
    fn may_speak(&mut self, source: Source) -> bool {
        match self.held.get_mut(&source) {
            None => true,
            Some(spoken) => !std::mem::replace(spoken, true),
        }
    }
}

pub(crate) fn fault(message: &'static str) -> Fault {
    Fault { code: -31002, message: message.into(), data: None }
}
